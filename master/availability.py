"""Holds back the answer about an executed block until this node holds the blobs that the block names (BL-7). Pure.

The replica signs nothing for a block before it has that answer, so that a quorum of PREPAREs says: a quorum holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wire.blob import BlobRef
from wire.types import Digest


class Availability:
    """The blocks of one height that wait for blobs."""

    def __init__(self, holds: Callable[[BlobRef], bool]) -> None:
        """Begin with none.

        Args:
            holds: Tells whether a blob is on this node's disk.
        """
        self._holds = holds
        self._waiting: dict[Digest, tuple[BlobRef, ...]] = {}

    def holds_back(self, block: Digest, blobs: Sequence[BlobRef]) -> tuple[BlobRef, ...]:
        """Return the blobs for which a block has to wait; it may be voted for when there are none.

        Args:
            block: Digest of its header.
            blobs: All that its transactions name.
        """
        missing = tuple(blob for blob in blobs if not self._holds(blob))
        if missing:
            self._waiting[block] = missing
        return missing

    def released(self) -> list[Digest]:
        """Return the blocks that wait no more, each once; to be asked whenever a blob has come."""
        ready = [block for block, blobs in self._waiting.items() if all(map(self._holds, blobs))]
        for block in ready:
            del self._waiting[block]
        return ready

    def clear(self) -> None:
        """Forget all blocks: a height is final."""
        self._waiting.clear()

    def needs(self, blob: BlobRef) -> bool:
        """Tell whether a block waits for a blob."""
        return any(blob in blobs for blobs in self._waiting.values())
