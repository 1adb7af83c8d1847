"""Releases: the reference values that a manufacturer submits (docs/spec, clauses RL-1 to RL-5 and IT-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire import cbor
from wire.errors import FormatError
from wire.evidence import KINDS
from wire.fields import Fields
from wire.types import Digest, check_ascending, sha256

RELEASE_BYTES_MAX: Final = 32 * 1024
_ITEMS: Final = ("format", "count", "root")
_NAMES: Final = ("release", "manufacturer", "target", "artefacts")
_REFERENCE: Final = ("kind", "name", "version", "size", "sha256", "chunk_root")
ITEMS_MAX: Final = 4096
"""Settings or rows of one artefact; a file with more is fingerprinted as a whole only."""
FIRMWARE: Final = "firmware"


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a setting list or strategy table, as far as everybody may know them."""

    format: str
    """Identifier of the file format that they were read by, a key of `rules.items.table.FORMATS`."""
    count: int
    """1..4,096."""
    root: Digest
    """Tree head over the items, each salted with the release's salt: it tells nothing of what they hold."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference value of one artefact."""

    kind: str
    """One of wire.evidence.KINDS."""
    name: str
    version: str
    size: int
    """Bytes."""
    sha256: Digest
    chunk_root: Digest
    """RFC 9162 tree head over chunks of 65,536 bytes."""
    items: Items | None = None
    """None for firmware, and for a file that was not understood."""


@dataclass(frozen=True, slots=True)
class EffectiveFrom:
    """The block from which a release counts, once it is approved; exactly one of the two is not None."""

    height: int | None
    """The first block."""
    time_ms: int | None
    """The first block whose time is not before this, milliseconds since 1970 UTC."""

    def has_come(self, height: int, time_ms: int) -> bool:
        """Tell whether a block of that height and time is not before it."""
        if self.height is not None:
            return height >= self.height
        assert self.time_ms is not None
        return time_ms >= self.time_ms

    def is_comparable(self, other: EffectiveFrom | None) -> bool:
        """Tell whether it is certain which of two comes first: both are heights, or both times, and not the same."""
        if other is None or self == other:
            return False
        return (self.height is None) == (other.height is None)


@dataclass(frozen=True, slots=True)
class Release:
    """Reference values for one device or for every device of one model."""

    release: str
    """Identifier of the release, unique per manufacturer."""
    manufacturer: str
    """Organisation that submits it."""
    device: str | None
    """Device that the release is for, or None when it is for a model."""
    model: str | None
    """Model that the release is for, 1..256 characters, or None when it is for one device."""
    artefacts: tuple[Reference, ...]
    """1..3, sorted by kind."""
    effective_from: EffectiveFrom | None = None
    """None: it counts as soon as it is approved."""

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            FormatError: A field that `decode_release` would refuse.
        """
        value: dict[str, cbor.Value] = {
            "release": self.release,
            "manufacturer": self.manufacturer,
            "target": {"device": self.device, "model": self.model},
            "artefacts": [_value(entry) for entry in self.artefacts],
        }
        if self.effective_from is not None:
            start = self.effective_from
            value["effective_from"] = {"height": start.height, "time_ms": start.time_ms}
        raw = cbor.encode(value)
        if decode_release(raw) != self:
            raise FormatError("release: a field has another type than the one it is decoded to")
        return raw

    def digest(self) -> Digest:
        """Return SHA-256 of the canonical bytes: what endorsers sign."""
        return sha256(self.encode())


def decode_release(raw: bytes) -> Release:
    """Decode a release and check every field.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown, out of range or out of order.
    """
    value = cbor.decode(raw, bytes_max=RELEASE_BYTES_MAX)
    is_dated = isinstance(value, dict) and "effective_from" in value
    fields = Fields(value, (*_NAMES, "effective_from") if is_dated else _NAMES, "release")
    target = Fields(fields.raw("target"), ("device", "model"), "release.target")
    if target.is_null("device") == target.is_null("model"):
        raise FormatError("release.target: either a device or a model is due")
    artefacts = tuple(_reference(value) for value in fields.sequence("artefacts", len(KINDS)))
    if not artefacts:
        raise FormatError("release.artefacts: at least one is due")
    check_ascending((entry.kind for entry in artefacts), "release.artefacts")
    return Release(
        release=fields.identifier("release"),
        manufacturer=fields.identifier("manufacturer"),
        device=None if target.is_null("device") else target.identifier("device"),
        model=None if target.is_null("model") else target.text("model", characters_min=1),
        artefacts=artefacts,
        effective_from=_effective_from(fields.raw("effective_from")) if is_dated else None,
    )


def _effective_from(value: object) -> EffectiveFrom:
    fields = Fields(value, ("height", "time_ms"), "release.effective_from")
    if fields.is_null("height") == fields.is_null("time_ms"):
        raise FormatError("release.effective_from: either a height or a time_ms is due")
    if fields.is_null("time_ms"):
        return EffectiveFrom(fields.integer("height", 1), None)
    return EffectiveFrom(None, fields.integer("time_ms", 1))


def _value(entry: Reference) -> dict[str, cbor.Value]:
    value: dict[str, cbor.Value] = {name: getattr(entry, name) for name in _REFERENCE}
    if entry.items is not None:
        value["items"] = {name: getattr(entry.items, name) for name in _ITEMS}
    return value


def _items(value: object) -> Items:
    fields = Fields(value, _ITEMS, "release.artefacts.items")
    return Items(fields.identifier("format"), fields.integer("count", 1, ITEMS_MAX), fields.digest("root"))


def _reference(value: object) -> Reference:
    is_understood = isinstance(value, dict) and "items" in value
    fields = Fields(value, (*_REFERENCE, "items") if is_understood else _REFERENCE, "release.artefacts")
    kind = fields.choice("kind", KINDS)
    items = _items(fields.raw("items")) if is_understood else None
    if kind == FIRMWARE and items is not None:
        raise FormatError("release.artefacts.items: firmware has none")
    return Reference(
        kind=kind,
        name=fields.text("name"),
        version=fields.text("version"),
        size=fields.integer("size"),
        sha256=fields.digest("sha256"),
        chunk_root=fields.digest("chunk_root"),
        items=items,
    )
