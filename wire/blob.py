"""Blobs: bytes that a transaction names by their digest and that stand beside the ledger (docs/spec, BL-1 to BL-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire.types import Digest

BLOB_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of one blob."""
BLOCK_BLOBS_MAX: Final = 256
"""Blobs that the transactions of one block may name."""
BLOCK_BLOB_BYTES_MAX: Final = 2 * BLOB_BYTES_MAX
"""Of those, in sum."""


@dataclass(frozen=True, slots=True, order=True)
class BlobRef:
    """What names a blob."""

    digest: Digest
    """SHA-256 of its bytes."""
    size: int
    """Bytes, 1..`BLOB_BYTES_MAX`."""
