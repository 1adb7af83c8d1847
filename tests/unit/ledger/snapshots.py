"""Entries of a state, and the parts into which a snapshot of it is cut."""

from __future__ import annotations

from functools import cache

from master.ledger.snapshot import Subtree
from master.ledger.tree import StateTree
from wire.snapshot import SUBTREE_BUCKETS, SUBTREE_LEVEL, SUBTREES, Entry, Part, Place
from wire.statetree import bucket_of
from wire.types import Digest, sha256


@cache
def crowded(number: int = 3) -> tuple[Entry, ...]:
    """Return so many entries of one bucket, and one of the same subtree before and behind it, sorted."""
    found: dict[int, list[Entry]] = {}
    for index in range(200_000):
        entry = Entry("notary", index.to_bytes(4, "big"), sha256(index.to_bytes(4, "big")) * (1 + index % 3))
        found.setdefault(bucket_of(entry.leaf), []).append(entry)
        entries = found[bucket_of(entry.leaf)]
        if len(entries) == number:
            bucket = bucket_of(entry.leaf)
            subtree = [other for other in found if other // SUBTREE_BUCKETS == bucket // SUBTREE_BUCKETS]
            if min(subtree) < bucket < max(subtree):
                chosen = [*entries, found[min(subtree)][0], found[max(subtree)][0]]
                return tuple(sorted(chosen, key=lambda one: one.leaf))
    raise AssertionError("no such bucket")


def pairs_of(entries: tuple[Entry, ...]) -> list[tuple[Digest, Digest]]:
    return [(entry.leaf, sha256(entry.value)) for entry in entries]


def tree_of(entries: tuple[Entry, ...]) -> StateTree:
    return StateTree.rebuild(sorted(pairs_of(entries)))


def cut(entries: tuple[Entry, ...], bytes_max: int) -> tuple[Subtree, list[Part]]:
    """Cut the one subtree in which sorted entries stand into all of its parts."""
    number = bucket_of(entries[0].leaf) // SUBTREE_BUCKETS
    subtree = Subtree(number, pairs_of(entries))
    parts: list[Part] = []
    place = Place()
    while not place.is_end:
        parts.append(subtree.part(place, entries.__getitem__, bytes_max))
        assert parts[-1].start == place
        assert parts[-1].end > place
        place = parts[-1].end
    return subtree, parts


def roots_of(tree: StateTree) -> tuple[Digest, ...]:
    """Return the roots of all subtrees of a state tree: each is the sibling of its neighbour."""
    return tuple(tree.path((number ^ 1) * SUBTREE_BUCKETS)[SUBTREE_LEVEL] for number in range(SUBTREES))
