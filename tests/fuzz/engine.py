"""Feeds a decoder mutated bytes for a while and judges what it does."""

from __future__ import annotations

import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any, Final, TypeAlias

from tests.fuzz.made import MADE
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import CORPUS, Target

CPU_S_MAX: Final = 10.0
"""For one input of 512 KiB at most, on whatever machine and under coverage; the slowest takes a tenth of it."""
MEMORY_BYTES_MAX: Final = 16 * 1024 * 1024
MEMORY_PER_BYTE_MAX: Final = 160
"""Python's objects of an input of many small values."""
SENTENCE_MAX: Final = 600
_TRACED_EVERY: Final = 25
_LEARNED_MAX: Final = 400
_LEARNED_BYTES_MAX: Final = 32 * 1024
_NUMBERS: Final = re.compile(r"\d+|'[^']*'")

TraceFunction: TypeAlias = Callable[[FrameType, str, Any], Any]


class FindingError(Exception):
    """A decoder did what it must not."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run saw."""

    inputs: int
    accepted: int
    refusals: int
    """Different sentences of refusal, numbers left out."""
    slowest_s: float
    memory_bytes: int
    """Largest seen, of the inputs that were traced."""
    lines: int = 0
    """Lines of the target's own files that were reached, where it names some."""


class Coverage:
    """Which lines of some files were ever reached.

    Args:
        covers: Parts of paths; without one nothing is watched.
    """

    def __init__(self, covers: Sequence[str]) -> None:
        self._covers = covers
        self._seen: set[tuple[str, int]] = set()
        self._wanted: dict[CodeType, bool] = {}

    @property
    def lines(self) -> int:
        """How many so far."""
        return len(self._seen)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note every line that runs inside the block."""
        before = sys.gettrace()
        if self._covers:
            sys.settrace(self._called)
        try:
            yield
        finally:
            if self._covers:
                sys.settrace(before)

    def _called(self, frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        code = frame.f_code
        wanted = self._wanted.get(code)
        if wanted is None:
            wanted = self._wanted[code] = any(part in code.co_filename for part in self._covers)
        return self._stepped if wanted else None

    def _stepped(self, frame: FrameType, event: str, _argument: object) -> TraceFunction:
        if event == "line":
            self._seen.add((frame.f_code.co_filename, frame.f_lineno))
        return self._stepped


def seeds_of(target: Target) -> list[bytes]:
    """Return the corpus of a decoder."""
    return [
        *target.seeds,
        *(path.read_bytes() for path in sorted((CORPUS / target.name).glob("*"))),
        *MADE.get(target.name, ()),
    ]


def judge(target: Target, raw: bytes) -> str:
    """Feed one input; return what came of it in few words.

    Raises:
        FindingError: Another exception than those named, an endless sentence, or bytes that are not the one form.
    """
    try:
        result = target.decode(raw)
    except target.refusals as error:
        return _said(error)
    except Exception as error:
        raise FindingError(f"decoding raised {type(error).__name__}: {error!s:.200}") from error
    if target.encode is not None and target.encode(result) != raw:
        raise FindingError("accepted, but it encodes to other bytes")
    try:
        target.prove(result)
    except target.refusals as error:
        return f"accepted, then {_said(error)}"
    except Exception as error:
        raise FindingError(f"proving raised {type(error).__name__}: {error!s:.200}") from error
    return "accepted"


def _said(error: Exception) -> str:
    sentence = str(error)
    if len(sentence) > SENTENCE_MAX and not hasattr(error, "problems"):
        raise FindingError(f"a refusal of {len(sentence)} characters: {sentence[:100]}")
    return f"{type(error).__name__}: {_NUMBERS.sub('#', sentence)}"


def inputs(target: Target, seeds: Sequence[bytes], learned: list[bytes], rng: Random) -> Iterator[bytes]:
    """Yield the corpus itself, then mutations of it and of what was learned, without end."""
    yield from seeds
    yield b""
    mutator = Mutator(rng)
    while True:
        pool = learned if learned and rng.random() < 0.4 else seeds
        yield mutator.mutate(pool, is_text=target.is_text)


def campaign(target: Target, seed: int, seconds: float, inputs_max: int | None = None) -> Figures:
    """Feed a decoder until the time is over.

    An input whose refusal nobody has seen before, or which reaches a line that none reached, is kept and mutated
    further: so the run walks behind every check.

    Args:
        target: The decoder.
        seed: The same one gives the same inputs.
        seconds: Wall time.
        inputs_max: Most inputs.

    Raises:
        FindingError: With the seed and the number of the input; its bytes lie in build/fuzz.
    """
    rng, learned, said = Random(f"{target.name} {seed}"), list[bytes](), set[str]()
    until_s = time.monotonic() + seconds
    accepted = number = 0
    slowest_s, memory_bytes = 0.0, 0
    seeds, coverage = seeds_of(target), Coverage(target.covers)
    for number, raw in enumerate(inputs(target, seeds, learned, rng), start=1):
        is_traced = number % _TRACED_EVERY == 0
        lines = coverage.lines
        with coverage.watching():
            outcome, cpu_s, peak = _measured(target, raw, is_traced=is_traced, place=f"seed {seed}, input {number}")
        slowest_s, memory_bytes = max(slowest_s, cpu_s), max(memory_bytes, peak)
        accepted += outcome == "accepted"
        if (outcome not in said or coverage.lines > lines) and len(learned) < _LEARNED_MAX:
            said.add(outcome)
            if len(raw) <= _LEARNED_BYTES_MAX:
                learned.append(raw)
        if time.monotonic() > until_s or number == inputs_max:
            break
    return Figures(number, accepted, len(said), slowest_s, memory_bytes, coverage.lines)


def _measured(target: Target, raw: bytes, *, is_traced: bool, place: str) -> tuple[str, float, int]:
    """Judge one input and what it cost."""
    if is_traced:
        tracemalloc.start()
    began_s = time.thread_time()
    try:
        outcome = judge(target, raw)
        cpu_s = time.thread_time() - began_s
        peak = tracemalloc.get_traced_memory()[1] if is_traced else 0
        _check_cost(raw, 0 if is_traced else cpu_s, peak)
    except FindingError as error:
        path = _kept(target, raw)
        raise FindingError(f"{target.name}, {place}: {error} ({path})") from error
    finally:
        if is_traced:
            tracemalloc.stop()
    return outcome, cpu_s, peak


def _check_cost(raw: bytes, cpu_s: float, peak: int) -> None:
    if cpu_s > CPU_S_MAX:
        raise FindingError(f"{cpu_s:.1f} s for {len(raw)} bytes")
    if peak > MEMORY_BYTES_MAX + MEMORY_PER_BYTE_MAX * len(raw):
        raise FindingError(f"{peak} bytes of memory for {len(raw)} bytes")


def _kept(target: Target, raw: bytes) -> Path:
    """Keep the bytes of a finding."""
    folder = Path("build/fuzz")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}.bin"
    path.write_bytes(raw)
    return path
