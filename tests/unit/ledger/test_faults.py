"""Fault proofs in blocks: each once, only what proves something, bounded per block and per member."""

from __future__ import annotations

from dataclasses import replace

import pytest

from master.ledger import faults
from master.ledger.application import Application
from master.ledger.call import decode_entry
from master.ledger.faults import FaultCourt, FaultRefusedError, block_rows, recorded_count
from master.ledger.refusals import BlockRefused
from master.ledger.rows import Execution
from master.ledger.state import Overlay
from tests.unit.contracts.reports import release
from tests.unit.ledger.worlds import World, key_of
from wire.block import Block
from wire.certificate import Step, Validator, ValidatorSet, vote_bytes
from wire.faultproof import FAULT_PROOFS_MAX, FaultProof, Statement
from wire.merkle import tree_head
from wire.tx import SignedTx
from wire.types import sha256

LOW, HIGH = sorted((sha256(b"one"), sha256(b"other")))


def proof(world: World, height: int = 1, step: Step = Step.PREPARE, view: int = 0, epoch: int = 0) -> bytes:
    """Return the proof that the one validator signed a step twice."""
    chain = world.genesis.chain()
    first, second = (
        Statement(
            step,
            view,
            digest,
            key_of("vote").sign(vote_bytes(chain, epoch, step, height, view, digest)).signature,
        )
        for digest in (LOW, HIGH)
    )
    return FaultProof(chain, epoch, height, "dispatch", first, second).encode()


def propose(world: World, *proofs: bytes) -> Execution:
    validators = world.genesis.validator_set().digest()
    execution, _ = world.application.propose(
        world.head,
        proposer="dispatch",
        epoch=0,
        validators_hash=validators,
        next_validators_hash=validators,
        time_ms=world.head.time_ms + 1000,
        candidates=(),
        bytes_max=1 << 20,
        fault_proofs=proofs,
    )
    return execution


def with_proofs(execution: Execution, *proofs: bytes) -> Block:
    """Return the block with other proofs, as its leader could have signed it."""
    header = replace(execution.block.header, fault_proof_root=tree_head(proofs))
    return Block(header, execution.block.transactions, proofs)


def entries(world: World) -> dict[bytes, object]:
    return {key: decode_entry(raw) for key, raw in world.state.scan("faults", b"")}


# holds FP-5 FP-7
def test_fault_proof_stands_in_a_block_its_state_and_its_events() -> None:
    world = World()
    raw = proof(world)
    execution = propose(world, raw)
    assert execution.block.fault_proofs == (raw,)
    assert execution.block.header.fault_proof_root == tree_head([raw])
    assert execution.events == 1
    world.commit(execution)
    assert entries(world) == {
        b"count/dispatch": 1,
        b"proof/dispatch/0000000000000001/prepare": {
            "digest": sha256(raw),
            "epoch": 0,
            "block": 1,
            "time_ms": world.head.time_ms,
        },
    }
    (row,) = block_rows(1, world.head.time_ms, execution.outcomes, execution.block.fault_proofs)
    assert (row.contract, row.type, row.subject, row.index, row.tx) == (
        "faults",
        "fault_proven",
        "dispatch",
        0,
        sha256(raw),
    )
    assert row.data == {
        "member": "dispatch",
        "epoch": 0,
        "height": 1,
        "kind": "prepare",
        "view": 0,
        "proof": raw,
    }


# holds FP-7
def test_fault_events_stand_behind_those_of_transactions() -> None:
    world = World()
    done = world.call("maker-a", "references", "submit", {"release": release("r-1").encode()})
    rows = list(block_rows(1, 5, [done.outcome.encode()], [proof(world)]))
    assert [row.index for row in rows] == list(range(len(rows)))
    assert [row.contract for row in rows][-1] == "faults"
    assert len(rows) == len(done.outcome.events) + 1 > 1


# holds FP-5
def test_fault_proof_on_the_ledger_stands_there_once() -> None:
    world = World()
    world.commit(propose(world, proof(world)))
    again = proof(world, view=4)
    assert propose(world, again).block.fault_proofs == ()
    with pytest.raises(BlockRefused, match=r"fault-proofs: .* has one of this member, height and kind"):
        world.application.process(world.head, with_proofs(propose(world), again))


# holds FP-5
def test_fault_proofs_are_chosen_in_order_one_of_each_and_at_most_sixteen() -> None:
    world = World()
    for _ in range(20):
        world.run()
    raws = [proof(world, height) for height in range(20, 0, -1)]
    chosen = propose(world, *raws, raws[0], proof(world, 20, view=1)).block.fault_proofs
    assert chosen == tuple(reversed(raws))[:FAULT_PROOFS_MAX]
    world.commit(propose(world, *raws))
    assert recorded_count(Overlay(world.state), "dispatch") == FAULT_PROOFS_MAX
    assert propose(world, *raws).block.fault_proofs == tuple(reversed(raws))[FAULT_PROOFS_MAX:]


# holds FP-5
@pytest.mark.parametrize("step", [Step.PREPARE, Step.COMMIT])
def test_fault_proofs_out_of_order_or_twice_are_refused(step: Step) -> None:
    world = World()
    first, second = proof(world, 1, Step.COMMIT), proof(world, 1, Step.PREPARE)
    proofs = (second, first) if step is Step.COMMIT else (first, first)
    with pytest.raises(BlockRefused, match="fault-proofs"):
        world.application.process(world.head, with_proofs(propose(world), *proofs))
    world.commit(propose(world, second, first))


# holds FP-5
def test_fault_proof_that_proves_nothing_is_left_out_and_refused() -> None:
    world = World()
    for wrong, reason in (
        (proof(world, epoch=1), "there is no epoch 1"),
        (proof(world, 2), "height 2 is still to come"),
        (b"\xa0", "is missing"),
        (proof(world).replace(b"dispatch", b"dispatcx"), "no validator"),
    ):
        assert propose(world, wrong).block.fault_proofs == ()
        with pytest.raises(BlockRefused, match=rf"fault-proofs: .*{reason}"):
            world.application.process(world.head, with_proofs(propose(world), wrong))


# holds FP-5
def test_fault_proofs_that_do_not_lead_to_the_root_are_refused() -> None:
    world = World()
    execution = propose(world, proof(world))
    with pytest.raises(BlockRefused, match="another fault_proof_root"):
        world.application.process(world.head, replace(execution.block, fault_proofs=()))


# holds FP-6
def test_fault_proofs_against_one_member_end_at_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "PER_MEMBER_MAX", 2)
    world = World()
    raws = [proof(world, 1, step) for step in (Step.COMMIT, Step.PREPARE, Step.PROPOSE)]
    assert propose(world, *raws).block.fault_proofs == tuple(raws[:2])
    world.commit(propose(world, *raws[:2]))
    with pytest.raises(BlockRefused, match="has 2 against dispatch already"):
        world.application.process(world.head, with_proofs(propose(world), raws[2]))


# holds FP-5
def test_fault_proof_of_an_earlier_epoch_is_judged_by_its_own_validators() -> None:
    world = World()
    stranger = ValidatorSet((Validator("dispatch", key_of("stranger").verify_key.encode(), bytes(32)),))
    sets = {0: stranger, 1: world.genesis.validator_set()}
    application = Application(world.genesis, world.state, world.tree, SignedTx.verify, epochs=sets.get)
    world.application = application
    assert propose(world, proof(world, epoch=0)).block.fault_proofs == ()
    assert propose(world, proof(world, epoch=1)).block.fault_proofs == (proof(world, epoch=1),)
    with pytest.raises(FaultRefusedError, match="no epoch 2"):
        FaultCourt(world.genesis.chain(), sets.get).prove(proof(world, epoch=2))
