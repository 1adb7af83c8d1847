"""Numbers of a gateway's evidence: what is there, what is missing, and what cannot be said."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.gaps import BOOTS_MAX, RUNS_MAX, Counters, Gaps, Missing, Unseen, decode_counters, gaps, read_counters, taken
from wire import cbor
from wire.errors import FormatError

FOR_EVER = (0, 10**12)


def counted(numbers: Iterable[tuple[int, int]]) -> Counters:
    """Return the counters after evidence of these (boot, seq), each signed at 1000 * boot + seq."""
    counters = Counters()
    for boot, seq in numbers:
        counters = taken(counters, boot, seq, 1000 * boot + seq)
    return counters


def found(*numbers: tuple[int, int], period: tuple[int, int] = FOR_EVER) -> Gaps:
    return gaps(counted(numbers), *period)


# holds GP-2
def test_gateway_whose_numbers_are_all_there_misses_nothing() -> None:
    assert found((7, 1), (7, 2), (8, 1), (8, 2), (8, 3)) == Gaps((), (), 7001, 8003)
    assert found() == Gaps((), (), None, None)


# holds GP-1 GP-2
def test_numbers_between_two_that_are_there_are_missing_by_name() -> None:
    answer = found((7, 1), (7, 2), (7, 5), (7, 9), (8, 3))
    assert answer.missing == (
        Missing(7, 3, 4, 2, 7002, 7005),
        Missing(7, 6, 8, 3, 7005, 7009),
        Missing(8, 1, 2, 2, 7009, 8003),
    )
    assert answer.unseen == ()


# holds GP-2
def test_number_that_comes_late_closes_its_gap() -> None:
    assert found((7, 1), (7, 4), (7, 3), (7, 2)).missing == ()
    assert found((7, 5), (7, 4), (7, 1)).missing == (Missing(7, 2, 3, 2, 7001, 7004),)


# holds GP-2
def test_starts_of_which_nothing_came_are_named() -> None:
    answer = found((7, 1), (9, 1), (12, 1))
    assert answer.unseen == (Unseen(8, 8, 7001, 9001), Unseen(10, 11, 9001, 12001))
    assert answer.missing == ()


# holds GP-2
@pytest.mark.parametrize(
    ("period", "count"),
    [((0, 7001), 0), ((0, 7002), 1), ((7003, 7004), 1), ((7005, 9000), 1), ((7006, 9000), 0)],
)
def test_gap_counts_in_each_period_that_it_may_be_of(period: tuple[int, int], count: int) -> None:
    assert len(found((7, 1), (7, 2), (7, 5), (7, 6), period=period).missing) == count


def test_gap_around_a_clock_that_was_set_back_is_not_lost() -> None:
    counters = taken(taken(Counters(), 1, 1, 9000), 1, 3, 5000)
    assert len(gaps(counters, 6000, 7000).missing) == 1


# holds GP-3
def test_more_gaps_than_are_kept_apart_are_counted() -> None:
    numbers = [(1, seq) for seq in range(1, 4 * RUNS_MAX, 2)]
    answer = found(*numbers)
    first = answer.missing[0]
    assert (first.first, first.count) == (1, len(numbers) - RUNS_MAX)
    assert sum(one.count for one in answer.missing) == len(numbers) - 1
    closed = gaps(counted([*numbers, (1, 2)]), *FOR_EVER)
    assert closed.missing[0].count == first.count - 1


# holds GP-3
def test_starts_that_are_too_long_ago_are_forgotten_and_the_answer_says_since_when_it_knows() -> None:
    counters = counted((boot, 1) for boot in range(1, BOOTS_MAX + 4))
    assert len(counters.boots) == BOOTS_MAX
    assert (counters.before_boot, counters.before_ms) == (3, 3001)
    assert gaps(counters, *FOR_EVER).known_from_ms == 4001
    assert gaps(counters, *FOR_EVER).unseen == ()
    assert taken(counters, 2, 9, 1) == taken(counters, 3, 9, 1) == counters


GOOD = counted([(7, 1), (7, 3)]).to_value()


# holds GP-1
@pytest.mark.parametrize(
    "boots",
    [
        [[7]],
        [[7, 1]],
        [[7, []]],
        [[0, [[1, 1, 0, 1, 1]]]],
        [["7", [[1, 1, 0, 1, 1]]]],
        [[7, [[1, 1, 0, 1]]]],
        [[7, [None]]],
        [[7, [[2, 1, 0, 1, 1]]]],
        [[7, [[0, 1, 0, 1, 1]]]],
        [[7, [[1, 1, 1, 1, 1]]]],
        [[7, [[1, 1, 0, -1, 1]]]],
        [[7, [[3, 4, 0, 1, 1], [4, 5, 0, 1, 1]]]],
        [[7, [[1, 1, 0, 1, 1]]], [7, [[1, 1, 0, 1, 1]]]],
        [7],
    ],
)
def test_counters_of_another_shape_are_refused(boots: list[cbor.Value]) -> None:
    with pytest.raises(FormatError, match="counters"):
        decode_counters({**GOOD, "boots": boots})


# holds GP-1
def test_counters_round_trip_through_their_bytes() -> None:
    counters = counted([(7, 1), (7, 3), (9, 2)])
    assert read_counters(cbor.encode(counters.to_value())) == counters
    assert read_counters(None) == Counters()


# holds GP-2
@given(st.permutations([(boot, seq) for boot in (3, 4) for seq in range(1, 13)]), st.integers(1, 24))
def test_numbers_in_any_order_lead_to_exactly_what_is_missing(order: list[tuple[int, int]], count: int) -> None:
    there = order[:count]
    missing = {
        (one.boot, seq) for one in gaps(counted(there), *FOR_EVER).missing for seq in range(one.first, one.last + 1)
    }
    newest = {boot: max((seq for number, seq in there if number == boot), default=0) for boot in (3, 4)}
    expected = {(boot, seq) for boot, last in newest.items() for seq in range(1, last + 1)} - set(there)
    assert missing == expected
    assert read_counters(cbor.encode(counted(there).to_value())) == counted(there)
    assert all(a.last < b.first for boot in counted(there).boots for a, b in itertools.pairwise(boot.runs))
