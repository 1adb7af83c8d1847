"""View tables in memory: slow, obvious, and the measure for those in a database."""

from __future__ import annotations

from collections.abc import Sequence

from master.ledger.rows import EventRow
from master.views.fold import fold, start_rows
from master.views.ports import START, Page, Position
from master.views.schema import Comparison, Condition, Json, Row, Table
from master.views.table import TABLES
from wire.genesis import Genesis


class MemoryEvents:
    """Implements EventSource over a list."""

    def __init__(self, events: list[EventRow]) -> None:
        self.rows = events
        self.calls = 0

    def events(self, after_height: int, after_index: int, limit: int) -> list[EventRow]:
        self.calls += 1
        return [row for row in self.rows if (row.height, row.index) > (after_height, after_index)][:limit]


class MemoryTables:
    """Implements ViewTables and TablesPort."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self.rows = start_rows(genesis)
        self._position = START

    def position(self) -> Position:
        return self._position

    def apply(self, events: Sequence[EventRow], through: Position) -> None:
        new = [event for event in events if Position(event.height, event.index) > self._position]
        self.rows.update(fold(new, self, self._genesis))
        self._position = max(self._position, through)

    def row(self, table: str, key: str) -> Row | None:
        return self.rows.get((table, key))

    def page(self, table: Table, conditions: Sequence[Condition], after: tuple[Json, ...] | None, limit: int) -> Page:
        rows = [row for (name, _), row in self.rows.items() if name == table.name]
        rows = [row for row in rows if all(_holds(row[one.column], one) for one in conditions)]
        rows.sort(key=lambda row: _place(table, row), reverse=table.newest_first)
        if after is not None:
            rows = [
                row
                for row in rows
                if (_place(table, row) < after if table.newest_first else _place(table, row) > after)
            ]
        return Page(tuple(rows[:limit]), self._position)


def _place(table: Table, row: Row) -> tuple[Json, ...]:
    return tuple(row[name] for name in table.order)


def _holds(value: Json, condition: Condition) -> bool:
    asked = condition.value
    match condition.comparison:
        case Comparison.EQUAL:
            return value == asked
        case Comparison.ONE_OF:
            return isinstance(asked, tuple) and value in asked
        case Comparison.LESS:
            return isinstance(value, int) and isinstance(asked, int) and value < asked
        case Comparison.HOLDS:
            return isinstance(value, list) and asked in [str(entry) for entry in value]
        case Comparison.AT_LEAST:
            return isinstance(value, int) and isinstance(asked, int) and value >= asked


def dump(tables: MemoryTables) -> dict[str, list[Row]]:
    """Return every row of every table in its order."""
    return {name: list(tables.page(table, (), None, 1_000_000).rows) for name, table in TABLES.items()}
