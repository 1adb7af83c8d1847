"""The newest of many things, in memory that stops growing as soon as it is full.

Two generations: once the younger is full it takes the place of the older, which is forgotten as a whole. A dictionary
that forgets its oldest entry with each new one grows several times long after it has all its entries, since its table
keeps the holes, and looks through them for the oldest each time.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")
V = TypeVar("V")


class RecentSet(Generic[T]):
    """Remembers what was added last: at least the newest ``count`` entries, at most twice as many.

    Args:
        count: Entries of a generation, at least 1.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._young: set[T] = set()
        self._old: set[T] = set()

    def __contains__(self, entry: T) -> bool:
        """Tell whether the entry is remembered."""
        return entry in self._young or entry in self._old

    def add(self, entry: T) -> None:
        """Remember an entry."""
        if len(self._young) >= self._count:
            self._young, self._old = set(), self._young
        self._young.add(entry)


class RecentMap(Generic[T, V]):
    """Remembers the values that were put last, within bounds; whoever asks looks into ``young``, then into ``old``.

    Args:
        count: Most entries.
        bytes_max: Most bytes of their values, as far as one value is small beside them; None: any.
    """

    def __init__(self, count: int, bytes_max: int | None = None) -> None:
        self._count = max(1, count // 2)
        self._bytes_max = None if bytes_max is None else bytes_max // 2
        self._bytes = 0
        self.young: dict[T, V] = {}
        self.old: dict[T, V] = {}
        """An entry that stands in both counts as ``young`` has it."""

    def put(self, key: T, value: V, more_bytes: int = 0) -> None:
        """Remember a value; ``more_bytes`` is by how much it is larger than the one that ``young`` has of the key."""
        self.young[key] = value
        self._bytes += more_bytes
        if len(self.young) >= self._count or (self._bytes_max is not None and self._bytes > self._bytes_max):
            # in this order: who looks from another thread meanwhile never finds an older value than the last
            self.old = self.young
            self.young = {}
            self._bytes = 0

    def drop(self, key: T) -> None:
        """Forget a value, if it is remembered."""
        self.young.pop(key, None)
        self.old.pop(key, None)
