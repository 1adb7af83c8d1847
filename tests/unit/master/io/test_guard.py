"""The signer guard's file: whole or not at all, of one key alone, and never made anew beside blocks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kit.exitcodes import DiskFullError, StorageError
from master.consensus.guard import SignerGuard
from master.io.guard import SLOT_BYTES, GuardFile, create_guard, owner_of

OWNER = owner_of("demo-00000000", "a", b"k" * 32)
FIRST, SECOND, THIRD = (SignerGuard(floor=floor, height=floor) for floor in (1, 2, 3))


def found(path: Path, owner: bytes = OWNER) -> SignerGuard | None:
    with GuardFile(path, owner) as opened:
        return opened.guard


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_guard(tmp_path / "guard", OWNER, FIRST)
    return tmp_path / "guard"


def test_guard_file_reopened_holds_what_was_saved_last(path: Path) -> None:
    assert found(path) == FIRST
    for guard in (SECOND, THIRD, replace(THIRD, is_restored=True)):
        with GuardFile(path, OWNER) as opened:
            opened.save(guard)
            assert opened.guard == guard
        assert found(path) == guard
    assert path.stat().st_mode & 0o777 == 0o600


def test_guard_file_many_saves_in_one_life_stay_in_two_slots(path: Path) -> None:
    with GuardFile(path, OWNER) as opened:
        for floor in range(1, 30):
            opened.save(SignerGuard(floor=floor))
    assert found(path) == SignerGuard(floor=29)
    assert path.stat().st_size == 2 * SLOT_BYTES


# holds CM-17
def test_guard_file_torn_at_any_byte_holds_the_one_before(path: Path) -> None:
    with GuardFile(path, OWNER) as opened:
        opened.save(SECOND)
        before = path.read_bytes()
        opened.save(THIRD)
    after = path.read_bytes()
    for cut in range(1, SLOT_BYTES, 13):
        torn = after[: SLOT_BYTES + cut] + before[SLOT_BYTES + cut :]
        path.write_bytes(torn)
        assert found(path) in (SECOND, THIRD)
        path.write_bytes(after[:cut] + before[cut:])
        assert found(path) in (SECOND, THIRD)


# holds CM-17
@pytest.mark.parametrize("lives", [1, 2, 3])
def test_guard_file_whose_first_save_in_a_life_is_torn_holds_the_one_before(path: Path, lives: int) -> None:
    expected = FIRST
    for life in range(1, lives):
        expected = SignerGuard(floor=life)
        with GuardFile(path, OWNER) as opened:
            opened.save(expected)
    before = path.read_bytes()
    with GuardFile(path, OWNER) as opened:
        opened.save(THIRD)
    after = path.read_bytes()
    changed = [place for place in range(2 * SLOT_BYTES) if before[place] != after[place]]
    cut = changed[len(changed) // 2]
    path.write_bytes(after[:cut] + before[cut:])
    assert found(path) == expected


def test_guard_file_missing_is_unreadable_until_something_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "guard"
    assert found(path) is None
    assert found(path) is None, "opening it makes no guard"
    with GuardFile(path, OWNER) as opened:
        opened.save(SECOND)
    assert found(path) == SECOND


def test_guard_file_of_another_key_is_unreadable(path: Path) -> None:
    for other in (("demo-00000001", "a", b"k"), ("demo-00000000", "b", b"k"), ("demo-00000000", "a", b"l")):
        assert found(path, owner_of(other[0], other[1], other[2] * 32)) is None


def test_guard_file_goes_over_to_the_key_that_the_node_is_rotated_to(path: Path) -> None:
    following = owner_of("demo-00000000", "a", b"n" * 32)
    before = found(path)
    assert found(path, following) is None
    with GuardFile(path, following, also=(OWNER,)) as opened:
        assert opened.guard == before
    with GuardFile(path, OWNER, also=(following,)) as opened:
        opened.own(following)
        opened.save(SECOND)
    with GuardFile(path, following) as opened:
        assert opened.guard == SECOND


@pytest.mark.parametrize("place", [0, 40, 45, 80, 130, 4000])
def test_guard_file_with_rotten_bits_is_unreadable(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 4
    path.write_bytes(raw)
    assert found(path) is None


def test_guard_file_that_exists_is_never_made_anew(path: Path) -> None:
    create_guard(path, OWNER, THIRD)
    assert found(path) == FIRST


def test_guard_file_in_a_folder_that_is_none_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        create_guard(tmp_path / "nowhere" / "guard", OWNER, FIRST)
    with pytest.raises(StorageError):
        GuardFile(tmp_path / "nowhere" / "guard", OWNER)


def test_guard_file_on_a_full_disk_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with GuardFile(path, OWNER) as opened:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="No space left"):
            opened.save(SECOND)
        monkeypatch.setattr(os, "pwrite", lambda *_: 7)
        with pytest.raises(StorageError, match="only 7 of"):
            opened.save(SECOND)
    assert found(path) == FIRST


# holds EL-7
@pytest.mark.parametrize("written", [0, 7, SLOT_BYTES])
def test_guard_file_that_could_not_save_never_touches_the_slot_that_it_knows_to_be_on_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    real = os.pwrite

    def short(descriptor: int, data: bytes, at: int) -> int:
        real(descriptor, data[:written], at)
        raise OSError(28, "No space left on device")

    with GuardFile(path, OWNER) as opened:
        opened.save(SECOND)
        known = path.read_bytes()[SLOT_BYTES:]
        for _ in range(3):
            with monkeypatch.context() as patch:
                patch.setattr(os, "pwrite", short)
                with pytest.raises(DiskFullError):
                    opened.save(THIRD)
            assert path.read_bytes()[SLOT_BYTES:] == known
            opened.read()
            assert opened.guard == (THIRD if written == SLOT_BYTES else SECOND)
        opened.save(THIRD)
        assert path.read_bytes()[SLOT_BYTES:] == known
    assert found(path) == THIRD


def test_guard_file_with_a_guard_of_another_version_is_unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.consensus.guard._VERSION", 4)
    assert found(path) is None
