"""The write-ahead log of a replica: what it signed about the height that is being decided.

Frames of (length, CRC-32, record), appended and synchronised to disk before anything is sent. The
file is emptied when a height has been applied; a torn frame at the end is the trace of a crash
before the synchronisation, so nothing that was sent can be in it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kit.exitcodes import StorageError
from kit.files import sync_folder

_FRAME: Final = struct.Struct(">II")
RECORD_BYTES_MAX: Final = 16 * 1024 * 1024


class WriteAheadLog:
    """One file, one writer."""

    def __init__(self, path: Path) -> None:
        """Open or create the log at ``path``.

        Raises:
            OSError: The file cannot be opened.
        """
        is_new = not path.exists()
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if is_new:
            sync_folder(path.parent)
        self._end = 0

    def read(self) -> list[bytes]:
        """Return the whole records from the start; what follows them is cut off."""
        records: list[bytes] = []
        at = 0
        while True:
            head = os.pread(self._descriptor, _FRAME.size, at)
            if len(head) < _FRAME.size:
                break
            length, checksum = _FRAME.unpack(head)
            if length > RECORD_BYTES_MAX:
                break
            body = os.pread(self._descriptor, length, at + _FRAME.size)
            if len(body) < length or zlib.crc32(body) != checksum:
                break
            records.append(body)
            at += _FRAME.size + length
        os.ftruncate(self._descriptor, at)
        self._end = at
        return records

    def append(self, records: Iterable[bytes]) -> None:
        """Write records and return when they are on disk.

        Raises:
            StorageError: The disk did not take them; nothing may be sent.
        """
        frames = b"".join(_FRAME.pack(len(record), zlib.crc32(record)) + record for record in records)
        try:
            written = os.pwrite(self._descriptor, frames, self._end)
            if written != len(frames):
                raise StorageError(f"{self._path}: only {written} of {len(frames)} bytes were written")
            os.fdatasync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, self._end)
            raise StorageError(f"{self._path}: {error.strerror}") from error
        self._end += len(frames)

    def clear(self) -> None:
        """Forget everything: the height it spoke of is final and stored."""
        os.ftruncate(self._descriptor, 0)
        self._end = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
