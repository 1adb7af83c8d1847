"""State entries: what the store offers, writes, and layers of writes on top of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol

from wire.types import Digest


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

    __slots__ = ("_below", "_changes")

    def __init__(self, below: Entries) -> None:
        self._below = below
        self._changes: dict[tuple[str, bytes], bytes | None] = {}

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """Return the value under ``key``, or None."""
        entry = (namespace, key)
        return self._changes[entry] if entry in self._changes else self._below.get(namespace, key)

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key.

        Changes made after the first entry was taken may or may not show.
        """
        changed = sorted(key for name, key in self._changes if name == namespace and key.startswith(prefix))
        at = 0
        for key, value in self._below.scan(namespace, prefix):
            while at < len(changed) and changed[at] < key:
                yield from self._changed(namespace, changed[at])
                at += 1
            if at < len(changed) and changed[at] == key:
                yield from self._changed(namespace, key)
                at += 1
            else:
                yield key, value
        for key in changed[at:]:
            yield from self._changed(namespace, key)

    def put(self, namespace: str, key: bytes, value: bytes) -> None:
        """Write the value under ``key``."""
        self._changes[namespace, key] = value

    def delete(self, namespace: str, key: bytes) -> None:
        """Remove the value under ``key``, if there is one."""
        self._changes[namespace, key] = None

    def absorb(self, above: Overlay) -> None:
        """Take over the changes of an overlay that lies on this one."""
        self._changes.update(above._changes)

    def writes(self) -> tuple[Write, ...]:
        """Return what differs from the layer below, sorted by namespace and key."""
        below = self._below.get
        return tuple(
            Write(namespace, key, value)
            for (namespace, key), value in sorted(self._changes.items(), key=itemgetter(0))
            if value != below(namespace, key)
        )

    def _changed(self, namespace: str, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        value = self._changes[namespace, key]
        if value is not None:
            yield key, value
