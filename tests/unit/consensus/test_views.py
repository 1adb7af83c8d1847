from __future__ import annotations

from dataclasses import replace

import pytest

from master.consensus.events import Apply, Build, Built, Execute, Executed, Flawed, Persist, Wake
from master.consensus.messages import Blocks, Body, GetBody, Propose, ViewChange
from master.consensus.records import Prepared, Signed
from master.consensus.state import RELIED_MAX
from tests.simulation.toy import EPOCH, GENESIS
from tests.unit.consensus.bench import Bench, Peers, applies, kinds, name, of, reports, said, votes
from wire.certificate import Step

OTHERS = (0, 2, 3)


# holds CM-10
def test_timer_starts_when_something_is_pending_and_leaves_the_view_when_it_ends() -> None:
    bench = Bench(1)
    assert bench.state.deadline_ms is None
    assert Wake(bench.now_ms + 1_000) in bench.tick(pending=True)
    assert said(bench.tick(999, pending=True), ViewChange) == []
    effects = bench.tick(1, pending=True)
    assert kinds([effect for effect in effects if not isinstance(effect, Wake)])[-4:] == [
        "Report",
        "Persist",
        "Seal",
        "Broadcast",
    ]
    assert bench.log == [Signed(bench.change(1, 1))]
    assert bench.replica.view == 1


def test_timer_stops_when_nothing_is_pending_any_more() -> None:
    bench = Bench(1)
    bench.tick(pending=True)
    bench.tick(500)
    assert bench.state.deadline_ms is None
    assert said(bench.tick(10_000), ViewChange) == []


def test_timer_does_not_run_on_after_a_block_for_what_the_last_tick_said() -> None:
    bench = Bench(1)
    bench.tick(pending=True)
    bench.applied(bench.block(b"one"))
    assert bench.state.deadline_ms is None


# holds CM-10
def test_timer_is_not_started_by_f_voters_but_by_one_more() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear_all(bench.vote(2, Step.PREPARE, block), bench.vote(2, Step.COMMIT, block))
    assert bench.state.deadline_ms is None
    bench.hear(bench.vote(3, Step.PREPARE, block))
    assert bench.state.deadline_ms == bench.now_ms + 1_000


# holds CM-11
def test_timer_above_view_zero_starts_with_a_quorum_of_this_or_later_views() -> None:
    bench = Bench(1)
    bench.go_to(2)
    assert bench.replica.view == 2
    assert bench.state.deadline_ms == bench.now_ms + 3_000, "1,000 ms doubled twice, at most 3,000"


# holds CM-11
def test_timer_above_view_zero_waits_for_a_quorum_and_counts_later_views() -> None:
    bench = Bench(1)
    bench.tick(pending=True)
    bench.tick(1_000, pending=True)
    effects = bench.tick(100_000, pending=True) + bench.hear(bench.change(0, 1))
    assert (of(effects, Wake), bench.replica.view) == ([], 1), "two are no quorum, and so they stay there"
    bench.hear(bench.change(3, 7))
    assert bench.state.deadline_ms == bench.now_ms + 2_000, "a later view counts"
    bench.tick(2_000)
    assert bench.replica.view == 2


# holds CM-12
@pytest.mark.parametrize(
    ("size", "views", "adopted"),
    [
        (4, {2: 9}, 0),
        (4, {2: 9, 3: 4}, 4),
        (4, {0: 2**62, 2: 5, 3: 4}, 5),
        (7, {2: 9, 3: 8}, 0),
        (7, {2: 9, 3: 8, 4: 3}, 3),
        (1, {}, 0),
    ],
)
def test_view_adopted_is_the_f_plus_first_highest(size: int, views: dict[int, int], adopted: int) -> None:
    bench = Bench(min(1, size - 1), size=size)
    effects = bench.hear_all(*(bench.change(index, view) for index, view in views.items()))
    assert bench.replica.view == adopted
    assert [change.view for change in said(effects, ViewChange)][-1:] == ([adopted] if adopted else [])


def test_view_change_of_another_epoch_counts_for_nothing() -> None:
    bench = Bench(1)
    bench.hear_all(*(bench.change(index, 5, epoch=EPOCH + 1) for index in OTHERS))
    assert bench.replica.view == 0


# holds CM-10
def test_view_change_carries_the_prepared_certificate_and_ends_voting_below() -> None:
    bench = Bench(2)
    block = bench.block(b"one")
    assert ("COMMIT", 0) in votes(bench.prepare(block))
    effects = bench.hear_all(bench.change(0, 3), bench.change(3, 3))
    change = said(effects, ViewChange)[0]
    assert (change.view, change.prepared) == (3, bench.certificate(Step.PREPARE, block))
    assert bench.log[-1] == Signed(change)
    effects = bench.hear_all(*(bench.vote(index, Step.PREPARE, bench.block(b"x"), 1) for index in (0, 1, 3)))
    assert votes(effects) == []
    assert bench.hear(bench.propose(1, bench.block(proposer=1), 1)) == []
    effects = bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in (0, 1, 3)))
    assert applies(effects) == [block.header.digest()], "a certificate is final wherever it comes"


# holds CM-9
def test_new_leader_without_certificates_builds_freely() -> None:
    bench = Bench(1)
    effects = bench.go_to(1)
    assert of(effects, Build) == [Build(1, 1, GENESIS.time_ms + 1, empty_allowed=True)]
    block = bench.block(b"fresh", proposer=1)
    proposal = said(bench.feed(Built(1, 1, block)), Propose)[0]
    assert [change.member for change in proposal.view_changes] == ["node-0", "node-1", "node-2"]
    assert bench.hear(bench.change(3, 1)) == [], "proposed once"


# holds CM-13
def test_new_leader_waits_for_a_quorum_of_exactly_its_view() -> None:
    bench = Bench(1)
    bench.tick(pending=True)
    effects = bench.tick(1_000, pending=True) + bench.hear(bench.change(0, 1)) + bench.hear(bench.change(2, 2))
    assert of(effects, Build) == []
    assert len(of(bench.hear(bench.change(3, 1)), Build)) == 1


# holds CM-13
def test_new_leader_proposes_the_prepared_block_again_without_looking_at_its_time() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    prepared = bench.certificate(Step.PREPARE, block, signers=OTHERS)
    bench.now_ms += 10**8
    effects = bench.hear_all(bench.change(0, 1), bench.change(2, 1, prepared))
    assert len(said(effects, GetBody)) == 1
    effects = bench.hear(Body(block), sender=3)
    assert kinds(effects)[:4] == ["Persist", "Seal", "Broadcast", "Execute"]
    assert said(effects, Propose)[0].block == block
    assert votes(bench.executed(block)) == [("PREPARE", 1)]


def test_new_leader_that_learns_of_a_certificate_while_it_builds_proposes_that_block() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    bench.executed(block)
    assert len(of(bench.go_to(1), Build)) == 1
    bench.hear(bench.change(3, 1, bench.certificate(Step.PREPARE, block)))
    effects = bench.feed(Built(1, 1, bench.block(b"fresh", proposer=1)))
    assert [proposal.block for proposal in said(effects, Propose)] == [block]


def test_new_leader_ignores_a_block_built_for_the_view_before() -> None:
    bench = Bench(1)
    bench.go_to(1)
    bench.hear_all(bench.change(0, 5), bench.change(2, 5))
    effects = bench.feed(Built(1, 1, bench.block(b"late", proposer=1)))
    assert said(effects, Propose) == []


def test_new_view_is_accepted_after_the_jump_that_its_view_changes_cause() -> None:
    bench = Bench(3)
    changes = tuple(bench.change(index, 1) for index in (0, 1, 2))
    block = bench.block(b"fresh", proposer=1)
    effects = bench.hear(bench.propose(1, block, 1, changes))
    assert said(effects, ViewChange) == [bench.change(3, 1)]
    assert of(effects, Execute) == [Execute(block)]
    assert votes(bench.executed(block)) == [("PREPARE", 1)]


def test_new_view_with_too_few_view_changes_is_the_leaders_fault_only_with_a_quorum_seen() -> None:
    bench = Bench(3)
    two = (bench.change(0, 1), bench.change(2, 1))
    block = bench.block(b"fresh", proposer=1)
    effects = bench.hear(bench.propose(1, block, 1, two[:1]))
    assert (reports(effects), bench.replica.view) == ([], 0)
    effects = bench.hear(bench.propose(1, block, 1, two))
    assert "invalid-proposal" in reports(effects)
    assert bench.replica.view == 2, "with its own, a quorum is in view 1"


def test_new_view_invalid_does_not_move_a_replica_that_is_alone_in_its_view() -> None:
    bench = Bench(3)
    bench.tick(pending=True)
    bench.tick(1_000, pending=True)
    effects = bench.hear(bench.propose(1, bench.block(proposer=1), 1))
    assert (reports(effects), bench.replica.view) == (["invalid-proposal"], 1)


# holds CM-13
def test_new_leader_that_lost_its_quorum_while_it_built_does_not_propose() -> None:
    bench = Bench(1)
    effects = bench.hear_all(bench.change(0, 1), bench.change(2, 1))
    assert of(effects, Build)
    bench.hear(bench.change(2, 2))
    effects = bench.feed(Built(1, 1, bench.block(b"late", proposer=1)))
    assert said(effects, Propose) == []


# holds CM-13
def test_new_view_that_drops_the_certificate_is_refused_at_once() -> None:
    bench = Bench(3)
    prepared = bench.certificate(Step.PREPARE, bench.block(b"one"))
    changes = (bench.change(0, 1, prepared), bench.change(1, 1), bench.change(2, 1))
    effects = bench.hear(bench.propose(1, bench.block(b"other", proposer=1), 1, changes))
    assert "invalid-proposal" in reports(effects)
    assert bench.replica.view == 2


# holds CM-10
def test_first_proposal_invalid_by_the_leaders_own_signature_leaves_the_view_at_once() -> None:
    bench = Bench(1)
    effects = bench.hear(bench.propose(0, bench.block(b"one", proposer=2)))
    assert reports(effects) == ["invalid-proposal", "view-change"]
    assert bench.replica.view == 1


# holds CM-10
def test_new_view_over_view_changes_that_nobody_made_costs_its_leader_the_view_at_once() -> None:
    bench = Bench(3)
    bench.hear_all(bench.change(0, 1), bench.change(2, 1))
    assert bench.replica.view == 1
    spoilt = replace(bench.change(0, 1), signature=bytes(64))
    flawed = Flawed(bench.propose(1, bench.block(b"one", proposer=1), 1, (spoilt, bench.change(2, 1))), "forged")
    effects = bench.feed(flawed)
    assert reports(effects) == ["invalid-proposal", "view-change"]
    assert bench.replica.view == 2
    assert bench.feed(flawed) == []


# holds CM-10
@pytest.mark.parametrize(("leader", "view", "is_held"), [(2, 1, False), (1, 5, False), (1, 1, True)])
def test_flawed_new_view_of_somebody_else_or_beside_a_sound_one_changes_nothing(
    leader: int, view: int, *, is_held: bool
) -> None:
    bench = Bench(3)
    changes = tuple(bench.change(index, 1) for index in (0, 2))
    bench.hear_all(*changes)
    block = bench.block(b"one", proposer=1)
    if is_held:
        bench.hear(bench.propose(1, block, 1, (*changes, bench.change(3, 1))))
    bench.feed(Flawed(bench.propose(leader, block, view, changes[:1]), "forged"))
    assert bench.replica.view == 1
    assert bench.state.view_changes.count_from(2) == 0


def test_view_is_not_left_while_a_block_is_applied() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.prepare(block)
    bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in (0, 2)))
    assert bench.state.is_applying
    effects = bench.tick(10**6, pending=True) + bench.hear_all(*(bench.change(index, 4) for index in OTHERS))
    assert of(effects, Persist) == []


def test_replica_without_new_view_commits_what_was_prepared_in_its_view() -> None:
    bench = Bench(3)
    block = bench.block(b"fresh", proposer=1)
    bench.hear_all(bench.change(0, 1), bench.change(2, 1))
    bench.hear_all(*(bench.vote(index, Step.PREPARE, block, 1) for index in (0, 1, 2)))
    bench.hear(Body(block), sender=2)
    assert votes(bench.executed(block)) == [("COMMIT", 1)]


def test_votes_of_a_later_view_wait_until_it_is_entered() -> None:
    bench = Bench(3)
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    bench.executed(block)
    assert votes(bench.hear_all(*(bench.vote(index, Step.PREPARE, block, 1) for index in (0, 1, 2)))) == []
    effects = bench.hear_all(bench.change(0, 1), bench.change(1, 1))
    assert votes(effects) == [("COMMIT", 1)]
    changes = said(effects, ViewChange)
    assert [change.prepared for change in changes] == [None], "the certificate of view 1 is none of a view below 1"
    assert Prepared(bench.certificate(Step.PREPARE, block, 1)) in bench.log


# holds CM-4
def test_peers_of_any_size_have_the_leader_of_the_specification() -> None:
    for size in (1, 5, 7):
        bench = Bench(0, size=size)
        assert bench.replica.leader == "node-0"
        assert len(Peers(size).keys.validators) == size


# holds CM-10
def test_replica_leaves_the_view_of_a_leader_whose_block_breaks_a_rule() -> None:
    bench = Bench()
    block = bench.block(b"replayed")
    bench.hear(bench.propose(0, block))
    effects = bench.feed(Executed(block.header.digest(), accepted=False, fault="bad-transaction: replayed"))
    assert reports(effects) == ["invalid-proposal", "view-change"]
    assert bench.replica.view == 1


# holds CM-10
def test_replica_stays_when_the_broken_block_was_carried_on_or_is_not_the_proposal() -> None:
    bench = Bench(me=2)
    block = bench.block(b"replayed")
    prepared = bench.certificate(Step.PREPARE, block, signers=(0, 1, 3))
    bench.hear_all(*(bench.change(index, 1, prepared) for index in (0, 1)))
    changes = tuple(bench.change(index, 1, prepared) for index in (0, 1, 3))
    bench.hear(bench.propose(1, block, 1, changes))
    broken = Executed(block.header.digest(), accepted=False, fault="bad-transaction: replayed")
    assert reports(bench.feed(broken)) == ["invalid-proposal"]
    assert bench.replica.view == 1
    bench = Bench()
    bench.state.executed[block.header.digest()] = None
    assert reports(bench.feed(broken)) == ["invalid-proposal"]
    bench.hear(bench.propose(0, bench.block(b"another")))
    assert reports(bench.feed(broken)) == ["invalid-proposal"]
    assert bench.replica.view == 0


# holds FP-17
def test_replica_keeps_the_view_changes_that_its_votes_rested_on_with_the_block() -> None:
    bench = Bench(me=2)
    block = bench.block(b"carried on")
    prepared = bench.certificate(Step.PREPARE, block, signers=(0, 1, 3))
    bench.hear_all(*(bench.change(index, 1, prepared) for index in (0, 1)))
    changes = tuple(bench.change(index, 1, prepared) for index in (0, 1, 3))
    proposal = bench.propose(1, block, 1, changes)
    bench.hear(proposal)
    assert bench.state.archive() == ()
    bench.executed(block)
    assert votes_of_set(bench) == [(1, changes)]
    bench.reboot()
    assert votes_of_set(bench) == [(1, changes)], "the log brings them back"
    bench.executed(block)
    (apply,) = of(bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in (0, 1, 3))), Apply)
    assert apply.view_changes == bench.state.archive() != ()
    bench.applied(block)
    assert bench.state.archive() == ()


def votes_of_set(bench: Bench) -> list[tuple[int, tuple[ViewChange, ...]]]:
    return [(entry.view, entry.view_changes) for entry in bench.state.archive()]


# holds FP-17
def test_replica_that_gets_the_block_from_others_keeps_its_view_changes_too() -> None:
    bench = Bench(me=2)
    block = bench.block(b"carried on")
    changes = tuple(bench.change(index, 1) for index in (0, 1, 3))
    own = bench.block(b"mine", proposer=1)
    bench.hear_all(*changes[:2])
    bench.hear(bench.propose(1, own, 1, changes))
    bench.executed(own)
    bench.replica._sync._asked[name(1)] = 1
    final = Blocks(((block, bench.certificate(Step.COMMIT, block, signers=(0, 1, 3))),))
    (apply,) = of(bench.hear(final, 1), Apply)
    assert [entry.view for entry in apply.view_changes] == [1]


# holds FP-17
def test_replica_keeps_the_view_changes_of_a_bounded_number_of_views() -> None:
    bench = Bench(me=2)
    block = bench.block(b"x")
    for view in range(RELIED_MAX + 3):
        bench.state.rely(bench.propose(1, block, view, (bench.change(0, 1),) if view else ()))
    views = [entry.view for entry in bench.state.archive()]
    assert views == list(range(3, RELIED_MAX + 3))
