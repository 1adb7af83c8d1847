"""Appraisal (RFC 9334): evidence about one device against its reference values, verdict by verdict.

A reference value is found by the digest of what was read, never by a file's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rules.difference import difference_text
from wire.difference import Difference
from wire.evidence import METHODS_READING, Artefact, Identity, Item
from wire.types import Digest

MATCH: Final = "match"
MISMATCH: Final = "mismatch"
MISFILLED: Final = "misfilled"
SUPERSEDED: Final = "superseded"
INCOMPLETE: Final = "incomplete"
MISSING: Final = "missing"
REVOKED: Final = "revoked"
UNKNOWN_REFERENCE: Final = "unknown_reference"
IDENTITY_CHANGED: Final = "identity_changed"
ALTERED: Final = "altered_between_polls"
VERDICTS: Final = (INCOMPLETE, MATCH, MISFILLED, MISMATCH, MISSING, REVOKED, SUPERSEDED, UNKNOWN_REFERENCE)
"""Verdicts of an artefact; identity_changed and altered_between_polls are of a device."""
IDENTITY_KIND: Final = "identity"
"""Stands for the artefact kind where a finding is about the device itself."""
REVISION_KIND: Final = "revision"
"""Stands for the artefact kind where a finding is about the device's counter of its changes."""
UNSTABLE: Final = "unstable"
_SHOWN_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What the ledger knows of a device; an empty text stands for unknown."""

    model: str
    serial: str


@dataclass(frozen=True, slots=True)
class Slot:
    """The reference value that is effective for one artefact of the device."""

    size: int
    """Bytes."""
    sha256: Digest
    revoked: str | None = None
    """Set when its release was revoked and nothing has taken its place: who revoked it and why, for people."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose reference value some content is."""

    own: bool
    """Whether it is, or was, a value of the slot that is appraised."""
    target: str
    """For people: ``device ID`` or ``model TEXT``."""
    kind: str
    release: str
    revoked: str | None = None
    """Set when that release was revoked: by whom and why, for people."""


FindOwner = Callable[[str, Digest], Owner | None]
"""(artefact kind, SHA-256 of what was read) -> the reference value with this content, own ones before others'."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict about one artefact, or about the device's identity."""

    kind: str
    """Artefact kind, or `IDENTITY_KIND`."""
    verdict: str
    expected_sha256: Digest | None
    """Reference value, if there is one."""
    read_sha256: Digest | None
    """What was read, if anything was."""
    detail: str | None
    """What else there is to say, for people."""
    difference: Difference | None = None
    """Numbers of the items or chunks that differ from this reference value, if the gateway could name them."""


@dataclass(frozen=True, slots=True)
class Appraisal:
    """All that one item says about one device."""

    artefacts: tuple[Finding, ...]
    """One per artefact read and per slot, sorted by kind."""
    identity: Finding | None
    """Set when the device is not the one on the nameplate."""


def appraise(nameplate: Nameplate, item: Item, slots: Mapping[str, Slot], find_owner: FindOwner) -> Appraisal:
    """Return the verdicts about one device.

    Args:
        nameplate: Model and serial number by the ledger.
        item: What was read.
        slots: Effective reference value by artefact kind.
        find_owner: Looks content up among all reference values, superseded ones included.

    Source: DESIGN section 7.
    """
    read = {artefact.kind: artefact for artefact in item.artefacts}
    findings = tuple(
        _appraise_artefact(kind, read.get(kind), slots.get(kind), find_owner) for kind in sorted({*read, *slots})
    )
    return Appraisal(findings, _appraise_identity(nameplate, item.identity))


def altered_between(before: Item | None, item: Item) -> str | None:
    """Tell what a device's revision counter says that two reads could not see, for people; None for nothing.

    Args:
        before: The item that counted until now, None before the first.
        item: What was read.

    A counter that moved while all content is as before: the device was changed and changed back between two polls.
    """
    if before is None or before.revision is None or item.revision is None or before.revision == item.revision:
        return None
    if before.identity != item.identity or _contents(before) != _contents(item):
        return None  # another device, or a change that shows in its content: that is appraised as such
    return f"the device's revision counter went from {before.revision} to {item.revision}, and its content is as before"


def altered_finding(detail: str) -> Finding:
    """Return the finding that a device was changed and changed back."""
    return Finding(REVISION_KIND, ALTERED, None, None, detail)


def _contents(item: Item) -> list[tuple[str, Digest, int, tuple[str, ...]]]:
    return [(artefact.kind, artefact.sha256, artefact.read_size, artefact.errors) for artefact in item.artefacts]


def _appraise_artefact(kind: str, read: Artefact | None, slot: Slot | None, find_owner: FindOwner) -> Finding:
    if read is None:
        assert slot is not None
        return Finding(kind, MISSING, _expected(slot), None, slot.revoked)
    if slot is None:
        return Finding(kind, UNKNOWN_REFERENCE, None, read.sha256, None)
    verdict, detail = _judge(read, slot, find_owner)
    if slot.revoked is not None:
        return Finding(kind, verdict, None, read.sha256, detail)
    # what was compared with anything but the value that counts says nothing here
    difference = read.difference
    if difference is None or difference.reference != slot.sha256:
        return Finding(kind, verdict, slot.sha256, read.sha256, detail)
    where = difference_text(kind, difference, max(read.size, slot.size))
    detail = where if detail is None else f"{detail}; {where}"
    return Finding(kind, verdict, slot.sha256, read.sha256, detail, difference)


def _judge(read: Artefact, slot: Slot, find_owner: FindOwner) -> tuple[str, str | None]:
    truncated = read.method in METHODS_READING and read.read_size < read.size
    if truncated:
        return INCOMPLETE, f"{read.read_size} of {read.size} bytes could be read"
    if UNSTABLE in read.errors:
        # whatever the last of its reads gave: a device that answers each time otherwise must not pass by chance
        return MISMATCH, "two reads in a row never agreed"
    if slot.revoked is None and read.sha256 == slot.sha256:
        return MATCH, None
    owner = find_owner(read.kind, read.sha256)
    return (MISMATCH, slot.revoked or _difference(read, slot)) if owner is None else _judge_owned(owner)


def _judge_owned(owner: Owner) -> tuple[str, str | None]:
    """Return the verdict about content that is or was some reference value."""
    if not owner.own:
        was = ", which was revoked" if owner.revoked else ""
        return MISFILLED, f"it is the {owner.kind} of {owner.target}, release {owner.release}{was}"
    if owner.revoked is not None:
        return REVOKED, owner.revoked
    return SUPERSEDED, f"it is of release {owner.release}"


def _expected(slot: Slot) -> Digest | None:
    return None if slot.revoked is not None else slot.sha256


def _difference(read: Artefact, slot: Slot) -> str | None:
    if read.word is not None:
        return f"the device says {read.word.hex()[:_SHOWN_CHARACTERS]} by {read.method}"
    return None if read.size == slot.size else f"{read.size} bytes where {slot.size} are expected"


def _appraise_identity(nameplate: Nameplate, identity: Identity) -> Finding | None:
    differences = [
        f"{name} {_shown(said)} where {_shown(known)} is expected"
        for name, known, said in (
            ("model", nameplate.model, identity.model),
            ("serial", nameplate.serial, identity.serial),
        )
        if known not in ("", said)
    ]
    if not differences:
        return None
    return Finding(IDENTITY_KIND, IDENTITY_CHANGED, None, None, ", ".join(differences))


def _shown(text: str) -> str:
    """Return a text of the device between quotes, cut to 64 characters, so that it joins no neighbour."""
    return f"'{text[:_SHOWN_CHARACTERS]}'"
