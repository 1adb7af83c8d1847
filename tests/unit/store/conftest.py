"""A ledger and its store, a snapshot of it, and a store that came out of that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from master.io.snapshots import SnapshotFolder
from master.io.store import Store
from master.io.store_join import JoiningStore
from tests.unit.ledger.worlds import World
from tests.unit.store.stores import MAP_BYTES, grow
from tests.unit.store.taken import BLOCKS, all_parts, write
from wire.snapshot import Manifest


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def store(tmp_path: Path, world: World) -> Iterator[Store]:
    with Store.create(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path, world: World) -> Iterator[Store]:
    with Store.create(tmp_path / "source", world.genesis, map_bytes=MAP_BYTES) as made:
        grow(world, made, BLOCKS)
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> SnapshotFolder:
    return SnapshotFolder(tmp_path / "snapshots")


@pytest.fixture
def manifest(folder: SnapshotFolder, source: Store) -> Manifest:
    write(folder, source)
    found = folder.manifest()
    assert found is not None
    return found


@pytest.fixture
def joined(tmp_path: Path, world: World, folder: SnapshotFolder, manifest: Manifest) -> Iterator[Store]:
    """A store that came out of a snapshot."""
    joining = JoiningStore(tmp_path / "joined", world.genesis, MAP_BYTES)
    joining.begin(manifest)
    joining.keep(all_parts(folder, manifest))
    joining.finish()
    joining.close()
    with Store.open(tmp_path / "joined", world.genesis, map_bytes=MAP_BYTES) as store:
        yield store
