"""The state tree: 2^20 buckets of leaves under a binary tree of fixed shape.

Leaf key = SHA-256(length of the namespace as 1 byte | namespace | key), value digest = SHA-256(value). A leaf belongs
to the bucket that the first 20 bits of its key name. Digest of a bucket = SHA-256(0x00 | its sorted pairs of leaf key
and value digest), of an empty bucket 32 zero bytes, of an inner node SHA-256(0x01 | left | right). The shape does not
depend on the order of writes, absence is shown by the whole bucket, and the tree is rebuilt from the leaves alone.

Nodes stand in pages of 16 that exist only where there is data: an untouched page costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from wire.statetree import (
    BUCKETS,
    DEPTH,
    EMPTY_BUCKET,
    bucket_digest,
    bucket_of,
    leaf_key,
    node_digest,
    path_root,
)
from wire.types import DIGEST_BYTES, Digest

__all__ = [
    "BUCKETS",
    "DEPTH",
    "EMPTY_BUCKET",
    "EMPTY_ROOT",
    "StateTree",
    "TreeUpdate",
    "bucket_digest",
    "bucket_of",
    "leaf_key",
    "path_root",
]

_PAGE_BITS: Final = 4
_PAGE_MASK: Final = (1 << _PAGE_BITS) - 1


def _defaults() -> tuple[Digest, ...]:
    """Return the digest of an untouched node per level, root (level 0) first, buckets (level 20) last."""
    levels = [EMPTY_BUCKET]
    for _ in range(DEPTH):
        levels.append(node_digest(levels[-1], levels[-1]))
    return tuple(reversed(levels))


_DEFAULTS: Final = _defaults()
EMPTY_ROOT: Final = _DEFAULTS[0]


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """The nodes that a batch of leaves changes; it fits only the tree it was computed on."""

    base: Digest
    """Root before."""
    root: Digest
    """Root after."""
    nodes: tuple[tuple[int, int, Digest], ...]
    """(level, index within the level, digest), buckets first, root last."""


class StateTree:
    """Digests of all nodes in memory; the leaves themselves stay in the store.

    Memory is about 0.7 KB per page; a state of a million leaves takes some 90 MB.
    """

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: tuple[dict[int, bytearray], ...] = tuple({} for _ in range(DEPTH + 1))

    @classmethod
    def rebuild(cls, leaves: Iterable[tuple[Digest, Digest]]) -> StateTree:
        """Return the tree over stored leaves.

        Args:
            leaves: Leaf key and value digest in ascending order of leaf key.
        """
        tree = cls()
        indices = []
        for index, pairs in groupby(leaves, key=lambda pair: bucket_of(pair[0])):
            tree._put(DEPTH, index, bucket_digest(list(pairs)))
            indices.append(index)
        for level in range(DEPTH - 1, -1, -1):
            indices = sorted({index >> 1 for index in indices})
            for index in indices:
                left, right = tree._get(level + 1, 2 * index), tree._get(level + 1, 2 * index + 1)
                tree._put(level, index, node_digest(left, right))
        return tree

    @property
    def root(self) -> Digest:
        """The state root."""
        return self._get(0, 0)

    def preview(self, buckets: Mapping[int, Digest]) -> TreeUpdate:
        """Return what new bucket digests would make of the tree, and leave it as it is.

        Args:
            buckets: New digest per bucket number.
        """
        changed = sorted(buckets.items())
        nodes = [(DEPTH, index, digest) for index, digest in changed]
        for level in range(DEPTH - 1, -1, -1):
            changed = self._parents(level, changed)
            nodes.extend((level, index, digest) for index, digest in changed)
        return TreeUpdate(self.root, changed[0][1] if changed else self.root, tuple(nodes))

    def is_empty(self, bucket: int) -> bool:
        """Tell whether a bucket holds no leaf."""
        return self._get(DEPTH, bucket) == EMPTY_BUCKET

    def _parents(self, level: int, changed: Sequence[tuple[int, Digest]]) -> list[tuple[int, Digest]]:
        """Return the nodes of ``level`` above changed nodes of the level below, both in ascending order of index."""
        pages, default = self._pages[level + 1], _DEFAULTS[level + 1]
        parents: list[tuple[int, Digest]] = []
        place, count = 0, len(changed)
        while place < count:
            index, digest = changed[place]
            place += 1
            if not index & 1 and place < count and changed[place][0] == index + 1:
                parents.append((index >> 1, node_digest(digest, changed[place][1])))
                place += 1
                continue
            page, at = pages.get(index >> _PAGE_BITS), ((index ^ 1) & _PAGE_MASK) * DIGEST_BYTES
            sibling = default if page is None else bytes(page[at : at + DIGEST_BYTES])
            parents.append((index >> 1, node_digest(sibling, digest) if index & 1 else node_digest(digest, sibling)))
        return parents

    def apply(self, update: TreeUpdate) -> None:
        """Take over a preview.

        Raises:
            ValueError: It was computed on another tree.
        """
        if update.base != self.root:
            raise ValueError("state tree: the update was computed on another root")
        for level, index, digest in update.nodes:
            self._put(level, index, digest)

    def path(self, bucket: int) -> tuple[Digest, ...]:
        """Return the 20 sibling digests of a bucket, bucket level first."""
        return tuple(self._get(level, (bucket >> (DEPTH - level)) ^ 1) for level in range(DEPTH, 0, -1))

    def _get(self, level: int, index: int) -> Digest:
        page = self._pages[level].get(index >> _PAGE_BITS)
        if page is None:
            return _DEFAULTS[level]
        at = (index & _PAGE_MASK) * DIGEST_BYTES
        return bytes(page[at : at + DIGEST_BYTES])

    def _put(self, level: int, index: int, digest: Digest) -> None:
        pages, number = self._pages[level], index >> _PAGE_BITS
        if number not in pages:
            pages[number] = bytearray(_DEFAULTS[level] * (1 << min(level, _PAGE_BITS)))
        at = (index & _PAGE_MASK) * DIGEST_BYTES
        pages[number][at : at + DIGEST_BYTES] = digest
