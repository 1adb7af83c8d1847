"""The mempool: bounds, fairness, and one transaction per key and counter."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from master.mempool import Mempool, MempoolError
from master.party import Party, party_of
from wire.errors import WireError
from wire.genesis import AccountKey
from wire.tx import SignedTx, Transaction, open_tx

KEYS = {name: SigningKey(name.encode().ljust(32, b"\x01")) for name in ("alpha", "beta", "gamma", "delta")}


def signed(sender: str, seq: int, *, valid_until_ms: int = 1000, filler: int = 0) -> SignedTx:
    tx = Transaction("demo-00000000", sender, "references", 1, "submit", {"x": b"\0" * filler}, seq, valid_until_ms)
    return open_tx(tx.sign(KEYS[sender]))


def add(pool: Mempool, tx: SignedTx, party: Party | None = None) -> bool:
    """Put a transaction into a mempool, on the account of its sender as an organisation if of no other."""
    return pool.add(tx, (tx.tx.sender, False) if party is None else party)


def test_mempool_add_same_transaction_twice_keeps_one() -> None:
    pool, tx = Mempool(), signed("alpha", 1)
    assert add(pool, tx) is True
    assert add(pool, tx) is False
    assert (len(pool), pool.size_bytes, pool.find(tx.id)) == (1, len(tx.raw), tx)


def test_mempool_add_other_transaction_with_same_seq_is_refused() -> None:
    pool = Mempool()
    add(pool, signed("alpha", 1))
    with pytest.raises(MempoolError, match="seq 1 of this key") as refused:
        add(pool, signed("alpha", 1, filler=1))
    assert refused.value.code == "seq-taken"
    assert len(pool) == 1


def test_mempool_oldest_are_bounded_in_number_and_bytes() -> None:
    pool = Mempool()
    added = [signed("beta", 3), signed("alpha", 2), signed("alpha", 1)]
    for tx in added:
        add(pool, tx)
    assert pool.longest_waiting(10, 10**6) == added
    assert pool.longest_waiting(2, 10**6) == added[:2]
    assert pool.longest_waiting(10, len(added[0].raw) + len(added[1].raw)) == added[:2]
    assert pool.longest_waiting(10, len(added[0].raw) - 1) == []


def test_mempool_rival_of_a_committed_transaction_is_found_and_nothing_else() -> None:
    pool, held = Mempool(), signed("alpha", 1)
    assert pool.rivals(held) == []
    add(pool, held)
    assert pool.rivals(signed("alpha", 1, filler=1)) == [held.id]
    assert pool.rivals(held) == []
    assert pool.rivals(signed("alpha", 2)) == []
    assert pool.rivals(signed("beta", 1)) == []


def test_mempool_add_beyond_sender_limit_is_refused_and_others_still_enter() -> None:
    pool = Mempool(per_sender_max=2)
    add(pool, signed("alpha", 1))
    add(pool, signed("alpha", 2))
    with pytest.raises(MempoolError) as refused:
        add(pool, signed("alpha", 3))
    assert refused.value.code == "sender-full"
    assert add(pool, signed("beta", 1)) is True


def test_mempool_add_beyond_byte_limit_is_refused() -> None:
    tx = signed("alpha", 1)
    pool = Mempool(bytes_max=2 * len(tx.raw) - 2)
    add(pool, tx)
    with pytest.raises(MempoolError) as refused:
        add(pool, signed("beta", 1))
    assert refused.value.code == "mempool-full"


def test_mempool_candidates_take_senders_in_turn_by_ascending_seq() -> None:
    pool = Mempool()
    for sender, seq in (("alpha", 9), ("alpha", 2), ("alpha", 5), ("beta", 7)):
        add(pool, signed(sender, seq))
    order = [(entry.tx.sender, entry.tx.seq) for entry in pool.candidates(1 << 20)]
    assert order == [("alpha", 2), ("beta", 7), ("alpha", 5), ("alpha", 9)]


# holds TX-12
def test_mempool_operators_of_an_organisation_count_as_one_and_its_gateways_each() -> None:
    pool, office, field = Mempool(per_sender_max=2), ("grid", False), ("grid", True)
    add(pool, signed("alpha", 1), office)
    add(pool, signed("beta", 1), office)
    with pytest.raises(MempoolError, match="2 transactions of grid and its operators") as refused:
        add(pool, signed("gamma", 1), office)
    assert refused.value.code == "sender-full"
    for sender, seq in (("gamma", 1), ("gamma", 2), ("delta", 1)):
        assert add(pool, signed(sender, seq), field)
    with pytest.raises(MempoolError, match="2 transactions of this gateway"):
        add(pool, signed("gamma", 3), field)
    pool.remove([signed("alpha", 1).id])
    assert add(pool, signed("alpha", 2), office)


# holds TX-12
def test_mempool_no_organisation_holds_more_bytes_than_are_free() -> None:
    size = len(signed("alpha", 1).raw)
    pool = Mempool(bytes_max=6 * size)
    for seq in (1, 2, 3):
        add(pool, signed("alpha", seq), ("grid", True))
    for sender, are_gateways in (("alpha", True), ("beta", True)):
        with pytest.raises(MempoolError, match="of the gateways of grid are pending, more than are free") as refused:
            add(pool, signed(sender, 4), ("grid", are_gateways))
        assert refused.value.code == "sender-full"
    add(pool, signed("gamma", 1), ("grid", False))
    add(pool, signed("delta", 1), ("solar", True))
    with pytest.raises(MempoolError, match="bytes of grid are pending"):
        add(pool, signed("gamma", 2), ("grid", False))


# holds TX-12
def test_mempool_candidates_take_organisations_in_turn_however_many_accounts_they_have() -> None:
    pool = Mempool()
    for sender in ("alpha", "beta", "gamma"):
        for seq in (1, 2):
            add(pool, signed(sender, seq), ("grid", True))
    for seq in (1, 2):
        add(pool, signed("delta", seq), ("solar", False))
    first = [(entry.tx.sender, entry.tx.seq) for entry in pool.candidates(1 << 20)][:4]
    assert first == [("alpha", 1), ("delta", 1), ("beta", 1), ("delta", 2)]
    second = [entry.tx.sender for entry in pool.candidates(1 << 20)][:3]
    assert second == ["delta", "beta", "delta"]


# holds TX-12
def test_account_waits_with_its_organisation_or_with_its_gateways() -> None:
    def of(sender: str) -> Party:
        return party_of(AccountKey(bytes(32), sender, "grid"), {"gw-1", "grid"})

    assert [of(sender) for sender in ("grid", "grid-op", "gw-1")] == [("grid", False), ("grid", False), ("grid", True)]


def test_mempool_candidates_first_sender_moves_to_the_end_of_the_line() -> None:
    pool = Mempool()
    for sender in ("alpha", "beta", "gamma"):
        add(pool, signed(sender, 1))
        add(pool, signed(sender, 2))
    room_for_one = len(signed("alpha", 1).raw) + 1
    served = [pool.candidates(room_for_one)[0].tx.sender for _ in range(4)]
    assert served == ["alpha", "beta", "gamma", "alpha"]


def test_mempool_remove_frees_the_slot_and_ignores_strangers() -> None:
    pool, tx = Mempool(), signed("alpha", 1)
    add(pool, tx)
    pool.remove([tx.id, b"\0" * 32])
    assert (len(pool), pool.size_bytes, pool.candidates(1 << 20)) == (0, 0, [])
    assert add(pool, signed("alpha", 1, filler=1)) is True


def test_mempool_opens_what_waits_without_parsing_it_again() -> None:
    pool, tx = Mempool(), signed("alpha", 1)
    add(pool, tx)
    assert pool.open(tx.raw) is tx
    other = signed("alpha", 2)
    assert pool.open(other.raw) == other
    with pytest.raises(WireError):
        pool.open(b"hello")


def test_mempool_expired_names_only_what_no_later_block_may_hold() -> None:
    pool, old, young = Mempool(), signed("alpha", 1, valid_until_ms=10), signed("alpha", 2, valid_until_ms=11)
    add(pool, old)
    add(pool, young)
    assert pool.expired(10) == [old.id]


@given(st.lists(st.tuples(st.sampled_from(sorted(KEYS)), st.integers(1, 6), st.booleans()), max_size=30))
def test_mempool_any_history_keeps_its_accounts_straight(history: list[tuple[str, int, bool]]) -> None:
    pool = Mempool(per_sender_max=4)
    held: dict[tuple[str, int], SignedTx] = {}
    for sender, seq, is_removal in history:
        tx = signed(sender, seq)
        if is_removal:
            pool.remove([tx.id])
            held.pop((sender, seq), None)
            continue
        with contextlib.suppress(MempoolError):
            add(pool, tx, ("grid", sender < "c"))
            held[sender, seq] = tx
    assert len(pool) == len(held)
    assert pool.size_bytes == sum(len(tx.raw) for tx in held.values())
    assert {tx.id for tx in pool.candidates(1 << 20)} == {tx.id for tx in held.values()}
