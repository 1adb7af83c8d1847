"""What the ledger's counters of a gateway say, in words for people."""

from __future__ import annotations

from typing import Final

from client.output import when
from rules.gaps import Gaps, Missing, Unseen

NAMESPACE: Final = "consistency"
PREFIX: Final = "counters/"
NOT_SHOWN: Final = (
    "evidence that the gateway signed after the last number known here, or at the end of a start that another start "
    "followed; whether its clock was right; what a missing number said, or whether the contract refused it"
)


def unknown_parts(found: Gaps, from_ms: int | None, to_ms: int | None, before_boot: int) -> list[str]:
    """Say of which parts of the period nothing can be told."""
    if found.known_from_ms is None or found.known_to_ms is None:
        return ["the ledger never took evidence of this gateway"]
    parts = []
    if before_boot and (from_ms or 0) < found.known_from_ms:
        parts.append(f"numbers before {when(found.known_from_ms)} are not kept any more, up to boot {before_boot}")
    if to_ms is not None and to_ms > found.known_to_ms:
        parts.append(
            f"the newest evidence is of {when(found.known_to_ms)}; of what was signed after it nothing is known"
        )
    return parts


def gap_lines(found: Gaps) -> list[str]:
    """Name what is missing, or say that nothing is."""
    if found.missing or found.unseen:
        return [*map(_missing_line, found.missing), *map(_unseen_line, found.unseen)]
    if found.known_to_ms is None:
        return ["nothing is known"]
    return ["nothing is missing between the first and the last number that the ledger took of each start"]


def _missing_line(one: Missing) -> str:
    numbers = str(one.first) if one.first == one.last else f"{one.first}..{one.last}"
    some = "" if one.count == one.last - one.first + 1 else f"{one.count} of "
    return f"missing: {some}boot {one.boot} seq {numbers}, signed {_between(one.after_ms, one.before_ms)}"


def _unseen_line(one: Unseen) -> str:
    boots = str(one.first) if one.first == one.last else f"{one.first}..{one.last}"
    return f"nothing at all of boot {boots}, {_between(one.after_ms, one.before_ms)}; it may have ended before a report"


def _between(after_ms: int, before_ms: int) -> str:
    return f"before {when(before_ms)}" if not after_ms else f"between {when(after_ms)} and {when(before_ms)}"
