"""Alarms, their groups, everything that ever happened to them, and how long people took, from the alarms' events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from master.contracts.alarm_states import (
    ACKNOWLEDGE,
    BY_EVIDENCE,
    BY_PEOPLE,
    CLOSE,
    CLOSED,
    RAISED,
    RETURNED,
    SHELVED,
    STATES,
)
from master.ledger.rows import EventRow
from master.views.events import Data
from master.views.findings import FINDING
from master.views.schema import (
    Column,
    Comparison,
    Condition,
    Derived,
    Json,
    Kind,
    Put,
    Reading,
    Row,
    Rows,
    Table,
    hexadecimal,
    integer,
    nullable,
    record,
    sequence,
    text,
)
from rules.severity import SEVERITIES

_UNACKNOWLEDGED: Final = (RAISED, RETURNED)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOTE: Final = {
    "by": text("Account that signed it."),
    "organisation": text("Organisation of the account."),
    "reason": nullable(text("What the alarm is taken for; null for a shelf.")),
    "action": text("What is being done about it."),
    "time_ms": integer("Block time, ms since 1970 UTC."),
    "height": integer("Block."),
    "tx": hexadecimal("Transaction.", 32),
}


def _state(row: Row, reading: Reading) -> str:
    life, shelf_ms = row["life"], row["shelf_ms"]
    assert isinstance(life, str)
    assert isinstance(shelf_ms, int)
    return SHELVED if shelf_ms > reading.head_time_ms else life


def _state_conditions(state: str, reading: Reading) -> tuple[Condition, ...]:
    after_ms = reading.head_time_ms + 1
    if state == SHELVED:
        return (Condition("shelf_ms", Comparison.AT_LEAST, after_ms),)
    return (Condition("life", Comparison.EQUAL, state), Condition("shelf_ms", Comparison.LESS, after_ms))


ALARMS: Final = Table(
    name="alarms",
    about="One alarm of one device, or gateway, and cause.",
    key="alarm_id",
    order=("raised_height", "raised_index"),
    newest_first=True,
    columns=(
        Column("alarm_id", "Id of the alarm."),
        Column("device", "Device that it is about; null: the gateway itself.", nullable=True, filtered="device"),
        Column("gateway", "Gateway that reads the device.", filtered="gateway"),
        Column("station", "Station of the gateway.", filtered="station"),
        Column("area", "Area of the station.", filtered="area"),
        Column("cause", "Verdict that raised it.", filtered="cause"),
        Column("severity", "How serious it is.", filtered="severity", choices=SEVERITIES),
        Column("phase", "Whether a person has closed it.", filtered="phase", choices=("open", "closed")),
        Column("present", "Whether its cause is there.", Kind.JSON, content={"type": "boolean"}),
        Column("artefacts", "The artefacts concerned.", Kind.JSON, content=sequence(FINDING)),
        Column("count", "Times that it was raised or changed, the first included.", Kind.INTEGER),
        Column("group_id", "Group of alarms that it opened in.", filtered="group"),
        Column("raised_ms", "Block time at which it was first raised, ms since 1970 UTC.", Kind.INTEGER),
        Column("raised_height", "Block in which it was first raised.", Kind.INTEGER),
        Column("raised_index", "Event of that block.", Kind.INTEGER, public=False),
        Column("opening_tx", "Transaction that first raised it."),
        Column("changed_height", "Block of its newest change.", Kind.INTEGER),
        Column("changed_ms", "Block time of its newest change, ms since 1970 UTC.", Kind.INTEGER),
        Column(
            "acknowledged",
            "Who took note of all that it says; null: nobody yet.",
            Kind.JSON,
            nullable=True,
            content=record(_NOTE),
        ),
        Column(
            "shelf",
            "Who put it away last and until when, block time; null: nobody, or it was taken off again.",
            Kind.JSON,
            nullable=True,
            content=record({**_NOTE, "until_ms": integer("End of the shelf, ms since 1970 UTC.")}),
        ),
        Column("closed", "Who closed it, as what.", Kind.JSON, nullable=True, content=record(_NOTE)),
        Column("life", "State without regard to a shelf.", public=False, indexed=True),
        Column("shelf_ms", "End of the shelf, 0 without one.", Kind.INTEGER, public=False, indexed=True),
        Column("waiting_ms", "Block time since which it waits for a person.", Kind.INTEGER, public=False),
    ),
    derived=(
        Derived(
            Column(
                "state",
                "raised: the cause is present; returned: it is gone; acknowledged, returned_acknowledged: the same, "
                "and a person has taken note; shelved: put away for a time; closed: by a person.",
                filtered="state",
                choices=(*STATES, SHELVED),
            ),
            _state,
            _state_conditions,
        ),
    ),
)

TRANSITIONS: Final = Table(
    name="alarm_transitions",
    about="One thing that happened to an alarm: who did it, when and why.",
    key="place",
    order=("height", "event_index"),
    newest_first=True,
    columns=(
        Column("place", "HEIGHT-INDEX of its event."),
        Column("alarm_id", "Id of the alarm.", filtered="alarm"),
        Column("device", "Device; null: the gateway itself.", nullable=True, filtered="device"),
        Column("gateway", "Gateway that reads the device.", filtered="gateway"),
        Column("station", "Station of the gateway.", filtered="station"),
        Column("cause", "Verdict that raised it.", filtered="cause"),
        Column("severity", "How serious it was then.", choices=SEVERITIES),
        Column("move", "What happened.", filtered="move", choices=(*BY_EVIDENCE, *BY_PEOPLE)),
        Column("from_state", "State before, null for the first.", nullable=True, choices=STATES),
        Column("state", "State after, without regard to a shelf.", choices=STATES),
        Column("count", "Times that it had been raised or changed.", Kind.INTEGER),
        Column("by", "Account that signed it; null: evidence did it.", nullable=True, filtered="by"),
        Column("organisation", "Organisation of the account.", nullable=True),
        Column("reason", "What the alarm was taken for.", nullable=True),
        Column("action", "What was being done about it.", nullable=True),
        Column("until_ms", "End of the shelf that it had then, ms since 1970 UTC.", Kind.INTEGER, nullable=True),
        Column("time_ms", "Block time, ms since 1970 UTC.", Kind.INTEGER),
        Column("height", "Block.", Kind.INTEGER),
        Column("event_index", "Event of that block.", Kind.INTEGER, public=False),
        Column("tx", "Transaction that did it."),
    ),
)

GROUPS: Final = Table(
    name="alarm_groups",
    about="Alarms of one cause and area that opened within minutes of the first: none is hidden, all are counted.",
    key="group_id",
    order=("first_height", "first_index"),
    newest_first=True,
    columns=(
        Column("group_id", "Id of its first alarm; /v1/alarms?group= has them all."),
        Column("kind", "flood: at least as many as alarm_flood_alarms.", filtered="kind", choices=("group", "flood")),
        Column("cause", "Cause of all of them.", filtered="cause"),
        Column("area", "Area of all of them.", filtered="area"),
        Column("station", "Their station; null: several.", nullable=True),
        Column("gateway", "Their gateway; null: several.", nullable=True),
        Column("severity", "The highest that one of them had.", choices=SEVERITIES),
        Column("alarms", "How many they are.", Kind.INTEGER),
        Column("open", "How many of them nobody has closed.", Kind.INTEGER),
        Column("unacknowledged", "How many of them nobody has taken note of.", Kind.INTEGER),
        Column("first_ms", "Block time of the first, ms since 1970 UTC.", Kind.INTEGER),
        Column("last_ms", "Block time at which the newest opened, ms since 1970 UTC.", Kind.INTEGER),
        Column("first_height", "Block of the first.", Kind.INTEGER),
        Column("first_index", "Event of that block.", Kind.INTEGER, public=False),
    ),
)

FIGURES: Final = Table(
    name="alarm_figures",
    about="How many alarms there were and how long people took, counted in the month in which each thing happened.",
    key="figure",
    order=("figure",),
    columns=(
        Column("figure", "PERIOD:SCOPE:NAME."),
        Column("period", "YYYY-MM by block time in UTC, or 'all'.", filtered="period"),
        Column("scope", "What the alarms have in common.", filtered="scope", choices=("all", "cause", "station")),
        Column("name", "Cause or station; 'all'.", filtered="name"),
        Column("opened", "Alarms that opened.", Kind.INTEGER),
        Column("acknowledged", "Acknowledgements.", Kind.INTEGER),
        Column("acknowledge_ms_mean", "Mean time to acknowledge.", Kind.INTEGER, nullable=True),
        Column("acknowledge_ms_max", "Longest time to acknowledge.", Kind.INTEGER, nullable=True),
        Column("acknowledge_ms_sum", "All of it.", Kind.INTEGER, public=False),
        Column("closed", "Alarms that were closed.", Kind.INTEGER),
        Column("clear_ms_mean", "Mean time from the opening until a person closed it.", Kind.INTEGER, nullable=True),
        Column("clear_ms_max", "Longest time to clear.", Kind.INTEGER, nullable=True),
        Column("clear_ms_sum", "All of it.", Kind.INTEGER, public=False),
    ),
)

TABLES: Final = (ALARMS, TRANSITIONS, GROUPS, FIGURES)


def fold(event: EventRow, rows: Rows) -> Iterable[Put]:
    """Show what happened to an alarm; one that is raised again keeps its place."""
    known = rows.row(ALARMS.name, Data(event).text("alarm_id"))
    alarm = _alarm(event, known)
    yield Put(ALARMS.name, alarm)
    yield _transition(event, alarm)
    yield _group(alarm, known, rows)
    yield from _figures(event, alarm, known, rows)


def fold_flood(event: EventRow, rows: Rows) -> Iterable[Put]:
    """Call a group a flood."""
    group = rows.row(GROUPS.name, Data(event).text("group"))
    assert group is not None  # its alarm was told before
    yield Put(GROUPS.name, {**group, "kind": "flood"})


def _alarm(event: EventRow, known: Row | None) -> Row:
    data = Data(event)
    life, shelf = data.text("state"), data.json("shelf")
    is_waiting = life in _UNACKNOWLEDGED
    since_ms = event.time_ms
    # what nobody has taken note of yet waits since it was first told
    if known is not None and known["life"] in _UNACKNOWLEDGED and isinstance(known["waiting_ms"], int):
        since_ms = known["waiting_ms"]
    return {
        "alarm_id": data.text("alarm_id"),
        "device": data.text_or_none("device"),
        **{name: data.text(name) for name in ("gateway", "station", "area", "cause", "severity")},
        "phase": "closed" if life == CLOSED else "open",
        "present": data.json("present"),
        "artefacts": data.json("artefacts"),
        "count": data.integer("count"),
        "group_id": data.text("group"),
        "raised_ms": data.integer("raised_ms"),
        "raised_height": data.integer("raised_height"),
        "raised_index": event.index if known is None else known["raised_index"],
        "opening_tx": data.hexadecimal("opening_tx"),
        "changed_height": event.height,
        "changed_ms": event.time_ms,
        "acknowledged": data.json("acknowledged"),
        "shelf": shelf,
        "closed": data.json("closed"),
        "life": life,
        "shelf_ms": shelf["until_ms"] if isinstance(shelf, dict) else 0,
        "waiting_ms": since_ms if is_waiting else 0,
    }


def _transition(event: EventRow, alarm: Row) -> Put:
    data = Data(event)
    shelf = alarm["shelf"]
    return Put(
        TRANSITIONS.name,
        {
            "place": f"{event.height}-{event.index}",
            **{name: alarm[name] for name in ("alarm_id", "device", "gateway", "station", "cause", "severity")},
            "move": data.text("move"),
            "from_state": data.text_or_none("from_state"),
            "state": alarm["life"],
            "count": alarm["count"],
            **{name: data.text_or_none(name) for name in ("by", "organisation", "reason", "action")},
            "until_ms": shelf["until_ms"] if isinstance(shelf, dict) else None,
            "time_ms": event.time_ms,
            "height": event.height,
            "event_index": event.index,
            "tx": event.tx.hex(),
        },
    )


def _group(alarm: Row, known: Row | None, rows: Rows) -> Put:
    """Count an alarm in its group."""
    group = rows.row(GROUPS.name, str(alarm["group_id"]))
    if group is None:
        group = {
            **{name: alarm[name] for name in ("group_id", "cause", "area", "station", "gateway", "severity")},
            "kind": "group",
            **dict.fromkeys(("alarms", "open", "unacknowledged"), 0),
            "first_ms": alarm["raised_ms"],
            "last_ms": alarm["raised_ms"],
            "first_height": alarm["raised_height"],
            "first_index": alarm["raised_index"],
        }
    same = {name: group[name] if group[name] == alarm[name] else None for name in ("station", "gateway")}
    return Put(
        GROUPS.name,
        {
            **group,
            **same,
            "severity": max(str(group["severity"]), str(alarm["severity"]), key=SEVERITIES.index),
            "alarms": _number(group["alarms"]) + int(known is None),
            "open": _number(group["open"]) + _is_open(alarm) - _is_open(known),
            "unacknowledged": _number(group["unacknowledged"]) + _is_waiting(alarm) - _is_waiting(known),
            "last_ms": max(_number(group["last_ms"]), _number(alarm["raised_ms"])),
        },
    )


def _figures(event: EventRow, alarm: Row, known: Row | None, rows: Rows) -> Iterable[Put]:
    """Count the opening, the acknowledgement or the close of an alarm."""
    move = Data(event).text("move")
    if known is not None and move not in (ACKNOWLEDGE, CLOSE):
        return
    for period in ("all", f"{_EPOCH + timedelta(milliseconds=event.time_ms):%Y-%m}"):
        for scope, name in (("all", "all"), ("cause", alarm["cause"]), ("station", alarm["station"])):
            key = f"{period}:{scope}:{name}"
            row = rows.row(FIGURES.name, key) or _no_figures(key, period, scope, str(name))
            if known is None:
                row = {**row, "opened": _number(row["opened"]) + 1}
            elif move == ACKNOWLEDGE:
                row = _with_time(row, "acknowledged", "acknowledge", event.time_ms - _number(known["waiting_ms"]))
            else:
                row = _with_time(row, "closed", "clear", event.time_ms - _number(alarm["raised_ms"]))
            yield Put(FIGURES.name, row)


def _no_figures(key: str, period: str, scope: str, name: str) -> Row:
    row: Row = {"figure": key, "period": period, "scope": scope, "name": name}
    for word in ("acknowledge", "clear"):
        row |= {f"{word}_ms_mean": None, f"{word}_ms_max": None, f"{word}_ms_sum": 0}
    return {**row, "opened": 0, "acknowledged": 0, "closed": 0}


def _with_time(row: Row, counted: str, word: str, time_ms: int) -> Row:
    count, total_ms = _number(row[counted]) + 1, _number(row[f"{word}_ms_sum"]) + time_ms
    longest_ms = max(time_ms, _number(row[f"{word}_ms_max"] or 0))
    return {
        **row,
        counted: count,
        f"{word}_ms_sum": total_ms,
        f"{word}_ms_mean": total_ms // count,
        f"{word}_ms_max": longest_ms,
    }


def _is_open(row: Row | None) -> int:
    return int(row is not None and row["phase"] == "open")


def _is_waiting(row: Row | None) -> int:
    return int(row is not None and row["life"] in _UNACKNOWLEDGED)


def _number(value: Json) -> int:
    assert isinstance(value, int)
    return value
