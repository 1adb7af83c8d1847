from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.errors import ProofError
from wire.merkle import (
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_digest,
    tree_head,
    verify_consistency,
    verify_inclusion,
)

SIZE_MAX = 70
LEAVES = [hashlib.sha256(number.to_bytes(2, "big")).digest()[: number % 33] for number in range(SIZE_MAX)]
DIGESTS = [leaf_digest(leaf) for leaf in LEAVES]


def split(size: int) -> int:
    """Return k of RFC 9162: the largest power of two smaller than ``size``."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def mth(leaves: Sequence[bytes]) -> bytes:
    """Merkle tree hash, RFC 9162, 2.1.1, as it stands there."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Inclusion path, RFC 9162, 2.1.3.1, as it stands there."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """Consistency proof, RFC 9162, 2.1.4.1, as it stands there."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole=whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], whole=False), mth(leaves[:k])]


HEADS = [mth(LEAVES[:size]) for size in range(SIZE_MAX + 1)]


# holds MT-2
def test_merkle_head_of_every_size_is_that_of_the_recursive_definition() -> None:
    frontier = Frontier()
    for size in range(SIZE_MAX + 1):
        assert tree_head(LEAVES[:size]) == HEADS[size]
        assert frontier.head() == HEADS[size]
        if size < SIZE_MAX:
            frontier.append(DIGESTS[size])


# holds MT-3 MT-4
@pytest.mark.parametrize("size", range(1, SIZE_MAX + 1))
def test_merkle_inclusion_of_every_leaf_is_proven_and_at_no_other_place(size: int) -> None:
    for index in range(size):
        proof = inclusion_path(DIGESTS[:size], index)
        assert list(proof) == path(index, LEAVES[:size])
        verify_inclusion(LEAVES[index], index, size, proof, HEADS[size])
        for other in (index - 1, index + 1, size - 1 - index, size):
            if other != index:
                with pytest.raises(ProofError):
                    verify_inclusion(LEAVES[index], other, size, proof, HEADS[size])


# holds MT-5
@pytest.mark.parametrize("size", range(1, SIZE_MAX + 1))
def test_merkle_consistency_of_every_pair_of_sizes_is_proven_and_of_no_other_tree(size: int) -> None:
    for first in range(1, size + 1):
        proof = consistency_path(DIGESTS[:size], first)
        assert list(proof) == subproof(first, LEAVES[:size], whole=True)
        verify_consistency(first, size, proof, HEADS[first], HEADS[size])
        for wrong in ((HEADS[first - 1], HEADS[size]), (HEADS[first], HEADS[size - 1])):
            with pytest.raises(ProofError):
                verify_consistency(first, size, proof, *wrong)


# holds MT-4 MT-5
@settings(max_examples=300)
@given(st.integers(1, SIZE_MAX), st.data())
def test_merkle_proof_with_one_changed_digest_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    checks: tuple[tuple[Sequence[bytes], Callable[[Sequence[bytes]], None]], ...] = (
        (
            inclusion_path(DIGESTS[:size], index),
            lambda path: verify_inclusion(LEAVES[index], index, size, path, HEADS[size]),
        ),
        (
            consistency_path(DIGESTS[:size], index + 1),
            lambda path: verify_consistency(index + 1, size, path, HEADS[index + 1], HEADS[size]),
        ),
    )
    for proof, check in checks:
        if proof:
            changed = [bytearray(digest) for digest in proof]
            changed[data.draw(st.integers(0, len(proof) - 1))][data.draw(st.integers(0, 31))] ^= 1
            with pytest.raises(ProofError):
                check([bytes(digest) for digest in changed])
        with pytest.raises(ProofError):
            check([*proof, HEADS[0]])


# holds MT-4
@settings(max_examples=300)
@given(
    st.binary(max_size=8),
    st.integers(-1, 2**65),
    st.integers(-1, 2**65),
    st.lists(st.binary(min_size=32, max_size=32), max_size=70),
)
def test_merkle_any_made_up_proof_is_refused(leaf: bytes, index: int, size: int, proof: list[bytes]) -> None:
    with pytest.raises(ProofError):
        verify_inclusion(leaf, index, size, proof, HEADS[0])
    with pytest.raises(ProofError):
        verify_consistency(index, size, proof, HEADS[1], HEADS[2])
