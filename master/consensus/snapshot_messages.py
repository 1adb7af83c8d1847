"""What nodes say to bring a state and a past to one that has neither (docs/spec, clause SN-5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from wire import cbor
from wire.certificate import decode_certificate
from wire.errors import FormatError
from wire.faultproof import FAULT_PROOF_BYTES_MAX, FAULT_PROOFS_MAX
from wire.fields import Fields
from wire.header import BLOCK_TRANSACTIONS_MAX, HEADER_BYTES_MAX, decode_header
from wire.receipt import OUTCOME_BYTES_MAX
from wire.snapshot import (
    MANIFEST_BYTES_MAX,
    SUBTREE_BUCKETS,
    SUBTREES,
    Manifest,
    OldBlock,
    Part,
    Place,
    decode_manifest,
    part_of_value,
)
from wire.stateproof import BUCKET_PAIRS_MAX

WANTED_MAX: Final = 64
"""Most subtrees that one request names."""
PARTS_BYTES: Final = 1024 * 1024
"""An answer ends with the part that reaches so many bytes of entries."""
ARCHIVE_BLOCKS_MAX: Final = 64
ARCHIVE_BYTES: Final = 1024 * 1024
"""An answer ends with the outcome that reaches so many bytes."""
_WANTED: Final = ("subtree", "bucket", "entries")


@dataclass(frozen=True, slots=True)
class GetSnapshot:
    """Asks for the manifest of the newest snapshot."""


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """The newest snapshot that the sender has, or none."""

    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """From where on a subtree is wanted."""

    subtree: int
    place: Place


@dataclass(frozen=True, slots=True)
class GetChunk:
    """Asks for parts of the snapshot of one height."""

    height: int
    wanted: tuple[Wanted, ...]
    """In ascending order of subtree."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One part each of the first subtrees that were asked for; none when the sender lacks the snapshot."""

    height: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class GetArchive:
    """Asks for what proves and tells of old blocks, from one height downwards."""

    height: int
    outcomes: int
    """How many outcomes of that block are known already."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Old blocks in descending order; none when the sender lacks them.

    Their outcomes are those behind the ones that were known, and in the last entry alone not all of them.
    """

    blocks: tuple[OldBlock, ...]


SnapshotMessage: TypeAlias = "GetSnapshot | SnapshotManifest | GetChunk | Chunk | GetArchive | Archive"


def _manifest_value(message: SnapshotManifest) -> dict[str, cbor.Value]:
    return {"manifest": None if message.manifest is None else message.manifest.encode()}


def _get_chunk_value(message: GetChunk) -> dict[str, cbor.Value]:
    wanted: list[cbor.Value] = [[entry.subtree, entry.place.bucket, entry.place.entries] for entry in message.wanted]
    return {"height": message.height, "wanted": wanted}


def _archive_value(message: Archive) -> dict[str, cbor.Value]:
    return {
        "blocks": [
            {
                "header": block.header.encode(),
                "certificate": block.certificate.to_value(),
                "outcomes": list(block.outcomes),
                "fault_proofs": list(block.fault_proofs),
            }
            for block in message.blocks
        ]
    }


def _decode_get_snapshot(value: object) -> GetSnapshot:
    Fields(value, (), "get-snapshot")
    return GetSnapshot()


def _decode_manifest(value: object) -> SnapshotManifest:
    fields = Fields(value, ("manifest",), "snapshot-manifest")
    if fields.is_null("manifest"):
        return SnapshotManifest(None)
    return SnapshotManifest(decode_manifest(fields.octets("manifest", 1, MANIFEST_BYTES_MAX)))


def _decode_get_chunk(value: object) -> GetChunk:
    fields = Fields(value, ("height", "wanted"), "get-chunk")
    wanted = tuple(_decode_wanted(entry) for entry in fields.sequence("wanted", WANTED_MAX))
    return GetChunk(fields.integer("height", 1), wanted)


def _decode_wanted(value: object) -> Wanted:
    if not isinstance(value, list) or len(value) != len(_WANTED):
        raise FormatError("get-chunk.wanted: arrays of subtree, bucket and entries are due")
    fields = Fields(dict(zip(_WANTED, value, strict=True)), _WANTED, "get-chunk.wanted")
    place = Place(fields.integer("bucket", 0, SUBTREE_BUCKETS - 1), fields.integer("entries", 0, BUCKET_PAIRS_MAX))
    return Wanted(fields.integer("subtree", 0, SUBTREES - 1), place)


def _decode_chunk(value: object) -> Chunk:
    fields = Fields(value, ("height", "parts"), "chunk")
    parts = tuple(part_of_value(entry) for entry in fields.sequence("parts", WANTED_MAX))
    return Chunk(fields.integer("height", 1), parts)


def _decode_get_archive(value: object) -> GetArchive:
    fields = Fields(value, ("height", "outcomes"), "get-archive")
    return GetArchive(fields.integer("height", 1), fields.integer("outcomes", 0, BLOCK_TRANSACTIONS_MAX))


def _decode_archive(value: object) -> Archive:
    fields = Fields(value, ("blocks",), "archive")
    return Archive(tuple(_decode_old_block(entry) for entry in fields.sequence("blocks", ARCHIVE_BLOCKS_MAX)))


def _decode_old_block(value: object) -> OldBlock:
    fields = Fields(value, ("header", "certificate", "outcomes", "fault_proofs"), "archive")
    return OldBlock(
        decode_header(fields.octets("header", 1, HEADER_BYTES_MAX)),
        decode_certificate(fields.raw("certificate")),
        _octets(fields, "outcomes", BLOCK_TRANSACTIONS_MAX, OUTCOME_BYTES_MAX),
        _octets(fields, "fault_proofs", FAULT_PROOFS_MAX, FAULT_PROOF_BYTES_MAX),
    )


def _octets(fields: Fields, name: str, length_max: int, bytes_max: int) -> tuple[bytes, ...]:
    entries = fields.sequence(name, length_max)
    found = tuple(entry for entry in entries if isinstance(entry, bytes) and len(entry) <= bytes_max)
    if len(found) != len(entries):
        raise FormatError(f"{fields.where(name)}: byte strings of at most {bytes_max} bytes are due")
    return found


DECODERS: Final[dict[str, Callable[[object], Any]]] = {
    "get-snapshot": _decode_get_snapshot,
    "snapshot-manifest": _decode_manifest,
    "get-chunk": _decode_get_chunk,
    "chunk": _decode_chunk,
    "get-archive": _decode_get_archive,
    "archive": _decode_archive,
}

ENCODERS: Final[dict[type, tuple[str, Callable[[Any], dict[str, cbor.Value]]]]] = {
    GetSnapshot: ("get-snapshot", lambda _: {}),
    SnapshotManifest: ("snapshot-manifest", _manifest_value),
    GetChunk: ("get-chunk", _get_chunk_value),
    Chunk: (
        "chunk",
        lambda chunk: {"height": chunk.height, "parts": [part.to_value() for part in chunk.parts]},
    ),
    GetArchive: ("get-archive", lambda request: {"height": request.height, "outcomes": request.outcomes}),
    Archive: ("archive", _archive_value),
}
