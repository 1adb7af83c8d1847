from __future__ import annotations

import pytest

from master.consensus.events import (
    Applied,
    Apply,
    Broadcast,
    Build,
    Built,
    Connected,
    Diverged,
    Execute,
    Executed,
    Persist,
    Send,
    Wake,
)
from master.consensus.messages import Body, GetBlocks, GetBody, Gossip, Propose, Status, Vote
from master.consensus.records import Accepted, Fetched, Prepared, Signed
from tests.simulation.toy import GENESIS
from tests.unit.consensus.bench import Bench, applies, kinds, name, of, reports, said, votes
from wire.certificate import Step, ValidatorSet
from wire.types import sha256

OTHERS = (0, 2, 3)


# holds CM-8
def test_leader_with_pending_transactions_builds_once_and_proposes_from_disk() -> None:
    bench = Bench(0)
    assert of(bench.tick(pending=True), Build) == [Build(1, 0, GENESIS.time_ms + 1, empty_allowed=False)]
    assert of(bench.tick(pending=True), Build) == []
    block = bench.block(b"one")
    effects = bench.feed(Built(1, 0, block))
    assert kinds(effects)[:6] == ["Persist", "Seal", "Broadcast", "Persist", "Seal", "Broadcast"]
    assert kinds(effects)[6:] == ["Wake"] * kinds(effects)[6:].count("Wake")
    assert bench.log == [Accepted(said(effects, Propose)[0]), Signed(said(effects, Vote)[0])]
    assert votes(effects) == [("PREPARE", 0)]
    assert of(bench.tick(pending=True), Build) == []


# holds CM-9
def test_leader_with_nothing_pending_builds_only_when_the_heartbeat_is_due() -> None:
    bench = Bench(0, heartbeat_ms=5_000)
    assert of(bench.tick(), Build) == []
    assert of(bench.tick(4_000), Build) == []
    assert of(bench.tick(1_000), Build) == [Build(1, 0, GENESIS.time_ms + 1, empty_allowed=True)]


def test_leader_whose_pool_has_nothing_fit_asks_again_at_the_next_tick_alone() -> None:
    bench = Bench(0)
    bench.tick(pending=True)
    assert of(bench.feed(Built(1, 0, None)), Build) == []
    assert of(bench.hear(Gossip(())), Build) == []
    assert len(of(bench.tick(pending=True), Build)) == 1


def test_leader_waits_for_the_interval_after_a_block() -> None:
    bench = Bench(0, block_interval_ms=300)
    bench.tick(pending=True)
    block = bench.block(b"one")
    bench.feed(Built(1, 0, block))
    effects = bench.applied(block)
    assert of(effects, Build) == []
    assert Wake(bench.now_ms + 300) in effects
    assert len(of(bench.tick(300, pending=True), Build)) == 1


@pytest.mark.parametrize(("height", "view"), [(2, 0), (1, 1), (1, 0)])
def test_leader_stale_or_unasked_block_is_not_proposed(height: int, view: int) -> None:
    bench = Bench(0)
    effects = bench.feed(Built(height, view, bench.block(b"one")))
    assert said(effects, Propose) == []


def test_leader_that_applies_meanwhile_does_not_propose() -> None:
    bench = Bench(0)
    bench.tick(pending=True)
    block = bench.block(b"theirs", proposer=0)
    bench.state.bodies[block.header.digest()] = block
    assert applies(bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in (1, 2, 3))))
    assert said(bench.feed(Built(1, 0, bench.block(b"one"))), Propose) == []


def test_replica_alone_decides_by_itself() -> None:
    bench = Bench(0, size=1)
    bench.tick(pending=True)
    block = bench.block(b"one")
    effects = bench.feed(Built(1, 0, block))
    assert votes(effects) == [("PREPARE", 0), ("COMMIT", 0)]
    assert applies(effects) == [block.header.digest()]
    assert bench.applied(block)
    assert bench.replica.head.height == 1


# holds CM-5 CM-6
def test_replica_executes_then_prepares_then_commits_then_applies() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    proposal = bench.propose(0, block)
    assert of(bench.hear(proposal), Execute) == [Execute(block)]
    effects = bench.executed(block)
    assert kinds(effects) == ["Persist", "Seal", "Broadcast"]
    assert bench.log == [Accepted(proposal), Signed(bench.vote(1, Step.PREPARE, block))]
    assert bench.hear(bench.vote(0, Step.PREPARE, block)) == []
    effects = bench.hear(bench.vote(2, Step.PREPARE, block))
    assert kinds(effects) == ["Persist", "Seal", "Broadcast"]
    assert bench.log[2:] == [
        Prepared(bench.certificate(Step.PREPARE, block)),
        Signed(bench.vote(1, Step.COMMIT, block)),
    ]
    assert bench.hear(bench.vote(0, Step.COMMIT, block)) == []
    effects = bench.hear(bench.vote(3, Step.COMMIT, block))
    assert effects == [Apply(block, bench.certificate(Step.COMMIT, block, signers=(0, 1, 3)))]
    assert bench.hear(bench.vote(2, Step.COMMIT, block)) == []


# holds CM-5
def test_replica_whose_execution_differs_reports_and_does_not_vote() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    effects = bench.executed(block, accepted=False)
    assert reports(effects) == ["divergence"]
    effects = bench.hear_all(*(bench.vote(index, Step.PREPARE, block) for index in OTHERS))
    assert votes(effects) == []
    assert bench.state.deadline_ms is not None, "the timer runs, a root that differs is no trigger"
    effects = bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in OTHERS))
    assert applies(effects) == [block.header.digest()], "the store finds out"


def test_replica_result_of_an_unknown_block_is_ignored() -> None:
    bench = Bench(1)
    assert bench.feed(Executed(sha256(b"nothing"), accepted=False)) == []


# holds CM-5
def test_replica_second_proposal_of_a_view_is_ignored() -> None:
    bench = Bench(1)
    bench.hear(bench.propose(0, bench.block(b"one")))
    effects = bench.hear(bench.propose(0, bench.block(b"two")))
    assert of(effects, Execute) == []


def test_replica_proposal_of_who_does_not_lead_is_ignored() -> None:
    bench = Bench(1)
    assert bench.hear(bench.propose(2, bench.block(b"one", proposer=2))) == []
    assert bench.state.deadline_ms is None


# holds CM-10
def test_replica_too_old_proposal_is_not_voted_for_but_starts_the_timer() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.now_ms += 5_000
    effects = bench.hear(bench.propose(0, block))
    assert reports(effects) == ["invalid-proposal"]
    assert of(effects, Execute) == []
    assert Wake(bench.now_ms + 1_000) in effects
    assert bench.replica.view == 0


# holds CM-6
def test_replica_commits_what_others_prepared_though_it_could_not_prepare_it() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.now_ms += 5_000
    bench.hear(bench.propose(0, block))
    effects = bench.hear_all(*(bench.vote(index, Step.PREPARE, block) for index in OTHERS))
    assert len(said(effects, GetBody)) == 1
    assert of(bench.hear(Body(block), sender=2), Execute) == [Execute(block)]
    effects = bench.executed(block)
    assert votes(effects) == [("COMMIT", 0)]
    assert bench.log == [
        Fetched(block),
        Prepared(bench.certificate(Step.PREPARE, block, signers=OTHERS)),
        Signed(bench.vote(1, Step.COMMIT, block)),
    ]
    assert votes(bench.hear(bench.propose(0, bench.block(b"two")))) == [], "no PREPARE after the COMMIT"


# holds CM-7
def test_replica_may_commit_another_block_than_it_prepared() -> None:
    bench = Bench(1)
    mine, theirs = bench.block(b"one"), bench.block(b"two")
    bench.hear(bench.propose(0, mine))
    assert votes(bench.executed(mine)) == [("PREPARE", 0)]
    bench.hear_all(*(bench.vote(index, Step.PREPARE, theirs) for index in OTHERS))
    bench.hear(Body(theirs), sender=3)
    effects = bench.executed(theirs)
    assert said(effects, Vote) == [bench.vote(1, Step.COMMIT, theirs)]


# holds CM-7
def test_replica_two_quorums_of_one_view_never_add_up_over_views() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    bench.executed(block)
    effects = bench.hear_all(bench.vote(0, Step.PREPARE, block), bench.vote(2, Step.PREPARE, block, view=1))
    assert votes(effects) == []


@pytest.mark.parametrize("field", ["height", "view"])
def test_replica_votes_of_other_heights_or_views_do_not_count(field: str) -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    bench.executed(block)
    entries = [bench.vote(index, Step.PREPARE, block, **{field: 3}) for index in OTHERS]
    assert votes(bench.hear_all(*entries)) == []


def test_replica_votes_that_come_before_the_proposal_count() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear_all(*(bench.vote(index, Step.PREPARE, block) for index in (0, 2)))
    bench.hear(bench.propose(0, block))
    assert votes(bench.executed(block)) == [("PREPARE", 0), ("COMMIT", 0)]


# holds CM-28
def test_replica_with_a_commit_certificate_and_no_body_asks_those_who_signed_in_turn() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    effects = bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in OTHERS))
    request = GetBody(block.header.digest())
    asked = [effect.member for effect in of(effects, Send)]
    assert said(effects, GetBody) == [request]
    for _ in range(3):
        assert of(bench.tick(100), Send) == []
        effects = bench.tick(100)
        assert said(effects, GetBody) == [request]
        asked += [effect.member for effect in of(effects, Send)]
    assert set(asked) == {"node-0", "node-2", "node-3"}
    assert bench.hear(Body(bench.block(b"two"))) == [], "nobody asked for that"
    assert applies(bench.hear(Body(block))) == [block.header.digest()]


def test_replica_applied_opens_the_next_height_and_hears_what_waited() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.prepare(block)
    bench.ledger.apply(block, bench.certificate(Step.COMMIT, block))
    after = bench.ledger.block_of((b"two",), name(0), block.header.time_ms + 1)
    early = [bench.vote(index, Step.PREPARE, after, height=2) for index in (0, 2)]
    assert of(bench.hear_all(bench.propose(0, after), *early), Execute) == []
    bench.hear(bench.vote(0, Step.COMMIT, block))
    assert applies(bench.hear(bench.vote(2, Step.COMMIT, block))) == [block.header.digest()]
    assert bench.hear(bench.vote(3, Step.COMMIT, block)) == []
    assert of(bench.applied(block), Execute) == [Execute(after)]
    assert votes(bench.executed(after)) == [("PREPARE", 0), ("COMMIT", 0)]
    assert (bench.replica.head.height, bench.replica.leader) == (1, name(0))


def test_replica_applied_twice_or_late_is_nothing() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.applied(block)
    state = bench.state
    assert bench.feed(Applied(bench.head)) == []
    assert bench.feed(Applied(GENESIS)) == []
    assert bench.state is state


# holds CM-3
def test_replica_messages_of_a_past_height_are_dropped() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.applied(block)
    late = (bench.propose(0, block), bench.vote(0, Step.COMMIT, block), bench.change(2, 1), bench.change(3, 1))
    assert bench.hear_all(*late) == []


# holds CM-3
def test_replica_later_slots_are_bounded_and_keep_the_newest_view() -> None:
    bench = Bench(1)
    ahead = bench.block(b"one")
    flood = [
        bench.vote(index, step, ahead, view, height=2)
        for view in (5, 9, 2)
        for index in OTHERS
        for step in (Step.PREPARE, Step.COMMIT)
    ]
    bench.hear_all(*flood, *flood)
    assert len(bench.state.later) == 6
    assert {view for view, _ in bench.state.later.values()} == {9}
    bench.hear_all(*(bench.vote(index, Step.PREPARE, ahead, height=3) for index in OTHERS))
    assert len(bench.state.later) == 6, "two heights on is nothing to keep"


# holds CM-14
def test_replica_connected_says_where_it_stands() -> None:
    bench = Bench(1)
    assert bench.feed(Connected("node-2")) == [Send("node-2", Status(1, 0, "new"))]


# holds CM-14
def test_replica_status_goes_out_once_per_interval_with_its_phase() -> None:
    bench = Bench(1)
    assert bench.tick() == [Broadcast(Status(1, 0, "new"))]
    assert bench.tick(999) == []
    block = bench.block(b"one", time_ms=bench.now_ms)
    bench.hear(bench.propose(0, block))
    assert Broadcast(Status(1, 0, "proposed")) in bench.tick(1)
    bench.executed(block)
    bench.hear_all(*(bench.vote(index, Step.PREPARE, block) for index in OTHERS))
    assert Broadcast(Status(1, 0, "prepared")) in bench.tick(1_000)[:1]


# holds CM-16
def test_replica_that_diverges_signs_nothing_more() -> None:
    bench = Bench(1)
    assert reports(bench.feed(Diverged(1, "roots"))) == ["divergence"]
    assert bench.replica.is_halted
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    effects = [*bench.executed(block), *bench.tick(10**6, pending=True), *bench.tick(10**6, pending=True)]
    assert of(effects, Persist) == []


def test_follower_applies_what_is_certified_and_signs_nothing() -> None:
    keys = Bench(1).keys.validators.validators
    bench = Bench(3, validators=ValidatorSet(keys[:3]))
    block = bench.block(b"one")
    effects = bench.hear(bench.propose(0, block))
    effects += bench.tick(10**6, pending=True) + bench.tick(10**6, pending=True)
    effects += bench.hear_all(bench.change(0, 3), bench.change(1, 3))
    assert bench.state.view == 3
    effects += bench.hear(bench.vote(0, Step.COMMIT, block))
    assert applies(effects) == []
    effects += bench.hear_all(bench.vote(1, Step.COMMIT, block), Body(block))
    assert applies(effects) == [block.header.digest()], "two of three are a quorum"
    assert of(effects, Persist) == []


def test_replica_get_blocks_is_not_its_business() -> None:
    bench = Bench(1)
    assert bench.hear(GetBlocks(1)) == []


# holds CM-28
def test_replica_serves_a_body_that_it_holds_once_per_turn() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    request = GetBody(block.header.digest())
    assert bench.hear(request) == []
    bench.hear(bench.propose(0, block))
    assert bench.hear(request, sender=2) == [Send("node-2", Body(block))]
    assert bench.hear(request, sender=2) == [], "too soon"
    assert bench.hear(request, sender=3) == [Send("node-3", Body(block))]
    bench.now_ms += 100
    assert bench.hear(request, sender=2) == [Send("node-2", Body(block))]
