"""Takes the bytes of one file as they are read: fingerprints them, and keeps those of small readable files.

A setting list or strategy table of at most 256 KiB is kept whole, so that a difference can name
settings or rows. Of firmware nothing is kept but the digests of its chunks.
"""

from __future__ import annotations

from rules.fingerprint import Fingerprint
from rules.items.model import CONTENT_BYTES_MAX
from wire.release import FIRMWARE


class FileBytes(Fingerprint):
    """Fingerprints one file, and hands out its content where that can hold items."""

    __slots__ = ("_pieces", "_room")

    def __init__(self, kind: str) -> None:
        """Begin a file.

        Args:
            kind: One of `wire.evidence.KINDS`.
        """
        super().__init__()
        self._pieces: list[bytes] | None = None if kind == FIRMWARE else []
        self._room = CONTENT_BYTES_MAX

    def update(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        super().update(data)
        if self._pieces is None:
            return
        self._room -= len(data)
        if self._room < 0:
            self._pieces = None
        else:
            self._pieces.append(bytes(data))

    def content(self) -> bytes | None:
        """Return all bytes so far, or None for firmware and for more than 256 KiB."""
        return None if self._pieces is None else b"".join(self._pieces)
