"""What holds for every view and every table, whichever contract it shows."""

from __future__ import annotations

import re

import pytest

from master.contracts.table import CONTRACTS
from master.ledger.faults import NAMESPACE
from master.views.ports import END, Position
from master.views.schema import Kind, Reading, Table, View
from master.views.table import TABLES, VIEWS
from tests.unit.master.views.memory import MemoryTables, dump
from tests.unit.master.views.story import GENESIS, Story

RESERVED = {"after", "limit"}


@pytest.fixture(scope="module")
def rows() -> MemoryTables:
    story, tables = Story(7), MemoryTables(GENESIS)
    while story.height < 50 or not all(dump(tables)[name] for name in TABLES):
        tables.apply(story.block(5), Position(story.height, END))
        assert story.height < 1000
    return tables


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_view_shows_a_contract_of_this_node(view: View) -> None:
    assert view.contract in {NAMESPACE, *(name for name, _ in CONTRACTS)}
    assert view.tables
    assert view.folds


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_table_is_declared_soundly(table: Table) -> None:
    assert re.fullmatch("[a-z_]{1,32}", table.name)
    names = [column.name for column in table.columns] + [entry.column.name for entry in table.derived]
    assert len(set(names)) == len(names)
    key = table.column(table.key)
    assert (key.kind, key.nullable, key.public) == (Kind.TEXT, False, True)
    for name in table.order:
        assert not table.column(name).nullable
        assert table.column(name).kind is not Kind.JSON
    filtered = [column.filtered for column in table.columns if column.filtered is not None]
    assert len(set(filtered)) == len(filtered)
    assert not RESERVED & set(table.filters())
    for column in table.columns:
        assert column.about.endswith(".")
        assert (column.content is not None) == (column.kind is Kind.JSON)
        assert column.filtered is None or column.kind is Kind.TEXT or column.each
        assert not column.each or column.kind is Kind.JSON
    for entry in table.asked:
        assert (entry.column.kind, entry.column.filtered) == (Kind.INTEGER, entry.column.name)
        assert entry.column.about.endswith(".")
    for index in table.indices:
        assert all(not table.column(name).nullable for name in index)
    with pytest.raises(KeyError):
        table.column("nothing")
    with pytest.raises(KeyError):
        table.condition("nothing", "x", Reading(0, 0))


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_table_rows_hold_every_column_as_declared(table: Table, rows: MemoryTables) -> None:
    kinds: dict[Kind, tuple[type, ...]] = {Kind.INTEGER: (int,), Kind.TEXT: (str,), Kind.JSON: (list, dict, int, str)}
    found = dump(rows)[table.name]
    assert found
    for row in found:
        assert set(row) == {column.name for column in table.columns}
        for column in table.columns:
            value = row[column.name]
            assert (value is None and column.nullable) or isinstance(value, kinds[column.kind])
            assert not column.choices or value is None or value in column.choices


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_table_order_is_unique_and_private_columns_stay_private(table: Table, rows: MemoryTables) -> None:
    found = dump(rows)[table.name]
    places = [tuple(str(row[name]) for name in table.order) for row in found]
    assert len(set(places)) == len(places)
    hidden = {column.name for column in table.columns if not column.public}
    properties = table.item_schema()["properties"]
    assert isinstance(properties, dict)
    for row in found:
        shown = table.present(row, Reading(0, 0))
        assert not hidden & set(shown)
        assert set(shown) == set(properties)
