"""Snapshots of a state on a node's own disk."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from master.io import snapshots as snapshot_files
from master.io.snapshots import SnapshotFolder, SnapshotSkippedError
from master.io.store import Store
from master.io.store_records import StoreCorruptError
from tests.unit.ledger.worlds import World
from tests.unit.store.stores import everything, grow
from tests.unit.store.taken import BLOCKS, WHOLE, all_parts, nothing, write
from wire.finality import FinalHeader
from wire.snapshot import Manifest, Place, verify_manifest

# ---- writing


# holds SN-6
@pytest.mark.parametrize("bytes_max", [1, 700, WHOLE])
def test_snapshot_holds_the_state_of_its_block_in_parts_of_any_size(
    folder: SnapshotFolder, source: Store, world: World, manifest: Manifest, bytes_max: int
) -> None:
    verify_manifest(manifest, world.genesis)
    assert manifest.height == BLOCKS
    parts = all_parts(folder, manifest, bytes_max)
    assert {(entry.namespace, entry.key): entry.value for part in parts for entry in part.entries} == everything(source)


# holds SN-6
def test_snapshot_shows_nothing_of_a_block_that_came_while_it_was_written(
    folder: SnapshotFolder, source: Store, world: World
) -> None:
    before = everything(source)
    view = source.view()
    assert view.state_bytes > 0
    grow(world, source, 1)
    folder.write(source, view, nothing)
    view.close()
    made = folder.manifest()
    assert made is not None
    assert made.height == BLOCKS
    parts = all_parts(folder, made)
    assert {(entry.namespace, entry.key): entry.value for part in parts for entry in part.entries} == before
    assert everything(source) != before


# holds SN-6
def test_snapshot_the_newest_two_are_kept(folder: SnapshotFolder, source: Store, world: World) -> None:
    for _ in range(3):
        write(folder, source)
        grow(world, source, 1)
    assert folder.heights() == [BLOCKS + 2, BLOCKS + 1]
    assert folder.parts(BLOCKS, [(0, Place())], WHOLE) == ()
    write(folder, source)
    with pytest.raises(SnapshotSkippedError, match="one of height"):
        write(folder, source)


# holds SN-6
def test_snapshot_cut_off_leaves_nothing_half(folder: SnapshotFolder, source: Store, tmp_path: Path) -> None:
    view = source.view()
    part = tmp_path / "snapshots" / ".part"
    part.mkdir()
    (part / "entries").write_bytes(b"left by a crash")
    assert SnapshotFolder(tmp_path / "snapshots").heights() == []
    assert not part.exists()
    folder.write(source, view, nothing)
    view.close()
    assert folder.heights() == [BLOCKS]


# holds SN-6
def test_snapshot_without_room_is_skipped_and_said(tmp_path: Path, source: Store) -> None:
    found = os.statvfs(tmp_path)
    folder = SnapshotFolder(tmp_path / "full", reserve_bytes=found.f_bavail * found.f_frsize)
    with pytest.raises(SnapshotSkippedError, match="are needed"):
        write(folder, source)
    assert list((tmp_path / "full").iterdir()) == []


# holds SN-6
def test_snapshot_that_the_disk_refuses_in_the_middle_is_skipped_and_leaves_nothing(
    folder: SnapshotFolder, source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot_files, "_sync", full)
    with pytest.raises(SnapshotSkippedError, match="No space left"):
        write(folder, source)
    assert list((tmp_path / "snapshots").iterdir()) == []


# holds SN-6
def test_snapshot_that_its_node_stops_leaves_nothing(
    folder: SnapshotFolder, source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_files, "REST_EVERY", 1)

    def stop() -> None:
        raise SnapshotSkippedError("the node stops")

    view = source.view()
    with pytest.raises(SnapshotSkippedError, match="the node stops"):
        folder.write(source, view, stop)
    view.close()
    assert list((tmp_path / "snapshots").iterdir()) == []


# holds SN-6
def test_snapshot_of_a_state_that_is_not_that_of_its_header_is_none(
    folder: SnapshotFolder, source: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = source.final_header(BLOCKS)
    assert real is not None
    other = FinalHeader(replace(real.header, state_root=bytes(32)), real.certificate, ())
    monkeypatch.setattr(source, "final_header", lambda _: other)
    with pytest.raises(StoreCorruptError, match="is not that of height 11"):
        write(folder, source)
    assert folder.manifest() is None


# holds SN-2 SN-6
def test_snapshot_of_a_block_that_ends_an_epoch_is_not_made(
    folder: SnapshotFolder, source: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = source.final_header(BLOCKS)
    assert real is not None
    other = FinalHeader(replace(real.header, next_validators_hash=bytes(32)), real.certificate, ())
    monkeypatch.setattr(source, "final_header", lambda _: other)
    with pytest.raises(SnapshotSkippedError, match="ends an epoch"):
        write(folder, source)


def test_snapshot_folder_with_an_unreadable_one_offers_the_one_before(
    folder: SnapshotFolder, source: Store, world: World, tmp_path: Path
) -> None:
    write(folder, source)
    grow(world, source, 1)
    write(folder, source)
    newest = tmp_path / "snapshots" / str(BLOCKS + 1) / "manifest"
    newest.write_bytes(b"not what was written")
    found = folder.manifest()
    assert found is not None
    assert found.height == BLOCKS
    newest.unlink()
    assert folder.manifest() == found
