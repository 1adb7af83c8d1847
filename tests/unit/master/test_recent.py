"""What was added last is remembered within bounds, and forgetting costs no memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from master.recent import RecentMap, RecentSet


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 8))
def test_recent_holds_the_newest_and_at_most_twice_as_many(added: list[int], count: int) -> None:
    recent: RecentSet[int] = RecentSet(count)
    for entry in added:
        recent.add(entry)
    newest = added[-count:]
    assert all(entry in recent for entry in newest)
    assert sum(entry in recent for entry in set(added)) <= 2 * count
    assert -1 not in recent


def test_recent_does_not_grow_once_it_is_full() -> None:
    recent: RecentSet[bytes] = RecentSet(1000)
    tracemalloc.start()
    try:
        held = []
        for first in range(0, 40_000, 2000):
            for number in range(first, first + 2000):
                recent.add(number.to_bytes(32, "big"))
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(held[1:]) <= held[0] + 65_536


def find(recent: RecentMap[int, int], key: int) -> int | None:
    return recent.young.get(key, recent.old.get(key))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=200), st.integers(1, 16))
def test_recent_map_gives_the_last_value_of_the_newest_keys_and_no_more_than_it_may(
    puts: list[tuple[int, int]], count: int
) -> None:
    recent: RecentMap[int, int] = RecentMap(count)
    last: dict[int, int] = {}
    for key, value in puts:
        recent.put(key, value)
        last[key] = value
        assert find(recent, key) == value or count == 1
        assert all(find(recent, known) in (None, value) for known, value in last.items())
    assert len(recent.young.keys() | recent.old.keys()) <= max(1, count)


def test_recent_map_bounds_the_bytes_of_its_values_and_drops() -> None:
    recent: RecentMap[int, int] = RecentMap(100, 10)
    for key in range(5):
        recent.put(key, key, 3)
    assert [find(recent, key) for key in range(5)] == [None, None, 2, 3, 4]
    recent.drop(4)
    recent.drop(3)
    recent.drop(9)
    assert [find(recent, key) for key in range(5)] == [None, None, 2, None, None]


def test_recent_map_does_not_grow_once_it_is_full() -> None:
    recent: RecentMap[bytes, bytes] = RecentMap(2000)
    tracemalloc.start()
    try:
        held = []
        for first in range(0, 40_000, 2000):
            for number in range(first, first + 2000):
                recent.put(number.to_bytes(32, "big"), b"")
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(held[1:]) <= held[0] + 65_536
