"""Devices and alarms, as the contract `consistency` tells them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

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
    Table,
    View,
    hexadecimal,
    nullable,
    record,
    sequence,
    text,
)
from rules.appraisal import IDENTITY_KIND, VERDICTS
from wire.evidence import KINDS, STATUSES

if TYPE_CHECKING:
    from wire.genesis import Genesis

CONTRACT: Final = "consistency"

_CONDITIONS: Final = ("alarm", "match", "never_read", "unknown_reference", "unreachable")
_AGEING: Final = ("match", "unknown_reference", "unreachable")
"""Conditions that say nothing any more once they are old; an alarm stays one."""
STATES: Final = (*_CONDITIONS, "stale")

_IDENTITY: Final = record(
    {name: text() for name in ("vendor", "product", "revision", "serial", "model")},
    "What the device says of itself.",
)
_FINDING: Final = record(
    {
        "kind": text("Which artefact; identity for the device itself.", (*KINDS, IDENTITY_KIND)),
        "verdict": text("What the appraisal said of it."),
        "expected_sha256": nullable(hexadecimal("Reference value.", 32)),
        "read_sha256": nullable(hexadecimal("What was read.", 32)),
        "detail": nullable(text("What else there is to say, for people.")),
    }
)


def _state(row: Row, reading: Reading) -> str:
    condition, fresh_ms = row["condition"], row["fresh_ms"]
    assert isinstance(condition, str)
    assert isinstance(fresh_ms, int)
    if condition in _AGEING and fresh_ms < reading.head_time_ms - reading.stale_ms:
        return "stale"
    return condition


def _state_conditions(state: str, reading: Reading) -> tuple[Condition, ...]:
    oldest_ms = reading.head_time_ms - reading.stale_ms
    if state == "stale":
        return (
            Condition("condition", Comparison.ONE_OF, _AGEING),
            Condition("fresh_ms", Comparison.LESS, oldest_ms),
        )
    at_condition = Condition("condition", Comparison.EQUAL, state)
    if state in _AGEING:
        return (at_condition, Condition("fresh_ms", Comparison.AT_LEAST, oldest_ms))
    return (at_condition,)


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
        Column("causes", "Causes of its open alarms.", Kind.JSON, content=sequence(text())),
        Column(
            "identity",
            "What the device said of itself; null before the first read.",
            Kind.JSON,
            nullable=True,
            content=_IDENTITY,
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
            choices=("raised", "returned"),
        ),
        Column("artefacts", "The artefacts concerned.", Kind.JSON, content=sequence(_FINDING)),
        Column("raised_ms", "Block time at which it was raised, ms since 1970 UTC.", Kind.INTEGER),
        Column("raised_height", "Block in which it was raised.", Kind.INTEGER),
        Column("raised_index", "Event of that block.", Kind.INTEGER, public=False),
        Column("opening_tx", "Report that raised it."),
        Column("changed_height", "Block of its newest change.", Kind.INTEGER),
        Column("changed_ms", "Block time of its newest change, ms since 1970 UTC.", Kind.INTEGER),
        Column("count", "Reports that changed it, the opening one included.", Kind.INTEGER),
    ),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    stations = {station.id: station for station in genesis.stations}
    gateways = {gateway.id: stations[gateway.station] for gateway in genesis.gateways}
    for device in genesis.devices:
        station = gateways[device.gateway]
        yield Put(
            DEVICES.name,
            {
                "device": device.id,
                "gateway": device.gateway,
                "station": station.id,
                "area": station.area,
                "vendor": device.vendor,
                "model": device.model,
                "serial": device.serial,
                "status": None,
                "verdicts": {},
                "causes": [],
                "identity": None,
                "read_to_ms": None,
                "report_height": None,
                "report_tx": None,
                "report_time_ms": None,
                "condition": "never_read",
                "fresh_ms": 0,
            },
        )


def _judged(row: Row) -> Row:
    """Return a device's row with `condition` and `fresh_ms` as its other columns imply.

    A report is as fresh as the older of its block and the read that it tells of, so that a
    gateway's clock that runs ahead cannot keep a device fresh.
    """
    verdicts, report_time_ms, read_to_ms = (row[name] for name in ("verdicts", "report_time_ms", "read_to_ms"))
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
        condition = "match" if known else "unknown_reference"
        fresh_ms = min(fresh_ms, read_to_ms) if isinstance(read_to_ms, int) else fresh_ms
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
    changed = {name: data.json(name) for name in ("verdicts", "identity")}
    yield Put(DEVICES.name, _judged({**row, **changed}))


def _alarm_raised(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    device = _device(rows, data.text("device"), event)
    cause = data.text("cause")
    yield Put(
        ALARMS.name,
        {
            "alarm_id": data.text("alarm_id"),
            "device": device["device"],
            "gateway": device["gateway"],
            "station": device["station"],
            "cause": cause,
            "state": "raised",
            "artefacts": data.json("artefacts"),
            "raised_ms": event.time_ms,
            "raised_height": event.height,
            "raised_index": event.index,
            "opening_tx": event.tx.hex(),
            "changed_height": event.height,
            "changed_ms": event.time_ms,
            "count": data.integer("count"),
        },
    )
    yield Put(DEVICES.name, _judged({**device, "causes": _causes(device, add=cause)}))


def _alarm_changed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(ALARMS.name, _moved(event, rows, "raised"))


def _alarm_returned(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    alarm = _moved(event, rows, "returned")
    device = _device(rows, str(alarm["device"]), event)
    yield Put(ALARMS.name, alarm)
    causes = _causes(device, drop=str(alarm["cause"]))
    yield Put(DEVICES.name, _judged({**device, "causes": causes}))


def _moved(event: EventRow, rows: Rows, state: str) -> Row:
    data = Data(event)
    alarm = rows.row(ALARMS.name, data.text("alarm_id"))
    if alarm is None:
        raise broken(event, f"there is no alarm {data.text('alarm_id')!r}")
    return {
        **alarm,
        "state": state,
        "artefacts": data.json("artefacts"),
        "changed_height": event.height,
        "changed_ms": event.time_ms,
        "count": data.integer("count"),
    }


def _causes(device: Row, add: str = "", drop: str = "") -> list[Json]:
    causes = device["causes"]
    assert isinstance(causes, list)
    return [*sorted({str(cause) for cause in causes} - {drop} | ({add} if add else set()))]


VIEW: Final = View(
    contract=CONTRACT,
    tables=(DEVICES, ALARMS),
    start=_start,
    folds={
        "report_accepted": _report_accepted,
        "verdict_changed": _verdict_changed,
        "alarm_raised": _alarm_raised,
        "alarm_changed": _alarm_changed,
        "alarm_returned": _alarm_returned,
    },
)
