"""Cuts the state of a snapshot into parts that a message holds (docs/spec, clause SN-3)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from wire.snapshot import PART_ENTRIES_MAX, SUBTREE_BUCKETS, Entry, Part, Place, path_beside, subtree_root
from wire.statetree import EMPTY_BUCKET, bucket_digest, bucket_of
from wire.types import Digest

Pair = tuple[Digest, Digest]
"""Leaf key and value digest."""

_OVERHEAD_BYTES: Final = 32
"""What an entry takes beside its value: framing and name, about."""


class Subtree:
    """The leaves of one subtree.

    Args:
        number: 0..1,023.
        pairs: Of its leaves, sorted by leaf key.
    """

    def __init__(self, number: int, pairs: Sequence[Pair]) -> None:
        self._number = number
        self._pairs = pairs
        base = number * SUBTREE_BUCKETS
        self._buckets = [bucket_of(key) - base for key, _ in pairs]
        digests = [EMPTY_BUCKET] * SUBTREE_BUCKETS
        for bucket, found in groupby(pairs, key=lambda pair: bucket_of(pair[0]) - base):
            digests[bucket] = bucket_digest(list(found))
        self._digests = digests

    @property
    def root(self) -> Digest:
        """Its root."""
        return subtree_root(self._digests)

    def part(self, place: Place, entry: Callable[[int], Entry], bytes_max: int) -> Part:
        """Return the next part.

        Args:
            place: Where it begins, not the end; the bucket has more entries than it names.
            entry: Entry by its number among the leaves.
            bytes_max: About how many bytes of entries; there is at least one entry if any is left.
        """
        buckets, pairs = self._buckets, self._pairs
        low = bisect_left(buckets, place.bucket)
        start = stop = low + place.entries
        taken: list[Entry] = []
        size = 0
        while stop < len(pairs) and len(taken) < PART_ENTRIES_MAX and (not taken or size < bytes_max):
            found = entry(stop)
            size += len(found.key) + len(found.value) + _OVERHEAD_BYTES
            taken.append(found)
            stop += 1
        last, after = SUBTREE_BUCKETS - 1, b""
        if stop < len(pairs):
            last = buckets[stop - 1]
            after = _joined(pairs[stop : bisect_left(buckets, last + 1)])
        inside = range(place.bucket, last + 1)
        return Part(
            self._number,
            place.bucket,
            len(inside),
            _joined(pairs[low:start]),
            tuple(taken),
            after,
            path_beside(self._digests, inside),
        )


def _joined(pairs: Sequence[Pair]) -> bytes:
    return b"".join(key + value for key, value in pairs)
