from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from master.ledger.snapshot import Subtree
from tests.unit.ledger.snapshots import crowded, cut, pairs_of, roots_of, tree_of
from wire import cbor
from wire.errors import ProofError
from wire.snapshot import (
    EMPTY_SUBTREE,
    SUBTREES,
    Entry,
    Part,
    Place,
    part_of_value,
    path_beside,
    subtrees_root,
    verify_part,
)
from wire.statetree import bucket_digest, bucket_of

WHOLE = 1 << 20
TINY = 1
ENTRIES = crowded()
NUMBER = bucket_of(ENTRIES[0].leaf) >> 10


# holds SN-2
def test_snapshot_subtree_roots_lead_to_the_state_root() -> None:
    tree = tree_of(ENTRIES)
    roots = roots_of(tree)
    assert subtrees_root(roots) == tree.root
    assert roots[NUMBER] == Subtree(NUMBER, pairs_of(ENTRIES)).root
    assert set(roots) == {roots[NUMBER], EMPTY_SUBTREE}
    assert Subtree(NUMBER, ()).root == EMPTY_SUBTREE
    assert len(roots) == SUBTREES


# holds SN-3 SN-4
@pytest.mark.parametrize(("bytes_max", "count"), [(WHOLE, 1), (TINY, len(ENTRIES)), (200, 2)])
def test_snapshot_subtree_is_cut_at_any_size_and_each_part_is_proven_alone(bytes_max: int, count: int) -> None:
    subtree, parts = cut(ENTRIES, bytes_max)
    assert len(parts) == count
    assert tuple(entry for part in parts for entry in part.entries) == ENTRIES
    for part in parts:
        verify_part(part, subtree.root)
        raw = cbor.encode(part.to_value())
        assert part_of_value(cbor.decode(raw)) == part


# holds SN-3
def test_snapshot_bucket_larger_than_a_message_is_cut_between_its_entries() -> None:
    _, parts = cut(ENTRIES, TINY)
    cuts = [(len(part.before) // 64, len(part.after) // 64) for part in parts if part.before or part.after]
    assert cuts == [(0, 2), (1, 1), (2, 0)]


def test_snapshot_subtree_without_leaves_is_one_part() -> None:
    part = Subtree(7, ()).part(Place(), ENTRIES.__getitem__, WHOLE)
    verify_part(part, EMPTY_SUBTREE)
    assert (part.entries, part.path, part.end.is_end) == ((), (), True)


def _changed_value(part: Part) -> Part:
    first = part.entries[0]
    return replace(part, entries=(Entry(first.namespace, first.key, first.value + b"!"), *part.entries[1:]))


def _foreign(part: Part) -> Part:
    other = next(
        entry
        for entry in (Entry("notary", bytes((1, index)), b"x") for index in range(256))
        if bucket_of(entry.leaf) >> 10 != part.subtree
    )
    return replace(part, entries=tuple(sorted((*part.entries, other), key=lambda entry: entry.leaf)))


def _fewer_buckets(part: Part) -> Part:
    return replace(part, buckets=part.buckets - 1)


LIES: dict[str, tuple[int, int, Callable[[Part], Part], str]] = {
    "value changed": (WHOLE, 0, _changed_value, "root of its subtree"),
    "entry left out": (WHOLE, 0, lambda part: replace(part, entries=part.entries[1:]), "root of its subtree"),
    "entry added": (WHOLE, 0, _foreign, "outside its buckets"),
    "entry twice": (WHOLE, 0, lambda part: replace(part, entries=(part.entries[0], *part.entries)), "not unique"),
    "order changed": (WHOLE, 0, lambda part: replace(part, entries=part.entries[::-1]), "not sorted"),
    "path too long": (WHOLE, 0, lambda part: replace(part, path=(bytes(32),)), "root of its subtree"),
    "path too short": (TINY, 0, lambda part: replace(part, path=part.path[:-1]), "root of its subtree"),
    "another subtree": (WHOLE, 0, lambda part: replace(part, subtree=part.subtree ^ 1), "outside its buckets"),
    "rest of a bucket hidden": (TINY, 1, lambda part: replace(part, after=b""), "root of its subtree"),
    "start of a bucket hidden": (TINY, 2, lambda part: replace(part, before=b""), "root of its subtree"),
    "entries hidden as pairs": (TINY, 1, lambda part: replace(part, entries=()), "holds no entry"),
}


# holds SN-4
@pytest.mark.parametrize("lie", LIES)
def test_snapshot_part_that_lies_is_refused(lie: str) -> None:
    bytes_max, place, change, reason = LIES[lie]
    subtree, parts = cut(ENTRIES, bytes_max)
    with pytest.raises(ProofError, match=reason):
        verify_part(change(parts[place]), subtree.root)


# holds SN-4
def test_snapshot_part_whose_pairs_are_of_another_bucket_is_refused() -> None:
    subtree, parts = cut(ENTRIES, WHOLE)
    pairs = [key + value for key, value in pairs_of(ENTRIES)]
    hidden = replace(parts[0], before=b"".join(pairs[:2]), entries=ENTRIES[2:])
    with pytest.raises(ProofError, match="of another bucket"):
        verify_part(hidden, subtree.root)
    hidden = replace(parts[0], after=b"".join(pairs[3:]), entries=ENTRIES[:3])
    with pytest.raises(ProofError, match="of another bucket"):
        verify_part(hidden, subtree.root)


# holds SN-4
def test_snapshot_part_is_not_proven_by_another_root() -> None:
    _, parts = cut(ENTRIES, WHOLE)
    with pytest.raises(ProofError, match="root of its subtree"):
        verify_part(parts[0], EMPTY_SUBTREE)


def _digests() -> list[bytes]:
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    for pair in pairs_of(ENTRIES):
        found.setdefault(bucket_of(pair[0]) % 1024, []).append(pair)
    return [bucket_digest(found.get(bucket, ())) for bucket in range(1024)]


def test_snapshot_part_of_two_buckets_that_ends_before_the_second_goes_on_there() -> None:
    subtree, parts = cut(ENTRIES, TINY)
    second = pairs_of(ENTRIES)[1:4]
    part = replace(
        parts[0],
        buckets=bucket_of(ENTRIES[1].leaf) % 1024 + 1,
        after=b"".join(key + value for key, value in second),
        path=path_beside(_digests(), range(bucket_of(ENTRIES[1].leaf) % 1024 + 1)),
    )
    verify_part(part, subtree.root)
    assert part.end == Place(bucket_of(ENTRIES[1].leaf) % 1024, 0)
