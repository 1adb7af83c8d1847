"""What was added last is remembered within bounds, and forgetting costs no memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from master.recent import RecentSet


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
