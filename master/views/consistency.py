"""Devices and the verdicts about them, as the contract `consistency` tells them; `alarms` has its alarms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.contracts.alarm_states import CLOSED
from master.contracts.alarms import EVENTS, FLOOD
from master.ledger.rows import EventRow
from master.views import alarms
from master.views.events import Data, broken
from master.views.findings import ARTEFACT, PAST_ARTEFACT
from master.views.schema import (
    Asked,
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
    record,
    sequence,
    text,
)
from rules.appraisal import MATCH, PENDING, VERDICTS, claim
from wire.evidence import KINDS, METHODS, STATUSES

if TYPE_CHECKING:
    from wire.genesis import Genesis

CONTRACT: Final = "consistency"

RETIRED: Final = "retired"
IN_USE: Final = ("alarm", "match", "never_read", "pending", "unknown_reference", "unreachable")
"""Conditions of devices that have not retired."""
_CONDITIONS: Final = (*IN_USE, RETIRED)
_AGEING: Final = ("match", "pending", "unknown_reference", "unreachable")
"""Conditions that say nothing any more once they are old; an alarm stays one."""
WINDOW_OVER: Final = "window_over"
"""Pending, but the time of its work order is past: the next report brings the verdict that counts."""
STATES: Final = (*_CONDITIONS, "stale", WINDOW_OVER)
_BASELINE: Final = ("baseline_ms", "baseline_height", "baseline_tx", "baseline_method")

_PAST: Final = ("kind", "verdict", "read_sha256", "detail", "method")

_IDENTITY: Final = record(
    {name: text() for name in ("vendor", "product", "revision", "serial", "model")},
    "What the device says of itself.",
)
_VERDICTS: Final[Schema] = {
    "type": "object",
    "propertyNames": {"enum": list(KINDS)},
    "additionalProperties": text(choices=VERDICTS),
}


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
            content=_VERDICTS,
        ),
        Column("artefacts", "What was read and found, newest verdicts.", Kind.JSON, content=sequence(ARTEFACT)),
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
            "judged_height",
            "Block in which the verdicts were made last, or found to hold; reference values that changed in a later "
            "one count from the next report on.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column(
            "pending_until_ms",
            "Block time up to which a work order excuses what was found, ms since 1970 UTC; null outside one.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column(
            "baseline_ms",
            "As of when every artefact was verified: block time or the oldest read that it stands on, whichever is "
            "older; null: never.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column("retired_ms", "Block time at which its owner took it out of use.", Kind.INTEGER, nullable=True),
        Column("retirement", "Why, for people.", nullable=True),
        Column("baseline_height", "Block that verified it last.", Kind.INTEGER, nullable=True),
        Column("baseline_tx", "Transaction that verified it last.", nullable=True),
        Column("baseline_method", "The weakest method that it rests on.", nullable=True, choices=METHODS),
        Column("verified_ms", "The same, -1 for never.", Kind.INTEGER, public=False, indexed=True),
        Column("verified_item", "Item whose artefacts all match; its reads verify.", nullable=True, public=False),
        Column("verified_method", "The weakest method of that item.", nullable=True, public=False),
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
    asked=(
        Asked(
            Column(
                "judged_before",
                "Only devices with verdicts that are all older than this block.",
                Kind.INTEGER,
                filtered="judged_before",
            ),
            lambda height: (Condition("judged_height", Comparison.LESS, height),),
        ),
    ),
)

VERDICTS_TABLE: Final = Table(
    name="verdicts",
    about="One appraisal of a device that found something else than the one before it, or something else was read.",
    key="place",
    order=("height", "event_index"),
    newest_first=True,
    columns=(
        Column("place", "HEIGHT-INDEX of its event."),
        Column("device", "Device that it is about.", filtered="device"),
        Column("gateway", "Gateway that read the device.", filtered="gateway"),
        Column("station", "Station of the device.", filtered="station"),
        Column("verdicts", "Verdict by artefact kind.", Kind.JSON, content=_VERDICTS),
        Column("artefacts", "What was read and found.", Kind.JSON, content=sequence(PAST_ARTEFACT)),
        Column("identity_changed", "Whether it was another device.", Kind.JSON, content={"type": "boolean"}),
        Column("item_digest", "Digest of the item that was appraised."),
        Column("time_ms", "Block time, ms since 1970 UTC.", Kind.INTEGER),
        Column("height", "Block.", Kind.INTEGER),
        Column("event_index", "Event of that block.", Kind.INTEGER, public=False),
        Column("tx", "Transaction that led to it: a report, or an endorsement that made a release count."),
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
        "judged_height": None,
        "pending_until_ms": None,
        "retired_ms": None,
        "retirement": None,
        **dict.fromkeys(_BASELINE),
        "verified_ms": -1,
        "verified_item": None,
        "verified_method": None,
        "condition": "never_read",
        "fresh_ms": 0,
    }


def judged(row: Row) -> Row:
    """Return a device's row with `condition` and `fresh_ms` as its other columns imply.

    A report is as fresh as the older of its block and the oldest read that it stands on: a gateway's clock that runs
    ahead cannot keep a device fresh, nor can one that reads a large file less often than the others.
    """
    verdicts, report_time_ms, read_from_ms = (row[name] for name in ("verdicts", "report_time_ms", "read_from_ms"))
    assert isinstance(verdicts, dict)
    fresh_ms = report_time_ms if isinstance(report_time_ms, int) else 0
    if row["retired_ms"] is not None:
        condition = RETIRED
    elif row["causes"]:
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


def _verified(row: Row, event: EventRow) -> Row:
    """Return a device's row after an event by which all of its artefacts match."""
    read_from_ms, known_ms = row["read_from_ms"], row["baseline_ms"]
    at_ms = min(event.time_ms, read_from_ms) if isinstance(read_from_ms, int) else event.time_ms
    if isinstance(known_ms, int) and at_ms <= known_ms:
        return row
    values = (at_ms, event.height, event.tx.hex(), row["verified_method"])
    return {**row, **dict(zip(_BASELINE, values, strict=True)), "verified_ms": at_ms}


def _report_accepted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    for entry in Data(event).entries("devices"):
        row = {
            **_device(rows, str(entry["device"]), event),
            "status": entry["status"],
            "read_from_ms": entry["read_from_ms"],
            "read_to_ms": entry["read_to_ms"],
            "report_height": event.height,
            "report_tx": event.tx.hex(),
            "report_time_ms": event.time_ms,
            "judged_height": event.height,
        }
        # another item than the one that matched is appraised first, and tells that itself
        if entry["status"] == "read" and row["verified_item"] is not None:
            row = _verified(row, event) if entry["item_digest"] == row["verified_item"] else row
        yield Put(DEVICES.name, judged(row))


def _verdict_changed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    row = _device(rows, data.text("device"), event)
    verdicts, item = data.json("verdicts"), data.hexadecimal("item_digest")
    assert isinstance(verdicts, dict)
    artefacts = data.entries("artefacts")
    claimed: list[Json] = [_claimed(entry) for entry in artefacts]
    changed = {name: data.json(name) for name in ("identity", "pending_until_ms")}
    row = {**row, **changed, "verdicts": verdicts, "artefacts": claimed, "judged_height": event.height}
    matches = set(verdicts.values()) == {MATCH} and data.json("identity_changed") is False
    row["verified_item"] = item if matches else None
    # the methods are named in such a way that the weakest comes last
    row["verified_method"] = max(str(artefact["method"]) for artefact in artefacts) if matches else None
    yield Put(DEVICES.name, judged(_verified(row, event) if matches else row))
    yield Put(
        VERDICTS_TABLE.name,
        {
            "place": f"{event.height}-{event.index}",
            **{name: row[name] for name in ("device", "gateway", "station")},
            "verdicts": verdicts,
            "artefacts": [{name: artefact[name] for name in _PAST} for artefact in artefacts],
            "identity_changed": data.json("identity_changed"),
            "item_digest": item,
            "time_ms": event.time_ms,
            "height": event.height,
            "event_index": event.index,
            "tx": event.tx.hex(),
        },
    )


def _claimed(entry: Row) -> Row:
    """Say beside a verdict what it is about."""
    method = entry["method"]
    return {**entry, "claim": claim(str(entry["verdict"]), None if method is None else str(method))}


def _alarm(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    """Show an alarm as its newest event has it, and the device as its alarms leave it."""
    del genesis
    data = Data(event)
    yield from alarms.fold(event, rows)
    name = data.text_or_none("device")
    if name is None:
        return
    device = _device(rows, name, event)
    present = data.json("present") is True and data.text("state") != CLOSED
    yield Put(DEVICES.name, judged({**device, "causes": _causes(device, data.text("cause"), present=present)}))


def _flood(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    return alarms.fold_flood(event, rows)


def _causes(device: Row, cause: str, *, present: bool) -> list[Json]:
    causes = device["causes"]
    assert isinstance(causes, list)
    others = {str(other) for other in causes} - {cause}
    return [*sorted({*others, cause} if present else others)]


VIEW: Final = View(
    contract=CONTRACT,
    tables=(DEVICES, VERDICTS_TABLE, *alarms.TABLES),
    start=_start,
    folds={
        "report_accepted": _report_accepted,
        "verdict_changed": _verdict_changed,
        **dict.fromkeys(EVENTS.values(), _alarm),
        FLOOD: _flood,
    },
)
