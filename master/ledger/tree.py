"""The state tree: 2^20 buckets of leaves under a binary tree of fixed shape.

Leaf key = SHA-256(length of the namespace as 1 byte | namespace | key), value digest = SHA-256(value). A leaf belongs
to the bucket that the first 20 bits of its key name. Digest of a bucket = SHA-256(0x00 | its sorted pairs of leaf key
and value digest), of an empty bucket 32 zero bytes, of an inner node SHA-256(0x01 | left | right). The shape does not
depend on the order of writes, absence is shown by the whole bucket, and the tree is rebuilt from the leaves alone.

Nodes stand in pages of 16 that exist only where there is data: an untouched page costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, TypeAlias

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
    "UNDO_LEVELS",
    "StateTree",
    "TreeUpdate",
    "bucket_digest",
    "bucket_of",
    "leaf_key",
    "path_root",
]

_STARTED: Final = hashlib.sha256(b"\x01")
"""What begins every inner node; a copy of it costs a fifth less than a new one."""
_END: Final = ((-1, b""),)
"""Behind the last changed node of a level."""
UNDO_LEVELS: Final = 8
"""An update names the old digests of nodes on levels 1..8; those below follow from old buckets."""
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
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


Nodes: TypeAlias = Sequence[tuple[int, Digest]]
"""(index within the level, digest) of changed nodes, in ascending order of index."""


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """The nodes that a batch of leaves changes; it fits only the tree it was computed on."""

    base: Digest
    """Root before."""
    root: Digest
    """Root after."""
    levels: tuple[Nodes, ...]
    """Of each level, buckets first, root last."""
    before: Nodes
    """Number, see `StateTree.node`, and old digest of the changed nodes on levels 1..8."""


class StateTree:
    """Digests of all nodes in memory; the leaves themselves stay in the store.

    Memory is about 0.7 KB per page; a state of a million leaves takes some 90 MB.
    """

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        self._levels: tuple[dict[int, bytearray], ...] = tuple({} for _ in range(DEPTH + 1))

    @classmethod
    def rebuild(cls, leaves: Iterable[tuple[Digest, bytes]], skip: int = 0) -> StateTree:
        """Return the tree over stored leaves.

        Args:
            leaves: Leaf key and value digest in ascending order of leaf key.
            skip: Bytes that stand before each value digest and are no part of it.
        """
        tree = cls()
        numbers, digests = _bucket_digests(leaves, skip)
        for level in range(DEPTH, -1, -1):
            tree._fill(level, numbers, digests)
            numbers, digests = _parents_alone(numbers, digests, _DEFAULTS[level])
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
        changed: Nodes = sorted(buckets.items())
        levels = [changed]
        for level in range(DEPTH - 1, -1, -1):
            changed = self._parents(level, changed)
            levels.append(changed)
        before = [
            (1 << level | index, self._get(level, index))
            for level in range(1, UNDO_LEVELS + 1)
            for index, _ in levels[DEPTH - level]
        ]
        return TreeUpdate(self.root, changed[0][1] if changed else self.root, tuple(levels), before)

    def is_empty(self, bucket: int) -> bool:
        """Tell whether a bucket holds no leaf."""
        return self._get(DEPTH, bucket) == EMPTY_BUCKET

    def node(self, number: int) -> Digest:
        """Return a node by its number: 1 is the root, 2 n and 2 n + 1 are the children of n."""
        level = number.bit_length() - 1
        return self._get(level, number - (1 << level))

    def _parents(self, level: int, changed: Nodes) -> Nodes:
        """Return the nodes of ``level`` above changed nodes of the level below."""
        below, default, new = self._levels[level + 1].get, _DEFAULTS[level + 1], _STARTED.copy
        parents: list[tuple[int, Digest]] = []
        done = -1
        # node_digest written out: a block of a thousand transactions comes here twenty thousand times
        for (index, digest), (following, right) in zip(changed, chain(islice(changed, 1, None), _END), strict=False):
            if index == done:
                continue
            if index ^ 1 == following:
                done = following
                node = new()
                node.update(digest + right)
                parents.append((index >> 1, node.digest()))
                continue
            page = below(index >> _PAGE_BITS)
            if page is None:
                sibling: Digest | bytearray = default
            else:
                at = ((index ^ 1) & _PAGE_MASK) * DIGEST_BYTES
                sibling = page[at : at + DIGEST_BYTES]
            node = new()
            node.update(sibling + digest if index & 1 else digest + sibling)
            parents.append((index >> 1, node.digest()))
        return parents

    def apply(self, update: TreeUpdate) -> None:
        """Take over a preview.

        Raises:
            ValueError: It was computed on another tree.
        """
        if update.base != self.root:
            raise ValueError("state tree: the update was computed on another root")
        for level, changed in zip(range(DEPTH, -1, -1), update.levels, strict=True):
            pages = self._levels[level]
            for index, digest in changed:
                page, at = pages.get(index >> _PAGE_BITS), (index & _PAGE_MASK) * DIGEST_BYTES
                if page is None:
                    page = pages[index >> _PAGE_BITS] = bytearray(_DEFAULTS[level] * (1 << min(level, _PAGE_BITS)))
                page[at : at + DIGEST_BYTES] = digest

    def _fill(self, level: int, numbers: Sequence[int], digests: Sequence[Digest]) -> None:
        """Set the nodes of a level that has none yet, in ascending order."""
        pages, last, page = self._levels[level], -1, bytearray()
        for index, digest in zip(numbers, digests, strict=True):
            if index >> _PAGE_BITS != last:
                last = index >> _PAGE_BITS
                page = pages[last] = bytearray(_DEFAULTS[level] * (1 << min(level, _PAGE_BITS)))
            at = (index & _PAGE_MASK) * DIGEST_BYTES
            page[at : at + DIGEST_BYTES] = digest

    def path(self, bucket: int) -> tuple[Digest, ...]:
        """Return the 20 sibling digests of a bucket, bucket level first."""
        return tuple(self._get(level, (bucket >> (DEPTH - level)) ^ 1) for level in range(DEPTH, 0, -1))

    def past_path(self, bucket: int, buckets: Mapping[int, Digest], nodes: Mapping[int, Digest]) -> tuple[Digest, ...]:
        """Return the siblings of a bucket as they were at an earlier height, bucket level first.

        Args:
            bucket: Number of the bucket.
            buckets: Old digests of all changed buckets that share its first 8 bits.
            nodes: Old digests of all changed nodes on levels 1..8, by number.
        """
        path: list[Digest] = []
        changed: Nodes = sorted(buckets.items())
        for level in range(DEPTH, UNDO_LEVELS, -1):
            sibling = (bucket >> (DEPTH - level)) ^ 1
            path.append(dict(changed).get(sibling) or self._get(level, sibling))
            changed = self._parents(level - 1, changed)
        for level in range(UNDO_LEVELS, 0, -1):
            number = 1 << level | (bucket >> (DEPTH - level)) ^ 1
            path.append(nodes.get(number) or self.node(number))
        return tuple(path)

    def _get(self, level: int, index: int) -> Digest:
        page, at = self._levels[level].get(index >> _PAGE_BITS), (index & _PAGE_MASK) * DIGEST_BYTES
        return _DEFAULTS[level] if page is None else bytes(page[at : at + DIGEST_BYTES])


# A start with millions of leaves goes through the two functions below. They fill two lists side by side instead of one
# of pairs: a list of so many tuples keeps the garbage collector busy for as long as all the rest takes.


def _bucket_digests(leaves: Iterable[tuple[Digest, bytes]], skip: int) -> tuple[list[int], list[Digest]]:
    """Return number and digest of every bucket that holds a leaf, see `bucket_of` and `bucket_digest`."""
    numbers: list[int] = []
    digests: list[Digest] = []
    new, content = hashlib.sha256, b""
    for key, value in leaves:
        number = int.from_bytes(key[:3], "big") >> 4
        if numbers and numbers[-1] == number:
            content += key + value[skip:]
            continue
        if numbers:
            digests.append(new(content).digest())
        numbers.append(number)
        content = _LEAF + key + value[skip:]
    if numbers:
        digests.append(new(content).digest())
    return numbers, digests


def _parents_alone(
    numbers: Sequence[int], digests: Sequence[Digest], default: Digest
) -> tuple[list[int], list[Digest]]:
    """Return the nodes above those of one level where all others are untouched."""
    above: list[int] = []
    found: list[Digest] = []
    new, place, count = hashlib.sha256, 0, len(numbers)
    while place < count:
        index, digest = numbers[place], digests[place]
        place += 1
        if index & 1:
            pair = default + digest
        elif place < count and numbers[place] == index + 1:
            pair = digest + digests[place]
            place += 1
        else:
            pair = digest + default
        above.append(index >> 1)
        found.append(new(_NODE + pair).digest())
    return above, found
