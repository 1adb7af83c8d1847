from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from kit.exitcodes import DataError
from master.io import store_tools
from master.io.backups import MANIFEST_FILE, back_up, compact, read_manifest, restore
from master.io.store import Store
from master.io.store_records import StoreError, StoreFullError, encode_head, seal
from master.io.store_tools import (
    Damage,
    Fsck,
    blocks_of,
    export_blocks,
    exported_sets,
    known_sets,
    prune,
    read_export,
    rebuild,
)
from master.ledger.proofs import Prover
from tests.unit.ledger.test_faults import proof as fault_proof
from tests.unit.ledger.test_faults import propose as propose_with_proofs
from tests.unit.ledger.worlds import World, key_of, make_genesis
from tests.unit.store.stores import MAP_BYTES, certify, ends_epoch, grow
from wire.block import Block
from wire.certificate import Certificate, Validator, ValidatorSet
from wire.historyproof import verify_history_proof
from wire.stateproof import verify_state_proof

ROOT = Path(__file__).parents[3]


def ignore(_steps: int) -> None:
    return


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def path(tmp_path: Path, world: World) -> Path:
    """Return the folder of a closed store with six blocks."""
    with Store.create(tmp_path / "ledger", world.genesis, map_bytes=MAP_BYTES) as store:
        grow(world, store, 6)
    return tmp_path / "ledger"


def opened(path: Path, world: World) -> Store:
    return Store.open(path, world.genesis, map_bytes=MAP_BYTES)


def damages(path: Path, world: World) -> list[Damage]:
    with opened(path, world) as store:
        return Fsck(store, world.genesis, ignore).run()


def change(path: Path, table: str, key: bytes, edit: Callable[[bytes], bytes | None]) -> None:
    """Rewrite one record; an edit to None removes it."""
    with (
        lmdb.open(str(path), max_dbs=16, map_size=MAP_BYTES) as env,
        env.begin(write=True, db=env.open_db(table.encode())) as txn,
    ):
        record = txn.get(key)
        assert record is not None
        changed = edit(bytes(record))
        assert txn.delete(key) if changed is None else txn.put(key, changed)


def first_key(path: Path, table: str) -> bytes:
    with (
        lmdb.open(str(path), max_dbs=16, map_size=MAP_BYTES) as env,
        env.begin(db=env.open_db(table.encode())) as txn,
        txn.cursor() as cursor,
    ):
        assert cursor.first()
        return bytes(cursor.key())


def height(number: int) -> bytes:
    return number.to_bytes(8, "big")


# fsck


def test_fsck_of_a_whole_store_finds_nothing(path: Path, world: World) -> None:
    assert damages(path, world) == []


@pytest.mark.parametrize("table", ["blocks", "certificates", "outcomes", "transactions", "events", "state", "leaves"])
def test_fsck_finds_a_flipped_bit_in_every_table(path: Path, world: World, table: str) -> None:
    key = first_key(path, table)
    change(path, table, key, lambda record: record[:-1] + bytes((record[-1] ^ 1,)))
    assert Damage(table, key.hex(), "its checksum does not hold") in damages(path, world)


@pytest.mark.parametrize("table", ["blocks", "certificates", "outcomes", "transactions", "events", "state", "leaves"])
def test_fsck_finds_a_record_that_is_missing(path: Path, world: World, table: str) -> None:
    change(path, table, first_key(path, table), lambda record: None)
    assert damages(path, world)


def test_fsck_finds_a_block_of_another_place_whose_checksum_holds(path: Path, world: World) -> None:
    with opened(path, world) as store:
        other = store.block_bytes(2)
    assert other is not None
    change(path, "blocks", height(3), lambda record: seal("blocks", height(3), other))
    assert Damage("blocks", "3", "it does not stand on the block before") in damages(path, world)


def test_fsck_finds_a_certificate_of_another_block(path: Path, world: World) -> None:
    with opened(path, world) as store:
        other = store.certificate(2)
    assert other is not None
    change(path, "certificates", height(3), lambda record: seal("certificates", height(3), other.encode()))
    (damage,) = damages(path, world)
    assert (damage.table, damage.key) == ("blocks", "3")
    assert "is not a commit of this header" in damage.problem


def test_fsck_finds_a_state_entry_that_was_replaced_with_its_leaf(path: Path, world: World) -> None:
    key = first_key(path, "leaves")
    change(path, "leaves", key, lambda record: seal("leaves", key, bytes(32)))
    found = damages(path, world)
    assert Damage("leaves", "", "they do not lead to the state root of the newest block") in found
    assert any(damage.problem == "the state tree holds something else" for damage in found)


def test_fsck_finds_a_history_node_of_another_block(path: Path, world: World) -> None:
    key = b"\x00" + height(3)
    change(path, "history", key, lambda record: seal("history", key, bytes(32)))
    assert damages(path, world) == [Damage("history", "3", "it is not the digest of the block")]


def test_fsck_follows_epochs(path: Path, world: World) -> None:
    following = ValidatorSet((Validator("newcomer", key_of("newcomer").verify_key.encode(), bytes(32)),))
    with opened(path, world) as store:
        execution, certificate = ends_epoch(world, following)
        store.commit(execution, certificate, following)
        assert Fsck(store, world.genesis, ignore).run() == []


# rebuild, export


def test_rebuild_from_its_own_blocks_gives_the_same_store(path: Path, world: World, tmp_path: Path) -> None:
    key = first_key(path, "state")
    change(path, "state", key, lambda record: None)
    steps: list[int] = []
    with opened(path, world) as store:
        head = store.head().digest
        made = rebuild(
            tmp_path / "new", world.genesis, blocks_of(store), known_sets(store), steps.append, map_bytes=MAP_BYTES
        )
    assert (made.height, made.stopped, sum(steps)) == (6, None, 6)
    with opened(tmp_path / "new", world) as again:
        assert again.head().digest == head
        assert Fsck(again, world.genesis, ignore).run() == []


def test_rebuild_ends_before_the_first_damaged_block(path: Path, world: World, tmp_path: Path) -> None:
    change(path, "blocks", height(4), lambda record: record[:-1] + bytes((record[-1] ^ 1,)))
    with opened(path, world) as store:
        made = rebuild(tmp_path / "new", world.genesis, blocks_of(store), lambda _: None, ignore, map_bytes=MAP_BYTES)
    assert made.height == 3
    assert "is damaged" in (made.stopped or "")
    assert damages(tmp_path / "new", world) == []


def test_export_carries_a_store_to_another_node(path: Path, world: World, tmp_path: Path) -> None:
    chain, out = world.genesis.chain(), tmp_path / "ledger.blocks"
    with opened(path, world) as store:
        size = export_blocks(store, chain, out, range(1, 7), ignore)
        assert size == out.stat().st_size
        for wrong, said in ((out, "never overwritten"), (tmp_path / "none" / "blocks", "there is no folder")):
            with pytest.raises(StoreError, match=said):
                export_blocks(store, chain, wrong, range(1, 7), ignore)
    made = rebuild(
        tmp_path / "new",
        world.genesis,
        read_export(out, chain),
        exported_sets(out, chain),
        ignore,
        map_bytes=MAP_BYTES,
    )
    assert (made.height, made.stopped) == (6, None)
    assert damages(tmp_path / "new", world) == []


def test_export_of_another_ledger_cut_off_or_damaged_is_refused(path: Path, world: World, tmp_path: Path) -> None:
    chain, out = world.genesis.chain(), tmp_path / "ledger.blocks"
    with opened(path, world) as store:
        export_blocks(store, chain, out, range(1, 7), ignore)
    with pytest.raises(DataError, match="not of other"):
        list(read_export(out, "other"))
    raw = out.read_bytes()
    out.write_bytes(raw[:-1])
    with pytest.raises(DataError, match="cut off"):
        list(read_export(out, chain))
    out.write_bytes(raw[:300] + bytes((raw[300] ^ 1,)) + raw[301:])
    damaged = rebuild(
        tmp_path / "bad", world.genesis, read_export(out, chain), lambda _: None, ignore, map_bytes=MAP_BYTES
    )
    assert (damaged.height, damaged.stopped is None) == (0, False)
    forged = rebuild(tmp_path / "new", world.genesis, _lies(path, world), lambda _: None, ignore, map_bytes=MAP_BYTES)
    assert (forged.height, forged.stopped is None) == (0, False)


def _lies(path: Path, world: World) -> list[tuple[Block, Certificate]]:
    with opened(path, world) as store:
        blocks = list(blocks_of(store))
    return [(blocks[0][0], blocks[1][1])]


# backup, restore


def test_backup_is_restored_whole_and_marks_the_node(path: Path, world: World, tmp_path: Path) -> None:
    manifest = back_up(path, world.genesis, tmp_path / "backup")
    assert (manifest.height, manifest) == (6, read_manifest(tmp_path / "backup"))
    assert sorted(entry.name for entry in (tmp_path / "backup").iterdir()) == ["data.mdb", MANIFEST_FILE]
    target, marker = tmp_path / "elsewhere", tmp_path / "restored"
    assert restore(tmp_path / "backup", world.genesis, target, marker) == manifest
    assert marker.exists()
    assert damages(target, world) == []
    with opened(target, world) as store:
        grow(world, store, 1)


def test_backup_of_a_store_that_another_process_writes_is_one_moment(path: Path, world: World, tmp_path: Path) -> None:
    (tmp_path / "genesis").write_bytes(world.genesis.encode())
    program = (
        "import sys; from pathlib import Path; from master.io.backups import back_up; "
        "from wire.genesis import decode_genesis; a = [Path(x) for x in sys.argv[1:]]; "
        "print(back_up(a[0], decode_genesis(a[1].read_bytes()), a[2]).height)"
    )
    with opened(path, world) as store:
        done = subprocess.run(
            [sys.executable, "-c", program, str(path), str(tmp_path / "genesis"), str(tmp_path / "backup")],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert (done.returncode, done.stdout.strip()) == (0, "6"), done.stderr
        grow(world, store, 1)
        assert store.head().height == 7


def test_restore_never_replaces_a_store(path: Path, world: World, tmp_path: Path) -> None:
    back_up(path, world.genesis, tmp_path / "backup")
    with pytest.raises(StoreError, match="move it away first"):
        restore(tmp_path / "backup", world.genesis, path, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    with pytest.raises(StoreError, match="a folder of its own"):
        back_up(path, world.genesis, tmp_path / "backup")


def test_restore_of_a_damaged_or_foreign_backup_is_refused(path: Path, world: World, tmp_path: Path) -> None:
    backup, marker = tmp_path / "backup", tmp_path / "restored"
    back_up(path, world.genesis, backup)
    with pytest.raises(DataError, match="not of test"):
        restore(backup, make_genesis({"skew_ms": 2000}), tmp_path / "new", marker)
    data = (backup / "data.mdb").read_bytes()
    (backup / "data.mdb").write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    with pytest.raises(DataError, match="is not the file that its manifest names"):
        restore(backup, world.genesis, tmp_path / "new", marker)
    (backup / MANIFEST_FILE).write_text("{}")
    with pytest.raises(DataError, match="no manifest"):
        restore(backup, world.genesis, tmp_path / "new", marker)
    (backup / MANIFEST_FILE).unlink()
    with pytest.raises(DataError, match="is no backup"):
        restore(backup, world.genesis, tmp_path / "new", marker)
    assert not marker.exists()
    assert not (tmp_path / "new").exists()


def test_backup_of_no_store_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is none"):
        back_up(tmp_path / "nothing", world.genesis, tmp_path / "backup")


# prune


def test_prune_gives_up_bodies_and_keeps_what_proofs_and_views_need(
    path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_tools, "KEPT_MIN", 2)
    with opened(path, world) as store:
        events = store.events(0, -1, 1000)
        receipts, place = store.receipts(2), store.find_tx(store.receipts(2)[-1].tx)
        assert prune(store, 100, ignore) == 4
        assert prune(store, 100, ignore) == 0
        assert (store.block(4), store.block(5) is None) == (None, False)
        assert (store.receipts(2), store.find_tx(receipts[-1].tx)) == (receipts, place)
        assert store.events(0, -1, 1000) == events
        prover = Prover(store, world.tree)
        history, state = prover.history_proof(2, 6), prover.state_proof("membership", b"gateway/gw-1")
        assert history is not None
        verify_history_proof(history, world.genesis)
        assert state is not None
        verify_state_proof(state, world.genesis)
        assert Fsck(store, world.genesis, ignore).run() == []
        grow(world, store, 1)
    before, after = compact(path)
    assert after <= before
    assert damages(path, world) == []


def test_prune_keeps_the_newest_blocks_whatever_is_asked(path: Path, world: World) -> None:
    with opened(path, world) as store:
        assert prune(store, 7, ignore) == 0
        assert store.block(1) is not None


def test_rebuild_of_a_pruned_store_says_what_is_missing(
    path: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_tools, "KEPT_MIN", 2)
    with opened(path, world) as store:
        prune(store, 3, ignore)
        made = rebuild(tmp_path / "new", world.genesis, blocks_of(store), lambda _: None, ignore, map_bytes=MAP_BYTES)
        assert (made.height, made.stopped) == (
            0,
            "block 1 or its certificate is missing; it may have been pruned",
        )
        with pytest.raises(StoreError, match="may have been pruned"):
            export_blocks(store, world.genesis.chain(), tmp_path / "out", range(1, 7), ignore)
        assert not (tmp_path / "out").exists()


# no room, bounds, what cannot be read


def test_rebuild_without_room_says_so(
    path: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Store, *_: object) -> None:
        raise StoreFullError("store: no room")

    monkeypatch.setattr(Store, "commit", full)
    with opened(path, world) as store, pytest.raises(StoreFullError, match="no room"):
        rebuild(tmp_path / "new", world.genesis, blocks_of(store), lambda _: None, ignore, map_bytes=MAP_BYTES)


def test_rebuild_over_an_epoch_takes_the_set_that_the_header_names(path: Path, world: World, tmp_path: Path) -> None:
    following = ValidatorSet((Validator("newcomer", key_of("newcomer").verify_key.encode(), bytes(32)),))
    with opened(path, world) as store:
        execution, certificate = ends_epoch(world, following)
        store.commit(execution, certificate, following)
        export_blocks(store, world.genesis.chain(), tmp_path / "out", range(1, 8), ignore)
        assert known_sets(store)(following.digest()) == following
        made = rebuild(
            tmp_path / "new", world.genesis, blocks_of(store), known_sets(store), ignore, map_bytes=MAP_BYTES
        )
        lost = rebuild(tmp_path / "lost", world.genesis, blocks_of(store), lambda _: None, ignore, map_bytes=MAP_BYTES)
    assert exported_sets(tmp_path / "out", world.genesis.chain())(following.digest()) == following
    assert (made.height, made.stopped) == (7, None)
    assert (lost.height, lost.stopped) == (6, "block 7: the set that comes after it is not known")


def test_fsck_names_at_most_a_bound_of_damages(path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_tools, "DAMAGES_MAX", 3)
    for table in ("blocks", "certificates", "outcomes", "state"):
        change(path, table, first_key(path, table), lambda record: record[:-1] + bytes((record[-1] ^ 1,)))
    assert len(damages(path, world)) == 3


def test_fsck_finds_a_missing_end_of_an_epoch_and_a_head_that_is_not_the_newest_block(path: Path, world: World) -> None:
    following = ValidatorSet((Validator("dispatch", key_of("vote").verify_key.encode(), bytes(32)),))
    with opened(path, world) as store:
        execution, certificate = ends_epoch(world, following)
        store.commit(execution, certificate, following)
        head = store.head()
    change(path, "meta", b"head", lambda _: seal("meta", b"head", encode_head(replace(head, digest=bytes(32)))))
    assert Damage("meta", b"head".hex(), "it is not the newest block") in damages(path, world)


def test_backup_of_a_file_that_is_no_store_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="cannot be copied"):
        back_up(tmp_path / "ledger", world.genesis, tmp_path / "backup")


def test_manifest_of_another_format_is_refused(path: Path, world: World, tmp_path: Path) -> None:
    back_up(path, world.genesis, tmp_path / "backup")
    manifest = tmp_path / "backup" / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DataError, match="format 2 is not 1"):
        read_manifest(tmp_path / "backup")
    (tmp_path / "backup" / "data.mdb").unlink()
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(DataError, match="there is no"):
        restore(tmp_path / "backup", world.genesis, tmp_path / "new", tmp_path / "restored")


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 5000, " " * 70_000, "[]", '"text"', "{}", "\ud800"])
def test_manifest_that_is_hostile_is_refused_as_bad_data(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(DataError, match="is no manifest of a backup"):
        read_manifest(tmp_path)


# holds FP-7
def test_fsck_finds_fault_proofs_that_are_missing_or_too_many(tmp_path: Path, world: World) -> None:
    execution = propose_with_proofs(world, fault_proof(world))
    with Store.create(tmp_path / "ledger", world.genesis, map_bytes=MAP_BYTES) as store:
        store.commit(execution, certify(world, execution))
    assert damages(tmp_path / "ledger", world) == []
    change(tmp_path / "ledger", "faults", (1).to_bytes(8, "big"), lambda _: None)
    found = {damage.table: damage.problem for damage in damages(tmp_path / "ledger", world)}
    assert found == {
        "faults": "they do not lead to the block's fault_proof_root",
        "events": "it is not what the outcomes say",
    }
