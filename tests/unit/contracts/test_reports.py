"""Contract consistency: which evidence is accepted."""

from __future__ import annotations

import pytest

from master.ledger.call import BlockCall
from tests.unit.contracts.reports import alarm_events, entry, evidence, item, make_effective, release, send
from tests.unit.ledger.worlds import World, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.evidence import Evidence
from wire.receipt import Outcome


def report_of(*devices: str, pair: tuple[int, int] = (1, 1), gateway: str = "gw-1") -> Evidence:
    """Return evidence that carries a whole item of each device."""
    return evidence(*(entry(name, item(f"s-{name[-1]}")) for name in devices), gateway=gateway, pair=pair)


# holds AP-5
def test_report_of_a_gateway_about_its_devices_is_accepted() -> None:
    world = World()
    done = send(world, report_of("dev-1", "dev-2"))
    assert done.code == "ok"
    (accepted,) = done.events("report_accepted")
    assert accepted["late"] == []
    assert {name: accepted[name] for name in ("gateway", "boot", "seq", "time_ms")} == {
        "gateway": "gw-1",
        "boot": 1,
        "seq": 1,
        "time_ms": 1_800_000_000_000,
    }
    assert accepted["devices"] == [
        {
            "device": name,
            "status": "read",
            "read_from_ms": 1000,
            "read_to_ms": 1500,
            "item_digest": item(f"s-{name[-1]}").digest(),
        }
        for name in ("dev-1", "dev-2")
    ]


@pytest.mark.parametrize("args", [{}, {"evidence": "text"}, {"evidence": b"", "more": 1}])
def test_report_with_wrong_arguments_is_refused(args: dict[str, Value]) -> None:
    assert World().call("gw-1", "consistency", "report", args).code == "bad-args"


@pytest.mark.parametrize("raw", [b"", b"\xa0", b"\xff", cbor.encode({"gateway": "gw-1"})])
def test_report_with_bytes_that_are_no_evidence_is_refused(raw: bytes) -> None:
    done = World().call("gw-1", "consistency", "report", {"evidence": raw})
    assert (done.code, done.event_types) == ("bad-evidence", [])


@pytest.mark.parametrize(
    ("made", "sender", "code"),
    [
        (report_of("dev-1"), "gw-2", "wrong-gateway"),
        (report_of("dev-1"), "grid", "wrong-gateway"),
        (report_of("dev-1", gateway="grid"), "grid", "unknown-gateway"),
        (report_of("dev-9"), "gw-1", "unknown-device"),
        (report_of("dev-1", "dev-3"), "gw-1", "foreign-device"),
        (report_of("dev-3"), "gw-1", "foreign-device"),
        (evidence(entry("dev-1", item()), height=1), "gw-1", "future-block"),
        (evidence(entry("dev-1", item(), whole=False)), "gw-1", "unknown-item"),
    ],
)
def test_report_that_is_not_the_senders_to_make_is_refused(made: Evidence, sender: str, code: str) -> None:
    world = World()
    done = send(world, made, sender)
    assert (done.code, done.event_types) == (code, [])
    assert [namespace for namespace, _ in done.written] == ["sequence"]


def test_report_that_saw_the_block_before_is_accepted() -> None:
    world = World()
    world.run()
    assert send(world, evidence(entry("dev-1", item()), height=1)).code == "ok"


# pairs


# holds AP-3
def test_report_with_the_same_evidence_again_is_a_duplicate_and_says_nothing_else() -> None:
    world = World()
    assert send(world, report_of("dev-1")).code == "ok"
    again = send(world, report_of("dev-1"))
    assert (again.code, again.event_types) == ("duplicate", [])
    assert [namespace for namespace, _ in again.written] == ["sequence"]


# holds AP-3
def test_report_with_other_evidence_under_a_pair_is_a_conflict_and_is_told() -> None:
    world, first, second = World(), report_of("dev-1"), report_of("dev-2")
    send(world, first)
    done = send(world, second)
    assert (done.code, done.event_types) == ("conflict", ["evidence_conflict", "alarm_raised"])
    (conflict,) = done.events("evidence_conflict")
    assert (conflict["gateway"], conflict["boot"], conflict["seq"]) == ("gw-1", 1, 1)
    assert conflict["accepted_digest"] != conflict["evidence_digest"]
    assert [key for namespace, key in done.written if namespace == "consistency"] == [
        b"flood/north/evidence_conflict",
        b"gateway_alarm/gw-1/evidence_conflict",
    ]
    assert send(world, first).code == "duplicate"


def test_report_under_the_same_pair_of_another_gateway_is_no_conflict() -> None:
    world = World()
    assert send(world, report_of("dev-1")).code == "ok"
    assert send(world, report_of("dev-3", gateway="gw-2")).code == "ok"


def test_report_that_was_refused_leaves_its_pair_free() -> None:
    world = World()
    assert send(world, evidence(entry("dev-1", item(), whole=False))).code == "unknown-item"
    assert send(world, evidence(entry("dev-1", item()))).code == "ok"


def test_report_older_than_all_that_are_remembered_is_refused() -> None:
    world = World(make_genesis({"evidence_window": 16}))
    for seq in range(2, 20):
        assert send(world, report_of("dev-1", pair=(2, seq))).code == "ok"
    pairs = [key for namespace, key in world.state.entries if namespace == "consistency" and key.startswith(b"pair/")]
    assert len(pairs) == 16
    assert send(world, report_of("dev-1", pair=(2, 4))).code == "duplicate"
    assert send(world, report_of("dev-1", pair=(2, 3))).code == "too-old"
    assert send(world, report_of("dev-1", pair=(1, 99))).code == "too-old"
    assert send(world, report_of("dev-1", pair=(3, 1))).code == "ok"


# holds GV-6
def test_window_that_was_made_smaller_by_vote_is_reached_step_by_step() -> None:
    world = World(make_genesis({"evidence_window": 20}))
    for seq in range(1, 21):
        assert send(world, report_of("dev-1", pair=(1, seq))).code == "ok"
    args: dict[str, Value] = {
        "kind": "parameters",
        "body": {"values": {"evidence_window": 16}},
        "deadline_ms": world.head.time_ms + 60_000,
    }
    made = world.call("dispatch", "governance", "propose", args)
    for voter in ("regulator", "lab", "grid"):
        world.call(voter, "governance", "vote", {"proposal": made.tx.id, "in_favour": True})
    kept = []
    for seq in range(21, 27):
        assert send(world, report_of("dev-1", pair=(1, seq))).code == "ok"
        kept.append(sum(space == "consistency" and key.startswith(b"pair/") for space, key in world.state.entries))
    assert kept == [19, 18, 17, 16, 16, 16]
    assert send(world, report_of("dev-1", pair=(1, 10))).code == "too-old"


# items


def test_report_that_names_the_item_that_counts_by_its_digest_is_accepted() -> None:
    world = World()
    send(world, report_of("dev-1"))
    done = send(world, evidence(entry("dev-1", item(), whole=False), pair=(1, 2)))
    assert (done.code, done.event_types) == ("ok", ["report_accepted"])


def test_report_without_a_change_writes_the_gateways_last_report_alone() -> None:
    world = World()
    make_effective(world, release())
    send(world, report_of("dev-1", "dev-2"))
    done = send(world, evidence(entry("dev-1", item(), read_to_ms=9000), entry("dev-2", item("s-2")), pair=(1, 2)))
    keys = [key for namespace, key in done.written if namespace == "consistency"]
    assert keys[:2] == [b"counters/gw-1", b"gateway/gw-1"]
    assert [key[:10] for key in keys[2:]] == [b"pair/gw-1/"]
    assert done.event_types == ["report_accepted"]


def test_report_that_names_an_earlier_item_by_its_digest_is_accepted_while_it_is_kept() -> None:
    world = World()
    items = [item(firmware=bytes((number,))) for number in range(5)]
    for number, made in enumerate(items):
        assert send(world, evidence(entry("dev-1", made), pair=(1, 1 + number))).code == "ok"
    kept = [key for namespace, key in world.state.entries if key.startswith(b"item/")]
    assert len(kept) == 4
    by_digest = [entry("dev-1", made, whole=False) for made in items]
    assert send(world, evidence(by_digest[0], pair=(1, 9))).code == "unknown-item"
    done = send(world, evidence(by_digest[1], pair=(1, 9)))
    assert (done.code, done.events("verdict_changed")[0]["item_digest"]) == ("ok", items[1].digest())
    assert send(world, evidence(entry("dev-1", items[0]), pair=(1, 10))).code == "ok"
    assert send(world, evidence(by_digest[2], pair=(1, 11))).code == "unknown-item"
    assert send(world, evidence(by_digest[1], pair=(1, 11))).code == "ok"


def test_report_with_an_item_of_another_device_by_digest_is_refused() -> None:
    world = World()
    send(world, evidence(entry("dev-1", item())))
    assert send(world, evidence(entry("dev-2", item(), whole=False), pair=(1, 2))).code == "unknown-item"


# device states


def test_report_of_a_device_state_is_told_when_it_changes() -> None:
    world = World()
    told = []
    for seq, status in enumerate(("read", "read", "unreachable", "unreachable", "protocol-error", "read"), start=1):
        done = send(world, evidence(entry("dev-1", item(), status=status), pair=(1, seq)))
        told.append([event["status"] for event in done.events("device_state")])
        assert not alarm_events(done)
    assert told == [["read"], [], ["unreachable"], [], ["protocol-error"], ["read"]]


# holds AP-2
def test_report_of_an_unreachable_device_changes_no_verdict() -> None:
    world = World()
    make_effective(world, release())
    send(world, evidence(entry("dev-1", item(firmware=b"evil"))))
    done = send(world, evidence(entry("dev-1", item(firmware=b"evil"), status="unreachable", whole=False), pair=(1, 2)))
    assert done.event_types == ["report_accepted", "device_state"]


def test_report_of_a_device_that_was_never_read_has_no_verdict() -> None:
    world = World()
    make_effective(world, release())
    done = send(world, evidence(entry("dev-1", None, status="unreachable")))
    assert done.event_types == ["report_accepted", "device_state"]
    assert done.events("device_state")[0]["read_to_ms"] is None
    assert not [
        key for namespace, key in world.state.entries if key.startswith(b"device/dev") and namespace != "membership"
    ]


# late evidence


def test_late_report_changes_no_newer_state_but_raises_what_was_missed() -> None:
    world = World()
    make_effective(world, release())
    send(world, evidence(entry("dev-1", item()), pair=(1, 5)))
    done = send(world, evidence(entry("dev-1", item(firmware=b"evil")), pair=(1, 4)))
    (accepted,) = done.events("report_accepted")
    assert accepted["devices"] == []
    assert isinstance(accepted["late"], list)
    assert len(accepted["late"]) == 1
    assert done.event_types == ["report_accepted", "alarm_raised", "alarm_returned"]
    again = send(world, evidence(entry("dev-1", item(firmware=b"evil 2")), pair=(1, 3)))
    assert again.event_types == ["report_accepted"]
    assert send(world, evidence(entry("dev-1", item(), whole=False), pair=(1, 6))).code == "ok"


def test_late_report_without_a_finding_or_with_an_old_release_raises_nothing() -> None:
    world = World()
    make_effective(world, release())
    make_effective(world, release("r-2", firmware=b"fw 2"))
    send(world, evidence(entry("dev-1", item(firmware=b"fw 2")), pair=(1, 5)))
    for seq, made in ((4, item(firmware=b"fw 2")), (3, item())):
        assert send(world, evidence(entry("dev-1", made), pair=(1, seq))).event_types == ["report_accepted"]
    assert send(world, evidence(entry("dev-1", None, status="unreachable"), pair=(1, 2))).code == "ok"


def test_late_report_with_an_item_that_is_not_known_is_refused() -> None:
    world = World()
    send(world, evidence(entry("dev-1", item()), pair=(1, 5)))
    late = evidence(entry("dev-1", item(firmware=b"x"), whole=False), pair=(1, 4))
    assert send(world, late).code == "unknown-item"


def test_report_split_in_two_is_late_for_no_device() -> None:
    world = World()
    second = send(world, evidence(entry("dev-2", item("s-2")), pair=(1, 2)))
    first = send(world, evidence(entry("dev-1", item()), pair=(1, 1)))
    for done in (second, first):
        assert done.events("report_accepted")[0]["late"] == []
        assert done.events("verdict_changed")


# clocks


@pytest.mark.parametrize(
    ("policy", "grade", "alarmed"),
    [
        ("bench", "suspect", False),
        ("synchronised", "synchronised", False),
        ("synchronised", "unknown", True),
        ("synchronised", "suspect", True),
    ],
)
def test_report_of_a_clock_is_judged_by_the_policy(policy: str, grade: str, alarmed: bool) -> None:  # noqa: FBT001 - a table
    world = World(make_genesis({"clock_policy": policy}))
    done = send(world, evidence(entry("dev-1", item()), grade=grade))
    assert alarm_events(done) == ([("alarm_raised", "dev-1", "clock_untrusted")] if alarmed else [])


def test_report_of_a_clock_that_becomes_synchronised_returns_the_alarm() -> None:
    world = World(make_genesis({"clock_policy": "synchronised"}))
    send(world, evidence(entry("dev-1", item())))
    again = send(world, evidence(entry("dev-1", item(), whole=False), pair=(1, 2)))
    assert again.event_types == ["report_accepted"]
    done = send(world, evidence(entry("dev-1", item(), whole=False), grade="synchronised", pair=(1, 3)))
    assert done.event_types == ["report_accepted", "alarm_returned"]


def test_report_writes_and_tells_in_the_order_of_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in order is encoded in a third of the time; the bytes are the same either way."""
    world, told = World(make_genesis({"alarm_flood_alarms": 2})), list[Value]()
    make_effective(world, release())
    make_effective(world, release("other", device="dev-2", firmware=b"other"))
    assert send(world, report_of("dev-1")).code == "ok"

    def put(context: BlockCall, key: bytes, value: Value) -> None:
        told.append(value)
        context.put_encoded(key, cbor.encode(value))

    def encoded(outcome: Outcome) -> bytes:
        told.extend(event.to_value() for event in outcome.events)
        return encode(outcome)

    encode = Outcome.encode
    monkeypatch.setattr(BlockCall, "put", put)
    monkeypatch.setattr(Outcome, "encode", encoded)
    first, second = item("s-9", firmware=b"other", settings=b"unknown"), item("s-2", settings=b"unknown")
    assert send(world, evidence(entry("dev-1", first), entry("dev-2", second), pair=(1, 2))).code == "ok"
    assert {"verdict_changed", "alarm_raised", "alarm_flood"} <= world.seen
    assert [names for value in told for names in crooked(value)] == []


def crooked(value: object) -> list[tuple[str, ...]]:
    """Return the keys of maps whose keys stand in another order than in their bytes."""
    if isinstance(value, list | tuple):
        return [names for one in value for names in crooked(one)]
    if not isinstance(value, dict):
        return []
    inside = [names for one in value.values() for names in crooked(one)]
    return inside if [*value] == sorted(value, key=lambda name: (len(name), name)) else [tuple(value), *inside]
