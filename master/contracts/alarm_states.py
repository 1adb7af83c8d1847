"""The life of an alarm after IEC 62682, as data: which move leads from which state to which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rules.appraisal import ALTERED
from rules.severity import EVIDENCE_CONFLICT

RAISED: Final = "raised"
ACKNOWLEDGED: Final = "acknowledged"
RETURNED: Final = "returned"
RETURNED_ACKNOWLEDGED: Final = "returned_acknowledged"
CLOSED: Final = "closed"
SHELVED: Final = "shelved"
"""What readers see of an open alarm until its shelf ends; below it the alarm keeps one of the states above."""

STATES: Final = (RAISED, ACKNOWLEDGED, RETURNED, RETURNED_ACKNOWLEDGED, CLOSED)
OPEN: Final = (RAISED, ACKNOWLEDGED, RETURNED, RETURNED_ACKNOWLEDGED)
PRESENT: Final = (RAISED, ACKNOWLEDGED)
"""States in which the cause is there."""
ANSWERED: Final = (ACKNOWLEDGED, RETURNED_ACKNOWLEDGED)
"""States in which a person has taken note of all that the alarm says."""

APPEAR: Final = "appear"
CHANGE: Final = "change"
RETURN: Final = "return"
ACKNOWLEDGE: Final = "acknowledge"
SHELVE: Final = "shelve"
UNSHELVE: Final = "unshelve"
CLOSE: Final = "close"
BY_EVIDENCE: Final = (APPEAR, CHANGE, RETURN)
BY_PEOPLE: Final = (ACKNOWLEDGE, SHELVE, UNSHELVE, CLOSE)

PAST: Final = frozenset({ALTERED, EVIDENCE_CONFLICT})
"""Causes that tell of what happened once: nothing can take it back, so their alarms need not return to be closed."""
OF_GATEWAYS: Final = frozenset({EVIDENCE_CONFLICT})
"""Causes of alarms that are about a gateway and none of its devices."""

_MOVES: Final[Mapping[tuple[str, str], str]] = {
    # more or other artefacts: nobody has taken note of those yet
    (RAISED, CHANGE): RAISED,
    (ACKNOWLEDGED, CHANGE): RAISED,
    (RAISED, RETURN): RETURNED,
    (ACKNOWLEDGED, RETURN): RETURNED_ACKNOWLEDGED,
    (RETURNED, APPEAR): RAISED,
    (RETURNED_ACKNOWLEDGED, APPEAR): RAISED,
    (RAISED, ACKNOWLEDGE): ACKNOWLEDGED,
    (RETURNED, ACKNOWLEDGE): RETURNED_ACKNOWLEDGED,
    # what comes off the shelf wants to be acknowledged again
    (RAISED, SHELVE): RAISED,
    (ACKNOWLEDGED, SHELVE): RAISED,
    (RETURNED, SHELVE): RETURNED,
    **{(state, UNSHELVE): state for state in OPEN},
    # only a person ends an alarm, and only once its cause is gone
    (RETURNED_ACKNOWLEDGED, CLOSE): CLOSED,
}
_MOVES_OF_PAST: Final[Mapping[tuple[str, str], str]] = {**_MOVES, (ACKNOWLEDGED, CLOSE): CLOSED}


def moved(cause: str, state: str, move: str) -> str | None:
    """Return the state after a move, None when the move is not allowed."""
    return (_MOVES_OF_PAST if cause in PAST else _MOVES).get((state, move))
