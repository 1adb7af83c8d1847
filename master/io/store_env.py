"""Under the store: its LMDB environment, one write transaction, keys, and who owns the folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import lmdb

from master.io.store_records import (
    CHECKSUM_BYTES,
    StoreCorruptError,
    StoreDiskFullError,
    StoreError,
    StoreFullError,
    seal,
)
from master.io.store_undo import TABLE as UNDO
from master.io.store_undo import Undo, write_undo
from master.ledger.history import completed_nodes
from master.ledger.rows import Leaf
from master.ledger.state import Write
from wire import cbor
from wire.merkle import Frontier, leaf_digest
from wire.receipt import decode_outcome
from wire.snapshot import OldBlock
from wire.types import Digest

READERS_MAX: Final = 256
_TABLES: Final = ("meta", "blocks", "certificates", "outcomes", "transactions", "events", "state", "leaves")
_LATER_TABLES: Final = ("history", "epochs", "headers", "tx_leaves", "faults", "view_changes", UNDO)
"""Added since; what an older store lacks of them follows from its blocks, or is made with the next ones."""
TABLES: Final = (*_TABLES, *_LATER_TABLES)
_FULL: Final = (lmdb.MapFullError, lmdb.DiskError)
_DAMAGED: Final = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError)


class Reading:
    """One read transaction; a file whose pages are not what was written is told as such."""

    __slots__ = ("_txn",)

    def __init__(self, env: lmdb.Environment, table: lmdb._Database | None = None) -> None:
        self._txn: lmdb.Transaction[bytes] = env.begin(table)

    def __enter__(self) -> lmdb.Transaction[bytes]:
        return self._txn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._txn.abort()
        if isinstance(error, _DAMAGED):
            raise StoreCorruptError(f"store: its file is damaged; restore this node: {error}") from error


class Writing:
    """One write transaction, committed and synced when the block of code ends, dropped when it raises."""

    def __init__(self, env: lmdb.Environment, tables: dict[str, lmdb._Database]) -> None:
        self._env = env
        self._tables = tables
        self._txn: lmdb.Transaction[bytes]

    def __enter__(self) -> Self:
        try:
            self._txn = self._env.begin(write=True)
        except lmdb.PanicError as error:
            raise StoreError(f"store: it failed in mid-write and must be opened again: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._txn.abort()
            if isinstance(error, lmdb.DiskError):
                raise StoreDiskFullError(f"store: the disk is full: {error}") from error
            if isinstance(error, lmdb.MapFullError):
                raise _full(self._env) from error
            return
        try:
            self._txn.commit()
        except lmdb.MapFullError as full:
            raise _full(self._env) from full
        except lmdb.Error as failed:
            # a disk that becomes full within a write shows as an I/O error; nothing of the block was written
            raise StoreDiskFullError(f"store: the disk is full or fails: {failed}") from failed

    def put(self, table: str, key: bytes, content: bytes) -> None:
        """Write a record."""
        self._txn.put(key, seal(table, key, content), db=self._tables[table])

    def delete(self, table: str, key: bytes) -> None:
        """Remove a record, if there is one."""
        self._txn.delete(key, db=self._tables[table])

    def append(self, table: str, key: bytes, content: bytes) -> None:
        """Write a record behind all others of its table."""
        self._txn.put(key, seal(table, key, content), db=self._tables[table], append=True)

    def history(self, before: Frontier, digest: Digest) -> None:
        """Add a block's digest to the history that has grown to ``before``."""
        for level, index, node in completed_nodes(before, leaf_digest(digest)):
            self.put("history", node_key(level, index), node)

    def old_blocks(
        self, above: int, blocks: Sequence[OldBlock], genesis_digest: Digest
    ) -> Iterator[tuple[int, Digest]]:
        """Write blocks in descending order from the one below ``above``, without their bodies.

        Yields height and leaf of the history for each that is written; below the first block for the genesis file.
        """
        for block in blocks:
            above -= 1
            assert block.header.height == above
            key = height_key(above)
            self.put("headers", key, block.header.encode())
            self.put("certificates", key, block.certificate.encode())
            self.put("outcomes", key, cbor.encode(list(block.outcomes)))
            if block.fault_proofs:
                self.put("faults", key, cbor.encode(list(block.fault_proofs)))
            events = sum(len(decode_outcome(raw).events) for raw in block.outcomes) + len(block.fault_proofs)
            if events:
                self.put("events", key, events.to_bytes(4, "big"))
            yield above, leaf_digest(block.header.digest())
            if above == 1:
                yield 0, leaf_digest(genesis_digest)

    def state(self, writes: Sequence[Write], leaves: Sequence[Leaf], nodes: Sequence[tuple[int, Digest]] = ()) -> Undo:
        """Write and remove state entries and leaves; return what stood there before, ``nodes`` beside it."""
        values: list[tuple[bytes, bytes | None]] = []
        table, swap, remove = self._tables["state"], self._txn.replace, self._txn.pop
        for write in writes:
            key = state_key(write.namespace, write.key)
            before = remove(key, table) if write.value is None else swap(key, seal("state", key, write.value), table)
            values.append((key, before))
        found: list[Leaf] = []
        table = self._tables["leaves"]
        for key, value in leaves:
            before = remove(key, table) if value is None else swap(key, seal("leaves", key, value), table)
            found.append((key, None if before is None else before[CHECKSUM_BYTES:]))
        return Undo(found, nodes, values)

    def undo(self, height: int, undo: Undo) -> None:
        """Keep what a block overwrote, and give up what is too old."""
        write_undo(self._txn, self._tables, height, undo)


def environment(path: Path, map_bytes: int) -> tuple[lmdb.Environment, dict[str, lmdb._Database]]:
    """Open the environment and its tables.

    Raises:
        StoreFullError: ``map_bytes`` has no room for the tables, or the disk is full.
        StoreError: The file is no store, or cannot be read.
    """
    try:
        env = lmdb.open(
            str(path), map_size=map_bytes, max_dbs=len(TABLES), max_readers=READERS_MAX, metasync=True, sync=True
        )
    except lmdb.Error as error:
        raise StoreError(f"store {path}: {error}") from error
    try:
        return env, {name: env.open_db(name.encode()) for name in TABLES}
    except lmdb.Error as error:
        refusal = _full(env) if isinstance(error, _FULL) else StoreError(f"store {path}: {error}")
        env.close()
        raise refusal from error


def _full(env: lmdb.Environment) -> StoreFullError:
    size = env.info()["map_size"]
    return StoreFullError(
        f"store: no room for the block; the store has reached its {size} bytes, or the disk is full: "
        "give it more room and start again"
    )


def own(path: Path) -> int:
    """Return a descriptor whose lock says that this process owns the store.

    Raises:
        StoreError: Another process owns it.
    """
    descriptor = os.open(path / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"store {path}: another process owns it") from error
    return descriptor


def height_key(height: int) -> bytes:
    """Return the key of a height in the tables that have one."""
    return height.to_bytes(8, "big")


def node_key(level: int, index: int) -> bytes:
    """Return the key of a complete subtree of the history."""
    return bytes((level,)) + index.to_bytes(8, "big")


def state_key(namespace: str, key: bytes) -> bytes:
    """Return the key of a state entry."""
    name = namespace.encode("ascii")
    return bytes((len(name),)) + name + key
