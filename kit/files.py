"""Files that survive a power cut: whole or not at all, and on disk before the call returns."""

from __future__ import annotations

import errno
import os
import secrets
from typing import TYPE_CHECKING, Protocol

from kit.exitcodes import DiskFullError, PermissionDeniedError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

MODE_PUBLIC = 0o644
MODE_PRIVATE = 0o600
_OTHERS = 0o077
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PlacedFile(Protocol):
    """A file that is read and written at places, and synchronised when its owner says so."""

    def read(self, size: int, at: int) -> bytes:
        """Return at most ``size`` bytes from place ``at``."""
        ...

    def write(self, data: bytes, at: int) -> int:
        """Write at a place; return how many bytes were taken."""
        ...

    def sync(self) -> None:
        """Return when what was written is on disk."""
        ...

    def cut(self, size: int) -> None:
        """Drop everything behind ``size`` bytes."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class Files(Protocol):
    """Where such files are."""

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file."""
        ...

    def create(self, path: Path, data: bytes) -> None:
        """Make a private file, whole or not at all, on disk before the call returns."""
        ...

    def open(self, path: Path) -> PlacedFile:
        """Open a file that exists."""
        ...


class LocalFile:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def read(self, size: int, at: int) -> bytes:
        """Return at most ``size`` bytes from place ``at``."""
        return os.pread(self._descriptor, size, at)

    def write(self, data: bytes, at: int) -> int:
        """Write at a place; return how many bytes were taken."""
        return os.pwrite(self._descriptor, data, at)

    def sync(self) -> None:
        """Return when what was written is on disk."""
        os.fdatasync(self._descriptor)

    def cut(self, size: int) -> None:
        """Drop everything behind ``size`` bytes."""
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)


class LocalFiles:
    """The files of this machine."""

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file."""
        return path.exists()

    def create(self, path: Path, data: bytes) -> None:
        """Make a private file, whole or not at all, on disk before the call returns."""
        write_new(path, data, mode=MODE_PRIVATE)

    def open(self, path: Path) -> LocalFile:
        """Open a file that exists."""
        return LocalFile(path)


LOCAL_FILES = LocalFiles()


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return what to raise for a file that could not be read or written; a full disk has an error of its own."""
    kind = DiskFullError if error.errno in _FULL else StorageError
    return kind(f"{path}: {error.strerror}")


def write_at(file: PlacedFile, path: Path, data: bytes, at: int) -> None:
    """Write all of ``data`` at a place and return when it is on disk.

    Raises:
        DiskFullError: There is no room; a part may have been written.
        StorageError: The disk does not take it for another reason.
    """
    try:
        written = file.write(data, at)
        if written != len(data):
            # so says a disk that has just become full
            raise DiskFullError(f"{path}: only {written} of {len(data)} bytes were written")
        file.sync()
    except OSError as error:
        raise storage_error(path, error) from error


def prove_room(folder: Path, size: int) -> None:
    """Return if the folder's disk takes ``size`` bytes more; they are removed again.

    Raises:
        DiskFullError: It does not.
        StorageError: It fails for another reason.
    """
    path = folder / f".room.{secrets.token_hex(4)}.tmp"
    piece = secrets.token_bytes(1 << 16)  # no file system can make these bytes fewer
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE_PRIVATE)
        try:
            for _ in range(0, size, len(piece)):
                if os.write(descriptor, piece) != len(piece):
                    raise DiskFullError(f"{folder}: there is no room for {size} bytes")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        raise storage_error(folder, error) from error


def write_atomic(path: Path, data: bytes, *, mode: int = MODE_PUBLIC) -> None:
    """Replace the file's content; a reader sees the old or the new bytes, never a part.

    Raises:
        OSError: The folder cannot be written.
    """
    temporary = _write_temporary(path, data, mode)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _about(path, error) from error
    sync_folder(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = MODE_PUBLIC) -> None:
    """Create the file; an existing one is left as it is.

    Raises:
        StorageError: The file exists.
        OSError: The folder cannot be written.
    """
    temporary = _write_temporary(path, data, mode)
    try:
        os.link(temporary, path)  # unlike rename, link refuses an existing name
    except FileExistsError as error:
        message = f"{path} exists and is never overwritten; choose another name or move it away"
        raise StorageError(message) from error
    except OSError as error:
        raise _about(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the folder's names to disk; without this a rename may be lost in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, *, bytes_max: int) -> bytes:
    """Read a whole file of at most ``bytes_max`` bytes.

    Raises:
        StorageError: The file is longer.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        data = stream.read(bytes_max + 1)
    if len(data) > bytes_max:
        message = f"{path} is longer than the {bytes_max} bytes expected here; is it the right file?"
        raise StorageError(message)
    return data


def refuse_if_readable_by_others(path: Path) -> None:
    """Refuse a secret that group or others may read or write.

    Raises:
        PermissionDeniedError: With the chmod to run.
        OSError: There is no such file.
    """
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS:
        message = f"{path} holds a secret but has mode {mode:04o}; run: chmod 600 {path}"
        raise PermissionDeniedError(message)


def _about(path: Path, error: OSError) -> OSError:
    """Return the error with the name of the file that was meant, not that of its temporary one."""
    return OSError(error.errno, error.strerror, str(path))


def _write_temporary(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise _about(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)  # the umask may have taken bits away
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _about(path, error) from error
    return temporary
