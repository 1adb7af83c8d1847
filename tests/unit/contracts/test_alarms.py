"""Contract consistency: the life of alarms, what people do with them, and floods."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from master.contracts.alarm_actions import CLOSING_REASONS, REASONS
from master.contracts.alarm_states import BY_PEOPLE, STATES, moved
from tests.unit.contracts.members_site import Site
from tests.unit.contracts.operators import ACTION, Watch
from tests.unit.contracts.reports import alarm_events, entry, evidence, item, make_effective, release, send
from tests.unit.ledger.worlds import World
from wire.cbor import Value

BAD, WORSE = item(firmware=b"evil"), item(firmware=b"evil", settings=b"evil")
DAY_MS = 86_400_000

# the table

LASTING = {
    ("raised", "change"): "raised",
    ("acknowledged", "change"): "raised",
    ("raised", "return"): "returned",
    ("acknowledged", "return"): "returned_acknowledged",
    ("returned", "appear"): "raised",
    ("returned_acknowledged", "appear"): "raised",
    ("raised", "acknowledge"): "acknowledged",
    ("returned", "acknowledge"): "returned_acknowledged",
    ("raised", "shelve"): "raised",
    ("acknowledged", "shelve"): "raised",
    ("returned", "shelve"): "returned",
    ("raised", "unshelve"): "raised",
    ("acknowledged", "unshelve"): "acknowledged",
    ("returned", "unshelve"): "returned",
    ("returned_acknowledged", "unshelve"): "returned_acknowledged",
    ("returned_acknowledged", "close"): "closed",
}
MOVES = ("appear", "change", "return", *BY_PEOPLE)
CAUSES = ("mismatch", "altered_between_polls", "evidence_conflict")


# holds AL-2 AL-3
@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize(("state", "move"), list(product(STATES, MOVES)))
def test_alarm_moves_as_the_table_says_and_no_other_way(cause: str, state: str, move: str) -> None:
    due = LASTING.get((state, move))
    if cause != "mismatch" and (state, move) == ("acknowledged", "close"):
        due = "closed"
    assert moved(cause, state, move) == due


def _bring(watch: Watch, state: str, cause: str) -> str:
    """Bring an alarm to a state; return its subject."""
    subject = "gw-1" if cause == "evidence_conflict" else "dev-1"
    match cause:
        case "mismatch":
            watch.read(BAD)
        case "altered_between_polls":
            watch.read(replace(item(), revision=1))
            watch.read(replace(item(), revision=2))
        case _:
            watch.conflict()
    if state.startswith("returned") or (state == "closed" and cause == "mismatch"):
        watch.read(item())
    if state not in ("raised", "returned"):
        assert watch.act("acknowledge-alarm", subject=subject, cause=cause).code == "ok"
    if state == "closed":
        assert watch.act("close-alarm", subject=subject, cause=cause).code == "ok"
    assert watch.alarm(subject, cause)["state"] == state
    return subject


REACHED = [
    (cause, state)
    for cause, state in product(CAUSES, STATES)
    if not (cause == "evidence_conflict" and state.startswith("returned"))
]


# holds AL-3
@pytest.mark.parametrize(("cause", "state"), REACHED)
@pytest.mark.parametrize("move", ["acknowledge", "shelve", "close"])
def test_people_make_every_move_that_is_allowed_and_no_other(cause: str, state: str, move: str) -> None:
    watch = Watch()
    subject = _bring(watch, state, cause)
    before = watch.alarm(subject, cause)
    done = watch.act(f"{move}-alarm", subject=subject, cause=cause)
    due = moved(cause, state, move)
    assert done.code == ("wrong-state" if due is None else "ok")
    after = watch.alarm(subject, cause)
    if due is None:
        assert (after, done.event_types) == (before, [])
        return
    word = {"acknowledge": "acknowledged", "shelve": "shelved", "close": "closed"}[move]
    (told,) = done.events(f"alarm_{word}")
    assert (after["state"], told["state"], told["from_state"], told["move"]) == (due, due, state, move)
    assert (told["by"], told["organisation"], told["action"]) == ("grid", "grid", ACTION)
    assert told["reason"] == (None if move == "shelve" else "wrong-file")
    assert {name: told[name] for name in after} == after


# holds AL-4
def test_notes_say_who_did_what_and_when() -> None:
    watch = Watch()
    watch.read(BAD)
    done = watch.act("acknowledge-alarm", reason="under-investigation", action="a crew is on its way")
    head = watch.world.head
    note = {
        "by": "grid",
        "organisation": "grid",
        "reason": "under-investigation",
        "action": "a crew is on its way",
        "time_ms": head.time_ms,
        "height": head.height,
        "tx": done.tx.id,
    }
    assert watch.alarm()["acknowledged"] == note
    watch.read(item())
    done = watch.act("close-alarm", by="dispatch", reason="tampering")
    closed = watch.alarm()["closed"]
    assert isinstance(closed, dict)
    assert (closed["by"], closed["reason"], closed["tx"]) == ("dispatch", "tampering", done.tx.id)
    assert watch.alarm()["acknowledged"] == note


# holds AL-3
def test_cause_that_is_there_keeps_an_acknowledged_alarm_open() -> None:
    watch = Watch()
    watch.read(BAD)
    assert watch.act("close-alarm").code == "wrong-state"
    watch.act("acknowledge-alarm")
    assert watch.act("close-alarm").code == "wrong-state"
    watch.read(item())
    assert watch.alarm()["state"] == "returned_acknowledged"
    assert watch.act("close-alarm").code == "ok"


# holds AL-2
def test_cause_that_comes_back_after_the_close_opens_another_alarm() -> None:
    watch = Watch()
    _bring(watch, "closed", "mismatch")
    first = watch.alarm()
    done = watch.read(BAD)
    assert alarm_events(done) == [("alarm_raised", "dev-1", "mismatch")]
    second = watch.alarm()
    assert second["alarm_id"] != first["alarm_id"]
    assert (second["count"], second["acknowledged"], second["closed"]) == (1, None, None)
    assert not alarm_events(watch.read(BAD))


# holds AL-2
def test_new_artefacts_take_an_acknowledgement_back() -> None:
    watch = Watch()
    watch.read(BAD)
    watch.act("acknowledge-alarm")
    assert alarm_events(watch.read(WORSE)) == [("alarm_changed", "dev-1", "mismatch")]
    assert (watch.alarm()["state"], watch.alarm()["acknowledged"], watch.alarm()["count"]) == ("raised", None, 2)


# holds AL-3
def test_past_cause_that_was_closed_is_not_raised_by_the_same_item_again() -> None:
    watch = Watch()
    _bring(watch, "closed", "altered_between_polls")
    first = watch.alarm(cause="altered_between_polls")
    assert (first["state"], first["present"]) == ("closed", True)
    done = make_effective(watch.world, release("r-2", settings=b"settings 2"))
    assert ("alarm_raised", "dev-1", "altered_between_polls") not in alarm_events(done)
    assert watch.alarm(cause="altered_between_polls") == first
    # what was altered once more is another matter
    assert ("alarm_raised", "dev-1", "altered_between_polls") in alarm_events(watch.read(replace(item(), revision=3)))
    second = watch.alarm(cause="altered_between_polls")
    assert second["alarm_id"] != first["alarm_id"]


# holds AL-3
def test_past_cause_that_was_closed_is_gone_with_the_next_item() -> None:
    watch = Watch()
    _bring(watch, "closed", "altered_between_polls")
    assert alarm_events(watch.read(replace(BAD, revision=3))) == [("alarm_raised", "dev-1", "mismatch")]
    assert watch.alarm(cause="altered_between_polls")["present"] is False
    assert watch.alarm(cause="altered_between_polls")["state"] == "closed"


# evidence that contradicts itself


# holds AL-8
def test_conflict_raises_one_alarm_of_the_gateway_that_lists_what_contradicts() -> None:
    watch = Watch()
    done = watch.conflict()
    (told,) = done.events("alarm_raised")
    assert (told["device"], told["gateway"], told["cause"]) == (None, "gw-1", "evidence_conflict")
    assert (told["severity"], told["state"]) == ("high", "raised")
    (conflict,) = done.events("evidence_conflict")
    assert told["artefacts"] == [
        {
            "kind": "evidence",
            "verdict": "evidence_conflict",
            "expected_sha256": conflict["accepted_digest"],
            "read_sha256": conflict["evidence_digest"],
            "detail": "boot 1, seq 1",
            "difference": None,
            "method": None,
            "owner": None,
            "fill": None,
        }
    ]
    # the same once more says nothing new; another one does
    again = send(watch.world, evidence(entry("dev-2", item("s-1")), pair=(1, 1)))
    assert (again.code, alarm_events(again)) == ("conflict", [])
    for number in range(9):
        other = send(watch.world, evidence(entry("dev-2", item(f"x-{number}")), pair=(1, 1)))
        assert alarm_events(other) == [("alarm_changed", "gw-1", "evidence_conflict")]
    alarm = watch.alarm("gw-1", "evidence_conflict")
    assert isinstance(alarm["artefacts"], list)
    assert (alarm["count"], len(alarm["artefacts"])) == (10, 8)


# holds AL-8
def test_conflict_that_was_closed_comes_back_only_with_other_evidence() -> None:
    watch = Watch()
    _bring(watch, "closed", "evidence_conflict")
    same = send(watch.world, evidence(entry("dev-2", item("s-1")), pair=(1, 1)))
    assert (same.code, alarm_events(same)) == ("conflict", [])
    other = send(watch.world, evidence(entry("dev-2", item("s-7")), pair=(1, 1)))
    assert alarm_events(other) == [("alarm_raised", "gw-1", "evidence_conflict")]
    assert watch.alarm("gw-1", "evidence_conflict")["count"] == 1


def test_missed_cause_whose_alarm_was_closed_opens_another_one() -> None:
    watch = Watch()
    watch.seq = 10
    _bring(watch, "closed", "mismatch")
    first = watch.alarm()
    late = send(watch.world, evidence(entry("dev-1", WORSE), pair=(1, 2)))
    assert [kind for kind, _, _ in alarm_events(late)] == ["alarm_raised", "alarm_returned"]
    assert watch.alarm()["alarm_id"] != first["alarm_id"]
    assert not alarm_events(send(watch.world, evidence(entry("dev-1", BAD), pair=(1, 3))))


# shelves


# holds AL-5
def test_shelf_ends_by_block_time_and_the_alarm_wants_to_be_acknowledged_again() -> None:
    watch = Watch()
    watch.read(BAD)
    watch.act("acknowledge-alarm")
    until_ms = watch.world.head.time_ms + 3000
    done = watch.act("shelve-alarm", until_ms=until_ms)
    shelf = watch.alarm()["shelf"]
    assert isinstance(shelf, dict)
    assert (shelf["until_ms"], shelf["by"], shelf["tx"]) == (until_ms, "grid", done.tx.id)
    assert watch.alarm()["state"] == "raised"
    assert watch.act("shelve-alarm").code == "shelved"
    while watch.world.head.time_ms < until_ms:
        assert watch.act("close-alarm").code == "wrong-state"
    # the shelf has ended: nothing wrote that, and what comes next goes by it
    assert watch.act("unshelve-alarm").code == "not-shelved"
    assert watch.act("acknowledge-alarm").code == "ok"
    assert watch.alarm()["shelf"] is None


# holds AL-5
def test_shelved_alarm_can_be_taken_off_its_shelf() -> None:
    watch = Watch()
    watch.read(BAD)
    assert watch.act("unshelve-alarm").code == "not-shelved"
    watch.act("shelve-alarm")
    done = watch.act("unshelve-alarm", by="agency")
    (told,) = done.events("alarm_unshelved")
    assert (told["by"], told["shelf"], watch.alarm()["shelf"]) == ("agency", None, None)


# holds AL-5
@pytest.mark.parametrize("between", [(), (item(),)])
def test_shelved_alarm_comes_back_when_it_says_more_than_before(between: tuple[object, ...]) -> None:
    watch = Watch()
    watch.read(BAD)
    watch.act("shelve-alarm", until_ms=watch.world.head.time_ms + DAY_MS)
    for _ in between:
        # a cause that comes and goes is what shelves are for
        watch.read(item())
        assert watch.alarm()["shelf"] is not None
        watch.read(BAD)
        assert watch.alarm()["shelf"] is not None
        watch.read(item())
    watch.read(WORSE)
    assert (watch.alarm()["shelf"], watch.alarm()["state"]) == (None, "raised")


# holds AL-5
@pytest.mark.parametrize(
    ("ahead_ms", "code"), [(1000, "bad-time"), (1001, "ok"), (7 * DAY_MS + 1000, "ok"), (7 * DAY_MS + 1001, "bad-time")]
)
def test_shelf_ends_after_now_and_not_too_late(ahead_ms: int, code: str) -> None:
    watch = Watch()
    watch.read(BAD)
    # the block that holds the call is one second later
    assert watch.act("shelve-alarm", until_ms=watch.world.head.time_ms + ahead_ms).code == code


def test_close_ends_a_shelf() -> None:
    watch = Watch()
    watch.read(BAD)
    watch.read(item())
    watch.act("shelve-alarm", until_ms=watch.world.head.time_ms + DAY_MS)
    assert watch.act("acknowledge-alarm").code == "ok"
    assert watch.alarm()["shelf"] is not None
    assert watch.act("close-alarm").code == "ok"
    assert (watch.alarm()["state"], watch.alarm()["shelf"]) == ("closed", None)


# who may


# holds AL-6
@pytest.mark.parametrize(
    ("by", "code"),
    [
        ("grid", "ok"),
        ("agency", "ok"),
        ("sub", "ok"),
        ("dispatch", "ok"),
        ("agency-2", "not-permitted"),
        ("lab", "not-permitted"),
        ("regulator", "not-permitted"),
        ("maker-a", "not-permitted"),
        ("gw-1", "not-permitted"),
        ("gw-2", "not-permitted"),
    ],
)
@pytest.mark.parametrize("cause", ["mismatch", "evidence_conflict"])
def test_owner_and_agencies_above_it_act_and_nobody_else(by: str, code: str, cause: str) -> None:
    watch = Watch()
    subject = _bring(watch, "raised", cause)
    before = watch.alarm(subject, cause)
    done = watch.act("acknowledge-alarm", by=by, subject=subject, cause=cause)
    assert done.code == code
    assert (watch.alarm(subject, cause) == before) == (code != "ok")


# holds AL-6
def test_suspended_organisation_does_not_act(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    watch.read(BAD)
    monkeypatch.setattr("master.contracts.membership.is_active", lambda _state, name, _time_ms: name != "grid")
    assert watch.act("acknowledge-alarm").code == "not-permitted"
    assert watch.act("acknowledge-alarm", by="agency").code == "ok"


# what was seen


# holds AL-7
def test_alarm_that_changed_since_it_was_seen_is_not_acted_on() -> None:
    watch = Watch()
    watch.read(BAD)
    seen = watch.alarm()["count"]
    watch.read(WORSE)
    assert watch.act("acknowledge-alarm", count=seen).code == "changed-since"
    assert watch.act("acknowledge-alarm").code == "ok"


# holds AL-7
def test_alarm_of_another_id_is_not_acted_on() -> None:
    watch = Watch()
    watch.read(BAD)
    assert watch.act("acknowledge-alarm", alarm="00" * 16).code == "other-alarm"


@pytest.mark.parametrize(
    ("subject", "cause"),
    [
        ("dev-2", "mismatch"),
        ("dev-9", "mismatch"),
        ("dev-1", "missing"),
        ("dev-1", "täuschung"),
        ("gw-1", "mismatch"),
        ("gw-2", "evidence_conflict"),
        ("gw-9", "evidence_conflict"),
        ("dev-1", "evidence_conflict"),
    ],
)
def test_alarm_that_there_is_not_is_unknown(subject: str, cause: str) -> None:
    watch = Watch()
    watch.read(BAD)
    args: dict[str, Value] = {"subject": subject, "cause": cause, "alarm": "x", "count": 1, "action": ACTION}
    assert watch.world.call("grid", "consistency", "unshelve-alarm", args).code == "unknown-alarm"


# holds AL-4
@pytest.mark.parametrize(
    "changes",
    [
        {"action": ""},
        {"action": "a" * 257},
        {"action": "two\nlines"},
        {"action": 7},
        {"subject": "not an id"},
        {"cause": 1},
        {"alarm": b"x"},
        {"count": 0},
        {"count": "1"},
        {"reason": "because"},
        {"reason": 3},
        {"reason": None},
        {"more": 1},
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["acknowledge-alarm", "close-alarm"])
def test_call_with_wrong_arguments_is_refused(method: str, changes: dict[str, Value]) -> None:
    watch = Watch()
    watch.read(BAD)
    alarm = watch.alarm()
    args: dict[str, Value] = {
        "subject": "dev-1",
        "cause": "mismatch",
        "alarm": alarm["alarm_id"],
        "count": 1,
        "action": ACTION,
        "reason": "test",
        **changes,
    }
    given: dict[str, Value] = {name: value for name, value in args.items() if value is not None}
    assert watch.world.call("grid", "consistency", method, given).code == "bad-args"


# holds AL-4
def test_close_needs_a_reason_that_says_what_it_was() -> None:
    watch = Watch()
    _bring(watch, "returned_acknowledged", "mismatch")
    assert set(REASONS) - set(CLOSING_REASONS) == {"under-investigation"}
    assert watch.act("close-alarm", reason="under-investigation").code == "bad-args"
    assert watch.act("shelve-alarm", until_ms="soon").code == "bad-args"


def test_world_without_a_jurisdiction_lets_the_owner_act() -> None:
    world = World()
    make_effective(world, release())
    done = send(world, evidence(entry("dev-1", BAD)))
    (told,) = done.events("alarm_raised")
    args: dict[str, Value] = {
        "subject": "dev-1",
        "cause": "mismatch",
        "alarm": told["alarm_id"],
        "count": 1,
        "action": ACTION,
        "reason": "test",
    }
    assert world.call("lab", "consistency", "acknowledge-alarm", args).code == "not-permitted"
    assert world.call("grid", "consistency", "acknowledge-alarm", args).code == "ok"


# holds MB-17
def test_alarm_of_a_device_that_retired_returns_and_a_person_closes_it() -> None:
    watch = Watch()
    watch.read(BAD)
    done = watch.world.call("grid", "membership", "retire-device", {"device": "dev-1", "reason": "burnt"})
    assert alarm_events(done) == [("alarm_returned", "dev-1", "mismatch")]
    assert watch.read(BAD).event_types == ["report_accepted"]
    assert watch.act("acknowledge-alarm", by="agency").code == "ok"
    assert watch.act("close-alarm").code == "ok"
    assert watch.alarm()["state"] == "closed"


# holds MB-17
def test_alarm_of_a_device_that_retired_stays_its_last_owners_when_its_gateway_goes() -> None:
    site = Site()
    make_effective(site.world, release())
    send(site.world, evidence(entry("dev-1", BAD)))
    (told,) = site.call("grid", "retire-device", device="dev-1", reason="burnt").events("alarm_returned")
    for by in ("grid", "solar"):
        assert site.call(by, "bind", kind="gateway", id="gw-1", to="st-3").code == "ok"
    args: dict[str, Value] = {
        "subject": "dev-1",
        "cause": "mismatch",
        "alarm": told["alarm_id"],
        "count": told["count"],
        "action": ACTION,
        "reason": "equipment-fault",
    }
    assert site.world.call("solar", "consistency", "acknowledge-alarm", args).code == "not-permitted"
    assert site.world.call("grid", "consistency", "acknowledge-alarm", args).code == "ok"
    assert site.world.call("sub-east", "consistency", "close-alarm", args).code == "ok"
