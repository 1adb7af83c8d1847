"""Two statements of one validator that exclude each other are kept and become a proof; nothing else does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from master.consensus.events import Accuse, Effect, Send
from master.consensus.fault_messages import Fault, Quote
from master.consensus.messages import Blocks, Standing, standing_bytes
from master.consensus.state import open_height
from master.consensus.witness import VIEWS_MAX
from tests.simulation.toy import CHAIN, EPOCH
from tests.unit.consensus.bench import NONCE, Bench, name, of, said
from wire.certificate import Step
from wire.faultproof import decode_fault_proof, verify_fault_proof


def accusations(bench: Bench, effects: Sequence[Effect]) -> list[tuple[str, int, str]]:
    """Return whom the effects accuse of what; every proof must hold."""
    found = []
    for effect in of(list(effects), Accuse):
        proof = decode_fault_proof(effect.proof.encode())
        assert proof == effect.proof
        verify_fault_proof(proof, CHAIN, EPOCH, bench.keys.validators, bench.keys.verify)
        found.append(proof.place)
    return found


# holds FP-8
@pytest.mark.parametrize("step", [Step.PREPARE, Step.COMMIT])
def test_witness_second_vote_for_another_block_is_proof_once(step: Step) -> None:
    bench = Bench()
    first, second, third = (bench.block(text) for text in (b"one", b"two", b"three"))
    assert accusations(bench, bench.hear(bench.vote(3, step, first))) == []
    assert accusations(bench, bench.hear(bench.vote(3, step, first))) == []
    assert accusations(bench, bench.hear(bench.vote(3, step, second))) == [(name(3), 1, step.name.lower())]
    assert accusations(bench, bench.hear(bench.vote(3, step, third))) == []


# holds FP-8
def test_witness_prepare_of_one_block_and_commit_of_another_is_no_fault() -> None:
    bench = Bench()
    first, second = bench.block(b"one"), bench.block(b"two")
    said_by_3 = [bench.vote(3, Step.PREPARE, first), bench.vote(3, Step.COMMIT, second)]
    assert accusations(bench, bench.hear_all(*said_by_3)) == []
    others = [bench.vote(2, Step.PREPARE, second), bench.vote(3, Step.PREPARE, second, view=1)]
    assert accusations(bench, bench.hear_all(*others)) == []


# holds FP-8
def test_witness_second_proposal_of_a_view_is_proof_and_is_not_voted_for() -> None:
    bench = Bench()
    first, second = bench.block(b"one"), bench.block(b"two")
    bench.hear(bench.propose(0, first))
    effects = bench.hear(bench.propose(0, second))
    assert accusations(bench, effects) == [(name(0), 1, "propose")]
    assert bench.state.proposal is not None
    assert bench.state.proposal.block == first


# holds FP-8
def test_witness_second_view_change_with_another_certificate_is_proof() -> None:
    bench = Bench()
    prepared = bench.certificate(Step.PREPARE, bench.block(b"one"), signers=(0, 2, 3))
    assert accusations(bench, bench.hear(bench.change(3, 1))) == []
    assert accusations(bench, bench.hear(bench.change(3, 1, prepared))) == [(name(3), 1, "view-change")]


# holds FP-8
def test_witness_looks_at_votes_inside_certificates_and_view_changes_inside_proposals() -> None:
    bench = Bench()
    one, two = bench.block(b"one"), bench.block(b"two")
    bench.hear_all(*(bench.vote(index, Step.PREPARE, one) for index in (0, 2, 3)))
    prepared = bench.certificate(Step.PREPARE, two, signers=(0, 2, 3))
    effects = bench.hear(bench.change(0, 1, prepared))
    assert accusations(bench, effects) == [(name(index), 1, "prepare") for index in (0, 2, 3)]
    bench = Bench(me=3)
    bench.hear(bench.change(0, 1, prepared))
    changes = tuple(bench.change(index, 1) for index in (0, 1, 2))
    effects = bench.hear(bench.propose(1, bench.block(b"three", proposer=1), 1, changes))
    assert accusations(bench, effects) == [(name(0), 1, "view-change")]


# holds FP-8
def test_witness_looks_at_certificates_of_blocks_and_standings() -> None:
    one, two = Bench().block(b"one"), Bench().block(b"two")
    bench = Bench()
    bench.hear(bench.vote(3, Step.COMMIT, one))
    effects = bench.hear(Blocks(((two, bench.certificate(Step.COMMIT, two, signers=(0, 2, 3))),)), 0)
    assert accusations(bench, effects) == [(name(3), 1, "commit")]
    bench = Bench()
    bench.hear(bench.vote(3, Step.COMMIT, one))
    certificate = bench.certificate(Step.COMMIT, two, signers=(0, 2, 3))
    signed = standing_bytes(CHAIN, name(0), NONCE, certificate, is_quarantined=False)
    standing = Standing(name(0), NONCE, certificate, False, None, bench.keys.signer(name(0))(signed))  # noqa: FBT003
    assert accusations(bench, bench.hear(standing)) == [(name(3), 1, "commit")]
    nothing = Standing(name(0), NONCE, None, False, None, bytes(64))  # noqa: FBT003
    assert accusations(bench, bench.hear(nothing)) == []


# holds FP-8
@pytest.mark.parametrize("is_commit_first", [True, False])
def test_witness_view_change_that_hides_a_commit_is_proof_of_amnesia(*, is_commit_first: bool) -> None:
    bench = Bench()
    block = bench.block(b"one")
    commit, change = bench.vote(3, Step.COMMIT, block), bench.change(3, 1)
    effects = bench.hear_all(commit, change) if is_commit_first else bench.hear_all(change, commit)
    assert accusations(bench, effects) == [(name(3), 1, "amnesia")]


# holds FP-8
def test_witness_view_change_with_the_certificate_of_its_commit_is_no_fault() -> None:
    bench = Bench()
    block = bench.block(b"one")
    prepared = bench.certificate(Step.PREPARE, block, signers=(0, 2, 3))
    effects = bench.hear_all(bench.vote(3, Step.COMMIT, block), bench.change(3, 1, prepared))
    assert accusations(bench, effects) == []
    effects = bench.hear_all(bench.change(2, 1), bench.vote(2, Step.COMMIT, block, view=1))
    assert accusations(bench, effects) == []


# holds FP-8
def test_witness_goes_on_for_one_height_after_a_block_is_stored() -> None:
    bench = Bench()
    one, two = bench.block(b"one"), bench.block(b"two")
    bench.hear(bench.vote(3, Step.COMMIT, one))
    bench.applied(one)
    assert accusations(bench, bench.hear(bench.vote(3, Step.COMMIT, two))) == [(name(3), 1, "commit")]
    bench = Bench()
    bench.hear(bench.vote(3, Step.COMMIT, one))
    for _ in range(2):
        bench.ledger.apply(bench.block(b"x"), bench.certificate(Step.COMMIT, one))
        bench.applied(bench.ledger.blocks[-1][0])
    assert accusations(bench, bench.hear(bench.vote(3, Step.COMMIT, two))) == []


# holds FP-8
def test_witness_statements_of_other_epochs_and_its_own_are_left_alone() -> None:
    bench = Bench()
    one, two = bench.block(b"one"), bench.block(b"two")
    assert accusations(bench, bench.hear_all(bench.vote(1, Step.PREPARE, one), bench.vote(1, Step.PREPARE, two))) == []
    changes = [bench.change(3, 1, epoch=EPOCH + 1), bench.change(3, 1, height=1)]
    assert accusations(bench, bench.hear_all(*changes)) == []


# holds FP-8
def test_witness_forgets_neither_by_views_far_ahead_nor_without_bound() -> None:
    bench = Bench()
    one, two = bench.block(b"one"), bench.block(b"two")
    bench.hear(bench.vote(3, Step.PREPARE, one))
    bench.hear_all(*(bench.vote(3, Step.PREPARE, one, view) for view in range(2, 30)))
    assert accusations(bench, bench.hear(bench.vote(3, Step.PREPARE, two))) == [(name(3), 1, "prepare")]
    for view in range(1, VIEWS_MAX + 4):
        bench.go_to(view)
        bench.hear(bench.vote(3, Step.PREPARE, one, view))
    book = bench.replica._witness._heights[1].said[name(3), Step.PREPARE]
    assert len(book) == VIEWS_MAX
    assert min(book) == 4


# holds FP-9
def test_replica_shows_who_prepared_another_block_what_the_leader_signed_once() -> None:
    bench, other = Bench(me=1), Bench(me=3)
    one, two = bench.block(b"one"), bench.block(b"two")
    bench.hear(bench.propose(0, one))
    other.hear(other.propose(0, two))
    assert said(bench.hear(bench.vote(2, Step.PREPARE, one)), Quote) == []
    effects = bench.hear(bench.vote(3, Step.PREPARE, two))
    (quote,) = said(effects, Quote)
    assert [send.member for send in of(effects, Send) if send.message == quote] == [name(3)]
    assert accusations(other, other.hear(quote, 1)) == [(name(0), 1, "propose")]
    assert said(bench.hear(bench.vote(3, Step.PREPARE, bench.block(b"three"))), Quote) == []
    bench.go_to(1)
    assert bench.state.quoted == set()


# holds FP-9
def test_replica_without_a_proposal_or_for_another_view_shows_nothing() -> None:
    bench = Bench()
    one, two = bench.block(b"one"), bench.block(b"two")
    assert said(bench.hear(bench.vote(3, Step.PREPARE, two)), Quote) == []
    bench.hear(bench.propose(0, one))
    for vote in (bench.vote(2, Step.COMMIT, two), bench.vote(2, Step.PREPARE, two, view=1)):
        assert said(bench.hear(vote), Quote) == []


def test_replica_leaves_fault_messages_to_the_shell() -> None:
    bench = Bench()
    before = bench.state
    assert of(bench.hear(Fault(b"proof")), Accuse) == []
    assert bench.state is before
    assert open_height(bench.settings, bench.head).quoted == set()
