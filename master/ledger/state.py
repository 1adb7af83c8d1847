"""State entries: what the store offers, writes, and layers of writes on top of each other."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Protocol

from wire.types import Digest

_KEY: Final = itemgetter(0)


class StateReader(Protocol):
    """The state after one block, as it is kept somewhere."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the canonical CBOR under ``key``, or None."""

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key."""

    def bucket(self, index: int) -> Sequence[tuple[Digest, Digest]]:
        """Return leaf key and value digest of every leaf of a bucket, sorted by leaf key."""


class Entries(Protocol):
    """What an `Overlay` needs of the layer below it."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key."""


@dataclass(frozen=True, slots=True, order=True)
class Write:
    """One changed state entry."""

    namespace: str
    key: bytes
    value: bytes | None
    """Canonical CBOR; None removes the entry."""


class Overlay:
    """Writes that lie on top of a layer without touching it.

    Args:
        below: The store, or another overlay.
    """

    __slots__ = ("_below", "_changes", "_order")

    def __init__(self, below: Entries) -> None:
        self._below = below
        self._changes: dict[str, dict[bytes, bytes | None]] = {}
        self._order: dict[str, list[bytes]] = {}
        """Changed keys of namespaces that were scanned, ascending."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""
        changes = self._changes.get(namespace)
        return self._below.get(namespace, key) if changes is None or key not in changes else changes[key]

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key.

        Changes made after the first entry was taken may or may not show.
        """
        changes = self._changes.get(namespace)
        if changes is None:
            yield from self._below.scan(namespace, prefix)
            return
        changed = self._changed_under(namespace, prefix)
        at = 0
        for key, value in self._below.scan(namespace, prefix):
            while at < len(changed) and changed[at] < key:
                yield from _entry(changes, changed[at])
                at += 1
            if at < len(changed) and changed[at] == key:
                yield from _entry(changes, key)
                at += 1
            else:
                yield key, value
        for key in changed[at:]:
            yield from _entry(changes, key)

    def put(self, namespace: str, key: bytes, value: bytes) -> None:
        """Write the value under ``key``."""
        self._change(namespace, key, value)

    def delete(self, namespace: str, key: bytes) -> None:
        """Remove the value under ``key``, if there is one."""
        self._change(namespace, key, None)

    def absorb(self, above: Overlay) -> None:
        """Take over the changes of an overlay that lies on this one."""
        for namespace, theirs in above._changes.items():
            changes, order = self._changes.setdefault(namespace, {}), self._order.get(namespace)
            if order is not None:
                for key in theirs:
                    if key not in changes:
                        insort(order, key)
            changes.update(theirs)

    def writes(self) -> tuple[Write, ...]:
        """Return what differs from the layer below, sorted by namespace and key."""
        below = self._below.get
        return tuple(
            Write(namespace, key, value)
            for namespace, changes in sorted(self._changes.items(), key=_KEY)
            for key, value in sorted(changes.items(), key=_KEY)
            if value != below(namespace, key)
        )

    def _change(self, namespace: str, key: bytes, value: bytes | None) -> None:
        changes = self._changes.get(namespace)
        if changes is None:
            changes = self._changes[namespace] = {}
        if self._order and key not in changes:
            order = self._order.get(namespace)
            if order is not None:
                insort(order, key)
        changes[key] = value

    def _changed_under(self, namespace: str, prefix: bytes) -> list[bytes]:
        """Return the changed keys that start with ``prefix``, ascending."""
        order = self._order.get(namespace)
        if order is None:
            order = self._order[namespace] = sorted(self._changes[namespace])
        begin = end = bisect_left(order, prefix)
        while end < len(order) and order[end].startswith(prefix):
            end += 1
        return order[begin:end]


def _entry(changes: Mapping[bytes, bytes | None], key: bytes) -> Iterator[tuple[bytes, bytes]]:
    value = changes[key]
    if value is not None:
        yield key, value
