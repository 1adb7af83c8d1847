"""Devices and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from master.ledger.rows import EventRow
from master.views.alarms import ALARMS
from master.views.consistency import DEVICES, STATES
from master.views.ports import END, Position
from master.views.schema import Reading, Row
from tests.unit.master.views.memory import MemoryTables
from tests.unit.master.views.story import GENESIS, IDENTITY, Story, alarm_data, verdict_data
from wire.cbor import Value

STALE_MS = 1_800_000


def apply(tables: MemoryTables, events: Sequence[EventRow]) -> None:
    tables.apply(events, Position(events[-1].height, END))


def report(
    story: Story, device: str, status: str = "read", read_to_ms: int | None = None, read_for_ms: int = 0
) -> EventRow:
    at_ms = story.time_ms if read_to_ms is None else read_to_ms
    entry: Value = {
        "device": device,
        "status": status,
        "read_from_ms": at_ms - read_for_ms,
        "read_to_ms": at_ms,
        "item_digest": bytes(32),
    }
    return story.row("consistency", "report_accepted", "gw-1", {"devices": [entry]})


def verdict(story: Story, device: str, **verdicts: str) -> EventRow:
    return story.row("consistency", "verdict_changed", device, verdict_data(device, verdicts))


def shown(tables: MemoryTables, device: str, head_time_ms: int) -> Row:
    row = tables.row("devices", device)
    assert row is not None
    return DEVICES.present(row, Reading(head_time_ms, STALE_MS))


def test_devices_genesis_lists_all_as_never_read() -> None:
    tables = MemoryTables(GENESIS)
    rows = tables.page(DEVICES, (), None, 100).rows
    assert [row["device"] for row in rows] == [device.id for device in GENESIS.devices]
    first = shown(tables, "sps-00", GENESIS.time_ms)
    assert (first["gateway"], first["station"], first["area"]) == ("gw-1", "station-1", "east")
    assert first["state"] == "never_read"
    assert first["report_tx"] is None
    assert "condition" not in first


def test_devices_report_and_match_show_match() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    events = [report(story, "sps-00"), verdict(story, "sps-00", firmware="match", strategy="match")]
    apply(tables, events)
    row = shown(tables, "sps-00", story.time_ms)
    assert row["state"] == "match"
    assert row["verdicts"] == {"firmware": "match", "strategy": "match"}
    assert row["identity"] == IDENTITY
    assert (row["report_height"], row["report_tx"]) == (1, events[0].tx.hex())


@pytest.mark.parametrize("verdicts", [{}, {"firmware": "match", "settings": "unknown_reference"}])
def test_devices_without_all_references_show_unknown_reference(verdicts: dict[str, str]) -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    apply(tables, [report(story, "sps-00"), verdict(story, "sps-00", **verdicts)])
    assert shown(tables, "sps-00", story.time_ms)["state"] == "unknown_reference"


@pytest.mark.parametrize("status", ["unreachable", "protocol-error"])
def test_devices_unreachable_is_no_mismatch(status: str) -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    apply(tables, [report(story, "sps-00"), verdict(story, "sps-00", firmware="match")])
    apply(tables, [report(story, "sps-00", status)])
    row = shown(tables, "sps-00", story.time_ms)
    assert (row["state"], row["status"]) == ("unreachable", status)
    assert row["verdicts"] == {"firmware": "match"}


# holds AP-5
def test_devices_age_counts_from_block_time_and_turns_stale() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    apply(tables, [report(story, "sps-00"), verdict(story, "sps-00", firmware="match")])
    read_from_ms = shown(tables, "sps-00", 0)["read_from_ms"]
    assert isinstance(read_from_ms, int)
    assert shown(tables, "sps-00", read_from_ms + STALE_MS)["state"] == "match"
    assert shown(tables, "sps-00", read_from_ms + STALE_MS + 1)["state"] == "stale"


# holds AP-5
def test_devices_age_counts_from_the_oldest_read_that_the_report_stands_on() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    hour_ms = 3_600_000
    event = report(story, "sps-00", read_for_ms=hour_ms)
    apply(tables, [event, verdict(story, "sps-00", firmware="match")])
    row = shown(tables, "sps-00", event.time_ms)
    assert (row["read_to_ms"], row["state"]) == (event.time_ms - 1000, "stale")
    assert row["read_from_ms"] == event.time_ms - 1000 - hour_ms
    apply(tables, [report(story, "sps-00", read_for_ms=STALE_MS - 2000)])
    assert shown(tables, "sps-00", story.time_ms)["state"] == "match"
    apply(tables, [report(story, "sps-01", "unreachable", read_for_ms=hour_ms)])
    assert shown(tables, "sps-01", story.time_ms)["state"] == "unreachable"


# holds AP-5
def test_devices_gateway_clock_ahead_keeps_nothing_fresh() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    event = report(story, "sps-00", read_to_ms=story.time_ms + 10**9)
    apply(tables, [event, verdict(story, "sps-00", firmware="match")])
    assert shown(tables, "sps-00", event.time_ms + STALE_MS + 1)["state"] == "stale"


def test_devices_alarm_never_turns_stale() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    raised = story.row("consistency", "alarm_raised", "a1", alarm_data("a1", "sps-00", "mismatch"))
    apply(tables, [raised])
    row = shown(tables, "sps-00", story.time_ms + 10 * STALE_MS)
    assert (row["state"], row["causes"]) == ("alarm", ["mismatch"])


@pytest.mark.parametrize("state", STATES)
def test_devices_filter_by_state_finds_exactly_those_shown_so(state: str) -> None:
    story, tables = Story(5), MemoryTables(GENESIS)
    while story.height < 60:
        apply(tables, story.block())
    for ahead_ms in (0, STALE_MS, STALE_MS + 100_000, 3 * STALE_MS):
        reading = Reading(story.time_ms + ahead_ms, STALE_MS)
        found = tables.page(DEVICES, DEVICES.condition("state", state, reading), None, 100).rows
        everybody = tables.page(DEVICES, (), None, 100).rows
        want = [row for row in everybody if DEVICES.present(row, reading)["state"] == state]
        assert list(found) == want


def tell(story: Story, kind: str, alarm: str, cause: str, count: int = 1) -> EventRow:
    state = "returned" if kind == "alarm_returned" else "raised"
    data = alarm_data(alarm, "sps-04", cause, count, state)
    return story.row("consistency", kind, "sps-04", {**data, "raised_height": story.height + 1})


def alarm_row(tables: MemoryTables, alarm: str) -> Row:
    row = tables.row("alarms", alarm)
    assert row is not None
    return row


def test_alarms_life_is_raised_changed_returned() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    apply(tables, [tell(story, "alarm_raised", "a1", "mismatch")])
    row = alarm_row(tables, "a1")
    assert (row["life"], row["count"], row["gateway"], row["station"]) == ("raised", 1, "gw-2", "station-2")
    assert (row["raised_height"], row["changed_height"]) == (1, 1)
    changed = tell(story, "alarm_changed", "a1", "mismatch", 2)
    apply(tables, [changed])
    row = alarm_row(tables, "a1")
    assert (row["life"], row["count"]) == ("raised", 2)
    assert (row["changed_ms"], row["changed_height"]) == (changed.time_ms, changed.height)
    apply(tables, [tell(story, "alarm_returned", "a1", "mismatch", 2)])
    assert alarm_row(tables, "a1")["life"] == "returned"
    assert shown(tables, "sps-04", story.time_ms)["causes"] == []


def test_alarms_raised_again_is_the_same_alarm_in_its_old_place() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    filler = verdict(story, "sps-00", firmware="match")
    first = replace(tell(story, "alarm_raised", "a1", "mismatch"), height=filler.height, index=1)
    data = {**first.data, "raised_height": filler.height}
    apply(tables, [filler, replace(first, data=data)])
    apply(tables, [story.row("consistency", "alarm_returned", "sps-04", {**data, "state": "returned"})])
    apply(tables, [story.row("consistency", "alarm_raised", "sps-04", {**data, "count": 2})])
    row = alarm_row(tables, "a1")
    assert (row["life"], row["count"], row["raised_height"], row["raised_index"]) == ("raised", 2, 1, 1)
    assert shown(tables, "sps-04", story.time_ms)["state"] == "alarm"


def test_alarms_one_of_two_returned_leaves_the_device_in_alarm() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    for alarm, cause in (("a1", "mismatch"), ("a2", "misfilled")):
        apply(tables, [tell(story, "alarm_raised", alarm, cause)])
    apply(tables, [tell(story, "alarm_returned", "a1", "mismatch", 2)])
    row = shown(tables, "sps-04", story.time_ms)
    assert (row["state"], row["causes"]) == ("alarm", ["misfilled"])


def test_alarms_list_is_newest_first() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    for alarm in ("a1", "a2", "a3"):
        apply(tables, [tell(story, "alarm_raised", alarm, alarm)])
    assert [row["alarm_id"] for row in tables.page(ALARMS, (), None, 9).rows] == ["a3", "a2", "a1"]
