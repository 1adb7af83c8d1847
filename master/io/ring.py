"""The event log on disk: a ring of segment files, the oldest of which makes room for the newest (docs/spec EL-1, EL-2).

A segment is a magic line, then frames of (length, CRC-32, record). Nothing is synchronised: what the machine had no
time to write when its power failed is missing at the end, and what is there can be read.
"""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from master.journal.graph import JournalError
from master.journal.records import RECORD_BYTES_MAX

MAGIC: Final = b"gridwitness/events/1\n"
SUFFIX: Final = ".events"
SEGMENTS: Final = 8
"""A ring is as many segments of equal size; one may grow to twice its size while no block is applied."""
KEPT_MAX: Final = 4
"""So many incidents are kept aside; then somebody has to look at them and remove them."""
_FRAME: Final = struct.Struct(">II")


class Ring:
    """One folder, one writer."""

    def __init__(self, folder: Path, kept: Path, bytes_max: int) -> None:
        """Write nothing yet.

        Args:
            folder: Of the segments; made when missing.
            kept: Folder that takes copies of the ring, one folder for each incident.
            bytes_max: Most bytes of the ring.
        """
        self._folder, self._kept = folder, kept
        self._bytes_max = bytes_max
        self.segment_bytes = bytes_max // SEGMENTS
        """A segment that has grown to this size should end."""
        self.size_bytes = 0
        """Of the open segment."""
        self._descriptor: int | None = None

    def open_segment(self) -> None:
        """End the open segment, if any, make room, and begin the next one.

        Raises:
            OSError: The disk does not take it.
        """
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = segments_of(self._folder)
        sizes = [path.stat().st_size for path in found]
        for path, size in zip(found, tuple(sizes), strict=True):
            if sum(sizes) + 2 * self.segment_bytes <= self._bytes_max:
                break
            path.unlink()
            sizes.remove(size)
        number = int(found[-1].stem) + 1 if found else 1
        path = self._folder / f"{number:08d}{SUFFIX}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._write(MAGIC)
        self.size_bytes = len(MAGIC)

    def append(self, records: Iterable[bytes]) -> None:
        """Write records behind the others of the open segment.

        Raises:
            OSError: The disk does not take them; the segment ends before them.
        """
        data = b"".join(_FRAME.pack(len(raw), zlib.crc32(raw)) + raw for raw in records)
        self._write(data)
        self.size_bytes += len(data)

    def keep(self) -> Path | None:
        """Copy the ring aside and return where to; None when there are as many copies as may be.

        Raises:
            OSError: The disk does not take it.
        """
        self._kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        numbers = [int(path.name) for path in self._kept.iterdir() if path.name.isdigit()]
        if len(numbers) >= KEPT_MAX:
            return None
        target = self._kept / f"{max(numbers, default=0) + 1:04d}"
        shutil.copytree(self._folder, target)
        return target

    def close(self) -> None:
        """End the open segment; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None
        while data:
            data = data[os.write(self._descriptor, data) :]


def segments_of(path: Path) -> list[Path]:
    """Return the segment files of a folder in their order, or the one file that ``path`` is."""
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if entry.suffix == SUFFIX and entry.stem.isdigit())
    return [path]


class Segment:
    """Reads one segment file."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet; ``path`` is that of the file."""
        self._path = path
        self.torn_bytes = 0
        """Bytes behind the last whole record, known once all are read: written when the node or its machine died."""

    def records(self) -> Iterator[bytes]:
        """Yield all whole records.

        Raises:
            JournalError: It is no segment, or a record before the last is damaged.
            OSError: It cannot be read.
        """
        with self._path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise JournalError(f"{self._path} is no segment of an event log")
            while True:
                at = stream.tell()
                frame = stream.read(_FRAME.size)
                length, checksum = _FRAME.unpack(frame) if len(frame) == _FRAME.size else (0, 0)
                raw = stream.read(length) if length <= RECORD_BYTES_MAX else b""
                if length and len(raw) == length and zlib.crc32(raw) == checksum:
                    yield raw
                    continue
                if self._is_record(stream.read(_FRAME.size), stream.read):
                    raise JournalError(f"{self._path} is damaged at byte {at}")
                self.torn_bytes = os.fstat(stream.fileno()).st_size - at
                return

    @staticmethod
    def _is_record(frame: bytes, read: Callable[[int], bytes]) -> bool:
        """Tell whether a whole record stands behind one that is not."""
        if len(frame) != _FRAME.size:
            return False
        length, checksum = map(int, _FRAME.unpack(frame))
        if not 0 < length <= RECORD_BYTES_MAX:
            return False
        return zlib.crc32(read(length)) == checksum
