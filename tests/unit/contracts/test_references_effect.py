"""Releases that wait for a date, that are in each other's way, and that are taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from master.contracts import references_effect
from master.contracts.parameters import BLOCKS_AHEAD_MAX, TIME_AHEAD_MS_MAX
from master.contracts.references_lookup import KnownValues
from master.ledger.call import StateReads
from rules.appraisal import Owner
from tests.unit.contracts.reports import (
    FILES,
    FIRMWARE,
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
from wire.cbor import Value
from wire.genesis import Device
from wire.release import EffectiveFrom, Release
from wire.types import Digest, sha256


def at(height: int) -> EffectiveFrom:
    return EffectiveFrom(height, None)


def status(world: World, made: Release) -> Value:
    raw = world.state.get("references", b"release/" + made.digest())
    assert raw is not None
    value = cbor.decode(raw)
    assert isinstance(value, dict)
    return value["status"]


def value_of(world: World, kind: str = "firmware", device: str = "dev-1") -> Digest | None:
    slot = KnownValues(StateReads(world.state)).slots(device, "SC-2").get(kind)
    return None if slot is None else slot.sha256


def wait_for(world: World, height: int) -> None:
    """Commit empty blocks until there is one of that height."""
    while world.head.height < height:
        world.run()


def report(world: World, seq: int, device: str = "dev-1", **files: bytes) -> Done:
    contents = [artefact(kind, content) for kind, content in {**FILES, **files}.items()]
    done = send(world, evidence(entry(device, item(f"s-{device[-1]}", artefacts=contents)), pair=(1, seq)))
    assert done.code == "ok"
    return done


def leftovers(world: World) -> list[bytes]:
    """Return the entries that stand only while something waits."""
    prefixes = (b"awaiting/", b"claim/", b"due", b"untold")
    return [key for prefix in prefixes for key, _ in world.state.scan("references", prefix)]


# dates


# holds RF-6
@pytest.mark.parametrize("unit", ["height", "time"])
def test_release_of_a_date_counts_from_the_first_block_that_is_not_before_it(unit: str) -> None:
    world, first = World(), release(firmware=b"fw 1")
    make_effective(world, first)
    start = at(20) if unit == "height" else EffectiveFrom(None, world.head.time_ms + 13_500)
    made = release("r-2", start=start, firmware=b"fw 2")
    done = make_effective(world, made)
    assert done.event_types == ["release_endorsed", "release_approved"]
    assert status(world, made) == "approved"
    last = 19 if unit == "height" else world.head.height + 10
    wait_for(world, last)
    assert (value_of(world), status(world, made)) == (sha256(b"fw 1"), "approved")
    world.run()
    assert (value_of(world), status(world, made)) == (sha256(b"fw 2"), "effective")
    assert status(world, first) == "superseded"
    assert world.state.get("references", b"due") is None


# holds RF-6
def test_release_that_is_approved_after_its_date_counts_at_once() -> None:
    world, made = World(), release(start=at(2))
    assert make_effective(world, made).event_types[-1] == "release_effective"
    assert not leftovers(world)


# holds RF-6
def test_release_of_a_date_is_told_once_with_the_next_report() -> None:
    world, made = World(), release(start=at(10))
    make_effective(world, made)
    wait_for(world, 12)
    done = report(world, 1)
    assert done.events("release_effective")[0]["effective_height"] == 10
    assert not report(world, 2).events("release_effective")
    assert not leftovers(world)


def test_release_of_a_date_is_told_with_the_next_call_when_there_are_no_reports() -> None:
    world, made = World(), release(start=at(10))
    make_effective(world, made)
    wait_for(world, 12)
    done = submit(world, release("r-2"))
    assert done.event_types == ["release_effective", "release_submitted", "release_endorsed"]


# holds RF-7
def test_devices_follow_a_date_with_their_next_report_though_they_did_not_change() -> None:
    world = World()
    make_effective(world, release())
    report(world, 1)
    make_effective(world, release("r-2", start=at(20), firmware=b"firmware 2"))
    wait_for(world, 18)
    assert not verdicts(report(world, 2))
    done = report(world, 3)  # of block 20, which opened with the new value
    assert verdicts(done) == {"dev-1": {"firmware": "superseded", "settings": "match", "strategy": "match"}}
    done = report(world, 4)
    assert not verdicts(done)
    assert not [key for namespace, key in done.written if (namespace, key[:7]) == ("consistency", b"device/")]


def test_more_dates_in_a_block_than_it_takes_are_left_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references_effect, "DUE_PER_BLOCK_MAX", 1)
    monkeypatch.setattr(references_effect, "TOLD_PER_CALL_MAX", 1)
    world = World()
    made = [release(f"r-{number}", device=f"dev-{number}", start=at(12 + number)) for number in (1, 2)]
    timed = release("r-3", device="dev-3", start=EffectiveFrom(None, world.head.time_ms + 14_000))
    for one in (*made, timed):
        make_effective(world, one)
    wait_for(world, 14)
    assert [status(world, one) for one in (*made, timed)] == ["effective", "effective", "approved"]
    world.run()
    assert status(world, timed) == "effective"
    told = [report(world, seq).events("release_effective") for seq in (1, 2, 3, 4)]
    assert [len(events) for events in told] == [1, 1, 1, 0]
    assert not leftovers(world)


# conflicts


# holds RF-8
@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (None, None, "conflicting-release"),
        (None, at(100), "conflicting-release"),
        (at(100), None, "conflicting-release"),
        (at(100), at(100), "conflicting-release"),
        (at(100), EffectiveFrom(None, 100), "conflicting-release"),
        (EffectiveFrom(None, 100), at(100), "conflicting-release"),
        (at(100), at(101), "ok"),
        (at(101), at(100), "ok"),
        (EffectiveFrom(None, 100), EffectiveFrom(None, 101), "ok"),
    ],
)
def test_two_releases_for_one_slot_need_dates_that_tell_which_comes_later(
    first: EffectiveFrom | None, second: EffectiveFrom | None, code: str
) -> None:
    world = World()
    waiting = release("r-1", start=first, firmware=b"1", strategy=b"1")
    assert submit(world, waiting).code == "ok"
    made = release("r-2", start=second, firmware=b"2")
    done = submit(world, made)
    assert done.code == code
    if code != "ok":
        assert done.events("release_conflict") == [
            {
                "digest": made.digest(),
                "with": [
                    {
                        "digest": waiting.digest(),
                        "release": "r-1",
                        "manufacturer": "maker-a",
                        "kinds": ["firmware"],
                    }
                ],
            }
        ]
        assert [namespace for namespace, _ in done.written] == ["sequence"]


# holds RF-8
def test_release_that_another_manufacturer_submitted_is_in_nobodys_way() -> None:
    world, squat = World(), release("r-0", manufacturer="maker-b", firmware=b"0")
    assert submit(world, squat).code == "ok"
    for number in range(1, 8):
        crowd = release(f"r-{number}", manufacturer="maker-b", start=at(100 + number), settings=b"0")
        assert submit(world, crowd).code == "ok"
    make_effective(world, release(settings=b"1"))
    assert make_effective(world, release("r-2", firmware=b"1")).event_types[-1] == "release_effective"
    assert (value_of(world), status(world, squat)) == (sha256(b"1"), "pending")


# holds RF-8
@pytest.mark.parametrize(
    ("start", "code"),
    [(None, "conflicting-release"), (at(30), "conflicting-release"), (at(31), "ok"), (at(3), "ok")],
)
def test_release_that_would_be_approved_beside_an_approved_one_without_order_is_refused(
    start: EffectiveFrom | None, code: str
) -> None:
    world = World()
    rival = release("r-1", manufacturer="maker-b", start=at(30), firmware=b"1", settings=b"1")
    made = release("r-2", start=start, firmware=b"2", strategy=b"2")
    for one in (rival, made):
        assert submit(world, one).code == "ok"
        assert lab_test(world, one.digest()).code == "ok"
    assert endorse(world, "regulator", rival.digest()).event_types[-1] == "release_approved"
    assert endorse(world, "regulator", made.digest()).code == code
    assert status(world, made) == ("pending" if code != "ok" else "approved" if start == at(31) else "effective")
    if code != "ok":
        assert revoke(world, "maker-b", rival.digest()).code == "ok"
        assert endorse(world, "regulator", made.digest()).code == "ok"
    wait_for(world, 31)
    assert value_of(world) == (sha256(b"1") if start == at(3) else sha256(b"2"))
    report(world, 1)
    assert not leftovers(world)


# holds RF-8
def test_release_of_a_date_too_far_ahead_is_refused() -> None:
    world = World()
    for height, time_ms, code in (
        (world.head.height + 1 + BLOCKS_AHEAD_MAX, None, "ok"),
        (world.head.height + 3 + BLOCKS_AHEAD_MAX, None, "too-far"),
        (None, world.head.time_ms + 3000 + TIME_AHEAD_MS_MAX, "ok"),
        (None, world.head.time_ms + 4001 + TIME_AHEAD_MS_MAX, "too-far"),
        (2**63 - 1, None, "too-far"),
        (None, 2**63 - 1, "too-far"),
    ):
        made = release("r-1", start=EffectiveFrom(height, time_ms), device="dev-1" if height else "dev-2")
        done = submit(world, replace(made, release=f"r-{world.head.height}"))
        assert done.code == code, (height, time_ms)


# holds RF-8
def test_approved_releases_that_wait_for_a_slot_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references_effect, "CLAIMS_MAX", 1)
    world = World()
    first = release("r-1", manufacturer="maker-b", start=at(100), firmware=b"1")
    second = release("r-2", start=at(101), firmware=b"2")
    make_effective(world, first)
    assert submit(world, second).code == "ok"
    assert lab_test(world, second.digest()).code == "ok"
    assert endorse(world, "regulator", second.digest()).code == "too-many-waiting"
    assert revoke(world, "regulator", first.digest()).code == "ok"
    assert endorse(world, "regulator", second.digest()).event_types[-1] == "release_approved"


# holds RF-9
def test_release_overtakes_the_approved_one_of_another_manufacturer_and_no_pending_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    approved = release("r-1", manufacturer="maker-b", start=at(15), firmware=b"1")
    pending = release("r-2", manufacturer="maker-b", start=at(16), firmware=b"2")
    newer = release("r-3", start=at(17), firmware=b"3")
    for made in (pending, newer):
        assert submit(world, made).code == "ok"
    make_effective(world, approved)
    monkeypatch.setattr(references_effect, "DUE_PER_BLOCK_MAX", 0)
    wait_for(world, 17)
    lab_test(world, newer.digest())
    assert endorse(world, "regulator", newer.digest()).event_types[-1] == "release_superseded"
    assert [status(world, one) for one in (approved, pending, newer)] == ["superseded", "pending", "effective"]
    # and its date, which has come, brings it back no more
    monkeypatch.undo()
    world.run()
    assert [status(world, one) for one in (approved, newer)] == ["superseded", "effective"]
    assert not [key for key in leftovers(world) if key.startswith(b"due")]


# holds RF-10
def test_release_that_fails_after_it_was_approved_never_counts() -> None:
    world, made = World(), release(start=at(10))
    make_effective(world, made)
    assert status(world, made) == "approved"
    assert lab_test(world, made.digest(), "fail", "lab-b").code == "ok"
    wait_for(world, 12)
    assert (status(world, made), value_of(world)) == ("failed", None)
    assert not leftovers(world)


# holds RF-7
def test_content_of_a_revoked_release_is_right_again_from_the_date_of_another_one_that_brings_it() -> None:
    world = World()
    make_effective(world, release("r-1"))
    report(world, 1)
    assert verdicts(revoke(world, "maker-a", release("r-1").digest())) == {
        "dev-1": dict.fromkeys(FILES, "revoked"),
    }
    make_effective(world, release("r-2", start=at(world.head.height + 6)))
    wait_for(world, world.head.height + 6)
    assert verdicts(report(world, 2)) == {"dev-1": dict.fromkeys(FILES, "match")}
    (key,) = (key for key, _ in world.state.scan("references", b"changes/"))
    assert cbor.decode(world.state.entries["references", key]) == 3


def test_content_is_told_of_the_own_slot_before_that_of_the_model() -> None:
    world = World()
    make_effective(world, release("r-1", firmware=b"fw 1"))
    make_effective(world, release("r-2", device="dev-1", firmware=b"fw 1"))
    make_effective(world, release("r-3", device="dev-1", firmware=b"fw 3"))
    revoke(world, "maker-a", release("r-1", firmware=b"fw 1").digest())
    done = report(world, 1, "dev-1", firmware=b"fw 1")
    details = {
        (told["cause"], found["detail"])
        for told in done.events("alarm_raised")
        if isinstance(told["artefacts"], list)
        for found in told["artefacts"]
        if isinstance(found, dict) and found["kind"] == "firmware"
    }
    assert details == {("superseded", "it is of release r-2")}


# holds RF-8
def test_releases_for_other_slots_are_in_nobodys_way() -> None:
    world = World()
    assert submit(world, release("r-1", firmware=b"1")).code == "ok"
    assert submit(world, release("r-2", settings=b"1")).code == "ok"
    assert submit(world, release("r-3", device="dev-1", firmware=b"1")).code == "ok"
    assert submit(world, release("r-4", model="XR/7", firmware=b"1")).code == "ok"
    assert submit(world, release("r-5", firmware=b"2")).code == "conflicting-release"


# holds RF-8
def test_release_no_longer_in_the_way_once_it_counts_failed_or_is_revoked() -> None:
    world = World()
    make_effective(world, release("r-1"))
    assert submit(world, release("r-2")).code == "ok"
    assert submit(world, release("r-3")).code == "conflicting-release"
    assert revoke(world, "maker-a", release("r-2").digest()).event_types == ["release_withdrawn"]
    assert submit(world, release("r-3")).code == "ok"
    assert lab_test(world, release("r-3").digest(), "fail").code == "ok"
    assert submit(world, release("r-4")).code == "ok"


def test_more_releases_than_may_wait_for_a_slot_are_refused() -> None:
    world = World()
    for number in range(8):
        assert submit(world, release(f"r-{number}", start=at(100 + number), firmware=b"1")).code == "ok"
    assert submit(world, release("r-8", start=at(108), firmware=b"1")).code == "too-many-waiting"
    assert submit(world, release("r-8", start=at(108), settings=b"1")).code == "ok"


# holds RF-9
def test_release_whose_later_one_counts_already_is_superseded_without_having_counted() -> None:
    world = World()
    late = release("r-1", start=at(15), firmware=b"1", settings=b"1")
    both = release("r-2", start=at(16), firmware=b"2", settings=b"2")
    for made in (late, both):
        submit(world, made)
    for digest in (both.digest(),):
        lab_test(world, digest)
        endorse(world, "regulator", digest)
    wait_for(world, 16)
    assert (status(world, both), status(world, late)) == ("effective", "superseded")
    told = report(world, 1)
    assert told.events("release_superseded") == [{"digest": late.digest(), "by": both.digest()}]
    # who endorses it now changes nothing
    assert lab_test(world, late.digest()).code == "ok"
    assert endorse(world, "regulator", late.digest()).event_types == ["release_endorsed"]
    assert value_of(world) == sha256(b"2")
    assert not leftovers(world)


# holds RF-9
def test_release_overtaken_in_one_slot_still_counts_for_the_others() -> None:
    world = World()
    late = release("r-1", start=at(15), firmware=b"1", settings=b"1")
    newer = release("r-2", start=at(16), firmware=b"2")
    for made in (late, newer):
        submit(world, made)
    lab_test(world, newer.digest())
    endorse(world, "regulator", newer.digest())
    wait_for(world, 16)
    assert status(world, late) == "pending"
    lab_test(world, late.digest())
    done = endorse(world, "regulator", late.digest())
    assert done.events("release_effective")[0]["kinds"] == ["settings"]
    assert (value_of(world), value_of(world, "settings")) == (sha256(b"2"), sha256(b"1"))


# revoke


# holds RF-12
@pytest.mark.parametrize("sender", ["maker-a", "lab", "regulator"])
def test_revoke_of_an_effective_release_leaves_its_slots_without_a_value(sender: str) -> None:
    world, older, made = World(), release(), release("r-2", firmware=b"fw 2")
    make_effective(world, older)
    make_effective(world, made)
    done = revoke(world, sender, made.digest())
    assert (done.code, done.event_types) == ("ok", ["release_revoked"])
    assert done.events("release_revoked")[0]["reason"] == "a flaw in stage 2"
    slot = KnownValues(StateReads(world.state)).slots("dev-1", "SC-2")["firmware"]
    assert slot.revoked == f"release r-2 was revoked by {sender} in block {world.head.height}: a flaw in stage 2"
    assert (status(world, made), status(world, older)) == ("revoked", "effective")
    # it never comes back, nor does the one before it
    for refused in (
        submit(world, made),
        lab_test(world, made.digest(), sender="lab-b"),
        endorse(world, "regulator", made.digest()),
        revoke(world, "regulator", made.digest()),
    ):
        assert refused.code in {"already-submitted", "release-revoked"}
    make_effective(world, release("r-3", firmware=FIRMWARE))
    assert KnownValues(StateReads(world.state)).slots("dev-1", "SC-2")["firmware"].revoked is None


# holds RF-12
def test_revoke_of_an_approved_release_keeps_it_from_ever_counting() -> None:
    world, made = World(), release(start=at(10))
    make_effective(world, made)
    assert revoke(world, "regulator", made.digest()).event_types == ["release_withdrawn"]
    wait_for(world, 12)
    assert (value_of(world), status(world, made)) == (None, "revoked")
    assert not leftovers(world)


def test_test_that_fails_an_approved_release_keeps_it_from_ever_counting() -> None:
    world, made = World(), release(start=at(12))
    make_effective(world, made)
    assert lab_test(world, made.digest(), "fail", "lab-b").code == "ok"
    wait_for(world, 13)
    assert (value_of(world), status(world, made)) == (None, "failed")
    assert not leftovers(world)


# holds RF-12
def test_revoke_of_a_superseded_release_tells_who_still_holds_its_files() -> None:
    world = World()
    make_effective(world, release())
    make_effective(world, release("r-2", firmware=b"fw 2"))
    make_effective(world, release("r-3", settings=b"se 3", strategy=b"st 3"))
    report(world, 1, settings=b"se 3", strategy=b"st 3")
    done = revoke(world, "regulator", release().digest())
    assert verdicts(done) == {"dev-1": {"firmware": "revoked", "settings": "match", "strategy": "match"}}
    found = KnownValues(StateReads(world.state)).find_owner("dev-1", "SC-2", "firmware", sha256(FIRMWARE))
    assert found == Owner(
        own=True,
        target="model 'SC-2'",
        kind="firmware",
        release="r-1",
        revoked=f"release r-1 was revoked by regulator in block {world.head.height}: a flaw in stage 2",
    )


# holds RF-12
def test_revoke_gives_devices_a_diagnosis_of_their_own() -> None:
    world = World()
    make_effective(world, release())
    make_effective(world, release("r-2", firmware=b"fw 2"))
    for number, content in ((1, b"fw 2"), (2, FIRMWARE)):
        report(world, number, f"dev-{number}", firmware=content)
    done = send(world, evidence(entry("dev-3", item("s-3", firmware=b"no one's")), gateway="gw-2"))
    assert done.code == "ok"
    found = verdicts(revoke(world, "maker-a", release("r-2", firmware=b"fw 2").digest()))
    firmware = {device: one["firmware"] for device, one in found.items() if isinstance(one, dict)}
    assert firmware == {"dev-1": "revoked", "dev-2": "superseded", "dev-3": "mismatch"}


@pytest.mark.parametrize(
    ("sender", "change", "code"),
    [
        ("grid", {}, "wrong-role"),
        ("gw-1", {}, "wrong-role"),
        ("maker-b", {}, "wrong-role"),
        ("lab-b", {}, "wrong-role"),
        ("regulator", {"release": bytes(32)}, "unknown-release"),
        ("regulator", {"release": b"short"}, "bad-args"),
        ("regulator", {"reason": ""}, "bad-args"),
        ("regulator", {"reason": "x" * 257}, "bad-args"),
        ("regulator", {"reason": "line\nbreak"}, "bad-args"),
        ("regulator", {"reason": 1}, "bad-args"),
        ("regulator", {"more": 1}, "bad-args"),
    ],
)
def test_revoke_that_is_not_the_senders_to_make_is_refused(sender: str, change: dict[str, Value], code: str) -> None:
    world, made = World(), release()
    make_effective(world, made)
    args: dict[str, Value] = {"release": made.digest(), "reason": "a flaw"}
    done = world.call(sender, "references", "revoke", {**args, **change})
    assert (done.code, done.event_types) == (code, [])
    assert value_of(world) == sha256(FIRMWARE)


# holds RF-7
@pytest.mark.parametrize(("bound", "most"), [("TOLD_BYTES_MAX", 1000), ("TOLD_EVENTS_MAX", 1)])
def test_revocation_that_tells_of_too_many_devices_leaves_the_rest_to_their_reports(
    monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(f"master.contracts.consistency.{bound}", most)
    world = World()
    send(world, evidence(entry("dev-1", item("s-1")), entry("dev-2", item("s-2"))))
    make_effective(world, release())
    done = revoke(world, "regulator", release().digest())
    assert done.code == "ok"
    assert [told["device"] for told in done.events("verdict_changed")] == ["dev-1"]
    later = send(world, evidence(entry("dev-2", item("s-2")), pair=(1, 2)))
    assert [told["device"] for told in later.events("verdict_changed")] == ["dev-2"]


# holds RF-7
def test_devices_beyond_those_of_one_transaction_follow_with_the_next_report_that_names_them() -> None:
    world = World(make_genesis({"reappraise_devices_max": 1}))
    lines = [entry(f"dev-{number}", item(f"s-{number}")) for number in (1, 2)]
    send(world, evidence(*lines))
    done = make_effective(world, release(firmware=b"fw 2"))
    assert [told["device"] for told in done.events("verdict_changed")] == ["dev-1"]
    alone = send(world, evidence(lines[0], pair=(1, 2)))
    assert not verdicts(alone)
    # its gateway has started anew and cannot reach it: what was read of it before counts
    later = send(world, evidence(entry("dev-2", None, status="unreachable"), pair=(2, 1)))
    others = dict.fromkeys(("settings", "strategy"), "unknown_reference")
    assert verdicts(later) == {"dev-2": {"firmware": "mismatch", **others}}
    assert not verdicts(send(world, evidence(entry("dev-2", None, status="unreachable"), pair=(2, 2))))


# holds RF-7
def test_outcome_has_room_for_what_a_revocation_tells_of_a_large_model() -> None:
    devices = tuple(Device(f"dev-{number:03}", "gw-1", "maker-a", "SC-2", f"s-{number}") for number in range(256))
    world = World(make_genesis(None, devices))
    for first in range(0, 256, 32):
        lines = [entry(f"dev-{number:03}", item(f"s-{number}")) for number in range(first, first + 32)]
        assert send(world, evidence(*lines, pair=(1, first + 1))).code == "ok"
    make_effective(world, release())
    done = revoke(world, "regulator", release().digest(), "\u6c34" * 256)
    assert done.code == "ok"
    assert 100 < len(done.events("verdict_changed")) < 256
