from __future__ import annotations

from collections.abc import Iterator, Sequence

from master.io.state_cache import CachedState
from master.ledger.state import Write
from master.ledger.tree import bucket_of, leaf_key
from tests.unit.ledger.worlds import MemoryState, World
from wire.types import Digest, sha256

KEYS = (b"a", b"b", b"c")


class Counting:
    """A state that counts how often it is asked, and can be changed while it answers."""

    def __init__(self) -> None:
        self.state = MemoryState([Write("ns", key, key.upper()) for key in KEYS])
        leaf = leaf_key("ns", b"a")
        self.state.leaves = {leaf: sha256(b"A")}
        self.asked: list[object] = []
        self.cache: CachedState | None = None

    def get(self, namespace: str, key: bytes) -> bytes | None:
        self.asked.append(key)
        found = self.state.get(namespace, key)
        self.land()
        return found

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self.state.scan(namespace, prefix)

    def bucket(self, index: int) -> Sequence[tuple[Digest, Digest]]:
        self.asked.append(index)
        found = self.state.bucket(index)
        self.land()
        return found

    def land(self) -> None:
        """Let a block land between the answer and its keeping, once."""
        if self.cache is not None:
            cache, self.cache = self.cache, None
            world = World()
            cache.committed(world.run(world.sign("gw-1", "notary", "put", {"key": "k", "data": b"d"}))[0].execution)


def test_cached_state_asks_once_for_an_entry_that_is_there_or_not() -> None:
    below = Counting()
    cache = CachedState(below)
    for _ in range(3):
        assert cache.get("ns", b"a") == b"A"
        assert cache.get("ns", b"z") is None
    assert below.asked == [b"a", b"z"]
    assert list(cache.scan("ns", b"b")) == [(b"b", b"B")]


def test_cached_state_does_not_look_for_what_the_tree_knows_to_be_missing() -> None:
    below = Counting()
    empty = {bucket_of(leaf_key("ns", b"z"))}
    cache = CachedState(below, empty.__contains__)
    assert (cache.get("ns", b"z"), cache.get("ns", b"a")) == (None, b"A")
    assert below.asked == [b"a"]


def test_cached_state_looks_again_for_what_was_missing_once_a_block_has_landed() -> None:
    below, looked = Counting(), list[int]()
    is_empty = True

    def ask(bucket: int) -> bool:
        looked.append(bucket)
        return is_empty

    cache = CachedState(below, ask)
    assert [cache.get("ns", b"z"), cache.get("ns", b"z")] == [None, None]
    assert len(looked) == 1
    below.state.entries["ns", b"z"] = b"Z"
    is_empty = False
    assert cache.get("ns", b"z") is None
    below.cache = cache
    below.land()
    assert cache.get("ns", b"z") == b"Z"


def test_cached_state_does_not_keep_as_missing_what_a_block_overtook() -> None:
    below = Counting()
    is_empty = True

    def ask(_bucket: int) -> bool:
        found = is_empty
        below.land()
        return found

    cache = CachedState(below, ask)
    below.state.entries["ns", b"z"] = b"Z"
    below.cache = cache
    assert cache.get("ns", b"z") is None
    is_empty = False
    assert cache.get("ns", b"z") == b"Z"


def test_cached_state_keeps_no_more_missing_entries_than_it_may() -> None:
    looked: list[int] = []

    def ask(bucket: int) -> bool:
        looked.append(bucket)
        return True

    cache = CachedState(Counting(), ask, entries_max=1)
    for key in (b"y", b"z", b"z", b"y"):
        assert cache.get("ns", key) is None
    assert len(looked) == 3


def test_cached_state_asks_once_for_a_bucket() -> None:
    below = Counting()
    cache, number = CachedState(below), bucket_of(leaf_key("ns", b"a"))
    for _ in range(3):
        assert list(cache.bucket(number)) == [(leaf_key("ns", b"a"), sha256(b"A"))]
    assert below.asked == [number]


def test_cached_state_keeps_no_more_entries_bytes_and_buckets_than_it_may() -> None:
    below = Counting()
    cache = CachedState(below, entries_max=2, buckets_max=1)
    for key in KEYS:
        cache.get("ns", key)
    cache.get("ns", b"c")
    cache.get("ns", b"a")
    assert below.asked == [b"a", b"b", b"c", b"a"]
    below.asked.clear()
    for number in (1, 2, 2, 1):
        cache.bucket(number)
    assert below.asked == [1, 2, 1]
    below.asked.clear()
    small = CachedState(below, bytes_max=1)
    for key in (b"a", b"b", b"b", b"a"):
        small.get("ns", key)
    assert below.asked == [b"a", b"b", b"a"]


def test_cached_state_keeps_what_is_asked_for_again_and_again() -> None:
    below = Counting()
    cache = CachedState(below, entries_max=4)
    for key in (b"b", b"c", b"x", b"y", b"z"):
        assert cache.get("ns", b"a") == b"A"
        cache.get("ns", key)
    assert below.asked.count(b"a") == 1


def test_cached_state_shows_what_a_block_wrote() -> None:
    world = World()
    cache = CachedState(world.state)
    done = world.run(world.sign("gw-1", "notary", "put", {"key": "k", "data": b"d"}))[0]
    numbers = {bucket_of(key) for key, _ in done.execution.leaves}
    fresh = World()
    cache = CachedState(fresh.state)
    before = {number: cache.bucket(number) for number in numbers}
    assert cache.get("notary", b"gw-1/k") is None
    fresh.commit(done.execution)
    cache.committed(done.execution)
    assert cache.get("notary", b"gw-1/k") == world.state.get("notary", b"gw-1/k")
    assert all(cache.bucket(number) != before[number] for number in numbers)


def test_cached_state_does_not_keep_what_a_block_overtook() -> None:
    below = Counting()
    below.cache = cache = CachedState(below)
    assert cache.get("ns", b"a") == b"A"
    assert cache.get("ns", b"a") == b"A"
    assert below.asked == [b"a", b"a"]
    below.asked.clear()
    below.cache = cache
    for _ in range(2):
        cache.bucket(7)
    assert below.asked == [7, 7]
