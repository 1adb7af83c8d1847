"""Turns events into row changes, view by view, and keeps tables at the ledger's head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from master.ledger.rows import EventRow
from master.views.ports import END, EventSource, Position, ViewTables
from master.views.schema import Put, Row, Rows
from master.views.table import TABLES, VIEWS

if TYPE_CHECKING:
    from wire.genesis import Genesis

PAGE_EVENTS: Final = 1000
"""Events that are read and applied at once."""


class _Overlay:
    """Rows as they stand after the changes so far."""

    def __init__(self, below: Rows | None) -> None:
        self._below = below
        self.changed: dict[tuple[str, str], Row] = {}

    def row(self, table: str, key: str) -> Row | None:
        row = self.changed.get((table, key))
        return row if row is not None or self._below is None else self._below.row(table, key)

    def put(self, changes: Iterable[Put]) -> None:
        for change in tuple(changes):
            key = change.row[TABLES[change.table].key]
            assert isinstance(key, str)  # a key column is text, not nullable
            self.changed[change.table, key] = change.row


def start_rows(genesis: Genesis) -> dict[tuple[str, str], Row]:
    """Return the rows by (table, key) before the first block."""
    overlay = _Overlay(None)
    for view in VIEWS.values():
        overlay.put(view.start(genesis))
    return overlay.changed


def fold(events: Iterable[EventRow], rows: Rows, genesis: Genesis) -> dict[tuple[str, str], Row]:
    """Return the rows by (table, key) that ``events`` change.

    Args:
        events: In their order; those that no view knows change nothing.
        rows: As they stand before the first event.
        genesis: The ledger's genesis.

    Raises:
        ViewError: An event's data is not what its contract promises.
    """
    overlay = _Overlay(rows)
    for event in events:
        view = VIEWS.get(event.contract)
        step = None if view is None else view.folds.get(event.type)
        if step is not None:
            overlay.put(step(event, overlay, genesis))
    return overlay.changed


def catch_up(source: EventSource, tables: ViewTables, head_height: int) -> Position:
    """Apply every event that the tables do not have yet; blocking, for a worker thread.

    Args:
        source: The ledger.
        tables: What to bring up to date.
        head_height: Height of a block that ``source`` already has; with later blocks in it, more
            may be applied.

    Returns:
        The position of the tables: at or after the end of block ``head_height``.

    Raises:
        TablesError: The tables keep what was applied so far; call again.
        ViewError: An event's data is not what its contract promises.
    """
    at = tables.position()
    while True:
        page = source.events(*at.before_next(), PAGE_EVENTS)
        complete = len(page) < PAGE_EVENTS
        taken = page if complete else _whole_blocks(page)
        if complete:
            newest = taken[-1].height if taken else 0
            through = max(at, Position(max(newest, head_height), END))
        else:
            whole = len(taken) < len(page)
            through = Position(taken[-1].height, END if whole else taken[-1].index)
        tables.apply(taken, through)
        at = through
        if complete:
            return at


def _whole_blocks(page: Sequence[EventRow]) -> Sequence[EventRow]:
    """Leave out the last block of a full page, which may be cut, unless there is no other."""
    last = page[-1].height
    whole = [event for event in page if event.height < last]
    return whole or page
