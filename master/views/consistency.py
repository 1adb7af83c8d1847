"""Devices and alarms, as the contract `consistency` tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from master.contracts.alarms import RAISED, RETURNED
from master.contracts.consistency import CLOCK_UNTRUSTED
from master.ledger.rows import EventRow
from master.views.events import Data, broken
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
    Schema,
    Table,
    View,
    hexadecimal,
    integer,
    nullable,
    record,
    sequence,
    text,
)
from rules.appraisal import ALTERED, IDENTITY_CHANGED, IDENTITY_KIND, PENDING, REVISION_KIND, VERDICTS, claim
from wire.difference import UNITS
from wire.evidence import ERROR_CODES, KINDS, METHODS, STATUSES

if TYPE_CHECKING:
    from wire.genesis import Genesis

CONTRACT: Final = "consistency"

_CONDITIONS: Final = ("alarm", "match", "never_read", "pending", "unknown_reference", "unreachable")
_AGEING: Final = ("match", "pending", "unknown_reference", "unreachable")
"""Conditions that say nothing any more once they are old; an alarm stays one."""
WINDOW_OVER: Final = "window_over"
"""Pending, but the time of its work order is past: the next report brings the verdict that counts."""
STATES: Final = (*_CONDITIONS, "stale", WINDOW_OVER)

_IDENTITY: Final = record(
    {name: text() for name in ("vendor", "product", "revision", "serial", "model")},
    "What the device says of itself.",
)
_FINDING: Final[Mapping[str, Schema]] = {
    "kind": text(
        "Artefact kind; identity, revision or clock for the device itself.",
        (*KINDS, IDENTITY_KIND, REVISION_KIND, "clock"),
    ),
    "verdict": text("What the appraisal said of it.", (*VERDICTS, IDENTITY_CHANGED, ALTERED, CLOCK_UNTRUSTED)),
    "expected_sha256": nullable(hexadecimal("Reference value.", 32)),
    "read_sha256": nullable(hexadecimal("What was read.", 32)),
    "detail": nullable(text("What else there is to say, for people.")),
    "difference": nullable(
        record(
            {
                "unit": text("items: settings or rows; chunks: of 65,536 bytes, the first is 0.", UNITS),
                "count": integer("How many differ; 0 items: the file is only written otherwise.", 0),
                "numbers": sequence(integer("Number of an item or chunk.", 0)),
            },
            "Where it differs, if the gateway holds the release package; what differs is not said here.",
        )
    ),
    "method": nullable(text("How it was read: it says no more than this shows.", METHODS)),
    "owner": nullable(
        record(
            {"target": text("Device or model."), "kind": text("Artefact kind.", KINDS), "release": text()},
            "Whose reference value it is, of a file of another device or of an old release.",
        )
    ),
    "fill": nullable(
        record(
            {
                "record": hexadecimal("Transaction that says so.", 32),
                "account": text("Who signed it."),
                "organisation": text(),
                "order": hexadecimal("Work order that it was done under.", 32),
                "release": text("Name of the release that was to be filled."),
                "time_ms": integer("Block time of the record, ms since 1970 UTC."),
            },
            "Who signed last for filling this device, where the file is another device's.",
        )
    ),
}
_ARTEFACT: Final = record(
    {
        **_FINDING,
        "name": nullable(text("As the device names it.")),
        "version": nullable(text("As the device declares it.")),
        "size": nullable(integer("Bytes that the device declares.", 0)),
        "read_size": nullable(integer("Bytes that were read.", 0)),
        "claim": nullable(text("What the verdict is about, by its method; null where nothing was read.")),
        "errors": sequence(text(choices=ERROR_CODES)),
    }
)


def _state(row: Row, reading: Reading) -> str:
    condition, fresh_ms = row["condition"], row["fresh_ms"]
    assert isinstance(condition, str)
    assert isinstance(fresh_ms, int)
    if condition in _AGEING and fresh_ms < reading.head_time_ms - reading.stale_ms:
        return "stale"
    until_ms = row["pending_until_ms"]
    if condition == PENDING and isinstance(until_ms, int) and until_ms < reading.head_time_ms:
        return WINDOW_OVER
    return condition


def _state_conditions(state: str, reading: Reading) -> tuple[Condition, ...]:
    oldest_ms = reading.head_time_ms - reading.stale_ms
    if state == "stale":
        return (
            Condition("condition", Comparison.ONE_OF, _AGEING),
            Condition("fresh_ms", Comparison.LESS, oldest_ms),
        )
    at_condition = Condition("condition", Comparison.EQUAL, PENDING if state == WINDOW_OVER else state)
    is_fresh = Condition("fresh_ms", Comparison.AT_LEAST, oldest_ms)
    if state in (PENDING, WINDOW_OVER):
        comparison = Comparison.AT_LEAST if state == PENDING else Comparison.LESS
        return (at_condition, is_fresh, Condition("pending_until_ms", comparison, reading.head_time_ms))
    return (at_condition, is_fresh) if state in _AGEING else (at_condition,)


DEVICES: Final = Table(
    name="devices",
    about="A device of the consortium with the newest verdicts about it.",
    key="device",
    order=("device",),
    columns=(
        Column("device", "Id of the device."),
        Column("gateway", "Gateway that reads it.", filtered="gateway"),
        Column("station", "Station of the gateway.", filtered="station"),
        Column("area", "Area of the station.", filtered="area"),
        Column("vendor", "Vendor by the genesis file."),
        Column("model", "Model by the genesis file.", filtered="model"),
        Column("serial", "Serial number by the genesis file."),
        Column(
            "status",
            "How the newest read ended; null before the first report.",
            nullable=True,
            choices=STATUSES,
        ),
        Column(
            "verdicts",
            "Newest verdict by artefact kind.",
            Kind.JSON,
            content={
                "type": "object",
                "propertyNames": {"enum": list(KINDS)},
                "additionalProperties": text(choices=VERDICTS),
            },
        ),
        Column("artefacts", "What was read and found, newest verdicts.", Kind.JSON, content=sequence(_ARTEFACT)),
        Column("causes", "Causes of its open alarms.", Kind.JSON, content=sequence(text())),
        Column(
            "identity",
            "What the device said of itself; null before the first read.",
            Kind.JSON,
            nullable=True,
            content=_IDENTITY,
        ),
        Column(
            "read_from_ms",
            "Start of the oldest read that the newest report stands on, by the gateway's clock, ms since 1970 UTC.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column(
            "read_to_ms",
            "End of the last completed read by the gateway's clock, ms since 1970 UTC.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column(
            "report_height",
            "Block of the newest report that names it.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column(
            "report_tx",
            "Transaction of the newest report that names it.",
            nullable=True,
        ),
        Column(
            "report_time_ms",
            "Block time of the newest report that names it, ms since 1970 UTC.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column(
            "pending_until_ms",
            "Block time up to which a work order excuses what was found, ms since 1970 UTC; null outside one.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column("condition", "State without regard to age.", public=False, choices=_CONDITIONS),
        Column("fresh_ms", "Time up to which the condition holds.", Kind.INTEGER, public=False),
    ),
    derived=(
        Derived(
            Column(
                "state",
                "What there is to say of the device at this block time.",
                filtered="state",
                choices=STATES,
            ),
            _state,
            _state_conditions,
        ),
    ),
)

ALARMS: Final = Table(
    name="alarms",
    about="One alarm of one device and cause.",
    key="alarm_id",
    order=("raised_height", "raised_index"),
    newest_first=True,
    columns=(
        Column("alarm_id", "Id of the alarm."),
        Column("device", "Device that it is about.", filtered="device"),
        Column("gateway", "Gateway that reads the device.", filtered="gateway"),
        Column("station", "Station of the gateway.", filtered="station"),
        Column("cause", "Verdict that raised it.", filtered="cause"),
        Column(
            "state",
            "raised: the cause is present; returned: it is gone.",
            filtered="state",
            choices=(RAISED, RETURNED),
        ),
        Column("artefacts", "The artefacts concerned.", Kind.JSON, content=sequence(record(_FINDING))),
        Column("raised_ms", "Block time at which it was first raised, ms since 1970 UTC.", Kind.INTEGER),
        Column("raised_height", "Block in which it was first raised.", Kind.INTEGER),
        Column("raised_index", "Event of that block.", Kind.INTEGER, public=False),
        Column("opening_tx", "Transaction that first raised it."),
        Column("changed_height", "Block of its newest change.", Kind.INTEGER),
        Column("changed_ms", "Block time of its newest change, ms since 1970 UTC.", Kind.INTEGER),
        Column("count", "Times that it was raised or changed, the first included.", Kind.INTEGER),
    ),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    stations = {station.id: station for station in genesis.stations}
    gateways = {gateway.id: stations[gateway.station] for gateway in genesis.gateways}
    for device in genesis.devices:
        station = gateways[device.gateway]
        plate: Row = {name: getattr(device, name) for name in ("gateway", "vendor", "model", "serial")}
        place: Row = {"device": device.id, "station": station.id, "area": station.area}
        yield Put(DEVICES.name, device_row({**plate, **place}))


def device_row(plate: Row) -> Row:
    """Return the row of a device that nobody has read yet, from its id, its place and its nameplate."""
    return {
        **plate,
        "status": None,
        "verdicts": {},
        "artefacts": [],
        "causes": [],
        "identity": None,
        "read_from_ms": None,
        "read_to_ms": None,
        "report_height": None,
        "report_tx": None,
        "report_time_ms": None,
        "pending_until_ms": None,
        "condition": "never_read",
        "fresh_ms": 0,
    }


def _judged(row: Row) -> Row:
    """Return a device's row with `condition` and `fresh_ms` as its other columns imply.

    A report is as fresh as the older of its block and the oldest read that it stands on: a gateway's clock that runs
    ahead cannot keep a device fresh, nor can one that reads a large file less often than the others.
    """
    verdicts, report_time_ms, read_from_ms = (row[name] for name in ("verdicts", "report_time_ms", "read_from_ms"))
    assert isinstance(verdicts, dict)
    fresh_ms = report_time_ms if isinstance(report_time_ms, int) else 0
    if row["causes"]:
        condition = "alarm"
    elif report_time_ms is None:
        condition = "never_read"
    elif row["status"] != "read":
        condition = "unreachable"
    else:
        known = verdicts and "unknown_reference" not in verdicts.values()
        condition = PENDING if PENDING in verdicts.values() else "match" if known else "unknown_reference"
        fresh_ms = min(fresh_ms, read_from_ms) if isinstance(read_from_ms, int) else fresh_ms
    return {**row, "condition": condition, "fresh_ms": fresh_ms}


def _device(rows: Rows, device: str, event: EventRow) -> Row:
    row = rows.row(DEVICES.name, device)
    if row is None:
        raise broken(event, f"there is no device {device!r}")
    return row


def _report_accepted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    for entry in Data(event).entries("devices"):
        row = _device(rows, str(entry["device"]), event)
        yield Put(
            DEVICES.name,
            _judged(
                {
                    **row,
                    "status": entry["status"],
                    "read_from_ms": entry["read_from_ms"],
                    "read_to_ms": entry["read_to_ms"],
                    "report_height": event.height,
                    "report_tx": event.tx.hex(),
                    "report_time_ms": event.time_ms,
                }
            ),
        )


def _verdict_changed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    row = _device(rows, data.text("device"), event)
    changed = {name: data.json(name) for name in ("verdicts", "identity", "pending_until_ms")}
    artefacts: list[Json] = [_claimed(entry) for entry in data.entries("artefacts")]
    yield Put(DEVICES.name, _judged({**row, **changed, "artefacts": artefacts}))


def _claimed(entry: Row) -> Row:
    """Say beside a verdict what it is about."""
    method = entry["method"]
    return {**entry, "claim": claim(str(entry["verdict"]), None if method is None else str(method))}


def _alarm(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    """Show an alarm as its newest event has it; one that is raised again keeps its place."""
    del genesis
    data = Data(event)
    device = _device(rows, data.text("device"), event)
    alarm_id, cause, state = data.text("alarm_id"), data.text("cause"), data.text("state")
    known = rows.row(ALARMS.name, alarm_id)
    yield Put(
        ALARMS.name,
        {
            "alarm_id": alarm_id,
            "device": device["device"],
            "gateway": device["gateway"],
            "station": device["station"],
            "cause": cause,
            "state": state,
            "artefacts": data.json("artefacts"),
            "raised_ms": data.integer("raised_ms"),
            "raised_height": data.integer("raised_height"),
            "raised_index": event.index if known is None else known["raised_index"],
            "opening_tx": data.hexadecimal("opening_tx"),
            "changed_height": event.height,
            "changed_ms": event.time_ms,
            "count": data.integer("count"),
        },
    )
    causes = _causes(device, cause, present=state == RAISED)
    yield Put(DEVICES.name, _judged({**device, "causes": causes}))


def _causes(device: Row, cause: str, *, present: bool) -> list[Json]:
    causes = device["causes"]
    assert isinstance(causes, list)
    others = {str(other) for other in causes} - {cause}
    return [*sorted({*others, cause} if present else others)]


VIEW: Final = View(
    contract=CONTRACT,
    tables=(DEVICES, ALARMS),
    start=_start,
    folds={
        "report_accepted": _report_accepted,
        "verdict_changed": _verdict_changed,
        "alarm_raised": _alarm,
        "alarm_changed": _alarm,
        "alarm_returned": _alarm,
    },
)
