"""What views need from the outside: events to follow and a place for rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from master.views.events import EventRow
from master.views.schema import Row

BEFORE_FIRST: Final = -1
"""Index of a position that stands before the first event of its height."""


class TablesError(Exception):
    """The query tables cannot be read or written just now; the ledger itself is not concerned."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Place in the ledger's events; ordered as the events are."""

    height: int
    index: int
    """Place of an event in its block from 0, or `BEFORE_FIRST`."""


START: Final = Position(0, BEFORE_FIRST)
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
