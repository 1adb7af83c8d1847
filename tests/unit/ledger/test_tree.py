from __future__ import annotations

import hashlib
import random

import pytest

from master.ledger.tree import (
    BUCKETS,
    DEPTH,
    EMPTY_BUCKET,
    EMPTY_ROOT,
    UNDO_LEVELS,
    StateTree,
    bucket_digest,
    bucket_of,
    leaf_key,
    path_root,
)
from tests.unit.ledger.naive import naive_root
from wire.statetree import node_digest
from wire.types import sha256


def leaves_of(count: int) -> dict[bytes, bytes]:
    return {
        leaf_key("test", bytes((number >> 8, number & 255))): sha256(bytes((number & 255,))) for number in range(count)
    }


def tree_of(leaves: dict[bytes, bytes]) -> StateTree:
    return StateTree.rebuild(sorted(leaves.items()))


def test_leaf_key_binds_namespace_and_key_apart() -> None:
    assert leaf_key("ab", b"c") == hashlib.sha256(b"\x02abc").digest()
    assert leaf_key("ab", b"c") != leaf_key("a", b"bc")


def test_bucket_of_takes_the_first_20_bits() -> None:
    assert bucket_of(bytes(32)) == 0
    assert bucket_of(b"\xff" * 32) == BUCKETS - 1
    assert bucket_of(b"\x00\x00\x1f" + bytes(29)) == 1


def test_bucket_digest_of_nothing_is_zeros_and_of_pairs_is_domain_separated() -> None:
    assert bucket_digest([]) == EMPTY_BUCKET == bytes(32)
    pair = (sha256(b"k"), sha256(b"v"))
    assert bucket_digest([pair]) == hashlib.sha256(b"\x00" + pair[0] + pair[1]).digest()


def test_tree_without_leaves_has_the_root_of_empty_buckets() -> None:
    root = bytes(32)
    for _ in range(DEPTH):
        root = hashlib.sha256(b"\x01" + root + root).digest()
    assert StateTree().root == EMPTY_ROOT == root == naive_root({})


@pytest.mark.parametrize("count", [1, 2, 33, 700])
def test_tree_rebuilt_from_leaves_has_the_naive_root(count: int) -> None:
    leaves = leaves_of(count)
    assert tree_of(leaves).root == naive_root(leaves)


def test_tree_with_two_leaves_in_one_bucket_has_the_naive_root() -> None:
    leaves = {bytes(3) + bytes((number,)) * 29: sha256(bytes((number,))) for number in range(3)}
    assert tree_of(leaves).root == naive_root(leaves)


def test_preview_leaves_the_tree_as_it_is_and_apply_takes_it_over() -> None:
    leaves = leaves_of(50)
    tree, key = tree_of(leaves), leaf_key("test", b"new")
    before = tree.root
    update = tree.preview({bucket_of(key): bucket_digest([(key, sha256(b"new"))])})
    assert tree.root == before == update.base
    tree.apply(update)
    assert tree.root == update.root == naive_root({**leaves, key: sha256(b"new")})


def test_preview_of_neighbouring_buckets_has_the_naive_root() -> None:
    keys = [(number << 4).to_bytes(3, "big") + bytes(29) for number in (6, 7, 8, BUCKETS - 1)]
    leaves = {key: sha256(key) for key in keys}
    update = StateTree().preview({bucket_of(key): bucket_digest([(key, leaves[key])]) for key in keys})
    assert update.root == naive_root(leaves)


def test_preview_of_nothing_keeps_the_root() -> None:
    tree = tree_of(leaves_of(3))
    assert tree.preview({}).root == tree.root
    assert not tree.preview({}).pages
    assert not tree.preview({}).before


def test_apply_of_an_update_of_another_tree_is_refused() -> None:
    update = tree_of(leaves_of(3)).preview({0: sha256(b"bucket")})
    tree = tree_of(leaves_of(4))
    before = tree.root
    with pytest.raises(ValueError, match="another root"):
        tree.apply(update)
    assert tree.root == before


def test_removing_a_leaf_brings_the_earlier_root_back() -> None:
    leaves = leaves_of(20)
    tree, before = tree_of(leaves), tree_of(leaves).root
    tree.apply(tree.preview({5: sha256(b"x")}))
    assert tree.root != before
    tree.apply(tree.preview({5: EMPTY_BUCKET}))
    assert tree.root == before


def test_path_of_a_bucket_leads_to_the_root_and_shows_absence() -> None:
    leaves = leaves_of(40)
    tree = tree_of(leaves)
    for key in leaves:
        index = bucket_of(key)
        assert path_root(index, bucket_digest([(key, leaves[key])]), tree.path(index)) == tree.root
    empty = next(index for index in range(BUCKETS) if index not in {bucket_of(key) for key in leaves})
    assert path_root(empty, EMPTY_BUCKET, tree.path(empty)) == tree.root


def test_path_with_another_bucket_content_leads_elsewhere() -> None:
    tree = tree_of(leaves_of(4))
    assert path_root(0, sha256(b"forged"), tree.path(0)) != tree.root


@pytest.mark.parametrize(("bucket", "length"), [(0, DEPTH - 1), (0, DEPTH + 1), (-1, DEPTH), (BUCKETS, DEPTH)])
def test_path_root_of_an_impossible_path_is_refused(bucket: int, length: int) -> None:
    with pytest.raises(ValueError, match="state tree"):
        path_root(bucket, EMPTY_BUCKET, [bytes(32)] * length)


def test_tree_tells_which_buckets_are_empty() -> None:
    tree, (key, *_) = tree_of(leaves_of(1)), leaves_of(1)
    assert not tree.is_empty(bucket_of(key))
    assert tree.is_empty(bucket_of(key) ^ 1)
    tree.apply(tree.preview({bucket_of(key): EMPTY_BUCKET}))
    assert tree.is_empty(bucket_of(key))
    assert tree.root == EMPTY_ROOT


def test_tree_holds_the_pages_on_the_way_to_its_leaves_alone() -> None:
    (key, *_) = leaves_of(1)
    numbers = [(BUCKETS | bucket_of(key)) >> up for up in range(0, DEPTH + 1, 4)]
    assert sorted(tree_of(leaves_of(1))._pages) == sorted(numbers[1:])
    assert not StateTree()._pages


def test_every_node_is_the_digest_of_its_children() -> None:
    tree = tree_of(leaves_of(300))
    tree.apply(tree.preview({number: sha256(bytes((number,))) for number in range(3, 40, 3)}))
    for bucket in (0, 3, 30, *map(bucket_of, leaves_of(20))):
        for up in range(1, DEPTH + 1):
            number = (BUCKETS | bucket) >> up
            assert tree.node(number) == node_digest(tree.node(2 * number), tree.node(2 * number + 1))


def test_apply_leaves_the_pages_of_before_as_they_were() -> None:
    """Whoever reads a path in another thread meanwhile sees the old nodes or the new ones of a page."""
    tree = tree_of(leaves_of(50))
    before = {number: (page, bytes(page)) for number, page in tree._pages.items()}
    tree.apply(tree.preview({number: sha256(b"new") for number in range(100)}))
    assert all(page == content for page, content in before.values())
    assert tree._pages[1] is not before[1][0]


def test_update_names_the_old_digests_of_the_upper_nodes() -> None:
    leaves = leaves_of(60)
    tree = tree_of(leaves)
    update = tree.preview({5: sha256(b"x"), 1 << 19: sha256(b"y")})
    assert [number for number, _ in update.before] == [
        number for level in range(1, UNDO_LEVELS + 1) for number in (1 << level, (1 << level) + (1 << level - 1))
    ]
    assert all(digest == tree.node(number) for number, digest in update.before)
    assert tree.node(1) == tree.root
    tree.apply(update)
    assert any(digest != tree.node(number) for number, digest in update.before)


def test_past_path_is_the_path_before_the_updates() -> None:
    leaves = leaves_of(300)
    tree, rng = tree_of(leaves), random.Random(3)
    # as the ledger has them: some share the upper bits of what is asked for, one is its neighbour
    asked = bucket_of(next(iter(leaves)))
    old = {bucket_of(key): bucket_digest([(key, value)]) for key, value in leaves.items()}
    paths, buckets, nodes = tree.path(asked), dict[int, bytes](), dict[int, bytes]()
    for _ in range(4):
        changed = {asked ^ 1, asked ^ 2, asked ^ rng.randrange(1 << 12), *rng.sample(range(BUCKETS), 50)}
        update = tree.preview({number: rng.randbytes(32) for number in changed})
        for number in changed:
            if number >> DEPTH - UNDO_LEVELS == asked >> DEPTH - UNDO_LEVELS:
                buckets.setdefault(number, old.get(number, EMPTY_BUCKET))
        for number, digest in update.before:
            nodes.setdefault(number, digest)
        tree.apply(update)
    assert tree.path(asked) != paths
    assert tree.past_path(asked, buckets, nodes) == paths
    assert tree.past_path(asked, {}, nodes) != paths
    assert tree.past_path(asked, buckets, {}) != paths
