"""Contract orders: work orders, fills and read orders, each call with its refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from master.contracts import orders, read_orders
from master.contracts.membership import Member
from master.contracts.orders import WINDOWS_MAX
from master.contracts.read_orders import INSPECTIONS_MAX
from master.ledger.call import StateReads
from master.ledger.state import Overlay
from tests.unit.contracts.desk import MINUTE_MS, NONCE, PLANNED, PLANNED_FIRMWARE, Desk
from tests.unit.contracts.reports import entry, item, lab_test, release, revoke, submit
from tests.unit.ledger.worlds import Done, World, key_of, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.evidence import Clock
from wire.genesis import AccountKey, Organisation
from wire.types import sha256


def reads(desk: Desk) -> StateReads:
    return StateReads(Overlay(desk.world.state))


# holds OR-1
def test_work_order_is_asked_for_by_the_owner_and_approved_by_another() -> None:
    desk = Desk()
    done = desk.open()
    assert done.code == "ok"
    (told,) = done.events("work_requested")
    assert (told["device"], told["release_name"], told["approver"]) == ("dev-1", "r-2", "dispatch")
    assert orders.of_device(reads(desk), "dev-1", desk.now_ms) == (None, None)
    assert desk.call("dispatch", "approve", order=done.tx.id).code == "ok"
    window, fill = orders.of_device(reads(desk), "dev-1", desk.now_ms)
    assert window is not None
    assert (window.order, window.release) == (done.tx.id, "r-2")
    assert window.contents == {"firmware": sha256(PLANNED_FIRMWARE)}
    assert fill is None


# holds OR-1
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"device": 7}, "bad-args"),
        ({"device": "DEV"}, "bad-args"),
        ({"device": "dev-9"}, "unknown-device"),
        ({"release": b"short"}, "bad-args"),
        ({"release": bytes(32)}, "unknown-release"),
        ({"device": "dev-4"}, "wrong-target"),
        ({"from_ms": "now"}, "bad-args"),
        ({"from_ms": -1}, "bad-window"),
        ({"to_ms": 0}, "bad-window"),
        ({"to_ms": 2**60}, "bad-window"),
        ({"approver": 7}, "bad-args"),
        ({"approver": "NO ONE"}, "wrong-approver"),
        ({"approver": "nobody"}, "wrong-approver"),
        ({"approver": "lab"}, "wrong-approver"),
        ({"reason": "x" * 257}, "bad-args"),
        ({"reason": "x\u202ey"}, "bad-args"),
        ({"reason": None}, "bad-args"),
        ({"more": 1}, "bad-args"),
    ],
)
def test_work_order_that_is_not_in_order_is_refused(changes: dict[str, Value], code: str) -> None:
    done = Desk().open(**changes)
    assert (done.code, done.event_types) == (code, [])


# holds OR-1
@pytest.mark.parametrize("sender", ["maker-a", "dispatch", "gw-1"])
def test_work_order_of_who_is_not_responsible_for_the_device_is_refused(sender: str) -> None:
    assert Desk().open(sender).code == "not-yours"


# holds OR-1
def test_work_order_for_a_release_of_another_device_is_refused() -> None:
    desk = Desk()
    other = release("r-3", device="dev-2", firmware=b"of dev-2")
    submit(desk.world, other)
    assert desk.open(release=other.digest()).code == "wrong-target"
    assert desk.open(release=other.digest(), device="dev-2").code == "ok"


def tree(grid_parent: str) -> World:
    """Return a consortium whose grid company is in the jurisdiction of a sub-centre, beside another one.

    One regulator stands under nobody, and one, the office, under the dispatch centre.
    """
    known = make_genesis()
    roles: dict[str, tuple[str, str | None]]
    roles = {"east": ("sub-centre", "dispatch"), "west": ("sub-centre", "dispatch"), "far": ("dispatch-centre", None)}
    roles["office"] = ("regulator", "dispatch")
    made = [Organisation(name, role, parent=parent) for name, (role, parent) in roles.items()]
    made += [replace(entry, parent=grid_parent) if entry.id == "grid" else entry for entry in known.organisations]
    keys = [AccountKey(key_of(name).verify_key.encode(), name, name) for name in roles]
    return World(
        replace(
            known,
            organisations=tuple(sorted(made, key=lambda entry: entry.id)),
            keys=tuple(sorted((*known.keys, *keys), key=lambda entry: entry.key)),
        )
    )


def put(world: World, key: str, **value: Value) -> None:
    """Write an entry of membership, as calls of that contract do."""
    world.state.entries["membership", key.encode()] = cbor.encode(dict(value))


# holds OR-1
@pytest.mark.parametrize(("approver", "code"), [("east", "ok"), ("dispatch", "ok"), ("west", "no"), ("far", "no")])
def test_work_order_is_approved_by_an_agency_above_the_owner_alone(approver: str, code: str) -> None:
    desk = Desk(tree("east"))
    done = desk.open(approver=approver)
    assert done.code == ("ok" if code == "ok" else "wrong-approver")
    if code == "ok":
        assert desk.call(approver, "approve", order=done.tx.id).code == "ok"
    # over an owner that stands under nobody any dispatch centre has a say, and no sub-centre
    alone = Desk()
    assert alone.open(approver="dispatch").code == "ok"
    put(alone.world, "station/st-1", area="north", organisation="dispatch")
    assert alone.open("dispatch", approver="dispatch").code == "wrong-approver"


# holds OR-1
@pytest.mark.parametrize("other", ["dispatch", "east", "grid", "gw-1"])
def test_work_order_is_approved_by_nobody_but_whom_it_names(other: str) -> None:
    """Neither by others that have a say over the owner, nor by who asked."""
    desk = Desk(tree("east"))
    asker, approver = ("dispatch", "east") if other == "dispatch" else ("east", "dispatch")
    order = desk.open(asker, approver=approver).tx.id
    refused = desk.call(other, "approve", order=order)
    assert refused.code == ("not-yours" if other == "gw-1" else "wrong-approver")
    assert desk.call(approver, "approve", order=order).code == "ok"


# holds OR-1
@pytest.mark.parametrize(
    ("approver", "code"),
    [("regulator", "ok"), ("far", "ok"), ("office", "no"), ("dispatch", "no"), ("lab", "no"), ("east", "no")],
)
def test_work_order_of_the_only_dispatch_centre_is_approved_by_a_regulator_that_is_not_under_it(
    approver: str, code: str
) -> None:
    desk = Desk(tree("east"))
    put(desk.world, "station/st-1", area="north", organisation="dispatch")
    done = desk.open("dispatch", approver=approver)
    assert done.code == ("ok" if code == "ok" else "wrong-approver")
    if code == "ok":
        assert desk.call("dispatch", "approve", order=done.tx.id).code == "wrong-approver"
        assert desk.call(approver, "approve", order=done.tx.id).code == "ok"


# holds OR-1
@pytest.mark.parametrize("owner", ["grid", "east", "maker-a"])
def test_work_order_of_anybody_else_is_approved_by_no_regulator(owner: str) -> None:
    desk = Desk(tree("east"))
    put(desk.world, "station/st-1", area="north", organisation=owner)
    assert desk.open(owner, approver="regulator").code == "wrong-approver"


# holds OR-1
def test_work_order_of_a_dispatch_centre_is_not_approved_by_a_regulator_that_came_under_it_since() -> None:
    desk = Desk(tree("east"))
    put(desk.world, "station/st-1", area="north", organisation="dispatch")
    order = desk.open("dispatch", approver="regulator").tx.id
    under = Member("regulator", "regulator", "dispatch", None, None, None, None)
    put(desk.world, "organisation/regulator", **under.to_value())
    assert desk.call("regulator", "approve", order=order).code == "wrong-approver"


# holds OR-1 OR-2
def test_work_order_of_a_device_that_moved_since_is_not_approved() -> None:
    desk = Desk(tree("east"))
    first, second, third = (desk.open(approver=approver).tx.id for approver in ("east", "dispatch", "east"))
    assert desk.call("east", "approve", order=third).code == "ok"
    put(desk.world, "station/st-1", area="north", organisation="maker-a")
    for order, approver in ((first, "east"), (second, "dispatch")):
        assert desk.call(approver, "approve", order=order).code == "wrong-owner"
    # the approver has no say over the new owner, though the one who asked is above it
    put(desk.world, "station/st-1", area="north", organisation="west")
    above = desk.open("dispatch", approver="far")
    assert above.code == "wrong-approver"
    put(desk.world, "station/st-1", area="north", organisation="grid")
    order = desk.open("dispatch", approver="east").tx.id
    put(desk.world, "station/st-1", area="north", organisation="west")
    assert desk.call("east", "approve", order=order).code == "wrong-approver"
    # nor is the new owner left with what the one before it planned
    assert desk.call("maker-a", "close", order=third).code == "not-yours"
    assert desk.call("west", "close", order=third).code == "ok"


# holds OR-1
def test_work_order_is_approved_once_in_time_by_whom_it_names() -> None:
    desk = Desk()
    order = desk.open().tx.id
    assert desk.call("dispatch", "approve", order=bytes(32)).code == "unknown-order"
    assert desk.call("dispatch", "approve", order=b"").code == "bad-args"
    assert desk.call("grid", "approve", order=order).code == "wrong-approver"
    assert desk.call("gw-1", "approve", order=order).code == "not-yours"
    assert desk.call("dispatch", "approve", order=order).code == "ok"
    assert desk.call("dispatch", "approve", order=order).code == "not-requested"
    late = desk.open().tx.id
    desk.wait(11 * MINUTE_MS)
    assert desk.call("dispatch", "approve", order=late).code == "over"


# holds OR-1
def test_work_orders_of_one_device_are_bounded_and_make_room_when_they_are_over() -> None:
    desk = Desk()
    for _ in range(WINDOWS_MAX // 2):
        desk.approved()
    one_more = desk.open(to_ms=desk.now_ms + 60 * MINUTE_MS).tx.id
    assert desk.call("dispatch", "approve", order=one_more).code == "too-many-orders"
    desk.wait(11 * MINUTE_MS)
    assert desk.call("dispatch", "approve", order=one_more).code == "ok"


# holds OR-1
def test_work_order_for_a_release_that_failed_or_was_revoked_is_neither_taken_nor_approved() -> None:
    for end, code in (("fail", "release-failed"), ("revoke", "release-revoked")):
        desk = Desk()
        order = desk.open().tx.id
        if end == "fail":
            assert lab_test(desk.world, PLANNED.digest(), "fail").code == "ok"
        else:
            assert revoke(desk.world, "maker-a", PLANNED.digest()).code == "ok"
        assert desk.call("dispatch", "approve", order=order).code == code
        assert desk.open().code == code
        assert desk.call("grid", "close", order=order).code == "ok"


# holds MB-17
def test_work_order_for_a_device_that_retired_is_not_approved() -> None:
    desk = Desk()
    before, order = desk.approved(), desk.open().tx.id
    retired = desk.world.call("grid", "membership", "retire-device", {"device": "dev-1", "reason": "burnt"})
    assert retired.code == "ok"
    assert desk.call("dispatch", "approve", order=order).code == "unknown-device"
    assert desk.open().code == "unknown-device"
    assert desk.inspect().code == "foreign-device"
    assert desk.call("grid", "close", order=before).code == "ok"


# holds OR-2
def test_work_order_is_closed_by_either_side_once() -> None:
    desk = Desk()
    first, second = desk.approved(), desk.open().tx.id
    assert desk.call("maker-a", "close", order=first).code == "not-yours"
    assert desk.call("gw-1", "close", order=first).code == "not-yours"
    assert desk.call("grid", "close", order=first).events("work_closed")[0]["by"] == "grid"
    assert desk.call("dispatch", "close", order=first).code == "closed"
    assert desk.call("dispatch", "close", order=second).code == "ok"
    assert desk.call("dispatch", "approve", order=second).code == "not-requested"
    assert orders.of_device(reads(desk), "dev-1", desk.now_ms)[0] is None


def test_super_node_keeps_approving_and_inspecting_for_itself_where_genesis_says_so() -> None:
    desk = Desk(World(make_genesis({"super_only": ["orders.inspect", "orders.open"]})))
    assert desk.open().code == "super-node-only"
    assert desk.inspect().code == "super-node-only"
    assert desk.inspect("dispatch").code == "ok"


# holds OR-3
def test_fill_is_signed_by_the_owner_or_the_manufacturer_inside_the_time() -> None:
    desk = Desk()
    order = desk.approved()
    done = desk.fill(order, "maker-a")
    assert done.code == "ok"
    (told,) = done.events("filled")
    assert (told["account"], told["order"], told["release"]) == ("maker-a", order, "r-2")
    _, fill = orders.of_device(reads(desk), "dev-1", desk.now_ms)
    assert fill is not None
    assert (fill.record, fill.account, fill.organisation) == (done.tx.id, "maker-a", "maker-a")
    newer = desk.fill(order)
    _, fill = orders.of_device(reads(desk), "dev-1", desk.now_ms)
    assert fill is not None
    assert fill.record == newer.tx.id


# holds OR-3
@pytest.mark.parametrize(
    ("sender", "changes", "code"),
    [
        ("grid", {"device": None}, "bad-args"),
        ("grid", {"device": "dev-9"}, "unknown-device"),
        ("grid", {"device": "dev-2"}, "wrong-device"),
        ("grid", {"release": bytes(32)}, "wrong-release"),
        ("grid", {"order": bytes(32)}, "unknown-order"),
        ("lab", {}, "not-yours"),
        ("gw-1", {}, "not-yours"),
    ],
)
def test_fill_that_does_not_fit_its_work_order_is_refused(sender: str, changes: dict[str, Value], code: str) -> None:
    desk = Desk()
    args: dict[str, Value] = {"device": "dev-1", "release": PLANNED.digest(), "order": desk.approved()}
    assert desk.call(sender, "fill", **{**args, **changes}).code == code


# holds OR-3
def test_fill_outside_the_time_or_before_the_approval_is_refused() -> None:
    desk = Desk()
    assert desk.fill(desk.open().tx.id).code == "not-approved"
    later = desk.approved(from_ms=desk.now_ms + 5 * MINUTE_MS)
    assert desk.fill(later).code == "outside-window"
    desk.wait(11 * MINUTE_MS)
    assert desk.fill(later).code == "outside-window"


# holds OR-4
def test_read_order_is_open_until_evidence_with_its_nonce_told_of_every_device() -> None:
    desk = Desk()
    done = desk.inspect()
    assert done.code == "ok"
    (told,) = done.events("inspection_ordered")
    assert (told["gateway"], told["devices"], told["nonce"]) == ("gw-1", ["dev-1", "dev-2"], NONCE)
    assert read_orders.open_inspections(reads(desk), "gw-1", desk.now_ms) == (done.tx.id,)
    assert desk.read(nonce=sha256(b"another")).events("inspection_answered") == []
    assert desk.read().events("inspection_answered") == []
    (first,) = desk.read(nonce=NONCE).events("inspection_answered")
    assert (first["order"], first["left"]) == (done.tx.id, ["dev-2"])
    assert first["answered"] == {"dev-1": {"status": "read", "read_after": True}}
    assert desk.read(nonce=NONCE).events("inspection_answered") == []
    (last,) = desk.answer(entry("dev-2", None, status="unreachable")).events("inspection_answered")
    assert (last["answered"], last["left"]) == ({"dev-2": {"status": "unreachable", "read_after": False}}, [])
    assert read_orders.open_inspections(reads(desk), "gw-1", desk.now_ms) == ()


# holds OR-4
def test_read_order_is_not_answered_by_another_gateway_nor_open_past_its_deadline() -> None:
    desk = Desk()
    assert desk.inspect().code == "ok"
    assert desk.read(item("s-3"), "dev-3", nonce=NONCE).events("inspection_answered") == []
    # nor by the one behind which a device of it is by now
    desk.world.call("grid", "membership", "bind", {"kind": "device", "id": "dev-2", "to": "gw-2"})
    told = desk.answer(entry("dev-2", item("s-2")), gateway="gw-2").event_types
    assert "report_accepted" in told
    assert "inspection_answered" not in told
    assert read_orders.open_inspections(reads(desk), "gw-1", desk.now_ms + 2 * MINUTE_MS) == ()
    assert read_orders.open_inspections(reads(desk), "gw-2", desk.now_ms) == ()


# holds OR-4
def test_answer_that_came_after_newer_evidence_counts() -> None:
    desk = Desk()
    desk.inspect(devices=["dev-1"])
    desk.seq = 5
    desk.read()
    now_ms, desk.seq = desk.now_ms, 2
    late = desk.answer(entry("dev-1", item(), read_from_ms=now_ms, read_to_ms=now_ms))
    assert late.events("inspection_answered")[0]["left"] == []


SKEW_MS = 1_000


# holds OR-6
@pytest.mark.parametrize(
    ("began_ms", "clock", "is_after"),
    [
        # a clock that says nothing of itself: it may be behind, and the block ahead, by skew_ms each
        (-2 * SKEW_MS, Clock(0, "system", None, "unknown"), True),
        (-2 * SKEW_MS - 1, Clock(0, "system", None, "unknown"), False),
        (-2 * SKEW_MS - 1, Clock(0, "ntp", -3_000, "synchronised"), False),
        # one that the ledger's time corrects, an hour behind and an hour ahead
        (-3_600_000 - 2 * SKEW_MS, Clock(0, "ledger", -3_600_000, "suspect"), True),
        (-3_600_000 - 2 * SKEW_MS - 1, Clock(0, "ledger", -3_600_000, "suspect"), False),
        (3_600_000 - 2 * SKEW_MS, Clock(0, "ledger", 3_600_000, "suspect"), True),
        (3_600_000 - 2 * SKEW_MS - 1, Clock(0, "ledger", 3_600_000, "suspect"), False),
        # one that is ahead of the block that holds the evidence
        (60_000 - 2 * SKEW_MS, Clock(60_000, "system", None, "unknown"), True),
        (60_000 - 2 * SKEW_MS - 1, Clock(60_000, "system", None, "unknown"), False),
        (60_000, Clock(2**62, "ledger", 2**62, "suspect"), False),
    ],
)
def test_read_order_is_met_by_a_read_that_began_after_it_alone(began_ms: int, clock: Clock, is_after: bool) -> None:  # noqa: FBT001
    """Times count from the order's block for the read, and from the answer's block for the clock."""
    desk = Desk()
    ordered_ms = desk.now_ms
    assert desk.inspect(devices=["dev-1"]).code == "ok"
    from_ms = ordered_ms + began_ms
    lines = entry("dev-1", item(), read_from_ms=from_ms, read_to_ms=from_ms)
    (told,) = desk.answer(lines, clock=replace(clock, time_ms=desk.now_ms + clock.time_ms)).events(
        "inspection_answered"
    )
    assert told["answered"] == {"dev-1": {"status": "read", "read_after": is_after}}
    assert told["left"] == ([] if is_after else ["dev-1"])
    assert bool(read_orders.open_inspections(reads(desk), "gw-1", desk.now_ms)) is not is_after


# holds OR-6
def test_evidence_that_names_a_block_before_the_read_order_does_not_meet_it() -> None:
    desk = Desk()
    desk.inspect(devices=["dev-1"])
    height, now_ms = desk.world.head.height, desk.now_ms
    lines = entry("dev-1", item(), read_from_ms=now_ms, read_to_ms=now_ms)
    (older,) = desk.answer(lines, height=height - 1).events("inspection_answered")
    assert (older["answered"], older["left"]) == ({"dev-1": {"status": "read", "read_after": False}}, ["dev-1"])
    (newer,) = desk.answer(lines, height=height).events("inspection_answered")
    assert (newer["answered"], newer["left"]) == ({"dev-1": {"status": "read", "read_after": True}}, [])


# holds OR-4
@pytest.mark.parametrize(
    ("sender", "changes", "code"),
    [
        ("regulator", {"gateway": 7}, "bad-args"),
        ("regulator", {"gateway": "GW"}, "bad-args"),
        ("regulator", {"gateway": "gw-9"}, "unknown-gateway"),
        ("regulator", {"devices": []}, "bad-args"),
        ("regulator", {"devices": "dev-1"}, "bad-args"),
        ("regulator", {"devices": ["dev-2", "dev-1"]}, "bad-args"),
        ("regulator", {"devices": [7]}, "bad-args"),
        ("regulator", {"devices": [f"d-{number:02}" for number in range(65)]}, "bad-args"),
        ("regulator", {"devices": ["dev-3"]}, "foreign-device"),
        ("regulator", {"devices": ["dev-9"]}, "foreign-device"),
        ("regulator", {"nonce": bytes(31)}, "bad-args"),
        ("regulator", {"deadline_ms": None}, "bad-args"),
        ("regulator", {"deadline_ms": 0}, "bad-deadline"),
        ("regulator", {"deadline_ms": 2**60}, "bad-deadline"),
        ("lab", {}, "wrong-role"),
        ("maker-a", {}, "wrong-role"),
        ("gw-1", {}, "not-yours"),
    ],
)
def test_read_order_that_is_not_in_order_is_refused(sender: str, changes: dict[str, Value], code: str) -> None:
    done = Desk().inspect(sender, **changes)
    assert (done.code, done.event_types) == (code, [])


# holds OR-4
def test_owner_of_a_gateway_may_order_a_read() -> None:
    assert Desk().inspect("grid").code == "ok"


# holds OR-5
def test_read_orders_are_bounded_in_rate_and_number() -> None:
    desk = Desk(World(make_genesis({"inspect_interval_ms": 5000})))

    def ask(number: int) -> Done:
        return desk.inspect(nonce=sha256(str(number).encode()), deadline_ms=desk.now_ms + 10 * MINUTE_MS)

    assert ask(0).code == "ok"
    assert ask(0).code == "nonce-used"
    assert ask(1).code == "too-soon"
    for number in range(1, INSPECTIONS_MAX // 2):
        desk.wait(5000)
        assert ask(number).code == "ok"
    desk.wait(5000)
    assert ask(99).code == "too-many-orders"
    desk.wait(11 * MINUTE_MS)
    assert ask(100).code == "ok"
    assert len(read_orders.open_inspections(reads(desk), "gw-1", desk.now_ms)) == 1


# holds OR-5 MB-16
def test_read_orders_of_one_organisation_keep_nobody_else_from_ordering_reads() -> None:
    desk = Desk(World(make_genesis({"inspect_interval_ms": 5000})))

    def ask(sender: str, number: int) -> str:
        nonce = sha256(f"{sender} {number}".encode())
        return desk.inspect(sender, nonce=nonce, deadline_ms=desk.now_ms + 10 * MINUTE_MS).code

    codes = []
    for number in range(5):
        codes.append(ask("regulator", number))
        desk.wait(5000)
    assert codes == ["ok"] * 4 + ["too-many-orders"]
    assert [ask("grid", number) for number in range(2)] == ["ok", "too-soon"]
    assert ask("dispatch", 0) == "ok"


# holds OR-5
def test_read_orders_of_many_organisations_at_a_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_orders, "ORDERERS_MAX", 1)
    desk = Desk()
    assert desk.inspect("regulator").code == "ok"
    assert desk.inspect("grid", nonce=bytes(32)).code == "too-many-orders"
    desk.wait(10_000)
    assert desk.inspect("grid", nonce=bytes(32)).code == "ok"
