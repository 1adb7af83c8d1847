"""An IEC 61850 device that lies, as its child process hands it on: what each call gives is drawn from a script.

The bytes on the line are the C library's, in a process of its own (tests/interop/test_mms_hostile.py changes those).
Here is what may come through the pipe behind it: any failure, and any value in the place of any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from agent.drivers.mms_link import DEAD, NO_ROOM, ChildError
from tests.fuzz.lies import Lie
from tests.fuzz.virtual import VirtualLoop
from tests.unit.agent.iedbench import FakeIed
from wire.cbor import Value

FAULTS: Final = ("busy", "limit", "lost", "missing", "odd", "refused", "scl", "unreachable", NO_ROOM, *DEAD)
_DEPTH_MAX: Final = 4
_MANY: Final = 3_000
_WORDS: Final = ("text", "integer", "float", "NumOfSG", "ActSG", "BAY1LD0", "bits", "time", "octets", "boolean")


class Turn(NamedTuple):
    """One call, and what an honest device would give."""

    call: str
    truth: Value
    before: Value
    """What the call before this one gave."""


Tell = Callable[[Lie, Turn], Value]


def made(data: bytes) -> Value:
    """Make any value of bytes."""
    return _value(iter(data), 0)


def _value(data: Iterator[int], depth: int) -> Value:
    kind, size = next(data, 0), next(data, 0)
    make = _MAKERS[kind % len(_MAKERS)] if depth < _DEPTH_MAX else _MAKERS[0]
    return make(data, size, depth)


def _taken(data: Iterator[int], count: int) -> bytes:
    return bytes(byte for byte, _ in zip(data, range(count), strict=False))


_MAKERS: Final[tuple[Callable[[Iterator[int], int, int], Value], ...]] = (
    lambda data, size, depth: None,
    lambda data, size, depth: size % 2 == 1,
    lambda data, size, depth: int.from_bytes(_taken(data, size % 9), "big") - (1 << 63 if size & 128 else 0),
    lambda data, size, depth: _taken(data, size % 40),
    lambda data, size, depth: _taken(data, size % 40).decode("latin-1"),
    lambda data, size, depth: _WORDS[size % len(_WORDS)],
    lambda data, size, depth: {f"k{number}": _value(data, depth + 1) for number in range(size % 3)},
    lambda data, size, depth: [_value(data, depth + 1) for _ in range(size % 5)],
)


def _fault(lie: Lie, _turn: Turn) -> Value:
    detail = lie.data.decode("ascii", "backslashreplace")
    raise ChildError(FAULTS[lie.number % len(FAULTS)], f"answers {''.join(filter(str.isprintable, detail))}")


def _short(lie: Lie, turn: Turn) -> Value:
    """End a file early; anything else is as it is."""
    return max(0, turn.truth - lie.number) if turn.call == "fetch" and isinstance(turn.truth, int) else turn.truth


def _spoilt(lie: Lie, turn: Turn) -> Value:
    """Put another value in the place of one inside the answer."""
    return _replaced(turn.truth, list(lie.data[:_DEPTH_MAX]) or [lie.number], made(lie.data[_DEPTH_MAX:]))


def _replaced(value: Value, path: list[int], other: Value) -> Value:
    if not isinstance(value, list) or not value or not path:
        return other
    at = path[0] % len(value)
    return [*value[:at], _replaced(value[at], path[1:], other), *value[at + 1 :]]


def _many(lie: Lie, turn: Turn) -> Value:
    """Give the same again and again."""
    return turn.truth * (_MANY if lie.number % 2 else 2) if isinstance(turn.truth, list) else turn.truth


LINK_LIES: Final[dict[str, Tell]] = {
    "honest": lambda lie, turn: turn.truth,
    "fault": _fault,
    "short": _short,
}
"""The content stays as it is."""

LIES: Final[dict[str, Tell]] = {
    **LINK_LIES,
    "stale": lambda lie, turn: turn.before,
    "own": lambda lie, turn: made(lie.data),
    "spoilt": _spoilt,
    "many": _many,
    "none": lambda lie, turn: [],
}


class LyingMms(FakeIed):
    """A device whose answers follow a script; honest behind its end.

    Args:
        script: What is done with each call, in their order over all associations.
    """

    def __init__(self, script: Sequence[Lie]) -> None:
        super().__init__()
        self._script = iter(script)
        self._before: Value = None

    def answer(self, call: str, arguments: dict[str, Value]) -> Value:
        """Give what the script makes of the truth."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.tape.writes.append(loop.now_ms())
        truth = super().answer(call, arguments)
        turn, self._before = Turn(call, truth, self._before), truth
        lie = next(self._script, Lie("honest"))
        return LIES[lie.kind](lie, turn)
