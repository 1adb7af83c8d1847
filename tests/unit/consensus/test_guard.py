from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from master.consensus.events import Broadcast, Persist, Seal
from master.consensus.guard import SignerGuard, Statement, decode_guard, statement_of
from master.consensus.messages import ViewChange, Vote
from master.consensus.records import Accepted, Fetched, Prepared, Record, Signed
from master.consensus.unlocking import known_at
from tests.simulation.toy import EPOCH
from tests.unit.consensus.bench import Bench, kinds, of, reports, said, votes
from wire import cbor
from wire.certificate import Step
from wire.errors import FormatError
from wire.types import sha256

ONE, TWO = sha256(b"one"), sha256(b"two")


def say(height: int, view: int, step: Step, digest: bytes = ONE, prepared_view: int | None = None) -> Statement:
    return Statement(EPOCH, height, view, step, digest, prepared_view)


PREPARED = SignerGuard().raised(say(5, 2, Step.PREPARE))
COMMITTED = PREPARED.raised(say(5, 2, Step.COMMIT))


@pytest.mark.parametrize(
    "statement",
    [
        say(5, 2, Step.PREPARE),
        say(5, 2, Step.COMMIT, TWO),
        say(5, 3, Step.VIEW_CHANGE),
        say(6, 0, Step.PROPOSE, TWO),
    ],
)
def test_guard_the_same_again_or_something_later_is_signed(statement: Statement) -> None:
    assert PREPARED.refusal(statement) is None


# holds CM-17
@pytest.mark.parametrize(
    "statement",
    [
        say(5, 2, Step.PREPARE, TWO),
        say(5, 2, Step.PROPOSE),
        say(5, 2, Step.VIEW_CHANGE),
        say(5, 1, Step.COMMIT),
        say(4, 9, Step.COMMIT),
    ],
)
def test_guard_another_digest_or_something_earlier_is_refused(statement: Statement) -> None:
    assert PREPARED.refusal(statement) is not None


# holds CM-18
@pytest.mark.parametrize(("prepared_view", "is_refused"), [(None, True), (1, True), (2, False), (4, False)])
def test_guard_view_change_must_not_hide_the_certificate_of_a_commit(
    prepared_view: int | None, *, is_refused: bool
) -> None:
    change = say(5, 7, Step.VIEW_CHANGE, TWO, prepared_view)
    assert (COMMITTED.refusal(change) is not None) == is_refused
    assert PREPARED.refusal(change) is None, "without a COMMIT nothing is hidden"
    assert COMMITTED.refusal(replace(change, height=6)) is None, "another height"


def test_guard_that_has_signed_or_is_locked_is_not_new_any_more() -> None:
    guard = SignerGuard(is_new=True)
    assert not guard.raised(say(1, 0, Step.PREPARE)).is_new
    assert not guard.marked(ONE).is_new


def test_guard_raised_keeps_the_commit_view_of_its_height_alone() -> None:
    later = COMMITTED.raised(say(5, 4, Step.VIEW_CHANGE, TWO, 2))
    assert (later.commit_view, later.floor) == (2, 5)
    assert later.raised(say(6, 0, Step.PREPARE)).commit_view is None
    assert replace(COMMITTED, floor=9).raised(say(5, 3, Step.COMMIT)).floor == 9


LOCKED = PREPARED.marked(ONE)
LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    "guard",
    [
        SignerGuard(),
        COMMITTED,
        replace(PREPARED, is_restored=True),
        LOCKED,
        SignerGuard(LARGEST, LARGEST, LARGEST, LARGEST, 4, ONE, LARGEST, is_restored=True, lock=TWO),
        SignerGuard(is_new=True),
    ],
)
def test_guard_survives_the_round_trip(guard: SignerGuard) -> None:
    assert decode_guard(guard.encode()) == guard


@pytest.mark.parametrize(
    "fields", [{"restored": 1}, {"new": None}, {"version": 2}, {"step": 5}, {"more": 1}, {"digest": b"short"}]
)
def test_guard_damaged_is_refused(fields: dict[str, Any]) -> None:
    value = cbor.decode_map(COMMITTED.encode(), bytes_max=256)
    with pytest.raises(FormatError):
        decode_guard(cbor.encode({**value, **fields}))


def test_guard_place_of_every_message_is_that_of_its_signature() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    change = bench.change(1, 4, bench.certificate(Step.PREPARE, block, 3))
    assert statement_of(change) == say(1, 4, Step.VIEW_CHANGE, change.digest(), 3)
    assert statement_of(bench.change(1, 4)).prepared_view is None
    assert statement_of(bench.propose(0, block)).step is Step.PROPOSE


# holds CM-17
def test_replica_seals_its_guard_between_the_log_and_the_send() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    effects = bench.executed(block)
    assert kinds(effects) == ["Persist", "Seal", "Broadcast"]
    assert of(effects, Seal)[0].guard == SignerGuard().raised(say(1, 0, Step.PREPARE, block.header.digest()))


# holds CM-18
def test_restart_what_the_log_holds_above_the_guard_passes_it_before_it_is_sent() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.prepare(block)
    whole, bench.guard = bench.guard, SignerGuard()
    bench.reboot()
    assert bench.guard == whole
    assert kinds(bench.first)[0] == "Seal"


# holds CM-17
def test_restart_with_a_lost_log_signs_nothing_that_contradicts_the_guard() -> None:
    bench = Bench(1)
    block, other = bench.block(b"one"), bench.block(b"two")
    bench.hear(bench.propose(0, block))
    bench.executed(block)
    bench.log.clear()
    bench.reboot()
    bench.hear(bench.propose(0, other))
    effects = bench.executed(other)
    assert (reports(effects), of(effects, Broadcast)) == (["vote-refused"], [])
    assert of(bench.tick(900), Persist) == [], "it is not tried again"
    bench.reboot()
    bench.hear(bench.propose(0, block))
    assert votes(bench.executed(block)) == [("PREPARE", 0)], "the same once more is allowed"


# holds CM-18
def test_restart_with_a_lost_log_never_hides_the_certificate_of_its_commit() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.prepare(block)
    bench.log.clear()
    bench.reboot()
    effects = bench.go_to(2)
    assert "vote-refused" in reports(effects)
    assert said(effects, ViewChange) == []
    proposal = bench.propose(2, block, 2, tuple(bench.change(index, 2) for index in (0, 2, 3)))
    effects = bench.hear(proposal) + bench.executed(block)
    assert of(effects, Persist) == [], "silent until the height is final"
    bench.applied(block)
    assert bench.state.is_silent is False


def test_restart_with_a_lost_log_goes_back_to_the_view_of_the_guard() -> None:
    bench = Bench(1)
    bench.go_to(3)
    bench.log.clear()
    bench.reboot()
    assert bench.replica.view == 3
    assert said(bench.first, ViewChange) == [bench.change(1, 3)], "the same digest may be signed again"


def test_restart_leader_with_a_lost_log_builds_no_second_block() -> None:
    bench = Bench(0)
    bench.tick(pending=True)
    bench.replica._height.is_building = True
    block, other = bench.block(b"one"), bench.block(b"two")
    bench.hear(bench.propose(0, block))
    bench.guard = SignerGuard().raised(statement_of(bench.propose(0, block)))
    bench.reboot()
    bench.tick(pending=True)
    effects = bench.note(bench.replica._propose(other, ()))
    assert (reports(effects), of(effects, Persist)) == (["vote-refused"], [])
    assert not bench.replica._may_lead()


def test_restart_leader_with_a_lost_log_does_not_commit_something_else() -> None:
    bench = Bench(1)
    block, other = bench.block(b"one"), bench.block(b"two")
    bench.guard = SignerGuard().raised(say(1, 0, Step.COMMIT, block.header.digest()))
    bench.reboot()
    bench.state.bodies[other.header.digest()] = other
    effects = bench.hear_all(*(bench.vote(index, Step.PREPARE, other) for index in (0, 2, 3)))
    effects += bench.executed(other)
    assert (reports(effects), votes(effects)) == (["vote-refused"], [])


# holds CM-18
def test_restart_statement_that_the_guard_refuses_is_left_in_the_log() -> None:
    bench = Bench(1)
    block, other = bench.block(b"one"), bench.block(b"two")
    bench.guard = SignerGuard().raised(say(1, 0, Step.PREPARE, block.header.digest()))
    bench.reboot(
        Accepted(bench.propose(0, other)),
        Signed(bench.vote(1, Step.PREPARE, other)),
        Prepared(bench.certificate(Step.PREPARE, block)),
    )
    assert bench.state.own == {}
    assert bench.state.prepared is not None
    assert of(bench.first, Seal) == []


def test_restart_older_statements_of_the_log_are_taken_as_they_are() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.prepare(block)
    guard = bench.guard
    bench.reboot()
    assert bench.guard == guard
    assert set(bench.state.own) == {Step.PREPARE, Step.COMMIT}
    assert all(isinstance(message, Vote) for message in bench.state.own.values())


# holds FP-14
def test_guard_keeps_the_lock_of_a_quarantine_until_it_ends() -> None:
    assert (LOCKED.lock, LOCKED.is_restored, LOCKED.place) == (ONE, True, PREPARED.place)
    assert LOCKED.marked(TWO).lock == ONE
    assert SignerGuard().marked(TWO).lock == TWO


# holds FP-14
def test_guard_unlocked_speaks_from_its_height_and_view_on_and_carries_the_certificate() -> None:
    guard = replace(LOCKED, floor=4).unlocked(5, 3, 2)
    assert guard == SignerGuard(floor=4, height=5, view=3, commit_view=2)
    assert guard.refusal(say(5, 2, Step.COMMIT)) is not None
    assert guard.refusal(say(5, 3, Step.VIEW_CHANGE, ONE, None)) is not None
    assert guard.refusal(say(5, 3, Step.VIEW_CHANGE, ONE, 2)) is None
    assert guard.contradicts(say(5, 3, Step.VIEW_CHANGE))
    assert not guard.contradicts(say(5, 2, Step.COMMIT))
    free = replace(LOCKED, floor=9).unlocked(5, 1, None)
    assert free.refusal(say(5, 1, Step.VIEW_CHANGE)) is None
    assert free.floor == 9


# holds FP-11
def test_known_at_a_height_is_the_highest_view_and_certificate_of_guard_and_log() -> None:
    bench = Bench()
    block, other = bench.block(b"one"), bench.block(b"two")
    low, high = (Prepared(bench.certificate(Step.PREPARE, block, view=view)) for view in (0, 3))
    records: list[Record] = [
        high,
        low,
        Signed(bench.vote(1, Step.PREPARE, block, view=2)),
        Signed(bench.change(1, 9, height=7)),
        Accepted(bench.propose(0, other, view=4)),
        Fetched(block),
    ]
    assert known_at(1, None, records) == (4, high.certificate)
    assert known_at(1, SignerGuard(height=1, view=6), records) == (6, high.certificate)
    assert known_at(1, SignerGuard(height=2, view=6), ()) == (0, None)
    assert known_at(7, None, records) == (9, None)
