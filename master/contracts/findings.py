"""What the contract `consistency` keeps and tells of findings: maps whose names stand in the order of the bytes.

A finding is told in up to four places, and what stands in order already is encoded in a third of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rules.appraisal import (
    IDENTITY_CHANGED,
    MATCH,
    PENDING,
    UNKNOWN_REFERENCE,
    Appraisal,
    Fill,
    Finding,
    Owner,
)
from wire.cbor import Value
from wire.evidence import Artefact, Item
from wire.genesis import Device
from wire.types import Digest

CLOCK_UNTRUSTED: Final = "clock_untrusted"
FindingValue = dict[str, Value]
_FILL: Final = ("order", "record", "account", "release", "time_ms", "organisation")
_TEXT_CHARACTERS: Final = 64
"""Of a free text that a device gives, so many characters go into an event."""


def finding_value(finding: Finding) -> FindingValue:
    """Return a finding as a CBOR map."""
    difference = finding.difference
    where: Value = None
    if difference is not None:
        where = {"unit": difference.unit, "count": difference.count, "numbers": list(difference.numbers)}
    return {
        "fill": None if finding.fill is None else _fill_value(finding.fill),
        "kind": finding.kind,
        "owner": None if finding.owner is None else _owner_value(finding.owner),
        "detail": finding.detail,
        "method": finding.method,
        "verdict": finding.verdict,
        "difference": where,
        "read_sha256": finding.read_sha256,
        "expected_sha256": finding.expected_sha256,
    }


def _owner_value(owner: Owner) -> FindingValue:
    return {name: getattr(owner, name) for name in ("kind", "target", "release")}


def _fill_value(fill: Fill) -> FindingValue:
    return {name: getattr(fill, name) for name in _FILL}


def causes_of(appraisal: Appraisal, found: Sequence[FindingValue], *, clock_trusted: bool) -> dict[str, list[Value]]:
    """Return the findings that call for an alarm, by cause.

    Args:
        appraisal: Of one device.
        found: Its findings as `finding_values` returns them.
        clock_trusted: Whether the gateway's clock may be believed.
    """
    causes: dict[str, list[Value]] = {}
    # a slot is never given up, so a device had a reference once if it has one now
    referenced = any(finding.expected_sha256 is not None for finding in appraisal.artefacts)
    for finding, value in zip(appraisal.artefacts, found, strict=False):
        if finding.verdict in (MATCH, PENDING) or (finding.verdict == UNKNOWN_REFERENCE and not referenced):
            continue
        causes.setdefault(finding.verdict, []).append(value)
    if appraisal.identity is not None:
        causes[IDENTITY_CHANGED] = [found[-1]]
    if not clock_trusted:
        causes[CLOCK_UNTRUSTED] = [finding_value(Finding("clock", CLOCK_UNTRUSTED, None, None, None))]
    return causes


def finding_values(appraisal: Appraisal) -> list[FindingValue]:
    """Return the findings about artefacts, and behind them that about the identity, if there is one."""
    identity = () if appraisal.identity is None else (appraisal.identity,)
    return [finding_value(finding) for finding in (*appraisal.artefacts, *identity)]


def verdict_data(
    device: Device,
    item_digest: Digest | None,
    item: Item,
    appraisal: Appraisal,
    found: Sequence[FindingValue],
    pending_until_ms: int | None,
) -> dict[str, Value]:
    """Return what the event verdict_changed says of a device.

    Args:
        device: As registered.
        item_digest: Of the item that counts.
        item: That item.
        appraisal: Of it.
        found: Its findings as `finding_values` returns them.
        pending_until_ms: Last block time of the work order that it is inside of, None where it is in none.
    """
    read = {artefact.kind: artefact for artefact in item.artefacts}
    identity: dict[str, Value] = {
        name: getattr(item.identity, name)[:_TEXT_CHARACTERS]
        for name in ("model", "serial", "vendor", "product", "revision")
    }
    return {
        "device": device.id,
        "gateway": device.gateway,
        "identity": identity,
        "verdicts": {finding.kind: finding.verdict for finding in appraisal.artefacts},
        "artefacts": [
            _artefact_value(value, read.get(finding.kind))
            for finding, value in zip(appraisal.artefacts, found, strict=False)
        ],
        "item_digest": item_digest,
        "identity_changed": appraisal.identity is not None,
        "pending_until_ms": pending_until_ms,
    }


def _artefact_value(found: FindingValue, artefact: Artefact | None) -> FindingValue:
    """Return a finding with what was read, in the order of the bytes."""
    return {
        "fill": found["fill"],
        "kind": found["kind"],
        "name": None if artefact is None else artefact.name[:_TEXT_CHARACTERS],
        "size": None if artefact is None else artefact.size,
        "owner": found["owner"],
        "detail": found["detail"],
        "errors": [] if artefact is None else list(artefact.errors),
        "method": found["method"],
        "verdict": found["verdict"],
        "version": None if artefact is None else artefact.version[:_TEXT_CHARACTERS],
        "read_size": None if artefact is None else artefact.read_size,
        "difference": found["difference"],
        "read_sha256": found["read_sha256"],
        "expected_sha256": found["expected_sha256"],
    }
