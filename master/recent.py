"""The newest of many things, in memory that stops growing as soon as it is full."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class RecentSet(Generic[T]):
    """Remembers what was added last: at least the newest ``count`` entries, at most twice as many.

    Two generations: once the younger is full it takes the place of the older. A dictionary that forgets its oldest
    entry with each new one grows several times long after it has all its entries, since its table keeps the holes.

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
