"""The tree behind history_root, kept as the digests of its complete subtrees: every proof takes some log2 n reads.

Node (level, index) covers the leaves index * 2^level up to the next multiple; leaf h is that of block h, genesis first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wire.merkle import Frontier, node_digest
from wire.types import Digest

Nodes = Callable[[int, int], Digest]
"""(level, index) -> digest of a complete subtree."""


def completed_nodes(before: Frontier, digest: Digest) -> Iterator[tuple[int, int, Digest]]:
    """Yield the nodes (level, index, digest) that one more leaf completes, the leaf itself first.

    Args:
        before: The tree without the leaf.
        digest: Of the leaf, as `wire.merkle.leaf_digest` gives it.
    """
    level, index, edge = 0, before.size, list(before.edge)
    yield level, index, digest
    while index & 1:
        digest = node_digest(edge.pop(), digest)
        level, index = level + 1, index >> 1
        yield level, index, digest


def frontier_at(size: int, nodes: Nodes) -> Frontier:
    """Return the frontier over the first ``size`` leaves."""
    levels = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
    return Frontier(size, [nodes(level, (size >> level) - 1) for level in levels])


def older_nodes(index: int, digest: Digest, size: int, nodes: Nodes) -> Iterator[tuple[int, int, Digest]]:
    """Yield the nodes (level, index, digest) that are complete once leaf ``index`` follows those behind it.

    Args:
        index: Of the leaf; all behind it up to ``size`` are known, and their nodes.
        digest: Of the leaf, as `wire.merkle.leaf_digest` gives it.
        size: Number of leaves; a node that reaches beyond is left to whoever appends.
        nodes: The nodes that are known.
    """
    level = 0
    yield level, index, digest
    while not index & 1 and (index + 2) << level <= size:
        digest = node_digest(digest, nodes(level, index + 1))
        level, index = level + 1, index >> 1
        yield level, index, digest


def inclusion_path(index: int, size: int, nodes: Nodes) -> tuple[Digest, ...]:
    """Return the sibling digests of leaf ``index`` among the first ``size`` leaves, leaf upward.

    Raises:
        IndexError: No such leaf.

    Source: RFC 9162, 2.1.3.1.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of {size}")
    path: list[Digest] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_head(middle, high, nodes))
            high = middle
        else:
            path.append(_head(low, middle, nodes))
            low = middle
    return tuple(reversed(path))


def consistency_path(first: int, size: int, nodes: Nodes) -> tuple[Digest, ...]:
    """Return the proof that the tree of the first ``first`` leaves is a prefix of that of the first ``size``.

    Raises:
        IndexError: ``first`` is not in 1..``size``.

    Source: RFC 9162, 2.1.4.1.
    """
    if not 0 < first <= size:
        raise IndexError(f"prefix of {first} leaves of {size}")
    path: list[Digest] = []
    low, high, is_complete = 0, size, True
    while first != high:
        middle = low + _split(high - low)
        if first <= middle:
            path.append(_head(middle, high, nodes))
            high = middle
        else:
            path.append(_head(low, middle, nodes))
            low, is_complete = middle, False
    if not is_complete:
        path.append(_head(low, high, nodes))
    return tuple(reversed(path))


def _head(low: int, high: int, nodes: Nodes) -> Digest:
    """Return the head over the leaves low..high-1, where ``low`` is a place at which the RFC splits."""
    size = high - low
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return nodes(level, low >> level)
    middle = low + _split(size)
    return node_digest(_head(low, middle, nodes), _head(middle, high, nodes))


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)
