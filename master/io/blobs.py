"""Blobs on disk: files named by the SHA-256 of what they hold, beside the ledger (docs/spec, clauses BL-5 and BL-6).

``XX/DIGEST`` holds a whole blob, on disk before anybody is told of it; ``part/`` holds what is still arriving and is
emptied at every start; ``bad/`` holds what no longer is what its name says. Nothing is read out of a file whose bytes
were not hashed at that opening.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from kit.exitcodes import DataError, StorageError
from kit.files import MODE_PRIVATE, storage_error, sync_folder, write_atomic
from wire.blob import BLOB_BYTES_MAX, BlobRef
from wire.types import Digest

READ_BYTES: Final = 512 * 1024
_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PARTS, _BAD = "part", "bad"
_PROVEN_MAX: Final = 64


class BlobsFullError(StorageError):
    """The room that this node gives to blobs is taken; the message says what to do."""


class BlobStore:
    """The blobs of one node. Safe in several threads."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        """Open or make the store.

        Args:
            folder: Its own.
            bytes_max: Most bytes of whole and arriving blobs together.

        Raises:
            StorageError: The folder cannot be read or written.
        """
        self._folder = folder
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._sizes: dict[Digest, int] = {}
        self._reserved = 0
        self._proven: dict[Digest, tuple[int, int, int]] = {}
        """Inode, time and size of files that were hashed and are being read part by part."""
        try:
            for name in (_PARTS, _BAD):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in (folder / _PARTS).iterdir():
                path.unlink()
            for path in blob_files(folder):
                self._sizes[bytes.fromhex(path.name)] = path.stat().st_size
        except OSError as error:
            raise storage_error(folder, error) from error
        self._used = sum(self._sizes.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all whole blobs."""
        return self._used

    @property
    def count(self) -> int:
        """How many whole blobs there are."""
        return len(self._sizes)

    def holds(self, blob: BlobRef) -> bool:
        """Tell whether a blob of that digest and size is here."""
        return self._sizes.get(blob.digest) == blob.size

    def size_of(self, digest: Digest) -> int | None:
        """Return the size of a blob that is here."""
        return self._sizes.get(digest)

    def begin(self, blob: BlobRef, *, beyond_bytes: int = 0) -> Arriving:
        """Make room for a blob that is about to arrive.

        Args:
            blob: What will come.
            beyond_bytes: By how much the quota may be exceeded.

        Raises:
            BlobsFullError: The quota leaves no room.
            StorageError: The disk takes nothing.
        """
        with self._lock:
            taken = self._used + self._reserved + blob.size
            if taken > self._bytes_max + beyond_bytes:
                raise BlobsFullError(
                    f"the {self._bytes_max >> 20} MiB that this node gives to blobs have no room for {blob.size} bytes "
                    "more; raise blobs_mib in node.toml, or call: gridwitness-node prune"
                )
            self._reserved += blob.size
        path = self._folder / _PARTS / f"{blob.digest.hex()}.{secrets.token_hex(4)}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE_PRIVATE)
        except OSError as error:
            self._give_back(blob.size)
            raise storage_error(path, error) from error
        return Arriving(blob, path, os.fdopen(descriptor, "wb"), self._take, self._give_back)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob after all of its bytes were hashed.

        Raises:
            DataError: It is not here, or is damaged; then it is set aside, and is missing from now on.
            StorageError: It cannot be read.
        """
        path = self._path(digest)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            self._forget(digest)
            raise DataError(f"blob {digest.hex()} is not here") from None
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            is_whole = _digest_of(file) == digest
            file.seek(0)
        except OSError as error:
            file.close()
            raise storage_error(path, error) from error
        if not is_whole:
            file.close()
            self._set_aside(digest)
            raise DataError(f"blob {digest.hex()} was damaged on this disk; what is left of it is in {_BAD}/")
        return file

    def read_part(self, digest: Digest, offset: int, size: int) -> bytes:
        """Return at most ``size`` bytes from a place on; the file is hashed whole whenever it is another than before.

        Raises:
            DataError: As for `open`.
            StorageError: As for `open`.
        """
        path = self._path(digest)
        try:
            seen = path.stat()
            mark = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
            if offset and self._proven.get(digest) == mark:
                with path.open("rb") as file:
                    return os.pread(file.fileno(), size, offset)
        except OSError:
            mark = None  # `open` says what it is
        with self.open(digest) as file:
            if mark is not None:
                self._prove(digest, mark)
            return os.pread(file.fileno(), size, offset)

    def _prove(self, digest: Digest, mark: tuple[int, int, int]) -> None:
        if len(self._proven) >= _PROVEN_MAX:
            self._proven.clear()
        self._proven[digest] = mark

    def remove(self, digest: Digest) -> int:
        """Remove a blob; return its bytes, 0 when it is not here."""
        with suppress(FileNotFoundError):
            self._path(digest).unlink()
        return self._forget(digest)

    def removable(self, is_needed: Callable[[BlobRef], bool], before_s: float) -> Iterator[BlobRef]:
        """Yield blobs that nobody needs and that came before a time, seconds since 1970 UTC."""
        for digest, size in sorted(self._sizes.items()):
            blob = BlobRef(digest, size)
            with suppress(FileNotFoundError):
                if not is_needed(blob) and self._path(digest).stat().st_mtime < before_s:
                    yield blob

    def all(self) -> Mapping[Digest, int]:
        """Return the sizes of all whole blobs."""
        return dict(self._sizes)

    def _path(self, digest: Digest) -> Path:
        return path_of(self._folder, digest)

    def _take(self, blob: BlobRef, part: Path) -> None:
        """Put a file that has arrived whole, and is on disk, in its place."""
        path = self._path(blob.digest)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        part.replace(path)
        sync_folder(path.parent)
        sync_folder(self._folder)
        with self._lock:
            self._used += blob.size - self._sizes.get(blob.digest, 0)
            self._sizes[blob.digest] = blob.size

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._reserved -= size

    def _forget(self, digest: Digest) -> int:
        with self._lock:
            size = self._sizes.pop(digest, 0)
            self._used -= size
            return size

    def _set_aside(self, digest: Digest) -> None:
        with suppress(OSError):
            self._path(digest).replace(self._folder / _BAD / digest.hex())
        self._forget(digest)


class Arriving:
    """A blob that is being written; ends with `finish` or `abort`."""

    def __init__(
        self,
        blob: BlobRef,
        path: Path,
        file: BinaryIO,
        take: Callable[[BlobRef, Path], None],
        give_back: Callable[[int], None],
    ) -> None:
        self.blob = blob
        self._path, self._file = path, file
        self._take, self._give_back = take, give_back
        self._hash = hashlib.sha256()
        self.written = 0
        """Bytes so far."""
        self._is_ended = False

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            DataError: They are more than the blob has; it is given up.
            StorageError: The disk does not take them; it is given up.
        """
        if self.written + len(data) > self.blob.size:
            self.abort()
            raise DataError(f"blob {self.blob.digest.hex()} has {self.blob.size} bytes, more came")
        try:
            self._file.write(data)
        except OSError as error:
            self.abort()
            raise storage_error(self._path, error) from error
        self._hash.update(data)
        self.written += len(data)

    def finish(self) -> None:
        """Return when the whole blob is on disk under its name.

        Raises:
            DataError: The bytes are others than its digest and size say; it is given up.
            StorageError: The disk does not take it; it is given up.
        """
        if self.written != self.blob.size or self._hash.digest() != self.blob.digest:
            written = self.written
            self.abort()
            raise DataError(f"{written} bytes came that are not blob {self.blob.digest.hex()}")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._take(self.blob, self._path)
        except OSError as error:
            self.abort()
            raise storage_error(self._path, error) from error
        self._end()

    def abort(self) -> None:
        """Give it up; once it has ended, do nothing."""
        if self._is_ended:
            return
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        self._end()

    def _end(self) -> None:
        self._is_ended = True
        self._give_back(self.blob.size)


def blob_files(folder: Path) -> Iterator[Path]:
    """Yield the files of all whole blobs of a store, by ascending digest."""
    if not folder.is_dir():
        return
    for group in sorted(folder.iterdir()):
        if len(group.name) == 2 and group.is_dir():  # noqa: PLR2004 - two hex digits
            yield from (path for path in sorted(group.iterdir()) if _NAME.fullmatch(path.name))


def path_of(folder: Path, digest: Digest) -> Path:
    """Return where a blob stands."""
    return folder / digest.hex()[:2] / digest.hex()


def is_intact(path: Path) -> bool:
    """Tell whether a file is what its name says.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return path.stat().st_size <= BLOB_BYTES_MAX and _digest_of(file).hex() == path.name
    except OSError as error:
        raise storage_error(path, error) from error


def copy_blobs(source: Path, target: Path) -> tuple[int, list[str]]:
    """Copy the blobs of a store, or of a backup, to a folder that has none; return how many, and which are damaged.

    Raises:
        StorageError: A file cannot be read or written.
    """
    copied, damaged = 0, []
    for path in blob_files(source):
        if not is_intact(path):
            damaged.append(path.name)
            continue
        place = path_of(target, bytes.fromhex(path.name))
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(place, path.read_bytes(), mode=MODE_PRIVATE)
        except OSError as error:
            raise storage_error(place, error) from error
        copied += 1
    return copied, damaged


def _digest_of(file: BinaryIO) -> Digest:
    digest = hashlib.sha256()
    while data := file.read(READ_BYTES):
        digest.update(data)
    return digest.digest()
