"""A snapshot on one node's disk, on its way, and as the store of another node that then gets its past."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from master.consensus.backfill import Due
from master.consensus.snapshot_messages import Archive
from master.io import snapshots as snapshot_files
from master.io.snapshots import SnapshotFolder, SnapshotSkippedError
from master.io.store import Store
from master.io.store_join import JoiningStore
from master.io.store_past import due_of, fill, old_blocks
from master.io.store_records import ArchiveMark, StoreCorruptError, StoreError, StoreFullError, encode_head
from master.io.store_tools import Fsck
from master.io.sync_disk import SyncDisk, adopt
from master.ledger.proofs import Prover
from tests.unit.ledger.worlds import World
from tests.unit.store.stores import MAP_BYTES, certify, everything, grow
from tests.unit.store.taken import BLOCKS, WHOLE, all_parts, wanted, write
from wire.errors import ProofError
from wire.historyproof import verify_consistency_proof, verify_history_proof
from wire.snapshot import Manifest
from wire.types import Digest

# ---- joining


# holds SN-8
def test_joined_store_has_the_head_and_the_state_of_the_snapshot(joined: Store, source: Store) -> None:
    assert encode_head(joined.head()) == encode_head(source.head())
    assert everything(joined) == everything(source)
    assert joined.state_tree().root == source.head().state_root
    assert joined.certificate(BLOCKS) == source.certificate(BLOCKS)
    assert joined.header(BLOCKS) == source.header(BLOCKS)
    assert joined.block(BLOCKS) is None
    assert joined.archive.mark() == ArchiveMark(BLOCKS, BLOCKS + 1)
    assert source.archive.mark() is None


# holds SN-8
def test_joined_store_goes_on_with_blocks(joined: Store, source: Store, world: World) -> None:
    for execution in grow(world, source, 3):
        joined.commit(execution, certify(world, execution))
    assert encode_head(joined.head()) == encode_head(source.head())
    assert joined.archive.known_from() == BLOCKS + 1


# holds SN-8
def test_joining_store_keeps_what_is_in_over_a_crash_and_goes_on(
    tmp_path: Path, world: World, folder: SnapshotFolder, manifest: Manifest
) -> None:
    parts = all_parts(folder, manifest, 1)
    path = tmp_path / "joined"
    joining = JoiningStore(path, world.genesis, MAP_BYTES)
    joining.begin(manifest)
    joining.keep(parts[:7])
    joining.close()
    joining.close()
    again = JoiningStore(path, world.genesis, MAP_BYTES)
    assert again.manifest == manifest
    assert again.places == {part.subtree: part.end for part in parts[:7]}
    with pytest.raises(StoreCorruptError, match="is not the state of height"):
        again.finish()
    again.keep(parts[7:])
    again.finish()
    assert again.finished == manifest.height
    again.close()
    with Store.open(path, world.genesis, map_bytes=MAP_BYTES) as store:
        assert store.state_tree().root == manifest.final.header.state_root
        assert not [key for key, _ in store.raw_records("meta") if key.startswith((b"place", b"joining"))]


def test_joining_store_of_another_snapshot_begins_anew(
    tmp_path: Path, world: World, source: Store, folder: SnapshotFolder, manifest: Manifest
) -> None:
    joining = JoiningStore(tmp_path / "joined", world.genesis, MAP_BYTES)
    joining.begin(manifest)
    joining.keep(all_parts(folder, manifest))
    grow(world, source, 1)
    write(folder, source)
    newer = folder.manifest()
    assert newer is not None
    joining.begin(newer)
    assert (joining.manifest, joining.places) == (newer, {})
    joining.keep(all_parts(folder, newer))
    assert joining.finish().state_root == source.head().state_root
    joining.close()


@pytest.mark.parametrize("damage", ["joining", "place"])
def test_joining_store_that_is_damaged_is_begun_anew(
    tmp_path: Path, world: World, folder: SnapshotFolder, manifest: Manifest, damage: str
) -> None:
    path = tmp_path / "joined"
    joining = JoiningStore(path, world.genesis, MAP_BYTES)
    joining.begin(manifest)
    joining.keep(all_parts(folder, manifest)[:3])
    number = min(joining.places).to_bytes(2, "big")
    name = b"joining" if damage == "joining" else b"place" + number
    with joining._env.begin(write=True) as txn:
        txn.put(name, b"damaged record", db=joining._tables["meta"])
    joining.close()
    again = JoiningStore(path, world.genesis, MAP_BYTES)
    assert (again.manifest, again.places) == (None, {})
    again.close()


def test_joining_store_without_room_says_so(tmp_path: Path, world: World, manifest: Manifest) -> None:
    with pytest.raises(StoreFullError):
        JoiningStore(tmp_path / "small", world.genesis, 4096)
    joining = JoiningStore(tmp_path / "joined", world.genesis, MAP_BYTES)
    with pytest.raises(StoreError, match="another process owns it"):
        JoiningStore(tmp_path / "joined", world.genesis, MAP_BYTES)
    joining.close()
    assert manifest.height == BLOCKS


# ---- past


def archive_of(store: Store, due: Due, bytes_max: int) -> Archive:
    return Archive(old_blocks(store, due.height, len(due.outcomes), bytes_max))


def fill_all(joined: Store, source: Store, world: World, bytes_max: int = 900) -> int:
    due, answers = due_of(joined), 0
    while due is not None:
        due = fill(joined, world.genesis, due, archive_of(source, due, bytes_max))
        answers += 1
        left = due_of(joined)
        assert (left is None) == (due is None)
        assert left is None or due is None or (left.height, left.digest) == (due.height, due.digest)
    return answers


def history_of(store: Store, size: int) -> dict[tuple[int, int], Digest]:
    return {
        (level, index): store.history_node(level, index)
        for level in range(size.bit_length())
        for index in range(size >> level)
    }


# holds SN-9
@pytest.mark.parametrize(("bytes_max", "later"), [(1, 0), (900, 0), (WHOLE, 0), (900, 7)])
def test_past_is_filled_in_from_the_snapshot_downwards_until_nothing_is_missing(
    joined: Store, source: Store, world: World, bytes_max: int, later: int
) -> None:
    for execution in grow(world, source, later):
        joined.commit(execution, certify(world, execution))
    answers = fill_all(joined, source, world, bytes_max)
    assert answers > (1 if bytes_max < WHOLE else 0)
    head = source.head().height
    assert joined.archive.known_from() == 1
    assert history_of(joined, head + 1) == history_of(source, head + 1)
    assert joined.events(0, -1, 1000) == source.events(0, -1, 1000)
    for height in range(1, head + 1):
        assert joined.header(height) == source.header(height)
        assert joined.certificate(height) == source.certificate(height)
        assert joined.outcomes(height) == source.outcomes(height)
    assert Fsck(joined, world.genesis, lambda _: None).run() == []


# holds SN-9
def test_past_that_is_complete_proves_history_and_consistency(joined: Store, source: Store, world: World) -> None:
    for execution in grow(world, source, 2):
        joined.commit(execution, certify(world, execution))
    fill_all(joined, source, world)
    prover = Prover(joined, joined.state_tree())
    old = prover.history_proof(3, BLOCKS + 2)
    assert old is not None
    verify_history_proof(old, world.genesis)
    same = prover.consistency_proof(4, BLOCKS)
    assert same is not None
    known = source.header(4)
    assert known is not None
    verify_consistency_proof(same, known, world.genesis)


# holds SN-9
def test_past_that_lies_is_not_stored(joined: Store, source: Store, world: World) -> None:
    due = due_of(joined)
    assert due is not None
    honest = archive_of(source, due, WHOLE)
    lie = Archive((replace(honest.blocks[0], outcomes=honest.blocks[0].outcomes[:1] * 2), *honest.blocks[1:]))
    with pytest.raises(ProofError):
        fill(joined, world.genesis, due, lie)
    assert joined.archive.known_from() == BLOCKS + 1


# holds SN-9
def test_past_that_a_node_lacks_is_not_served_by_it(joined: Store, source: Store, world: World) -> None:
    assert old_blocks(joined, BLOCKS, 0) == ()
    due = due_of(joined)
    assert due is not None
    fill(joined, world.genesis, due, archive_of(source, due, 1500))
    lowest = joined.archive.known_from()
    assert 1 < lowest <= BLOCKS
    served = old_blocks(joined, BLOCKS, 0)
    assert [block.header.height for block in served] == list(range(BLOCKS, lowest - 1, -1))
    assert old_blocks(joined, BLOCKS + 5, 0) == ()


# ---- one store in the place of another


@pytest.fixture
def node(tmp_path: Path, world: World) -> SimpleNamespace:
    path = tmp_path / "node" / "ledger"
    floors: list[int] = []
    return SimpleNamespace(
        path=path,
        joining=path.with_name("ledger.joining"),
        floors=floors,
        adopt=lambda: adopt(path, world.genesis, MAP_BYTES, floors.append),
        create=lambda: Store.create(path, world.genesis, map_bytes=MAP_BYTES),
        open=lambda: Store.open(path, world.genesis, map_bytes=MAP_BYTES),
        disk=lambda store: SyncDisk(store, path, world.genesis, MAP_BYTES),
    )


def fetch(disk: SyncDisk, folder: SnapshotFolder, manifest: Manifest, parts: int | None = None) -> None:
    disk.prove(manifest)
    disk.begin(manifest)
    disk.keep(all_parts(folder, manifest)[:parts])


# holds SN-8
def test_adopt_puts_the_fetched_store_in_place_after_the_guard(
    node: SimpleNamespace, folder: SnapshotFolder, manifest: Manifest
) -> None:
    assert node.adopt() is None
    with node.create() as store:
        disk = node.disk(store)
        assert disk.joined() is None
        fetch(disk, folder, manifest)
        disk.finish()
        disk.close()
    assert node.adopt() == BLOCKS
    assert node.floors == [BLOCKS]
    assert not node.joining.exists()
    with node.open() as store:
        assert store.head().height == BLOCKS
        due = node.disk(store).due()
        assert due is not None
        assert due.height == BLOCKS
    assert node.adopt() is None
    assert sorted(entry.name for entry in node.path.parent.iterdir()) == ["ledger", "snapshots"]


# holds SN-8
def test_adopt_of_what_is_not_whole_changes_nothing_and_the_rest_is_fetched(
    node: SimpleNamespace, folder: SnapshotFolder, manifest: Manifest
) -> None:
    with node.create() as store:
        disk = node.disk(store)
        fetch(disk, folder, manifest, 5)
        disk.close()
    assert node.adopt() is None
    assert node.floors == []
    with node.open() as store:
        disk = node.disk(store)
        found = disk.joined()
        assert found is not None
        assert found[0] == manifest
        assert len(found[1]) == 5
        disk.keep(all_parts(folder, manifest)[5:])
        disk.finish()
    assert node.adopt() == BLOCKS


# holds SN-8
def test_adopt_keeps_a_store_that_had_blocks_aside(
    node: SimpleNamespace, folder: SnapshotFolder, source: Store, manifest: Manifest, world: World
) -> None:
    again = World(world.genesis)
    with node.create() as store:
        for height in (1, 2):
            block, certificate = source.block(height), source.certificate(height)
            assert block is not None
            assert certificate is not None
            execution = again.application.process(again.head, block)
            store.commit(execution, certificate)
            again.commit(execution)
        disk = node.disk(store)
        fetch(disk, folder, manifest)
        disk.finish()
    node.path.rename(node.path.with_name("aside"))
    node.path.with_name("aside").rename(node.path)
    assert node.adopt() == BLOCKS
    with Store.open(node.path.with_name(f"ledger.before-{BLOCKS}"), world.genesis, map_bytes=MAP_BYTES) as old:
        assert old.head().height == 2


# holds SN-8
def test_adopt_that_a_crash_cut_between_its_renames_goes_on(
    node: SimpleNamespace, folder: SnapshotFolder, manifest: Manifest
) -> None:
    with node.create() as store:
        disk = node.disk(store)
        fetch(disk, folder, manifest)
        disk.finish()
    shutil.rmtree(node.path)
    assert node.adopt() == BLOCKS


def test_adopt_of_a_snapshot_that_blocks_have_overtaken_removes_it(
    node: SimpleNamespace, tmp_path: Path, folder: SnapshotFolder, manifest: Manifest, source: Store, world: World
) -> None:
    grow(world, source, 1)
    joining = JoiningStore(tmp_path / "source.joining", world.genesis, MAP_BYTES)
    joining.begin(manifest)
    joining.keep(all_parts(folder, manifest))
    joining.finish()
    joining.close()
    source.close()
    assert adopt(tmp_path / "source", world.genesis, MAP_BYTES, node.floors.append) is None
    assert not (tmp_path / "source.joining").exists()


def test_sync_disk_what_was_begun_of_an_older_height_is_removed(
    tmp_path: Path, folder: SnapshotFolder, manifest: Manifest, source: Store, world: World
) -> None:
    disk = SyncDisk(source, tmp_path / "source", world.genesis, MAP_BYTES)
    fetch(disk, folder, manifest, 3)
    disk.close()
    assert disk.joined() is None
    assert not (tmp_path / "source.joining").exists()


# holds SN-6
def test_sync_disk_serves_what_it_has_written(
    tmp_path: Path, source: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_files, "REST_EVERY", 1)
    disk = SyncDisk(source, tmp_path / "source", world.genesis, MAP_BYTES)
    with pytest.raises(SnapshotSkippedError, match="the node stops"):
        disk.open_moment(lambda: True)()
    assert disk.manifest() is None
    monkeypatch.setattr(snapshot_files, "REST_EVERY", 1000)
    assert disk.open_moment(lambda: False)() > 30_000
    manifest = disk.manifest()
    assert manifest is not None
    assert len(disk.parts(BLOCKS, wanted(manifest)[:3], WHOLE)) == 3
    assert disk.old_blocks(BLOCKS, 0)[0].header.height == BLOCKS
