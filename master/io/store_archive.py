"""How far back a store goes that began with a snapshot, and the way further back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import lmdb

from master.io.store_env import Reading, Writing, node_key
from master.io.store_records import ArchiveMark, decode_mark, encode_mark, unseal
from master.ledger.history import older_nodes
from wire.snapshot import OldBlock
from wire.types import Digest

_MARK = b"archive"


class StoreArchive:
    """The past of one store.

    Args:
        env: Of the store.
        tables: Its tables.
        genesis_digest: The first leaf of the history.
        node: Reads a node of the history.
    """

    def __init__(
        self,
        env: lmdb.Environment,
        tables: dict[str, lmdb._Database],
        genesis_digest: Digest,
        node: Callable[[int, int], Digest],
    ) -> None:
        self._env = env
        self._tables = tables
        self._genesis_digest = genesis_digest
        self._node = node

    def mark(self) -> ArchiveMark | None:
        """Return how far back the store goes when it began with a snapshot, None when it has all blocks."""
        with Reading(self._env, self._tables["meta"]) as txn:
            record = txn.get(_MARK)
        return None if record is None else decode_mark(unseal("meta", _MARK, record))

    def known_from(self) -> int:
        """Return the lowest height from which on headers, certificates, outcomes and history are here."""
        mark = self.mark()
        return 1 if mark is None else mark.known_from

    def first_whole(self) -> int:
        """Return the lowest height whose block this store may have with its transactions."""
        mark = self.mark()
        return 1 if mark is None else mark.snapshot + 1

    def fill(self, blocks: Sequence[OldBlock]) -> None:
        """Store old blocks below those that are known, in descending order, in one transaction; they are proven.

        Raises:
            StoreFullError: No room; nothing was written.
        """
        mark = self.mark()
        assert mark is not None  # only what is missing is filled
        nodes: dict[tuple[int, int], Digest] = {}
        with Writing(self._env, self._tables) as put:
            for height, leaf in put.old_blocks(mark.known_from, blocks, self._genesis_digest):
                for level, index, node in older_nodes(
                    height, leaf, mark.snapshot + 1, lambda *at: nodes.get(at) or self._node(*at)
                ):
                    nodes[level, index] = node
                    put.put("history", node_key(level, index), node)
            put.put("meta", _MARK, encode_mark(replace(mark, known_from=mark.known_from - len(blocks))))
