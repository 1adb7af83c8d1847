"""Places of which no member takes so many that others are shut out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rules.places import has_place


# holds MB-16
def test_place_is_had_while_more_are_free_than_the_member_holds() -> None:
    assert [has_place(own, own, 8) for own in range(5)] == [True, True, True, True, False]
    assert (has_place(0, 7, 8), has_place(0, 8, 8), has_place(0, 9, 8)) == (True, False, False)
    assert (has_place(0, 0, 1), has_place(1, 1, 1)) == (True, False)


# holds MB-16
@given(st.integers(8, 256), st.lists(st.integers(0, 2), max_size=300))
def test_places_are_left_for_who_has_none_whatever_three_members_do(places: int, wishes: list[int]) -> None:
    held = [0, 0, 0]
    for member in wishes:
        held[member] += has_place(held[member], sum(held), places)
    assert has_place(0, sum(held), places)
    assert max(held) <= (places + 1) // 2
