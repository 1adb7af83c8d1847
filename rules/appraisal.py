"""Appraisal (RFC 9334): evidence about one device against its reference values, verdict by verdict.

A reference value is found by the digest of what was read, never by a file's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from rules.difference import difference_text
from wire.difference import CHUNKS, Difference
from wire.evidence import METHODS_READING, Artefact, Identity, Item
from wire.types import CHUNK_BYTES, Digest

MATCH: Final = "match"
MISMATCH: Final = "mismatch"
MISFILLED: Final = "misfilled"
SUPERSEDED: Final = "superseded"
INCOMPLETE: Final = "incomplete"
MISSING: Final = "missing"
PENDING: Final = "pending"
REVOKED: Final = "revoked"
UNKNOWN_REFERENCE: Final = "unknown_reference"
IDENTITY_CHANGED: Final = "identity_changed"
ALTERED: Final = "altered_between_polls"
VERDICTS: Final = (
    INCOMPLETE,
    MATCH,
    MISFILLED,
    MISMATCH,
    MISSING,
    PENDING,
    REVOKED,
    SUPERSEDED,
    UNKNOWN_REFERENCE,
)
"""Verdicts of an artefact; identity_changed and altered_between_polls are of a device."""
CLAIMS: Final[Mapping[str, str]] = {
    "full-file": "the whole file, read from the device",
    "record-read": "the content, put together again from the device's registers or objects",
    "relayed-file": "a file that another system handed over; the device itself was not read",
    "vendor-checksum": "the checksum that the device names; no content was read",
    "version-string": "the version that the device names; no content was read",
}
"""What a verdict is about, by the method that the fingerprint was obtained by: it says this much and no more."""
EXCUSED: Final = (INCOMPLETE, MISMATCH, MISSING, SUPERSEDED, UNKNOWN_REFERENCE)
"""Verdicts that a change on its way passes through: inside a window they are pending. Another device's file is not
among them: whoever fills it in had better hear of it while still on site."""
IDENTITY_KIND: Final = "identity"
"""Stands for the artefact kind where a finding is about the device itself."""
REVISION_KIND: Final = "revision"
"""Stands for the artefact kind where a finding is about the device's counter of its changes."""
UNSTABLE: Final = "unstable"
_SHOWN_CHARACTERS: Final = 64
_SHORT_HEX: Final = 12


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


@dataclass(frozen=True, slots=True)
class Window:
    """An approved work order whose time is now (docs/spec AP-7)."""

    order: Digest
    """Id of the work order."""
    release: str
    """Name of the planned release."""
    until_ms: int
    """Last block time at which it holds, milliseconds since 1970 UTC."""
    contents: Mapping[str, Digest]
    """SHA-256 by artefact kind that the planned release brings."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Who said last, and signed, that a program was filled into the device."""

    record: Digest
    """Id of the transaction that says so."""
    account: str
    organisation: str
    order: Digest
    """Id of the work order that it was done under."""
    release: str
    """Name of the release that was to be filled."""
    time_ms: int
    """Block time of the record, milliseconds since 1970 UTC."""


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
    method: str | None = None
    """How what was read was obtained: the verdict says no more than `CLAIMS` of it; None where nothing was read."""
    owner: Owner | None = None
    """Whose reference value it is: of a file that was filled into the wrong device, or of an old release."""
    fill: Fill | None = None
    """The record of whoever filled the device last, where the file is another device's."""


@dataclass(frozen=True, slots=True)
class Appraisal:
    """All that one item says about one device."""

    artefacts: tuple[Finding, ...]
    """One per artefact read and per slot, sorted by kind."""
    identity: Finding | None
    """Set when the device is not the one on the nameplate."""


def appraise(
    nameplate: Nameplate,
    item: Item,
    slots: Mapping[str, Slot],
    find_owner: FindOwner,
    window: Window | None = None,
    fill: Fill | None = None,
) -> Appraisal:
    """Return the verdicts about one device.

    Args:
        nameplate: Model and serial number by the ledger.
        item: What was read.
        slots: Effective reference value by artefact kind.
        find_owner: Looks content up among all reference values, superseded ones included.
        window: The work order inside whose time this is, if there is one.
        fill: The newest record of a fill of this device, if there is one.

    Source: DESIGN section 7.
    """
    read = {artefact.kind: artefact for artefact in item.artefacts}
    findings = tuple(
        _blamed(_excused(_appraise_artefact(kind, read.get(kind), slots.get(kind), find_owner), window), fill)
        for kind in sorted({*read, *slots})
    )
    return Appraisal(findings, _appraise_identity(nameplate, item.identity))


def claim(verdict: str, method: str | None) -> str | None:
    """Return in a few words what a verdict is about, None where nothing was read."""
    return None if method is None or verdict == MISSING else CLAIMS[method]


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
        return Finding(kind, UNKNOWN_REFERENCE, None, read.sha256, None, method=read.method)
    # what was compared with anything but the value that counts says nothing here
    difference = read.difference
    if difference is not None and (slot.revoked is not None or difference.reference != slot.sha256):
        difference = None
    verdict, detail, owner = _judge(read, slot, find_owner, difference)
    if difference is not None:
        where = difference_text(kind, difference, max(read.size, slot.size))
        detail = where if detail is None else f"{detail}; {where}"
    return Finding(kind, verdict, _expected(slot), read.sha256, detail, difference, read.method, owner)


def _expected(slot: Slot) -> Digest | None:
    return None if slot.revoked is not None else slot.sha256


def _excused(finding: Finding, window: Window | None) -> Finding:
    """Let a verdict wait while an approved work order is about this artefact."""
    if window is None or finding.verdict in (MATCH, REVOKED) or finding.kind not in window.contents:
        return finding
    if finding.read_sha256 == window.contents[finding.kind] and finding.verdict != INCOMPLETE:
        detail = f"it is of the planned release {window.release}"
    elif finding.verdict in EXCUSED:
        detail = finding.verdict if finding.detail is None else f"{finding.verdict}: {finding.detail}"
    else:
        return finding
    return replace(finding, verdict=PENDING, detail=f"inside work order {_short(window.order)}, {detail}", owner=None)


def _blamed(finding: Finding, fill: Fill | None) -> Finding:
    """Name the record of whoever filled another device's file in."""
    if fill is None or finding.verdict != MISFILLED:
        return finding
    who = f"{fill.account} signed for filling release {fill.release} under work order {_short(fill.order)}"
    return replace(finding, detail=f"{finding.detail}; {who}", fill=fill)


def _judge(
    read: Artefact, slot: Slot, find_owner: FindOwner, difference: Difference | None
) -> tuple[str, str | None, Owner | None]:
    if read.method in METHODS_READING and read.read_size < read.size:
        return INCOMPLETE, f"{read.read_size} of {read.size} bytes could be read{_cut(read.read_size)}", None
    if UNSTABLE in read.errors:
        # whatever the last of its reads gave: a device that answers each time otherwise must not pass by chance
        return MISMATCH, "two reads in a row never agreed", None
    if slot.revoked is None and read.sha256 == slot.sha256:
        return MATCH, None if read.method == METHODS_READING[0] else f"by {read.method}: {CLAIMS[read.method]}", None
    owner = find_owner(read.kind, read.sha256)
    if owner is None:
        return *_judge_unknown(read, slot, difference), None
    return *_judge_owned(owner), owner


def _judge_owned(owner: Owner) -> tuple[str, str]:
    """Judge content that is or was some reference value, but not the one that counts."""
    if not owner.own:
        was = ", which was revoked" if owner.revoked is not None else ""
        return MISFILLED, f"it is the {owner.kind} of {owner.target}, release {owner.release}{was}"
    if owner.revoked is not None:
        return REVOKED, owner.revoked
    return SUPERSEDED, f"it is of release {owner.release}"


def _judge_unknown(read: Artefact, slot: Slot, difference: Difference | None) -> tuple[str, str | None]:
    """Judge content that is nobody's reference value."""
    if difference is not None and is_cut_off(read.size, slot.size, difference):
        return INCOMPLETE, f"the file has {read.size} of {slot.size} bytes{_cut(read.size)}"
    return MISMATCH, slot.revoked or _difference(read, slot)


def is_cut_off(read_bytes: int, expected_bytes: int, difference: Difference) -> bool:
    """Tell whether a file is the beginning of another one, as far as its whole chunks show.

    Args:
        read_bytes: Length of the file that was read.
        expected_bytes: Length of the reference value.
        difference: Between the two.

    At least one whole chunk is as expected, and all that it has; what stands in its last, partial chunk is not known.
    """
    if difference.unit != CHUNKS or read_bytes >= expected_bytes:
        return False
    first = read_bytes // CHUNK_BYTES
    chunks = -(-expected_bytes // CHUNK_BYTES)
    return first > 0 and difference.numbers[0] == first and difference.count == chunks - first


def _cut(size: int) -> str:
    """Say where content ends, for people."""
    return f"; it ends in chunk {size // CHUNK_BYTES} of {CHUNK_BYTES} bytes"


def _short(digest: Digest) -> str:
    return digest.hex()[:_SHORT_HEX]


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
