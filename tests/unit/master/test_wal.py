"""The write-ahead log: what was appended comes back, what was torn does not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.exitcodes import DiskFullError, StorageError
from master.io.wal import WriteAheadLog

RECORDS = [b"first", b"second" * 1000, b"third"]


def written(path: Path) -> bytes:
    log = WriteAheadLog(path)
    log.append(RECORDS)
    log.close()
    return path.read_bytes()


def read(path: Path) -> list[bytes]:
    log = WriteAheadLog(path)
    try:
        return log.read()
    finally:
        log.close()


def test_wal_reopened_gives_back_every_record(tmp_path: Path) -> None:
    written(tmp_path / "wal")
    assert read(tmp_path / "wal") == RECORDS


def test_wal_torn_at_any_byte_gives_back_whole_appends_alone(tmp_path: Path) -> None:
    first = written(tmp_path / "wal")
    log = WriteAheadLog(tmp_path / "wal")
    log.read()
    log.append([b"fourth", b"fifth"])
    log.close()
    whole = (tmp_path / "wal").read_bytes()
    for length in [*range(0, len(first), 97), *range(len(first), len(whole))]:
        (tmp_path / "torn").write_bytes(whole[:length])
        assert read(tmp_path / "torn") == (RECORDS if length >= len(first) else [])


def test_wal_zeros_at_the_end_are_a_torn_append(tmp_path: Path) -> None:
    whole = written(tmp_path / "wal")
    (tmp_path / "wal").write_bytes(whole + bytes(5000))
    assert read(tmp_path / "wal") == RECORDS


@pytest.mark.parametrize("at", [4, 8, 20, -1])
def test_wal_last_append_damaged_is_taken_for_torn(tmp_path: Path, at: int) -> None:
    whole = bytearray(written(tmp_path / "wal"))
    whole[at] ^= 1
    (tmp_path / "wal").write_bytes(whole)
    assert read(tmp_path / "wal") == []


# holds CM-8
@pytest.mark.parametrize("at", [4, 8, 20, -1])
def test_wal_damaged_before_a_whole_append_is_refused(tmp_path: Path, at: int) -> None:
    damaged = bytearray(written(tmp_path / "wal"))
    whole = bytes(damaged)
    damaged[at] ^= 1
    (tmp_path / "wal").write_bytes(damaged + whole)
    with pytest.raises(StorageError, match="damaged at byte 0"):
        read(tmp_path / "wal")
    assert (tmp_path / "wal").read_bytes() == bytes(damaged) + whole, "kept for whoever looks into it"


def test_wal_impossible_length_ends_the_log_there(tmp_path: Path) -> None:
    (tmp_path / "wal").write_bytes(b"\xff" * 64)
    assert read(tmp_path / "wal") == []


def test_wal_append_after_torn_tail_stands_behind_the_whole_records(tmp_path: Path) -> None:
    whole = written(tmp_path / "wal")
    (tmp_path / "wal").write_bytes(whole + b"\0\0\0\x10torn")
    log = WriteAheadLog(tmp_path / "wal")
    assert log.read() == RECORDS
    log.append([b"fourth"])
    log.close()
    assert read(tmp_path / "wal") == [*RECORDS, b"fourth"]


def test_wal_cleared_is_empty_after_reopening(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path / "wal")
    log.append(RECORDS)
    log.clear()
    log.append([b"next"])
    log.close()
    assert read(tmp_path / "wal") == [b"next"]


def test_wal_append_on_full_disk_is_a_storage_error_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = WriteAheadLog(tmp_path / "wal")
    log.append([b"first"])

    def full(_descriptor: int, _data: bytes, _offset: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="No space left"):
            log.append([b"second"])
    log.append([b"third"])
    log.close()
    assert read(tmp_path / "wal") == [b"first", b"third"]


def test_wal_append_cut_short_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = WriteAheadLog(tmp_path / "wal")
    monkeypatch.setattr(os, "pwrite", lambda _descriptor, data, _offset: len(data) - 1)
    with pytest.raises(DiskFullError, match="only"):
        log.append([b"second"])
    log.close()
    assert read(tmp_path / "wal") == []


# holds EL-7
@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EFBIG, DiskFullError), (5, StorageError)],
)
def test_wal_full_disk_has_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError]
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    log = WriteAheadLog(tmp_path / "wal")
    acts: dict[str, Callable[[], None]] = {"pwrite": lambda: log.append([b"one"]), "ftruncate": log.clear}
    for call, act in acts.items():
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(StorageError) as caught:
                act()
            assert type(caught.value) is kind
    log.close()
