"""Merkle trees of RFC 9162 section 2.1: heads, inclusion and consistency proofs, and a frontier that grows.

docs/spec, clauses MT-1 to MT-6.

Leaf digest = SHA-256(0x00 | leaf), node digest = SHA-256(0x01 | left | right).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wire.errors import ProofError
from wire.types import Digest, sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

EMPTY_HEAD: Final = sha256(b"")
PATH_LENGTH_MAX: Final = 64


def leaf_digest(leaf: bytes) -> Digest:
    """Return the digest of one leaf. Source: RFC 9162, 2.1.1."""
    return sha256(b"\x00" + leaf)


def node_digest(left: Digest, right: Digest) -> Digest:
    """Return the digest of an inner node. Source: RFC 9162, 2.1.1."""
    return sha256(b"\x01" + left + right)


def tree_head(leaves: Iterable[bytes]) -> Digest:
    """Return the tree head over ``leaves``; of no leaves, SHA-256 of nothing. Source: RFC 9162, 2.1.1."""
    return _head([sha256(b"\x00" + leaf) for leaf in leaves])


def inclusion_path(leaf_digests: Sequence[Digest], index: int) -> tuple[Digest, ...]:
    """Return the sibling digests from leaf ``index`` upward.

    Args:
        leaf_digests: Digests of all leaves, as `leaf_digest` gives them.
        index: 0-based, below the number of leaves.

    Raises:
        IndexError: No such leaf.

    Source: RFC 9162, 2.1.3.1.
    """
    if not 0 <= index < len(leaf_digests):
        raise IndexError(f"leaf {index} of {len(leaf_digests)}")
    path: list[Digest] = []
    low, high = 0, len(leaf_digests)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range_head(leaf_digests, middle, high))
            high = middle
        else:
            path.append(_range_head(leaf_digests, low, middle))
            low = middle
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[Digest], head: Digest) -> None:
    """Prove that ``leaf`` is number ``index`` of the ``size`` leaves under ``head``.

    Args:
        leaf: The leaf's bytes, not its digest.
        index: 0-based.
        size: Number of leaves of the tree, from a verified source like the head: trees of several sizes can
            share a path's shape, so a wrong size need not make the proof fail.
        path: Sibling digests, leaf upward, at most 64.
        head: The tree head from an already verified source.

    Raises:
        ProofError: Index outside the tree, a path of the wrong length, or another head results.

    Source: RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size or len(path) > PATH_LENGTH_MAX:
        raise ProofError(f"inclusion proof: leaf {index} of {size} with a path of {len(path)}")
    digest = leaf_digest(leaf)
    for sibling, is_left in _climb(index, size - 1, path, "inclusion proof"):
        digest = node_digest(sibling, digest) if is_left else node_digest(digest, sibling)
    if digest != head:
        raise ProofError("inclusion proof: the path leads to another tree head")


def consistency_path(leaf_digests: Sequence[Digest], first_size: int) -> tuple[Digest, ...]:
    """Return the proof that the tree of the first ``first_size`` leaves is a prefix of the whole.

    Raises:
        IndexError: ``first_size`` is not in 1..number of leaves.

    Source: RFC 9162, 2.1.4.1.
    """
    if not 0 < first_size <= len(leaf_digests):
        raise IndexError(f"prefix of {first_size} leaves of {len(leaf_digests)}")
    path: list[Digest] = []
    low, high, complete = 0, len(leaf_digests), True
    while first_size - low != high - low:
        middle = low + _split(high - low)
        if first_size <= middle:
            path.append(_range_head(leaf_digests, middle, high))
            high = middle
        else:
            path.append(_range_head(leaf_digests, low, middle))
            low, complete = middle, False
    if not complete:
        path.append(_range_head(leaf_digests, low, high))
    return tuple(reversed(path))


def verify_consistency(
    first_size: int,
    second_size: int,
    path: Sequence[Digest],
    first_head: Digest,
    second_head: Digest,
) -> None:
    """Prove that the first tree is a prefix of the second: nothing was changed, only appended.

    Args:
        first_size: Leaves of the older tree, at least 1.
        second_size: Leaves of the newer tree, at least ``first_size``.
        path: Proof of RFC 9162, at most 64 digests.
        first_head: Head of the older tree.
        second_head: Head of the newer tree.

    Raises:
        ProofError: Impossible sizes, a path of the wrong length, or other heads result.

    Source: RFC 9162, 2.1.4.2.
    """
    if not 0 < first_size <= second_size or len(path) > PATH_LENGTH_MAX:
        raise ProofError(f"consistency proof: {first_size} of {second_size} leaves with a path of {len(path)}")
    if first_size == second_size:
        if path or first_head != second_head:
            raise ProofError("consistency proof: two trees of one size differ")
        return
    if not path:
        raise ProofError("consistency proof: the path is empty")
    is_complete = first_size.bit_count() == 1
    first = second = first_head if is_complete else path[0]
    node, last = first_size - 1, second_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    for sibling, is_left in _climb(node, last, path if is_complete else path[1:], "consistency proof"):
        if is_left:
            first, second = node_digest(sibling, first), node_digest(sibling, second)
        else:
            second = node_digest(second, sibling)
    if first != first_head or second != second_head:
        raise ProofError("consistency proof: the path leads to other tree heads")


class Frontier:
    """The right edge of a growing tree: heads of its complete subtrees, largest first; memory grows with log2 n."""

    __slots__ = ("_edge", "_size")

    def __init__(self, size: int = 0, edge: Sequence[Digest] = ()) -> None:
        """Resume at ``size`` leaves with the heads of the complete subtrees that its binary digits name.

        Raises:
            ProofError: The number of heads is not that of the one bits of ``size``.
        """
        if size < 0 or size.bit_count() != len(edge):
            raise ProofError(f"frontier: {len(edge)} subtree heads do not fit {size} leaves")
        self._size = size
        self._edge = list(edge)

    @property
    def size(self) -> int:
        """Number of leaves so far."""
        return self._size

    @property
    def edge(self) -> tuple[Digest, ...]:
        """Heads of the complete subtrees, largest first."""
        return tuple(self._edge)

    def append(self, digest: Digest) -> None:
        """Add a leaf by its digest (see `leaf_digest`)."""
        size = self._size
        while size & 1:
            digest = node_digest(self._edge.pop(), digest)
            size >>= 1
        self._edge.append(digest)
        self._size += 1

    def head(self) -> Digest:
        """Return the tree head over all leaves so far."""
        if not self._edge:
            return EMPTY_HEAD
        digest = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            digest = node_digest(left, digest)
        return digest

    def copy(self) -> Frontier:
        """Return an independent copy."""
        return Frontier(self._size, self._edge)


def _climb(node: int, last: int, path: Sequence[Digest], what: str) -> Iterator[tuple[Digest, bool]]:
    """Yield each sibling of ``path`` with whether it stands left, from place ``node`` of a level that ends at ``last``.

    Raises:
        ProofError: The path is longer or shorter than the way to the head.

    Source: RFC 9162, 2.1.3.2 (4) and 2.1.4.2 (6).
    """
    for sibling in path:
        if last == 0:
            raise ProofError(f"{what}: the path is too long")
        is_left = bool(node & 1) or node == last
        yield sibling, is_left
        while is_left and node and not node & 1:
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ProofError(f"{what}: the path is too short")


def _split(size: int) -> int:
    """Return the largest power of two below ``size``, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_head(leaf_digests: Sequence[Digest], low: int, high: int) -> Digest:
    return _head(leaf_digests[low:high])


def _head(level: Sequence[Digest]) -> Digest:
    """Return the head over leaf digests: each level is the pairs of the one below, an odd last node rises as it is."""
    if not level:
        return EMPTY_HEAD
    while len(level) > 1:
        pairs = [sha256(b"\x01" + left + right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = [*pairs, level[-1]] if len(level) % 2 else pairs
    return level[0]
