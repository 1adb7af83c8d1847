"""A Modbus device that lies on the line: what it does with each request is drawn from a script.

Two kinds of lies are kept apart. Lies of the link (late, mixed, repeated, cut, misnumbered) leave the content as it is:
whatever the agent takes for a file under them must be the file. Lies of the content are the device's own word.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from firmware_sim.device import Device
from firmware_sim.modbus.framing import Framer, FramingError, Request, encode_frame
from firmware_sim.modbus.pdu import answer, exception
from firmware_sim.modbus.unit import Unit
from tests.fuzz.lies import Lie, pieces
from tests.fuzz.virtual import Act, Refused

TIMEOUT_MS: Final = 100
LATE_MS: Final = 150
_NEVER: Final[list[Act]] = []


class _Turn(NamedTuple):
    """One request, and what an honest device would answer."""

    request: Request
    pdu: bytes
    before: bytes
    """The frame that was sent last, on any connection."""

    @property
    def frame(self) -> bytes:
        return encode_frame(self.request.transaction, self.request.unit, self.pdu)


Tell = Callable[[Lie, _Turn], list[Act]]


def _header(turn: _Turn, number: int) -> bytes:
    """Spoil one octet of the header: transaction, protocol, length or unit."""
    frame = bytearray(turn.frame)
    frame[number % 7] ^= 1 << (number >> 3) % 8
    return bytes(frame)


def _split(turn: _Turn, lie: Lie) -> list[Act]:
    return pieces(turn.frame, lie.number)


LINK_LIES: Final[dict[str, Tell]] = {
    "honest": lambda lie, turn: [Act(0, turn.frame)],
    "slow": lambda lie, turn: [Act(lie.number % 90, turn.frame)],
    "split": lambda lie, turn: _split(turn, lie),
    "late": lambda lie, turn: [Act(LATE_MS, turn.frame)],
    "never": lambda lie, turn: _NEVER,
    "twice": lambda lie, turn: [Act(0, turn.frame), Act(lie.number % 3, turn.frame)],
    "twice-in-one": lambda lie, turn: [Act(0, turn.frame * 2)],
    "stale": lambda lie, turn: [Act(0, turn.before), Act(0, turn.frame)],
    "stale-alone": lambda lie, turn: [Act(0, turn.before)],
    "header": lambda lie, turn: [Act(0, _header(turn, lie.number))],
    "cut": lambda lie, turn: [Act(0, turn.frame[: lie.number % len(turn.frame)])],
    "short": lambda lie, turn: [
        Act(0, encode_frame(turn.request.transaction, turn.request.unit, turn.pdu[: 1 + lie.number % len(turn.pdu)]))
    ],
    "long": lambda lie, turn: [
        Act(0, encode_frame(turn.request.transaction, turn.request.unit, turn.pdu + bytes(1 + lie.number * 9)))
    ],
    "oversize": lambda lie, turn: [
        Act(0, struct.pack(">HHHB", turn.request.transaction, 0, 255 + 256 * lie.number, turn.request.unit)),
        *(Act(0, bytes(65_536)) for _ in range(8)),
    ],
    "garbage": lambda lie, turn: [Act(0, lie.data or b"\x68\x04\x07\x00\x00\x00")],
    "close": lambda lie, turn: [Act(0, None)],
    "reset": lambda lie, turn: [Act(0, turn.frame[: lie.number % 9]), Act(0, None, is_reset=True)],
    "busy": lambda lie, turn: [
        Act(0, encode_frame(turn.request.transaction, turn.request.unit, exception(turn.request.pdu[0], 6)))
    ],
    "exception": lambda lie, turn: [
        Act(0, encode_frame(turn.request.transaction, turn.request.unit, exception(turn.request.pdu[0], lie.number)))
    ],
    "other-function": lambda lie, turn: [
        Act(0, encode_frame(turn.request.transaction, turn.request.unit, bytes((lie.number,)) + turn.pdu[1:]))
    ],
    "wrong-exception": lambda lie, turn: [
        Act(0, encode_frame(turn.request.transaction, turn.request.unit, bytes((0x80 | lie.number, 2))))
    ],
}
"""The content stays as it is."""


def _spoilt(turn: _Turn, lie: Lie) -> list[Act]:
    """Send another PDU in an honest frame."""
    pdu = bytearray(turn.pdu)
    for at, value in zip(lie.data[::2], lie.data[1::2], strict=False):
        pdu[at % len(pdu)] = value
    return [Act(0, encode_frame(turn.request.transaction, turn.request.unit, bytes(pdu)))]


def _own(turn: _Turn, lie: Lie) -> list[Act]:
    """Send whatever behind the right function code."""
    pdu = (turn.pdu[:1] + lie.data)[:253]
    return [Act(0, encode_frame(turn.request.transaction, turn.request.unit, pdu))]


LIES: Final[dict[str, Tell]] = {
    **LINK_LIES,
    "spoilt": lambda lie, turn: _spoilt(turn, lie),
    "own": lambda lie, turn: _own(turn, lie),
}


class LyingModbus:
    """All connections of one lying device.

    Args:
        device: Its honest content.
        script: What is done with each request, in their order over all connections; honest behind the end.
        greetings: What is sent on each new connection before anything was asked, in their order.
    """

    def __init__(self, device: Device, script: Sequence[Lie], greetings: Sequence[bytes | Refused] = ()) -> None:
        self._unit = Unit(device)
        self._script: Iterator[Lie] = iter(script)
        self._greetings: Iterator[bytes | Refused] = iter(greetings)
        self._before = b""
        self.requests = 0

    def __call__(self) -> _Line | Refused:
        greeting = next(self._greetings, b"")
        return greeting if isinstance(greeting, Refused) else _Line(self, greeting)

    def turn(self, request: Request) -> list[Act]:
        self.requests += 1
        lie = next(self._script, Lie("honest"))
        turn = _Turn(request, answer(self._unit, request.pdu), self._before)
        self._before = turn.frame
        return LIES[lie.kind](lie, turn)


class _Line:
    """One connection."""

    def __init__(self, device: LyingModbus, greeting: bytes) -> None:
        self._device = device
        self._greeting = greeting
        self._framer = Framer()

    def opened(self) -> Iterable[Act]:
        return [Act(0, self._greeting)] if self._greeting else []

    def received(self, data: bytes) -> Iterable[Act]:
        self._framer.feed(data)
        acts: list[Act] = []
        try:
            while (request := self._framer.take()) is not None:
                acts += self._device.turn(request)
        except FramingError as error:
            raise AssertionError(f"the agent sends no Modbus: {error}") from error
        return acts

    def ended(self) -> None:
        """Nothing is held back for it."""
