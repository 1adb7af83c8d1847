from __future__ import annotations

import pytest

from agent.io.clock import GradedClock
from agent.io.ledgertime import AHEAD_MS, BEHIND_MS, LedgerTime
from kit.clock import FakeClock


# holds LC-10
def test_ledger_clock_runs_on_from_the_newest_header() -> None:
    clock = FakeClock()
    ledger = LedgerTime(clock)
    assert (ledger.now_ms(), ledger.offset_ms()) == (None, None)
    ledger.heard(5_000)
    assert ledger.now_ms() == 5_000
    clock.advance(300)
    assert ledger.now_ms() == 5_300
    ledger.heard(5_100)  # it was under way for longer
    assert ledger.now_ms() == 5_300
    ledger.heard(6_000)
    clock.set_now(0)
    assert ledger.now_ms() == 6_000


# holds LC-10
@pytest.mark.parametrize("is_synchronised", [True, False])
@pytest.mark.parametrize(
    ("offset_ms", "source"),
    [
        (0, "system"),
        (-BEHIND_MS, "system"),
        (AHEAD_MS, "system"),
        (-BEHIND_MS - 1, "ledger"),
        (AHEAD_MS + 1, "ledger"),
        (-(10**12), "ledger"),
    ],
)
def test_clock_that_disagrees_with_the_ledger_gives_way(
    offset_ms: int,
    source: str,
    is_synchronised: bool,  # noqa: FBT001
) -> None:
    inner = FakeClock()
    clock = GradedClock(inner, lambda: is_synchronised)
    ledger_ms = inner.now_ms() - offset_ms
    clock.ledger.heard(ledger_ms)
    if offset_ms > 0 and is_synchronised:
        source = "system"  # something keeps it right: then the headers are old
    graded = clock.graded()
    if source == "ledger":
        assert (graded.time_ms, graded.source, graded.offset_ms, graded.grade) == (
            ledger_ms,
            "ledger",
            offset_ms,
            "suspect",
        )
        assert clock.best_ms() == ledger_ms
    else:
        assert (graded.time_ms, graded.source, graded.offset_ms) == (inner.now_ms(), "system", None)
        assert graded.grade == ("synchronised" if is_synchronised else "unknown")
        assert clock.best_ms() == inner.now_ms()
