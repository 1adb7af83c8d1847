"""Proofs: inclusion paths of all leaves of one tree at once, state entries, blocks long past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from master.ledger.history import consistency_path, inclusion_path
from master.ledger.rows import Head
from master.ledger.tree import StateTree, bucket_of, leaf_key
from master.ledger.undo import HeightNotKeptError, PastEntry
from wire.epochs import EPOCHS_MAX, EpochEnd
from wire.errors import ProofError
from wire.finality import FinalHeader
from wire.header import Header
from wire.historyproof import ConsistencyProof, HistoryProof
from wire.merkle import EMPTY_HEAD, node_digest
from wire.stateproof import StateProof, check_state
from wire.types import Digest


def inclusion_paths(leaf_digests: Sequence[Digest]) -> tuple[Digest, tuple[tuple[Digest, ...], ...]]:
    """Return the tree head and the inclusion path of every leaf, in n log n steps.

    Args:
        leaf_digests: As `wire.merkle.leaf_digest` gives them.

    Source: RFC 9162, 2.1.1 and 2.1.3.1.
    """
    if not leaf_digests:
        return EMPTY_HEAD, ()
    paths: list[list[Digest]] = [[] for _ in leaf_digests]
    # of the RFC's tree, each level is the pairs of the level below; an odd last node rises as it is
    level = [(digest, range(place, place + 1)) for place, digest in enumerate(leaf_digests)]
    while len(level) > 1:
        above = []
        for (left, left_leaves), (right, right_leaves) in zip(level[::2], level[1::2], strict=False):
            for leaf in left_leaves:
                paths[leaf].append(right)
            for leaf in right_leaves:
                paths[leaf].append(left)
            above.append((node_digest(left, right), range(left_leaves.start, right_leaves.stop)))
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0][0], tuple(tuple(path) for path in paths)


class ProofSource(Protocol):
    """What proofs are made of: committed blocks and the state after the newest."""

    def head(self) -> Head:
        """Return the newest block."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the canonical CBOR under ``key``, or None."""

    def bucket(self, index: int) -> Sequence[tuple[Digest, Digest]]:
        """Return leaf key and value digest of every leaf of a bucket, sorted by leaf key."""

    def past_heights(self) -> range:
        """Return the heights whose state can be shown, the newest among them; none before the first block."""

    def past_entry(self, namespace: str, key: bytes, height: int) -> PastEntry | None:
        """Return what stood under ``key`` after an older block, None when that height is not kept."""

    def header(self, height: int) -> Header | None:
        """Return a header, also one whose block is pruned."""

    def final_header(self, height: int) -> FinalHeader | None:
        """Return a header with all that proves it final."""

    def epoch_ends(self, epoch: int) -> Sequence[EpochEnd]:
        """Return the ends of all epochs before ``epoch``, in order."""

    def history_node(self, level: int, index: int) -> Digest:
        """Return the digest of a complete subtree of the history."""


class Prover:
    """Makes proofs of the newest state and of the history, in any thread, while blocks are being committed.

    Args:
        source: The node's store.
        tree: Over the leaves of the newest state; somebody else brings it up to date.
    """

    def __init__(self, source: ProofSource, tree: StateTree) -> None:
        self._source = source
        self._tree = tree

    def state_proof(self, namespace: str, key: bytes, height: int | None = None) -> StateProof | None:
        """Return the proof of what the state holds, or held, under ``key``.

        Store and tree are read one after the other, so a block may have landed in between. The proof is checked
        against the header before it leaves: None means that it did not fit; try again.

        Args:
            namespace: Of the state.
            key: Within the namespace.
            height: Of the block after which it stood so; the newest one if not given.

        Raises:
            HeightNotKeptError: The state of that height is not kept, or not there yet.
        """
        newest = self._source.head().height
        at = newest if height is None else height
        if height is not None and height not in self._source.past_heights():
            raise HeightNotKeptError(height, self._source.past_heights())
        final = self._source.final_header(at)
        if final is None:
            return None
        proof = self._newest(namespace, key, final) if at == newest else self._past(namespace, key, final)
        if proof is None:
            return None
        try:
            check_state(proof, final.header.state_root)
        except ProofError:
            return None
        return proof

    def _newest(self, namespace: str, key: bytes, final: FinalHeader) -> StateProof:
        number = bucket_of(leaf_key(namespace, key))
        value, bucket = self._source.get(namespace, key), tuple(self._source.bucket(number))
        return StateProof(namespace, key, value, bucket, self._tree.path(number), final)

    def _past(self, namespace: str, key: bytes, final: FinalHeader) -> StateProof | None:
        past = self._source.past_entry(namespace, key, final.header.height)
        if past is None:
            return None
        path = self._tree.past_path(bucket_of(leaf_key(namespace, key)), past.buckets, past.nodes)
        return StateProof(namespace, key, past.value, past.bucket, path, final)

    def history_proof(self, height: int, newer: int) -> HistoryProof | None:
        """Return the proof that block ``height`` is below block ``newer``; None when there is no such pair.

        Args:
            height: 1 and up.
            newer: Above ``height``.
        """
        header, final = self._source.header(height), self._source.final_header(newer)
        if header is None or final is None or height >= newer:
            return None
        return HistoryProof(header, inclusion_path(height, newer, self._source.history_node), final)

    def consistency_proof(self, height: int, newer: int) -> ConsistencyProof | None:
        """Return the proof that block ``newer`` continues the history of ``height``; None when there is no such pair.

        Args:
            height: 1 and up.
            newer: ``height`` and up.
        """
        header, final = self._source.header(height), self._source.final_header(newer)
        if header is None or final is None or height > newer:
            return None
        return ConsistencyProof(header, consistency_path(height, newer, self._source.history_node), final)

    def all_epoch_ends(self) -> Sequence[EpochEnd]:
        """Return the ends of all epochs that ended, in order."""
        return self._source.epoch_ends(EPOCHS_MAX)
