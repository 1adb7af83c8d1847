"""Who may read what, for reading: grants, reading keys, sealed contents and anchored read logs.

State of the namespace
  grants/CLASS/SUBJECT/PAGE     up to 64 grants each; SUBJECT is device/ID, station/ID, organisation/ID or all
  past/CLASS/SUBJECT            how many grants gave up their places
  past/CLASS/SUBJECT/PAGE       up to 64 of them each, with the block in which they did, in that order
  grant/ID                      class, subject, page: where a grant stands; holder: organisation whose account got it,
                                or null
  open/device/ID/GRANT          true: a grant of a device that nobody has ended, though its time may be over
  key/ACCOUNT                   key, height: the X25519 key to which contents are sealed for the account
  kid/KID                       account, height: whose key it is or was; never removed
  sealed/CONTENT                class, subject, title, by, data_centre, blob, size, keys, height: the newest sealed file
                                of a content, and the data centre through which it entered
  blob/DIGEST                   content: the blob is or was its sealed file; never removed
  anchor/ORGANISATION/NUMBER    entries, head, height, time_ms: where a read log stood
  anchors/ORGANISATION          number, entries: of its newest anchor
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from master.contracts import membership
from master.contracts.context import Entries, Reads
from wire.blob import BLOB_BYTES_MAX
from wire.cose import KID_BYTES
from wire.fields import Fields
from wire.grants import ALL, NAMESPACE, PAGES_MAX, PUBLIC, Grant, decode_page, page_key, split_subject
from wire.types import DIGEST_BYTES, Digest

OWNER, SEALER, GATEWAY = "owner", "sealer", "gateway"
"""Permissions that need no grant: to the owner of a subject, to who sealed a content, to the gateway of a device."""
KEYS_MAX: Final = 256
"""Accounts for which one content may be sealed."""
TITLE_CHARACTERS_MAX: Final = 128
_NAMED: Final = "blobs"
"""Namespace in which the ledger notes every blob that an accepted call has named (docs/spec, BL-4)."""
MOVED_GRANTS_MAX: Final = 256
"""Grants that may end because devices move to another owner at once."""
DEVICE: Final = "device/"
ACCOUNT: Final = "account"
GRANT_FIELDS: Final = ("class", "subject", "page", "holder")
_SEALED: Final = ("class", "subject", "title", "by", "data_centre", "blob", "size", "keys", "height")


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants to read."""

    data_class: str
    subject: str
    content: Digest | None = None
    """Of a sealed content."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed content as the state has it."""

    data_class: str
    subject: str
    title: str
    by: str
    """Organisation that sealed it."""
    blob: Digest
    size: int
    keys: tuple[bytes, ...]


def permission(state: Reads, account: str, question: Question, height: int, time_ms: int) -> str | None:
    """Return what lets an account read something: `OWNER`, `SEALER`, `GATEWAY`, or a grant's id in hex; else None.

    Args:
        state: After the block of ``height``.
        account: Who reads.
        question: What.
        height: Of the newest block.
        time_ms: Its block time.
    """
    organisation = membership.organisation_of_account(state, account)
    if organisation is None or not _is_active(state, account, organisation, time_ms):
        return None
    is_gateway = membership.gateway(state, account) is not None
    chain = tuple(subjects_around(state, question.subject))
    by_nature = _by_nature(state, account if is_gateway else None, organisation, chain, question.content)
    if by_nature is not None:
        return by_nature
    readers = {f"account/{account}"}
    if not is_gateway:
        readers |= {f"organisation/{organisation}", f"role/{membership.role(state, organisation)}"}
    for subject in (*chain, ALL):
        for grant in grants(state, question.data_class, subject):
            if grant.reader in readers and grant.holds(height, time_ms) and _is_held(state, grant.id, organisation):
                return grant.id.hex()
    return None


def _by_nature(
    state: Reads, gateway: str | None, organisation: str, chain: tuple[str, ...], content: Digest | None
) -> str | None:
    """Return what lets an account read without a grant."""
    if gateway is not None:
        found = membership.gateway(state, gateway)
        return GATEWAY if found is not None and f"station/{found.station}" in chain else None
    if f"organisation/{organisation}" in chain:
        return OWNER
    record = None if content is None else sealed(state, content)
    return SEALER if record is not None and record.by == organisation else None


def subjects_around(state: Reads, subject: str) -> Iterator[str]:
    """Yield a subject and what it is part of: a device's station, a station's organisation; not `ALL`."""
    kind, name = split_subject(subject)
    if kind == "device":
        yield subject
        device, retired = membership.device(state, name), membership.retired_device(state, name)
        gateway = None if device is None else membership.gateway(state, device.gateway)
        if gateway is not None:
            kind, name = "station", gateway.station
        elif retired is not None:
            kind, name = "organisation", retired[1]
        else:
            return
    if kind == "station":
        yield f"station/{name}"
        station = membership.station(state, name)
        if station is None:
            return
        kind, name = "organisation", station.organisation
    if kind == "organisation":
        yield f"organisation/{name}"


def owner(state: Reads, subject: str) -> str | None:
    """Return the organisation that owns a subject; None for `ALL` and for what there is not."""
    kind, name = split_subject(subject)
    if kind == "device":
        retired = membership.retired_device(state, name)
        return membership.organisation_of_device(state, name) if retired is None else retired[1]
    if kind == "station":
        station = membership.station(state, name)
        return None if station is None else station.organisation
    return name if kind == "organisation" and membership.organisation(state, name) is not None else None


def is_account(state: Reads, kind: str, name: str) -> bool:
    """Tell whether there is such a reader."""
    if kind == "role":
        return True
    if kind == "organisation":
        return membership.organisation(state, name) is not None
    return membership.organisation_of_account(state, name) is not None


def grants(state: Reads, data_class: str, subject: str) -> Iterator[Grant]:
    """Yield all grants of a class and subject that have a place, ended ones too, the order of giving within a page."""
    entries = _entries(state)
    for number in range(PAGES_MAX):
        value = entries.get(page_key(data_class, subject, number))
        if value is None:
            return
        yield from decode_page(value)


def open_grants(state: Reads, device: str) -> Iterator[Digest]:
    """Yield the grants of a device that nobody has ended."""
    prefix = open_entry(DEVICE + device, b"")
    for key, _ in _entries(state).scan(prefix):
        yield key[len(prefix) :]


def reading_key(state: Reads, account: str) -> bytes | None:
    """Return the X25519 key of an account, 32 bytes; None when it has none."""
    value = _entries(state).get(key_entry(account))
    return None if value is None else Fields(value, ("key", "height"), "access.key").digest("key")


def sealed(state: Reads, content: Digest) -> Sealed | None:
    """Return what the state says of a sealed content."""
    value = _entries(state).get(b"sealed/" + content)
    if value is None:
        return None
    fields = Fields(value, _SEALED, "access.sealed")
    return Sealed(
        fields.text("class"),
        fields.text("subject"),
        fields.text("title", TITLE_CHARACTERS_MAX),
        fields.identifier("by"),
        fields.digest("blob"),
        fields.integer("size", 1, BLOB_BYTES_MAX),
        tuple(key for key in fields.sequence("keys", KEYS_MAX) if isinstance(key, bytes) and len(key) == KID_BYTES),
    )


def content_of_blob(state: Reads, blob: Digest) -> Digest | None:
    """Return the content whose sealed file a blob is or was, None when it is none's."""
    value = _entries(state).get(blob_entry(blob))
    return None if value is None else Fields(value, ("content",), "access.blob").digest("content")


def blob_label(state: Reads, blob: Digest) -> Question | None:
    """Return what reading a blob asks for: class public unless a content names it; None when no accepted call has."""
    content = content_of_blob(state, blob)
    if content is None:
        return Question(PUBLIC, ALL) if is_named(state, blob) else None
    found = sealed(state, content)
    assert found is not None
    return Question(found.data_class, found.subject, content)


def is_named(state: Reads, blob: Digest) -> bool:
    """Tell whether an accepted call, of whatever contract, has named a blob."""
    return state.namespace(_NAMED).get(b"d/" + blob) is not None


def last_anchor(state: Reads, organisation: str) -> tuple[int, int, Digest]:
    """Return number, entries and head of the newest anchor of a node's read log; 0, 0 and zeros before the first."""
    entries = _entries(state)
    value = entries.get(f"anchors/{organisation}".encode("ascii"))
    if value is None:
        return 0, 0, bytes(DIGEST_BYTES)
    number = Fields(value, ("number", "entries"), "access.anchors").integer("number", 1)
    record = entries.get(f"anchor/{organisation}/{number}".encode("ascii"))
    fields = Fields(record, ("entries", "head", "height", "time_ms"), "access.anchor")
    return number, fields.integer("entries", 1), fields.digest("head")


def grant_entry(grant: Digest) -> bytes:
    """Return the key of the state entry that says where a grant stands."""
    return b"grant/" + grant


def key_entry(account: str) -> bytes:
    """Return the key of the state entry of an account's reading key."""
    return f"key/{account}".encode("ascii")


def blob_entry(blob: Digest) -> bytes:
    """Return the key of the state entry about a sealed file."""
    return b"blob/" + blob


def open_entry(subject: str, grant: Digest) -> bytes:
    """Return the key of the state entry that lists a grant of a device until somebody ends it."""
    return b"open/" + subject.encode("ascii") + b"/" + grant


def _is_held(state: Reads, grant: Digest, organisation: str) -> bool:
    """Tell whether a grant is still its reader's: a gateway that goes to another owner leaves what others gave it."""
    fields = Fields(_entries(state).get(grant_entry(grant)), GRANT_FIELDS, "access.grant")
    return fields.is_null("holder") or fields.identifier("holder") == organisation


def _is_active(state: Reads, account: str, organisation: str, time_ms: int) -> bool:
    return membership.is_active(state, organisation, time_ms) and not membership.is_suspended(state, account, time_ms)


def _entries(state: Reads) -> Entries:
    return state.namespace(NAMESPACE)
