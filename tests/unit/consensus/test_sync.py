from __future__ import annotations

from dataclasses import replace

from master.consensus.events import Apply, Effect, Seal, Send
from master.consensus.guard import SignerGuard
from master.consensus.messages import Blocks, GetBlocks, GetBody, Propose, Status, ViewChange
from tests.simulation.toy import EPOCH
from tests.unit.consensus.bench import Bench, Peers, applies, name, of, said, votes
from wire.block import Block
from wire.certificate import Certificate, Step


def chain(length: int) -> list[tuple[Block, Certificate]]:
    peers = Peers()
    for number in range(length):
        block = peers.ledger.block_of((b"%d" % number,), name(0), peers.ledger.head.time_ms + 1)
        peers.ledger.apply(block, peers.certificate(Step.COMMIT, block))
    return peers.ledger.blocks


CHAIN = chain(6)


def asked(effects: list[Effect]) -> list[str]:
    return [effect.member for effect in of(effects, Send) if isinstance(effect.message, GetBlocks)]


def behind(member: int = 2, height: int = 7) -> Bench:
    """Return a replica that was told of a higher head and has asked for blocks."""
    bench = Bench(1)
    assert asked(bench.hear(Status(height, 0, "new"), sender=member)) == []
    assert asked(bench.tick(200)) == [name(member)]
    return bench


# holds CM-15 CM-19
def test_replica_behind_asks_one_member_and_applies_in_order() -> None:
    bench = behind()
    effects = bench.hear(Blocks(tuple(CHAIN[:3])), sender=2)
    assert effects == [Seal(SignerGuard(floor=1)), Apply(*CHAIN[0])], "the floor of the guard comes first"
    assert bench.hear(Blocks(tuple(CHAIN[:3])), sender=2) == []
    assert applies(bench.applied(CHAIN[0][0])) == [CHAIN[1][0].header.digest()]
    assert applies(bench.applied(CHAIN[1][0])) == [CHAIN[2][0].header.digest()]
    assert said(bench.applied(CHAIN[2][0]), GetBlocks) == [GetBlocks(4)], "more from the same member, at once"
    assert applies(bench.hear(Blocks(tuple(CHAIN[3:])), sender=2)) == [CHAIN[3][0].header.digest()]


# holds CM-15
def test_replica_one_block_behind_waits_a_little_before_it_asks() -> None:
    bench = Bench(1)
    bench.hear(Status(2, 0, "new"), sender=2)
    assert asked(bench.tick(199)) == []
    bench.applied(CHAIN[0][0])
    assert asked(bench.tick(1_000)) == [], "the block has come by itself"


# holds CM-3
def test_replica_that_hears_votes_of_a_later_height_asks_their_sender() -> None:
    bench = Bench(1)
    bench.hear(bench.vote(3, Step.PREPARE, CHAIN[4][0], height=5), sender=3)
    assert asked(bench.tick(200)) == ["node-3"]


# holds CM-15
def test_sync_lying_height_costs_one_request_per_interval_and_silences_nobody() -> None:
    bench = Bench(1)
    bench.hear(Status(2**62, 0, "new"), sender=0)
    bench.hear(Status(7, 0, "new"), sender=3)
    order: list[str] = []
    for _ in range(40):
        bench.hear(Status(2**62, 0, "new"), sender=0)
        effects = bench.tick(100) + bench.hear(Blocks(()), sender=0)
        order += asked(effects)
    assert order.count("node-0") == 1, "once in as many intervals as there are members"
    assert order.count("node-3") == 1
    block = bench.block(b"one", time_ms=bench.now_ms)
    bench.hear(bench.propose(0, block))
    assert votes(bench.executed(block)) == [("PREPARE", 0)], "a height that is only claimed silences nobody"


def test_sync_answer_of_a_useless_member_lets_the_next_be_asked() -> None:
    bench = behind(0)
    bench.hear(Status(7, 0, "new"), sender=3)
    assert bench.hear(Blocks(()), sender=0) != []
    assert asked(bench.tick(0)) == []
    bench = behind(0)
    bench.hear(Status(7, 0, "new"), sender=3)
    assert asked(bench.tick(999)) == [], "one request at a time"
    assert asked(bench.tick(1)) == ["node-3"]
    assert asked(bench.tick(1_000)) == []
    assert applies(bench.hear(Blocks(tuple(CHAIN[:1])), sender=0)) != [], "a late answer is an answer"


# holds CM-15
def test_sync_blocks_that_nobody_asked_for_are_dropped() -> None:
    bench = Bench(1)
    assert bench.hear(Blocks(tuple(CHAIN)), sender=2) == []
    bench = behind(2)
    assert bench.hear(Blocks(tuple(CHAIN)), sender=3) == []


# holds CM-15
def test_sync_blocks_that_do_not_follow_are_dropped() -> None:
    block, certificate = CHAIN[0]
    other = Block(replace(block.header, parent=bytes(32)), block.transactions)
    pairs = [
        CHAIN[1],
        (block, replace(certificate, height=2)),
        (block, replace(certificate, epoch=EPOCH + 1)),
        (block, CHAIN[1][1]),
        (other, replace(certificate, digest=other.header.digest())),
        (Block(replace(block.header, epoch=EPOCH + 1), block.transactions), certificate),
    ]
    for pair in pairs:
        assert applies(behind().hear(Blocks((pair,)), sender=2)) == []
    assert applies(behind().hear(Blocks((pairs[0], CHAIN[0])), sender=2)) == [block.header.digest()]


def test_sync_blocks_wait_while_another_is_applied() -> None:
    bench = behind()
    block = CHAIN[0][0]
    bench.state.bodies[block.header.digest()] = block
    assert applies(bench.hear_all(*(bench.vote(index, Step.COMMIT, block) for index in (0, 2, 3)))) != []
    assert bench.hear(Blocks(tuple(CHAIN[:2])), sender=2) == []
    assert applies(bench.applied(block)) == [CHAIN[1][0].header.digest()]


def test_sync_waiting_blocks_are_not_asked_for_again() -> None:
    bench = Bench(1)
    bench.replica._sync._waiting = list(CHAIN[:1])
    bench.hear(Status(7, 0, "new"), sender=2)
    assert asked(bench.tick(200)) == []


# holds CM-14
def test_status_of_another_height_is_not_answered() -> None:
    bench = Bench(1)
    bench.prepare(bench.block(b"one"))
    assert of(bench.hear(Status(2, 0, "new"), sender=2), Send) == []
    bench.applied(bench.block(b"one"))
    assert of(bench.hear(Status(1, 0, "new"), sender=3), Send) == []


# holds CM-14
def test_status_is_answered_at_most_twice_per_interval() -> None:
    bench = Bench(1)
    bench.prepare(bench.block(b"one"))
    status = Status(1, 0, "new")
    assert of(bench.hear(status, sender=2), Send)
    assert of(bench.hear(status, sender=2), Send) == []
    assert of(bench.hear(status, sender=3), Send)
    bench.now_ms += 500
    assert of(bench.hear(status, sender=2), Send)


# holds CM-14
def test_status_answer_brings_what_the_phase_lacks() -> None:
    def answer(status: Status, sender: int) -> list[Effect]:
        bench = Bench(1)
        bench.prepare(bench.block(b"one"))
        return bench.hear(status, sender=sender)

    for phase, proposals, count in (("new", 1, 4), ("proposed", 0, 4), ("prepared", 0, 2)):
        effects = answer(Status(1, 0, phase), 0)
        assert len(said(effects, Propose)) == proposals
        assert len(votes(effects)) == count - (1 if count > 2 else 0), "own two and the third of the certificate"
    assert votes(answer(Status(1, 5, "new"), 3)) == [("PREPARE", 0), ("COMMIT", 0)], "it has left for a higher view"


# holds CM-14
def test_status_answer_forwards_view_changes_to_a_lower_view_and_own_to_the_same() -> None:
    bench = Bench(1)
    bench.go_to(3)
    changes = said(bench.hear(Status(1, 0, "new"), sender=3), ViewChange)
    assert [change.member for change in changes] == ["node-0", "node-1", "node-2"]
    changes = said(bench.hear(Status(1, 3, "new"), sender=2), ViewChange)
    assert [change.member for change in changes] == ["node-1"]


def test_status_answer_keeps_a_certificate_of_a_lower_view_back() -> None:
    bench = Bench(1)
    bench.prepare(bench.block(b"one"))
    bench.go_to(2)
    assert votes(bench.hear(Status(1, 2, "new"), sender=3)) == []


def test_sync_body_without_anybody_to_ask_is_not_asked_for() -> None:
    bench = Bench(0, size=1)
    sync, digest = bench.replica._sync, CHAIN[0][0].header.digest()
    assert sync.ask_body(digest, ("node-0",), bench.state, bench.now) == []
    assert said(sync.ask_body(digest, ("node-0", "node-1"), bench.state, bench.now), GetBody) == [GetBody(digest)]
