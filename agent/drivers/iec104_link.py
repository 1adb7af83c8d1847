"""One connection to a controlled station: sockets and timers around `wire.iec104.link`, one exchange at a time.

What comes in answer to nothing, from another station or in a form that the standard does not have, closes the
connection: a late or mixed answer never becomes a fingerprint.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol, cast

from agent.drivers.link import LinkCounters, LinkError
from wire.iec104.asdu import Asdu, decode_asdu
from wire.iec104.errors import NOT_READY, Iec104Error, UnknownTypeError
from wire.iec104.link import ControllingLink, LinkParameters, LinkState, Received, Started
from wire.iec104.requests import Request
from wire.iec104.types import Cause

_UNASKED: Final = frozenset(
    {
        Cause.PERIODIC,
        Cause.BACKGROUND,
        Cause.SPONTANEOUS,
        Cause.INITIALISED,
        Cause.RETURN_REMOTE,
        Cause.RETURN_LOCAL,
    }
)
"""Causes of what a station may send at any time."""


@dataclass(slots=True)
class Iec104Counters(LinkCounters):
    """With what only a redundancy group has."""

    switches: int = 0
    """Times that data transfer began on another connection of the redundancy group."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """How a connection treats its device."""

    common_address: int
    """1..65535."""
    timeout_ms: int
    """Longest wait for the next answer."""
    pause_ms: int
    """Before each request."""
    parameters: LinkParameters


class Exchange(Protocol):
    """Requests and answers that belong together, such as an interrogation or a file."""

    @property
    def is_done(self) -> bool:
        """Whether all answers have come."""

    @property
    def answers(self) -> int:
        """Answers so far; a link whose exchange takes none for too long has timed out."""

    def begin(self) -> Request:
        """Return the first request."""

    def take(self, asdu: Asdu) -> Request | None:
        """Take what came and return what to ask next.

        Raises:
            Iec104Error: It is not what was asked for.
        """


class Connection(asyncio.Protocol):
    """A TCP connection; data transfer begins with `start`."""

    def __init__(self, limits: LinkLimits, counters: Iec104Counters) -> None:
        """Prepare the connection; `dial` connects it.

        Args:
            limits: How the device is treated.
            counters: Counts what is asked.
        """
        self._limits = limits
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._link = ControllingLink(limits.parameters, self._now_ms())
        self._transport: asyncio.Transport | None = None
        self._lost: LinkError | None = None
        self._exchange: Exchange | None = None
        self._answers = 0
        self._waiter: asyncio.Future[None] | None = None
        self._due_s = 0.0
        self._watchdog: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._waiting: deque[Request] = deque()
        self.ended_s = 0.0
        """When the connection ended, in the loop's time; 0 while it is open."""

    @property
    def is_open(self) -> bool:
        """Whether anything can still be sent."""
        return self._transport is not None

    @property
    def is_started(self) -> bool:
        """Whether data transfer is on this connection."""
        return self.is_open and self._link.state is LinkState.STARTED

    async def start(self) -> None:
        """Begin data transfer.

        Raises:
            LinkError: No confirmation in time, or the connection is lost.
        """
        self._require_open()
        self._link.start(self._now_ms())
        self._flush()
        await self._wait()

    async def ask(self, exchange: Exchange) -> None:
        """Let an exchange run to its end.

        Raises:
            LinkError: No answer in time, a wrong one, or (reason ``not-ready``) that the device cannot answer now; only
            then the connection is still open.
        """
        self._require_open()
        self._exchange = exchange
        self._answers = exchange.answers
        try:
            self._ask_soon(exchange.begin())
            await self._wait()
            if self._lost is not None and self._lost.reason != "closed":
                raise self._lost  # something odd came right behind the last answer
        finally:
            self._exchange = None

    def abort(self) -> None:
        """Close the connection at once, without waiting for anything."""
        self._fail(LinkError("closed", "the connection was closed on this side"))

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._counters.connections += 1
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits for an answer."""
        detail = "the device closed the connection" if exc is None else f"the connection broke: {exc}"
        self._fail(LinkError("closed", detail))

    def data_received(self, data: bytes) -> None:
        """Take what came, answer it, and acknowledge it with the same write."""
        if self._transport is None:
            return
        try:
            for event in self._link.receive(data, self._now_ms()):
                if isinstance(event, Received):
                    self._take(event.asdu)
                elif isinstance(event, Started):
                    self._finish()
            self._send_waiting()
        except LinkError as error:
            self._fail(error)
        except Iec104Error as error:
            self._fail(LinkError(error.code, str(error)))
        else:
            self._flush()

    # --- receiving ----------------------------------------------------------------------------------------------

    def _take(self, raw: bytes) -> None:
        """Give an ASDU to the exchange that it belongs to.

        Raises:
            LinkError: It belongs to none.
            Iec104Error: It is malformed, or not what the exchange asked for.
        """
        try:
            asdu = decode_asdu(raw)
        except UnknownTypeError:
            return  # a type of the manufacturer's own: not ours to judge
        exchange, head = self._exchange, asdu.head
        is_ours = head.common_address == self._limits.common_address
        if is_ours and exchange is not None and not exchange.is_done:
            self._give(exchange, asdu)
        elif head.cause not in _UNASKED:
            self._refuse(asdu)

    def _refuse(self, asdu: Asdu) -> NoReturn:
        """Refuse an answer to nothing, or to something else than what is being asked: it may be late or mixed up.

        Raises:
            LinkError: Always.
        """
        head = asdu.head
        if head.common_address != self._limits.common_address:
            detail = f"answers as station {head.common_address}, station {self._limits.common_address} was asked"
            raise LinkError("wrong-station", detail)
        raise LinkError("unasked", f"sends type {head.type_id} with cause {head.cause}, which nobody asked for")

    def _give(self, exchange: Exchange, asdu: Asdu) -> None:
        try:
            request = exchange.take(asdu)
        except Iec104Error as error:
            if error.code != NOT_READY:
                raise
            self._finish(LinkError(NOT_READY, str(error)))
            return
        if exchange.answers != self._answers:
            self._answers = exchange.answers
            self._due_s = self._loop.time() + self._limits.timeout_ms / 1000
        elif asdu.head.cause not in _UNASKED:
            self._refuse(asdu)
        if request is not None:
            self._ask_soon(request)
        if exchange.is_done:
            self._finish()

    # --- sending ------------------------------------------------------------------------------------------------

    def _ask_soon(self, request: Request) -> None:
        """Send a request now, or after the pause that the device wants, which does not count as its time."""
        self._waiting.append(request)
        pause_s = self._limits.pause_ms / 1000
        if pause_s:
            self._due_s = self._loop.time() + pause_s + self._limits.timeout_ms / 1000
            if self._pause is None:
                self._pause = self._loop.call_later(pause_s, self._pause_over)
        else:
            self._send_waiting()
            self._flush()

    def _pause_over(self) -> None:
        self._pause = None
        self._send_waiting()
        self._flush()

    def _send_waiting(self) -> None:
        """Send what the window has room for; the rest goes when the device has acknowledged."""
        while self._waiting and self._pause is None and self._link.send_room:
            self._counters.requests += 1
            self._link.request(self._waiting.popleft(), self._now_ms())

    def _flush(self) -> None:
        """Write what the link has to say, and look after its timers."""
        if self._transport is None:
            return
        output = self._link.take_output()
        if output:
            self._transport.write(output)
        due_s = self._link.deadline_ms / 1000
        if self._timer is None or due_s < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self._link.tick(self._now_ms())
        except Iec104Error as error:
            self._fail(LinkError(error.code, str(error)))
        self._flush()

    def _now_ms(self) -> int:
        return round(self._loop.time() * 1000)

    # --- the end of an exchange ---------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Wait for the end of what was begun, but only ``timeout_ms`` from one answer to the next."""
        assert self._waiter is None, "one exchange at a time"
        if self._pause is None:
            self._due_s = self._loop.time() + self._limits.timeout_ms / 1000
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiter = waiter
        self._watchdog = self._loop.call_at(self._due_s, self._watch)
        try:
            if self._lost is not None:
                raise self._lost
            await waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None
            self._watchdog.cancel()

    def _watch(self) -> None:
        if self._loop.time() < self._due_s:
            self._watchdog = self._loop.call_at(self._due_s, self._watch)
            return
        what = "STARTDT" if self._exchange is None else type(self._exchange.begin()).__name__
        after = f" after {self._answers} answers" if self._exchange is not None else ""
        self._fail(LinkError("timeout", f"no answer to {what} within {self._limits.timeout_ms} ms{after}"))

    def _finish(self, error: LinkError | None = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            if error is None:
                self._waiter.set_result(None)
            else:
                self._waiter.set_exception(error)

    def _require_open(self) -> None:
        if self._transport is None:
            raise self._lost or LinkError("closed", "the connection is closed")

    def _fail(self, error: LinkError) -> None:
        """Close the connection and end what waits for it."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._lost = error
        self.ended_s = self._loop.time()
        transport.abort()
        for handle in (self._timer, self._pause):
            if handle is not None:
                handle.cancel()
        self._timer = self._pause = None
        self._finish(error)
