"""The read log on disk: appended, on disk before anybody is answered, in segments (docs/spec, clauses RD-1 to RD-5)."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from kit.exitcodes import DataError, StorageError
from kit.files import MODE_PRIVATE, storage_error, sync_folder
from wire.errors import WireError
from wire.readlog import SEGMENT_BYTES_MAX, START, ReadEntry, SegmentHead, check_log, frame, read_segment
from wire.types import Digest

SEGMENT_BYTES: Final = 4 * 1024 * 1024
SEGMENTS_MAX: Final = 64
SUFFIX: Final = ".reads"


@dataclass(frozen=True, slots=True)
class Read:
    """What is logged of one read; the log adds its place."""

    time_ms: int
    height: int
    account: str
    kid: bytes
    data_class: str
    subject: str
    item: str
    grant: str


class ReadLog:
    """The log of one node. Safe in several threads.

    Args:
        folder: Its own; made when it is missing.
        chain: Name of the ledger.
        member: Whose node it is.
        begins_after: Entries and head of the newest anchor: a log that is lost goes on from there.
        segment_bytes: From which size on a new segment is begun.
        segments_max: Segments that are kept; only what is anchored is ever removed.

    Raises:
        DataError: The newest segment is damaged: the log must not go on behind it.
        StorageError: The folder cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        chain: str,
        member: str,
        *,
        begins_after: tuple[int, Digest] = (0, START),
        segment_bytes: int = SEGMENT_BYTES,
        segments_max: int = SEGMENTS_MAX,
    ) -> None:
        self._folder, self._chain, self._member = folder, chain, member
        self._segment_bytes, self._segments_max = segment_bytes, segments_max
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._anchored = 0
        self._count, self._head = begins_after
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._firsts = [int(path.stem) for path in segment_files(folder)]
            self._descriptor = self._begin(self._count + 1) if not self._firsts else self._resume(self._firsts[-1])
        except OSError as error:
            raise storage_error(folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)

    def position(self) -> tuple[int, Digest]:
        """Return how many entries there are, and the digest of the newest."""
        with self._lock:
            return self._count, self._head

    def anchored(self, entries: int) -> None:
        """Take note that the ledger stands for so many entries: segments of them alone may be removed."""
        with self._lock:
            self._anchored = entries

    def append(self, read: Read) -> ReadEntry:
        """Return when a read is logged.

        Raises:
            StorageError: The disk does not take it, or the log is full of what is not anchored: answer nothing.
        """
        with self._lock:
            if self._failure is not None:
                raise StorageError(self._failure)
            entry = ReadEntry(
                self._count + 1,
                read.time_ms,
                read.height,
                read.account,
                read.kid,
                read.data_class,
                read.subject,
                read.item,
                read.grant,
                self._head,
            )
            try:
                if os.fstat(self._descriptor).st_size >= self._segment_bytes:
                    self._roll()
                self._write(frame(entry.encode()))
            except OSError as error:
                raise self._given_up(error) from error
            self._count, self._head = entry.index, entry.digest()
            return entry

    def _given_up(self, error: OSError) -> StorageError:
        """Append nothing any more: what a failed write left behind, only a new start finds out."""
        failed = storage_error(self._folder, error)
        self._failure = f"{failed}; the read log takes nothing before the node is started anew"
        return failed

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fdatasync(self._descriptor)

    def _roll(self) -> None:
        """Begin a new segment, and remove the oldest one past the bound."""
        if len(self._firsts) >= self._segments_max:
            if self._anchored < self._firsts[1] - 1:
                raise StorageError(
                    f"{self._folder} is full and its oldest entries are not anchored: see to it that this node's "
                    "account can send transactions ([reads] in node.toml)"
                )
            self._path(self._firsts.pop(0)).unlink()
        before = self._descriptor
        self._descriptor = self._begin(self._count + 1)
        os.close(before)

    def _begin(self, first: int) -> int:
        path = self._path(first)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, MODE_PRIVATE)
        head = SegmentHead(self._chain, self._member, first, self._head)
        os.write(descriptor, frame(head.encode()))
        os.fdatasync(descriptor)
        sync_folder(self._folder)
        if not self._firsts or self._firsts[-1] != first:
            self._firsts.append(first)
        return descriptor

    def _resume(self, first: int) -> int:
        """Go on behind the newest entry; what a crash left of one that nobody was answered for is cut off."""
        path = self._path(first)
        raw = path.read_bytes()
        if _is_torn_head(raw):
            # the crash came while the segment was begun: nothing was written behind it
            path.unlink()
            self._firsts.pop()
            if not self._firsts:
                return self._begin(self._count + 1)
            os.close(self._resume(self._firsts[-1]))
            return self._begin(self._count + 1)
        try:
            segment = read_segment(raw, str(path))
            found = check_log([segment], ())
        except WireError as error:
            raise DataError(f"the read log is damaged: {error}; move {self._folder} away to begin a new one") from error
        if (found.chain, found.member, found.first) != (self._chain, self._member, first):
            raise DataError(f"{path} is the read log of {found.member} on {found.chain} from entry {found.first} on")
        self._count, self._head = found.last, found.head
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        if segment.torn_bytes:
            os.ftruncate(descriptor, len(raw) - segment.torn_bytes)
            os.fdatasync(descriptor)
        return descriptor

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:012}{SUFFIX}"


def segment_files(folder: Path) -> list[Path]:
    """Return the segments of a log in their order."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())


def _is_torn_head(raw: bytes) -> bool:
    return len(raw) < 4 or len(raw) < 4 + int.from_bytes(raw[:4], "big") <= SEGMENT_BYTES_MAX  # noqa: PLR2004 - a length
