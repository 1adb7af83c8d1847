"""A controlled station that lies on the line: what it does with each of its frames is drawn from a script.

Lies of the link (frames lost, repeated, late, misnumbered, cut; segments of another file, or damaged) leave the
content as it is: whatever the agent takes for a file under them must be the file. Lies of the content are the device's
own word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from firmware_sim.device import Device
from firmware_sim.iec104.group import Group
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.server import Connection, Port
from kit.clock import Clock
from tests.fuzz.lies import Lie, pieces
from tests.fuzz.virtual import Act, Refused, VirtualLoop

LATE_MS: Final = 150
SECTION_BYTES: Final = 700
_SEGMENT: Final = 125
_FILE_TYPES: Final = range(120, 127)
_ASDU_AT: Final = 6
_ADDRESS_AT: Final = 12
_NAME_AT: Final = 15
_DATA_AT: Final = 19


class _Turn(NamedTuple):
    """One frame, and the one before it on any connection."""

    frame: bytes
    before: bytes

    @property
    def type_id(self) -> int:
        """Type identification, 0 where there is no ASDU."""
        return self.frame[_ASDU_AT] if len(self.frame) > _ASDU_AT and not self.frame[2] & 1 else 0


Tell = Callable[[Lie, _Turn], list[Act]]


def _at(frame: bytes, at: int, change: Callable[[int], int]) -> bytes:
    """Change one octet, where there is one."""
    if at >= len(frame):
        return frame
    return frame[:at] + bytes((change(frame[at]) % 256,)) + frame[at + 1 :]


def _header(turn: _Turn, number: int) -> bytes:
    """Spoil one bit of start, length or control octets."""
    return _at(turn.frame, number % 6, lambda octet: octet ^ 1 << (number // 6) % 8)


def _other_file(turn: _Turn, lie: Lie) -> bytes:
    """Say that a frame of a file belongs to another address or name, or to another section."""
    if turn.type_id not in _FILE_TYPES:
        return turn.frame
    return _at(turn.frame, (_ADDRESS_AT, _NAME_AT, _NAME_AT + 2)[lie.number % 3], lambda octet: octet + 1)


def _damaged(turn: _Turn, lie: Lie) -> bytes:
    """Add one to one octet of a segment: the sum of its section is another."""
    if turn.type_id != _SEGMENT or len(turn.frame) <= _DATA_AT:
        return turn.frame
    return _at(turn.frame, _DATA_AT + lie.number % (len(turn.frame) - _DATA_AT), lambda octet: octet + 1)


LINK_LIES: Final[dict[str, Tell]] = {
    "honest": lambda lie, turn: [Act(0, turn.frame)],
    "slow": lambda lie, turn: [Act(lie.number % 90, turn.frame)],
    "split": lambda lie, turn: pieces(turn.frame, lie.number),
    "late": lambda lie, turn: [Act(LATE_MS, turn.frame)],
    "lost": lambda lie, turn: [],
    "twice": lambda lie, turn: [Act(0, turn.frame), Act(lie.number % 3, turn.frame)],
    "stale": lambda lie, turn: [Act(0, turn.before), Act(0, turn.frame)],
    "stale-alone": lambda lie, turn: [Act(0, turn.before)],
    "header": lambda lie, turn: [Act(0, _header(turn, lie.number))],
    "cut": lambda lie, turn: [Act(0, turn.frame[: lie.number % len(turn.frame)])],
    "oversize": lambda lie, turn: [Act(0, b"\x68\xff"), *(Act(0, bytes(65_536)) for _ in range(8))],
    "garbage": lambda lie, turn: [Act(0, lie.data or b"\x00")],
    "u-frame": lambda lie, turn: [Act(0, bytes((0x68, 4, lie.number | 3, 0, 0, 0))), Act(0, turn.frame)],
    "close": lambda lie, turn: [Act(0, None)],
    "reset": lambda lie, turn: [Act(0, turn.frame[: lie.number % 9]), Act(0, None, is_reset=True)],
    "other-file": lambda lie, turn: [Act(0, _other_file(turn, lie))],
    "damaged": lambda lie, turn: [Act(0, _damaged(turn, lie))],
}
"""The content stays as it is."""


def _spoilt(turn: _Turn, lie: Lie) -> bytes:
    """Change octets of the ASDU."""
    frame = turn.frame
    for at, octet in zip(lie.data[::2], lie.data[1::2], strict=False):
        if len(frame) > _ASDU_AT:
            frame = _at(frame, _ASDU_AT + at % (len(frame) - _ASDU_AT), lambda _, octet=octet: octet)  # type: ignore[misc]
    return frame


def _own(turn: _Turn, lie: Lie) -> bytes:
    """Send whatever behind the right control octets."""
    body = lie.data[:200]
    return bytes((0x68, 4 + len(body))) + turn.frame[2:_ASDU_AT] + body


LIES: Final[dict[str, Tell]] = {
    **LINK_LIES,
    "spoilt": lambda lie, turn: [Act(0, _spoilt(turn, lie))],
    "own": lambda lie, turn: [Act(0, _own(turn, lie))],
}


class LyingStation:
    """All connections of one lying station.

    Args:
        device: Its honest content.
        script: What is done with each frame, in their order over all connections; honest behind the end.
        greetings: What is sent on each new connection before anything was asked, in their order.
    """

    def __init__(self, device: Device, script: Sequence[Lie], greetings: Sequence[bytes | Refused] = ()) -> None:
        self._device = device
        self._script: Iterator[Lie] = iter(script)
        self._greetings: Iterator[bytes | Refused] = iter(greetings)
        self._port: Port | None = None
        self._before = b""
        self.frames = 0

    def __call__(self) -> _Line | Refused:
        greeting = next(self._greetings, b"")
        if isinstance(greeting, Refused):
            return greeting
        if self._port is None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop), "time is made up"
            clock: Clock = loop
            self._port = Port(Group(self._device, Iec104Options(section_bytes=SECTION_BYTES)), clock)
        return _Line(self, self._port, greeting)

    def turn(self, frame: bytes) -> list[Act]:
        """Do with a frame what the script says."""
        self.frames += 1
        lie = next(self._script, Lie("honest"))
        turn = _Turn(frame, self._before)
        self._before = frame
        return LIES[lie.kind](lie, turn)


class _Wire(asyncio.Transport):
    """Keeps what the honest station writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_closed = True

    close = abort

    def is_closing(self) -> bool:
        return self.is_closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take everything."""


class _Line:
    """One connection."""

    def __init__(self, station: LyingStation, port: Port, greeting: bytes) -> None:
        self._station = station
        self._port = port
        self._greeting = greeting
        self._wire = _Wire()
        self._honest = Connection(port)

    def opened(self) -> Iterable[Act]:
        self._honest.connection_made(self._wire)
        return [Act(0, self._greeting)] if self._greeting else []

    def received(self, data: bytes) -> Iterable[Act]:
        self._honest.data_received(data)
        acts: list[Act] = []
        written, self._wire.written = bytes(self._wire.written), bytearray()
        while written:
            end = 2 + written[1]
            acts += self._station.turn(written[:end])
            written = written[end:]
        if self._wire.is_closed:
            acts.append(Act(0, None))
        return acts

    def ended(self) -> None:
        """Hear that the agent has gone."""
        self._honest.connection_lost(None)
