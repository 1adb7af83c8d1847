"""The state tree: 2^20 buckets of leaves under a binary tree of fixed shape.

Leaf key = SHA-256(length of the namespace as 1 byte | namespace | key), value digest = SHA-256(value). A leaf belongs
to the bucket that the first 20 bits of its key name. Digest of a bucket = SHA-256(0x00 | its sorted pairs of leaf key
and value digest), of an empty bucket 32 zero bytes, of an inner node SHA-256(0x01 | left | right). The shape does not
depend on the order of writes, absence is shown by the whole bucket, and the tree is rebuilt from the leaves alone.

Four levels at a time are kept in pages that exist only where there is data: an untouched page costs nothing. The node
above a page stands in it, too, so that everything to compute a page anew is in it. An update brings whole new pages:
what is there is never written over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
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
from wire.types import Digest

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
UNDO_LEVELS: Final = 8
"""An update names the old digests of nodes on levels 1..8; those below follow from old buckets."""
_LEAF: Final = b"\x00"
_PAGE_LEVELS: Final = 4
_LOWEST: Final = 1 << _PAGE_LEVELS
"""A page has 32 slots of 32 bytes. Slot 1 is the node above the page, 2 n and 2 n + 1 are the children of slot n, those
from 16 on the lowest nodes of the page; slot 0 is not used."""
_OWN: Final = tuple(slice(slot << 5, slot + 1 << 5) for slot in range(2 * _LOWEST))
"""Where in a page the digest of a slot stands."""
_CHILDREN: Final = tuple(slice(slot << 6, slot + 1 << 6) for slot in range(_LOWEST))
"""Where in a page the digests of its two children stand."""
_ABOVE: Final = tuple(tuple(slot >> up for up in range(1, _PAGE_LEVELS + 1)) for slot in range(2 * _LOWEST))
"""The slots on the way from one of the lowest to the top."""


def _defaults() -> tuple[Digest, ...]:
    """Return the digest of an untouched node per level, root (level 0) first, buckets (level 20) last."""
    levels = [EMPTY_BUCKET]
    for _ in range(DEPTH):
        levels.append(node_digest(levels[-1], levels[-1]))
    return tuple(reversed(levels))


_DEFAULTS: Final = _defaults()
EMPTY_ROOT: Final = _DEFAULTS[0]


def _empty_page(level: int) -> bytes:
    """Return the page below an untouched node of ``level``."""
    return EMPTY_BUCKET + b"".join(_DEFAULTS[level + slot.bit_length() - 1] for slot in range(1, 2 * _LOWEST))


_EMPTY_PAGES: Final = {level: _empty_page(level) for level in range(0, DEPTH, _PAGE_LEVELS)}

Nodes: TypeAlias = Sequence[tuple[int, Digest]]
"""(number, see `StateTree.node`, digest) of nodes, in ascending order of number."""
Pages: TypeAlias = dict[int, bytearray]
"""By the number of the node above the page."""


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """The nodes that a batch of leaves changes; it fits only the tree it was computed on."""

    base: Digest
    """Root before."""
    root: Digest
    """Root after."""
    pages: Pages
    """Those in which a node changes, as they are afterwards."""
    before: Nodes
    """Number and old digest of the changed nodes on levels 1..8."""


class StateTree:
    """Digests of all nodes in memory; the leaves themselves stay in the store.

    Memory is about 1.1 KB per page; a state of a million leaves takes some 80 MB.
    """

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: Pages = {}

    @classmethod
    def rebuild(cls, leaves: Iterable[tuple[Digest, bytes]], skip: int = 0) -> StateTree:
        """Return the tree over stored leaves.

        Args:
            leaves: Leaf key and value digest in ascending order of leaf key.
            skip: Bytes that stand before each value digest and are no part of it.
        """
        tree, pages = cls(), Pages()
        for _ in tree._changed(_bucket_digests(leaves, skip), DEPTH, 0, pages):
            pass
        tree._pages = pages
        return tree

    @property
    def root(self) -> Digest:
        """The state root."""
        return self.node(1)

    def preview(self, buckets: Mapping[int, Digest]) -> TreeUpdate:
        """Return what new bucket digests would make of the tree, and leave it as it is.

        Args:
            buckets: New digest per bucket number.
        """
        pages: Pages = {}
        upper = list(self._changed(_numbered(buckets), DEPTH, UNDO_LEVELS, pages))
        root = self.root
        before: list[tuple[int, Digest]] = []
        numbers = [number for number, _ in upper]
        for _ in range(UNDO_LEVELS):
            before[:0] = [(number, self.node(number)) for number in numbers]
            numbers = list(dict.fromkeys(number >> 1 for number in numbers))
        following = dict(self._changed(upper, UNDO_LEVELS, 0, pages))
        return TreeUpdate(root, following.get(1, root), pages, before)

    def is_empty(self, bucket: int) -> bool:
        """Tell whether a bucket holds no leaf."""
        return self.node(BUCKETS | bucket) == EMPTY_BUCKET

    def node(self, number: int) -> Digest:
        """Return a node by its number: 1 is the root, 2 n and 2 n + 1 are the children of n."""
        return _node(number, self._pages)

    def _changed(
        self, nodes: Iterable[tuple[int, Digest]], level: int, until: int, pages: Pages
    ) -> Iterable[tuple[int, Digest]]:
        """Return the nodes of level ``until`` above changed nodes of ``level``; the pages in between go to ``pages``.

        Args:
            nodes: Number and new digest in ascending order of number.
            level: A multiple of four, as ``until``, which is above it.
            until: Level of what is returned.
            pages: Takes the changed pages once what is returned has been run through.
        """
        for top in range(level - _PAGE_LEVELS, until - 1, -_PAGE_LEVELS):
            nodes = self._change_pages(nodes, _EMPTY_PAGES[top], pages)
        return nodes

    def _change_pages(
        self, nodes: Iterable[tuple[int, Digest]], empty: bytes, pages: Pages
    ) -> Iterator[tuple[int, Digest]]:
        """Yield number and digest of the node above each page whose lowest nodes change."""
        known, new = self._pages.get, _STARTED.copy
        for above, group in groupby(nodes, _page_of):
            page = pages[above] = bytearray(known(above) or empty)
            slots = []
            for number, digest in group:
                slot = _LOWEST | number & _LOWEST - 1
                page[_OWN[slot]] = digest
                slots.append(slot)
            way: Sequence[int] = _ABOVE[slots[0]]
            if len(slots) > 1:  # larger slots stand lower
                way = sorted(set(way).union(*map(_ABOVE.__getitem__, slots)), reverse=True)
            # node_digest written out: a block of a thousand transactions comes here twenty thousand times
            for slot in way:
                node = new()
                node.update(page[_CHILDREN[slot]])
                page[_OWN[slot]] = node.digest()
            yield above, bytes(page[_OWN[1]])

    def apply(self, update: TreeUpdate) -> None:
        """Take over a preview.

        Raises:
            ValueError: It was computed on another tree.
        """
        if update.base != self.root:
            raise ValueError("state tree: the update was computed on another root")
        self._pages.update(update.pages)

    def path(self, bucket: int) -> tuple[Digest, ...]:
        """Return the 20 sibling digests of a bucket, bucket level first."""
        return tuple(self.node((BUCKETS | bucket) >> up ^ 1) for up in range(DEPTH))

    def past_path(self, bucket: int, buckets: Mapping[int, Digest], nodes: Mapping[int, Digest]) -> tuple[Digest, ...]:
        """Return the siblings of a bucket as they were at an earlier height, bucket level first.

        Args:
            bucket: Number of the bucket.
            buckets: Old digests of all changed buckets that share its first 8 bits.
            nodes: Old digests of all changed nodes on levels 1..8, by number.
        """
        past: Pages = {}
        for _ in self._changed(_numbered(buckets), DEPTH, UNDO_LEVELS, past):
            pass
        siblings = [(BUCKETS | bucket) >> up ^ 1 for up in range(DEPTH)]
        lower, upper = siblings[: DEPTH - UNDO_LEVELS], siblings[DEPTH - UNDO_LEVELS :]
        return (
            *(_node(number, past, self._pages) for number in lower),
            *(nodes.get(number) or self.node(number) for number in upper),
        )


def _node(number: int, pages: Pages, others: Pages | None = None) -> Digest:
    """Return a node as ``pages`` have it, or ``others``, or as it is in a tree without leaves."""
    level = number.bit_length() - 1
    down = _PAGE_LEVELS if level == DEPTH else level % _PAGE_LEVELS
    above = number >> down
    page = pages.get(above)
    if page is None and others is not None:
        page = others.get(above)
    if page is None:
        return _DEFAULTS[level]
    slot = 1 << down | number - (above << down)
    return bytes(page[_OWN[slot]])


def _page_of(node: tuple[int, Digest]) -> int:
    return node[0] >> _PAGE_LEVELS


def _numbered(buckets: Mapping[int, Digest]) -> list[tuple[int, Digest]]:
    """Return buckets as nodes, in their order."""
    return sorted((BUCKETS | bucket, digest) for bucket, digest in buckets.items())


def _bucket_digests(leaves: Iterable[tuple[Digest, bytes]], skip: int) -> Iterator[tuple[int, Digest]]:
    """Yield number and digest of every bucket that holds a leaf, see `bucket_of` and `bucket_digest`."""
    new, content, last = hashlib.sha256, b"", 0
    for key, value in leaves:
        number = BUCKETS | int.from_bytes(key[:3], "big") >> 4
        if number == last:
            content += key + value[skip:]
            continue
        if last:
            yield last, new(content).digest()
        last, content = number, _LEAF + key + value[skip:]
    if last:
        yield last, new(content).digest()
