from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.unit.wire.samples import vectors
from wire.errors import ProofError
from wire.merkle import (
    EMPTY_HEAD,
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_digest,
    node_digest,
    tree_head,
    verify_consistency,
    verify_inclusion,
)

RFC = vectors("merkle_rfc6962.json")
LEAVES = [bytes.fromhex(leaf) for leaf in RFC["leaves"]]
DIGESTS = [leaf_digest(leaf) for leaf in LEAVES]
HEADS = [bytes.fromhex(head) for head in RFC["heads"]]


def path_of(case: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(digest) for digest in case["path"]]


# holds MT-1
def test_merkle_leaf_and_node_digests_are_kept_apart() -> None:
    assert [digest.hex() for digest in DIGESTS] == RFC["leaf_digests"]
    assert leaf_digest(b"ab") == hashlib.sha256(b"\x00ab").digest()
    assert node_digest(DIGESTS[0], DIGESTS[1]) == hashlib.sha256(b"\x01" + DIGESTS[0] + DIGESTS[1]).digest()
    assert leaf_digest(DIGESTS[0] + DIGESTS[1]) != node_digest(DIGESTS[0], DIGESTS[1])


# holds MT-2
@pytest.mark.parametrize("size", range(9))
def test_merkle_rfc6962_head_of_each_size(size: int) -> None:
    assert tree_head(LEAVES[:size]) == HEADS[size]


# holds MT-2
def test_merkle_head_of_no_leaves_is_the_digest_of_nothing() -> None:
    assert hashlib.sha256().digest() == EMPTY_HEAD
    assert tree_head([b""]) != EMPTY_HEAD


# holds MT-3
@pytest.mark.parametrize("case", RFC["inclusion"], ids=lambda case: f"{case['index']} of {case['size']}")
def test_merkle_rfc6962_inclusion_path(case: dict[str, Any]) -> None:
    index, size = case["index"], case["size"]
    assert list(inclusion_path(DIGESTS[:size], index)) == path_of(case)
    verify_inclusion(LEAVES[index], index, size, path_of(case), HEADS[size])


# holds MT-3
@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_merkle_inclusion_path_of_no_leaf_is_an_error(index: int, size: int) -> None:
    with pytest.raises(IndexError, match=f"leaf {index} of {size}"):
        inclusion_path(DIGESTS[:size], index)


# holds MT-4
@pytest.mark.parametrize("case", RFC["inclusion"], ids=lambda case: f"{case['index']} of {case['size']}")
def test_merkle_damaged_inclusion_proof_is_refused(case: dict[str, Any]) -> None:
    index, size, path = case["index"], case["size"], path_of(case)
    leaf, head = LEAVES[index], HEADS[size]
    wrong = [
        (leaf, index - 1, size, path, head),
        (leaf, index + 1, size, path, head),
        (leaf, index ^ 2, size, path, head),
        (leaf, index, size * 2, path, head),
        (leaf, index, size // 2, path, head),
        (b"another leaf", index, size, path, head),
        (leaf, index, size, path, EMPTY_HEAD),
        (leaf, index, size, [*path, b""], head),
        (leaf, index, size, [*path, head], head),
        (leaf, index, size, [head, *path], head),
        *((leaf, index, size, [*path[:at], EMPTY_HEAD, *path[at + 1 :]], head) for at in range(len(path))),
    ]
    if path:
        wrong.append((leaf, index, size, path[:-1], head))
    for arguments in wrong:
        with pytest.raises(ProofError):
            verify_inclusion(*arguments)


# holds MT-4
@pytest.mark.parametrize(
    ("index", "size", "length", "reason"),
    [
        (0, 0, 0, "leaf 0 of 0"),
        (1, 1, 0, "leaf 1 of 1"),
        (-1, 1, 0, "leaf -1 of 1"),
        (0, 2, 0, "too short"),
        (0, 1, 1, "too long"),
        (0, 1 << 64, 65, "with a path of 65"),
    ],
)
def test_merkle_inclusion_proof_of_another_length_is_refused(index: int, size: int, length: int, reason: str) -> None:
    with pytest.raises(ProofError, match=reason):
        verify_inclusion(b"", index, size, [EMPTY_HEAD] * length, DIGESTS[0])


# holds MT-6
def test_merkle_wrong_size_can_pass_and_so_must_be_known() -> None:
    """Trees of 3 and of 4 leaves give leaf 0 paths of one shape: the size is no part of what is proven."""
    path = inclusion_path(DIGESTS[:3], 0)
    verify_inclusion(LEAVES[0], 0, 3, path, HEADS[3])
    verify_inclusion(LEAVES[0], 0, 4, path, HEADS[3])
    with pytest.raises(ProofError):
        verify_inclusion(LEAVES[0], 1, 3, path, HEADS[3])


# holds MT-5
@pytest.mark.parametrize("case", RFC["consistency"], ids=lambda case: f"{case['first']} to {case['second']}")
def test_merkle_rfc6962_consistency_path(case: dict[str, Any]) -> None:
    first, second = case["first"], case["second"]
    assert list(consistency_path(DIGESTS[:second], first)) == path_of(case)
    verify_consistency(first, second, path_of(case), HEADS[first], HEADS[second])


# holds MT-5
@pytest.mark.parametrize(
    "case",
    [case for case in RFC["consistency"] if case["path"]],
    ids=lambda case: f"{case['first']} to {case['second']}",
)
def test_merkle_damaged_consistency_proof_is_refused(case: dict[str, Any]) -> None:
    first, second, path = case["first"], case["second"], path_of(case)
    old, new = HEADS[first], HEADS[second]
    wrong = [
        (first - 1, second, path, old, new),
        (first + 1, second, path, old, new),
        (first ^ 2, second, path, old, new),
        (first, second * 2, path, old, new),
        (first, second // 2, path, old, new),
        (first, second, path, EMPTY_HEAD, new),
        (first, second, path, old, EMPTY_HEAD),
        (first, second, path, new, old),
        (first, second, [], old, new),
        (first, second, path[:-1], old, new),
        (first, second, [*path, EMPTY_HEAD], old, new),
        (first, second, [path[0], *path], old, new),
        *((first, second, [*path[:at], EMPTY_HEAD, *path[at + 1 :]], old, new) for at in range(len(path))),
    ]
    for arguments in wrong:
        with pytest.raises(ProofError):
            verify_consistency(*arguments)


# holds MT-5
@pytest.mark.parametrize(
    ("first", "second", "length", "reason"),
    [
        (0, 1, 0, "0 of 1 leaves"),
        (2, 1, 0, "2 of 1 leaves"),
        (1, 1 << 64, 65, "with a path of 65"),
        (1, 1, 1, "two trees of one size differ"),
        (1, 2, 0, "the path is empty"),
        (1, 2, 2, "too long"),
        (1, 8, 1, "too short"),
    ],
)
def test_merkle_consistency_proof_of_another_shape_is_refused(
    first: int, second: int, length: int, reason: str
) -> None:
    with pytest.raises(ProofError, match=reason):
        verify_consistency(first, second, [EMPTY_HEAD] * length, EMPTY_HEAD, EMPTY_HEAD)


# holds MT-5
def test_merkle_trees_of_one_size_with_different_heads_are_refused() -> None:
    verify_consistency(3, 3, [], HEADS[3], HEADS[3])
    with pytest.raises(ProofError, match="two trees of one size differ"):
        verify_consistency(3, 3, [], HEADS[3], HEADS[4])


# holds MT-5
@pytest.mark.parametrize(("first", "size"), [(0, 3), (4, 3)])
def test_merkle_consistency_path_of_no_prefix_is_an_error(first: int, size: int) -> None:
    with pytest.raises(IndexError, match=f"prefix of {first} leaves of {size}"):
        consistency_path(DIGESTS[:size], first)


# holds MT-2
def test_merkle_frontier_grows_resumes_and_copies() -> None:
    frontier = Frontier()
    for size, digest in enumerate(DIGESTS):
        assert (frontier.size, frontier.head()) == (size, HEADS[size])
        resumed, copy = Frontier(frontier.size, frontier.edge), frontier.copy()
        copy.append(EMPTY_HEAD)
        assert resumed.head() == HEADS[size]
        frontier.append(digest)
    assert frontier.head() == HEADS[8]
    assert len(frontier.edge) == 1


# holds MT-2
@pytest.mark.parametrize(("size", "heads"), [(-1, 0), (0, 1), (3, 1), (4, 2)])
def test_merkle_frontier_that_does_not_fit_its_size_is_refused(size: int, heads: int) -> None:
    with pytest.raises(ProofError, match="do not fit"):
        Frontier(size, [EMPTY_HEAD] * heads)
