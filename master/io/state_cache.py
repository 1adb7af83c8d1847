"""The state entries and buckets that were read last, in memory: most transactions look at the same few."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from master.ledger.rows import Execution
from master.ledger.state import StateReader
from master.ledger.tree import bucket_of, leaf_key
from master.recent import RecentMap
from wire.types import Digest

ENTRIES_MAX: Final = 65_536
ENTRIES_BYTES_MAX: Final = 48 * 1024 * 1024
"""Of the values that are kept; keys have at most 400 bytes each."""
BUCKETS_MAX: Final = 65_536

_Entry = tuple[str, bytes]
_ABSENT: Final = (None,)
"""Tells "not looked up yet" from "looked up, and there is nothing"."""


class CachedState:
    """Implements `StateReader` on another one; may be asked in any thread.

    Args:
        below: The store.
        is_empty: Tells which buckets of the state tree hold no leaf: what is not there costs no look at the disk.
        entries_max: Most entries that are kept, those known to be missing too.
        bytes_max: Most bytes of their values.
        buckets_max: Most buckets that are kept; a bucket has rarely more than ten leaves.
    """

    def __init__(
        self,
        below: StateReader,
        is_empty: Callable[[int], bool] = lambda _: False,
        *,
        entries_max: int = ENTRIES_MAX,
        bytes_max: int = ENTRIES_BYTES_MAX,
        buckets_max: int = BUCKETS_MAX,
    ) -> None:
        self._below = below
        self._is_empty = is_empty
        self._absent_max = entries_max
        self._entries: RecentMap[_Entry, bytes | None] = RecentMap(entries_max, bytes_max)
        self._absent: set[_Entry] = set()
        """Entries whose buckets were empty before the next block."""
        self._buckets: RecentMap[int, tuple[tuple[Digest, Digest], ...]] = RecentMap(buckets_max)
        self._blocks = 0
        self._changing = threading.Lock()

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the canonical CBOR under ``key``, or None."""
        entry, blocks = (namespace, key), self._blocks
        known: bytes | tuple[None] | None = self._entries.young.get(entry, _ABSENT)
        if not isinstance(known, tuple):
            return known
        known = self._entries.old.get(entry, _ABSENT)
        if isinstance(known, tuple):
            if entry in self._absent:
                return None
            if self._is_empty(bucket_of(leaf_key(namespace, key))):
                with self._changing:
                    if blocks == self._blocks and len(self._absent) < self._absent_max:
                        self._absent.add(entry)
                return None
            known = self._below.get(namespace, key)
        with self._changing:
            # what was read before a block landed may be out of date by now
            if blocks == self._blocks:
                self._keep(entry, known)
        return known

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key."""
        return self._below.scan(namespace, prefix)

    def bucket(self, index: int) -> Sequence[tuple[Digest, Digest]]:
        """Return leaf key and value digest of every leaf of a bucket, sorted by leaf key."""
        blocks = self._blocks
        known = self._buckets.young.get(index)
        if known is not None:
            return known
        known = self._buckets.old.get(index)
        pairs = tuple(self._below.bucket(index)) if known is None else known
        with self._changing:
            if blocks == self._blocks:
                self._buckets.put(index, pairs)
        return pairs

    def committed(self, execution: Execution) -> None:
        """Take over what a block changed; call it once the store below and the tree have it."""
        with self._changing:
            self._blocks += 1
            self._absent.clear()
            for write in execution.writes:
                self._keep((write.namespace, write.key), write.value)
            # a bucket is read again when the next block changes it
            for key, _ in execution.leaves:
                self._buckets.drop(bucket_of(key))

    def _keep(self, entry: _Entry, value: bytes | None) -> None:
        before = self._entries.young.get(entry)
        self._entries.put(entry, value, len(value or b"") - len(before or b""))
