from __future__ import annotations

from dataclasses import replace

import pytest

from master.consensus.events import Disconnected, Head, Persist, Seal, Send
from master.consensus.guard import SignerGuard
from master.consensus.messages import Blocks, GetStanding, Spoken, Standing, Status, ViewChange
from master.consensus.recovery import quarantine_reason
from master.consensus.signer import Signer
from tests.simulation.toy import CHAIN, EPOCH, GENESIS
from tests.unit.consensus.bench import FRESH, NONCE, Bench, Peers, applies, name, of, reports, said, votes
from tests.unit.consensus.test_sync import CHAIN as BLOCKS
from wire.certificate import Certificate, Step, ValidatorSet
from wire.types import sha256


def standing(
    bench: Peers,
    index: int,
    certificate: Certificate | None = None,
    spoken: Spoken | None = None,
    nonce: bytes = NONCE,
    *,
    is_quarantined: bool = False,
) -> Standing:
    signer = Signer(name(index), bench.keys.signer(name(index)), SignerGuard())
    answer = signer.standing(CHAIN, nonce, certificate, None, is_quarantined=is_quarantined)
    return replace(answer, spoken=spoken)


def spoken(bench: Bench, height: int = 1, step: Step = Step.PREPARE, member: int = 1) -> Spoken:
    digest = sha256(b"forgotten")
    signature = bench.sign(member, step, height, 0, digest)
    return Spoken(name(member), step, EPOCH, height, 0, digest, signature)


def asked(bench: Bench, after_ms: int = 0) -> list[str]:
    effects = of(bench.tick(after_ms), Send)
    return [effect.member for effect in effects if isinstance(effect.message, GetStanding)]


# ---- the wait of a start ----------------------------------------------------------------------


# holds CM-20
def test_start_asks_everybody_and_votes_once_all_have_answered() -> None:
    bench = Bench(1, is_settled=False)
    assert asked(bench) == ["node-0", "node-2", "node-3"]
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    assert votes(bench.executed(block)) == []
    for index in (0, 2):
        assert votes(bench.hear(standing(bench, index))) == []
    assert votes(bench.hear(standing(bench, 3))) == []
    assert votes(bench.executed(block)) == [("PREPARE", 0)]


# holds CM-20
def test_start_waits_for_silent_members_no_longer_than_one_timeout_and_goes_on_asking() -> None:
    bench = Bench(1, is_settled=False)
    bench.hear(standing(bench, 0))
    block = bench.block(b"one", time_ms=bench.now_ms + 900)
    bench.hear(bench.propose(0, block))
    assert votes(bench.tick(999) + bench.executed(block)) == []
    assert votes(bench.tick(1) + bench.executed(block)) == [("PREPARE", 0)]
    assert asked(bench, 1_000) == ["node-2", "node-3"]


def test_start_view_timer_runs_only_once_it_may_vote() -> None:
    bench = Bench(1, is_settled=False, timeout_ms=1_000)
    bench.tick(pending=True)
    assert bench.state.deadline_ms is None
    assert said(bench.tick(1_000, pending=True), ViewChange) == []
    assert said(bench.tick(1_000, pending=True), ViewChange) == [bench.change(1, 1)]


def test_start_a_view_entered_before_it_may_vote_is_announced_later() -> None:
    bench = Bench(1, is_settled=False)
    assert said(bench.go_to(2), ViewChange) == []
    assert bench.replica.view == 2
    assert said(bench.tick(1_000), ViewChange) == [bench.change(1, 2)]


@pytest.mark.parametrize("flaw", ["nonce", "sender", "stranger"])
def test_start_answers_to_something_else_do_not_count(flaw: str) -> None:
    bench = Bench(1, size=2, is_settled=False)
    answer = standing(bench, 0, nonce=sha256(b"another start") if flaw == "nonce" else NONCE)
    if flaw == "stranger":
        answer = replace(answer, member="node-9")
    sender = {"nonce": 0, "sender": 1, "stranger": 9}[flaw]
    bench.hear(answer, sender=sender)
    assert not bench.replica._may_vote()
    bench.hear(standing(bench, 0))
    assert bench.replica._may_vote()


def test_start_alone_waits_for_nobody() -> None:
    assert Bench(0, size=1, is_settled=False).replica._may_vote()


# ---- telling others ---------------------------------------------------------------------------


def test_standing_says_the_newest_word_of_the_asker_with_the_own_head() -> None:
    bench = Bench(1, head=replace(GENESIS, certificate=None))
    block = bench.block(b"one")
    bench.hear(bench.propose(0, block))
    bench.hear_all(bench.vote(0, Step.PREPARE, block), bench.change(2, 1), bench.vote(3, Step.PREPARE, block, height=2))
    answer = said(bench.hear(GetStanding(NONCE), sender=0), Standing)[0]
    assert (answer.member, answer.nonce, answer.certificate, answer.height) == ("node-1", NONCE, None, 0)
    assert answer.spoken is not None
    assert (answer.spoken.step, answer.spoken.digest) == (Step.PREPARE, block.header.digest())
    answer = said(bench.hear(GetStanding(NONCE), sender=2), Standing)[0]
    assert answer.spoken is not None
    assert answer.spoken.step is Step.VIEW_CHANGE
    answer = said(bench.hear(GetStanding(NONCE), sender=3), Standing)[0]
    assert answer.spoken is not None
    assert answer.spoken.height == 2
    assert said(bench.hear(GetStanding(NONCE), sender=9), Standing)[0].spoken is None


def test_standing_shows_a_proposal_when_its_sender_has_said_nothing_else() -> None:
    bench = Bench(1)
    proposal = bench.propose(0, bench.block(b"one"))
    bench.hear(proposal)
    found = said(bench.hear(GetStanding(NONCE), sender=0), Standing)[0].spoken
    assert found is not None
    assert (found.step, found.signature) == (Step.PROPOSE, proposal.signature)


def test_standing_carries_the_certificate_of_the_head() -> None:
    block, certificate = BLOCKS[0]
    head = Head(1, block.header.digest(), block.header.time_ms, "node-0", certificate)
    bench = Bench(1, head=head, guard=SignerGuard(floor=1))
    assert said(bench.hear(GetStanding(NONCE), sender=0), Standing)[0].height == 1


def test_standing_is_told_at_most_twice_per_interval() -> None:
    bench = Bench(1)
    assert bench.hear(GetStanding(NONCE), sender=2) != []
    assert bench.hear(GetStanding(NONCE), sender=2) == []
    bench.now_ms += 500
    assert bench.hear(GetStanding(NONCE), sender=2) != []


def test_standing_is_not_told_by_a_follower() -> None:
    keys = Bench(1).keys.validators.validators
    bench = Bench(3, validators=ValidatorSet(keys[:3]), guard=None)
    assert bench.hear(GetStanding(NONCE), sender=2) == []
    assert bench.replica.quarantine is None


# ---- quarantine -------------------------------------------------------------------------------


# holds CM-21
@pytest.mark.parametrize(
    ("guard", "is_due"),
    [
        (None, True),
        (SignerGuard(floor=4), True),
        (SignerGuard(floor=5), False),
        (SignerGuard(floor=6), False),
        (SignerGuard(floor=9, is_restored=True), True),
    ],
)
def test_quarantine_is_due_iff_the_guard_is_missing_older_or_restored(
    guard: SignerGuard | None, *, is_due: bool
) -> None:
    assert (quarantine_reason(guard, 5) is not None) == is_due


def quarantined() -> Bench:
    bench = Bench(1, guard=None, is_settled=False)
    bench.reboot()
    assert bench.replica.quarantine is not None
    assert reports(bench.first) == ["quarantine"]
    assert bench.guard == SignerGuard(is_restored=True, lock=NONCE), "on disk for later starts"
    return bench


def follow(bench: Bench, count: int) -> None:
    """Let the first blocks become final without this node."""
    for block, certificate in BLOCKS[bench.head.height : count]:
        bench.head = Head(
            block.header.height, block.header.digest(), block.header.time_ms, block.header.proposer, certificate
        )
        bench.applied(block)


NEW = SignerGuard(is_new=True)


# holds CM-21
def test_quarantine_begins_when_a_new_guard_meets_a_ledger_that_has_grown() -> None:
    bench = Bench(1, guard=NEW, is_settled=False)
    bench.reboot()
    assert bench.replica.quarantine is None, "so it is at the start of every ledger"
    bench.hear(standing(bench, 0))
    effects = bench.hear(standing(bench, 2, BLOCKS[0][1]))
    assert reports(effects) == ["quarantine"]
    assert bench.guard == SignerGuard(is_restored=True, lock=NONCE)


# holds CM-21
def test_new_guard_is_believed_once_all_are_at_the_first_height_also_after_a_restart() -> None:
    bench = Bench(1, guard=NEW, is_settled=False)
    bench.reboot()
    bench.hear_all(standing(bench, 0), standing(bench, 2))
    assert bench.guard == NEW, "the third may know more"
    bench.hear(standing(bench, 3))
    assert bench.guard == SignerGuard()
    bench.reboot()
    bench.hear_all(*(standing(bench, index, BLOCKS[0][1]) for index in (0, 2, 3)))
    assert bench.replica.quarantine is None


# holds CM-20
def test_new_guard_waits_for_a_quorum_of_answers_however_long_that_takes() -> None:
    bench = Bench(1, guard=NEW, is_settled=False)
    bench.reboot()
    bench.hear(standing(bench, 0))
    bench.tick(100_000)
    assert not bench.replica._may_vote()
    bench.hear(standing(bench, 2))
    assert bench.replica._may_vote()


# holds CM-21
def test_new_guard_of_a_node_that_has_signed_is_new_no_more() -> None:
    bench = Bench(1, guard=NEW, is_settled=False)
    bench.reboot()
    bench.hear_all(standing(bench, 0), standing(bench, 3))
    bench.tick(100_000)
    bench.prepare(bench.block(b"one", time_ms=bench.now_ms))
    assert bench.guard is not None
    assert not bench.guard.is_new
    bench.hear(standing(bench, 2, BLOCKS[1][1]))
    assert bench.replica.quarantine is None


# holds CM-21
def test_quarantine_that_begins_late_asks_everybody_anew() -> None:
    bench = Bench(1, is_settled=False)
    bench.reboot()
    bench.hear_all(standing(bench, 0), standing(bench, 2), standing(bench, 3))
    assert bench.replica._may_vote()
    bench.hear(standing(bench, 0, spoken=spoken(bench)))
    assert bench.replica.quarantine is not None
    follow(bench, 3)
    assert bench.replica.quarantine is not None, "what was answered before says nothing of now"
    assert asked(bench, 1_000) == ["node-0", "node-2", "node-3"]


# holds CM-22
def test_quarantine_node_says_nothing_whatever_it_hears() -> None:
    bench = quarantined()
    block = bench.block(b"one", time_ms=60_000)
    bench.now_ms = 60_000
    bench.hear(bench.propose(0, block))
    effects = bench.executed(block) + bench.tick(10_000, pending=True) + bench.tick(10_000, pending=True)
    effects += bench.go_to(3)
    effects += bench.hear_all(*(bench.vote(index, Step.PREPARE, block, 3) for index in (0, 2, 3)))
    assert of(effects, Persist) == []
    effects = bench.hear_all(*(bench.vote(index, Step.COMMIT, block, 3) for index in (0, 2, 3)))
    assert applies(effects) == [block.header.digest()], "it follows what is final"
    assert [seal.guard.is_restored for seal in of(effects, Seal)] == [True]


# holds CM-22
def test_quarantine_ends_three_heights_above_what_a_quorum_proves() -> None:
    bench = quarantined()
    bench.hear_all(standing(bench, 0, BLOCKS[0][1]), standing(bench, 2), standing(bench, 3))
    follow(bench, 2)
    assert not bench.replica._may_vote()
    follow(bench, 3)
    assert bench.replica.quarantine is None
    assert bench.guard == SignerGuard(floor=3, height=4)
    assert bench.replica._may_vote()
    assert bench.state.rules.height == 4


# holds CM-22
def test_quarantine_counts_nobody_who_is_in_quarantine() -> None:
    bench = quarantined()
    bench.hear_all(standing(bench, 0), standing(bench, 2), standing(bench, 3, is_quarantined=True))
    follow(bench, 5)
    assert not bench.replica._may_vote()
    assert asked(bench, 1_000) == ["node-0", "node-2", "node-3"], "it asks everybody until enough answer"
    bench.hear(standing(bench, 3))
    assert bench.replica.quarantine is None


# holds CM-21
def test_quarantine_does_not_end_with_a_restart() -> None:
    bench = quarantined()
    bench.reboot()
    assert bench.replica.quarantine is not None
    assert bench.guard is not None
    assert bench.guard.is_restored


# holds CM-21
def test_quarantine_begins_when_somebody_shows_a_statement_above_the_guard() -> None:
    bench = Bench(1, is_settled=False)
    effects = bench.hear(standing(bench, 0, spoken=spoken(bench)))
    assert reports(effects) == ["quarantine"]
    assert of(effects, Seal)[0].guard.is_restored
    assert bench.hear(standing(bench, 2, spoken=spoken(bench, 2))) == [], "it is in quarantine already"
    bench = Bench(1, is_settled=False)
    bench.tick(5_000)
    assert reports(bench.hear(standing(bench, 0, spoken=spoken(bench)))) == ["quarantine"], "however late"


def test_quarantine_does_not_begin_for_what_the_guard_knows_or_another_said() -> None:
    bench = Bench(1, is_settled=False)
    said_before = spoken(bench)
    for entry in (None, spoken(bench, member=2)):
        assert reports(bench.hear(standing(bench, 0, spoken=entry))) == []
    guard = replace(FRESH, epoch=EPOCH, height=1, step=int(Step.PREPARE), digest=said_before.digest)
    for known in (guard, replace(guard, view=1), replace(guard, height=2)):
        bench = Bench(1, is_settled=False, guard=known)
        assert reports(bench.hear(standing(bench, 0, spoken=said_before))) == []
    bench = Bench(1, is_settled=False, guard=replace(guard, digest=sha256(b"this one")))
    assert reports(bench.hear(standing(bench, 0, spoken=said_before))) == ["quarantine"]


def test_quarantine_is_told_to_others() -> None:
    bench = quarantined()
    assert said(bench.hear(GetStanding(NONCE), sender=2), Standing)[0].is_quarantined
    assert not said(Bench(1).hear(GetStanding(NONCE), sender=2), Standing)[0].is_quarantined


# ---- catching up ------------------------------------------------------------------------------


# holds CM-23
def test_catching_up_f_plus_one_fresh_status_silence_and_silence_no_longer_than_three_intervals() -> None:
    bench = Bench(1)
    block = bench.block(b"one")
    bench.hear(Status(2, 0, "new"), sender=2)
    bench.hear(Status(7, 0, "new"), sender=3)
    bench.hear(bench.propose(0, block))
    assert votes(bench.tick(3_000) + bench.executed(block)) == []
    assert votes(bench.tick(1) + bench.executed(block)) == [("PREPARE", 0)]


# holds CM-23 CM-29
def test_catching_up_a_status_counts_no_longer_than_its_connection() -> None:
    bench = Bench(1)
    for sender in (2, 3):
        bench.hear(Status(7, 0, "new"), sender=sender)
    assert not bench.replica._may_vote()
    assert bench.feed(Disconnected("node-2")) == []
    assert bench.replica._may_vote()
    assert bench.replica._sync._claims == {"node-3": 7}
    assert bench.feed(Disconnected("node-9")) == []
    bench.hear(Status(7, 0, "new"), sender=2)
    assert not bench.replica._may_vote()


# holds CM-23
def test_catching_up_f_liars_and_strangers_silence_nobody() -> None:
    bench = Bench(1)
    bench.hear(Status(2**62, 0, "new"), sender=2)
    bench.hear(Status(2**62, 0, "new"), sender=9)
    bench.hear(Status(1, 0, "new"), sender=3)
    assert bench.replica._may_vote()


# holds CM-23
def test_catching_up_a_waiting_certified_block_silences() -> None:
    bench = Bench(1)
    bench.replica._sync._waiting = list(BLOCKS[:1])
    assert not bench.replica._may_vote()
    bench.replica._sync._waiting = []
    assert bench.replica._may_vote()
    assert of(bench.hear(Blocks(tuple(BLOCKS)), sender=2), Persist) == []


# ---- complaints -------------------------------------------------------------------------------


# holds CM-24
def test_complaint_a_transaction_that_waits_too_long_costs_the_leader_its_view() -> None:
    bench = Bench(1, complain_ms=5_000, timeout_ms=10**6, timeout_max_ms=10**6)
    bench.now_ms += 5_000
    bench.waiting_ms = 4_999
    assert said(bench.tick(pending=True), ViewChange) == []
    bench.waiting_ms = 5_000
    effects = bench.tick(pending=True)
    assert said(effects, ViewChange) == [bench.change(1, 1)]
    assert reports(effects) == ["view-change"]
    assert said(bench.tick(10, pending=True), ViewChange) == [], "once"


# holds CM-24
def test_complaint_stays_raised_until_another_proposer_has_had_its_time() -> None:
    bench = Bench(1, complain_ms=5_000, timeout_ms=10**6, timeout_max_ms=10**6)
    bench.now_ms += 6_000
    bench.waiting_ms = 6_000
    bench.tick(pending=True)
    first, second = bench.block(b"one"), bench.block(b"two", proposer=2)
    bench.applied(first)
    assert (bench.replica.view, bench.state.rules.leader(0)) == (0, "node-0")
    bench.now_ms += 5_000
    effects = bench.applied(replace(first, header=replace(first.header, height=2)))
    assert said(effects, ViewChange) == [bench.change(1, 1, height=3)], "the next height opens with it"
    effects = bench.applied(replace(second, header=replace(second.header, height=3)))
    assert bench.state.rules.leader(0) == "node-2"
    assert said(effects + bench.tick(4_999, pending=True), ViewChange) == []
    assert said(bench.tick(1, pending=True), ViewChange) == [bench.change(1, 1, height=4)]


# holds CM-24
def test_complaint_is_not_raised_against_a_leader_whose_turn_has_just_come() -> None:
    bench = Bench(1, complain_ms=5_000, rotation_blocks=2, timeout_ms=10**6, timeout_max_ms=10**6)
    block = bench.block(b"one")
    bench.applied(block)
    bench.now_ms += 9_000
    bench.waiting_ms = 9_000
    assert bench.state.rules.leader(0) == "node-1"
    assert said(bench.tick(pending=True), ViewChange) == []
