"""Whether each device was verified lately enough, from the rows of the view of devices (docs/spec CO-1, CO-2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from master.contracts.parameters import DAY_MS
from master.views.consistency import DEVICES, IN_USE
from master.views.schema import Comparison, Condition, Json, Row, Schema, integer, nullable, record, text

COMPLIANT: Final = "compliant"
OVERDUE: Final = "overdue"
NEVER: Final = "never_verified"
STATUSES: Final = (COMPLIANT, OVERDUE, NEVER)
FILTERS: Final = ("gateway", "station", "area", "model")
"""Those of the list of devices that the report knows, too."""
_TOLD: Final = ("device", "gateway", "station", "area", "vendor", "model", "serial")
_BASELINE: Final = ("baseline_ms", "baseline_height", "baseline_tx", "baseline_method")

_PROPERTIES: Final[Mapping[str, Schema]] = {
    **{name: DEVICES.column(name).schema() for name in (*_TOLD, *_BASELINE)},
    "days": nullable(integer("Whole days of block time since then.", 0)),
    "days_max": integer("On-chain parameter baseline_days_max.", 1),
    "due_ms": nullable(integer("Block time up to which it must be verified anew, ms since 1970 UTC.")),
    "status": text("compliant: verified within days_max; overdue: longer ago; never_verified.", STATUSES),
}
COLUMNS: Final = tuple(_PROPERTIES)
"""Fields of an entry in the order of a CSV file."""
SCHEMA: Final = record(_PROPERTIES, "When a device was verified last, against the limit.")


def entry(row: Row, head_time_ms: int, days_max: int) -> dict[str, Json]:
    """Return the entry of a device.

    Args:
        row: Stored row of the table of devices.
        head_time_ms: Block time of the newest block, ms since 1970 UTC.
        days_max: On-chain parameter ``baseline_days_max``.

    Source: NERC CIP-010-4 R2.1, which asks for 35 days.
    """
    told: dict[str, Json] = {name: row[name] for name in (*_TOLD, *_BASELINE)}
    since_ms = row["baseline_ms"]
    if not isinstance(since_ms, int):
        return {**told, "days": None, "days_max": days_max, "due_ms": None, "status": NEVER}
    due_ms, age_ms = since_ms + days_max * DAY_MS, max(0, head_time_ms - since_ms)
    status = COMPLIANT if head_time_ms <= due_ms else OVERDUE
    return {**told, "days": age_ms // DAY_MS, "days_max": days_max, "due_ms": due_ms, "status": status}


EVERY: Final = Condition("condition", Comparison.ONE_OF, IN_USE)
"""What the rows of all devices meet that are to be verified at all: those that have not retired."""


def conditions(status: str, head_time_ms: int, days_max: int) -> tuple[Condition, ...]:
    """Return what the rows of all devices of one status meet, and no others."""
    oldest_ms = head_time_ms - days_max * DAY_MS
    if status == NEVER:
        return (Condition("verified_ms", Comparison.LESS, 0),)
    if status == OVERDUE:
        return (Condition("verified_ms", Comparison.AT_LEAST, 0), Condition("verified_ms", Comparison.LESS, oldest_ms))
    return (Condition("verified_ms", Comparison.AT_LEAST, max(oldest_ms, 0)),)
