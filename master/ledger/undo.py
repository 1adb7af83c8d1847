"""What the state was at recent heights: the newest one, less what blocks changed since (docs/spec, UN-1 to UN-4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wire.types import Digest

KEPT_BLOCKS: Final = 64
"""Newest blocks whose changes can be undone: proofs are made at the newest height and at the 64 before it."""


class HeightNotKeptError(Exception):
    """The state of a height cannot be shown.

    Args:
        height: That was asked for.
        heights: Whose state can be shown; empty before the first block.
    """

    def __init__(self, height: int, heights: range) -> None:
        which = f"heights {heights.start} to {heights.stop - 1} can be had" if heights else "there is no block yet"
        super().__init__(f"there is no state of height {height} here; {which}")


@dataclass(frozen=True, slots=True)
class PastEntry:
    """What the store knows of one key at an older height; with the tree of the newest state it makes a proof."""

    value: bytes | None
    """Canonical CBOR under the key, or None."""
    bucket: tuple[tuple[Digest, Digest], ...]
    """Leaf key and value digest of every leaf of the key's bucket, sorted by leaf key."""
    buckets: Mapping[int, Digest]
    """Digests of the buckets that have changed since, of those that share the key's first `UNDO_LEVELS` bits."""
    nodes: Mapping[int, Digest]
    """Digests of the nodes that have changed since, on levels 1..`UNDO_LEVELS`, by number."""
