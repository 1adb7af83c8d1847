"""An entry of the state that every transaction looks at, not parsed again while it says the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from master.contracts.context import Reads
from master.ledger.call import StateReads
from master.ledger.state import Overlay

T = TypeVar("T")


class ParsedEntry(Generic[T]):
    """What one entry says; may be asked in any thread.

    Args:
        namespace: Of the entry.
        key: Of the entry.
        parse: Reads it, and nothing else, from the state; it must not raise.
    """

    def __init__(self, namespace: str, key: bytes, parse: Callable[[Reads], T]) -> None:
        self._namespace = namespace
        self._key = key
        self._parse = parse
        self._last: tuple[bytes | None, T] | None = None

    def of(self, state: Overlay) -> T:
        """Return what the entry says in ``state``."""
        raw, last = state.get(self._namespace, self._key), self._last
        if last is None or last[0] != raw:
            last = self._last = raw, self._parse(StateReads(state))
        return last[1]
