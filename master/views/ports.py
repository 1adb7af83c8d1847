"""What views need from the outside: events to follow and a place for rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from master.ledger.rows import EventRow
from master.views.schema import Row

END: Final = 2**31 - 1
"""Index of a position that stands behind every event of its height."""


class TablesError(Exception):
    """The query tables cannot be read or written just now; the ledger itself is not concerned."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Place in the ledger's events; ordered as the events are."""

    height: int
    index: int
    """Place of an event in its block from 0, or `END`."""

    @property
    def complete_height(self) -> int:
        """Newest height all of whose events stand at or before this place."""
        return self.height if self.index == END else self.height - 1

    def before_next(self) -> tuple[int, int]:
        """Return (height, index) for `EventSource.events`, so that no finished block is read."""
        return (self.height + 1, -1) if self.index == END else (self.height, self.index)


START: Final = Position(0, END)
"""Nothing but the genesis file was applied."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one list answer."""

    rows: tuple[Row, ...]
    position: Position
    """Events up to here are in the rows, and possibly later ones."""


class EventSource(Protocol):
    """The ledger's events in their order."""

    def events(self, after_height: int, after_index: int, limit: int) -> Sequence[EventRow]:
        """Return at most ``limit`` events that stand after (after_height, after_index)."""
        ...


class ViewTables(Protocol):
    """Rows of all views with the position up to which events are in them."""

    def position(self) -> Position:
        """Return the place up to which events are applied."""
        ...

    def apply(self, events: Sequence[EventRow], through: Position) -> None:
        """Apply events and move to ``through``, both or neither.

        Args:
            events: In order, without gaps after the present position; those at or before it are
                passed over, so that a repeated call changes nothing.
            through: At or after the last event.

        Raises:
            TablesError: Nothing was changed.
        """
        ...
