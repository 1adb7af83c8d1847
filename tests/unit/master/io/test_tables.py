"""Query tables in SQLite; statements for PostgreSQL are compiled, not run."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from master.io import tables as module
from master.io.tables import Tables
from master.views.alarms import ALARMS
from master.views.consistency import DEVICES
from master.views.events import ViewError
from master.views.fold import catch_up
from master.views.ports import END, START, Position, TablesError
from master.views.schema import Condition, Reading, Row
from master.views.table import TABLES
from tests.unit.master.views.memory import MemoryEvents, MemoryTables, dump
from tests.unit.master.views.story import GENESIS, START_MS, Story, verdict_data


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'views.db'}"


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    found = Tables(url_of(tmp_path), GENESIS)
    yield found
    found.close()


def everything(tables: Tables) -> dict[str, list[Row]]:
    return {name: list(tables.page(table, (), None, 1000).rows) for name, table in TABLES.items()}


def told(blocks: int, seed: int = 0) -> Story:
    story = Story(seed)
    for _ in range(blocks):
        story.block(4)
    return story


@cache
def full_story() -> Story:
    """Tell until every table has more than five rows, whatever tables there are."""
    story, memory = Story(4), MemoryTables(GENESIS)
    counts: Counter[str] = Counter()
    while min(counts[name] for name in TABLES) <= 5:
        memory.apply(story.block(4), Position(story.height, END))
        counts = Counter(table for table, _ in memory.rows)
        assert story.height < 1000
    return story


def test_tables_new_hold_the_rows_of_the_genesis_file(tables: Tables) -> None:
    assert tables.position() == START
    assert everything(tables) == dump(MemoryTables(GENESIS))


def test_tables_after_events_equal_those_in_memory(tables: Tables) -> None:
    story, memory = told(40), MemoryTables(GENESIS)
    catch_up(MemoryEvents(story.events), tables, story.height)
    catch_up(MemoryEvents(story.events), memory, story.height)
    assert everything(tables) == dump(memory)


def test_tables_opened_again_resume_where_they_stood(tmp_path: Path) -> None:
    story = told(10)
    first = Tables(url_of(tmp_path), GENESIS)
    catch_up(MemoryEvents(story.events), first, story.height)
    before = everything(first)
    first.close()
    second = Tables(url_of(tmp_path), GENESIS)
    assert second.position() == Position(10, END)
    assert everything(second) == before
    story.block(5)
    source = MemoryEvents(story.events)
    catch_up(source, second, story.height)
    assert source.calls == 1
    assert second.position() == Position(11, END)
    second.close()


@pytest.mark.parametrize("change", ["genesis", "version"])
def test_tables_of_another_ledger_or_form_start_anew(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = told(5)
    first = Tables(url_of(tmp_path), GENESIS)
    catch_up(MemoryEvents(story.events), first, story.height)
    first.close()
    genesis = replace(GENESIS, devices=GENESIS.devices[:2]) if change == "genesis" else GENESIS
    if change == "version":
        monkeypatch.setattr(module, "VERSION", 999)
    second = Tables(url_of(tmp_path), genesis)
    assert second.position() == START
    assert everything(second) == dump(MemoryTables(genesis))
    second.close()


def test_tables_foreign_table_beside_ours_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "views.db") as other:
        other.execute("CREATE TABLE notes (content TEXT)")
        other.execute("CREATE TABLE view_old (content TEXT)")
    other.close()
    tables = Tables(url_of(tmp_path), GENESIS)
    names = sa.inspect(tables._engine).get_table_names()
    assert "notes" in names
    assert "view_old" not in names
    tables.close()


def test_rebuild_then_follow_equals_before(tables: Tables) -> None:
    story = told(20)
    source = MemoryEvents(story.events)
    catch_up(source, tables, story.height)
    before = everything(tables)
    tables.rebuild()
    assert everything(tables) == dump(MemoryTables(GENESIS))
    catch_up(source, tables, story.height)
    assert everything(tables) == before


def test_apply_same_block_again_changes_nothing(tables: Tables) -> None:
    story = told(3)
    tables.apply(story.events, Position(3, END))
    before = everything(tables)
    tables.apply(story.events, Position(3, END))
    tables.apply(story.events[:2], Position(1, END))
    assert everything(tables) == before
    assert tables.position() == Position(3, END)


def test_apply_broken_event_leaves_rows_and_position(tables: Tables) -> None:
    story = told(2)
    tables.apply(story.events, Position(2, END))
    before = everything(tables)
    good = story.row("consistency", "verdict_changed", "x", verdict_data("sps-01", {"firmware": "mismatch"}))
    bad = story.row("consistency", "verdict_changed", "x", verdict_data("sps-99", {}))
    with pytest.raises(ViewError, match="sps-99"):
        tables.apply([good, bad], Position(4, END))
    assert everything(tables) == before
    assert tables.position() == Position(2, END)
    tables.apply([good], Position(3, END))
    row = tables.row("devices", "sps-01")
    assert row is not None
    assert row["verdicts"] == {"firmware": "mismatch"}


def test_apply_failed_write_leaves_rows_and_position_and_later_works(tables: Tables) -> None:
    story = told(1)
    with sqlite3.connect(tables._engine.url.database or "") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON view_meta BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        with pytest.raises(TablesError, match="cannot write: disk full"):
            tables.apply(story.events, Position(1, END))
        assert tables.position() == START
        assert everything(tables) == dump(MemoryTables(GENESIS))
        other.execute("DROP TRIGGER full")
    other.close()
    tables.apply(story.events, Position(1, END))
    memory = MemoryTables(GENESIS)
    memory.apply(story.events, Position(1, END))
    assert everything(tables) == dump(memory)


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
@pytest.mark.parametrize("name", list(TABLES))
def test_page_walk_covers_every_row_once_in_order(tables: Tables, name: str, limit: int) -> None:
    story, table = full_story(), TABLES[name]
    catch_up(MemoryEvents(story.events), tables, story.height)
    found: list[Row] = []
    after = None
    while rows := tables.page(table, (), after, limit).rows:
        assert len(rows) <= limit
        found += rows
        after = tuple(rows[-1][part] for part in table.order)
    memory = MemoryTables(GENESIS)
    catch_up(MemoryEvents(story.events), memory, story.height)
    assert found == dump(memory)[name]
    assert len(found) > 5


def test_page_rows_that_come_in_between_are_neither_doubled_nor_in_the_way(tables: Tables) -> None:
    story = told(40, seed=6)
    catch_up(MemoryEvents(story.events), tables, story.height)
    before = [row["alarm_id"] for row in tables.page(ALARMS, (), None, 1000).rows]
    first = tables.page(ALARMS, (), None, 3).rows
    for _ in range(40):
        story.block(4)
    catch_up(MemoryEvents(story.events), tables, story.height)
    after = tuple(first[-1][part] for part in ALARMS.order)
    rest = tables.page(ALARMS, (), after, 1000).rows
    assert [row["alarm_id"] for row in (*first, *rest)] == before


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("devices", "gateway", "gw-2"),
        ("devices", "area", "west"),
        ("devices", "state", "alarm"),
        ("devices", "state", "stale"),
        ("alarms", "cause", "misfilled"),
        ("alarms", "state", "returned"),
        ("alarms", "device", "sps-03"),
        ("alarms", "station", "station-1"),
        ("references", "status", "superseded"),
        ("references", "target", "SC-0"),
        ("references", "target", "nothing"),
        ("models", "region", "north-area"),
        ("models", "reason", "monthly"),
        ("models", "equipment", "line/1"),
        ("models", "equipment", "nothing"),
        ("models", "voltage_v", "380000"),
        ("models", "as_of_ms", str(START_MS + 1_000_000)),
        ("models", "from_ms", str(START_MS + 1_000_000)),
        ("models", "to_ms", str(START_MS + 1_000_000)),
        ("models", "to_ms", "0"),
    ],
)
def test_page_filter_equals_that_in_memory(tables: Tables, name: str, parameter: str, value: str) -> None:
    story, table, memory = told(200, seed=12), TABLES[name], MemoryTables(GENESIS)
    for target in (tables, memory):
        catch_up(MemoryEvents(story.events), target, story.height)
    conditions: tuple[Condition, ...] = table.condition(parameter, value, Reading(story.time_ms, 600_000))
    found = tables.page(table, conditions, None, 1000)
    assert found == memory.page(table, conditions, None, 1000)
    assert found.rows or value in ("nothing", "stale", "0")


@pytest.mark.parametrize(
    "asked",
    [
        {"equipment": "line/1", "voltage_v": "380000"},
        {"equipment": "bus", "voltage_v": "110000", "region": "north-area"},
        {"equipment": "line/2", "as_of_ms": str(START_MS + 5_000_000)},
    ],
)
def test_page_of_several_words_equals_that_in_memory_and_goes_on(tables: Tables, asked: dict[str, str]) -> None:
    story, table, memory = told(200, seed=12), TABLES["models"], MemoryTables(GENESIS)
    for target in (tables, memory):
        catch_up(MemoryEvents(story.events), target, story.height)
    reading = Reading(story.time_ms, 600_000)
    conditions = [one for name, value in asked.items() for one in table.condition(name, value, reading)]
    found = tables.page(table, conditions, None, 1000)
    assert found == memory.page(table, conditions, None, 1000)
    assert found.rows
    after = tuple(found.rows[0][name] for name in table.order)
    assert tables.page(table, conditions, after, 1000).rows == found.rows[1:]


def test_row_unknown_key_is_none(tables: Tables) -> None:
    assert tables.row("devices", "nothing") is None


def test_readers_in_other_threads_see_whole_blocks_only(tables: Tables) -> None:
    story = Story(1)
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            rows = tables.page(DEVICES, (), None, 1000).rows
            seen = {row["report_height"] for row in rows}
            if len(seen) > 1:
                wrong.append(seen)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(40):
            event = story.row("consistency", "report_accepted", "gw-1", {})
            data = story.report("gw-1", [device.id for device in GENESIS.devices])
            tables.apply([replace(event, data=data)], Position(story.height, END))
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert tables.position().height == 40


def test_cache_smaller_than_the_rows_changes_no_result(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_ROWS", 2)
    story, memory = told(30, seed=9), MemoryTables(GENESIS)
    for target in (tables, memory):
        catch_up(MemoryEvents(story.events), target, story.height)
    assert everything(tables) == dump(memory)
    assert len(tables._cache) <= 2


def test_open_unknown_make_is_refused() -> None:
    with pytest.raises(TablesError, match="mysql is no database that we know"):
        Tables("mysql://localhost/x", GENESIS)


def test_open_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TablesError, match="cannot open"):
        Tables(url_of(tmp_path / "nowhere"), GENESIS)


def test_open_url_without_sense_is_refused() -> None:
    with pytest.raises(TablesError, match="cannot open"):
        Tables("views.db", GENESIS)


def test_sqlite_writes_ahead_and_syncs(tables: Tables) -> None:
    with tables._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def test_postgresql_tables_compile_with_bytewise_order() -> None:
    metadata, _, stored, _ = module._declare()
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy
    made = "\n".join(str(sa.schema.CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables)
    assert 'device TEXT COLLATE "C" NOT NULL' in made
    assert "raised_ms BIGINT NOT NULL" in made
    order = sa.tuple_(stored["alarms"].c.raised_height, stored["alarms"].c.raised_index)
    query = sa.select(stored["alarms"]).where(order < sa.tuple_(sa.literal(1), sa.literal(2)))
    assert "(view_alarms.raised_height, view_alarms.raised_index) <" in str(query.compile(dialect=dialect))
