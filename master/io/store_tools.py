"""What a person does to a node's store while the node stands still: check it, make it anew, take blocks out of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kit.exitcodes import DataError
from kit.files import sync_folder
from master.io.store import Store
from master.io.store_env import TABLES, height_key
from master.io.store_records import ArchiveMark, StoreCorruptError, StoreError, StoreFullError, unseal
from master.io.undo_check import UndoCheck
from master.ledger.application import Application
from master.ledger.history import frontier_at
from master.ledger.refusals import BlockRefused
from master.ledger.tree import StateTree, leaf_key
from wire import cbor
from wire.block import BLOCK_BYTES_MAX, Block, decode_block
from wire.certificate import Certificate, ValidatorSet, decode_certificate
from wire.epochs import EPOCHS_MAX, TrustedEpoch, decode_epochs_field, verify_header
from wire.errors import CertificateError, WireError
from wire.fields import Fields
from wire.genesis import Genesis
from wire.header import Header
from wire.merkle import Frontier, leaf_digest, tree_head
from wire.receipt import decode_outcome
from wire.tx import SignedTx
from wire.types import Digest, sha256

Progress = Callable[[int], None]
"""Takes the number of steps done since its last call."""

DAMAGES_MAX: Final = 1000
PRUNE_BATCH: Final = 256
KEPT_MIN: Final = 128
"""Newest blocks that stay whole, for nodes that catch up."""
_EXPORT: Final = ("type", "version", "chain", "first", "last", "epochs")
_LENGTH: Final = struct.Struct(">I")
_RECORD_BYTES_MAX: Final = BLOCK_BYTES_MAX + 64 * 1024


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in a store that is not as it must be."""

    table: str
    key: str
    """Hex of the record's key, or a height."""
    problem: str


class Fsck:
    """Checks a store from its checksums to the signatures of its certificates.

    Args:
        store: Open; nothing is changed.
        genesis: Of its ledger.
        progress: Told of every block and state entry.
    """

    def __init__(self, store: Store, genesis: Genesis, progress: Progress) -> None:
        self._store = store
        self._genesis = genesis
        self._progress = progress
        self.damages: list[Damage] = []
        """At most 1,000; there may be more."""
        self.lacks = 0
        """So many blocks from the first on have not come yet: the store began with a snapshot."""

    def run(self) -> list[Damage]:
        """Return what is damaged, nothing when all is well."""
        for table in TABLES:
            try:
                for _ in self._records(table):
                    self._progress(1)
            except StoreCorruptError as error:
                self._note(table, b"", str(error))
        # what a table with lost pages holds cannot be compared with anything
        if not any(damage.key == "" for damage in self.damages):
            self._check_blocks()
            self._check_state()
        return self.damages

    def _note(self, table: str, key: bytes | int, problem: str) -> None:
        if len(self.damages) < DAMAGES_MAX:
            self.damages.append(Damage(table, str(key) if isinstance(key, int) else key.hex(), problem))

    def _records(self, table: str, *, is_quiet: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and contents of all records whose checksum holds."""
        for key, record in self._store.raw_records(table):
            try:
                content = unseal(table, key, record)
            except StoreCorruptError:
                if not is_quiet:
                    self._note(table, key, "its checksum does not hold")
                continue
            yield key, content

    def _check_blocks(self) -> None:
        head, mark = self._store.head(), self._store.archive.mark()
        snapshot = 0 if mark is None else mark.snapshot
        first, parent, history = self._start(mark)
        epoch = TrustedEpoch(0, self._genesis.validator_set(), 1)
        for height in range(first, head.height + 1):
            self._progress(1)
            try:
                header, certificate = self._store.header(height), self._store.certificate(height)
                if header is None or certificate is None:
                    self._note("blocks", height, "the block or its certificate is missing")
                    return
                if history is None and height > snapshot:
                    history = frontier_at(height, self._store.history_node)
                root = header.history_root if history is None else history.head()
                if (header.height, header.parent, header.history_root) != (height, parent, root):
                    self._note("blocks", height, "it does not stand on the block before")
                    return
                while header.epoch > epoch.number:
                    epoch = self._next_epoch(epoch)
                verify_header(self._genesis.chain(), epoch, header, certificate)
                self._check_outcomes(height, self._store.block(height), header)
            except (StoreError, WireError) as error:
                self._note("blocks", height, str(error))
                return
            parent = header.digest()
            if self._store_node(height) != leaf_digest(parent):
                self._note("history", height, "it is not the digest of the block")
            if history is not None:
                history.append(leaf_digest(parent))
        history = history or frontier_at(head.height + 1, self._store.history_node)
        if (head.digest, head.history.edge) != (parent, history.edge):
            self._note("meta", b"head", "it is not the newest block")

    def _start(self, mark: ArchiveMark | None) -> tuple[int, Digest, Frontier | None]:
        """Return the first height that is here, its parent, and the history before it if that is known."""
        if mark is None or mark.known_from == 1:
            history, digest = Frontier(), self._genesis.digest()
            history.append(leaf_digest(digest))
            return 1, digest, history
        self.lacks = mark.known_from - 1
        lowest = self._store.header(min(mark.known_from, mark.snapshot))
        assert lowest is not None  # it is written together with the mark
        is_filled = mark.known_from <= mark.snapshot
        return mark.known_from, lowest.parent if is_filled else lowest.digest(), None

    def _store_node(self, height: int) -> Digest | None:
        try:
            return self._store.history_node(0, height)
        except StoreCorruptError:
            return None

    def _next_epoch(self, epoch: TrustedEpoch) -> TrustedEpoch:
        ends = self._store.epoch_ends(epoch.number + 1)
        if len(ends) != epoch.number + 1:
            raise StoreCorruptError(f"the end of epoch {epoch.number} is missing")
        return TrustedEpoch(epoch.number + 1, ends[-1].validators, ends[-1].header.height + 1)

    def _check_outcomes(self, height: int, block: Block | None, header: Header) -> None:
        outcomes = self._store.outcomes(height)
        if tree_head(outcomes) != header.outcome_root:
            self._note("outcomes", height, "they do not lead to the block's outcome_root")
        for index, raw in enumerate(() if block is None else block.transactions):
            if self._store.find_tx(sha256(raw)) != (height, index):
                self._note("transactions", sha256(raw), f"it does not lead to place {index} of block {height}")
        leaves = self._store.tx_leaves(height)
        if leaves is not None and _root_above(leaves) != header.tx_root:
            self._note("tx_leaves", height, "they do not lead to the block's tx_root")
        proofs = self._store.fault_proofs(height)
        if tree_head(proofs) != header.fault_proof_root:
            self._note("faults", height, "they do not lead to the block's fault_proof_root")
        if bool(proofs or sum(len(decode_outcome(raw).events) for raw in outcomes)) != self._store.has_events(height):
            self._note("events", height, "it is not what the outcomes say")

    def _check_state(self) -> None:
        leaves = dict(self._records("leaves", is_quiet=True))
        known = len(leaves)
        entries = 0
        for key, value in self._records("state", is_quiet=True):
            self._progress(1)
            entries += 1
            namespace, rest = key[1 : 1 + key[0]].decode("ascii", "replace"), key[1 + key[0] :]
            if leaves.get(leaf_key(namespace, rest)) != sha256(value):
                self._note("state", key, "the state tree holds something else")
        if entries != known:
            self._note("leaves", b"", f"{known} leaves for {entries} state entries")
        tree = StateTree.rebuild(sorted(leaves.items()))
        if tree.root != self._store.head().state_root:
            self._note("leaves", b"", "they do not lead to the state root of the newest block")
            return
        found = UndoCheck(self._store, self._genesis, leaves, tree).run(self._progress)
        if found is not None:
            self._note("undo", *found)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild came to."""

    height: int
    """Newest block of the new store."""
    stopped: str | None
    """Why it holds fewer blocks than the source; None when it holds all."""


def _root_above(leaves: Sequence[Digest]) -> Digest:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.head()


def has_first_block(store: Store) -> bool:
    """Tell whether a store, if it has blocks, has them from the first on, be that damaged or not."""
    return not store.head().height or next((key for key, _ in store.raw_records("blocks")), b"") == height_key(1)


def whole_from(store: Store) -> str:
    """Say why old blocks may be missing."""
    first = store.archive.first_whole()
    if first == 1:
        return "it may have been pruned"
    return f"this store began with a snapshot, and has whole blocks from {first} on"


def blocks_of(store: Store) -> Iterator[tuple[Block, Certificate]]:
    """Yield the blocks of a store from height 1 on.

    Raises:
        StoreError: From the first that is missing or damaged.
        WireError: Same.
    """
    for height in range(1, store.head().height + 1):
        block, certificate = store.block(height), store.certificate(height)
        if block is None or certificate is None:
            raise StoreError(f"block {height} or its certificate is missing; {whole_from(store)}")
        yield block, certificate


def rebuild(
    path: Path,
    genesis: Genesis,
    blocks: Iterable[tuple[Block, Certificate]],
    sets: Callable[[Digest], ValidatorSet | None],
    progress: Progress,
    *,
    map_bytes: int,
) -> Rebuilt:
    """Make a store anew from blocks, each verified and executed; it ends before the first that does not hold.

    Args:
        path: Folder of the new store; nothing may be there.
        genesis: Of the ledger.
        blocks: From height 1 on; may raise StoreError or WireError where it is damaged.
        sets: A validator set by its digest, for ends of epochs.
        progress: Told of every block.
        map_bytes: Most bytes that the store may ever take.

    Raises:
        StoreError: There is a store already, or no room.
    """
    stopped = None
    with Store.create(path, genesis, map_bytes=map_bytes) as store:
        tree = store.state_tree()
        begun = {0: genesis.validator_set()}
        application = Application(genesis, store, tree, SignedTx.verify, epochs=begun.get)
        epoch = TrustedEpoch(0, begun[0], 1)
        try:
            for block, certificate in blocks:
                header = block.header
                verify_header(genesis.chain(), epoch, header, certificate)
                execution = application.process(store.head(), block)
                following = None
                if header.next_validators_hash != header.validators_hash:
                    following = sets(header.next_validators_hash)
                    if following is None:
                        raise CertificateError(f"block {header.height}: the set that comes after it is not known")
                    epoch = TrustedEpoch(epoch.number + 1, following, header.height + 1)
                    begun[epoch.number] = following
                store.commit(execution, certificate, following)
                application.committed(execution)
                progress(1)
        except StoreFullError:
            raise
        except (WireError, BlockRefused, StoreError) as error:
            stopped = str(error)
        height = store.head().height
    return Rebuilt(height, stopped)


def known_sets(store: Store) -> Callable[[Digest], ValidatorSet | None]:
    """Return the validator sets that a store's ends of epochs name, by digest."""
    return {end.validators.digest(): end.validators for end in store.epoch_ends(EPOCHS_MAX)}.get


def export_blocks(store: Store, chain: str, out: Path, heights: range, progress: Progress) -> int:
    """Write blocks with their certificates to a new file; return its size in bytes.

    Args:
        store: Open.
        chain: Name of the ledger.
        out: File; never overwritten.
        heights: Ascending, all in the store.
        progress: Told of every block.

    Raises:
        StoreError: A block is missing or pruned, the file is there already, or its folder is not.
    """
    if out.exists():
        raise StoreError(f"{out} exists and is never overwritten; choose another name or move it away")
    if not out.parent.is_dir():
        raise StoreError(f"{out}: there is no folder {out.parent}; make it or name another file")
    temporary = out.with_name(f".{out.name}.part")
    start: dict[str, cbor.Value] = {
        "type": "export",
        "version": 1,
        "chain": chain,
        "first": heights.start,
        "last": heights.stop - 1,
        "epochs": [end.to_value() for end in store.epoch_ends(EPOCHS_MAX)],
    }
    try:
        with temporary.open("wb") as file:
            _put(file.write, cbor.encode(start))
            for height in heights:
                block, certificate = store.block_bytes(height), store.certificate(height)
                if block is None or certificate is None:
                    raise StoreError(f"block {height} is not here; {whole_from(store)}")
                _put(file.write, cbor.encode({"block": block, "certificate": certificate.to_value()}))
                progress(1)
            size = file.tell()
        temporary.rename(out)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(out.parent)
    return size


def exported_sets(path: Path, chain: str) -> Callable[[Digest], ValidatorSet | None]:
    """Return the validator sets that an export names, by digest; whoever rebuilds compares them with headers.

    Raises:
        DataError: It is no export of this ledger, or is cut off.
        WireError: Its first record is damaged.
    """
    with path.open("rb") as file:
        ends = decode_epochs_field(_export_start(file.read, path, chain))
    return {end.validators.digest(): end.validators for end in ends}.get


def read_export(path: Path, chain: str) -> Iterator[tuple[Block, Certificate]]:
    """Yield the blocks of an export, not yet verified.

    Raises:
        DataError: It is no export of this ledger, or is cut off.
        WireError: A record is damaged.
    """
    with path.open("rb") as file:
        fields = _export_start(file.read, path, chain)
        for _ in range(fields.integer("first"), fields.integer("last") + 1):
            record = Fields(
                cbor.decode(_get(file.read, path), bytes_max=_RECORD_BYTES_MAX), ("block", "certificate"), "export"
            )
            block = decode_block(record.octets("block", 1, BLOCK_BYTES_MAX))
            yield block, decode_certificate(record.raw("certificate"))


def _export_start(read: Callable[[int], bytes], path: Path, chain: str) -> Fields:
    fields = Fields(cbor.decode(_get(read, path)), _EXPORT, "export")
    fields.choice("type", ("export",))
    fields.integer("version", 1, 1)
    if fields.identifier("chain") != chain:
        raise DataError(f"{path} is an export of {fields.identifier('chain')}, not of {chain}")
    return fields


def prune(store: Store, before: int, progress: Progress) -> int:
    """Give up the bodies of all blocks below a height; return how many there were.

    Args:
        store: Open.
        before: First height that stays whole; the newest 128 blocks always do.
        progress: Told of every height.
    """
    end = min(before, store.head().height - KEPT_MIN + 1)
    pruned = 0
    for start in range(1, end, PRUNE_BATCH):
        heights = range(start, min(start + PRUNE_BATCH, end))
        pruned += store.prune(heights)
        progress(len(heights))
    return pruned


def _put(write: Callable[[bytes], int], record: bytes) -> None:
    write(_LENGTH.pack(len(record)))
    write(record)


def _get(read: Callable[[int], bytes], path: Path) -> bytes:
    start = read(_LENGTH.size)
    length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
    record = read(length) if 0 < length <= _RECORD_BYTES_MAX else b""
    if not record or len(record) != length:
        raise DataError(f"{path} is cut off or no export")
    return record
