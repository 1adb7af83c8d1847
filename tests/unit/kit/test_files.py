from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from kit.exitcodes import DiskFullError, PermissionDeniedError, StorageError
from kit.files import prove_room, read_bounded, refuse_if_readable_by_others, write_atomic, write_new

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_write_atomic_replaces_content_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write_atomic(path, b"new", mode=0o640)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_write_atomic_onto_a_folder_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "file", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_write_atomic_on_a_failing_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_write_new_creates_the_file(tmp_path: Path) -> None:
    write_new(tmp_path / "file", b"one", mode=0o600)
    assert (tmp_path / "file").read_bytes() == b"one"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_write_new_over_an_existing_file_is_refused(tmp_path: Path) -> None:
    write_new(tmp_path / "file", b"one")
    with pytest.raises(StorageError, match="never overwritten"):
        write_new(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_error_of_writing_names_the_file_that_was_meant(
    write: Callable[[Path, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "none" / "file", b"data")
    assert caught.value.filename == str(tmp_path / "none" / "file")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "not permitted", "a temporary name")

    for name in ("os.link", "pathlib.Path.replace"):
        monkeypatch.setattr(name, refuse)
    with pytest.raises(PermissionError) as refused:
        write(tmp_path / "file", b"data")
    assert refused.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_read_bounded_of_the_longest_file_gives_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bounded(tmp_path / "file", bytes_max=5) == b"12345"


def test_read_bounded_of_a_longer_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123456")
    with pytest.raises(StorageError, match="longer than the 5 bytes"):
        read_bounded(tmp_path / "file", bytes_max=5)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_secret_of_its_owner_alone_is_accepted(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.touch(mode)
    refuse_if_readable_by_others(path)
    assert path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_secret_readable_by_others_is_refused_with_the_command(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    with pytest.raises(PermissionDeniedError, match=f"mode {mode:04o}; run: chmod 600 {path}"):
        refuse_if_readable_by_others(path)


# holds EL-7
def test_room_that_is_there_is_proven_and_given_back(tmp_path: Path) -> None:
    prove_room(tmp_path, 1 << 20)
    assert list(tmp_path.iterdir()) == []


# holds EL-7
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EIO])
def test_room_that_is_not_there_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        prove_room(tmp_path, 1 << 17)
    assert isinstance(caught.value, DiskFullError) == (number != errno.EIO)
    monkeypatch.setattr(os, "write", lambda *_: 5)
    with pytest.raises(DiskFullError, match="no room for 131072 bytes"):
        prove_room(tmp_path, 1 << 17)
    assert list(tmp_path.iterdir()) == []
