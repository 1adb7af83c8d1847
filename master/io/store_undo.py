"""What blocks overwrote, kept for the newest 64 of them: from it the state of recent heights is shown.

Three records for each block, written in its transaction, keys (height, part): the leaves before it, the upper nodes of
the state tree before it, the state records before it. Whatever several blocks changed, the oldest of them tells what
stood there first.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import lmdb

from master.io.store_records import StoreCorruptError, seal, unseal
from master.ledger.rows import Leaf
from master.ledger.tree import bucket_digest, bucket_of
from master.ledger.undo import KEPT_BLOCKS, PastEntry
from wire.types import DIGEST_BYTES, Digest

TABLE: Final = "undo"
LEAVES, NODES, VALUES = 0, 1, 2
"""Parts of the undo of a block."""
_HEIGHT_BYTES: Final = 8
_LEAF_BYTES: Final = 2 * DIGEST_BYTES
_NODE_BYTES: Final = 2 + DIGEST_BYTES
_NOTHING: Final = bytes(DIGEST_BYTES)
"""Stands for a leaf that was not there; no value has this digest."""
_VALUE: Final = struct.Struct(">HI")

Tables = Mapping[str, lmdb._Database]  # noqa: SLF001 - the library has no other name for it
Record = tuple[bytes, bytes | None]
"""Key in the state table, and the whole record that stood there, or None."""


@dataclass(frozen=True, slots=True)
class Undo:
    """What one block overwrote."""

    leaves: Sequence[Leaf]
    """Sorted by leaf key; None where there was none."""
    nodes: Sequence[tuple[int, Digest]]
    """Number and digest of nodes on levels 1..8 of the state tree."""
    values: Sequence[Record]
    """In the order of the block's writes."""


def write_undo(txn: lmdb.Transaction[bytes], tables: Tables, height: int, undo: Undo) -> None:
    """Add the undo of a block and give up that of the block 64 before it.

    What is there of other blocks than those right below it belongs to another past and goes, too.
    """
    table = tables[TABLE]
    with txn.cursor(table) as cursor:
        follows = cursor.last() and _height_of(cursor.key()) == height - 1
        more = cursor.first()
        while more and not (follows and _height_of(cursor.key()) > height - KEPT_BLOCKS):
            more = cursor.delete()
    parts = (pack_leaves(undo.leaves), pack_nodes(undo.nodes), pack_values(undo.values))
    for part, content in enumerate(parts):
        key = _key(height, part)
        txn.put(key, seal(TABLE, key, content), db=table, append=True)


def undo_blocks(txn: lmdb.Transaction[bytes], tables: Tables) -> range:
    """Return the heights of the blocks whose undo is kept."""
    with txn.cursor(tables[TABLE]) as cursor:
        if not cursor.first():
            return range(0)
        oldest = _height_of(cursor.key())
        cursor.last()
        return range(oldest, _height_of(cursor.key()) + 1)


def past_entry(
    txn: lmdb.Transaction[bytes], tables: Tables, height: int, place: Digest, key: bytes
) -> PastEntry | None:
    """Return what stood under a key after an older block, None when that height is not kept.

    Args:
        txn: All is read in it.
        tables: Of the store.
        height: Of the block.
        place: Leaf key.
        key: In the state table.

    Raises:
        StoreCorruptError: A record on the way is damaged.
    """
    blocks = undo_blocks(txn, tables)
    if height + 1 not in blocks:
        return None
    leaves: dict[Digest, Digest | None] = {}
    nodes: dict[int, Digest] = {}
    changed_by: int | None = None
    for number in range(height + 1, blocks.stop):
        for leaf, before in _leaves_near(read_part(txn, tables, number, LEAVES), place):
            leaves.setdefault(leaf, before)
        if changed_by is None and place in leaves:
            changed_by = number
        for node, digest in unpack_nodes(read_part(txn, tables, number, NODES)):
            nodes.setdefault(node, digest)
    if changed_by is None:
        record = txn.get(key, db=tables["state"])
    else:
        record = dict(unpack_values(read_part(txn, tables, changed_by, VALUES)))[key]
    buckets = _past_buckets(txn, tables, leaves, bucket_of(place))
    return PastEntry(
        None if record is None else unseal("state", key, record),
        buckets[bucket_of(place)],
        {number: bucket_digest(pairs) for number, pairs in buckets.items()},
        nodes,
    )


def read_undo(txn: lmdb.Transaction[bytes], tables: Tables, height: int) -> Undo:
    """Return what a block overwrote.

    Raises:
        StoreCorruptError: A part of it is missing or damaged.
    """
    leaves, nodes, values = (read_part(txn, tables, height, part) for part in (LEAVES, NODES, VALUES))
    return Undo(list(_leaves(leaves, 0, len(leaves) // _LEAF_BYTES)), unpack_nodes(nodes), unpack_values(values))


def read_part(txn: lmdb.Transaction[bytes], tables: Tables, height: int, part: int) -> bytes:
    """Return one part of the undo of a block.

    Raises:
        StoreCorruptError: It is missing or damaged.
    """
    key = _key(height, part)
    record = txn.get(key, db=tables[TABLE])
    if record is None:
        raise StoreCorruptError(f"store: part {part} of the undo of block {height} is missing; rebuild this node")
    return unseal(TABLE, key, record)


def bucket_pairs(txn: lmdb.Transaction[bytes], tables: Tables, number: int) -> list[tuple[Digest, Digest]]:
    """Return leaf key and value digest of every leaf of a bucket, sorted by leaf key."""
    pairs: list[tuple[Digest, Digest]] = []
    with txn.cursor(tables["leaves"]) as cursor:
        for key, record in cursor if cursor.set_range((number << 4).to_bytes(3, "big")) else ():
            if bucket_of(key) != number:
                break
            pairs.append((key, unseal("leaves", key, record)))
    return pairs


def pack_leaves(leaves: Iterable[Leaf]) -> bytes:
    """Return leaves as 64 bytes each."""
    return b"".join(key + (before or _NOTHING) for key, before in leaves)


def pack_nodes(nodes: Iterable[tuple[int, Digest]]) -> bytes:
    """Return nodes as 34 bytes each."""
    return b"".join(number.to_bytes(2, "big") + digest for number, digest in nodes)


def unpack_nodes(raw: bytes) -> list[tuple[int, Digest]]:
    """Return the nodes of their bytes."""
    starts = range(0, len(raw), _NODE_BYTES)
    return [(int.from_bytes(raw[at : at + 2], "big"), raw[at + 2 : at + _NODE_BYTES]) for at in starts]


def pack_values(values: Iterable[Record]) -> bytes:
    """Return state records, each behind the lengths of its key and of itself; a record of no bytes stands for none."""
    return b"".join(_VALUE.pack(len(key), len(record or b"")) + key + (record or b"") for key, record in values)


def unpack_values(raw: bytes) -> list[Record]:
    """Return the state records of their bytes."""
    found: list[Record] = []
    at = 0
    while at < len(raw):
        key_bytes, record_bytes = _VALUE.unpack_from(raw, at)
        at += _VALUE.size
        middle, end = at + key_bytes, at + key_bytes + record_bytes
        found.append((raw[at:middle], raw[middle:end] or None))
        at = end
    return found


def _key(height: int, part: int) -> bytes:
    return height.to_bytes(_HEIGHT_BYTES, "big") + bytes((part,))


def _height_of(key: bytes) -> int:
    return int.from_bytes(key[:_HEIGHT_BYTES], "big")


def _leaves_near(raw: bytes, place: Digest) -> Iterator[Leaf]:
    """Yield the leaves of a packed list whose first byte is that of ``place``: they are sorted, so it is bisected."""
    places = range(len(raw) // _LEAF_BYTES)
    first: Callable[[int], int] = lambda number: raw[number * _LEAF_BYTES]  # noqa: E731
    return _leaves(raw, bisect_left(places, place[0], key=first), bisect_right(places, place[0], key=first))


def _leaves(raw: bytes, start: int, stop: int) -> Iterator[Leaf]:
    for at in range(start * _LEAF_BYTES, stop * _LEAF_BYTES, _LEAF_BYTES):
        before = raw[at + DIGEST_BYTES : at + _LEAF_BYTES]
        yield raw[at : at + DIGEST_BYTES], None if before == _NOTHING else before


def _past_buckets(
    txn: lmdb.Transaction[bytes], tables: Tables, leaves: Mapping[Digest, Digest | None], wanted: int
) -> dict[int, tuple[tuple[Digest, Digest], ...]]:
    """Return the buckets as they were that hold one of ``leaves``, and the one that is wanted."""
    changes: dict[int, dict[Digest, Digest | None]] = {wanted: {}}
    for key, before in leaves.items():
        changes.setdefault(bucket_of(key), {})[key] = before
    found = {}
    for number, changed in changes.items():
        pairs: dict[Digest, Digest | None] = {**dict(bucket_pairs(txn, tables, number)), **changed}
        found[number] = tuple((key, value) for key, value in sorted(pairs.items()) if value is not None)
    return found
