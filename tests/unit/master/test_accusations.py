"""Fault proofs that wait for a block: each once, only such as prove something, bounded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from master import accusations
from master.accusations import Accusations
from master.ledger import faults
from master.ledger.faults import FaultCourt, FaultRefusedError
from tests.unit.ledger.test_faults import proof, propose
from tests.unit.ledger.worlds import World
from wire.certificate import Step
from wire.faultproof import decode_fault_proof


class Disk:
    """Keeps every writing; the last one is read."""

    def __init__(self, *found: bytes) -> None:
        self.written: list[Sequence[bytes]] = [found]

    def read(self) -> Sequence[bytes]:
        return self.written[-1]

    def write(self, proofs: Sequence[bytes]) -> None:
        self.written.append(proofs)


def opened(world: World, disk: Disk | None = None) -> Accusations:
    court = FaultCourt(world.genesis.chain(), {0: world.genesis.validator_set()}.get)
    return Accusations(court, world.state, disk or Disk())


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


# holds FP-10
def test_accusations_are_kept_for_the_next_start_until_a_block_holds_them() -> None:
    world, disk = World(), Disk()
    waiting = opened(world, disk)
    waiting.take_up()
    first, second = proof(world), proof(world, 1, Step.COMMIT)
    for raw in (first, first, second):
        waiting.add(raw)
    assert disk.written[1:] == [(first,), (first, second)]
    disk = Disk(b"rubbish", proof(world, epoch=4), first, second)
    again = opened(world, disk)
    again.take_up()
    assert again.waiting() == (first, second)
    world.commit(propose(world, first))
    for _ in range(2):
        again.applied((first,))
    assert disk.written[1:] == [(second,)], "what is kept already is not written again"
    later = opened(world, Disk(first, second))
    later.take_up()
    assert later.waiting() == (second,)
