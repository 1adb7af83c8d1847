"""What a stopped node knows of the height that is being decided, for a quarantine that cannot end by itself (FP-11)."""

from __future__ import annotations

from collections.abc import Iterable

from master.consensus.guard import SignerGuard
from master.consensus.records import Accepted, Prepared, Record, Signed, height_of
from wire.certificate import Certificate


def known_at(height: int, guard: SignerGuard | None, records: Iterable[Record]) -> tuple[int, Certificate | None]:
    """Return the highest view that a node has been in at a height, and its prepared certificate of the highest view.

    Args:
        height: One above the node's head.
        guard: What its key signed last, None when that is lost.
        records: Of its write-ahead log.
    """
    views = [0]
    if guard is not None and guard.height == height:
        views.append(guard.view)
    highest: Certificate | None = None
    for record in records:
        if height_of(record) != height:
            continue
        if isinstance(record, Signed):
            views.append(record.message.view)
        elif isinstance(record, Accepted):
            views.append(record.propose.view)
        elif isinstance(record, Prepared) and (highest is None or record.certificate.view > highest.view):
            highest = record.certificate
    return max(views), highest
