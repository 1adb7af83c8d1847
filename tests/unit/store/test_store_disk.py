"""A store on a disk that is full, fails or was changed."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import lmdb
import pytest

from kit.exitcodes import DiskFullError
from master.io.store import Store
from master.io.store_env import Writing
from master.io.store_records import (
    StoreCorruptError,
    StoreError,
    StoreFullError,
    decode_head,
    encode_head,
    seal,
    unseal,
)
from master.ledger.rows import Head, genesis_head
from tests.unit.contracts.reports import release
from tests.unit.ledger.worlds import World
from tests.unit.store.stores import MAP_BYTES, certify, everything, grow


def test_commit_without_room_writes_nothing_and_says_so(tmp_path: Path) -> None:
    world = World()
    with Store.create(tmp_path / "small", world.genesis, map_bytes=256 * 1024) as store:
        with pytest.raises(StoreFullError, match="has reached its 262144 bytes"):
            grow(world, store, 200)
        head = store.head()
        assert 0 < head.height == world.head.height
        assert store.block(head.height + 1) is None
        assert store.state_tree().root == head.state_root
        assert everything(store) == world.state.entries
    with Store.open(tmp_path / "small", world.genesis, map_bytes=MAP_BYTES) as larger:
        grow(world, larger, 2)
        assert larger.head().height == head.height + 2


@pytest.mark.parametrize("pages", [6, 11])
def test_create_without_room_says_so(tmp_path: Path, world: World, pages: int) -> None:
    with pytest.raises(StoreFullError, match="no room"):
        Store.create(tmp_path / "tiny", world.genesis, map_bytes=pages * 4096)
    Store.create(tmp_path / "tiny", world.genesis, map_bytes=MAP_BYTES).close()


class FullDisk:
    """An environment whose commits find the disk full."""

    error = lmdb.Error("")

    def begin(self, *, write: bool) -> FullDisk:
        assert write
        return self

    def info(self) -> dict[str, int]:
        return {"map_size": MAP_BYTES}

    def commit(self) -> None:
        raise self.error

    def abort(self) -> None:
        """Nothing was written."""


# holds EL-7
@pytest.mark.parametrize("error", [lmdb.DiskError("no space left on device"), lmdb.Error("Input/output error")])
def test_commit_on_a_full_disk_says_so(error: lmdb.Error, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FullDisk, "error", error)
    with pytest.raises(DiskFullError, match="the disk is full"), Writing(cast("lmdb.Environment", FullDisk()), {}):
        pass


# holds EL-7
def test_write_that_finds_the_disk_full_before_its_commit_says_so() -> None:
    with pytest.raises(DiskFullError, match="the disk is full"), Writing(cast("lmdb.Environment", FullDisk()), {}):
        raise lmdb.DiskError("no space left on device")


def test_store_that_failed_in_mid_write_must_be_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object, **__: object) -> None:
        raise lmdb.PanicError("must be closed")

    monkeypatch.setattr(FullDisk, "begin", panic)
    with (
        pytest.raises(StoreError, match="must be opened again"),
        Writing(cast("lmdb.Environment", FullDisk()), {}),
    ):
        pass


# holds EL-7
def test_recheck_of_a_store_takes_a_write_and_insists_on_its_own_head(store: Store, world: World) -> None:
    grow(world, store, 2)
    before = everything(store)
    store.recheck()
    assert everything(store) == before
    with store._writing() as put:
        put.put("meta", b"head", encode_head(genesis_head(world.genesis, bytes(32))))
    with pytest.raises(StoreCorruptError, match="its head is block 0, not 2"):
        store.recheck()


def test_commit_that_fails_half_way_writes_nothing(store: Store, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    execution, _ = world.propose(world.sign("maker-a", "references", "submit", {"release": release().encode()}))

    def fail(head: Head) -> bytes:
        raise OSError(f"no head {head.height}")

    monkeypatch.setattr("master.io.store.encode_head", fail)
    with pytest.raises(OSError, match="no head 1"):
        store.commit(execution, certify(world, execution))
    assert store.head().height == 0
    assert store.block(1) is None
    assert everything(store) == world.state.entries


# damage


def tamper(path: Path, table: str, key: bytes, record: bytes) -> None:
    with (
        lmdb.open(str(path), max_dbs=8, map_size=MAP_BYTES) as env,
        env.begin(write=True, db=env.open_db(table.encode())) as txn,
    ):
        assert txn.get(key) is not None
        txn.put(key, record)


def test_record_that_was_changed_on_disk_is_found(tmp_path: Path, store: Store, world: World) -> None:
    grow(world, store)
    store.close()
    key = b"\x0amembershipgateway/gw-1"
    tamper(tmp_path / "store", "state", key, seal("state", b"elsewhere", b"\xa0"))
    with Store.open(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES) as again:
        with pytest.raises(StoreCorruptError, match="table state is damaged"):
            again.get("membership", b"gateway/gw-1")
        assert again.get("membership", b"gateway/gw-2") is not None


def test_leaf_that_was_replaced_with_its_checksum_is_found_by_the_root(
    tmp_path: Path, store: Store, world: World
) -> None:
    key = min(world.state.leaves)
    store.close()
    tamper(tmp_path / "store", "leaves", key, seal("leaves", key, bytes(32)))
    with (
        Store.open(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES) as again,
        pytest.raises(StoreCorruptError, match="its state is not that of height 0"),
    ):
        again.state_tree()


def test_events_of_a_block_that_is_gone_are_found_missing(tmp_path: Path, store: Store, world: World) -> None:
    grow(world, store)
    store.close()
    with (
        lmdb.open(str(tmp_path / "store"), max_dbs=8, map_size=MAP_BYTES) as env,
        env.begin(write=True, db=env.open_db(b"blocks")) as txn,
    ):
        assert txn.delete((2).to_bytes(8, "big"))
    with (
        Store.open(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES) as again,
        pytest.raises(StoreCorruptError, match="block 2 is missing"),
    ):
        again.events(0, -1, 1000)


def test_checksum_binds_content_to_its_table_and_key() -> None:
    record = seal("state", b"key", b"content")
    assert unseal("state", b"key", record) == b"content"
    for table, key, changed in (
        ("leaves", b"key", record),
        ("state", b"kez", record),
        ("state", b"key", record + b"!"),
        ("state", b"key", b""),
    ):
        with pytest.raises(StoreCorruptError):
            unseal(table, key, changed)


def test_head_round_trip_keeps_the_frontier(world: World) -> None:
    world.run()
    decoded = decode_head(encode_head(world.head))
    assert encode_head(decoded) == encode_head(world.head)
    assert decoded.history.size == 2
