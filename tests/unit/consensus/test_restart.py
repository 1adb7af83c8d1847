from __future__ import annotations

from master.consensus.events import Build, Built, Execute, Persist, Send
from master.consensus.messages import Body, Propose, Status, ViewChange, Vote
from master.consensus.records import Accepted, Prepared, Signed
from tests.unit.consensus.bench import FRESH, Bench, applies, of, said, votes
from wire.certificate import Step
from wire.types import sha256


def test_restart_with_an_empty_log_does_nothing() -> None:
    bench = Bench(1)
    assert bench.replica.restore([], bench.now) == []


# holds CM-8
def test_restart_sends_the_same_votes_again_and_signs_no_others() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.prepare(block)
    bench.reboot()
    status = Status(1, 0, "new")
    again = bench.hear(status, sender=2)
    assert votes(again) == [("PREPARE", 0), ("COMMIT", 0), ("PREPARE", 0)], "own, and the other's in the certificate"
    assert said(again, Propose) == [bench.propose(0, block)]
    effects = bench.hear(bench.propose(0, bench.block(b"two"))) + bench.executed(block)
    assert of(effects, Persist) == []
    assert applies(bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in (0, 2)))) == [
        block.header.digest()
    ]


def test_restart_leader_that_proposed_sends_it_as_stored_and_builds_no_second_block() -> None:
    bench = Bench(0)
    bench.tick(pending=True)
    block = bench.block(b"one")
    stored = said(bench.feed(Built(1, 0, block)), Propose)[0]
    bench.log = bench.log[:1]
    bench.reboot()
    assert of(bench.tick(pending=True), Build) == []
    assert said(bench.hear(Status(1, 0, "new"), sender=2), Propose) == [stored]
    assert votes(bench.executed(block)) == [("PREPARE", 0)]
    assert bench.hear(Status(1, 0, "new"), sender=3)[0] == Send("node-3", stored)


# holds CM-8
def test_restart_after_a_view_change_never_votes_below_it() -> None:
    bench = Bench(2)
    block = bench.block(b"one")
    bench.prepare(block)
    bench.hear_all(bench.change(0, 3), bench.change(3, 3))
    change = bench.log[-1]
    bench.reboot()
    assert bench.replica.view == 3
    assert bench.state.phase == "new"
    effects = bench.hear(bench.propose(0, block)) + bench.executed(block)
    assert of(effects, Persist) == []
    again = said(bench.hear(Status(1, 3, "new"), sender=0), ViewChange)
    assert [Signed(entry) for entry in again] == [change], "as stored, with its certificate"
    later = said(bench.hear_all(bench.change(0, 5), bench.change(3, 5)), ViewChange)
    assert later[0].prepared == bench.certificate(Step.PREPARE, block, signers=(0, 1, 2))


def test_restart_in_a_new_view_knows_its_view_changes_again() -> None:
    bench = Bench(3)
    changes = tuple(bench.change(index, 1) for index in (0, 1, 2))
    block = bench.block(b"fresh", proposer=1)
    bench.hear(bench.propose(1, block, 1, changes))
    bench.executed(block)
    bench.reboot()
    assert (bench.replica.view, bench.state.phase) == (1, "proposed")
    assert bench.state.view_changes.count_from(1) == 4
    assert bench.state.deadline_ms is not None
    assert votes(bench.hear(Status(1, 1, "new"), sender=2)) == [("PREPARE", 1)]


def test_restart_of_a_lone_replica_in_a_view_change_leads_on() -> None:
    bench = Bench(0, size=1)
    bench.tick(pending=True)
    bench.tick(1_000, pending=True)
    assert bench.replica.view == 1
    bench.reboot()
    assert len(of(bench.first, Build)) == 1


# holds CM-8
def test_restart_with_a_fetched_body_commits_and_applies_it() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear_all(*(bench.vote(index, Step.PREPARE, block) for index in (0, 2, 3)))
    bench.hear(Body(block))
    assert votes(bench.executed(block)) == [("COMMIT", 0)]
    bench.reboot()
    assert bench.state.phase == "prepared"
    effects = bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in (0, 3)))
    assert applies(effects) == [block.header.digest()]


def test_restart_ignores_records_of_other_heights() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.prepare(block)
    bench.applied(block)
    bench.reboot()
    assert (bench.replica.view, bench.state.bodies, bench.state.signed) == (0, {}, {})


def test_restart_takes_the_highest_certificate_and_view_whatever_their_order() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    high, low = (bench.certificate(Step.PREPARE, block, view) for view in (2, 0))
    changes = tuple(bench.change(index, 4) for index in (0, 2, 3))
    bench.reboot(
        Prepared(high),
        Prepared(low),
        Signed(bench.change(1, 3, high)),
        Signed(bench.change(1, 2)),
        Signed(bench.vote(1, Step.PREPARE, block)),
    )
    assert bench.state.prepared == high
    assert bench.replica.view == 3
    assert bench.state.own == {Step.VIEW_CHANGE: bench.change(1, 3, high)}
    bench.guard = FRESH
    bench.reboot(Signed(bench.change(1, 3)), Accepted(bench.propose(0, block)))
    assert (bench.replica.view, bench.state.proposal) == (3, None)
    proposal = bench.propose(0, bench.block(b"new"), 4, changes)
    bench.reboot(Accepted(proposal))
    assert (bench.replica.view, bench.state.proposal) == (4, proposal)


def test_restart_executes_what_was_accepted_anew() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    bench.executed(block)
    bench.hear_all(*(bench.vote(index, Step.PREPARE, block) for index in (0,)))
    bench.reboot()
    effects = bench.hear_all(*(bench.vote(index, Step.PREPARE, block) for index in (0, 2)))
    assert of(effects, Execute) == [Execute(block)]
    assert said(bench.executed(block), Vote) == [bench.vote(1, Step.COMMIT, block)]


def test_state_bodies_are_bounded_and_the_prepared_one_stays() -> None:
    bench = Bench(1, bodies_max=3)
    block = bench.block(b"one")
    bench.prepare(block)
    state = bench.state
    for number in range(10):
        other = bench.block(b"%d" % number)
        state.keep_body(other, 3)
        state.keep_body(other, 3)
    assert len(state.bodies) == 3
    assert block.header.digest() in state.bodies
    assert sha256(b"nothing") not in state.bodies


def test_state_bodies_without_a_prepared_one_drop_the_oldest() -> None:
    bench = Bench(1)
    blocks = [bench.block(b"%d" % number) for number in range(4)]
    for block in blocks:
        bench.state.keep_body(block, 2)
    assert list(bench.state.bodies) == [block.header.digest() for block in blocks[2:]]
