"""What must follow from each fault, and what was seen: no clock, no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from firmware_sim.faults import BYTES, CATALOGUE, IDENTITY, MODBUS
from rules.appraisal import IDENTITY_CHANGED, MATCH, appraise
from tests.campaign.bench import CHECKSUMS, Bench
from wire.evidence import Item

FAULTS: Final = tuple(name for name, entry in CATALOGUE.items() if MODBUS in entry.protocols)
CHANGED_BACK: Final = "changed-back"

RELAY: Final = {
    "truncated-file": "mismatch",
    "lying-checksum": MATCH,
    "changing-file": MATCH,
}
"""Where only the device's word is read, these show otherwise: its own checksum is all that is known, and its method
says so."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The verdicts on one item of one device.

    Attributes:
        verdicts: Every verdict that is not ``match``, once; ``identity_changed`` among them.
        settings_version: What the device says of its settings, which moves with its revision counter if it has one.
    """

    verdicts: frozenset[str]
    settings_version: str


def see(bench: Bench, device: str, item: Item) -> Seen:
    """Appraise what was read of a device."""
    site = bench.sites[device]
    found = appraise(site.nameplate, item, site.slots, lambda kind, digest: bench.owner(device, kind, digest))
    verdicts = {finding.verdict for finding in found.artefacts} - {MATCH}
    if found.identity is not None:
        verdicts.add(found.identity.verdict)
    version = next((artefact.version for artefact in item.artefacts if artefact.kind == "settings"), "")
    return Seen(frozenset(verdicts), version)


def expected(bench: Bench, device: str, fault: str) -> frozenset[str]:
    """Return the verdicts that must be there after the next complete poll, and no others may."""
    entry = CATALOGUE[fault]
    if entry.changes == IDENTITY:
        return frozenset({IDENTITY_CHANGED})
    if entry.changes != BYTES or fault == CHANGED_BACK:  # what was changed back shows in the revision counter alone
        return frozenset()
    relay = bench.sites[device].config.profile == CHECKSUMS
    verdict = RELAY.get(fault, entry.verdict) if relay else entry.verdict
    return frozenset({verdict} - {MATCH})
