"""Evidence (RFC 9334): what a gateway read from its devices, and when (docs/spec, clauses EV-1 to EV-17).

An item is the record of the read that first found this content. Later reads that find the same content keep the
item and only move the entry's read times, so that the digest of an item stands still while nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from wire import cbor
from wire.difference import Difference, decode_difference
from wire.errors import FormatError
from wire.fields import Fields
from wire.merkle import leaf_digest
from wire.types import EVIDENCE_BYTES_MAX, EVIDENCE_DEVICES_MAX, Digest, check_ascending, check_identifier, sha256

KINDS: Final = ("firmware", "settings", "strategy")
METHODS: Final = ("full-file", "record-read", "relayed-file", "vendor-checksum", "version-string")
"""Ways to obtain a fingerprint, strongest first; the way caps what a verdict may claim."""
METHODS_READING: Final = METHODS[:3]
"""Methods that fingerprint the bytes themselves."""
METHODS_WORD: Final = METHODS[3:]
"""Methods that read no content, but take the device's word for it."""
WORD_BYTES_MAX: Final = 256
STATUSES: Final = ("protocol-error", "read", "unreachable")
ERROR_CODES: Final = ("bad-size", "short-read", "unstable")
CLOCK_SOURCES: Final = ("irig-b", "ledger", "manual", "ntp", "ptp", "system")
CLOCK_GRADES: Final = ("suspect", "synchronised", "unknown")
ARTEFACTS_MAX: Final = len(KINDS)
"""At most one of each kind."""
OFFSET_MS_MAX: Final = 2**62


@dataclass(frozen=True, slots=True)
class Clock:
    """The gateway's clock when it signed."""

    time_ms: int
    """Milliseconds since 1970 UTC."""
    source: str
    """One of `CLOCK_SOURCES`."""
    offset_ms: int | None
    """Estimated offset from the source, milliseconds, or None when unknown."""
    grade: str
    """One of `CLOCK_GRADES`."""


@dataclass(frozen=True, slots=True)
class SeenBlock:
    """The newest block that the gateway had verified; the evidence cannot be older than it."""

    height: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Identity:
    """What the device says of itself, as text; empty where it says nothing."""

    vendor: str
    product: str
    revision: str
    serial: str
    model: str


@dataclass(frozen=True, slots=True)
class Artefact:
    """One firmware image, strategy table or setting list as it was read."""

    kind: str
    """One of `KINDS`."""
    name: str
    version: str
    """Version that the device declares."""
    size: int
    """Bytes that the device declares."""
    read_size: int
    """Bytes that were read and digested; 0 with a method of `METHODS_WORD`."""
    sha256: Digest
    """SHA-256 of the bytes read, or of what `word_bytes` returns."""
    chunk_root: Digest
    """RFC 9162 tree head over chunks of 65,536 bytes."""
    method: str
    """One of `METHODS`."""
    read_from_ms: int
    read_to_ms: int
    errors: tuple[str, ...]
    """Sorted codes of `ERROR_CODES`."""
    word: bytes | None = None
    """What the device says of its content, 1..256 bytes, with a method of `METHODS_WORD`; else None."""
    difference: Difference | None = None
    """Where it differs from a reference value that the gateway holds; None where it does not, or cannot say."""

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the artefact as a CBOR map; it has a field ``word`` or ``difference`` only where there is one."""
        value = {name: _plain(getattr(self, name)) for name in _ARTEFACT_ORDER}
        if self.word is not None:
            value["word"] = self.word
        if self.difference is not None:
            value["difference"] = self.difference.to_value()
        return value


@dataclass(frozen=True, slots=True)
class Item:
    """A device's identity and artefacts, sorted by kind."""

    identity: Identity
    artefacts: tuple[Artefact, ...]
    revision: int | None = None
    """How often the device says that it changed, by a counter of its own; None where it has none."""
    _bytes: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """Canonical bytes, if it was read from them."""

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the item as a CBOR map; it has a field ``revision`` only where there is one."""
        value: dict[str, cbor.Value] = {
            "identity": {name: getattr(self.identity, name) for name in _IDENTITY_ORDER},
            "artefacts": [artefact.to_value() for artefact in self.artefacts],
        }
        return value if self.revision is None else {**value, "revision": self.revision}

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(self.to_value()) if self._bytes is None else self._bytes

    def digest(self) -> Digest:
        """Return SHA-256 of the canonical item."""
        return sha256(self.encode())


@dataclass(frozen=True, slots=True)
class Entry:
    """One device in a report."""

    device: str
    status: str
    """One of `STATUSES`: how the newest read ended."""
    read_from_ms: int | None
    """Start of the last completed read, None before the first."""
    read_to_ms: int | None
    item_digest: Digest | None
    """Digest of the last item, None before the first completed read."""
    item: Item | None
    """The whole item while it has no receipt yet, else None."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one gateway signs at one time about all its devices (or a part of them, when split)."""

    gateway: str
    boot: int
    """Number of this start of the gateway, from 1."""
    seq: int
    """Number of this evidence within the boot, from 1."""
    clock: Clock
    block: SeenBlock
    devices: tuple[Entry, ...]
    """1..64 entries, sorted by device."""
    nonce: bytes | None = None
    """That of the read order which this answers, 32 bytes; None where nobody asked."""

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            CborError: Longer than 48 KiB, or a text that the CBOR profile refuses.
            FormatError: A field that `decode_evidence` would refuse.
        """
        value: dict[str, cbor.Value] = {
            "gateway": self.gateway,
            "boot": self.boot,
            "seq": self.seq,
            "clock": {name: getattr(self.clock, name) for name in _CLOCK},
            "block": {"height": self.block.height, "digest": self.block.digest},
            "devices": [_entry_value(entry) for entry in self.devices],
        }
        raw = cbor.encode(value if self.nonce is None else {**value, "nonce": self.nonce})
        if decode_evidence(raw) != self:
            raise FormatError("evidence: a field has another type than the one it is decoded to")
        return raw


_CLOCK: Final = ("time_ms", "source", "offset_ms", "grade")
_IDENTITY: Final = ("vendor", "product", "revision", "serial", "model")
_ARTEFACT: Final = (
    "kind",
    "name",
    "version",
    "size",
    "read_size",
    "sha256",
    "chunk_root",
    "method",
    "read_from_ms",
    "read_to_ms",
    "errors",
)
# as they stand in the bytes: what is in order already is encoded faster
_IDENTITY_ORDER: Final = tuple(sorted(_IDENTITY, key=lambda name: (len(name), name)))
_ARTEFACT_ORDER: Final = tuple(sorted(_ARTEFACT, key=lambda name: (len(name), name)))
_ITEM: Final = ("identity", "artefacts")
_COUNTED_ITEM: Final = (*_ITEM, "revision")
_ENTRY: Final = ("device", "status", "read_from_ms", "read_to_ms", "item_digest", "item")
_EVIDENCE: Final = ("gateway", "boot", "seq", "clock", "block", "devices")


def word_bytes(method: str, word: bytes) -> bytes:
    """Return the bytes whose digests stand for content that is only known by the device's word.

    They are canonical CBOR of a map of method and word, so that the word of one method is no word of another.

    Args:
        method: One of `METHODS_WORD`.
        word: A checksum as the device keeps it, or a version text in UTF-8.

    Source: docs/spec, clause EV-14.
    """
    return cbor.encode({"method": method, "word": word})


def decode_evidence(raw: bytes) -> Evidence:
    """Decode evidence and check every field.

    Args:
        raw: Canonical CBOR of at most 49,152 bytes.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown, out of range or out of order, or an item has another digest.
    """
    value = cbor.decode(raw, bytes_max=EVIDENCE_BYTES_MAX)
    answers = isinstance(value, dict) and "nonce" in value
    fields = Fields(value, (*_EVIDENCE, "nonce") if answers else _EVIDENCE, "evidence")
    entries = tuple(_entry(value) for value in fields.sequence("devices", EVIDENCE_DEVICES_MAX))
    if not entries:
        raise FormatError("evidence.devices: at least one device is due")
    check_ascending((entry.device for entry in entries), "evidence.devices")
    clock = Fields(fields.raw("clock"), _CLOCK, "evidence.clock")
    block = Fields(fields.raw("block"), ("height", "digest"), "evidence.block")
    return Evidence(
        gateway=fields.identifier("gateway"),
        boot=fields.integer("boot", 1),
        seq=fields.integer("seq", 1),
        clock=Clock(
            time_ms=clock.integer("time_ms"),
            source=clock.choice("source", CLOCK_SOURCES),
            offset_ms=None if clock.is_null("offset_ms") else clock.integer("offset_ms", -OFFSET_MS_MAX, OFFSET_MS_MAX),
            grade=clock.choice("grade", CLOCK_GRADES),
        ),
        block=SeenBlock(block.integer("height"), block.digest("digest")),
        devices=entries,
        nonce=fields.digest("nonce") if answers else None,
    )


def decode_item(value: object, what: str = "item") -> Item:
    """Check one item.

    Raises:
        FormatError: A field is missing, unknown, out of range or out of order.
    """
    counts = isinstance(value, dict) and "revision" in value
    fields = Fields(value, _COUNTED_ITEM if counts else _ITEM, what)
    identity = Fields(fields.raw("identity"), _IDENTITY, f"{what}.identity")
    artefacts = tuple(_artefact(entry, f"{what}.artefacts") for entry in fields.sequence("artefacts", ARTEFACTS_MAX))
    check_ascending((artefact.kind for artefact in artefacts), f"{what}.artefacts")
    revision = fields.integer("revision") if counts else None
    said = Identity(
        vendor=identity.text("vendor"),
        product=identity.text("product"),
        revision=identity.text("revision"),
        serial=identity.text("serial"),
        model=identity.text("model"),
    )
    return Item(said, artefacts, revision)


def _entry(value: object) -> Entry:
    fields = Fields(value, _ENTRY, "evidence.devices")
    device = fields.identifier("device")
    what = f"evidence.devices[{device}]"
    whole = fields.raw("item")
    item = None if whole is None else decode_item(whole, f"{what}.item")
    digest = None if fields.is_null("item_digest") else fields.digest("item_digest")
    if item is not None:
        object.__setattr__(item, "_bytes", cbor.encode_part(whole))
        if item.digest() != digest:
            raise FormatError(f"{what}.item: its digest is not item_digest")
    read_from_ms, read_to_ms = None, None
    if digest is not None:
        read_from_ms, read_to_ms = _read_span(fields)
    elif not (fields.is_null("read_from_ms") and fields.is_null("read_to_ms")):
        raise FormatError(f"{what}: read times and item_digest are all given or all null")
    status = fields.choice("status", STATUSES)
    if status == "read" and digest is None:
        raise FormatError(f"{what}: status read needs an item_digest")
    return Entry(device, status, read_from_ms, read_to_ms, digest, item)


def _artefact(value: object, what: str) -> Artefact:
    speaks = isinstance(value, dict) and value.get("method") in METHODS_WORD
    differs = isinstance(value, dict) and not speaks and "difference" in value
    names = (*_ARTEFACT, "word") if speaks else (*_ARTEFACT, "difference") if differs else _ARTEFACT
    fields = Fields(value, names, what)
    errors = tuple(check_identifier(code, f"{what}.errors") for code in fields.sequence("errors", len(ERROR_CODES)))
    for code in errors:
        if code not in ERROR_CODES:
            raise FormatError(f"{what}.errors: {code!r} is unknown")
    check_ascending(errors, f"{what}.errors")
    method = fields.choice("method", METHODS)
    size, read_size = fields.integer("size"), fields.integer("read_size")
    if read_size > size:
        raise FormatError(f"{what}: read_size {read_size} is above the declared size {size}")
    if read_size == size and "short-read" in errors:
        raise FormatError(f"{what}: short-read, and yet all {size} bytes were read")
    if read_size < size and not errors and method in METHODS_READING:
        raise FormatError(f"{what}: {read_size} of {size} bytes were read, and no error says why")
    word = fields.octets("word", 1, WORD_BYTES_MAX) if speaks else None
    if word is not None:
        _check_word(fields, method, word, read_size)
    read_from_ms, read_to_ms = _read_span(fields)
    difference = _difference(fields, errors) if differs else None
    return Artefact(
        kind=fields.choice("kind", KINDS),
        name=fields.text("name"),
        version=fields.text("version"),
        size=size,
        read_size=read_size,
        sha256=fields.digest("sha256"),
        chunk_root=fields.digest("chunk_root"),
        method=method,
        read_from_ms=read_from_ms,
        read_to_ms=read_to_ms,
        errors=errors,
        word=word,
        difference=difference,
    )


def _difference(fields: Fields, errors: tuple[str, ...]) -> Difference:
    where = fields.where("difference")
    difference = decode_difference(fields.raw("difference"), where)
    if errors or difference.reference == fields.digest("sha256"):
        raise FormatError(f"{where}: only a whole file, and one with another digest, differs")
    return difference


def _check_word(fields: Fields, method: str, word: bytes, read_size: int) -> None:
    """Refuse an artefact that claims more than the device's word."""
    if read_size != 0:
        raise FormatError(f"{fields.where('read_size')}: {method} reads no content, and yet {read_size} bytes")
    raw = word_bytes(method, word)
    if fields.digest("sha256") != sha256(raw) or fields.digest("chunk_root") != leaf_digest(raw):
        raise FormatError(f"{fields.where('sha256')}: sha256 and chunk_root are not those of the word")


def _read_span(fields: Fields) -> tuple[int, int]:
    begin_ms, end_ms = fields.integer("read_from_ms"), fields.integer("read_to_ms")
    if end_ms < begin_ms:
        raise FormatError(f"{fields.where('read_to_ms')}: {end_ms} is before read_from_ms {begin_ms}")
    return begin_ms, end_ms


def _entry_value(entry: Entry) -> dict[str, cbor.Value]:
    value: dict[str, cbor.Value] = {name: getattr(entry, name) for name in _ENTRY}
    value["item"] = None if entry.item is None else entry.item.to_value()
    return value


def _plain(value: cbor.Value) -> cbor.Value:
    return list(value) if isinstance(value, tuple) else value
