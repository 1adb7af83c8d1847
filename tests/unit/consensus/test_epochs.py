from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from master.consensus.checks import check_proposal, next_base
from master.consensus.events import Applied, Epoch, Head, Timing
from master.consensus.guard import SignerGuard
from master.consensus.message_checks import FlawedProposalError, UnknownEpochError, known_part, verify_by_epoch
from master.consensus.messages import Blocks, GetStanding, Propose, Standing, Status, Vote, standing_bytes
from tests.simulation.keys import KeyRing
from tests.simulation.toy import CHAIN, EPOCH, GENESIS
from tests.unit.consensus.bench import Bench, name, reports, said, votes
from wire.block import Block
from wire.certificate import Certificate, Step, ValidatorSet, build_certificate, vote_bytes
from wire.errors import CertificateError, SignatureError
from wire.types import sha256

KEYS = KeyRing(5, is_keyed=True)
ALL = KEYS.validators.validators
FOUR, FIVE = ValidatorSet(ALL[:4]), KEYS.validators
THREE = ValidatorSet(ALL[:3])


def end_of_epoch(bench: Bench, following: ValidatorSet, proposer: int = 1) -> tuple[Block, Head]:
    """Return a block that ends the epoch, and the head that it makes."""
    plain = bench.block(b"x", proposer=proposer)
    block = replace(plain, header=replace(plain.header, next_validators_hash=following.digest()))
    header = block.header
    head = Head(1, header.digest(), header.time_ms, header.proposer, epoch=Epoch(EPOCH + 1, following))
    return block, head


def turned(me: int, following: ValidatorSet, **settings: Any) -> Bench:  # noqa: ANN401
    """Return a replica for which an epoch has begun with height 2."""
    bench = Bench(me, size=5, validators=FOUR, **settings)
    bench.feed(Applied(end_of_epoch(bench, following)[1]))
    return bench


def at_two(bench: Bench, following: ValidatorSet, proposer: int = 0, epoch: int = EPOCH + 1) -> Block:
    """Return a block of height 2, decided by ``following``."""
    header = bench.block(b"y", proposer=proposer).header
    sets = {"validators_hash": following.digest(), "next_validators_hash": following.digest()}
    place = {"height": 2, "epoch": epoch, "parent": bench.replica.head.digest, "time_ms": header.time_ms + 1}
    return Block(replace(header, **sets, **place), (b"y",))  # type: ignore[arg-type]


def vote_in(bench: Bench, index: int, step: Step, block: Block, epoch: int = EPOCH + 1) -> Vote:
    digest = block.header.digest()
    signature = bench.sign(index, step, 2, 0, digest, epoch)
    return Vote(name(index), step, epoch, 2, 0, digest, signature)


# holds VM-7
def test_header_after_a_change_must_name_the_next_set() -> None:
    bench = Bench(1, size=5, validators=FOUR)
    bench.state.rules = replace(bench.state.rules, head=replace(GENESIS, next_validators_hash=FIVE.digest()))
    block = end_of_epoch(bench, FIVE, proposer=0)[0]
    # the bench's ledger has five validators; the sets of the header are what is looked at
    right = replace(block, header=replace(block.header, validators_hash=FOUR.digest()))
    wrong = replace(right, header=replace(right.header, next_validators_hash=FOUR.digest()))
    now_ms = right.header.time_ms
    assert check_proposal(bench.propose(0, right), bench.state.rules, now_ms) is None
    verdict = check_proposal(bench.propose(0, wrong), bench.state.rules, now_ms)
    assert verdict is not None
    assert verdict.reason == "other next validators"


# holds VM-7
def test_header_without_a_change_must_name_the_same_set() -> None:
    bench = Bench(1, size=5, validators=FOUR)
    block = end_of_epoch(bench, FIVE, proposer=0)[0]
    block = replace(block, header=replace(block.header, validators_hash=FOUR.digest()))
    verdict = check_proposal(bench.propose(0, block), bench.state.rules, block.header.time_ms)
    assert verdict is not None
    assert verdict.reason == "other next validators"


# holds VM-9
def test_leader_of_a_new_epoch_is_its_first_validator() -> None:
    bench = turned(2, FIVE)
    assert bench.replica.leader == name(0)
    head = end_of_epoch(bench, FIVE, proposer=3)[1]
    assert next_base(head, FIVE, 100) == 0
    assert next_base(replace(head, epoch=None), FIVE, 100) == 3


# holds VM-9
def test_restart_at_the_start_of_an_epoch_comes_to_the_same_leader_and_set() -> None:
    bench = turned(2, FIVE)
    bench.head = bench.replica.head
    bench.reboot()
    rules = bench.replica._height.rules
    assert (rules.epoch, rules.validators, bench.replica.leader) == (EPOCH + 1, FIVE, name(0))


# holds VM-9
def test_new_set_decides_and_votes_of_the_old_epoch_count_for_nothing() -> None:
    bench = turned(1, FIVE)
    block = at_two(bench, FIVE)
    for index in (0, 2, 3, 4):
        bench.hear(vote_in(bench, index, Step.COMMIT, block, epoch=EPOCH))
    assert bench.state.votes.all() == ()
    for index in (0, 2, 3, 4):
        bench.hear(vote_in(bench, index, Step.COMMIT, block))
    assert len(bench.state.votes.all()) == 4


# holds VM-9
def test_proposal_of_another_epoch_costs_the_leader_nothing() -> None:
    """Its key may be one that was given up because others have it."""
    bench = turned(1, FIVE)
    block = at_two(bench, FIVE, epoch=EPOCH)
    effects = bench.hear(bench.propose(0, block))
    assert reports(effects) == []
    assert (bench.replica.view, bench.state.proposal) == (0, None)
    right = at_two(bench, FIVE)
    bench.hear(bench.propose(0, right))
    assert bench.state.proposal is not None


# holds VM-9
def test_messages_that_came_before_the_epoch_are_counted_in_it_if_they_are_of_it() -> None:
    bench = Bench(1, size=5, validators=FOUR)
    bench.state.rules = replace(bench.state.rules, head=replace(GENESIS, next_validators_hash=FIVE.digest()))
    head = end_of_epoch(bench, FIVE)[1]
    later = at_two(bench, FIVE)
    for index, epoch in ((0, EPOCH + 1), (2, EPOCH), (3, EPOCH + 2), (4, EPOCH + 1)):
        bench.hear(vote_in(bench, index, Step.COMMIT, later, epoch=epoch))
    assert len(bench.state.later) == 2
    bench.feed(Applied(head))
    assert [vote.member for vote in bench.state.votes.all() if isinstance(vote, Vote)] == [name(0), name(4)]


def test_messages_of_the_next_height_without_a_change_are_of_this_epoch() -> None:
    bench = Bench(1, size=5, validators=FOUR)
    later = at_two(bench, FOUR)
    bench.hear(vote_in(bench, 0, Step.COMMIT, later, epoch=EPOCH + 1))
    bench.hear(vote_in(bench, 2, Step.COMMIT, later, epoch=EPOCH))
    assert len(bench.state.later) == 1


# holds VM-10
def test_leaver_follows_and_signs_nothing_more() -> None:
    bench = turned(3, THREE)
    assert not bench.replica._may_vote()
    block = at_two(bench, THREE)
    effects = bench.hear(bench.propose(0, block))
    effects += bench.tick(10_000, pending=True)
    assert votes(effects) == []
    assert said(effects, Status)
    for index in (0, 1, 2):
        effects += bench.hear(vote_in(bench, index, Step.COMMIT, block))
    assert bench.state.is_applying
    assert said(bench.hear(GetStanding(sha256(b"nonce")), 0), Standing) == []


# holds VM-10
def test_joiner_votes_from_the_first_height_of_its_epoch() -> None:
    bench = Bench(4, size=5, validators=FOUR)
    assert not bench.replica._may_vote()
    effects = bench.feed(Applied(end_of_epoch(bench, FIVE)[1]))
    assert reports(effects) == ["epoch"]
    assert bench.replica._may_vote()
    block = at_two(bench, FIVE)
    bench.hear(bench.propose(0, block))
    assert votes(bench.executed(block)) == [("PREPARE", 0)]


# holds VM-10
@pytest.mark.parametrize("guard", [None, SignerGuard(is_restored=True)])
def test_joiner_that_does_not_know_what_its_key_has_signed_is_in_quarantine(guard: SignerGuard | None) -> None:
    bench = Bench(4, size=5, validators=FOUR, guard=guard)
    assert not bench.replica.quarantine
    assert not bench.replica._may_vote()
    effects = bench.feed(Applied(end_of_epoch(bench, FIVE)[1]))
    assert "quarantine" in reports(effects)
    assert bench.replica._voice.quarantine
    assert not bench.replica._may_vote()


# holds VM-10
@pytest.mark.parametrize(("heads", "is_locked"), [(0, False), (1, True)])
def test_joiner_with_a_new_guard_is_in_quarantine_iff_the_ledger_is_beyond_the_start_of_its_seat(
    heads: int, *, is_locked: bool
) -> None:
    bench = Bench(4, size=5, validators=FOUR, guard=SignerGuard(is_new=True), is_settled=False)
    _, head = end_of_epoch(bench, FIVE)
    commits = [bench.vote(index, Step.COMMIT, at_two(bench, FIVE), height=2) for index in (0, 1, 2, 3)]
    certificate = build_certificate(
        Step.COMMIT, EPOCH + 1, 2, 0, commits[0].digest, [(vote.member, vote.signature) for vote in commits]
    )
    for index in (0, 1, 2, 3) if heads else ():
        bench.hear(_standing(bench, index, certificate))
    assert bench.replica.quarantine is None, "it only follows"
    bench.feed(Applied(head))
    assert (bench.replica.quarantine is not None) == is_locked


# holds VM-10
def test_seat_that_goes_on_over_an_epoch_is_as_old_as_it_was() -> None:
    bench = Bench(1, size=5, validators=FOUR, guard=SignerGuard(is_new=True), is_settled=False)
    bench.reboot()
    bench.feed(Applied(end_of_epoch(bench, FIVE)[1]))
    first = _standing(bench, 0, bench.certificate(Step.COMMIT, end_of_epoch(bench, FIVE)[0]))
    assert reports(bench.hear(first)) == ["quarantine"], "height 1 was its to vote for"


# holds VM-10
def test_follower_keeps_its_doubt_over_a_restart() -> None:
    bench = Bench(4, size=5, validators=FOUR, guard=None)
    plain, four = bench.block(b"x"), FOUR.digest()
    block = replace(plain, header=replace(plain.header, validators_hash=four, next_validators_hash=four))
    commits = [bench.vote(index, Step.COMMIT, block) for index in (0, 1, 2)]
    bench.hear(bench.propose(0, block))
    bench.hear_all(*commits)
    assert bench.guard == SignerGuard(floor=1, is_restored=True)
    bench.reboot()
    bench.feed(Applied(end_of_epoch(bench, FIVE)[1]))
    assert bench.replica.quarantine is not None


# holds VM-10
def test_validator_whose_key_the_set_does_not_name_only_follows() -> None:
    bench = Bench(1, size=5, validators=FOUR, vote_keys=(ALL[1].vote_key,))
    assert bench.replica._may_vote()
    rotated = ValidatorSet((ALL[0], replace(ALL[1], vote_key=sha256(b"new")), *ALL[2:4]))
    bench.feed(Applied(end_of_epoch(bench, rotated)[1]))
    assert not bench.replica._may_vote()
    both = Bench(1, size=5, validators=FOUR, vote_keys=(ALL[1].vote_key, sha256(b"new")))
    both.feed(Applied(end_of_epoch(both, rotated)[1]))
    assert both.replica._may_vote()


def test_start_counts_the_answers_of_those_who_stay() -> None:
    bench = Bench(1, size=5, validators=FOUR, is_settled=False)
    recovery = bench.replica._voice._recovery
    for index in (2, 3):
        bench.hear(_standing(bench, index, None), index)
    assert sorted(recovery._answers) == [name(2), name(3)]
    bench.feed(Applied(end_of_epoch(bench, ValidatorSet((*ALL[:3], ALL[4])))[1]))
    assert sorted(recovery._answers) == [name(2)]
    assert recovery._others == [name(0), name(2), name(4)]


# ---- signatures by epoch ----------------------------------------------------------------------


def _standing(bench: Bench, index: int, certificate: Certificate | None) -> Standing:
    frame = (name(index), sha256(b"this start"), certificate)
    signature = bench.keys.signer(name(index))(standing_bytes(CHAIN, *frame, is_quarantined=False))
    return Standing(*frame, is_quarantined=False, spoken=None, signature=signature)


def sets(epoch: int) -> ValidatorSet | None:
    """Know two epochs: in the second node-3 has left and node-0 has the key of node-4."""
    rotated = replace(ALL[0], vote_key=ALL[4].vote_key)
    return {0: FOUR, 1: ValidatorSet((rotated, *ALL[1:3]))}.get(epoch)


def signed_vote(index: int, epoch: int, key: int | None = None) -> Vote:
    digest = sha256(b"block")
    signed = vote_bytes(CHAIN, epoch, Step.COMMIT, 9, 0, digest)
    signature = KEYS.signer(name(index if key is None else key))(signed)
    return Vote(name(index), Step.COMMIT, epoch, 9, 0, digest, signature)


# holds VM-8
@pytest.mark.parametrize(("index", "epoch", "key"), [(0, 0, None), (3, 0, None), (0, 1, 4), (1, 1, None)])
def test_statement_is_proven_by_the_set_of_its_epoch(index: int, epoch: int, key: int | None) -> None:
    verify_by_epoch(signed_vote(index, epoch, key), CHAIN, sets, KEYS.verify)


# holds VM-8
@pytest.mark.parametrize(
    ("index", "epoch", "key", "error"),
    [
        (3, 1, None, CertificateError),
        (0, 1, None, SignatureError),
        (0, 0, 4, SignatureError),
        (4, 0, None, CertificateError),
        (0, 2, None, UnknownEpochError),
    ],
)
def test_statement_of_a_key_that_is_not_of_its_epoch_is_refused(
    index: int, epoch: int, key: int | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        verify_by_epoch(signed_vote(index, epoch, key), CHAIN, sets, KEYS.verify)


def blocks(*epochs: int) -> Blocks:
    bench = Bench(1, size=5, validators=FOUR)
    found = []
    for epoch in epochs:
        plain = bench.block(b"x")
        block = replace(plain, header=replace(plain.header, epoch=epoch))
        digest = block.header.digest()
        signed = vote_bytes(CHAIN, epoch, Step.COMMIT, 1, 0, digest)
        signers = {0: {0: 0, 1: 1, 2: 2}, 1: {0: 4, 1: 1, 2: 2}, 2: {0: 0}}[epoch]
        entries = [(name(index), KEYS.signer(name(key))(signed)) for index, key in signers.items()]
        found.append((block, build_certificate(Step.COMMIT, epoch, 1, 0, digest, entries)))
    return Blocks(tuple(found))


# holds VM-8
def test_blocks_of_several_epochs_are_each_proven_by_their_own_set() -> None:
    verify_by_epoch(blocks(0, 1), CHAIN, sets, KEYS.verify)
    with pytest.raises(UnknownEpochError):
        verify_by_epoch(blocks(0, 1, 2), CHAIN, sets, KEYS.verify)
    assert known_part(blocks(0, 1, 2, 1), sets) == blocks(0, 1)
    assert known_part(blocks(0, 1), sets) == blocks(0, 1)


# holds VM-8
def test_standing_is_proven_by_the_epoch_of_its_head_or_by_the_one_that_the_head_ended() -> None:
    bench = Bench(1, size=5)
    head = blocks(0).blocks[0][1]
    verify_by_epoch(_standing(bench, 0, head), CHAIN, sets, KEYS.verify)
    verify_by_epoch(_standing(bench, 0, None), CHAIN, sets, KEYS.verify)
    frame = (name(0), sha256(b"this start"), head)
    signature = KEYS.signer(name(4))(standing_bytes(CHAIN, *frame, is_quarantined=False))
    turned_over = Standing(*frame, is_quarantined=False, spoken=None, signature=signature)
    verify_by_epoch(turned_over, CHAIN, sets, KEYS.verify)
    with pytest.raises(SignatureError):
        verify_by_epoch(replace(turned_over, signature=bytes(64)), CHAIN, sets, KEYS.verify)
    with pytest.raises(UnknownEpochError):
        verify_by_epoch(replace(turned_over, certificate=replace(head, epoch=2)), CHAIN, sets, KEYS.verify)
    with pytest.raises(SignatureError):
        verify_by_epoch(replace(_standing(bench, 0, None), signature=bytes(64)), CHAIN, sets, KEYS.verify)


# holds VM-8
def test_standing_that_may_be_signed_with_a_key_of_an_epoch_not_known_yet_blames_nobody() -> None:
    bench = Bench(1, size=5)
    ahead = blocks(1).blocks[0][1]
    early = _standing(bench, 0, ahead)
    with pytest.raises(UnknownEpochError):  # the epoch that its head may have ended
        verify_by_epoch(early, CHAIN, sets, KEYS.verify)
    unproven = replace(ahead, signatures=(*ahead.signatures[:-1], (ahead.signatures[-1][0], bytes(64))))
    with pytest.raises(CertificateError, match="signature"):
        verify_by_epoch(replace(early, certificate=unproven), CHAIN, sets, KEYS.verify)


def test_proposal_and_its_view_changes_are_proven_by_the_epoch_of_its_block() -> None:
    bench = Bench(1, size=5, validators=FOUR)
    block = replace(bench.block(b"x"), header=replace(bench.block(b"x").header, epoch=0))
    good = bench.propose(0, block, 1, (bench.change(1, 1, epoch=0),))
    verify_by_epoch(good, CHAIN, sets, KEYS.verify)
    mixed = bench.propose(0, block, 1, (bench.change(1, 1, epoch=7),))
    with pytest.raises(FlawedProposalError, match="of epoch 7"):
        verify_by_epoch(mixed, CHAIN, sets, KEYS.verify)
    block = replace(block, header=replace(block.header, epoch=7))
    late = bench.propose(0, block, 1, (bench.change(1, 1, epoch=7),))
    with pytest.raises(UnknownEpochError):
        verify_by_epoch(late, CHAIN, sets, KEYS.verify)
    assert isinstance(good, Propose)


# holds GV-6
def test_replica_goes_by_the_times_of_the_height() -> None:
    bench = Bench(1)
    assert (bench.replica._views.settings.heartbeat_ms, bench.state.rules.skew_ms) == (1_000_000, 1_000)
    block = bench.block(b"x")
    timing = Timing(block_interval_ms=7, heartbeat_ms=2_000, skew_ms=500)
    header = block.header
    bench.feed(Applied(Head(1, header.digest(), header.time_ms, header.proposer, timing=timing)))
    assert bench.state.rules.skew_ms == 500
    assert bench.replica._views.block_due_ms == bench.now_ms + 7
    bench.now_ms += 1_999
    assert not bench.replica._views.is_heartbeat_due(bench.now)
    bench.now_ms += 1
    assert bench.replica._views.is_heartbeat_due(bench.now)
    bench.feed(Applied(Head(2, sha256(b"2"), header.time_ms + 1, header.proposer)))
    assert bench.state.rules.skew_ms == 500, "who does not say keeps what holds"
    started = Bench(1, head=replace(GENESIS, timing=timing))
    assert (started.state.rules.skew_ms, started.replica._views.settings.heartbeat_ms) == (500, 2_000)
