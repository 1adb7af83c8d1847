"""What must follow from each fault: no clock, no network."""

from __future__ import annotations

from typing import Final

from firmware_sim.faults import BYTES, CATALOGUE, IDENTITY, LYING_CHECKSUM
from rules.appraisal import ALTERED, IDENTITY_CHANGED, MATCH
from tests.campaign.bench import Kind

CHANGED_BACK: Final = "changed-back"

WORD: Final = {
    "truncated-file": "mismatch",
    LYING_CHECKSUM: MATCH,
    "changing-file": MATCH,
}
"""Where only the device's word of its files is read, these show otherwise: its own checksum is all that is known, and
its method says so."""


def faults_of(protocol: str) -> tuple[str, ...]:
    """Name the faults that exist in a protocol, those that exist nowhere else first."""
    names = [name for name, entry in CATALOGUE.items() if protocol in entry.protocols]
    return tuple(sorted(names, key=lambda name: len(CATALOGUE[name].protocols)))


def expected(kind: Kind, fault: str, *, counts: bool) -> frozenset[str]:
    """Return the causes of the alarms that must stand after the next complete poll, and no others may.

    Args:
        kind: Of the device.
        fault: Of the catalogue.
        counts: The device has a revision counter that the agent reads.
    """
    entry = CATALOGUE[fault]
    if entry.changes == IDENTITY:
        return frozenset({IDENTITY_CHANGED})
    if entry.changes != BYTES or (fault == CHANGED_BACK and not counts):
        return frozenset()
    verdict = WORD.get(fault, entry.verdict) if "firmware" in kind.words else entry.verdict
    return frozenset({verdict} - {MATCH})


def expected_after(kind: Kind, fault: str, *, counts: bool) -> frozenset[str]:
    """Return the causes that must stand after the device was put right again.

    A device that lied about its checksum and takes its files anew counts that, and says nothing else of it.
    """
    lied = fault == LYING_CHECKSUM and "firmware" in kind.words
    return frozenset({ALTERED}) if lied and counts else frozenset()
