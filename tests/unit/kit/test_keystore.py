from __future__ import annotations

import fcntl
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kit.exitcodes import DataError, PermissionDeniedError, StorageError, TryAgainError
from kit.keystore import create_key, load_public_key, load_signing_key, next_seq
from wire.errors import FormatError


def edit(path: Path, **changes: object) -> None:
    values = json.loads(path.read_bytes())
    path.write_text(json.dumps({**values, **changes}), encoding="utf-8")


def test_create_key_writes_three_files_with_their_modes(tmp_path: Path) -> None:
    key = create_key(tmp_path / "keys", "lab-1")
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "keys").iterdir()}
    assert modes == {"lab-1.key": 0o600, "lab-1.pub": 0o644, "lab-1.seq": 0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert key.kid == hashlib.sha256(key.public).digest()[:16]


def test_created_key_is_loaded_again(tmp_path: Path) -> None:
    key = create_key(tmp_path, "lab")
    again = load_signing_key(tmp_path / "lab.key")
    assert (again.name, again.public, again.kid) == ("lab", key.public, key.kid)
    assert bytes(again.signing_key) == bytes(key.signing_key)
    shown = load_public_key(tmp_path / "lab.pub")
    assert (shown.name, shown.public, shown.kid) == ("lab", key.public, key.kid)


def test_public_file_and_repr_hold_no_secret(tmp_path: Path) -> None:
    key = create_key(tmp_path, "lab")
    secret = bytes(key.signing_key).hex()
    assert secret not in (tmp_path / "lab.pub").read_text(encoding="utf-8")
    assert secret not in repr(key)
    assert "signing_key" not in repr(key)


@pytest.mark.parametrize("suffix", ["key", "pub", "seq"])
def test_create_key_over_an_existing_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"lab.{suffix}").write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="never overwritten"):
        create_key(tmp_path, "lab")
    assert [p.read_text(encoding="utf-8") for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["", "Lab", "a/b", "..", "a" * 65, "lab\n"])
def test_create_key_with_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="key name"):
        create_key(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_load_of_key_readable_by_others_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    (tmp_path / "lab.key").chmod(0o640)
    with pytest.raises(PermissionDeniedError, match="chmod 600"):
        load_signing_key(tmp_path / "lab.key")


@pytest.mark.parametrize("load", [load_signing_key, load_public_key])
def test_load_of_missing_file_tells_how_to_make_one(tmp_path: Path, load: object) -> None:
    assert callable(load)
    with pytest.raises(StorageError, match="gridwitness keys new"):
        load(tmp_path / "lab.key")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"public": "00" * 32}, "'public' does not belong to 'secret'"),
        ({"secret": "11" * 32}, "'public' does not belong to 'secret'"),
        ({"kid": "00" * 16}, "'kid' does not belong to 'public'"),
        ({"secret": "11" * 31}, "'secret' is not 32 bytes"),
        ({"secret": "AA" * 32}, "'secret' is not 32 bytes"),
        ({"type": "rsa"}, "key type 'rsa' is unknown"),
        ({"secret": 7}, "is no key file"),
        ({"extra": "x"}, "is no key file"),
    ],
)
def test_load_of_edited_key_is_refused(tmp_path: Path, changes: dict[str, object], part: str) -> None:
    create_key(tmp_path, "lab")
    edit(tmp_path / "lab.key", **changes)
    with pytest.raises(DataError, match=part):
        load_signing_key(tmp_path / "lab.key")


def test_load_of_key_with_a_bad_name_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    edit(tmp_path / "lab.key", name="Lab!")
    with pytest.raises(FormatError, match=r"lab\.key: name"):
        load_signing_key(tmp_path / "lab.key")


def test_load_of_edited_public_key_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    edit(tmp_path / "lab.pub", public="00" * 32)
    with pytest.raises(DataError, match="'kid' does not belong"):
        load_public_key(tmp_path / "lab.pub")


@pytest.mark.parametrize("text", ["", "not json", "[]", '"x"', "{", "\ud800"])
def test_load_of_other_text_is_refused(tmp_path: Path, text: str) -> None:
    create_key(tmp_path, "lab")
    (tmp_path / "lab.key").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match="no key file"):
        load_signing_key(tmp_path / "lab.key")


def test_load_of_oversized_file_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    (tmp_path / "lab.key").write_bytes(b" " * 5000)
    with pytest.raises(StorageError, match="4096 bytes"):
        load_signing_key(tmp_path / "lab.key")


def test_next_seq_counts_from_one_and_is_on_disk(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    assert [next_seq(tmp_path / "lab.key") for _ in range(3)] == [1, 2, 3]
    assert (tmp_path / "lab.seq").read_bytes() == b"3\n"


def test_next_seq_from_several_threads_gives_each_number_once(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: next_seq(tmp_path / "lab.key"), range(20)))
    assert sorted(numbers) == list(range(1, 21))


def test_next_seq_without_counter_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    (tmp_path / "lab.seq").unlink()
    with pytest.raises(StorageError, match="highest seq that the ledger knows of key lab"):
        next_seq(tmp_path / "lab.key")


@pytest.mark.parametrize("text", [b"", b"-1", b"1.5", b"seven", b" 1", b"1\n\n", b"9" * 20])
def test_next_seq_of_no_number_is_refused(tmp_path: Path, text: bytes) -> None:
    create_key(tmp_path, "lab")
    (tmp_path / "lab.seq").write_bytes(text)
    with pytest.raises(DataError, match="no whole number"):
        next_seq(tmp_path / "lab.key")
    assert (tmp_path / "lab.seq").read_bytes() == text


def test_next_seq_of_used_up_counter_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    (tmp_path / "lab.seq").write_bytes(str(2**63 - 1).encode())
    with pytest.raises(DataError, match="used up"):
        next_seq(tmp_path / "lab.key")


def test_next_seq_while_another_process_holds_the_lock_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "lab")
    with (tmp_path / "lab.seq.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TryAgainError, match="more than 0 ms"):
            next_seq(tmp_path / "lab.key", wait_ms=0)
    assert next_seq(tmp_path / "lab.key") == 1


def test_signing_key_that_is_the_public_half_is_refused_with_the_other_name(tmp_path: Path) -> None:
    create_key(tmp_path, "alder")
    with pytest.raises(DataError, match=r"alder\.pub is the public half.*give alder\.key"):
        load_signing_key(tmp_path / "alder.pub")
