"""The full node's store: one LMDB environment, one synced write transaction per block.

A block, its certificate, its outcomes, the index of its transactions, the state, the leaves of the state tree and the
head are on disk together or not at all. Every record carries a checksum over its table, key and content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from kit.files import sync_folder
from master.io.store_archive import StoreArchive
from master.io.store_env import Reading, Writing, environment, height_key, node_key, own, state_key
from master.io.store_records import (
    CHECKSUM_BYTES,
    FORMAT,
    StoreCorruptError,
    StoreError,
    decode_head,
    encode_head,
    unseal,
)
from master.io.store_undo import Undo, bucket_pairs, past_entry, read_undo, undo_blocks
from master.io.store_view import StoreView
from master.ledger.faults import block_rows
from master.ledger.genesis import genesis_root, genesis_writes, leaves_of
from master.ledger.proofs import inclusion_paths
from master.ledger.rows import EventRow, Execution, Head, genesis_head
from master.ledger.tree import StateTree, leaf_key
from master.ledger.undo import PastEntry
from wire import cbor
from wire.block import Block, decode_block
from wire.certificate import Certificate, Step, ValidatorSet, decode_certificate
from wire.epochs import EpochEnd, decode_epoch_ends
from wire.finality import FinalHeader
from wire.genesis import Genesis
from wire.header import Header, decode_header
from wire.merkle import Frontier, leaf_digest
from wire.receipt import Receipt, decode_outcome
from wire.types import DIGEST_BYTES, Digest

MAP_BYTES_DEFAULT: Final = 64 * 1024**3
"""Address space, not disk: the file grows with what is in it."""
EVENTS_LIMIT_MAX: Final = 1000
_OUTCOMES_BYTES_MAX: Final = 1 << 30


class Store:
    """Implements `master.ledger.state.StateReader` on disk; made by `create` or `open`.

    One process owns it, one thread writes; any thread may read, also while a block is being written.
    """

    def __init__(self, path: Path, genesis: Genesis, map_bytes: int) -> None:
        self._genesis_digest = genesis.digest()
        self._owner = own(path)
        try:
            self._env, self._tables = environment(path, map_bytes)
        except BaseException:
            os.close(self._owner)
            raise
        self._path = path
        self.archive = StoreArchive(self._env, self._tables, self._genesis_digest, self.history_node)
        """How far back this store goes."""
        self._head: Head

    @classmethod
    def create(cls, path: Path, genesis: Genesis, *, map_bytes: int = MAP_BYTES_DEFAULT) -> Store:
        """Make a store that holds the state of height 0.

        Args:
            path: Folder; made when missing.
            genesis: Of the ledger.
            map_bytes: Most bytes that the store may ever take.

        Raises:
            StoreError: There is a store already, or another process owns it.
            StoreFullError: ``map_bytes`` is too small, or the disk is full.
            FormatError: The genesis file's parameters are out of range.
        """
        writes = genesis_writes(genesis)
        path.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent)
        store = cls(path, genesis, map_bytes)
        try:
            store._check_new()
            head = genesis_head(genesis, genesis_root(writes))
            with store._writing() as put:
                put.put("meta", b"format", cbor.encode(FORMAT))
                put.put("meta", b"genesis", genesis.digest())
                put.state(writes, leaves_of(writes))
                put.put("meta", b"head", encode_head(head))
                put.history(Frontier(), head.digest)
            sync_folder(path)
            store._head = head
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path, genesis: Genesis, *, map_bytes: int = MAP_BYTES_DEFAULT) -> Store:
        """Open a store that exists.

        Args:
            path: Folder.
            genesis: Of the ledger that is expected there.
            map_bytes: Most bytes that the store may ever take; may be larger than it was.

        Raises:
            StoreError: There is none, it is of another ledger or format, or another process owns it.
            StoreCorruptError: Its first records are damaged.
        """
        if not (path / "data.mdb").exists():
            raise StoreError(f"store {path}: there is none; make one with: gridwitness-node init")
        store = cls(path, genesis, map_bytes)
        try:
            store._head = store._check_meta()
            store._complete_history()
        except BaseException:
            store.close()
            raise
        return store

    def recheck(self) -> None:
        """Return if the store takes a write and its head on disk is the one that this process knows.

        Raises:
            DiskFullError: It takes none yet.
            StoreError: The head is another one, or the store must be opened again.
        """
        with self._writing() as put:
            put.put("meta", b"format", cbor.encode(FORMAT))
        found = self._check_meta()
        if (found.height, found.digest) != (self._head.height, self._head.digest):
            raise StoreCorruptError(f"store {self._path}: its head is block {found.height}, not {self._head.height}")

    def close(self) -> None:
        """Give the store back; a second call does nothing."""
        if self._owner >= 0:
            self._env.close()
            os.close(self._owner)
            self._owner = -1

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    # state

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the canonical CBOR under ``key``, or None."""
        return self._read("state", state_key(namespace, key))

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key."""
        start = state_key(namespace, prefix)
        skip = len(start) - len(prefix)
        for key, content in self._walk("state", start):
            if not key.startswith(start):
                break
            yield key[skip:], content

    def bucket(self, index: int) -> Sequence[tuple[Digest, Digest]]:
        """Return leaf key and value digest of every leaf of a bucket, sorted by leaf key."""
        with Reading(self._env) as txn:
            return bucket_pairs(txn, self._tables, index)

    def past_heights(self) -> range:
        """Return the heights whose state can be shown, the newest among them; none before the first block."""
        blocks, newest = self.undo_blocks(), self._head.height
        oldest = blocks.start - 1 if blocks else newest
        # height 0 has no header that could carry a proof
        return range(max(1, oldest), newest + 1)

    def past_entry(self, namespace: str, key: bytes, height: int) -> PastEntry | None:
        """Return what stood under ``key`` after an older block, None when that height is not kept."""
        with Reading(self._env) as txn:
            return past_entry(txn, self._tables, height, leaf_key(namespace, key), state_key(namespace, key))

    def undo_blocks(self) -> range:
        """Return the heights of the newest blocks, whose undo is kept."""
        with Reading(self._env) as txn:
            return undo_blocks(txn, self._tables)

    def undo(self, height: int) -> Undo:
        """Return what a block overwrote.

        Raises:
            StoreCorruptError: It is missing or damaged.
        """
        with Reading(self._env) as txn:
            return read_undo(txn, self._tables, height)

    def state_tree(self) -> StateTree:
        """Return the tree over all leaves.

        Their checksums are left alone: the root says more, and a node waits for this at every start.

        Raises:
            StoreCorruptError: Its root is not the head's state root.
        """
        with Reading(self._env, self._tables["leaves"]) as txn, txn.cursor() as cursor:
            tree = StateTree.rebuild(cursor, CHECKSUM_BYTES)
        if tree.root != self._head.state_root:
            raise StoreCorruptError(f"store {self._path}: its state is not that of height {self._head.height}")
        return tree

    def view(self) -> StoreView:
        """Return the store as of now, for one reader in one thread; close it soon."""
        return StoreView(self._env, self._tables)

    # blocks

    def head(self) -> Head:
        """Return the newest block's head."""
        return self._head

    def commit(
        self, execution: Execution, certificate: Certificate, next_validators: ValidatorSet | None = None
    ) -> None:
        """Bring a block and all that follows from it to disk; return once it is there.

        A block that is there already is left as it is.

        Args:
            execution: Of the block.
            certificate: That made it final.
            next_validators: The next epoch's set, when the block ends an epoch: later proofs carry it.

        Raises:
            StoreError: The block does not follow the head, the certificate is not a commit of it, or it ends an epoch
                and the next set is not the one that its header names.
            StoreFullError: No room; nothing was written.
        """
        header, digest = execution.block.header, execution.head.digest
        if (certificate.step, certificate.height, certificate.digest) != (Step.COMMIT, header.height, digest):
            raise StoreError(f"store: the certificate is not a commit of block {header.height}")
        if header.height <= self._head.height:
            known = self.block(header.height)
            if known is None or known.header.digest() != digest:
                raise StoreError(f"store: another block is final at height {header.height}")
            return
        if header.height != self._head.height + 1 or header.parent != self._head.digest:
            raise StoreError(f"store: block {header.height} does not follow the head {self._head.height}")
        end = _epoch_end(header, certificate, next_validators)
        with self._writing() as put:
            key = height_key(header.height)
            put.append("blocks", key, execution.block.encode())
            put.append("certificates", key, certificate.encode())
            put.append("outcomes", key, cbor.encode(list(execution.outcomes)))
            for index, tx in enumerate(execution.ids):
                put.put("transactions", tx, key + index.to_bytes(4, "big"))
            if execution.events:
                put.append("events", key, execution.events.to_bytes(4, "big"))
            if execution.block.fault_proofs:
                put.append("faults", key, cbor.encode(list(execution.block.fault_proofs)))
            put.undo(header.height, put.state(execution.writes, execution.leaves, execution.tree_update.before))
            if end is not None:
                put.append("epochs", height_key(header.epoch), cbor.encode(end.to_value()))
            put.history(self._head.history, digest)
            put.put("meta", b"head", encode_head(execution.head))
        self._head = execution.head

    def block(self, height: int) -> Block | None:
        """Return a block, or None when there is none at that height."""
        raw = self.block_bytes(height)
        return None if raw is None else decode_block(raw)

    def block_bytes(self, height: int) -> bytes | None:
        """Return a block's canonical bytes, at most 8 MiB, or None when there is none at that height."""
        return self._read("blocks", height_key(height))

    def header(self, height: int) -> Header | None:
        """Return a block's header, also when its block is pruned, or None when there is none at that height."""
        raw = self._read("headers", height_key(height))
        if raw is not None:
            return decode_header(raw)
        block = self.block(height)
        return None if block is None else block.header

    def final_header(self, height: int) -> FinalHeader | None:
        """Return a header with all that proves it final, or None when there is none at that height."""
        header, certificate = self.header(height), self.certificate(height)
        if header is None or certificate is None:
            return None
        return FinalHeader(header, certificate, self.epoch_ends(header.epoch))

    def epoch_ends(self, epoch: int) -> tuple[EpochEnd, ...]:
        """Return the ends of all epochs before ``epoch``, in order."""
        found = []
        for key, raw in self._walk("epochs", b""):
            if int.from_bytes(key, "big") >= epoch:
                break
            found.append(cbor.decode(raw))
        return decode_epoch_ends(found)

    def prune(self, heights: range) -> int:
        """Give up the bodies of some blocks in one transaction; return how many there were.

        Headers, certificates, outcomes, history, ids and leaf digests of the transactions stay: receipts, proofs and
        query tables need them.
        """
        pruned = 0
        with self._writing() as put:
            for height in heights:
                block = self.block(height)
                if block is None:
                    continue
                put.put("headers", height_key(height), block.header.encode())
                put.put("tx_leaves", height_key(height), b"".join(map(leaf_digest, block.transactions)))
                put.delete("blocks", height_key(height))
                pruned += 1
        return pruned

    def history_node(self, level: int, index: int) -> Digest:
        """Return the digest of a complete subtree of the history.

        Raises:
            StoreCorruptError: It is missing.
        """
        raw = self._read("history", node_key(level, index))
        if raw is None:
            raise StoreCorruptError(f"store {self._path}: node {index} of level {level} of its history is missing")
        return raw

    def certificate(self, height: int) -> Certificate | None:
        """Return the certificate that made a block final."""
        raw = self._read("certificates", height_key(height))
        return None if raw is None else decode_certificate(cbor.decode(raw))

    def outcomes(self, height: int) -> tuple[bytes, ...]:
        """Return the canonical outcomes of a block's transactions; none when there is no such block."""
        raw = self._read("outcomes", height_key(height))
        if raw is None:
            return ()
        value = cbor.decode(raw, bytes_max=_OUTCOMES_BYTES_MAX)
        return tuple(entry for entry in value if isinstance(entry, bytes)) if isinstance(value, list) else ()

    def fault_proofs(self, height: int) -> tuple[bytes, ...]:
        """Return the canonical fault proofs of a block, also when its body is pruned."""
        raw = self._read("faults", height_key(height))
        value = None if raw is None else cbor.decode(raw)
        return tuple(entry for entry in value if isinstance(entry, bytes)) if isinstance(value, list) else ()

    def keep_view_changes(self, height: int, view_changes: Sequence[bytes]) -> None:
        """Keep canonical view change sets of a height for audits, durably; prune leaves them."""
        with self._writing() as put:
            put.put("view_changes", height_key(height), cbor.encode(list(view_changes)))

    def view_changes(self, height: int) -> tuple[bytes, ...]:
        """Return what this node's votes above view 0 at a height rested on: canonical view change sets."""
        raw = self._read("view_changes", height_key(height))
        value = None if raw is None else cbor.decode(raw, bytes_max=_OUTCOMES_BYTES_MAX)
        return tuple(entry for entry in value if isinstance(entry, bytes)) if isinstance(value, list) else ()

    def find_tx(self, tx_id: Digest) -> tuple[int, int] | None:
        """Return height and index of a transaction, or None when no block holds it."""
        raw = self._read("transactions", tx_id)
        return None if raw is None else (int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big"))

    def receipt(self, tx_id: Digest) -> Receipt | None:
        """Return the receipt of one transaction, or None when no block holds it."""
        place = self.find_tx(tx_id)
        if place is None:
            return None
        height, index = place
        return self.receipts(height)[index]

    def tx_leaves(self, height: int) -> Sequence[Digest] | None:
        """Return the leaf digests of a block's transactions, also of a pruned one; None when they are not here."""
        block = self.block(height)
        if block is not None:
            return [leaf_digest(raw) for raw in block.transactions]
        raw = self._read("tx_leaves", height_key(height))
        return None if raw is None else [raw[at : at + DIGEST_BYTES] for at in range(0, len(raw), DIGEST_BYTES)]

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        """Return the receipts of all transactions of a block, in their order."""
        header, certificate, leaves = self.header(height), self.certificate(height), self.tx_leaves(height)
        if header is None or certificate is None or leaves is None:
            return ()
        outcomes = self.outcomes(height)
        _, tx_paths = inclusion_paths(leaves)
        _, outcome_paths = inclusion_paths([leaf_digest(raw) for raw in outcomes])
        decoded = [decode_outcome(raw) for raw in outcomes]
        epochs = self.epoch_ends(header.epoch)
        return tuple(
            Receipt(
                tx=outcome.tx,
                header=header,
                certificate=certificate,
                index=index,
                size=len(decoded),
                tx_path=tx_paths[index],
                outcome=outcome,
                outcome_path=outcome_paths[index],
                epochs=epochs,
            )
            for index, outcome in enumerate(decoded)
        )

    def events(self, after_height: int, after_index: int, limit: int) -> list[EventRow]:
        """Return events in their order.

        Args:
            after_height: Height of the last event known; 0 for all.
            after_index: Its index; -1 for all of that height.
            limit: Most events, 1..1000.
        """
        found: list[EventRow] = []
        limit = min(limit, EVENTS_LIMIT_MAX)
        for key, _ in self._walk("events", height_key(after_height)):
            height = int.from_bytes(key, "big")
            header = self.header(height)
            if header is None:
                raise StoreCorruptError(f"store {self._path}: block {height} is missing")
            for row in block_rows(height, header.time_ms, self.outcomes(height), self.fault_proofs(height)):
                if (row.height, row.index) > (after_height, after_index):
                    found.append(row)
                if len(found) >= limit:
                    return found
        return found

    def has_events(self, height: int) -> bool:
        """Tell whether the index of events names a block."""
        return self._read("events", height_key(height)) is not None

    def raw_records(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and whole records of a table, damaged ones, too."""
        with Reading(self._env, self._tables[table]) as txn, txn.cursor() as cursor:
            yield from cursor

    def _complete_history(self) -> None:
        """Write the history of a store that was made before there was one."""
        if self._read("history", node_key(0, self._head.height)) is not None:
            return
        frontier = Frontier()
        with self._writing() as put:
            for height in range(self._head.height + 1):
                header = self.header(height) if height else None
                put.history(frontier, self._genesis_digest if header is None else header.digest())
                frontier.append(leaf_digest(self._genesis_digest if header is None else header.digest()))

    def _check_new(self) -> None:
        if self._read("meta", b"format") is not None:
            raise StoreError(f"store {self._path}: it exists already and is never overwritten")

    def _check_meta(self) -> Head:
        raw_format, digest, head = (self._read("meta", key) for key in (b"format", b"genesis", b"head"))
        if raw_format is None or digest is None or head is None:
            raise StoreError(f"store {self._path}: it was never finished; make it anew with init")
        if (found := cbor.decode(raw_format)) != FORMAT:
            detail = f"its format is {found!r}, and this software reads {FORMAT}: run the version that made it"
            raise StoreError(f"store {self._path}: {detail}")
        if digest != self._genesis_digest:
            raise StoreError(f"store {self._path}: it belongs to the ledger with genesis {digest.hex()[:16]}")
        return decode_head(head)

    def _read(self, table: str, key: bytes) -> bytes | None:
        with Reading(self._env, self._tables[table]) as txn:
            record = txn.get(key)
        return None if record is None else unseal(table, key, record)

    def _walk(self, table: str, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        with Reading(self._env, self._tables[table]) as txn, txn.cursor() as cursor:
            found = cursor.set_range(start) if start else cursor.first()
            while found:
                key = cursor.key()
                yield key, unseal(table, key, cursor.value())
                found = cursor.next()

    def _writing(self) -> Writing:
        return Writing(self._env, self._tables)


def _epoch_end(header: Header, certificate: Certificate, following: ValidatorSet | None) -> EpochEnd | None:
    """Return the epoch end that a block is, or None.

    Raises:
        StoreError: It is one, and ``following`` is not the set that its header names.
    """
    if header.next_validators_hash == header.validators_hash:
        return None
    if following is None or following.digest() != header.next_validators_hash:
        raise StoreError(f"store: block {header.height} ends an epoch, and the set that its header names is not given")
    return EpochEnd(header, certificate, following)
