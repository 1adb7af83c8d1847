"""Whether the undo of the newest blocks is right: each must lead back to the state root of the block before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from master.io.store import Store
from master.io.store_records import StoreError, unseal
from master.ledger.genesis import genesis_root, genesis_writes
from master.ledger.tree import StateTree, bucket_digest, bucket_of, leaf_key
from wire.genesis import Genesis
from wire.types import Digest, sha256


class UndoCheck:
    """Goes back from the newest state, block by block.

    Args:
        store: Open; nothing is changed.
        genesis: Of its ledger.
        leaves: Of the newest state; changed here.
        tree: Over them; changed here.
    """

    def __init__(self, store: Store, genesis: Genesis, leaves: Mapping[Digest, Digest], tree: StateTree) -> None:
        self._store = store
        self._genesis = genesis
        self._tree = tree
        self._buckets: dict[int, dict[Digest, Digest]] = {}
        for key, value in leaves.items():
            self._buckets.setdefault(bucket_of(key), {})[key] = value

    def run(self, progress: Callable[[int], None]) -> tuple[int, str] | None:
        """Return the newest block whose undo is wrong and what is the matter with it; None when all is well."""
        blocks, head = self._store.undo_blocks(), self._store.head().height
        if blocks and blocks[-1] != head:
            return blocks[-1], "the newest undo is not that of the newest block"
        for height in reversed(blocks):
            progress(1)
            try:
                problem = self._go_back(height)
            except StoreError as error:
                problem = str(error)
            if problem is not None:
                return height, problem
        return None

    def _go_back(self, height: int) -> str | None:
        undo = self._store.undo(height)
        touched = {bucket_of(key) for key, _ in undo.leaves}
        for key, before in undo.leaves:
            bucket = self._buckets.setdefault(bucket_of(key), {})
            if before is None:
                bucket.pop(key, None)
            else:
                bucket[key] = before
        digests = {number: bucket_digest(sorted(self._buckets[number].items())) for number in touched}
        update = self._tree.preview(digests)
        self._tree.apply(update)
        if self._tree.root != self._root(height - 1):
            return f"it does not lead to the state root of block {height - 1}"
        if list(undo.nodes) != [(number, self._tree.node(number)) for number, _ in update.before]:
            return f"its nodes are not those of the state tree of block {height - 1}"
        if dict(undo.leaves) != dict(map(_leaf, undo.values)):
            return f"its values are not those of the leaves of block {height - 1}"
        return None

    def _root(self, height: int) -> Digest | None:
        if height == 0:
            return genesis_root(genesis_writes(self._genesis))
        header = self._store.header(height)
        return None if header is None else header.state_root


def _leaf(entry: tuple[bytes, bytes | None]) -> tuple[Digest, Digest | None]:
    """Return the leaf of a state record as it stood in the state table.

    Raises:
        StoreCorruptError: Its checksum does not hold.
    """
    key, record = entry
    place = leaf_key(key[1 : 1 + key[0]].decode("ascii", "replace"), key[1 + key[0] :])
    return place, None if record is None else sha256(unseal("state", key, record))
