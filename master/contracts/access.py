"""Contract `access`, version 1: grants, reading keys, sealed contents, anchors of read logs.

State: see `access_records`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from master.contracts import access_records, membership
from master.contracts.access_records import (
    ACCOUNT,
    DEVICE,
    GRANT_FIELDS,
    KEYS_MAX,
    TITLE_CHARACTERS_MAX,
    blob_entry,
    grant_entry,
    key_entry,
    open_entry,
)
from master.contracts.context import (
    OK,
    BlobArgument,
    Context,
    Contract,
    Refused,
    blob_argument,
    check_arguments,
    digest_argument,
)
from master.contracts.parameters import TIME_AHEAD_MS_MAX
from wire.cbor import Value
from wire.cose import KID_BYTES, kid_of
from wire.errors import FormatError
from wire.fields import Fields, is_plain
from wire.grants import (
    ALL,
    NAMESPACE,
    PAGE_GRANTS,
    PAGES_MAX,
    Grant,
    PastGrant,
    check_class,
    decode_page,
    decode_past,
    page_key,
    past_count_key,
    past_key,
    split_reader,
    split_subject,
)
from wire.receipt import Event
from wire.types import INT_MAX, Digest

_BLOB: Final = BlobArgument("blob", "size")
ENTRIES_AHEAD_MAX: Final = 1 << 24
"""Entries of a read log that one anchor may stand for: whoever once had the key must not use up the numbers."""
_PRIME: Final = 2**255 - 19
_ORDER_8: Final = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
"""u-coordinates of the points of order 8 (RFC 7748, 4.1: curve25519)."""
_WEAK: Final = frozenset({0, 1, _PRIME - 1, *_ORDER_8})
_TOP_BIT: Final = 1 << 255


def grant(ctx: Context, args: dict[str, Value]) -> str:
    """Let somebody read a class of a subject; the transaction's id is the grant's.

    Args:
        ctx: The caller belongs to the owner of the subject, as an organisation or its operator. For the subject `ALL`
            it is the super node.
        args: ``class``; ``subject``: device/ID, station/ID, organisation/ID or all; ``reader``: account/ID,
            organisation/ID or role/ROLE; ``from_ms`` and ``until_ms``: block times or null.

    Raises:
        Refused: bad-args; bad-class; bad-subject; bad-reader; unknown-subject; unknown-reader; super-node-only;
            not-the-owner; bad-period: it would never count, or from too far ahead on; too-many-grants
            that are not over.
    """
    check_arguments(args, ("class", "subject", "reader", "from_ms", "until_ms"))
    data_class, subject = _place(args)
    try:
        reader_kind, name = split_reader(args["reader"])
    except FormatError:
        raise Refused("bad-reader") from None
    from_ms, until_ms = _time(args, "from_ms"), _time(args, "until_ms")
    if until_ms is not None and until_ms <= max(ctx.time_ms, from_ms or 0):
        raise Refused("bad-period")
    if from_ms is not None and from_ms > ctx.time_ms + TIME_AHEAD_MS_MAX:
        raise Refused("bad-period")
    _check_owner(ctx, subject)
    if not access_records.is_account(ctx, reader_kind, name):
        raise Refused("unknown-reader")
    page, known = _open_page(ctx, data_class, subject)
    made = Grant(
        id=ctx.tx_id,
        reader=f"{reader_kind}/{name}",
        by=ctx.sender,
        from_height=ctx.height,
        from_ms=from_ms,
        until_ms=until_ms,
        ended_height=None,
        ended_by=None,
    )
    _put_page(ctx, data_class, subject, page, (*known, made))
    holder = membership.organisation_of_account(ctx, name) if reader_kind == ACCOUNT else None
    place: dict[str, Value] = {"class": data_class, "subject": subject, "page": page, "holder": holder}
    ctx.put(grant_entry(made.id), place)
    if subject.startswith(DEVICE):
        ctx.put(open_entry(subject, made.id), value=True)
    data: dict[str, Value] = {"grant": made.id, "class": data_class, "subject": subject, "reader": made.reader}
    ctx.emit("access_granted", subject, {**data, "by": made.by, "from_ms": from_ms, "until_ms": until_ms})
    return OK


def revoke(ctx: Context, args: dict[str, Value]) -> str:
    """End a ``grant`` from this block on; its record stays.

    Raises:
        Refused: bad-args; unknown-grant: or one that gave up its place, being over; not-the-owner: nor did the caller's
            organisation give it; super-node-only; already-revoked.
    """
    check_arguments(args, ("grant",))
    wanted = digest_argument(args, "grant")
    found = _find(ctx, wanted)
    if found is None:
        raise Refused("unknown-grant")
    if not _is_office(ctx) or membership.organisation_of_account(ctx, found.grant.by) != ctx.organisation:
        _check_owner(ctx, found.subject)
    if found.grant.ended_height is not None:
        raise Refused("already-revoked")
    _end(ctx, found)
    return OK


def follow_move(ctx: Context, event: Event) -> None:
    """End what was granted of devices that get another owner; of that one there is nothing yet.

    `member_places` moves no more devices and grants to another owner at once than `MOVED_GRANTS_MAX`.
    """
    devices = event.data.get("devices", [event.data.get("device")])
    if event.data["organisation"] == event.data["former"]:
        return
    assert isinstance(devices, list)
    for device in devices:
        for identifier in tuple(access_records.open_grants(ctx, str(device))):
            found = _find(ctx, identifier)
            assert found is not None
            _end(ctx, found)


def register(ctx: Context, args: dict[str, Value]) -> str:
    """Make ``key``, an X25519 public key, the one to which contents are sealed for the caller; its old one retires.

    Raises:
        Refused: bad-args; bad-key: a point of small order; key-in-use: it is or was anybody's; wrong-sender: the caller
            is neither an organisation nor a gateway.
    """
    check_arguments(args, ("key",))
    key = digest_argument(args, "key")
    if int.from_bytes(key, "little") % _TOP_BIT % _PRIME in _WEAK:
        raise Refused("bad-key")
    if ctx.sender != ctx.organisation and membership.gateway(ctx, ctx.sender) is None:
        raise Refused("wrong-sender")
    kid = kid_of(key)
    if ctx.get(b"kid/" + kid) is not None:
        raise Refused("key-in-use")
    before = access_records.reading_key(ctx, ctx.sender)
    ctx.put(b"kid/" + kid, {"account": ctx.sender, "height": ctx.height})
    ctx.put(key_entry(ctx.sender), {"key": key, "height": ctx.height})
    replaces = None if before is None else kid_of(before)
    ctx.emit("reading_key_registered", ctx.sender, {"key": key, "kid": kid, "replaces": replaces})
    return OK


def seal(ctx: Context, args: dict[str, Value]) -> str:
    """Name a sealed file, which a quorum holds before this counts; or the same content wrapped for other keys.

    Args:
        ctx: The caller is an organisation or its operator; for a known content, of the one that sealed it first.
        args: ``content``: keyed digest of the content; ``blob`` and ``size``: of the sealed file; ``class``,
            ``subject`` and ``title``: as in the file; ``keys``: ids of the keys for which it is wrapped, ascending.

    Raises:
        Refused: bad-args; bad-blob; bad-class; bad-subject; unknown-subject; bad-title; bad-keys; retired-key: nobody's
            present key; wrong-sender; not-the-sealer; other-content: known with another class, subject or title;
            already-sealed; blob-in-use: it is public, or another content's.
    """
    check_arguments(args, ("content", "blob", "size", "class", "subject", "title", "keys"))
    content, blob = digest_argument(args, "content"), blob_argument(args, _BLOB)
    data_class, subject = _place(args)
    title = args["title"]
    if not isinstance(title, str) or not 1 <= len(title) <= TITLE_CHARACTERS_MAX or not is_plain(title):
        raise Refused("bad-title")
    if not _is_office(ctx):
        raise Refused("wrong-sender")
    if subject != ALL and access_records.owner(ctx, subject) is None:
        raise Refused("unknown-subject")
    keys = _present_keys(ctx, args)
    known = access_records.sealed(ctx, content)
    if known is not None:
        if known.by != ctx.organisation:
            raise Refused("not-the-sealer")
        if (known.data_class, known.subject, known.title) != (data_class, subject, title):
            raise Refused("other-content")
        if known.blob == blob.digest:
            raise Refused("already-sealed")
    of_blob = access_records.content_of_blob(ctx, blob.digest)
    if of_blob != content and (of_blob is not None or access_records.is_named(ctx, blob.digest)):
        raise Refused("blob-in-use")
    record: dict[str, Value] = {
        "class": data_class,
        "subject": subject,
        "title": title,
        "by": ctx.organisation,
        "data_centre": membership.data_centre(ctx, ctx.organisation),
        "blob": blob.digest,
        "size": blob.size,
        "keys": list(keys),
        "height": ctx.height,
    }
    ctx.put(b"sealed/" + content, record)
    ctx.put(blob_entry(blob.digest), {"content": content})
    ctx.emit("content_sealed", content.hex(), {"content": content, **record})
    return OK


def anchor(ctx: Context, args: dict[str, Value]) -> str:
    """Note where the read log of the caller's node stands: ``entries`` of them, the newest with digest ``head``.

    Args:
        ctx: The caller is an organisation.
        args: ``number``: of this anchor, one more than the last; ``entries``: more than at the last; ``head``.

    Raises:
        Refused: bad-args; wrong-sender; bad-order; too-far: more entries at once than any log holds.
    """
    check_arguments(args, ("number", "entries", "head"))
    head, number, entries = digest_argument(args, "head"), _count(args, "number"), _count(args, "entries")
    if ctx.sender != ctx.organisation:
        raise Refused("wrong-sender")
    last = ctx.get(f"anchors/{ctx.sender}".encode("ascii"))
    fields = Fields({"number": 0, "entries": 0} if last is None else last, ("number", "entries"), "access.anchors")
    if number != fields.integer("number") + 1 or entries <= fields.integer("entries"):
        raise Refused("bad-order")
    if entries > fields.integer("entries") + ENTRIES_AHEAD_MAX:
        raise Refused("too-far")
    ctx.put(f"anchors/{ctx.sender}".encode("ascii"), {"number": number, "entries": entries})
    record: dict[str, Value] = {"entries": entries, "head": head, "height": ctx.height, "time_ms": ctx.time_ms}
    ctx.put(f"anchor/{ctx.sender}/{number}".encode("ascii"), record)
    ctx.emit("read_log_anchored", ctx.sender, {"number": number, "entries": entries, "head": head})
    return OK


@dataclass(frozen=True, slots=True)
class _Found:
    """A grant and where it stands."""

    data_class: str
    subject: str
    page: int
    known: tuple[Grant, ...]
    """Of the page."""
    at: int

    @property
    def grant(self) -> Grant:
        return self.known[self.at]


def _find(ctx: Context, wanted: Digest) -> _Found | None:
    value = ctx.get(grant_entry(wanted))
    if value is None:
        return None
    fields = Fields(value, GRANT_FIELDS, "access.grant")
    data_class, subject, page = fields.text("class"), fields.text("subject"), fields.integer("page")
    known = decode_page(ctx.get(page_key(data_class, subject, page)))
    at = next(place for place, entry in enumerate(known) if entry.id == wanted)
    return _Found(data_class, subject, page, known, at)


def _end(ctx: Context, found: _Found) -> None:
    """End a grant from this block on."""
    ended = replace(found.grant, ended_height=ctx.height, ended_by=ctx.sender)
    entries = (*found.known[: found.at], ended, *found.known[found.at + 1 :])
    _put_page(ctx, found.data_class, found.subject, found.page, entries)
    ctx.delete(open_entry(found.subject, ended.id))
    ctx.emit("access_revoked", found.subject, {"grant": ended.id, "by": ctx.sender})


def _place(args: dict[str, Value]) -> tuple[str, str]:
    try:
        data_class = check_class(args["class"])
    except FormatError:
        raise Refused("bad-class") from None
    try:
        split_subject(args["subject"])
    except FormatError:
        raise Refused("bad-subject") from None
    return data_class, str(args["subject"])


def _time(args: dict[str, Value], name: str) -> int | None:
    value = args[name]
    if value is not None and (type(value) is not int or not 0 <= value <= INT_MAX):
        raise Refused("bad-args")
    return value


def _count(args: dict[str, Value], name: str) -> int:
    value = args[name]
    if type(value) is not int or not 1 <= value <= INT_MAX:
        raise Refused("bad-args")
    return value


def _is_office(ctx: Context) -> bool:
    """Tell whether the caller is an organisation or its operator, and no gateway."""
    return ctx.sender == ctx.organisation or membership.operator(ctx, ctx.sender) is not None


def _check_owner(ctx: Context, subject: str) -> None:
    """Refuse who may not decide about a subject."""
    if subject == ALL:
        if not _is_office(ctx) or membership.role(ctx, ctx.organisation) != membership.SUPER_NODE:
            raise Refused("super-node-only")
        return
    owner = access_records.owner(ctx, subject)
    if owner is None:
        raise Refused("unknown-subject")
    if not _is_office(ctx) or owner != ctx.organisation:
        raise Refused("not-the-owner")


def _open_page(ctx: Context, data_class: str, subject: str) -> tuple[int, tuple[Grant, ...]]:
    """Return the number and grants of the first page with room; else a grant that is over makes some."""
    over: _Found | None = None
    for number in range(PAGES_MAX):
        value = ctx.get(page_key(data_class, subject, number))
        if value is None:
            return number, ()
        known = decode_page(value)
        if len(known) < PAGE_GRANTS:
            return number, known
        places = (place for place, entry in enumerate(known) if entry.is_over(ctx.height, ctx.time_ms))
        at = next(places, None) if over is None else None
        over = over if at is None else _Found(data_class, subject, number, known, at)
    if over is None:
        raise Refused("too-many-grants")
    _leave(ctx, over)
    return over.page, (*over.known[: over.at], *over.known[over.at + 1 :])


def _leave(ctx: Context, found: _Found) -> None:
    """Move a grant that is over to the pages of the past."""
    count = ctx.get(past_count_key(found.data_class, found.subject)) or 0
    assert isinstance(count, int)
    page, place = divmod(count, PAGE_GRANTS)
    key = past_key(found.data_class, found.subject, page)
    known = decode_past(ctx.get(key)) if place else ()
    ctx.put(key, {"grants": [entry.to_value() for entry in (*known, PastGrant(ctx.height, found.grant))]})
    ctx.put(past_count_key(found.data_class, found.subject), count + 1)
    ctx.delete(grant_entry(found.grant.id))
    ctx.delete(open_entry(found.subject, found.grant.id))


def _put_page(ctx: Context, data_class: str, subject: str, page: int, entries: tuple[Grant, ...]) -> None:
    ctx.put(page_key(data_class, subject, page), {"grants": [entry.to_value() for entry in entries]})


def _present_keys(ctx: Context, args: dict[str, Value]) -> tuple[Digest, ...]:
    values = args["keys"]
    if not isinstance(values, list) or not 1 <= len(values) <= KEYS_MAX:
        raise Refused("bad-keys")
    keys = tuple(value for value in values if isinstance(value, bytes) and len(value) == KID_BYTES)
    if len(keys) != len(values) or list(keys) != sorted(set(keys)):
        raise Refused("bad-keys")
    for kid in keys:
        value = ctx.get(b"kid/" + kid)
        account = None if value is None else Fields(value, ("account", "height"), "access.kid").identifier("account")
        present = None if account is None else access_records.reading_key(ctx, account)
        if present is None or kid_of(present) != kid:
            raise Refused("retired-key")
    return keys


ACCESS: Final = Contract(
    name=NAMESPACE,
    version=1,
    methods={"grant": grant, "revoke": revoke, "register": register, "seal": seal, "anchor": anchor},
    reactions={("membership", "device_moved"): follow_move, ("membership", "gateway_moved"): follow_move},
    modules=("master.contracts.access", "master.contracts.access_records", "wire.grants"),
    blobs={"seal": (_BLOB,)},
)
