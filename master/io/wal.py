"""The write-ahead log of a replica: what it signed about the height that is being decided.

One frame of (length, CRC-32, records) for each append, synchronised to disk before anything is sent. The file is
emptied when a height has been applied. A torn frame at the end is the trace of a crash before the
synchronisation, so nothing that was sent can be in it; a damaged frame with a whole one behind it was sent, and what it
said is lost.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kit.exitcodes import StorageError
from kit.files import LOCAL_FILES, Files, storage_error, sync_folder, write_at

_FRAME: Final = struct.Struct(">II")
_LENGTH: Final = struct.Struct(">I")
FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
DAMAGED_SUFFIX: Final = ".damaged"


class WriteAheadLog:
    """One file, one writer."""

    def __init__(self, path: Path, files: Files = LOCAL_FILES) -> None:
        """Open or create the log at ``path``.

        Args:
            path: The log's own file.
            files: Where it is.

        Raises:
            OSError: The file cannot be opened.
        """
        self._path, self._files = path, files
        if not files.exists(path):
            files.create(path, b"")
        self._file = files.open(path)
        self._end = 0

    def read(self) -> list[bytes]:
        """Return the records of all whole appends; a torn one at the end is cut off.

        Raises:
            StorageError: The log is damaged before its end: this node no longer knows what it signed.
        """
        records: list[bytes] = []
        at = 0
        while (body := self._frame(at)) is not None:
            records += _split(body)
            at += _FRAME.size + len(body)
        behind = at + _FRAME.size + self._length(at)
        if self._frame(behind) is not None:
            raise StorageError(
                f"{self._path} is damaged at byte {at}: what this node signed there is not known, so it must sign "
                "nothing before the other nodes are past it"
            )
        self._file.cut(at)
        self._end = at
        return records

    def _length(self, at: int) -> int:
        """Return the length that a frame says it has, 0 when there is none."""
        head = self._file.read(_FRAME.size, at)
        return 0 if len(head) < _FRAME.size else int(_FRAME.unpack(head)[0])

    def _frame(self, at: int) -> bytes | None:
        """Return what a whole frame holds; zeros, as a crash may leave them, are none."""
        length = self._length(at)
        if not 0 < length <= FRAME_BYTES_MAX:
            return None
        frame = self._file.read(_FRAME.size + length, at)
        body = frame[_FRAME.size :]
        is_whole = len(body) == length and zlib.crc32(body) == _FRAME.unpack_from(frame)[1]
        return body if is_whole else None

    def append(self, records: Iterable[bytes]) -> None:
        """Write records, all or none, and return when they are on disk.

        Args:
            records: At most 32 MiB in all.

        Raises:
            DiskFullError: There is no room for them; nothing may be sent.
            StorageError: The disk did not take them for another reason.
        """
        body = b"".join(_LENGTH.pack(len(record)) + record for record in records)
        frame = _FRAME.pack(len(body), zlib.crc32(body)) + body
        try:
            write_at(self._file, self._path, frame, self._end)
        except StorageError:
            self._file.cut(self._end)
            raise
        self._end += len(frame)

    def clear(self) -> None:
        """Forget everything: the height it spoke of is final and stored.

        Raises:
            StorageError: The disk failed.
        """
        try:
            self._file.cut(0)
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._end = 0

    def set_aside(self) -> Path:
        """Begin an empty log and keep the present one, which is damaged, under another name; return that.

        Raises:
            StorageError: The disk failed.
        """
        aside = self._path.with_name(self._path.name + DAMAGED_SUFFIX)
        try:
            self._path.replace(aside)
            self._files.create(self._path, b"")
            sync_folder(self._path.parent)
            fresh = self._files.open(self._path)
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._file.close()
        self._file, self._end = fresh, 0
        return aside

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _split(body: bytes) -> list[bytes]:
    records = []
    at = 0
    while at < len(body):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(body, at)[0]
        records.append(body[start:at])
    return records
