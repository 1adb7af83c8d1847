"""What must follow from each fault, and what was seen: no clock, no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from firmware_sim.faults import BYTES, CATALOGUE, IDENTITY
from rules.appraisal import IDENTITY_CHANGED, MATCH, altered_between, altered_finding, appraise
from tests.campaign.bench import Bench, Kind
from wire.evidence import Item

CHANGED_BACK: Final = "changed-back"

WORD: Final = {
    "truncated-file": "mismatch",
    "lying-checksum": MATCH,
    "changing-file": MATCH,
}
"""Where only the device's word of its files is read, these show otherwise: its own checksum is all that is known, and
its method says so."""


def faults_of(protocol: str) -> tuple[str, ...]:
    """Name the faults that exist in a protocol, those that exist nowhere else first."""
    names = [name for name, entry in CATALOGUE.items() if protocol in entry.protocols]
    return tuple(sorted(names, key=lambda name: len(CATALOGUE[name].protocols)))


@dataclass(frozen=True, slots=True)
class Seen:
    """The verdicts on one item of one device.

    Attributes:
        verdicts: Every verdict that is not ``match``, once; ``identity_changed`` among them.
        counts: The device has a revision counter that the agent reads.
    """

    verdicts: frozenset[str]
    counts: bool = False


def see(bench: Bench, device: str, before: Item | None, item: Item) -> Seen:
    """Appraise what was read of a device, and what its revision counter says since ``before``."""
    site = bench.sites[device]
    found = appraise(site.nameplate, item, site.slots, lambda kind, digest: bench.owner(device, kind, digest))
    verdicts = {finding.verdict for finding in found.artefacts} - {MATCH}
    if found.identity is not None:
        verdicts.add(found.identity.verdict)
    if (altered := altered_between(before, item)) is not None:
        verdicts.add(altered_finding(altered).verdict)
    return Seen(frozenset(verdicts), item.revision is not None)


def expected(kind: Kind, fault: str, *, counts: bool) -> frozenset[str]:
    """Return the verdicts that must be there after the next complete poll, and no others may.

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
