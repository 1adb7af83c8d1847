"""Who may take one of few places, so that no member shuts others out (docs/spec, clause MB-16). Integers only."""

from __future__ import annotations


def has_place(own: int, taken: int, places: int) -> bool:
    """Tell whether a member that holds some of the places may take one more.

    It may while more are free than it holds. So one member alone gets half of them; what several hold is bounded by
    what they leave free; and who holds none is shut out only once every place is taken, for which it needs many members
    (nine for 256 places, five for eight).

    Args:
        own: Places of the member, 0 or more.
        taken: Places of all, its own among them.
        places: As many as there are.
    """
    return own < places - taken
