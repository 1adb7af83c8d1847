"""Work orders and read orders, as the contract `orders` tells them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.contracts.orders import APPROVED, CLOSED, NAME, REQUESTED
from master.ledger.rows import EventRow
from master.views.consistency import DEVICES
from master.views.events import Data, broken
from master.views.schema import (
    Column,
    Comparison,
    Condition,
    Derived,
    Kind,
    Put,
    Reading,
    Row,
    Rows,
    Table,
    View,
    hexadecimal,
    integer,
    record,
    sequence,
    text,
)
from wire.evidence import STATUSES

if TYPE_CHECKING:
    from wire.genesis import Genesis

OPEN: Final = "open"
ANSWERED: Final = "answered"
WORK_STATES: Final = (REQUESTED, APPROVED, OPEN, "over", CLOSED, "lapsed")
INSPECTION_STATES: Final = (OPEN, ANSWERED, "unanswered")

_FILL: Final = record(
    {
        "record": hexadecimal("Transaction that says so.", 32),
        "account": text("Who signed it."),
        "organisation": text(),
        "time_ms": integer("Block time, ms since 1970 UTC."),
    }
)


def _work_state(row: Row, reading: Reading) -> str:
    step, from_ms, to_ms = row["step"], row["from_ms"], row["to_ms"]
    assert isinstance(step, str)
    assert isinstance(from_ms, int)
    assert isinstance(to_ms, int)
    now_ms = reading.head_time_ms
    if step == REQUESTED:
        return REQUESTED if now_ms <= to_ms else "lapsed"
    if step == APPROVED:
        return APPROVED if now_ms < from_ms else OPEN if now_ms <= to_ms else "over"
    return step


def _work_conditions(state: str, reading: Reading) -> tuple[Condition, ...]:
    now_ms = reading.head_time_ms
    step = {"lapsed": REQUESTED, "over": APPROVED, OPEN: APPROVED}.get(state, state)
    is_step = Condition("step", Comparison.EQUAL, step)
    if state in ("lapsed", "over"):
        return (is_step, Condition("to_ms", Comparison.LESS, now_ms))
    if state == REQUESTED:
        return (is_step, Condition("to_ms", Comparison.AT_LEAST, now_ms))
    if state == APPROVED:
        return (is_step, Condition("from_ms", Comparison.AT_LEAST, now_ms + 1))
    if state == OPEN:
        begun = Condition("from_ms", Comparison.LESS, now_ms + 1)
        return (is_step, begun, Condition("to_ms", Comparison.AT_LEAST, now_ms))
    return (is_step,)


def _inspection_state(row: Row, reading: Reading) -> str:
    step, deadline_ms = row["step"], row["deadline_ms"]
    assert isinstance(step, str)
    assert isinstance(deadline_ms, int)
    return "unanswered" if step == OPEN and deadline_ms < reading.head_time_ms else step


def _inspection_conditions(state: str, reading: Reading) -> tuple[Condition, ...]:
    if state == ANSWERED:
        return (Condition("step", Comparison.EQUAL, ANSWERED),)
    comparison = Comparison.LESS if state == "unanswered" else Comparison.AT_LEAST
    return (
        Condition("step", Comparison.EQUAL, OPEN),
        Condition("deadline_ms", comparison, reading.head_time_ms),
    )


WORK_ORDERS: Final = Table(
    name="work_orders",
    about="A planned change of one device: a release and a time for it.",
    key="id",
    order=("requested_height", "requested_index"),
    newest_first=True,
    columns=(
        Column("id", "Id of the work order: the transaction that asked for it."),
        Column("device", "Device that is to be changed.", filtered="device"),
        Column("station", "Station of the device.", filtered="station"),
        Column("release", "Digest of the planned release."),
        Column("release_name", "Name of the planned release."),
        Column("from_ms", "First block time at which changes are pending, ms since 1970 UTC.", Kind.INTEGER),
        Column("to_ms", "Last such block time, ms since 1970 UTC.", Kind.INTEGER),
        Column("organisation", "Who asked for it.", filtered="organisation"),
        Column("account", "Account that signed the request."),
        Column("approver", "Organisation that is to approve it.", filtered="approver"),
        Column("reason", "Why, as whoever asked for it says."),
        Column("approved_ms", "Block time of the approval, ms since 1970 UTC.", Kind.INTEGER, nullable=True),
        Column("closed_ms", "Block time at which somebody ended it, ms since 1970 UTC.", Kind.INTEGER, nullable=True),
        Column("closed_by", "Organisation that ended it.", nullable=True),
        Column("fills", "Who signed for filling the device, oldest first.", Kind.JSON, content=sequence(_FILL)),
        Column("requested_height", "Block of the request.", Kind.INTEGER),
        Column("requested_index", "Event of that block.", Kind.INTEGER, public=False),
        Column("step", "State without regard to time.", public=False, choices=(REQUESTED, APPROVED, CLOSED)),
    ),
    derived=(
        Derived(
            Column(
                "state",
                "At the time of the newest block. open: a change is pending; over: it counts again what was read; "
                "lapsed: nobody approved it in time.",
                filtered="state",
                choices=WORK_STATES,
            ),
            _work_state,
            _work_conditions,
        ),
    ),
)

INSPECTIONS: Final = Table(
    name="inspections",
    about="An order to a gateway to read devices at once.",
    key="id",
    order=("ordered_height", "ordered_index"),
    newest_first=True,
    columns=(
        Column("id", "Id of the order: its transaction."),
        Column("nonce", "What evidence that answers it carries."),
        Column("gateway", "Gateway that is to read.", filtered="gateway"),
        Column("station", "Station of the gateway.", filtered="station"),
        Column("devices", "Devices that it is to read.", Kind.JSON, content=sequence(text())),
        Column(
            "answers",
            "How the newest answer says that the read of each device ended, and the evidence that says so.",
            Kind.JSON,
            content={
                "type": "object",
                "additionalProperties": record(
                    {
                        "status": text(choices=STATUSES),
                        "read_after": {"type": "boolean", "description": "Whether the read began after the order."},
                        "evidence_tx": hexadecimal("Transaction of the evidence.", 32),
                    }
                ),
            },
        ),
        Column(
            "waiting",
            "Devices without an answer that counts.",
            Kind.JSON,
            content=sequence(text()),
        ),
        Column("organisation", "Who ordered it.", filtered="organisation"),
        Column("account", "Account that signed the order."),
        Column("deadline_ms", "Block time by which an answer is due, ms since 1970 UTC.", Kind.INTEGER),
        Column("ordered_ms", "Block time of the order, ms since 1970 UTC.", Kind.INTEGER),
        Column("answered_ms", "Block time of the last answer, ms since 1970 UTC.", Kind.INTEGER, nullable=True),
        Column("ordered_height", "Block of the order.", Kind.INTEGER),
        Column("ordered_index", "Event of that block.", Kind.INTEGER, public=False),
        Column("step", "State without regard to time.", public=False, choices=(OPEN, ANSWERED)),
    ),
    derived=(
        Derived(
            Column(
                "state",
                "At the time of the newest block. unanswered: the deadline is past, and devices wait.",
                filtered="state",
                choices=INSPECTION_STATES,
            ),
            _inspection_state,
            _inspection_conditions,
        ),
    ),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    del genesis
    return ()


def _known(event: EventRow, rows: Rows, table: Table, key: str) -> Row:
    row = rows.row(table.name, key)
    if row is None:
        raise broken(event, f"there is no {key} in {table.name}")
    return row


def _requested(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    device = _known(event, rows, DEVICES, data.text("device"))
    yield Put(
        WORK_ORDERS.name,
        {
            "id": data.hexadecimal("order"),
            "device": device["device"],
            "station": device["station"],
            "release": data.hexadecimal("release"),
            **{name: data.text(name) for name in ("release_name", "organisation", "account", "approver", "reason")},
            "from_ms": data.integer("from_ms"),
            "to_ms": data.integer("to_ms"),
            "approved_ms": None,
            "closed_ms": None,
            "closed_by": None,
            "fills": [],
            "requested_height": event.height,
            "requested_index": event.index,
            "step": REQUESTED,
        },
    )


def _approved(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row = _known(event, rows, WORK_ORDERS, Data(event).hexadecimal("order"))
    yield Put(WORK_ORDERS.name, {**row, "step": APPROVED, "approved_ms": event.time_ms})


def _closed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    row = _known(event, rows, WORK_ORDERS, data.hexadecimal("order"))
    yield Put(WORK_ORDERS.name, {**row, "step": CLOSED, "closed_ms": event.time_ms, "closed_by": data.text("by")})


def _filled(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    row = _known(event, rows, WORK_ORDERS, data.hexadecimal("order"))
    fills = row["fills"]
    assert isinstance(fills, list)
    entry: Row = {
        "record": data.hexadecimal("record"),
        "account": data.text("account"),
        "organisation": data.text("organisation"),
        "time_ms": data.integer("time_ms"),
    }
    yield Put(WORK_ORDERS.name, {**row, "fills": [*fills, entry]})


def _ordered(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    devices = data.json("devices")
    assert isinstance(devices, list)
    first = _known(event, rows, DEVICES, str(devices[0]))
    yield Put(
        INSPECTIONS.name,
        {
            "id": data.hexadecimal("order"),
            "nonce": data.hexadecimal("nonce"),
            "gateway": data.text("gateway"),
            "station": first["station"],
            "devices": devices,
            "answers": {},
            "waiting": devices,
            "organisation": data.text("organisation"),
            "account": data.text("account"),
            "deadline_ms": data.integer("deadline_ms"),
            "ordered_ms": event.time_ms,
            "answered_ms": None,
            "ordered_height": event.height,
            "ordered_index": event.index,
            "step": OPEN,
        },
    )


def _answered(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    row = _known(event, rows, INSPECTIONS, data.hexadecimal("order"))
    answers, told, left = row["answers"], data.json("answered"), data.json("left")
    assert isinstance(answers, dict)
    assert isinstance(told, dict)
    tx = data.hexadecimal("evidence_tx")
    more: Row = {name: {**one, "evidence_tx": tx} for name, one in told.items() if isinstance(one, dict)}
    yield Put(
        INSPECTIONS.name,
        {
            **row,
            "answers": {**answers, **more},
            "waiting": left,
            "answered_ms": event.time_ms,
            "step": OPEN if left else ANSWERED,
        },
    )


VIEW: Final = View(
    contract=NAME,
    tables=(WORK_ORDERS, INSPECTIONS),
    start=_start,
    folds={
        "work_requested": _requested,
        "work_approved": _approved,
        "work_closed": _closed,
        "filled": _filled,
        "inspection_ordered": _ordered,
        "inspection_answered": _answered,
    },
)
