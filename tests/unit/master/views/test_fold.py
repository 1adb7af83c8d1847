"""Folding events into rows, and following the ledger."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from master.ledger.rows import EventRow
from master.views.events import ViewError
from master.views.fold import PAGE_EVENTS, catch_up
from master.views.ports import END, START, Position
from tests.unit.master.views.memory import MemoryEvents, MemoryTables, dump
from tests.unit.master.views.story import GENESIS, Story, alarm_data


class Recorder(MemoryTables):
    """Notes what was applied at once."""

    def __init__(self) -> None:
        super().__init__(GENESIS)
        self.batches: list[tuple[int, Position]] = []

    def apply(self, events: Sequence[EventRow], through: Position) -> None:
        self.batches.append((len(events), through))
        super().apply(events, through)


def test_catch_up_blocks_without_events_moves_to_the_head() -> None:
    tables = MemoryTables(GENESIS)
    assert catch_up(MemoryEvents([]), tables, 7) == Position(7, END)
    assert tables.position().complete_height == 7


def test_catch_up_call_again_changes_nothing() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    story.block(20)
    source = MemoryEvents(story.events)
    catch_up(source, tables, story.height)
    before = dump(tables)
    catch_up(source, tables, story.height)
    assert dump(tables) == before
    assert tables.position() == Position(story.height, END)


def test_catch_up_block_by_block_equals_all_at_once() -> None:
    story, stepwise, at_once = Story(3), MemoryTables(GENESIS), MemoryTables(GENESIS)
    source = MemoryEvents(story.events)
    for _ in range(30):
        story.block(5)
        catch_up(source, stepwise, story.height)
    catch_up(source, at_once, story.height)
    assert dump(stepwise) == dump(at_once)


def test_catch_up_more_than_a_page_keeps_blocks_whole() -> None:
    story, tables = Story(1), Recorder()
    while len(story.events) < 2 * PAGE_EVENTS:
        story.block(300)
    catch_up(MemoryEvents(story.events), tables, story.height)
    assert sum(count for count, _ in tables.batches) == len(story.events)
    assert all(through.index == END for _, through in tables.batches)
    assert tables.position() == Position(story.height, END)


def test_catch_up_block_larger_than_a_page_is_cut_and_finished() -> None:
    story, tables, whole = Story(2), Recorder(), MemoryTables(GENESIS)
    story.block(2 * PAGE_EVENTS + 10)
    catch_up(MemoryEvents(story.events), tables, 1)
    assert [through.index for _, through in tables.batches][:2] == [PAGE_EVENTS - 1, 2 * PAGE_EVENTS - 1]
    assert tables.position() == Position(1, END)
    whole.apply(story.events, Position(1, END))
    assert dump(tables) == dump(whole)


def test_catch_up_newer_block_than_asked_is_applied_once() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    story.block()
    story.block()
    assert catch_up(MemoryEvents(story.events), tables, 1) == Position(2, END)


def test_catch_up_finished_position_reads_no_finished_block() -> None:
    assert Position(4, END).before_next() == (5, -1)
    assert Position(4, 2).before_next() == (4, 2)
    assert START.before_next() == (1, -1)
    assert Position(4, 2).complete_height == 3


def test_fold_unknown_contract_or_type_changes_nothing() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    before = dump(tables)
    events = [story.row("market", "cleared", "x", {}), story.row("consistency", "evidence_conflict", "gw-1", {})]
    tables.apply(events, Position(2, END))
    assert dump(tables) == before


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("verdict_changed", {"device": "sps-99", "verdicts": {}, "identity": None}, "no device 'sps-99'"),
        ("verdict_changed", {"verdicts": {}, "identity": None}, "field 'device' is missing"),
        ("verdict_changed", {"device": 4, "verdicts": {}, "identity": None}, "field 'device' is a int, not text"),
        ("report_accepted", {"devices": 5}, "field 'devices' is a int, not an array"),
        ("report_accepted", {"devices": [5]}, "field 'devices' is an array with something else than maps"),
        ("alarm_changed", alarm_data("00", "sps-99", "mismatch"), "no device 'sps-99'"),
        ("alarm_raised", {**alarm_data("00", "sps-01", "mismatch"), "opening_tx": "00"}, "not bytes"),
        ("alarm_raised", {**alarm_data("00", "sps-01", "mismatch"), "count": True}, "not an integer"),
    ],
)
def test_fold_event_against_its_promise_is_refused(kind: str, data: dict[str, object], reason: str) -> None:
    tables = MemoryTables(GENESIS)
    event = Story().row("consistency", kind, "x", data)  # type: ignore[arg-type]  # broken on purpose
    with pytest.raises(ViewError, match=reason):
        tables.apply([event], Position(1, END))
    assert tables.position() == START
