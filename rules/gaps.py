"""Which numbers of a gateway's evidence are in the ledger, and which are missing: docs/spec, clauses GP-1 to GP-4.

A gateway numbers its evidence: starts (boot) from a number of its own choice upward, and evidence within a boot (seq)
from 1. What lies between two numbers that are in the ledger was made by the gateway, too: it is missing by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from wire import cbor
from wire.cbor import Value
from wire.errors import FormatError
from wire.fields import Fields
from wire.types import INT_MAX, check_ascending

BOOTS_MAX: Final = 32
"""Starts of one gateway that are told apart; of older ones nothing is kept."""
RUNS_MAX: Final = 16
"""Runs of numbers in one boot; where there are more, the oldest gaps are only counted."""
_FIELDS: Final = ("before_boot", "before_ms", "boots")
_RUN_LENGTH: Final = 5


@dataclass(frozen=True, slots=True)
class Run:
    """Numbers of one boot that are in the ledger, all of them but ``lost``."""

    first: int
    last: int
    lost: int
    """How many between them are missing, whose numbers are not kept any more; mostly 0."""
    first_ms: int
    """When ``first`` was signed, by the gateway's clock."""
    last_ms: int


@dataclass(frozen=True, slots=True)
class Boot:
    """One start of a gateway."""

    number: int
    runs: tuple[Run, ...]
    """Ascending; a gap lies between any two."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What the ledger keeps of one gateway's numbers."""

    boots: tuple[Boot, ...] = ()
    """Ascending."""
    before_boot: int = 0
    """Of this boot and those before it nothing is kept."""
    before_ms: int = 0
    """When the newest evidence of those was signed."""

    def to_value(self) -> dict[str, Value]:
        """Return the state value."""
        return {
            "boots": [[boot.number, [_run_value(run) for run in boot.runs]] for boot in self.boots],
            "before_ms": self.before_ms,
            "before_boot": self.before_boot,
        }


@dataclass(frozen=True, slots=True)
class Missing:
    """Evidence that the gateway numbered and the ledger never took."""

    boot: int
    first: int
    last: int
    count: int
    """How many of ``first..last`` are missing; all of them unless there were too many gaps to keep them apart."""
    after_ms: int
    """It was signed after this time, by the gateway's clock; 0: nothing was received before it."""
    before_ms: int


@dataclass(frozen=True, slots=True)
class Unseen:
    """Starts of the gateway, between two that were seen, of which the ledger took nothing at all."""

    first: int
    last: int
    after_ms: int
    before_ms: int


@dataclass(frozen=True, slots=True)
class Gaps:
    """What the counters say of a period."""

    missing: tuple[Missing, ...]
    unseen: tuple[Unseen, ...]
    known_from_ms: int | None
    """When the oldest evidence that is told of was signed, by the gateway's clock; None when there is none."""
    known_to_ms: int | None
    """When the newest was signed; of what the gateway signed after it nothing is known."""


def decode_counters(value: Value | None) -> Counters:
    """Return what a state entry says; None stands for a gateway of which nothing was ever taken.

    Raises:
        FormatError: It is no such entry.
    """
    if value is None:
        return Counters()
    fields = Fields(value, _FIELDS, "counters")
    boots = tuple(_boot(entry) for entry in fields.sequence("boots", BOOTS_MAX))
    check_ascending((boot.number for boot in boots), "counters.boots")
    return Counters(boots, fields.integer("before_boot"), fields.integer("before_ms"))


def read_counters(raw: bytes | None) -> Counters:
    """Return what the canonical bytes of a state entry say.

    Raises:
        CborError: They are not canonical.
        FormatError: It is no such entry.
    """
    return decode_counters(None if raw is None else cbor.decode(raw))


def taken(counters: Counters, boot: int, seq: int, time_ms: int) -> Counters:
    """Return the counters after evidence was taken that was not there before.

    Args:
        counters: Before.
        boot: From 1.
        seq: From 1.
        time_ms: When the gateway signed it, by its own clock.
    """
    if boot <= counters.before_boot:
        return counters
    rest = tuple(entry for entry in counters.boots if entry.number != boot)
    known = next((entry.runs for entry in counters.boots if entry.number == boot), ())
    entry = Boot(boot, _thinned(_with(known, seq, time_ms)))
    boots = tuple(sorted((*rest, entry), key=lambda one: one.number))
    if len(boots) <= BOOTS_MAX:
        return replace(counters, boots=boots)
    return Counters(boots[1:], boots[0].number, boots[0].runs[-1].last_ms)


def gaps(counters: Counters, from_ms: int, to_ms: int) -> Gaps:
    """Return what is missing that may have been signed in a period.

    Args:
        counters: As the ledger has them.
        from_ms: Begin of the period by the gateway's clock, milliseconds since 1970 UTC.
        to_ms: Its end.

    A number is in the period unless the evidence on both sides of it shows that it is not.
    """
    missing: list[Missing] = []
    unseen: list[Unseen] = []
    last_ms, last_boot = counters.before_ms, counters.before_boot
    for boot in counters.boots:
        begin_ms = boot.runs[0].first_ms
        if last_boot and boot.number > last_boot + 1:
            unseen.append(Unseen(last_boot + 1, boot.number - 1, last_ms, begin_ms))
        known = 0
        for run in boot.runs:
            if run.first > known + 1:
                count = run.first - known - 1
                missing.append(Missing(boot.number, known + 1, run.first - 1, count, last_ms, run.first_ms))
            if run.lost:
                missing.append(Missing(boot.number, run.first, run.last, run.lost, run.first_ms, run.last_ms))
            known, last_ms = run.last, run.last_ms
        last_boot = boot.number
    runs = [run for boot in counters.boots for run in boot.runs]
    return Gaps(
        tuple(one for one in missing if _touches(one.after_ms, one.before_ms, from_ms, to_ms)),
        tuple(one for one in unseen if _touches(one.after_ms, one.before_ms, from_ms, to_ms)),
        min((run.first_ms for run in runs), default=None),
        max((run.last_ms for run in runs), default=None),
    )


def _touches(after_ms: int, before_ms: int, from_ms: int, to_ms: int) -> bool:
    # a clock that was set back gives an end before the begin
    return min(after_ms, before_ms) <= to_ms and max(after_ms, before_ms) >= from_ms


def _with(runs: Sequence[Run], seq: int, time_ms: int) -> tuple[Run, ...]:
    """Return the runs of a boot with one more number."""
    before = [run for run in runs if run.last < seq]
    after = [run for run in runs if run.first > seq]
    if len(before) + len(after) < len(runs):  # inside a run whose gaps are only counted
        run = runs[len(before)]
        return (*before, replace(run, lost=max(0, run.lost - 1)), *after)
    new = Run(seq, seq, 0, time_ms, time_ms)
    if before and before[-1].last == seq - 1:
        new = _joined(before.pop(), new)
    if after and after[0].first == seq + 1:
        new = _joined(new, after.pop(0))
    return (*before, new, *after)


def _joined(low: Run, high: Run) -> Run:
    """Return one run of two; the gap between them, if there is one, is only counted from now on."""
    lost = low.lost + high.lost + high.first - low.last - 1
    return Run(low.first, high.last, lost, low.first_ms, high.last_ms)


def _thinned(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    return runs if len(runs) <= RUNS_MAX else (_joined(runs[0], runs[1]), *runs[2:])


def _run_value(run: Run) -> list[Value]:
    return [run.first, run.last, run.lost, run.first_ms, run.last_ms]


def _boot(value: Value) -> Boot:
    pair = value if isinstance(value, list) else []
    if len(pair) != 2:  # noqa: PLR2004 - a pair
        raise FormatError("counters.boots: a number and its runs are due")
    number, values = pair
    if type(number) is not int or not 1 <= number <= INT_MAX:
        raise FormatError(f"counters.boots: a number 1..{INT_MAX} is due")
    if not isinstance(values, list) or not 1 <= len(values) <= RUNS_MAX:
        raise FormatError(f"counters.boots: 1..{RUNS_MAX} runs are due")
    runs = tuple(_run(entry) for entry in values)
    last = 0
    for run in runs:
        if run.first <= last:
            raise FormatError("counters.boots: its runs are out of order")
        last = run.last
    return Boot(number, runs)


def _run(value: Value) -> Run:
    if not isinstance(value, list) or len(value) != _RUN_LENGTH:
        raise FormatError("counters.boots: a run is five numbers")
    numbers = [entry for entry in value if type(entry) is int and 0 <= entry <= INT_MAX]
    if len(numbers) != _RUN_LENGTH or not 1 <= numbers[0] <= numbers[1] or numbers[2] > numbers[1] - numbers[0]:
        raise FormatError("counters.boots: a run is first, last, lost and two times")
    return Run(*numbers)
