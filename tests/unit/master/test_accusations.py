"""Fault proofs that wait for a block: each once, only such as prove something, bounded."""

from __future__ import annotations

import pytest

from master import accusations
from master.accusations import Accusations
from master.ledger import faults
from master.ledger.faults import FaultCourt, FaultRefusedError
from tests.unit.ledger.test_faults import proof, propose
from tests.unit.ledger.worlds import World
from wire.certificate import Step
from wire.faultproof import decode_fault_proof


def opened(world: World) -> Accusations:
    court = FaultCourt(world.genesis.chain(), {0: world.genesis.validator_set()}.get)
    return Accusations(court, world.state)


# holds FP-10
def test_accusation_is_new_once_and_waits_until_a_block_holds_it() -> None:
    world = World()
    waiting = opened(world)
    raw = proof(world)
    assert waiting.add(raw) == decode_fault_proof(raw)
    assert waiting.add(raw) is None
    assert waiting.add(proof(world, view=3)) is None
    assert waiting.waiting() == (raw,)
    world.commit(propose(world, *waiting.waiting()))
    waiting.applied((raw,))
    waiting.applied((proof(world, 1, Step.COMMIT),))
    assert waiting.waiting() == ()
    assert waiting.add(raw) is None


# holds FP-10
def test_accusation_that_proves_nothing_is_refused() -> None:
    world = World()
    with pytest.raises(FaultRefusedError):
        opened(world).add(proof(world, epoch=4))


# holds FP-10
def test_accusations_against_one_member_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    waiting = opened(world)
    monkeypatch.setattr(accusations, "WAITING_PER_MEMBER_MAX", 2)
    assert [waiting.add(proof(world, height)) is not None for height in (1, 2, 3)] == [True, True, False]
    world.commit(propose(world, proof(world)))
    waiting.applied((proof(world),))
    monkeypatch.setattr(faults, "PER_MEMBER_MAX", 2)
    assert waiting.add(proof(world, 3)) is None
    assert len(waiting.waiting()) == 1
