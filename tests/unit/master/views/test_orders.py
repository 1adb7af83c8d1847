"""Work orders and read orders, from signed call to row; what depends on time is computed when it is read."""

from __future__ import annotations

import pytest

from master.views.orders import INSPECTION_STATES, INSPECTIONS, WORK_ORDERS, WORK_STATES
from master.views.schema import Reading, Row
from tests.unit.contracts.desk import MINUTE_MS, NONCE, Desk
from tests.unit.contracts.reports import entry, item
from tests.unit.master.views.test_contract_events import Consortium


class View(Desk):
    """A desk whose events go into view tables."""

    def __init__(self) -> None:
        self.consortium = Consortium()
        super().__init__(self.consortium)

    def only(self, table: str, ahead_ms: int = 0) -> Row:
        (row,) = self.consortium.shown(table, ahead_ms)
        return row


# holds OR-1 OR-2
def test_work_order_shows_its_state_by_the_time_of_the_newest_block() -> None:
    view = View()
    order = view.open(from_ms=view.now_ms + 5 * MINUTE_MS).tx.id
    row = view.only("work_orders")
    assert (row["id"], row["device"], row["station"]) == (order.hex(), "dev-1", "st-1")
    assert (row["state"], row["approved_ms"], row["fills"]) == ("requested", None, [])
    assert view.only("work_orders", 11 * MINUTE_MS)["state"] == "lapsed"
    view.call("dispatch", "approve", order=order)
    states = [view.only("work_orders", minutes * MINUTE_MS)["state"] for minutes in (0, 6, 11)]
    assert states == ["approved", "open", "over"]
    end_ms = view.only("work_orders")["to_ms"]
    assert isinstance(end_ms, int)
    head_ms = view.world.head.time_ms
    assert [view.only("work_orders", end_ms - head_ms + more)["state"] for more in (0, 1)] == ["open", "over"]
    view.wait(6 * MINUTE_MS)
    record = view.fill(order)
    fills = view.only("work_orders")["fills"]
    assert isinstance(fills, list)
    assert fills[0] == {
        "record": record.tx.id.hex(),
        "account": "grid",
        "organisation": "grid",
        "time_ms": view.world.head.time_ms,
    }
    view.call("dispatch", "close", order=order)
    row = view.only("work_orders", 11 * MINUTE_MS)
    assert (row["state"], row["closed_by"]) == ("closed", "dispatch")


# holds OR-4
def test_read_order_shows_what_was_answered_and_that_it_stays_unanswered() -> None:
    view = View()
    order = view.inspect().tx.id
    row = view.only("inspections")
    assert (row["id"], row["nonce"], row["state"]) == (order.hex(), NONCE.hex(), "open")
    assert (row["waiting"], row["station"]) == (["dev-1", "dev-2"], "st-1")
    first = view.read(nonce=NONCE)
    assert view.only("inspections")["waiting"] == ["dev-2"]
    assert view.only("inspections", 2 * MINUTE_MS)["state"] == "unanswered"
    second = view.read(item("s-2"), "dev-2", nonce=NONCE)
    row = view.only("inspections", 2 * MINUTE_MS)
    assert (row["state"], row["answered_ms"]) == ("answered", view.world.head.time_ms)
    assert row["answers"] == {
        "dev-1": {"status": "read", "read_after": True, "evidence_tx": first.tx.id.hex()},
        "dev-2": {"status": "read", "read_after": True, "evidence_tx": second.tx.id.hex()},
    }


# holds OR-6
def test_read_order_shows_a_read_that_began_before_it_and_goes_on_waiting() -> None:
    view = View()
    view.inspect(devices=["dev-1"])
    old = view.answer(entry("dev-1", item()))
    row = view.only("inspections")
    assert (row["state"], row["waiting"]) == ("open", ["dev-1"])
    assert row["answers"] == {"dev-1": {"status": "read", "read_after": False, "evidence_tx": old.tx.id.hex()}}
    view.read(nonce=NONCE)
    assert view.only("inspections")["state"] == "answered"


@pytest.mark.parametrize("state", WORK_STATES)
def test_work_orders_filtered_by_state_are_exactly_those_shown_so(state: str) -> None:
    view = View()
    view.open(from_ms=view.now_ms + 5 * MINUTE_MS)
    view.approved(from_ms=view.now_ms + 5 * MINUTE_MS)
    view.approved()
    view.call("grid", "close", order=view.approved())
    seen = set()
    for minutes in (0, 6, 11):
        reading = Reading(view.world.head.time_ms + minutes * MINUTE_MS, 0)
        conditions = WORK_ORDERS.condition("state", state, reading)
        found = view.consortium.tables.page(WORK_ORDERS, conditions, None, 100).rows
        every = view.consortium.tables.page(WORK_ORDERS, (), None, 100).rows
        assert list(found) == [row for row in every if WORK_ORDERS.present(row, reading)["state"] == state]
        seen |= {row["id"] for row in found}
    assert seen


@pytest.mark.parametrize("state", INSPECTION_STATES)
def test_inspections_filtered_by_state_are_exactly_those_shown_so(state: str) -> None:
    view = View()
    view.inspect(devices=["dev-1"])
    view.read(nonce=NONCE)
    view.inspect(gateway="gw-2", devices=["dev-3"], nonce=bytes(32))
    counts = []
    for minutes in (0, 2):
        reading = Reading(view.world.head.time_ms + minutes * MINUTE_MS, 0)
        conditions = INSPECTIONS.condition("state", state, reading)
        found = view.consortium.tables.page(INSPECTIONS, conditions, None, 100).rows
        assert all(INSPECTIONS.present(row, reading)["state"] == state for row in found)
        counts.append(len(found))
    assert counts == {"open": [1, 0], "answered": [1, 1], "unanswered": [0, 1]}[state]


# holds AP-7 AP-9
def test_device_inside_a_work_order_shows_pending_and_past_it_that_the_verdict_is_due() -> None:
    view = View()
    view.approved()
    view.seq = 0
    view.consortium.report("dev-1", item(firmware=b"half"))
    row = view.consortium.device("dev-1")
    assert row["state"] == "pending"
    assert row["pending_until_ms"] is not None
    assert view.consortium.device("dev-1", 11 * MINUTE_MS)["state"] == "window_over"
    view.wait(11 * MINUTE_MS)
    view.consortium.report("dev-1", item(firmware=b"half"))
    row = view.consortium.device("dev-1")
    assert (row["state"], row["pending_until_ms"]) == ("alarm", None)
    artefacts = row["artefacts"]
    assert isinstance(artefacts, list)
    claims = {one["kind"]: one["claim"] for one in artefacts if isinstance(one, dict)}
    assert claims["firmware"] == "the whole file, read from the device"
