"""Clauses of docs/spec that other folders than wire implement: state tree, sequence numbers, chunks, history."""

from __future__ import annotations

import hashlib

import pytest

from master.ledger.genesis import genesis_root, genesis_writes, leaves_of
from master.ledger.rows import genesis_head, head_after
from master.ledger.sequence import SequenceWindow, decode_window
from master.ledger.state import Write
from master.ledger.tree import BUCKETS, EMPTY_BUCKET, EMPTY_ROOT, StateTree, bucket_digest, bucket_of, leaf_key
from rules.fingerprint import fingerprint
from tests.unit.wire.samples import BLOCK, GENESIS
from wire import cbor
from wire.merkle import EMPTY_HEAD, leaf_digest, tree_head


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def naive_root(leaves: dict[bytes, bytes]) -> bytes:
    """Compute ST-3 to ST-5 from the text of the clauses, whole levels at a time, empty subtrees by their level."""
    level: dict[int, bytes] = {}
    for number in {int.from_bytes(key, "big") >> 236 for key in leaves}:
        pairs = sorted((key, value) for key, value in leaves.items() if int.from_bytes(key, "big") >> 236 == number)
        level[number] = digest(b"\x00" + b"".join(key + value for key, value in pairs))
    empty = bytes(32)
    for _ in range(20):
        parents = {
            number: digest(b"\x01" + level.get(2 * number, empty) + level.get(2 * number + 1, empty))
            for number in {number >> 1 for number in level}
        }
        level, empty = parents, digest(b"\x01" + empty + empty)
    return level.get(0, empty)


# holds ST-1
def test_state_key_is_digest_of_length_namespace_and_key() -> None:
    assert leaf_key("membership", b"key") == digest(b"\x0amembershipkey")
    assert leaf_key("a", b"bc") != leaf_key("ab", b"c")


# holds ST-2
def test_state_leaf_holds_the_digest_of_the_value() -> None:
    value = cbor.encode({"a": 1})
    assert leaves_of([Write("ns", b"k", value), Write("ns", b"gone", None)]) == tuple(
        sorted([(leaf_key("ns", b"k"), digest(value)), (leaf_key("ns", b"gone"), None)])
    )


# holds ST-3
def test_state_bucket_is_named_by_the_first_20_bits() -> None:
    assert BUCKETS == 2**20
    assert bucket_of(bytes.fromhex("abcdef" + "00" * 29)) == 0xABCDE
    assert bucket_of(b"\xff" * 32) == BUCKETS - 1


# holds ST-4
def test_state_bucket_digest_is_over_its_pairs() -> None:
    pairs = [(digest(b"1"), digest(b"a")), (digest(b"2"), digest(b"b"))]
    assert bucket_digest(pairs) == digest(b"\x00" + digest(b"1") + digest(b"a") + digest(b"2") + digest(b"b"))
    assert bucket_digest([]) == EMPTY_BUCKET == bytes(32)


# holds ST-5
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_state_root_is_that_of_the_clauses(count: int) -> None:
    leaves = {digest(bytes((number,))): digest(b"value" + bytes((number,))) for number in range(count)}
    if count:
        first = next(iter(leaves))
        leaves[first[:-1] + bytes((first[-1] ^ 1,))] = digest(b"a neighbour in the same bucket")
    assert StateTree.rebuild(sorted(leaves.items())).root == naive_root(leaves)


# holds ST-5
def test_state_root_of_nothing_and_of_genesis() -> None:
    assert naive_root({}) == EMPTY_ROOT
    writes = genesis_writes(GENESIS)
    leaves = {leaf_key(write.namespace, write.key): digest(write.value or b"") for write in writes}
    assert genesis_root(writes) == naive_root(leaves)


# holds HD-4 HD-8
def test_history_begins_with_the_genesis_digest() -> None:
    head = genesis_head(GENESIS, EMPTY_ROOT)
    assert (head.height, head.digest) == (0, GENESIS.digest())
    assert head.history.head() == tree_head([GENESIS.digest()]) == leaf_digest(GENESIS.digest())
    following = head_after(head, BLOCK)
    assert following.history.head() == tree_head([GENESIS.digest(), BLOCK.header.digest()])


# holds TX-10
def test_sequence_number_is_used_once_within_4096() -> None:
    window = SequenceWindow().use(5000).use(5000 - 4096).use(5001)
    for seq in (5000, 5001, 5000 - 4096):
        assert window.is_used(seq)
        with pytest.raises(ValueError, match="is used up"):
            window.use(seq)
    assert not window.is_used(5002)
    assert not window.is_used(4999)
    assert not window.is_used(5001 - 4096)
    assert window.is_used(5001 - 4097)


# holds TX-10
def test_sequence_window_is_kept_as_highest_and_bits_in_as_few_bytes_as_hold_them() -> None:
    window = SequenceWindow().use(10).use(9).use(7)
    # ..1 for 0, 0 for 1 to 6, 1 for 7, 0 for 8, 1 for 9
    assert window.encode() == cbor.encode({"highest": 10, "window": bytes((0b1111_1110, 0b0000_0101))})
    assert decode_window(window.encode()) == window
    assert SequenceWindow().use(1).use(2).encode() == cbor.encode({"highest": 2, "window": b"\xff"})
    assert SequenceWindow().use(5000).encode() == cbor.encode({"highest": 5000, "window": b"\x00"})


# holds MT-7
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_chunk_root_is_the_head_over_raw_chunks(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    chunks = [data[start : start + 65_536] for start in range(0, size, 65_536)]
    result = fingerprint(data)
    assert (result.size, result.sha256) == (size, digest(data))
    assert result.chunk_root == tree_head(chunks)
    assert size or result.chunk_root == EMPTY_HEAD == digest(b"")
