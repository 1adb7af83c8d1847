"""Contract consistency: verdicts, alarms, and what a release changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from master.contracts.alarms import alarm_id
from tests.unit.contracts.reports import (
    FIRMWARE,
    SETTINGS,
    STRATEGY,
    alarm_events,
    artefact,
    endorse,
    entry,
    evidence,
    item,
    make_effective,
    release,
    send,
    submit,
    truncated,
    verdicts,
)
from tests.unit.ledger.worlds import Done, World, make_genesis
from wire.cbor import Value
from wire.difference import Difference
from wire.evidence import Item
from wire.genesis import Device
from wire.types import sha256

MATCHING = {"firmware": "match", "settings": "match", "strategy": "match"}


class Bench:
    """A ledger with an effective release for the model, and the next pair of each gateway."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        make_effective(self.world, release())
        self.seq = 0

    def read(self, made: Item, device: str = "dev-1") -> Done:
        """Report that a device was read."""
        self.seq += 1
        gateway = "gw-1" if device in ("dev-1", "dev-2") else "gw-2"
        return send(self.world, evidence(entry(device, made), gateway=gateway, pair=(1, self.seq)))


def data_of(value: Value) -> dict[str, Value]:
    assert isinstance(value, dict)
    return value


def artefacts_of(event: dict[str, Value]) -> list[dict[str, Value]]:
    artefacts = event["artefacts"]
    assert isinstance(artefacts, list)
    return [data_of(value) for value in artefacts]


# verdicts


def test_device_that_matches_has_its_verdicts_told_and_no_alarm() -> None:
    done = Bench().read(item())
    (told,) = done.events("verdict_changed")
    assert told["verdicts"] == MATCHING
    assert told["identity"] == {
        "vendor": "maker-a",
        "product": "SC",
        "revision": "1.0",
        "serial": "s-1",
        "model": "SC-2",
    }
    assert (told["device"], told["gateway"], told["identity_changed"]) == ("dev-1", "gw-1", False)
    assert told["item_digest"] == item().digest()
    assert artefacts_of(told)[0] == {
        "kind": "firmware",
        "verdict": "match",
        "expected_sha256": sha256(FIRMWARE),
        "read_sha256": sha256(FIRMWARE),
        "detail": None,
        "difference": None,
        "owner": None,
        "fill": None,
        "name": "firmware.bin",
        "version": "1.0",
        "size": len(FIRMWARE),
        "read_size": len(FIRMWARE),
        "method": "full-file",
        "errors": [],
    }
    assert not alarm_events(done)


# holds AP-1
@pytest.mark.parametrize(
    ("made", "kind", "verdict"),
    [
        (item(firmware=b"firmware 2"), "firmware", "mismatch"),
        (item(settings=b"of dev-2"), "settings", "misfilled"),
        (item(firmware=STRATEGY), "firmware", "misfilled"),
        (item(strategy=b"old strategy"), "strategy", "superseded"),
        (
            item(
                artefacts=[
                    truncated("firmware", b"fir", 10),
                    artefact("settings", SETTINGS),
                    artefact("strategy", STRATEGY),
                ]
            ),
            "firmware",
            "incomplete",
        ),
        (item(artefacts=[artefact("firmware", FIRMWARE), artefact("settings", SETTINGS)]), "strategy", "missing"),
    ],
)
def test_device_that_does_not_match_has_one_alarm_of_that_cause(made: Item, kind: str, verdict: str) -> None:
    world = World()
    make_effective(world, release("r-0", strategy=b"old strategy"))
    make_effective(world, release("r-9", device="dev-2", settings=b"of dev-2"))
    done = Bench(world).read(made)
    assert verdicts(done)["dev-1"] == {**MATCHING, kind: verdict}
    assert alarm_events(done) == [("alarm_raised", "dev-1", verdict)]
    (alarm,) = done.events("alarm_raised")
    assert [(one["kind"], one["verdict"]) for one in artefacts_of(alarm)] == [(kind, verdict)]


# holds IT-2
def test_alarm_names_the_items_that_differ() -> None:
    changed = artefact("settings", b"settings 2", difference=Difference(sha256(SETTINGS), "items", 2, (17, 23)))
    rest = [artefact("firmware", FIRMWARE), artefact("strategy", STRATEGY)]
    bench = Bench()
    (alarm,) = bench.read(item(artefacts=[changed, *rest])).events("alarm_raised")
    (finding,) = artefacts_of(alarm)
    assert finding["detail"] == "settings 17, 23 differ"
    assert finding["difference"] == {"unit": "items", "count": 2, "numbers": [17, 23]}
    # the same file, seen with a package that came later: one alarm, changed
    plain = replace(changed, difference=None)
    done = bench.read(item(artefacts=[plain, *rest]))
    assert alarm_events(done) == [("alarm_changed", "dev-1", "mismatch")]


# holds AL-4
def test_alarm_event_carries_all_that_a_view_shows() -> None:
    bench = Bench()
    done = bench.read(item(firmware=b"evil"))
    (alarm,) = done.events("alarm_raised")
    assert alarm == {
        "alarm_id": alarm_id("dev-1", "mismatch", done.tx.id),
        "device": "dev-1",
        "gateway": "gw-1",
        "station": "st-1",
        "area": "north",
        "cause": "mismatch",
        "move": "appear",
        "from_state": None,
        "state": "raised",
        "present": True,
        "severity": "critical",
        "artefacts": [
            {
                "kind": "firmware",
                "verdict": "mismatch",
                "expected_sha256": sha256(FIRMWARE),
                "read_sha256": sha256(b"evil"),
                "detail": "4 bytes where 10 are expected",
                "difference": None,
                "method": "full-file",
                "owner": None,
                "fill": None,
            }
        ],
        "count": 1,
        "group": alarm_id("dev-1", "mismatch", done.tx.id),
        "opening_tx": done.tx.id,
        "raised_ms": bench.world.head.time_ms,
        "raised_height": bench.world.head.height,
        "acknowledged": None,
        "shelf": None,
        "closed": None,
        "by": None,
        "organisation": None,
        "reason": None,
        "action": None,
    }


def test_device_that_lost_its_artefacts_has_nulls_for_what_was_not_read() -> None:
    (told,) = Bench().read(item(artefacts=[])).events("verdict_changed")
    missing = artefacts_of(told)[0]
    assert missing["verdict"] == "missing"
    assert [missing[name] for name in ("read_sha256", "name", "version", "size", "read_size", "method")] == [None] * 6
    assert missing["errors"] == []


def test_device_with_long_texts_has_them_cut_in_events() -> None:
    made = item(artefacts=[artefact("firmware", FIRMWARE, name="n" * 256, version="v" * 256)])
    (told,) = Bench().read(made).events("verdict_changed")
    assert artefacts_of(told)[0]["name"] == "n" * 64
    assert artefacts_of(told)[0]["version"] == "v" * 64


# holds AP-1
def test_two_devices_filled_with_each_others_files_are_both_misfilled() -> None:
    world = World()
    make_effective(world, release("r-1", device="dev-1", firmware=b"of 1"))
    make_effective(world, release("r-2", device="dev-2", firmware=b"of 2"))
    read = {"dev-1": b"of 2", "dev-2": b"of 1"}
    entries = [
        entry(name, item(f"s-{name[-1]}", artefacts=[artefact("firmware", content)])) for name, content in read.items()
    ]
    done = send(world, evidence(*entries))
    assert alarm_events(done) == [("alarm_raised", "dev-1", "misfilled"), ("alarm_raised", "dev-2", "misfilled")]
    details = [artefacts_of(alarm)[0]["detail"] for alarm in done.events("alarm_raised")]
    assert details == [
        "it is the firmware of device dev-2, release r-2",
        "it is the firmware of device dev-1, release r-1",
    ]


# holds AP-2
@pytest.mark.parametrize(("serial", "model"), [("s-9", "SC-2"), ("s-1", "SC-3"), ("", "SC-2")])
def test_device_with_another_nameplate_has_its_identity_changed(serial: str, model: str) -> None:
    done = Bench().read(item(serial, model=model))
    assert alarm_events(done) == [("alarm_raised", "dev-1", "identity_changed")]
    assert done.events("verdict_changed")[0]["identity_changed"] is True
    assert verdicts(done)["dev-1"] == MATCHING
    assert artefacts_of(done.events("alarm_raised")[0])[0]["kind"] == "identity"


# holds AP-4
def test_device_that_was_changed_and_changed_back_is_altered_between_polls() -> None:
    bench = Bench()
    assert alarm_events(bench.read(replace(item(), revision=7))) == []
    done = bench.read(replace(item(), revision=9))
    assert alarm_events(done) == [("alarm_raised", "dev-1", "altered_between_polls")]
    assert verdicts(done)["dev-1"] == MATCHING
    (told,) = artefacts_of(done.events("alarm_raised")[0])
    assert (told["kind"], told["verdict"]) == ("revision", "altered_between_polls")
    assert told["detail"] == "the device's revision counter went from 7 to 9, and its content is as before"
    assert alarm_events(bench.read(replace(item(), revision=9))) == []
    assert alarm_events(bench.read(replace(item(firmware=b"evil"), revision=10))) == [
        ("alarm_returned", "dev-1", "altered_between_polls"),
        ("alarm_raised", "dev-1", "mismatch"),
    ]


# holds AP-4
def test_device_that_was_altered_stays_so_when_a_release_is_appraised_anew() -> None:
    bench = Bench()
    bench.read(replace(item(), revision=7))
    bench.read(replace(item(), revision=8))
    done = make_effective(bench.world, release("r-2"))
    assert ("alarm_returned", "dev-1", "altered_between_polls") not in alarm_events(done)


# holds AP-4
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (replace(item(), revision=7), replace(item(firmware=b"evil"), revision=8)),
        (replace(item(), revision=7), replace(item("s-9"), revision=8)),
        (replace(item(), revision=7), item()),
        (item(), replace(item(), revision=7)),
    ],
)
def test_counter_that_moves_with_the_content_or_not_at_all_says_nothing_more(before: Item, after: Item) -> None:
    bench = Bench()
    bench.read(before)
    assert "altered_between_polls" not in {cause for _, _, cause in alarm_events(bench.read(after))}


def test_device_without_a_serial_in_the_genesis_file_may_say_any() -> None:
    world = World()
    done = send(world, evidence(entry("dev-4", item("any", model="XR/7")), gateway="gw-2"))
    assert not alarm_events(done)


# unknown references


def test_device_without_any_reference_is_unknown_and_not_alarmed() -> None:
    world = World()
    done = send(world, evidence(entry("dev-1", item())))
    assert verdicts(done)["dev-1"] == dict.fromkeys(MATCHING, "unknown_reference")
    assert not alarm_events(done)


def test_device_with_an_artefact_beyond_its_references_is_alarmed() -> None:
    world = World()
    make_effective(world, release(firmware=FIRMWARE))
    done = send(world, evidence(entry("dev-1", item())))
    assert alarm_events(done) == [("alarm_raised", "dev-1", "unknown_reference")]
    found = artefacts_of(done.events("alarm_raised")[0])
    assert [one["kind"] for one in found] == ["settings", "strategy"]


# the life of an alarm


# holds AL-2
def test_alarm_goes_from_raised_to_changed_to_returned_to_raised_and_stays_one() -> None:
    bench = Bench()
    steps = [
        (item(firmware=b"evil"), "alarm_raised", 1),
        (item(firmware=b"evil", settings=b"evil"), "alarm_changed", 2),
        (item(firmware=b"evil", settings=b"worse"), "alarm_changed", 3),
        (item(), "alarm_returned", 3),
        (item(firmware=b"evil"), "alarm_raised", 4),
    ]
    ids = set()
    for made, event, count in steps:
        done = bench.read(made)
        assert alarm_events(done) == [(event, "dev-1", "mismatch")]
        (data,) = done.events(event)
        assert data["count"] == count
        ids.add(data["alarm_id"])
    assert len(ids) == 1
    alarms = [key for namespace, key in bench.world.state.entries if key.startswith(b"alarm/")]
    assert alarms == [b"alarm/dev-1/mismatch"]


def test_alarm_that_did_not_change_is_not_told_again() -> None:
    bench = Bench()
    bench.read(item(firmware=b"evil"))
    assert not alarm_events(bench.read(item(firmware=b"evil")))
    moved = item(
        artefacts=[
            artefact(kind, content, read_to_ms=9000)
            for kind, content in (("firmware", b"evil"), ("settings", SETTINGS), ("strategy", STRATEGY))
        ]
    )
    done = bench.read(moved)
    assert done.events("verdict_changed")
    assert not alarm_events(done)


def test_alarms_of_two_causes_are_two_and_return_apart() -> None:
    bench = Bench()
    done = bench.read(item("s-9", firmware=b"evil"))
    assert alarm_events(done) == [
        ("alarm_raised", "dev-1", "identity_changed"),
        ("alarm_raised", "dev-1", "mismatch"),
    ]
    assert alarm_events(bench.read(item(firmware=b"evil"))) == [("alarm_returned", "dev-1", "identity_changed")]
    assert alarm_events(bench.read(item())) == [("alarm_returned", "dev-1", "mismatch")]
    assert not alarm_events(bench.read(item()))


def test_alarm_whose_artefacts_move_to_another_cause_returns_and_the_other_is_raised() -> None:
    bench = Bench()
    bench.read(item(firmware=b"evil"))
    assert alarm_events(bench.read(item(firmware=STRATEGY))) == [
        ("alarm_raised", "dev-1", "misfilled"),
        ("alarm_returned", "dev-1", "mismatch"),
    ]


def test_alarms_of_devices_whose_names_begin_alike_are_kept_apart() -> None:
    devices = (Device("dev-1", "gw-1", "m", "SC-2", "s-1"), Device("dev-10", "gw-1", "m", "SC-2", "s-10"))
    world = World(make_genesis(devices=devices))
    bench = Bench(world)
    bench.read(item(firmware=b"evil"))
    done = send(world, evidence(entry("dev-10", item("s-10")), pair=(1, 2)))
    assert (done.code, alarm_events(done)) == ("ok", [])


# releases


# holds EX-4
def test_release_that_becomes_effective_has_its_devices_appraised_anew() -> None:
    world = World()
    send(world, evidence(entry("dev-1", item()), entry("dev-2", item("s-2", firmware=b"evil"))))
    send(world, evidence(entry("dev-4", item("", model="XR/7")), gateway="gw-2"))
    done = make_effective(world, release())
    assert verdicts(done) == {"dev-1": MATCHING, "dev-2": {**MATCHING, "firmware": "mismatch"}}
    assert alarm_events(done) == [("alarm_raised", "dev-2", "mismatch")]
    assert {event.contract for event in done.outcome.events} == {"consistency", "references"}
    assert done.events("alarm_raised")[0]["opening_tx"] == done.tx.id


def test_release_that_supersedes_makes_what_was_right_superseded() -> None:
    bench = Bench()
    bench.read(item())
    done = make_effective(bench.world, release("r-2", firmware=b"fw 2"))
    assert verdicts(done) == {"dev-1": {**MATCHING, "firmware": "superseded"}}
    assert alarm_events(done) == [("alarm_raised", "dev-1", "superseded")]
    after = bench.read(item(firmware=b"fw 2"))
    assert alarm_events(after) == [("alarm_returned", "dev-1", "superseded")]


def test_release_for_one_device_leaves_the_others_alone() -> None:
    bench = Bench()
    bench.read(item())
    bench.read(item("s-2"), "dev-2")
    done = make_effective(bench.world, release("r-2", device="dev-2", firmware=b"own"))
    assert verdicts(done) == {"dev-2": {**MATCHING, "firmware": "superseded"}}


def test_release_with_the_same_content_changes_no_verdict() -> None:
    bench = Bench()
    bench.read(item())
    done = make_effective(bench.world, release("r-2"))
    assert done.event_types == ["release_endorsed", "release_effective", "release_superseded"]
    assert not [key for namespace, key in done.written if namespace == "consistency"]


def test_release_that_is_only_submitted_changes_no_verdict() -> None:
    world, made = World(), release()
    send(world, evidence(entry("dev-1", item())))
    for done in (submit(world, made), endorse(world, "lab", made.digest())):
        assert not done.events("verdict_changed")


def test_release_on_devices_that_were_never_read_appraises_nothing() -> None:
    world = World()
    send(world, evidence(entry("dev-1", None, status="unreachable")))
    assert make_effective(world, release()).event_types == ["release_endorsed", "release_effective"]


# holds AL-1
def test_alarm_id_depends_on_device_cause_and_transaction() -> None:
    ids = {
        alarm_id("dev-1", "mismatch", bytes(32)),
        alarm_id("dev-2", "mismatch", bytes(32)),
        alarm_id("dev-1", "missing", bytes(32)),
        alarm_id("dev-1", "mismatch", b"\1" * 32),
    }
    assert len(ids) == 4
    assert all(len(one) == 32 for one in ids)
