"""Contract consistency and work orders: pending inside, enforced after, by block time alone; numbers of evidence."""

from __future__ import annotations

from dataclasses import replace

from master.contracts.consistency import DUE_MAX
from rules.gaps import decode_counters, gaps
from tests.unit.contracts.desk import MINUTE_MS, PLANNED, PLANNED_FIRMWARE, Desk
from tests.unit.contracts.reports import (
    alarm_events,
    artefact,
    endorse,
    entry,
    evidence,
    item,
    lab_test,
    make_effective,
    release,
    revoke,
    send,
    submit,
    verdicts,
)
from tests.unit.ledger.worlds import Done, World, make_genesis
from wire import cbor
from wire.genesis import Device

CHANGED = item(firmware=b"half of it")
FILLED = item(firmware=PLANNED_FIRMWARE)


def firmware(done: Done, device: str = "dev-1") -> object:
    told = verdicts(done)[device]
    assert isinstance(told, dict)
    return told["firmware"]


# holds AP-7
def test_change_inside_a_work_order_is_pending_and_raises_no_alarm() -> None:
    desk = Desk()
    desk.read()
    desk.approved()
    done = desk.read(CHANGED)
    assert firmware(done) == "pending"
    assert alarm_events(done) == []
    assert done.events("verdict_changed")[0]["pending_until_ms"] is not None
    done = desk.read(FILLED)
    assert firmware(done) == "pending"
    assert alarm_events(done) == []


# holds AP-7
def test_change_before_the_time_of_a_work_order_is_no_pending_one() -> None:
    desk = Desk()
    desk.read()
    desk.approved(from_ms=desk.now_ms + 5 * MINUTE_MS)
    done = desk.read(CHANGED)
    assert (firmware(done), alarm_events(done)) == ("mismatch", [("alarm_raised", "dev-1", "mismatch")])
    desk.wait(5 * MINUTE_MS)
    done = desk.read(CHANGED)
    assert (firmware(done), alarm_events(done)) == ("pending", [("alarm_returned", "dev-1", "mismatch")])


# holds AP-7
def test_change_inside_two_work_orders_is_pending_until_the_later_one_ends() -> None:
    desk = Desk()
    now_ms = desk.now_ms
    for minutes in (10, 30, 20):
        desk.approved(to_ms=now_ms + minutes * MINUTE_MS)
    (told,) = desk.read(CHANGED).events("verdict_changed")
    assert told["pending_until_ms"] == now_ms + 30 * MINUTE_MS


# holds AP-7
def test_change_of_another_artefact_or_device_is_not_covered_by_the_work_order() -> None:
    desk = Desk()
    desk.approved()
    assert alarm_events(desk.read(item(settings=b"evil"))) == [("alarm_raised", "dev-1", "mismatch")]
    assert alarm_events(desk.read(item("s-2", firmware=b"evil"), "dev-2")) == [("alarm_raised", "dev-2", "mismatch")]


# holds AP-7
def test_alarm_that_was_there_before_returns_when_a_work_order_is_approved_and_comes_back_when_it_is_closed() -> None:
    desk = Desk()
    desk.read(CHANGED)
    order = desk.open().tx.id
    done = desk.call("dispatch", "approve", order=order)
    assert alarm_events(done) == [("alarm_returned", "dev-1", "mismatch")]
    done = desk.call("grid", "close", order=order)
    assert alarm_events(done) == [("alarm_raised", "dev-1", "mismatch")]
    assert done.events("verdict_changed")[0]["pending_until_ms"] is None


# holds AP-7
def test_work_order_whose_release_was_revoked_excuses_nothing_from_that_call_on() -> None:
    desk = Desk()
    desk.approved()
    assert lab_test(desk.world, PLANNED.digest()).code == "ok"
    assert endorse(desk.world, "regulator", PLANNED.digest()).code == "ok"
    assert firmware(desk.read(CHANGED)) == "pending"
    done = revoke(desk.world, "maker-a", PLANNED.digest())
    assert (firmware(done), alarm_events(done)) == ("mismatch", [("alarm_raised", "dev-1", "mismatch")])
    assert done.events("verdict_changed")[0]["pending_until_ms"] is None
    assert firmware(desk.read(FILLED)) == "revoked"


# holds AP-7
def test_work_order_whose_release_ended_before_it_counted_excuses_nothing_from_the_next_report_on() -> None:
    for end in ("fail", "withdraw"):
        desk = Desk()
        desk.approved()
        assert firmware(desk.read(FILLED)) == "pending"
        if end == "fail":
            assert lab_test(desk.world, PLANNED.digest(), verdict="fail").code == "ok"
        else:
            assert revoke(desk.world, "maker-a", PLANNED.digest()).code == "ok"
        done = desk.read(FILLED)
        assert (firmware(done), alarm_events(done)) == ("mismatch", [("alarm_raised", "dev-1", "mismatch")])


# holds AP-7
def test_device_that_is_not_read_is_excused_no_longer_than_the_release_of_its_work_order_stands() -> None:
    desk = Desk()
    desk.approved()
    desk.read(FILLED)
    unread = evidence(entry("dev-1", None, status="unreachable"), pair=(2, 1))
    assert verdicts(send(desk.world, unread)) == {}
    assert revoke(desk.world, "maker-a", PLANNED.digest()).code == "ok"
    done = send(desk.world, replace(unread, seq=2))
    assert alarm_events(done) == [("alarm_raised", "dev-1", "mismatch")]


# holds AP-7
def test_work_order_whose_release_stands_excuses_though_that_of_a_later_one_was_revoked() -> None:
    desk = Desk()
    other = release("r-3", settings=b"settings 3")
    assert submit(desk.world, other).code == "ok"
    desk.approved()
    desk.approved(release=other.digest(), to_ms=desk.now_ms + 20 * MINUTE_MS)
    assert firmware(desk.read(CHANGED)) == "mismatch"
    assert revoke(desk.world, "maker-a", other.digest()).code == "ok"
    done = desk.read(CHANGED)
    assert (firmware(done), alarm_events(done)) == ("pending", [("alarm_returned", "dev-1", "mismatch")])


# holds AP-9
def test_end_of_a_work_order_brings_verdict_and_alarm_with_the_devices_next_report() -> None:
    desk = Desk()
    desk.approved()
    desk.read(CHANGED)
    desk.wait(9 * MINUTE_MS)
    assert desk.read(CHANGED).events("verdict_changed") == []
    desk.wait(2 * MINUTE_MS)
    done = desk.read(CHANGED)
    assert firmware(done) == "mismatch"
    assert alarm_events(done) == [("alarm_raised", "dev-1", "mismatch")]


# holds AP-9
def test_end_of_a_work_order_is_enforced_by_the_report_of_any_gateway() -> None:
    desk = Desk()
    desk.approved()
    desk.read(CHANGED)
    desk.wait(11 * MINUTE_MS)
    done = desk.read(item("s-3"), "dev-3")
    assert alarm_events(done) == [("alarm_raised", "dev-1", "mismatch")]
    assert desk.read(item("s-3"), "dev-3").events("verdict_changed") == []
    assert not [key for _, key in desk.world.state.entries if key.startswith(b"due")]


# holds AP-9
def test_device_that_was_filled_as_planned_matches_after_the_work_order() -> None:
    desk = Desk()
    desk.approved()
    desk.read(FILLED)
    assert lab_test(desk.world, PLANNED.digest()).code == "ok"
    done = endorse(desk.world, "regulator", PLANNED.digest())
    assert firmware(done) == "match"
    desk.wait(11 * MINUTE_MS)
    assert alarm_events(desk.read(item("s-3", firmware=PLANNED_FIRMWARE), "dev-3")) == []


# holds AP-9
def test_each_report_enforces_a_few_work_orders_that_are_over() -> None:
    count = 2 * DUE_MAX + 3
    names = [f"dev-{number:02}" for number in range(count)]
    devices = (*(Device(name, "gw-1", "maker-a", "SC-2", "") for name in names), Device("zz", "gw-2", "m", "X", ""))
    desk = Desk(World(make_genesis(devices=devices)))
    for name in names:
        desk.approved(device=name)
    done = send(desk.world, evidence(*(entry(name, CHANGED) for name in names)))
    assert done.code == "ok"
    assert alarm_events(done) == []
    raised = []
    for turn in range(4):
        if turn == 0:
            desk.wait(11 * MINUTE_MS)
        nothing = entry("zz", None, status="unreachable")
        raised.append(len(alarm_events(send(desk.world, evidence(nothing, gateway="gw-2", pair=(1, turn + 1))))))
    assert raised == [DUE_MAX, DUE_MAX, 3, 0]


# holds AP-9
def test_work_order_that_follows_another_one_is_enforced_at_its_own_end() -> None:
    desk = Desk()
    desk.approved()
    desk.approved(from_ms=desk.now_ms + 9 * MINUTE_MS, to_ms=desk.now_ms + 20 * MINUTE_MS)
    desk.read(CHANGED)
    desk.wait(12 * MINUTE_MS)
    assert alarm_events(desk.read(item("s-3"), "dev-3")) == []
    desk.wait(12 * MINUTE_MS)
    assert alarm_events(desk.read(item("s-3"), "dev-3")) == [("alarm_raised", "dev-1", "mismatch")]


# holds AP-7
def test_device_changed_and_changed_back_inside_a_work_order_is_not_altered() -> None:
    desk = Desk()
    desk.read(replace(item(), revision=7))
    desk.approved()
    assert alarm_events(desk.read(replace(item(), revision=9))) == []
    desk.wait(11 * MINUTE_MS)
    assert alarm_events(desk.read(replace(item(), revision=9))) == []


# holds AP-8
def test_misfilled_verdict_names_the_record_of_who_filled_whenever_it_was_signed() -> None:
    desk = Desk()
    make_effective(desk.world, release("r-7", device="dev-2", firmware=b"of dev-2"))
    order = desk.approved()
    wrong = item(firmware=b"of dev-2")
    done = desk.read(wrong)
    assert alarm_events(done) == [("alarm_raised", "dev-1", "misfilled")]
    record = desk.fill(order)
    assert alarm_events(record) == [("alarm_changed", "dev-1", "misfilled")]
    (alarm,) = record.events("alarm_changed")
    artefacts = alarm["artefacts"]
    assert isinstance(artefacts, list)
    finding = artefacts[0]
    assert isinstance(finding, dict)
    filled, owner = finding["fill"], finding["owner"]
    assert isinstance(filled, dict)
    assert (filled["record"], filled["account"], filled["order"]) == (record.tx.id, "grid", order)
    assert owner == {"target": "device dev-2", "kind": "firmware", "release": "r-7"}


# holds AP-6
def test_match_by_a_checksum_says_that_no_content_was_read() -> None:
    desk = Desk()
    told = artefact("firmware", b"", method="full-file")
    made = item(artefacts=[artefact("settings", b"settings 1", method="relayed-file"), told])
    (event,) = desk.read(made).events("verdict_changed")
    artefacts = event["artefacts"]
    assert isinstance(artefacts, list)
    settings = next(one for one in artefacts if isinstance(one, dict) and one["kind"] == "settings")
    assert isinstance(settings, dict)
    assert (settings["verdict"], settings["method"]) == ("match", "relayed-file")
    assert settings["detail"] == (
        "by relayed-file: a file that another system handed over; the device itself was not read"
    )


# holds GP-1
def test_ledger_keeps_which_numbers_of_a_gateway_it_took() -> None:
    desk = Desk()
    desk.read()
    desk.seq = 4
    desk.read()
    raw = desk.world.state.get("consistency", b"counters/gw-1")
    assert raw is not None
    (missing,) = gaps(decode_counters(cbor.decode(raw)), 0, 2**62).missing
    assert (missing.boot, missing.first, missing.last) == (1, 2, 4)
    refused = send(desk.world, evidence(entry("dev-9", item()), pair=(1, 2)))
    assert refused.code == "unknown-device"
    assert desk.world.state.get("consistency", b"counters/gw-1") == raw
