"""Proofs at recent heights: what the store keeps of them, for how long, and what becomes of it when it is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import lmdb
import pytest

from master.io.store import Store
from master.io.store_records import StoreCorruptError, seal, unseal
from master.io.store_tools import Damage, Fsck
from master.io.store_undo import LEAVES, NODES, VALUES, pack_leaves, pack_nodes
from master.ledger.proofs import Prover
from master.ledger.undo import KEPT_BLOCKS, HeightNotKeptError
from tests.unit.store.chains import MAP_BYTES, NAMESPACE, Chain, keys
from wire.errors import ProofError
from wire.stateproof import check_state, decode_state_proof, verify_state_proof


@pytest.fixture
def chain() -> Chain:
    return Chain(Random(7))


@pytest.fixture
def store(tmp_path: Path, chain: Chain) -> Iterator[Store]:
    with Store.create(tmp_path / "store", chain.genesis, map_bytes=MAP_BYTES) as made:
        yield made


def check_all(chain: Chain, store: Store, heights: range) -> int:
    """Prove every key at every height against the model; return how many entries were there."""
    prover, present = Prover(store, chain.tree), 0
    assert store.past_heights() == heights
    for height in heights:
        header = chain.headers[height]
        assert header is not None
        for key in (*keys(), b"never"):
            proof = prover.state_proof(NAMESPACE, key, height)
            assert proof is not None
            assert proof.value == chain.model[height].get(key)
            assert proof.final.header == header
            check_state(proof, header.state_root)
            present += proof.value is not None
        assert proof is not None
        verify_state_proof(decode_state_proof(proof.encode()), chain.genesis)
    return present


# holds UN-1 UN-2
@pytest.mark.parametrize("blocks", [1, 2, 63, 64, 65, 66, 80])
def test_state_at_each_recent_height_is_proven_and_equals_the_model(store: Store, chain: Chain, blocks: int) -> None:
    chain.grow(store, blocks)
    assert check_all(chain, store, range(max(1, blocks - KEPT_BLOCKS), blocks + 1)) > 0


# holds UN-2
def test_undo_is_bounded_and_old_records_are_given_up(store: Store, chain: Chain) -> None:
    chain.grow(store, KEPT_BLOCKS + 7)
    held = [(int.from_bytes(key[:8], "big"), key[8]) for key, _ in store.raw_records("undo")]
    assert held == [(height, part) for height in range(8, KEPT_BLOCKS + 8) for part in (LEAVES, NODES, VALUES)]


# holds UN-3
def test_state_at_another_height_is_refused_with_the_heights_that_can_be_had(store: Store, chain: Chain) -> None:
    chain.grow(store, 70)
    prover = Prover(store, chain.tree)
    for height in (-1, 0, 1, 5, 71, 2**62):
        with pytest.raises(HeightNotKeptError, match=rf"state of height {height} here; heights 6 to 70 can be had"):
            prover.state_proof(NAMESPACE, keys()[0], height)
    assert prover.state_proof(NAMESPACE, keys()[0], 6) is not None


# holds UN-3
def test_state_before_the_first_block_is_refused_at_every_height(store: Store, chain: Chain) -> None:
    assert store.past_heights() == range(0)
    for height in (0, 1):
        with pytest.raises(HeightNotKeptError, match="there is no block yet"):
            Prover(store, chain.tree).state_proof(NAMESPACE, keys()[0], height)


def test_proof_of_one_height_does_not_pass_for_another(store: Store, chain: Chain) -> None:
    chain.grow(store, 30)
    prover, refused = Prover(store, chain.tree), 0
    for height in range(2, 31):
        before, after = chain.headers[height - 1], chain.headers[height]
        assert before is not None
        assert after is not None
        proof = prover.state_proof(NAMESPACE, keys()[0], height)
        assert proof is not None
        if before.state_root != after.state_root:
            with pytest.raises(ProofError):
                check_state(proof, before.state_root)
            refused += 1
    assert refused > 10


def test_recent_heights_are_still_proven_by_a_store_that_was_reopened(
    tmp_path: Path, store: Store, chain: Chain
) -> None:
    chain.grow(store, 20)
    store.close()
    with Store.open(tmp_path / "store", chain.genesis, map_bytes=MAP_BYTES) as again:
        chain.tree = again.state_tree()
        check_all(chain, again, range(1, 21))


def test_store_that_was_made_before_there_was_undo_proves_from_its_next_blocks_on(
    tmp_path: Path, store: Store, chain: Chain
) -> None:
    chain.grow(store, 10)
    store.close()
    change(tmp_path / "store", None, None)
    with Store.open(tmp_path / "store", chain.genesis, map_bytes=MAP_BYTES) as again:
        check_all(chain, again, range(10, 11))
        assert again.past_entry(NAMESPACE, keys()[0], 9) is None
        chain.grow(again, 3)
        check_all(chain, again, range(10, 14))


def test_undo_of_another_past_is_given_up(tmp_path: Path, store: Store, chain: Chain) -> None:
    chain.grow(store, 10)
    store.close()
    # as when the state of a later height was put in its place: the newest record is not that of the block before
    change(tmp_path / "store", key_of(10, VALUES), None)
    change(tmp_path / "store", key_of(10, NODES), None)
    change(tmp_path / "store", key_of(10, LEAVES), None)
    with Store.open(tmp_path / "store", chain.genesis, map_bytes=MAP_BYTES) as again:
        chain.grow(again, 2)
        check_all(chain, again, range(10, 13))


def test_height_whose_undo_goes_while_it_is_proven_is_tried_again(store: Store, chain: Chain) -> None:
    chain.grow(store, 70)
    prover = Prover(store, chain.tree)

    class Late:
        """The store as it was when the question came, then as it is."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def past_heights(self) -> range:
            return range(1, 71)

    prover._source = Late()  # type: ignore[assignment]
    assert prover.state_proof(NAMESPACE, keys()[0], 3) is None


def test_tree_that_is_ahead_of_the_store_gives_no_proof(store: Store, chain: Chain) -> None:
    chain.grow(store, 5)
    while chain.next().tree_update.root == store.head().state_root:
        pass
    assert Prover(store, chain.tree).state_proof(NAMESPACE, b"never", 3) is None


# damage


def key_of(height: int, part: int) -> bytes:
    return height.to_bytes(8, "big") + bytes((part,))


def change(path: Path, key: bytes | None, content: bytes | None) -> None:
    """Replace or remove a record of the undo, or remove all of them."""
    with lmdb.open(str(path), max_dbs=16, map_size=MAP_BYTES) as env, env.begin(write=True) as txn:
        table = env.open_db(b"undo", txn=txn)
        if key is None:
            txn.drop(table, delete=False)
        elif content is None:
            assert txn.delete(key, db=table)
        else:
            txn.put(key, content, db=table)


# holds UN-4
@pytest.mark.parametrize("part", [LEAVES, NODES, VALUES])
def test_undo_that_is_missing_or_damaged_is_found(tmp_path: Path, store: Store, chain: Chain, part: int) -> None:
    chain.grow(store, 30, changes_max=len(keys()))
    store.close()
    for content, problem in ((seal("undo", key_of(1, part), b""), "is damaged"), (None, "is missing")):
        change(tmp_path / "store", key_of(20, part), content)
        with Store.open(tmp_path / "store", chain.genesis, map_bytes=MAP_BYTES) as again:
            prover = Prover(again, chain.tree)
            changed = next(key for key in keys() if chain.model[20].get(key) != chain.model[19].get(key))
            with pytest.raises(StoreCorruptError, match=problem):
                prover.state_proof(NAMESPACE, changed, 19)
            assert prover.state_proof(NAMESPACE, changed, 20) is not None


# holds UN-4
def test_undo_that_lies_with_the_right_checksum_makes_no_proof(tmp_path: Path, store: Store, chain: Chain) -> None:
    chain.grow(store, 30, changes_max=len(keys()))
    store.close()
    changed = next(key for key in keys() if chain.model[30].get(key) != chain.model[29].get(key))
    for part, content in ((LEAVES, pack_leaves(())), (NODES, pack_nodes([(2, bytes(32)), (3, bytes(32))]))):
        change(tmp_path / "store", key_of(30, part), seal("undo", key_of(30, part), content))
        with Store.open(tmp_path / "store", chain.genesis, map_bytes=MAP_BYTES) as again:
            prover = Prover(again, chain.tree)
            assert prover.state_proof(NAMESPACE, changed, 29) is None
            assert prover.state_proof(NAMESPACE, changed, 30) is not None


def damages(path: Path, chain: Chain) -> list[Damage]:
    with Store.open(path, chain.genesis, map_bytes=MAP_BYTES) as store:
        return Fsck(store, chain.genesis, lambda _: None).run()


# holds UN-4
@pytest.mark.parametrize("blocks", [0, 1, 5, 70])
def test_fsck_of_a_whole_undo_finds_nothing(tmp_path: Path, store: Store, chain: Chain, blocks: int) -> None:
    chain.grow(store, blocks)
    store.close()
    assert damages(tmp_path / "store", chain) == []


def edited(path: Path, key: bytes, content: Callable[[bytes], bytes]) -> bytes:
    """Return the record with other content and a checksum that holds."""
    with lmdb.open(str(path), max_dbs=16, map_size=MAP_BYTES) as env, env.begin(db=env.open_db(b"undo")) as txn:
        return seal("undo", key, content(unseal("undo", key, bytes(txn.get(key) or b""))))


# holds UN-4
@pytest.mark.parametrize(
    ("part", "edit", "problem"),
    [
        (LEAVES, lambda raw: raw[64:], "it does not lead to the state root of block 69"),
        (
            LEAVES,
            lambda raw: raw[:32] + bytes(31) + b"\x01" + raw[64:],
            "it does not lead to the state root of block 69",
        ),
        (NODES, lambda raw: raw[34:], "its nodes are not those of the state tree of block 69"),
        (NODES, lambda raw: raw[:2] + bytes(32) + raw[34:], "its nodes are not those of the state tree of block 69"),
        (VALUES, lambda _: b"", "its values are not those of the leaves of block 69"),
        (VALUES, lambda raw: raw[:-1] + bytes((raw[-1] ^ 1,)), "is damaged"),
        (VALUES, None, "part 2 of the undo of block 70 is missing"),
        (None, None, "the newest undo is not that of the newest block"),
    ],
)
def test_fsck_finds_an_undo_that_is_wrong_though_its_checksum_holds(
    tmp_path: Path,
    store: Store,
    chain: Chain,
    part: int | None,
    edit: Callable[[bytes], bytes] | None,
    problem: str,
) -> None:
    chain.grow(store, 70, changes_max=len(keys()))
    store.close()
    path, key = tmp_path / "store", key_of(70, part or 0)
    for removed in range(3) if part is None else ():
        change(path, key_of(70, removed), None)
    if part is not None:
        change(path, key, None if edit is None else edited(path, key, edit))
    (damage,) = damages(path, chain)
    assert (damage.table, damage.key) == ("undo", "69" if part is None else "70")
    assert problem in damage.problem


# holds UN-4
def test_fsck_finds_a_flipped_bit_in_an_undo(tmp_path: Path, store: Store, chain: Chain) -> None:
    chain.grow(store, 5)
    store.close()
    change(tmp_path / "store", key_of(3, NODES), seal("undo", key_of(4, NODES), b""))
    found = damages(tmp_path / "store", chain)
    assert Damage("undo", key_of(3, NODES).hex(), "its checksum does not hold") in found
