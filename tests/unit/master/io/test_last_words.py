"""What a node takes up of its log at a start, and what a damaged log costs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kit.exitcodes import StorageError
from master.consensus.guard import SignerGuard
from master.consensus.records import Signed, encode_record
from master.io.guard import GuardFile, create_guard, owner_of
from master.io.last_words import take_up
from master.io.wal import WriteAheadLog
from tests.unit.master.engine_world import vote_of_b

OWNER = owner_of("demo-00000000", "a", b"k" * 32)
GUARD = SignerGuard(floor=7)


class Disk:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "wal"
        self.guard_path = folder / "guard"
        create_guard(self.guard_path, OWNER, GUARD)
        self.wal = WriteAheadLog(self.path)
        self.guard = GuardFile(self.guard_path, OWNER)

    def close(self) -> None:
        self.wal.close()
        self.guard.close()

    def kept(self) -> SignerGuard | None:
        """Return the guard that a later start finds."""
        with GuardFile(self.guard_path, OWNER) as again:
            return again.guard


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.close()


RECORD = encode_record(Signed(vote_of_b()))


def test_taking_up_a_whole_log_changes_nothing(disk: Disk) -> None:
    disk.wal.append([RECORD])
    words = take_up(disk.wal, disk.guard)
    assert (words.records, words.damage) == ([RECORD], None)
    assert disk.kept() == GUARD


def damage_frame(disk: Disk) -> None:
    for _ in range(2):
        disk.wal.append([RECORD])
    raw = bytearray(disk.path.read_bytes())
    raw[20] ^= 1
    disk.path.write_bytes(raw)


def damage_record(disk: Disk) -> None:
    disk.wal.append([b"\xff"])


# holds CM-8
@pytest.mark.parametrize("damage", [damage_frame, damage_record])
def test_taking_up_a_damaged_log_marks_the_guard_before_another_log_is_begun(disk: Disk, damage: object) -> None:
    assert callable(damage)
    damage(disk)
    found = disk.path.read_bytes()
    words = take_up(disk.wal, disk.guard)
    assert words.records == ()
    assert "damaged" in (words.damage or "")
    assert disk.kept() == replace(GUARD, is_restored=True)
    assert disk.path.with_name("wal.damaged").read_bytes() == found
    # the new log takes records, and the mark stays
    disk.wal.append([RECORD])
    assert take_up(disk.wal, disk.guard).records == [RECORD]
    assert disk.kept() == replace(GUARD, is_restored=True)


def test_taking_up_a_damaged_log_without_a_guard_leaves_a_marked_one(disk: Disk) -> None:
    disk.guard.guard = None
    damage_record(disk)
    take_up(disk.wal, disk.guard)
    assert disk.kept() == SignerGuard(is_restored=True)


def test_taking_up_a_log_that_cannot_be_marked_leaves_it_where_it_is(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_record(disk)

    def refuse(_guard: SignerGuard) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(disk.guard, "save", refuse)
    with pytest.raises(StorageError, match="no room"):
        take_up(disk.wal, disk.guard)
    assert disk.path.read_bytes()
    assert not disk.path.with_name("wal.damaged").exists()


def test_taking_up_a_log_that_cannot_be_read_marks_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[bytes]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk.wal, "read", fail)
    with pytest.raises(StorageError, match="Input/output"):
        take_up(disk.wal, disk.guard)
    assert disk.kept() == GUARD


def test_wal_that_cannot_be_set_aside_says_so(tmp_path: Path) -> None:
    wal = WriteAheadLog(tmp_path / "wal")
    (tmp_path / "wal.damaged").mkdir()
    with pytest.raises(StorageError):
        wal.set_aside()
    wal.close()
