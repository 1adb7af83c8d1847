"""Release packages: what a gateway must hold to name the items and chunks that differ (IT-10, IT-11).

A package holds values and the salt: it is for those alone who may see the values. How it is sealed for them on the way
is no matter of this format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rules.fingerprint import LEAVES_MAX
from rules.items.model import ItemList, decode_items
from rules.items.root import SALT_BYTES, items_of
from wire import cbor
from wire.errors import FormatError
from wire.evidence import KINDS
from wire.fields import Fields
from wire.merkle import Frontier
from wire.release import ITEMS_MAX, RELEASE_BYTES_MAX, Reference, Release, decode_release
from wire.types import CHUNK_BYTES, DIGEST_BYTES, Digest

PACKAGE_BYTES_MAX: Final = 4 * 1024 * 1024
_VERSION: Final = 1
_NAMES: Final = ("package", "release", "salt", "artefacts")
_PART: Final = ("kind", "chunks", "items")


@dataclass(frozen=True, slots=True)
class Part:
    """What a package holds of one artefact."""

    kind: str
    """One of `wire.evidence.KINDS`."""
    chunks: tuple[Digest, ...] | None
    """Leaf digests of its chunks; None for more than 1,024, and where the reference value is a device's word."""
    items: ItemList | None
    """None where the release has no items for it."""


@dataclass(frozen=True, slots=True)
class Package:
    """One release and what its fingerprints stand for."""

    release: Release
    salt: bytes
    """32 bytes."""
    parts: tuple[Part, ...]
    """One for each artefact of the release, sorted by kind."""

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            WireError: What `decode_package` would refuse.
        """
        raw = cbor.encode(
            {
                "package": _VERSION,
                "release": self.release.encode(),
                "salt": self.salt,
                "artefacts": [_part_value(part) for part in self.parts],
            }
        )
        if decode_package(raw) != self:
            raise FormatError("package: a field has another type than the one it is decoded to")
        return raw

    def artefacts(self) -> tuple[tuple[Reference, Part], ...]:
        """Return each reference value with what the package holds of it."""
        return tuple(zip(self.release.artefacts, self.parts, strict=True))


def decode_package(raw: bytes) -> Package:
    """Decode a package and prove that it belongs to the release in it.

    Whether that release is one that was endorsed, only the ledger can say: by `Release.digest`.

    Args:
        raw: Canonical CBOR of at most 4 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown, out of range or out of order; or chunks or items do not lead to the
            roots in the release.
    """
    fields = Fields(cbor.decode(raw, bytes_max=PACKAGE_BYTES_MAX), _NAMES, "package")
    fields.integer("package", _VERSION, _VERSION)
    release = decode_release(fields.octets("release", 1, RELEASE_BYTES_MAX))
    salt = fields.octets("salt", SALT_BYTES, SALT_BYTES)
    values = fields.sequence("artefacts", len(KINDS))
    if len(values) != len(release.artefacts):
        raise FormatError(f"package.artefacts: {len(values)} where the release has {len(release.artefacts)}")
    parts = tuple(_part(value, entry, salt) for value, entry in zip(values, release.artefacts, strict=True))
    return Package(release, salt, parts)


def _part_value(part: Part) -> dict[str, cbor.Value]:
    return {
        "kind": part.kind,
        "chunks": None if part.chunks is None else b"".join(part.chunks),
        "items": None if part.items is None else [item.to_value() for item in part.items.items],
    }


def _part(value: object, reference: Reference, salt: bytes) -> Part:
    fields = Fields(value, _PART, "package.artefacts")
    kind = fields.choice("kind", KINDS)
    if kind != reference.kind:
        raise FormatError(f"package.artefacts: {kind} where the release has {reference.kind}")
    chunks = None if fields.is_null("chunks") else _chunks(fields, reference)
    items = None
    if reference.items is not None:
        items = decode_items(reference.items.format, fields.sequence("items", ITEMS_MAX))
        if items_of(items, salt) != reference.items:
            raise FormatError(f"package.artefacts: the items of the {kind} are not those of the release")
    elif not fields.is_null("items"):
        raise FormatError(f"package.artefacts: the release has no items of the {kind}")
    return Part(kind, chunks, items)


def _chunks(fields: Fields, reference: Reference) -> tuple[Digest, ...]:
    raw = fields.octets("chunks", 0, LEAVES_MAX * DIGEST_BYTES)
    leaves = tuple(raw[at : at + DIGEST_BYTES] for at in range(0, len(raw), DIGEST_BYTES))
    count = (reference.size + CHUNK_BYTES - 1) // CHUNK_BYTES
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    if len(raw) != count * DIGEST_BYTES or frontier.head() != reference.chunk_root:
        raise FormatError(f"package.artefacts: the chunks of the {reference.kind} are not those of the release")
    return leaves
