"""Fingerprints of files: SHA-256 of the whole and the tree head over chunks, in one pass and constant memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from wire.evidence import word_bytes
from wire.merkle import Frontier
from wire.types import CHUNK_BYTES, Digest

LEAVES_MAX: Final = 1024
"""Chunks whose digests are kept: of a file of 64 MiB."""
_LEAF = b"\x00"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What identifies the content of a file."""

    size: int
    """Bytes."""
    sha256: Digest
    chunk_root: Digest
    """RFC 9162 tree head over raw chunks of 65,536 bytes; of an empty file, SHA-256 of nothing."""
    leaves: tuple[Digest, ...] = field(default=(), compare=False, repr=False)
    """Leaf digests of the chunks, under ``chunk_root``; none of a file of more than 64 MiB."""


class Fingerprint:
    """Digests a file while it streams by, in pieces of any length.

    Source: DESIGN section 5; RFC 9162, 2.1.1.
    """

    __slots__ = ("_chunk", "_chunk_bytes", "_frontier", "_leaves", "_size", "_whole")

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256(_LEAF)
        self._chunk_bytes = 0
        self._frontier = Frontier()
        self._leaves: list[Digest] = []
        self._size = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes of the file; none at all are allowed."""
        self._whole.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            piece = view[: CHUNK_BYTES - self._chunk_bytes]
            self._chunk.update(piece)
            self._chunk_bytes += len(piece)
            view = view[len(piece) :]
            if self._chunk_bytes == CHUNK_BYTES:
                digest = self._chunk.digest()
                self._frontier.append(digest)
                if self._frontier.size <= LEAVES_MAX:
                    self._leaves.append(digest)
                self._chunk = hashlib.sha256(_LEAF)
                self._chunk_bytes = 0

    def result(self) -> FileDigest:
        """Return the digests of all bytes so far; more may follow."""
        frontier, leaves = self._frontier.copy(), list(self._leaves)
        if self._chunk_bytes:
            leaves.append(self._chunk.digest())
            frontier.append(leaves[-1])
        kept = tuple(leaves) if frontier.size <= LEAVES_MAX else ()
        return FileDigest(self._size, self._whole.digest(), frontier.head(), kept)


def fingerprint(data: bytes) -> FileDigest:
    """Return the digests of a file that is in memory."""
    running = Fingerprint()
    running.update(data)
    return running.result()


def fingerprint_word(method: str, word: bytes) -> FileDigest:
    """Return the digests that stand for content known by the device's word alone; no byte of it was read.

    Args:
        method: One of `wire.evidence.METHODS_WORD`.
        word: 1..256 bytes.

    Source: docs/spec, clause EV-14.
    """
    digest = fingerprint(word_bytes(method, word))
    return FileDigest(0, digest.sha256, digest.chunk_root)
