from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kit.exitcodes import DataError, StorageError
from master.io.readlog import Read, ReadLog, segment_files
from wire.readlog import Anchor, CheckedLog, check_log, read_segment

READ = Read(1_800_000_000_000, 7, "lab", bytes(16), "settings", "device/dev-1", "/v1/blobs/00", "owner")
CHAIN = "test-01234567"


def opened(folder: Path, segment_bytes: int = 1000, segments_max: int = 3) -> ReadLog:
    return ReadLog(folder, CHAIN, "dispatch", segment_bytes=segment_bytes, segments_max=segments_max)


def checked(folder: Path, *anchors: Anchor) -> CheckedLog:
    return check_log([read_segment(path.read_bytes(), path.name) for path in segment_files(folder)], anchors)


def fill(log: ReadLog) -> None:
    for _ in range(100):
        log.append(READ)


# holds RD-2 RD-5
def test_log_goes_on_after_a_restart_and_over_segments(tmp_path: Path) -> None:
    for _ in range(3):
        with opened(tmp_path, segments_max=99) as log:
            for _ in range(4):
                log.append(READ)
            position = log.position()
    assert len(segment_files(tmp_path)) > 2
    found = checked(tmp_path)
    assert (found.first, found.last, found.head) == (1, 12, position[1])
    assert (position[0], segment_files(tmp_path)[0].stat().st_mode & 0o777) == (12, 0o600)


# holds RD-5
@pytest.mark.parametrize("cut", [1, 40, 150])
def test_what_a_crash_cut_off_is_forgotten_and_the_log_goes_on(tmp_path: Path, cut: int) -> None:
    with opened(tmp_path, 1 << 20) as log:
        for _ in range(3):
            log.append(READ)
    (path,) = segment_files(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    with opened(tmp_path, 1 << 20) as log:
        assert log.append(READ).index == 3
    assert checked(tmp_path).last == 3


# holds RD-5
@pytest.mark.parametrize("left", [0, 3, 10])
def test_segment_that_a_crash_cut_off_at_its_beginning_is_begun_anew(tmp_path: Path, left: int) -> None:
    with opened(tmp_path) as log:
        while len(segment_files(tmp_path)) < 2:
            log.append(READ)
    last = segment_files(tmp_path)[-1]
    count = int(last.stem) - 1
    last.write_bytes(last.read_bytes()[:left])
    with opened(tmp_path) as log:
        assert log.append(READ).index == count + 1
    assert checked(tmp_path).last == count + 1
    for path in segment_files(tmp_path)[1:]:
        path.unlink()
    segment_files(tmp_path)[0].write_bytes(b"\x00")
    with opened(tmp_path) as log:
        assert log.append(READ).index == 1


# holds RD-5
def test_only_segments_that_are_anchored_are_removed_and_else_the_log_is_full(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        with pytest.raises(StorageError, match="its oldest entries are not anchored"):
            fill(log)
        full, head = log.position()
        assert len(segment_files(tmp_path)) == 3
        log.anchored(full)
        assert log.append(READ).index == full + 1
        assert len(segment_files(tmp_path)) == 3
    found = checked(tmp_path, Anchor(1, full, head))
    assert (found.first > 1, found.last, found.anchored) == (True, full + 1, full)


def test_damaged_log_is_not_written_behind(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(READ)
    (path,) = segment_files(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"dev-1", b"dev-2") + raw[raw.index(b"index") - 10 :])
    with pytest.raises(DataError, match="the read log is damaged: "):
        opened(tmp_path)


def test_log_of_another_node_is_not_taken_up(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(DataError, match="is the read log of dispatch on test-01234567 from entry 1 on"):
        ReadLog(tmp_path, CHAIN, "centre-east")


def test_disk_that_takes_nothing_lets_nothing_be_answered_until_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    log.append(READ)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(StorageError):
        log.append(READ)
    monkeypatch.undo()
    with pytest.raises(StorageError, match="takes nothing before the node is started anew"):
        log.append(READ)
    log.close()
    with opened(tmp_path) as log:
        assert log.append(READ).index == checked(tmp_path).last


def test_folder_that_cannot_be_made_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        opened(tmp_path / "file" / "reads")


# holds RD-5
def test_log_that_is_lost_goes_on_behind_its_newest_anchor(tmp_path: Path) -> None:
    anchor = Anchor(3, 40, b"h" * 32)
    with ReadLog(tmp_path, CHAIN, "dispatch", begins_after=(anchor.entries, anchor.head)) as log:
        assert log.append(READ).index == 41
    assert checked(tmp_path, anchor).anchored == 40
