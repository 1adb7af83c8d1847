from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from master.io.store import Store
from master.io.store_records import (
    StoreCorruptError,
    StoreError,
    decode_head,
    encode_head,
    seal,
)
from master.ledger.proofs import Prover
from tests.unit.contracts.reports import release
from tests.unit.ledger.test_faults import proof as fault_proof
from tests.unit.ledger.test_faults import propose as propose_with_proofs
from tests.unit.ledger.worlds import World, key_of, make_genesis
from tests.unit.store.stores import MAP_BYTES, certify, ends_epoch, everything, grow, prover
from tests.unit.store.test_store_disk import tamper
from wire import cbor
from wire.certificate import Step, Validator, ValidatorSet, build_certificate
from wire.epochs import verify_epochs
from wire.errors import WireError
from wire.historyproof import (
    decode_consistency_proof,
    decode_history_proof,
    verify_consistency_proof,
    verify_history_proof,
)
from wire.receipt import verify_receipt
from wire.stateproof import decode_state_proof, verify_state_proof
from wire.types import sha256

# create and open


def test_store_made_from_genesis_holds_height_0(store: Store, world: World) -> None:
    head = store.head()
    assert (head.height, head.digest, head.time_ms) == (0, world.genesis.digest(), world.genesis.time_ms)
    assert head.state_root == store.state_tree().root == world.head.state_root
    assert everything(store) == world.state.entries
    assert store.block(0) is None


def test_store_reopened_has_the_same_head_state_and_blocks(tmp_path: Path, store: Store, world: World) -> None:
    executions = grow(world, store)
    store.close()
    with Store.open(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES) as again:
        assert encode_head(again.head()) == encode_head(world.head)
        assert again.head().history.head() == world.head.history.head()
        assert again.state_tree().root == world.head.state_root
        assert everything(again) == world.state.entries
        assert again.block(2) == executions[1].block
        grow(world, again)
        assert again.head().height == 6


def test_store_serves_as_the_state_of_an_application(store: Store, world: World) -> None:
    grow(world, store)
    for index in {0, *(int.from_bytes(key[:3], "big") >> 4 for key in world.state.leaves)}:
        assert list(store.bucket(index)) == list(world.state.bucket(index))
    assert list(store.scan("references", b"name/")) == list(world.state.scan("references", b"name/"))
    assert store.get("membership", b"gateway/gw-1") == world.state.get("membership", b"gateway/gw-1")
    assert store.get("membership", b"gateway/gw-9") is None
    assert list(store.scan("nothing", b"")) == []


def test_store_that_exists_is_not_made_anew(tmp_path: Path, store: Store, world: World) -> None:
    store.close()
    with pytest.raises(StoreError, match="exists already"):
        Store.create(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES)


def test_store_that_does_not_exist_is_not_opened(tmp_path: Path, world: World) -> None:
    with pytest.raises(StoreError, match="there is none"):
        Store.open(tmp_path / "store", world.genesis)


def test_store_of_another_genesis_is_not_opened(tmp_path: Path, store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="belongs to the ledger with genesis"):
        Store.open(tmp_path / "store", make_genesis({"skew_ms": 700}), map_bytes=MAP_BYTES)


def test_store_that_another_holds_is_not_opened(tmp_path: Path, store: Store, world: World) -> None:
    assert store.head().height == 0
    with pytest.raises(StoreError, match="another process owns it"):
        Store.open(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES)


def test_store_whose_making_was_cut_short_is_not_opened_but_made_again(tmp_path: Path, world: World) -> None:
    path = tmp_path / "store"
    lmdb.open(str(path), max_dbs=8, map_size=MAP_BYTES).close()
    with pytest.raises(StoreError, match="never finished"):
        Store.open(path, world.genesis, map_bytes=MAP_BYTES)
    Store.create(path, world.genesis, map_bytes=MAP_BYTES).close()
    Store.open(path, world.genesis, map_bytes=MAP_BYTES).close()


def test_store_in_a_file_that_is_no_store_is_not_opened(tmp_path: Path, world: World) -> None:
    path = tmp_path / "store"
    path.mkdir()
    (path / "data.mdb").write_bytes(b"not a store" * 1000)
    with pytest.raises(StoreError, match="store"):
        Store.open(path, world.genesis, map_bytes=MAP_BYTES)


def test_store_of_another_format_is_not_opened(tmp_path: Path, store: Store, world: World) -> None:
    store.close()
    tamper(tmp_path / "store", "meta", b"format", seal("meta", b"format", b"\x01"))
    with pytest.raises(StoreError, match="its format is 1, and this software reads 2: run the version that made it"):
        Store.open(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES)


def test_store_closed_twice_is_closed(store: Store) -> None:
    store.close()
    store.close()


# commit


def test_commit_of_a_block_that_is_there_already_changes_nothing(store: Store, world: World) -> None:
    executions = grow(world, store)
    before = encode_head(store.head())
    store.commit(executions[0], certify(world, executions[0]))
    assert encode_head(store.head()) == before


def test_commit_of_another_block_at_a_final_height_is_refused(store: Store, world: World) -> None:
    other, _ = world.propose()
    grow(world, store, 1)
    with pytest.raises(StoreError, match="another block is final at height 1"):
        store.commit(other, certify(world, other))


def test_commit_of_a_block_that_does_not_follow_is_refused(store: Store, world: World) -> None:
    first, _ = world.propose()
    world.commit(first)
    second, _ = world.propose()
    with pytest.raises(StoreError, match="block 2 does not follow the head 0"):
        store.commit(second, certify(world, second))


@pytest.mark.parametrize(
    ("step", "height", "forged"), [(Step.PREPARE, 1, False), (Step.COMMIT, 2, False), (Step.COMMIT, 1, True)]
)
def test_commit_with_a_certificate_of_something_else_is_refused(
    store: Store,
    world: World,
    step: Step,
    height: int,
    forged: bool,  # noqa: FBT001 - a table
) -> None:
    execution, _ = world.propose()
    digest = bytes(32) if forged else execution.head.digest
    with pytest.raises(StoreError, match="not a commit of block 1"):
        store.commit(execution, build_certificate(step, 0, height, 0, digest, []))
    assert store.head().height == 0


# blocks, receipts, events


def test_find_tx_gives_the_place_and_receipt_proves_it(store: Store, world: World) -> None:
    for execution in grow(world, store):
        for index, raw in enumerate(execution.block.transactions):
            assert store.find_tx(sha256(raw)) == (execution.block.header.height, index)
            receipt = store.receipt(sha256(raw))
            assert receipt is not None
            assert receipt.outcome.code == "ok"
            verify_receipt(receipt, raw, world.genesis)
            assert store.receipts(execution.block.header.height)[index] == receipt


def test_find_tx_of_a_transaction_in_no_block_is_none(store: Store, world: World) -> None:
    grow(world, store)
    assert store.find_tx(bytes(32)) is None
    assert store.receipt(bytes(32)) is None


def test_block_certificate_and_outcomes_of_a_height_are_as_committed(store: Store, world: World) -> None:
    execution = grow(world, store)[1]
    assert store.block(2) == execution.block
    assert store.block_bytes(2) == execution.block.encode()
    assert store.outcomes(2) == execution.outcomes
    certificate = store.certificate(2)
    assert certificate is not None
    assert certificate.signers == ("dispatch",)


def test_block_certificate_and_outcomes_of_no_height_are_none(store: Store, world: World) -> None:
    grow(world, store)
    assert store.block(4) is None
    assert store.block_bytes(4) is None
    assert store.certificate(4) is None
    assert store.outcomes(4) == ()
    assert store.receipts(4) == ()


def test_events_come_in_order_and_resume_anywhere(store: Store, world: World) -> None:
    empty, _ = world.propose()
    store.commit(empty, certify(world, empty))
    world.commit(empty)
    grow(world, store)
    rows = store.events(0, -1, 1000)
    places = [(row.height, row.index) for row in rows]
    assert places == sorted(places)
    assert {row.height for row in rows} == {2, 3, 4}
    assert {"release_submitted", "report_accepted", "verdict_changed"} <= {row.type for row in rows}
    for number in range(len(rows)):
        assert store.events(*places[number], 1000) == rows[number + 1 :]
    assert store.events(0, -1, 2) == rows[:2]
    assert store.events(*places[1], 1) == rows[2:3]
    assert store.events(4, 1000, 10) == []


def test_state_proof_of_every_entry_and_of_none_verifies_with_genesis(store: Store, world: World) -> None:
    grow(world, store)
    for namespace, key in list(world.state.entries)[::5]:
        proof = prover(store, world).state_proof(namespace, key)
        assert proof is not None
        assert proof.value == world.state.entries[namespace, key]
        verify_state_proof(decode_state_proof(proof.encode()), world.genesis)
    absent = prover(store, world).state_proof("membership", b"gateway/nobody")
    assert absent is not None
    assert absent.value is None
    verify_state_proof(decode_state_proof(absent.encode()), world.genesis)


def test_state_proof_before_the_first_block_or_between_store_and_tree_is_none(store: Store, world: World) -> None:
    assert prover(store, world).state_proof("membership", b"gateway/gw-1") is None
    execution, _ = world.propose(world.sign("maker-a", "references", "submit", {"release": release().encode()}))
    store.commit(execution, certify(world, execution))
    assert prover(store, world).state_proof("membership", b"gateway/gw-1") is None
    world.commit(execution)
    assert prover(store, world).state_proof("membership", b"gateway/gw-1") is not None


def test_history_and_consistency_proofs_of_every_pair_verify(store: Store, world: World) -> None:
    executions = grow(world, store, 9)
    for first in executions:
        known = first.block.header
        for second in executions:
            newer = second.block.header.height
            history = prover(store, world).history_proof(known.height, newer)
            consistency = prover(store, world).consistency_proof(known.height, newer)
            assert (history is None) == (known.height >= newer)
            assert (consistency is None) == (known.height > newer)
            if history is not None:
                verify_history_proof(decode_history_proof(history.encode()), world.genesis)
            if consistency is not None:
                verify_consistency_proof(decode_consistency_proof(consistency.encode()), known, world.genesis)


def test_history_proof_of_no_block_is_none(store: Store, world: World) -> None:
    grow(world, store)
    for height, newer in ((0, 2), (1, 4), (4, 5)):
        assert prover(store, world).history_proof(height, newer) is None
        assert prover(store, world).consistency_proof(height, newer) is None


def test_history_that_an_older_store_lacks_is_completed_when_it_is_opened(
    tmp_path: Path, store: Store, world: World
) -> None:
    grow(world, store)
    store.close()
    with (
        lmdb.open(str(tmp_path / "store"), max_dbs=16, map_size=MAP_BYTES) as env,
        env.begin(write=True) as txn,
    ):
        txn.drop(env.open_db(b"history", txn=txn), delete=False)
    with Store.open(tmp_path / "store", world.genesis, map_bytes=MAP_BYTES) as again:
        proof = Prover(again, world.tree).history_proof(1, 3)
        assert proof is not None
        verify_history_proof(proof, world.genesis)
        with pytest.raises(StoreCorruptError, match="node 3 of level 2 of its history is missing"):
            again.history_node(2, 3)


def test_block_that_ends_an_epoch_is_kept_with_the_next_set(store: Store, world: World) -> None:
    grow(world, store, 1)
    following = ValidatorSet((Validator("newcomer", key_of("newcomer").verify_key.encode(), bytes(32)),))
    execution, certificate = ends_epoch(world, following)
    store.commit(execution, certificate, following)
    assert store.epoch_ends(0) == ()
    (end,) = store.epoch_ends(1)
    assert prover(store, world).all_epoch_ends() == (end,)
    assert (end.header, end.certificate, end.validators) == (execution.block.header, certificate, following)
    assert verify_epochs(world.genesis, store.epoch_ends(5)).validators == following


def test_block_that_ends_an_epoch_without_the_set_that_it_names_is_refused(store: Store, world: World) -> None:
    grow(world, store, 1)
    following = ValidatorSet((Validator("newcomer", key_of("newcomer").verify_key.encode(), bytes(32)),))
    execution, certificate = ends_epoch(world, following)
    for given in (None, world.genesis.validator_set()):
        with pytest.raises(StoreError, match="ends an epoch"):
            store.commit(execution, certificate, given)
    assert store.head().height == 1


def test_head_whose_edge_holds_something_else_than_digests_is_refused(world: World) -> None:
    value = cbor.decode_map(encode_head(world.head))
    edge = value["history_edge"]
    assert isinstance(edge, list)
    for more in (b"short", None, 7):
        with pytest.raises(WireError, match="history_edge"):
            decode_head(cbor.encode({**value, "history_edge": [*edge, more]}))


# holds FP-7
def test_store_keeps_fault_proofs_and_their_events_also_when_pruned(store: Store, world: World) -> None:
    raw = fault_proof(world)
    execution = propose_with_proofs(world, raw)
    store.commit(execution, certify(world, execution))
    world.commit(execution)
    assert store.block(1) == execution.block
    assert (store.fault_proofs(1), store.fault_proofs(2)) == ((raw,), ())
    (row,) = store.events(0, -1, 9)
    assert (row.contract, row.height, row.index, row.data["proof"]) == ("faults", 1, 0, raw)
    store.prune(range(1, 2))
    assert store.fault_proofs(1) == (raw,)
    assert store.events(0, -1, 9) == [row]


# holds FP-17
def test_store_keeps_view_changes_of_a_height_also_when_pruned(store: Store, world: World) -> None:
    store.keep_view_changes(2, [b"set of view 1", b"set of view 3"])
    grow(world, store, 3)
    assert (store.view_changes(1), store.view_changes(2)) == ((), (b"set of view 1", b"set of view 3"))
    store.prune(range(1, 3))
    assert store.view_changes(2) == (b"set of view 1", b"set of view 3")
