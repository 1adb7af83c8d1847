from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from master.contracts import references
from master.contracts.references_lookup import KnownValues
from master.ledger.call import StateReads
from rules.appraisal import Owner, Slot
from tests.unit.contracts.reports import (
    FIRMWARE,
    STRATEGY,
    endorse,
    lab_test,
    make_effective,
    release,
    revoke,
    submit,
)
from tests.unit.ledger.worlds import Done, World, make_genesis
from wire.cbor import Value
from wire.genesis import Device
from wire.release import Release
from wire.types import sha256


def slots(world: World, device: str = "dev-1", model: str = "SC-2") -> dict[str, Slot]:
    return dict(KnownValues(StateReads(world.state)).slots(device, model))


def owner(world: World, content: bytes, kind: str = "firmware", device: str = "dev-1") -> Owner | None:
    return KnownValues(StateReads(world.state)).find_owner(device, "SC-2", kind, sha256(content))


# submit


def test_submit_release_of_its_manufacturer_is_taken_and_endorsed() -> None:
    world, made = World(), release()
    done = submit(world, made)
    assert (done.code, done.event_types) == ("ok", ["release_submitted", "release_endorsed"])
    (submitted,) = done.events("release_submitted")
    assert (submitted["digest"], submitted["release"], submitted["manufacturer"]) == (made.digest(), "r-1", "maker-a")
    assert submitted["target"] == {"device": None, "model": "SC-2"}
    assert isinstance(submitted["artefacts"], list)
    assert [entry["kind"] for entry in submitted["artefacts"] if isinstance(entry, dict)] == [
        "firmware",
        "settings",
        "strategy",
    ]
    assert done.events("release_endorsed") == [
        {
            "digest": made.digest(),
            "organisation": "maker-a",
            "role": "manufacturer",
            "report": None,
            "missing": [{"role": "laboratory", "count": 1}, {"role": "regulator", "count": 1}],
        }
    ]
    assert {event.subject for event in done.outcome.events} == {made.digest().hex()}
    assert not slots(world)


@pytest.mark.parametrize("args", [{}, {"release": "text"}, {"release": b"", "more": 1}, {"other": b""}])
def test_submit_with_wrong_arguments_is_refused(args: dict[str, Value]) -> None:
    assert World().call("maker-a", "references", "submit", args).code == "bad-args"


def test_submit_bytes_that_are_no_release_is_refused() -> None:
    assert World().call("maker-a", "references", "submit", {"release": b"\xa0"}).code == "bad-release"


@pytest.mark.parametrize(
    ("sender", "made", "code"),
    [
        ("maker-b", release(), "wrong-manufacturer"),
        ("gw-1", release(), "wrong-manufacturer"),
        ("lab", release(manufacturer="lab"), "wrong-role"),
        ("gw-1", release(manufacturer="gw-1"), "wrong-role"),
        ("maker-a", release(device="dev-9"), "unknown-device"),
        ("maker-a", release(model="SC-3"), "unknown-model"),
    ],
)
def test_submit_release_that_is_not_the_senders_to_make_is_refused(sender: str, made: Release, code: str) -> None:
    world = World()
    done = world.call(sender, "references", "submit", {"release": made.encode()})
    assert (done.code, done.event_types) == (code, [])
    assert [namespace for namespace, _ in done.written] == ["sequence"]


def test_submit_release_again_or_another_under_its_name_is_refused() -> None:
    world = World()
    assert submit(world, release()).code == "ok"
    assert submit(world, release()).code == "already-submitted"
    assert submit(world, release(firmware=b"other")).code == "name-taken"
    assert submit(world, release(manufacturer="maker-b", model="XR/7")).code == "ok"


# holds RF-7
def test_submit_release_for_a_model_of_more_devices_than_a_transaction_appraises_is_taken() -> None:
    world = World(make_genesis({"reappraise_devices_max": 2}))
    assert submit(world, release()).code == "ok"
    assert submit(world, release("r-2", model="SC-3")).code == "unknown-model"


# test and endorse


def stand_behind(world: World, sender: str, made: Release) -> Done:
    return lab_test(world, made.digest()) if sender == "lab" else endorse(world, sender, made.digest())


# holds RF-1
@pytest.mark.parametrize("order", [("lab", "regulator"), ("regulator", "lab")])
def test_endorse_by_all_roles_in_any_order_makes_a_release_effective(order: tuple[str, str]) -> None:
    world, made = World(), release()
    submit(world, made)
    first = stand_behind(world, order[0], made)
    assert (first.code, first.event_types[-1]) == ("ok", "release_endorsed")
    assert not slots(world)
    second = stand_behind(world, order[1], made)
    assert second.event_types[-2:] == ["release_endorsed", "release_effective"]
    (effective,) = second.events("release_effective")
    assert (effective["digest"], effective["replaces"]) == (made.digest(), [])
    assert slots(world)["firmware"] == Slot(len(FIRMWARE), sha256(FIRMWARE))
    assert set(slots(world)) == {"firmware", "settings", "strategy"}


# holds RF-1
def test_endorse_by_two_laboratories_is_not_a_regulator() -> None:
    world, made = World(), release()
    submit(world, made)
    assert lab_test(world, made.digest()).code == "ok"
    assert lab_test(world, made.digest(), sender="lab-b").event_types == ["release_tested", "release_endorsed"]
    assert not slots(world)


# holds RF-10
def test_test_that_passes_is_the_laboratorys_endorsement() -> None:
    world, made = World(), release()
    submit(world, made)
    done = lab_test(world, made.digest())
    assert (done.code, done.event_types) == ("ok", ["release_tested", "release_endorsed"])
    assert done.events("release_tested") == [
        {"digest": made.digest(), "organisation": "lab", "report": sha256(b"report"), "verdict": "pass"}
    ]
    assert done.events("release_endorsed")[0]["report"] == sha256(b"report")
    assert lab_test(world, made.digest()).code == "already-endorsed"


# holds RF-10
@pytest.mark.parametrize("passed_before", [False, True])
def test_test_that_fails_ends_the_release(*, passed_before: bool) -> None:
    world, made = World(), release()
    submit(world, made)
    if passed_before:
        lab_test(world, made.digest())
    done = lab_test(world, made.digest(), "fail")
    assert (done.code, done.event_types) == ("ok", ["release_tested"])
    for sender in ("lab-b", "regulator"):
        refused = (
            lab_test(world, made.digest(), sender=sender)
            if sender == "lab-b"
            else endorse(world, sender, made.digest())
        )
        assert (refused.code, refused.event_types) == ("release-failed", [])
    assert revoke(world, "maker-a", made.digest()).code == "release-failed"
    assert not slots(world)
    # it no longer stands in the way of another one, under another name
    assert submit(world, made).code == "already-submitted"
    assert submit(world, release("r-2")).code == "ok"


def test_test_that_fails_after_the_release_is_effective_is_refused() -> None:
    world, made = World(), release()
    make_effective(world, made)
    assert lab_test(world, made.digest(), "fail", "lab-b").code == "already-effective"
    assert lab_test(world, made.digest(), "pass", "lab-b").code == "ok"


@pytest.mark.parametrize(
    ("sender", "change", "code"),
    [
        ("lab", {"verdict": "perhaps"}, "bad-args"),
        ("lab", {"report": None}, "bad-args"),
        ("lab", {"release": b"short"}, "bad-args"),
        ("lab", {"more": 1}, "bad-args"),
        ("lab", {"release": bytes(32)}, "unknown-release"),
        ("regulator", {}, "wrong-role"),
        ("maker-a", {}, "wrong-role"),
        ("gw-1", {}, "wrong-role"),
    ],
)
def test_test_that_cannot_count_is_refused(sender: str, change: dict[str, Value], code: str) -> None:
    world, made = World(), release()
    submit(world, made)
    args: dict[str, Value] = {"release": made.digest(), "report": sha256(b"report"), "verdict": "pass"}
    done = world.call(sender, "references", "test", {**args, **change})
    assert (done.code, done.event_types) == (code, [])


def test_test_by_more_laboratories_than_a_release_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world, made = World(), release()
    submit(world, made)
    monkeypatch.setattr(references, "TESTS_MAX", 1)
    assert lab_test(world, made.digest()).code == "ok"
    assert lab_test(world, made.digest(), sender="lab-b").code == "too-many-endorsements"


# holds RF-11
def test_endorse_names_the_report_of_a_test_that_passed_or_none() -> None:
    world, made = World(), release()
    submit(world, made)
    assert endorse(world, "regulator", made.digest(), sha256(b"report")).code == "unknown-report"
    lab_test(world, made.digest())
    assert endorse(world, "regulator", made.digest(), sha256(b"other")).code == "unknown-report"
    done = endorse(world, "regulator", made.digest(), sha256(b"report"))
    assert done.events("release_endorsed")[0]["report"] == sha256(b"report")
    assert done.events("release_effective")


def test_endorse_after_a_release_is_effective_is_recorded_and_changes_nothing() -> None:
    world, made = World(), release()
    make_effective(world, made)
    done = lab_test(world, made.digest(), sender="lab-b")
    assert (done.code, done.event_types) == ("ok", ["release_tested", "release_endorsed"])


@pytest.mark.parametrize(
    ("sender", "args", "code"),
    [
        ("regulator", lambda digest: {"release": digest}, "bad-args"),
        ("regulator", lambda digest: {"release": digest[:31], "report": None}, "bad-args"),
        ("regulator", lambda digest: {"release": digest.hex(), "report": None}, "bad-args"),
        ("regulator", lambda digest: {"release": digest, "report": b"short"}, "bad-args"),
        ("lab", lambda digest: {"release": digest, "report": None}, "test-due"),
        ("grid", lambda digest: {"release": digest, "report": None}, "wrong-role"),
        ("gw-1", lambda digest: {"release": digest, "report": None}, "wrong-role"),
        ("regulator", lambda _: {"release": bytes(32), "report": None}, "unknown-release"),
        ("maker-a", lambda digest: {"release": digest, "report": None}, "already-endorsed"),
        ("maker-b", lambda digest: {"release": digest, "report": None}, "wrong-manufacturer"),
    ],
)
def test_endorse_that_cannot_count_is_refused(
    sender: str, args: Callable[[bytes], dict[str, Value]], code: str
) -> None:
    world, made = World(), release()
    submit(world, made)
    done = world.call(sender, "references", "endorse", args(made.digest()))
    assert (done.code, done.event_types) == (code, [])


def test_endorse_by_the_same_organisation_again_is_refused() -> None:
    world, made = World(), release()
    submit(world, made)
    assert endorse(world, "regulator", made.digest()).code == "ok"
    assert endorse(world, "regulator", made.digest()).code == "already-endorsed"
    lab_test(world, made.digest())
    assert endorse(world, "lab", made.digest()).code == "already-endorsed"


def test_endorse_by_more_organisations_than_a_release_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world, made = World(), release()
    submit(world, made)
    assert lab_test(world, made.digest()).code == "ok"
    monkeypatch.setattr(references, "ENDORSEMENTS_MAX", 2)
    assert endorse(world, "regulator", made.digest()).code == "too-many-endorsements"


def test_submit_where_the_manufacturer_alone_decides_is_effective_at_once() -> None:
    world = World(make_genesis({"endorser_roles": ["manufacturer"]}))
    done = submit(world, release())
    assert done.event_types == ["release_submitted", "release_endorsed", "release_effective"]
    assert slots(world)


# supersede


# holds RF-2
def test_newer_release_for_the_same_target_supersedes_the_older() -> None:
    world, old, new = World(), release(), release("r-2", firmware=b"fw 2", settings=b"se 2", strategy=STRATEGY)
    make_effective(world, old)
    done = make_effective(world, new)
    assert done.event_types == ["release_endorsed", "release_effective", "release_superseded"]
    assert done.events("release_superseded") == [{"digest": old.digest(), "by": new.digest()}]
    assert done.events("release_effective")[0]["replaces"] == [
        {"digest": old.digest(), "kinds": ["firmware", "settings", "strategy"]}
    ]
    assert slots(world)["firmware"].sha256 == sha256(b"fw 2")


def test_newer_release_of_some_kinds_leaves_the_older_effective_for_the_rest() -> None:
    world, old = World(), release()
    make_effective(world, old)
    done = make_effective(world, release("r-2", firmware=b"fw 2"))
    assert done.events("release_effective")[0]["replaces"] == [{"digest": old.digest(), "kinds": ["firmware"]}]
    assert not done.events("release_superseded")
    assert slots(world)["strategy"].sha256 == sha256(STRATEGY)
    last = make_effective(world, release("r-3", settings=b"se 3", strategy=b"st 3"))
    assert [event["digest"] for event in last.events("release_superseded")] == [old.digest()]


# holds RF-2
def test_release_of_one_device_goes_before_that_of_its_model_and_supersedes_nothing() -> None:
    world = World()
    make_effective(world, release())
    done = make_effective(world, release("r-2", device="dev-1", firmware=b"own"))
    assert done.events("release_effective")[0]["replaces"] == []
    assert slots(world)["firmware"].sha256 == sha256(b"own")
    assert slots(world)["settings"] == slots(world, "dev-2")["settings"]
    assert slots(world, "dev-2")["firmware"].sha256 == sha256(FIRMWARE)
    assert slots(world, "dev-4", "XR/7") == {}


# owners


def test_find_owner_of_unknown_content_is_none() -> None:
    world = World()
    make_effective(world, release())
    assert owner(world, b"nobody's") is None


def test_find_owner_of_an_old_value_of_the_slot_is_its_own() -> None:
    world = World()
    make_effective(world, release())
    make_effective(world, release("r-2", firmware=b"fw 2"))
    assert owner(world, FIRMWARE) == Owner(own=True, target="model 'SC-2'", kind="firmware", release="r-1")


def test_find_owner_of_pending_content_is_none() -> None:
    world = World()
    submit(world, release())
    assert owner(world, FIRMWARE) is None


def test_find_owner_of_another_devices_value_names_the_device() -> None:
    world = World()
    make_effective(world, release("r-1", device="dev-2", firmware=b"of 2"))
    make_effective(world, release("r-2", device="dev-3", firmware=b"of 2"))
    assert owner(world, b"of 2") == Owner(own=False, target="device dev-2", kind="firmware", release="r-1")
    found = owner(world, b"of 2", device="dev-3")
    assert found == Owner(own=True, target="device dev-3", kind="firmware", release="r-2")


def test_find_owner_of_the_devices_own_value_of_another_kind_is_not_its_slot() -> None:
    world = World()
    make_effective(world, release())
    found = owner(world, STRATEGY, "firmware")
    assert found == Owner(own=False, target="model 'SC-2'", kind="strategy", release="r-1")


def test_release_for_a_model_with_the_longest_name_fits_everywhere() -> None:
    model = "\u00e4" * 256
    world = World(make_genesis(devices=(Device("dev-1", "gw-1", "maker-a", model, "s-1"),)))
    made = release("r" * 64, model=model, firmware=b"f")
    make_effective(world, made)
    found = KnownValues(StateReads(world.state)).find_owner("dev-1", "other", "firmware", sha256(b"f"))
    assert found is not None
    assert found.target == f"model '{model}'"


def test_known_values_read_what_devices_have_in_common_once() -> None:
    world = World()
    make_effective(world, release())
    state = _Counting(world)
    known = KnownValues(StateReads(state))
    assert known.change_count("dev-1", "SC-2") == 1
    first = known.slots("dev-1", "SC-2")
    assert set(first) == {"firmware", "settings", "strategy"}
    asked = len(state.keys)
    assert known.slots("dev-2", "SC-2") == first
    assert known.change_count("dev-2", "SC-2") == 1
    assert state.keys[asked:] == [b"changes/d/dev-2"]
    assert known.find_owner("dev-1", "SC-2", "firmware", sha256(FIRMWARE)) is not None
    asked = len(state.keys)
    assert known.find_owner("dev-2", "SC-2", "firmware", sha256(FIRMWARE)) is not None
    assert [key.split(b"/")[0] for key in state.keys[asked:]] == [b"content"]


class _Counting:
    """Notes which keys are read."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.keys: list[bytes] = []

    def get(self, namespace: str, key: bytes) -> bytes | None:
        self.keys.append(key)
        return self._world.state.get(namespace, key)

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        self.keys.append(prefix)
        return self._world.state.scan(namespace, prefix)
