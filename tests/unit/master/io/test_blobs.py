from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kit.exitcodes import DataError, DiskFullError, StorageError
from master.io import blobs as module
from master.io.blobs import BlobsFullError, BlobStore, blob_files, is_intact, path_of
from wire.blob import BlobRef
from wire.types import sha256

CONTENT = b"a model" * 1000
BLOB = BlobRef(sha256(CONTENT), len(CONTENT))


def fill(store: BlobStore, content: bytes = CONTENT) -> BlobRef:
    blob = BlobRef(sha256(content), len(content))
    arriving = store.begin(blob)
    for at in range(0, len(content), 512):
        arriving.write(content[at : at + 512])
    arriving.finish()
    return blob


# holds BL-1 BL-5
def test_store_keeps_a_blob_under_its_digest_over_a_restart(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 1 << 20)
    assert not store.holds(BLOB)
    fill(store)
    again = BlobStore(tmp_path, 1 << 20)
    for entry in (store, again):
        assert entry.holds(BLOB)
        assert not entry.holds(BlobRef(BLOB.digest, 1))
        assert (entry.size_of(BLOB.digest), entry.count, entry.size_bytes) == (BLOB.size, 1, BLOB.size)
        assert entry.all() == {BLOB.digest: BLOB.size}
        with entry.open(BLOB.digest) as file:
            assert file.read() == CONTENT
    path = path_of(tmp_path, BLOB.digest)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(blob_files(tmp_path)) == [path]
    assert is_intact(path)


# holds BL-5
def test_store_twice_counts_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 3 * BLOB.size)
    fill(store)
    fill(store)
    assert (store.count, store.size_bytes) == (1, BLOB.size)


# holds BL-5
@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"x"])
def test_store_takes_no_other_bytes_than_the_digest_says(tmp_path: Path, content: bytes) -> None:
    store = BlobStore(tmp_path, 1 << 20)
    arriving = store.begin(BLOB)
    arriving.write(content)
    with pytest.raises(DataError, match="that are not blob"):
        arriving.finish()
    assert not store.holds(BLOB)
    assert list((tmp_path / "part").iterdir()) == []
    arriving.abort()
    fill(store)


# holds BL-5
def test_store_takes_no_more_bytes_than_were_announced(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 1 << 20)
    arriving = store.begin(BLOB)
    arriving.write(CONTENT)
    with pytest.raises(DataError, match="more came"):
        arriving.write(b"x")
    assert list((tmp_path / "part").iterdir()) == []


# holds BL-5
def test_store_forgets_at_a_start_what_had_not_arrived_whole(tmp_path: Path) -> None:
    arriving = BlobStore(tmp_path, 1 << 20).begin(BLOB)
    arriving.write(b"a m")
    assert len(list((tmp_path / "part").iterdir())) == 1
    store = BlobStore(tmp_path, 1 << 20)
    assert list((tmp_path / "part").iterdir()) == []
    assert not store.holds(BLOB)
    arriving.abort()


# holds BL-6
def test_store_sets_a_damaged_blob_aside_when_it_is_read(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 1 << 20)
    fill(store)
    path = path_of(tmp_path, BLOB.digest)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert not is_intact(path)
    with pytest.raises(DataError, match="was damaged on this disk"):
        store.open(BLOB.digest)
    assert not store.holds(BLOB)
    assert (tmp_path / "bad" / BLOB.digest.hex()).exists()
    assert store.size_bytes == 0
    fill(store)


# holds BL-6
def test_store_says_that_a_blob_is_missing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 1 << 20)
    fill(store)
    path_of(tmp_path, BLOB.digest).unlink()
    with pytest.raises(DataError, match="is not here"):
        store.open(BLOB.digest)
    assert not store.holds(BLOB)


# holds BL-6
def test_store_refuses_what_its_quota_does_not_hold_and_counts_what_is_arriving(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, BLOB.size + 10)
    arriving = store.begin(BLOB)
    with pytest.raises(BlobsFullError, match="raise blobs_mib"):
        store.begin(BlobRef(bytes(32), 11))
    store.begin(BlobRef(bytes(32), 11), beyond_bytes=1).abort()
    arriving.abort()
    store.begin(BlobRef(bytes(32), 11)).abort()
    fill(store)
    store.begin(BlobRef(bytes(32), 10)).abort()
    with pytest.raises(BlobsFullError):
        store.begin(BlobRef(bytes(32), 11))


# holds BL-6
def test_store_removes_what_nobody_needs_and_is_old(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 1 << 20)
    kept, fresh, old = fill(store, b"kept"), fill(store, b"fresh"), fill(store, b"old")
    for blob in (kept, old):
        os.utime(path_of(tmp_path, blob.digest), (1000, 1000))
    assert list(store.removable(lambda blob: blob == kept, 2000)) == [old]
    assert store.remove(old.digest) == old.size
    assert store.remove(old.digest) == 0
    assert store.all().keys() == {kept.digest, fresh.digest}


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_store_on_a_full_disk_gives_the_blob_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store = BlobStore(tmp_path, 1 << 20)
    arriving = store.begin(BLOB)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    if call == "fsync":
        arriving.write(CONTENT)
        monkeypatch.setattr(os, "fsync", full)
    else:
        arriving._file.close()
        monkeypatch.setattr(arriving, "_file", type("Full", (), {"write": full, "close": lambda _: None})())
    with pytest.raises(DiskFullError):
        arriving.finish() if call == "fsync" else arriving.write(CONTENT)
    monkeypatch.undo()
    assert not store.holds(BLOB)
    assert list((tmp_path / "part").iterdir()) == []
    fill(store)


def test_store_in_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"")
    with pytest.raises(StorageError):
        BlobStore(tmp_path / "blobs", 1)


def test_store_without_a_folder_for_what_arrives_refuses_and_gives_the_room_back(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, BLOB.size)
    (tmp_path / "part").rmdir()
    with pytest.raises(StorageError):
        store.begin(BLOB)
    (tmp_path / "part").mkdir()
    store.begin(BLOB).abort()
    assert list(blob_files(tmp_path / "nowhere")) == []


# holds BL-6
def test_store_reads_parts_of_a_blob_that_it_hashed_and_hashes_it_again_when_it_changed(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 1 << 20)
    fill(store)
    assert store.read_part(BLOB.digest, 0, 10) == CONTENT[:10]
    assert store.read_part(BLOB.digest, 5, 10) == CONTENT[5:15]
    assert store.read_part(BLOB.digest, BLOB.size - 3, 10) == CONTENT[-3:]
    path_of(tmp_path, BLOB.digest).write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="was damaged"):
        store.read_part(BLOB.digest, 5, 10)
    with pytest.raises(DataError, match="is not here"):
        store.read_part(BLOB.digest, 5, 10)


def test_store_remembers_few_blobs_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PROVEN_MAX", 1)
    store = BlobStore(tmp_path, 1 << 20)
    for content in (b"one", b"two"):
        assert store.read_part(fill(store, content).digest, 0, 9) == content
    assert len(store._proven) == 1
