"""Records of the store: checksums, the head, and what can go wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Final

from kit.exitcodes import DiskFullError, StorageError
from master.ledger.rows import Head
from wire import cbor
from wire.fields import Fields
from wire.finality import decode_path
from wire.merkle import Frontier

FORMAT: Final = 2
"""Of the store. 1 kept every window of used numbers (TX-10) in 512 bytes: its blocks lead to other state roots."""
CHECKSUM_BYTES: Final = 8
_HEAD: Final = ("height", "digest", "time_ms", "state_root", "history_size", "history_edge")
_EDGE_MAX: Final = 63


class StoreError(StorageError):
    """The store cannot do what it was asked; the message says what is the matter and what helps."""


class StoreFullError(StoreError):
    """There is no room for the block; nothing of it was written."""


class StoreDiskFullError(StoreFullError, DiskFullError):
    """The disk, not the store, has no room: there may be some again later."""


class StoreCorruptError(StoreError):
    """A record is not what was written; the node must not go on with it."""


def checksum(table: str, key: bytes, content: bytes) -> bytes:
    """Return 8 bytes that bind content to its place.

    Args:
        table: Name of the table, at most 16 characters.
        key: At most 511 bytes.
        content: What the record holds.
    """
    digest = _started(table).copy()
    digest.update(len(key).to_bytes(2, "big") + key + content)
    return digest.digest()


@cache
def _started(table: str) -> hashlib.blake2b:
    """Return what the checksums of a table begin with: a copy of it costs half of a new one."""
    return hashlib.blake2b(digest_size=CHECKSUM_BYTES, person=table.encode("ascii"))


def seal(table: str, key: bytes, content: bytes) -> bytes:
    """Return the record of ``content``: its checksum, then itself."""
    return checksum(table, key, content) + content


def unseal(table: str, key: bytes, record: bytes) -> bytes:
    """Return the content of a record.

    Raises:
        StoreCorruptError: The checksum belongs to other content or another place.
    """
    content = record[CHECKSUM_BYTES:]
    if record[:CHECKSUM_BYTES] != checksum(table, key, content):
        raise StoreCorruptError(f"store: the record {key.hex()} of table {table} is damaged; restore this node")
    return content


@dataclass(frozen=True, slots=True)
class ArchiveMark:
    """How far back a store that began with a snapshot goes."""

    snapshot: int
    """Height of that snapshot."""
    known_from: int
    """Lowest height from which on headers, certificates and outcomes are here; 1 when the past is complete."""


def encode_mark(mark: ArchiveMark) -> bytes:
    """Return the canonical bytes of a mark."""
    return cbor.encode({"snapshot": mark.snapshot, "known_from": mark.known_from})


def decode_mark(raw: bytes) -> ArchiveMark:
    """Return the mark of its canonical bytes.

    Raises:
        WireError: The bytes are not a mark.
    """
    fields = Fields(cbor.decode(raw), ("snapshot", "known_from"), "archive")
    return ArchiveMark(fields.integer("snapshot", 1), fields.integer("known_from", 1))


def encode_head(head: Head) -> bytes:
    """Return the canonical bytes of a head."""
    return cbor.encode(
        {
            "height": head.height,
            "digest": head.digest,
            "time_ms": head.time_ms,
            "state_root": head.state_root,
            "history_size": head.history.size,
            "history_edge": list(head.history.edge),
        }
    )


def decode_head(raw: bytes) -> Head:
    """Return the head of its canonical bytes.

    Raises:
        WireError: The bytes are not a head.
    """
    fields = Fields(cbor.decode(raw), _HEAD, "head")
    edge = decode_path(fields, "history_edge", _EDGE_MAX)
    return Head(
        fields.integer("height"),
        fields.digest("digest"),
        fields.integer("time_ms"),
        fields.digest("state_root"),
        Frontier(fields.integer("history_size"), edge),
    )
