"""The replica's shell: effects in order, the disk before the wire, failures that stop signing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from master.consensus.events import (
    Apply,
    Disconnected,
    Executed,
    Flawed,
)
from master.consensus.fault_messages import Divergence, Fault
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import (
    Propose,
    ViewChange,
    ViewChangeSet,
    Vote,
    proposal_digest,
)
from tests.unit.master.engine_world import CHAIN, GENESIS, KEYS, World, block, fault_of_b, leader_says, vote_of_b
from wire.certificate import Certificate, Step, vote_bytes
from wire.types import sha256


# holds CM-8
def test_engine_alone_decides_blocks_and_persists_before_it_sends() -> None:
    world = World("a")
    asyncio.run(world.run_until(lambda: "applied 1" in world.diary))
    steps = [entry for entry in world.diary if entry != "send Status"]
    assert steps[:10] == [
        "persist 1",
        "seal 1",
        "send Propose",
        "persist 1",
        "seal 1",
        "send Vote",
        "persist 2",
        "seal 1",
        "send Vote",
        "clear",
    ]
    certificate = world.stored[0][1]
    assert (certificate.step, certificate.signers) == (Step.COMMIT, ("a",))


# holds EL-8
def test_engine_counts_the_views_that_are_left_by_their_reason() -> None:
    world = World("abcd")

    def is_left() -> bool:
        world.clock.advance(200)
        return bool(world.left)

    asyncio.run(world.run_until(is_left))
    assert world.left[0] == "timeout"
    assert "view-change" in world.reports


# holds CM-2
def test_engine_counts_forged_vote_and_goes_on() -> None:
    world = World("abcd")

    def say() -> None:
        leader_says(world, key="c")
        world.engine.on_message("c", b"\xff")

    asyncio.run(world.run_until(lambda: len(world.refused) == 2, say))
    assert world.refused == [("b", "bad-signature"), ("c", "not-canonical")]
    assert world.engine.failure is None


# holds CM-10
def test_engine_tells_its_replica_of_a_new_view_whose_leader_signed_forged_view_changes() -> None:
    world = World("abcd")
    change = ViewChange("c", 0, 1, 1, None, bytes(64))
    proposed = block(1, bytes(32), "abcd")
    signed = vote_bytes(CHAIN, 0, Step.PROPOSE, 1, 1, proposal_digest(proposed.header.digest(), (change,)))
    flawed = Propose("b", 1, 1, proposed, (change,), KEYS["b"].sign(signed).signature)
    world.engine.on_message("b", encode_message(flawed))
    assert world.refused == [("b", "bad-signature")]
    event = asyncio.run(world.engine._inbox.get())
    assert isinstance(event, Flawed)
    assert event.proposal == flawed


# holds FP-10
def test_engine_tells_everybody_of_a_new_fault_proof_once() -> None:
    world = World("abcd")
    raw = encode_message(Fault(fault_of_b().encode()))
    for member in ("c", "d"):
        world.engine.on_message(member, raw)
    assert world.sent == [("*", raw)]
    world.engine.on_message("c", encode_message(Fault(fault_of_b(7).encode())))
    assert world.refused == [("c", "bad-proof")]
    assert world.sent == [("*", raw)]


def test_engine_tells_everybody_of_a_fault_that_a_gateway_found() -> None:
    world = World("abcd")
    raw = fault_of_b().encode()
    for _ in range(2):
        world.engine.expose(raw)
    assert world.accused == [raw, raw]
    assert world.sent == [("*", encode_message(Fault(raw)))]


# holds FP-10
def test_engine_tells_everybody_of_a_fault_that_its_replica_found() -> None:
    world = World("abcd")

    def say() -> None:
        leader_says(world)
        other = replace(vote_of_b(), digest=b"\x01" * 32)
        signature = KEYS["b"].sign(other.signed_bytes(CHAIN)).signature
        world.engine.on_message("b", encode_message(replace(other, signature=signature)))

    asyncio.run(world.run_until(lambda: bool(world.accused), say))
    assert world.accused == [fault_of_b().encode()]
    assert ("*", encode_message(Fault(fault_of_b().encode()))) in world.sent


def test_engine_takes_genuine_vote_without_a_word() -> None:
    world = World("abcd")
    asyncio.run(world.run_until(lambda: bool(world.sent), lambda: leader_says(world)))
    assert world.refused == []


# holds VM-8
def test_engine_drops_what_is_of_an_epoch_that_it_does_not_know_and_blames_nobody() -> None:
    world = World("abcd")
    vote = replace(vote_of_b(), epoch=1)
    signed = replace(vote, signature=KEYS["b"].sign(vote.signed_bytes(CHAIN)).signature)
    assert world.engine.on_message("b", encode_message(signed))
    assert (world.refused, world.reports) == ([], ["unknown-epoch"])


def test_engine_leader_of_four_proposes_and_waits_for_the_others() -> None:
    world = World("abcd")
    asyncio.run(world.run_until(lambda: any(isinstance(decode_message(raw), Vote) for _, raw in world.sent)))
    kinds = [type(decode_message(raw)) for _, raw in world.sent]
    assert kinds.index(Propose) < kinds.index(Vote)
    assert world.stored == []


# holds FP-15
def test_engine_whose_execution_differs_tells_everybody_and_a_broken_rule_is_the_leaders_fault() -> None:
    proposed = block(1, GENESIS.digest, "abcd", "b")
    digest = proposed.header.digest()
    world = World("abcd")
    assert asyncio.run(world.engine._execute(proposed)) == Executed(digest, accepted=True)
    assert world.sent == []
    world.diverges = True
    assert asyncio.run(world.engine._execute(proposed)) == Executed(digest, accepted=False)
    assert [decode_message(raw) for _, raw in world.sent] == [Divergence(1, digest, sha256(b""), ())]
    world.breaks_rule = True
    answer = asyncio.run(world.engine._execute(proposed))
    assert answer == Executed(digest, accepted=False, fault="bad-transaction: replayed")
    assert len(world.sent) == 1


# holds BL-7
def test_engine_holds_the_answer_about_a_block_back_until_it_is_released() -> None:
    proposed = block(1, GENESIS.digest, "abcd", "b")
    digest = proposed.header.digest()
    world = World("abcd")
    world.held.add(digest)
    assert asyncio.run(world.engine._execute(proposed)) is None
    world.engine.release(digest)
    assert asyncio.run(world.engine._inbox.get()) == Executed(digest, accepted=True)
    world.held.clear()
    assert asyncio.run(world.engine._execute(proposed)) == Executed(digest, accepted=True)


# holds FP-16
def test_engine_leaves_out_what_is_blamed_and_says_so() -> None:
    world = World("abcd")
    proposed = replace(block(1, GENESIS.digest, "abcd", "b"), transactions=(b"poison",))
    digest = proposed.header.digest()
    world.executed[digest] = proposed, (bytes(32),)
    for member, result in (("b", bytes(32)), ("c", b"\x01" * 32), ("d", b"\x01" * 32)):
        said = Divergence(1, digest, sha256(result), (result[:16],))
        world.engine.on_message(member, encode_message(said))
    assert world.blamed == [sha256(b"poison")]
    assert world.reports == ["divergence-blamed"]


# holds FP-17
def test_engine_keeps_view_changes_before_it_stores_their_block() -> None:
    world = World("a")
    proposed = block(1, GENESIS.digest, "a")
    certificate = Certificate(Step.COMMIT, 0, 1, 3, proposed.header.digest(), ())
    for view_changes in ((), (ViewChangeSet(3, ()),)):
        world.engine._store(Apply(proposed, certificate, view_changes))
    assert [entry for entry in world.diary if entry.startswith("archive")] == ["archive 1: [3]"]
    assert len(world.stored) == 2


# holds CM-29
def test_engine_tells_its_replica_of_a_member_that_is_gone() -> None:
    world = World("abcd")
    world.engine.on_gone("b")
    event = asyncio.run(world.engine._inbox.get())
    assert event == Disconnected("b")
