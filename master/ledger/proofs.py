"""Inclusion paths of all leaves of one tree at once."""

from __future__ import annotations

from collections.abc import Sequence

from wire.merkle import EMPTY_HEAD, node_digest
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
