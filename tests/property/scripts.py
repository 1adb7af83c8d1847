"""Strategies of what lying devices do."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.lies import Lie
from tests.fuzz.virtual import Refused

greetings = st.lists(st.one_of(st.just(b""), st.binary(max_size=20), st.builds(Refused, st.booleans())), max_size=4)


def lies(kinds: list[str], count_max: int) -> st.SearchStrategy[list[Lie]]:
    """Scripts in which honest answers are as likely as all lies together, so that reads come far."""
    lie = st.builds(Lie, st.sampled_from(kinds), st.integers(0, 255), st.binary(max_size=40))
    return st.lists(st.one_of(st.just(Lie("honest")), lie), max_size=count_max)
