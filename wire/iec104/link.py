"""The transport interface of one connection, for either station, without sockets and clocks (docs/spec, IC-3 to IC-9).

The caller gives the bytes that came and the time, writes what `Link.take_output` returns, calls `Link.tick` at
`Link.deadline_ms`, and closes the connection when an `Iec104Error` is raised: such a link stays closed.

Source: IEC 60870-5-104:2006, 5.1 to 5.5 and the state diagrams of figures 16 and 17.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from wire.iec104.apci import (
    ASDU_BYTES_MAX,
    SEQUENCE_MODULUS,
    Frame,
    FrameDecoder,
    IFrame,
    SFrame,
    UFunction,
    encode_i,
    encode_s,
    encode_u,
)
from wire.iec104.errors import (
    CLOSED,
    NOT_STARTED,
    UNASKED,
    WRONG_RECEIVE_NUMBER,
    WRONG_SEND_NUMBER,
    ApciError,
    LinkTimeoutError,
    ParameterError,
)
from wire.iec104.requests import Request, encode_request

TIMER_MS_MAX: Final = 255_000
TEST_INTERVAL_MS_MAX: Final = 48 * 3_600_000
WINDOW_MAX: Final = SEQUENCE_MODULUS - 1


class LinkState(Enum):
    """Where a connection stands; what it carries is another matter."""

    STOPPED = "stopped"
    PENDING_STARTED = "pending started"
    """Controlling station: STARTDT act is sent."""
    STARTED = "started"
    PENDING_UNCONFIRMED = "pending unconfirmed stopped"
    """Controlled station: STOPDT act came, and I frames of ours are not acknowledged yet."""
    PENDING_STOPPED = "pending stopped"
    """Controlling station: STOPDT act is sent."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """Windows and timers, which both stations have to agree on.

    Raises:
        ParameterError: Out of range, w above k, or t2 not below t1.
    """

    k: int = 12
    """I frames that may be sent before the oldest is acknowledged, 1..32767."""
    w: int = 8
    """I frames after which the receiver acknowledges at the latest, 1..k; the standard advises two thirds of k."""
    t1_ms: int = 15_000
    """Longest wait for a confirmation, 1..255,000."""
    t2_ms: int = 10_000
    """Longest time without acknowledging what came, below t1."""
    t3_ms: int = 20_000
    """Silence after which the link is tested, 1..172,800,000."""

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if not 1 <= self.w <= self.k <= WINDOW_MAX:
            raise ParameterError(f"1 <= w <= k <= 32767 is due, found w {self.w} and k {self.k}")
        if not 1 <= self.t2_ms < self.t1_ms <= TIMER_MS_MAX:
            raise ParameterError(f"1 <= t2 < t1 <= 255000 ms is due, found t2 {self.t2_ms} and t1 {self.t1_ms}")
        if not 1 <= self.t3_ms <= TEST_INTERVAL_MS_MAX:
            raise ParameterError(f"t3 is 1 to 172800000 ms, found {self.t3_ms}")


@dataclass(frozen=True, slots=True)
class Received:
    """An ASDU came in its right place."""

    asdu: bytes
    """Not looked into yet."""


@dataclass(frozen=True, slots=True)
class Started:
    """Data transfer has begun."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Data transfer has ended; a controlled station may send no I frame from here on."""


Event = Received | Started | Stopped


class Link:
    """What both stations do alike; `ControllingLink` and `ControlledLink` are the ends of a connection."""

    _MOVES: ClassVar[dict[tuple[LinkState, UFunction], tuple[UFunction | None, LinkState, Event | None]]]
    """(state, U frame that came) -> (U frame to send, next state, event); what is not here may not come."""
    _RECEIVING: ClassVar[frozenset[LinkState]]
    """States in which I frames may come."""

    def __init__(self, parameters: LinkParameters, now_ms: int) -> None:
        """Begin with a new TCP connection.

        Args:
            parameters: What the stations agreed on.
            now_ms: Monotonic time, as in all other methods.
        """
        self.parameters: Final = parameters
        self.state = LinkState.STOPPED
        self._decoder = FrameDecoder()
        self._output: list[bytes] = []
        self._send_number = 0
        self._receive_number = 0
        self._sent_ms: deque[int] = deque()
        self._unacknowledged = 0
        self._unacknowledged_ms = 0
        self._heard_ms = now_ms
        self._act_ms: int | None = None
        self._test_ms: int | None = None

    @property
    def send_room(self) -> int:
        """I frames that may be sent now: 0 unless started, at most k."""
        return self.parameters.k - len(self._sent_ms) if self.state is LinkState.STARTED else 0

    @property
    def outstanding(self) -> int:
        """I frames of ours that the other station has not acknowledged, 0..k."""
        return len(self._sent_ms)

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do, unless something comes before."""
        timers = self.parameters
        due_ms = self._heard_ms + timers.t3_ms if self._test_ms is None else self._test_ms + timers.t1_ms
        if self._act_ms is not None:
            due_ms = min(due_ms, self._act_ms + timers.t1_ms)
        if self._sent_ms:
            due_ms = min(due_ms, self._sent_ms[0] + timers.t1_ms)
        if self._unacknowledged:
            due_ms = min(due_ms, self._unacknowledged_ms + timers.t2_ms)
        return due_ms

    def take_output(self) -> bytes:
        """Return the bytes to write now, and forget them."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def receive(self, data: bytes, now_ms: int) -> list[Event]:
        """Take what came.

        Raises:
            ApciError: It may not come, or not now; the link is closed.
        """
        self._require_open()
        events: list[Event] = []
        try:
            for frame in self._decoder.receive(data):
                self._take(frame, now_ms, events)
        except ApciError:
            self.state = LinkState.CLOSED
            raise
        if self._unacknowledged >= self.parameters.w or (
            self._unacknowledged and self.state is LinkState.PENDING_STOPPED
        ):
            self._acknowledge()
        return events

    def tick(self, now_ms: int) -> None:
        """Do what the timers ask for.

        Raises:
            LinkTimeoutError: The other station did not confirm within t1; the link is closed.
        """
        self._require_open()
        timers = self.parameters
        for since_ms, what in (
            (self._act_ms, "STARTDT or STOPDT"),
            (self._test_ms, "TESTFR"),
            (self._sent_ms[0] if self._sent_ms else None, "an I frame"),
        ):
            if since_ms is not None and now_ms - since_ms >= timers.t1_ms:
                self.state = LinkState.CLOSED
                raise LinkTimeoutError(f"{what} was not confirmed within t1 of {timers.t1_ms} ms")
        if self._unacknowledged and now_ms - self._unacknowledged_ms >= timers.t2_ms:
            self._acknowledge()
        if self._test_ms is None and now_ms - self._heard_ms >= timers.t3_ms:
            self.test(now_ms)

    def test(self, now_ms: int) -> None:
        """Send TESTFR act, unless one is on its way already."""
        self._require_open()
        if self._test_ms is None:
            self._test_ms = now_ms
            self._output.append(encode_u(UFunction.TESTFR_ACT))

    def _transfer(self, asdu: bytes, now_ms: int) -> None:
        """Send one I frame.

        Raises:
            ParameterError: `send_room` is 0, or the ASDU is longer than 249 octets.
        """
        self._require_open()
        if len(asdu) > ASDU_BYTES_MAX:
            raise ParameterError(f"an ASDU has at most {ASDU_BYTES_MAX} octets, found {len(asdu)}")
        if self.send_room == 0:
            raise ParameterError(
                f"no I frame may be sent: the link is {self.state.value}, "
                f"and {len(self._sent_ms)} wait to be acknowledged"
            )
        self._output.append(encode_i(self._send_number, self._receive_number, asdu))
        self._send_number = (self._send_number + 1) % SEQUENCE_MODULUS
        self._sent_ms.append(now_ms)
        self._unacknowledged = 0

    def _act(self, function: UFunction, state: LinkState, now_ms: int) -> None:
        self._act_ms = now_ms
        self.state = state
        self._output.append(encode_u(function))

    def _require_open(self) -> None:
        if self.state is LinkState.CLOSED:
            raise ApciError("the link is closed", code=CLOSED)

    def _acknowledge(self) -> None:
        self._output.append(encode_s(self._receive_number))
        self._unacknowledged = 0

    def _take(self, frame: Frame, now_ms: int, events: list[Event]) -> None:
        self._heard_ms = now_ms
        if isinstance(frame, IFrame):
            self._take_numbers(frame, now_ms)
            events.append(Received(frame.asdu))
        elif isinstance(frame, SFrame):
            self._take_acknowledgement(frame.receive_number)
        else:
            self._take_function(frame, events)
        if self.state is LinkState.PENDING_UNCONFIRMED and not self._sent_ms:
            self.state = LinkState.STOPPED
            self._output.append(encode_u(UFunction.STOPDT_CON))

    def _take_numbers(self, frame: IFrame, now_ms: int) -> None:
        if self.state not in self._RECEIVING:
            raise ApciError(f"an I frame came while the link is {self.state.value}", code=NOT_STARTED)
        if frame.send_number != self._receive_number:
            raise ApciError(
                f"I frame {frame.send_number} came, {self._receive_number} is next: a frame was lost or repeated",
                code=WRONG_SEND_NUMBER,
            )
        self._take_acknowledgement(frame.receive_number)
        self._receive_number = (self._receive_number + 1) % SEQUENCE_MODULUS
        if self._unacknowledged == 0:
            self._unacknowledged_ms = now_ms
        self._unacknowledged += 1

    def _take_acknowledgement(self, receive_number: int) -> None:
        """Forget the I frames before ``receive_number``, which has to lie among those that wait."""
        still = (self._send_number - receive_number) % SEQUENCE_MODULUS
        if still > len(self._sent_ms):
            raise ApciError(
                f"I frame {receive_number} is acknowledged as the next one, "
                f"{self._send_number} is, and {len(self._sent_ms)} before it wait",
                code=WRONG_RECEIVE_NUMBER,
            )
        while len(self._sent_ms) > still:
            self._sent_ms.popleft()

    def _take_function(self, function: UFunction, events: list[Event]) -> None:
        if function is UFunction.TESTFR_ACT:
            self._output.append(encode_u(UFunction.TESTFR_CON))
            return
        if function is UFunction.TESTFR_CON:
            self._test_ms = None
            return
        move = self._MOVES.get((self.state, function))
        if move is None:
            raise ApciError(f"{function.name} came while the link is {self.state.value}", code=UNASKED)
        reply, self.state, event = move
        self._act_ms = None
        if self._unacknowledged:
            self._acknowledge()
        if reply is not None:
            self._output.append(encode_u(reply))
        if event is not None:
            events.append(event)


class ControllingLink(Link):
    """The end that dials, starts and stops, and asks; it can send no other ASDU than a `Request`."""

    _MOVES = {  # noqa: RUF012 - declared as a ClassVar above
        (LinkState.PENDING_STARTED, UFunction.STARTDT_CON): (None, LinkState.STARTED, Started()),
        (LinkState.PENDING_STOPPED, UFunction.STOPDT_CON): (None, LinkState.STOPPED, Stopped()),
    }
    _RECEIVING = frozenset({LinkState.STARTED, LinkState.PENDING_STOPPED})

    def start(self, now_ms: int) -> None:
        """Send STARTDT act.

        Raises:
            ParameterError: The link is not stopped.
        """
        self._require(LinkState.STOPPED)
        self._act(UFunction.STARTDT_ACT, LinkState.PENDING_STARTED, now_ms)

    def stop(self, now_ms: int) -> None:
        """Acknowledge what came and send STOPDT act; ASDUs may still come until `Stopped`.

        Raises:
            ParameterError: The link is not started.
        """
        self._require(LinkState.STARTED)
        if self._unacknowledged:
            self._acknowledge()
        self._act(UFunction.STOPDT_ACT, LinkState.PENDING_STOPPED, now_ms)

    def request(self, request: Request, now_ms: int) -> None:
        """Ask for something.

        Raises:
            ParameterError: `send_room` is 0, or the request has a field out of range.
        """
        self._transfer(encode_request(request), now_ms)

    def _require(self, state: LinkState) -> None:
        self._require_open()
        if self.state is not state:
            raise ParameterError(f"the link is {self.state.value}, it has to be {state.value}")


class ControlledLink(Link):
    """The end that is dialled and answers."""

    _MOVES = {  # noqa: RUF012 - declared as a ClassVar above
        (LinkState.STOPPED, UFunction.STARTDT_ACT): (UFunction.STARTDT_CON, LinkState.STARTED, Started()),
        (LinkState.STARTED, UFunction.STARTDT_ACT): (UFunction.STARTDT_CON, LinkState.STARTED, None),
        (LinkState.STARTED, UFunction.STOPDT_ACT): (None, LinkState.PENDING_UNCONFIRMED, Stopped()),
        (LinkState.STOPPED, UFunction.STOPDT_ACT): (UFunction.STOPDT_CON, LinkState.STOPPED, None),
    }
    _RECEIVING = frozenset({LinkState.STARTED})

    def send(self, asdu: bytes, now_ms: int) -> None:
        """Send one ASDU of at most 249 octets.

        Raises:
            ParameterError: `send_room` is 0, or the ASDU is too long.
        """
        self._transfer(asdu, now_ms)
