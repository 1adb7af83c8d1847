"""How serious an alarm is, by rule: the cause, what was concerned, and how it was read.

Four levels, as IEC 62682 advises at most; the rule that gives them is data, so that every node says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rules.appraisal import ALTERED, IDENTITY_CHANGED, INCOMPLETE, MISFILLED, MISMATCH, MISSING, REVOKED, SUPERSEDED

LOW: Final = "low"
MEDIUM: Final = "medium"
HIGH: Final = "high"
CRITICAL: Final = "critical"
SEVERITIES: Final = (LOW, MEDIUM, HIGH, CRITICAL)
"""Ascending."""

EVIDENCE_CONFLICT: Final = "evidence_conflict"
"""Cause of a gateway's alarm: two different pieces of evidence under one pair of counters."""

_BY_CAUSE: Final[Mapping[str, str]] = {
    MISMATCH: HIGH,
    MISFILLED: HIGH,
    IDENTITY_CHANGED: HIGH,
    ALTERED: HIGH,
    REVOKED: HIGH,
    EVIDENCE_CONFLICT: HIGH,
    INCOMPLETE: MEDIUM,
    MISSING: MEDIUM,
    SUPERSEDED: MEDIUM,
}
"""Every other cause is low."""
_CONTENT: Final = frozenset({MISMATCH, MISFILLED})
"""Causes that say that a device holds content which nobody approved for it."""
_EXECUTED: Final = frozenset({"firmware", "strategy"})
"""Kinds that decide what a device does; a settings file is a table of values within what they allow."""
_SECOND_HAND: Final = frozenset({"relayed-file", "vendor-checksum", "version-string"})
"""Methods by which somebody else's word stands between the device and the verdict."""


def severity(cause: str, artefacts: Iterable[tuple[str, str | None]], base: Mapping[str, str]) -> str:
    """Return the severity of an alarm: that of its worst artefact.

    The cause gives the level to begin with. Content that nobody approved in what a device executes is one level
    higher; what was not read from the device itself is one lower, whatever the kind.

    Args:
        cause: Verdict that raises the alarm.
        artefacts: Kind and method of each artefact inside it; the method is None where nothing was read.
        base: Levels by cause that the consortium decided, in place of this rule's own.

    Returns:
        One of `SEVERITIES`.
    """
    level = SEVERITIES.index(base.get(cause, _BY_CAUSE.get(cause, LOW)))
    shifts = [
        int(cause in _CONTENT and kind in _EXECUTED) - int(method in _SECOND_HAND) for kind, method in artefacts
    ] or [0]
    return SEVERITIES[min(max(level + max(shifts), 0), len(SEVERITIES) - 1)]
