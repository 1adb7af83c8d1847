"""What a batch of state writes makes of the state tree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from master.ledger.genesis import leaves_of
from master.ledger.rows import Leaf
from master.ledger.state import Write
from master.ledger.tree import StateTree, TreeUpdate, bucket_digest, bucket_of
from wire.types import Digest


class Buckets(Protocol):
    """Where the leaves of the state tree are kept."""

    def bucket(self, index: int) -> Sequence[tuple[Digest, Digest]]:
        """Return leaf key and value digest of every leaf of a bucket, sorted by leaf key."""


def preview(reader: Buckets, tree: StateTree, writes: Sequence[Write]) -> tuple[tuple[Leaf, ...], TreeUpdate]:
    """Return the leaves that writes change and what becomes of the tree, which stays as it is."""
    leaves = leaves_of(writes)
    buckets: dict[int, Digest] = {}
    for index, changed in groupby(leaves, key=lambda leaf: bucket_of(leaf[0])):
        # most buckets are empty until there are a million leaves: the tree knows, without the disk
        pairs: dict[Digest, Digest | None] = {} if tree.is_empty(index) else dict(reader.bucket(index))
        pairs.update(changed)
        kept = [(key, value) for key, value in sorted(pairs.items()) if value is not None]
        buckets[index] = bucket_digest(kept)
    return leaves, tree.preview(buckets)
