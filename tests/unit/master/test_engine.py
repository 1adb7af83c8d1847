"""The replica's shell: effects in order, the disk before the wire, failures that stop signing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from nacl.signing import SigningKey

from kit.clock import FakeClock
from kit.exitcodes import ConfigurationError, DiskFullError, StorageError
from master import answers, engine
from master.consensus.events import (
    Apply,
    Build,
    Connected,
    Disconnected,
    Executed,
    Flawed,
    Head,
    Now,
    Received,
    Send,
    Tick,
)
from master.consensus.fault_messages import Divergence, Fault
from master.consensus.guard import SignerGuard
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import (
    Blocks,
    GetBlocks,
    Gossip,
    Propose,
    Status,
    ViewChange,
    ViewChangeSet,
    Vote,
    proposal_digest,
)
from master.consensus.state import Settings
from master.engine import DECODED_INLINE_BYTES, Engine
from master.inbox import MEMBER_BYTES_MAX
from master.ledger.faults import FaultRefusedError
from master.recorder import RecordedReplica
from master.seams import BlockRefusedError, Hooks, Restart
from wire.block import Block
from wire.certificate import Certificate, Step, Validator, ValidatorSet, vote_bytes
from wire.faultproof import FaultProof, Statement, decode_fault_proof
from wire.header import ZERO_DIGEST, Header, tx_root
from wire.merkle import EMPTY_HEAD
from wire.tx import SignedTx
from wire.types import sha256

NOW_MS = 1_800_000_000_000
KEYS = {name: SigningKey(name.encode() * 32) for name in "abcd"}
CHAIN = "demo-00000000"
GENESIS = Head(0, bytes(32), NOW_MS - 1000, None)


def validators(names: str) -> ValidatorSet:
    return ValidatorSet(tuple(Validator(name, KEYS[name].verify_key.encode(), bytes(32)) for name in names))


def block(height: int, parent: bytes, members: str, proposer: str = "a") -> Block:
    members_hash = validators(members).digest()
    header = Header(
        chain=CHAIN,
        epoch=0,
        height=height,
        proposer=proposer,
        time_ms=NOW_MS + height,
        tx_count=0,
        parent=parent,
        tx_root=tx_root(()),
        outcome_root=ZERO_DIGEST,
        state_root=ZERO_DIGEST,
        history_root=ZERO_DIGEST,
        validators_hash=members_hash,
        next_validators_hash=members_hash,
        code_table_hash=ZERO_DIGEST,
        fault_proof_root=EMPTY_HEAD,
    )
    return Block(header, ())


@dataclass
class World:
    """Everything around an engine, faked, with one diary of what happened in which order."""

    members: str
    diary: list[str] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    stored: list[tuple[Block, Certificate]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    gossiped: list[bytes] = field(default_factory=list)
    accused: list[bytes] = field(default_factory=list)
    blamed: list[bytes] = field(default_factory=list)
    executed: dict[bytes, tuple[Block, Sequence[bytes]]] = field(default_factory=dict)
    breaks_rule: bool = False
    is_disk_full: bool = False
    diverges: bool = False
    is_pending: bool = True

    def __post_init__(self) -> None:
        settings = Settings("a", CHAIN, 0, validators(self.members), block_interval_ms=0)
        self.clock = FakeClock(NOW_MS)
        self.replica = RecordedReplica(lambda data: KEYS["a"].sign(data).signature, None)
        self.boot(settings, GENESIS, SignerGuard())
        self.clock.advance(settings.timeout_ms)  # nobody will tell what this key has signed
        self.held: set[bytes] = set()
        hooks = Hooks(
            applied=lambda applied: self.diary.append(f"applied {applied.header.height}"),
            gossip=self.gossiped.extend,
            report=lambda code, _: self.reports.append(code),
            refused_message=lambda member, error: self.refused.append((member, error.code)),
            is_pending=lambda: self.is_pending,
            incident=self.incidents.append,
            view_left=self.left.append,
            accuse=self.accuse,
            blamed=self.blamed.extend,
            holds_back=lambda executed: executed.header.digest() in self.held,
        )
        self.engine = Engine(self.replica, settings, self, self, self, self, hooks, self.clock)

    def boot(self, settings: Settings, head: Head, guard: SignerGuard) -> None:
        now = Now(self.clock.now_ms(), self.clock.monotonic_ms())
        self.replica.boot(settings=settings, head=head, now=now, guard=guard, nonce=bytes(32))

    def accuse(self, proof: bytes) -> bool:
        """Take a proof once; height 7 stands for one that does not verify."""
        if decode_fault_proof(proof).height != 1:
            raise FaultRefusedError("it proves nothing")
        self.accused.append(proof)
        return self.accused.count(proof) == 1

    # ---- LedgerSeam
    def candidates(self) -> Sequence[SignedTx]:
        return ()

    def build(self, build: Build, candidates: Sequence[SignedTx], wall_ms: int) -> Block | None:
        assert (tuple(candidates), wall_ms) == ((), self.clock.now_ms())
        parent = self.stored[-1][0].header.digest() if self.stored else GENESIS.digest
        return block(build.height, parent, self.members) if self.is_pending else None

    def archive(self, height: int, view_changes: Sequence[ViewChangeSet]) -> None:
        self.diary.append(f"archive {height}: {[entry.view for entry in view_changes]}")

    def results(self, digest: bytes) -> tuple[Block, Sequence[bytes]] | None:
        return self.executed.get(digest)

    def execute(self, executed: Block) -> None:
        self.diary.append(f"execute {executed.header.height}")
        self.executed[executed.header.digest()] = executed, ()
        if self.breaks_rule:
            raise BlockRefusedError("bad-transaction: replayed", diverged=False)
        if self.diverges:
            raise BlockRefusedError("state-root: another state here")

    def apply(self, final: Block, certificate: Certificate) -> Head:
        if self.diverges:
            raise BlockRefusedError("state-root: another state here")
        self.stored.append((final, certificate))
        self.is_pending = len(self.stored) < 3
        header = final.header
        return Head(header.height, header.digest(), header.time_ms, header.proposer)

    def committed(self, height: int) -> tuple[Block, Certificate] | None:
        return self.stored[height - 1] if height <= len(self.stored) else None

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        return validators(self.members) if epoch == 0 else None

    # ---- RecordLog
    def append(self, records: Iterable[bytes]) -> None:
        if self.is_disk_full:
            raise StorageError("wal: No space left on device")
        self.diary.append(f"persist {len(list(records))}")

    def clear(self) -> None:
        self.diary.append("clear")

    # ---- Guard
    def save(self, guard: SignerGuard) -> None:
        self.diary.append(f"seal {guard.height}")

    # ---- Network
    def send(self, member: str, message: bytes) -> None:
        self.sent.append((member, message))

    def broadcast(self, message: bytes) -> None:
        self.sent.append(("*", message))
        self.diary.append(f"send {type(decode_message(message)).__name__}")

    async def run_until(self, condition: Callable[[], bool], act: Callable[[], object] = lambda: None) -> None:
        task = asyncio.create_task(self.engine.run(lambda: ()))
        try:
            act()
            async with asyncio.timeout(10):
                while not condition():  # noqa: ASYNC110 any condition
                    await asyncio.sleep(0.002)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


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


# holds CM-8
def test_engine_with_full_disk_sends_no_vote_and_says_why() -> None:
    world = World("a")
    world.is_disk_full = True
    asyncio.run(world.run_until(lambda: world.engine.failure is not None))
    assert "No space left" in (world.engine.failure or "")
    assert not [entry for entry in world.diary if entry in ("send Propose", "send Vote")]
    assert "storage" in world.reports


class Disk:
    """A disk that is full until it is told otherwise, behind the fakes of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checks = 0
        self.boots = 0
        self.is_full = True
        self.full_from = "append"
        self.records: list[bytes] = []
        self._append, self._save, self._apply = world.append, world.save, world.apply
        world.append = self.append  # type: ignore[method-assign]
        world.save = self.save  # type: ignore[method-assign]
        world.apply = self.apply  # type: ignore[method-assign]
        world.engine.restart = Restart(self.check, self.boot)

    def fill(self, step: str) -> None:
        if self.is_full and step == self.full_from:
            raise DiskFullError("No space left on device")

    def append(self, records: Iterable[bytes]) -> None:
        held = list(records)
        self.fill("append")
        self.records += held
        self._append(held)

    def save(self, guard: SignerGuard) -> None:
        self.fill("save")
        self._save(guard)

    def apply(self, final: Block, certificate: Certificate) -> Head:
        self.fill("apply")
        self.records.clear()
        return self._apply(final, certificate)

    def check(self) -> Sequence[bytes]:
        self.checks += 1
        self.world.diary.append("check")
        if self.checks < 3:
            raise DiskFullError("still no space left")
        self.is_full = False
        return list(self.records)

    def boot(self) -> None:
        self.boots += 1
        settings = self.world.engine._settings
        self.world.boot(settings, GENESIS, SignerGuard())
        self.world.clock.advance(settings.timeout_ms)


# holds EL-7
@pytest.mark.parametrize("full_from", ["append", "save", "apply"])
def test_engine_on_a_full_disk_signs_nothing_until_there_is_room_and_begins_anew(
    full_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ROOM_RETRY_S", 0.002)
    world = World("a")
    disk = Disk(world)
    disk.full_from = full_from
    failures: set[str | None] = set()

    def is_done() -> bool:
        failures.add(world.engine.failure)
        return "applied 1" in world.diary

    asyncio.run(world.run_until(is_done))
    assert (disk.checks, disk.boots) == (3, 1)
    assert failures >= {"No space left on device", None}
    assert world.engine.failure is None
    full, room = world.diary.index("check"), len(world.diary) - world.diary[::-1].index("check")
    assert "send Vote" not in world.diary[full:room]
    signed_before = [entry for entry in world.diary[:full] if entry in ("send Propose", "send Vote")]
    assert bool(signed_before) == (full_from == "apply")
    assert world.reports[:1] == ["disk-full"]
    assert world.reports.count("disk-room") == 1
    assert [entry for entry in world.diary[room:] if entry.startswith(("persist", "seal", "applied"))]


# holds EL-7
def test_engine_whose_disk_fails_while_it_waits_for_room_stays_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ROOM_RETRY_S", 0.002)
    world = World("a")
    disk = Disk(world)

    def damaged() -> Sequence[bytes]:
        raise StorageError("the log is damaged")

    world.engine.restart = Restart(damaged, disk.boot)
    asyncio.run(world.engine.run(lambda: ()))
    assert world.engine.failure == "the log is damaged"
    assert world.reports == ["disk-full", "storage"]
    assert disk.boots == 0


# holds EL-8
def test_engine_counts_the_views_that_are_left_by_their_reason() -> None:
    world = World("abcd")

    def is_left() -> bool:
        world.clock.advance(200)
        return bool(world.left)

    asyncio.run(world.run_until(is_left))
    assert world.left[0] == "timeout"
    assert "view-change" in world.reports


def test_engine_that_has_stopped_forgets_what_waits() -> None:
    world = World("abcd")
    world.engine.post(Connected("b"))
    asyncio.run(world.engine.run(lambda: [b"\xff"]))
    world.engine.post(Connected("b"))
    world.engine.wake()
    assert world.reports == ["storage"]
    assert not world.engine._inbox._turns


def vote_of_b(key: str = "b") -> Vote:
    """Return a vote of member b, who leads nothing here, or of a forger."""
    vote = Vote("b", Step.PREPARE, 0, 1, 0, bytes(32), b"")
    return replace(vote, signature=KEYS[key].sign(vote.signed_bytes(CHAIN)).signature)


def leader_says(world: World, *, key: str = "b") -> None:
    """Let member b, who leads nothing here, or a forger send a vote."""
    world.engine.on_message("b", encode_message(vote_of_b(key)))


# holds EL-6
def test_engine_with_a_mistake_of_ours_signs_nothing_more_and_keeps_the_incident() -> None:
    world = World("a")

    def break_down(final: Block, certificate: Certificate) -> Head:
        raise KeyError((final.header.height, certificate.view))

    world.apply = break_down  # type: ignore[method-assign]
    asyncio.run(world.engine.run(lambda: ()))
    assert world.engine.failure is not None
    assert "KeyError" in world.engine.failure
    assert world.incidents == [world.engine.failure]
    assert world.reports == ["unexpected"]


# holds GV-8
def test_engine_whose_software_lacks_the_next_code_signs_nothing_more_and_lets_the_program_end() -> None:
    world = World("a")

    def end(applied: Block) -> None:
        raise ConfigurationError(f"block {applied.header.height + 1} is executed by other code")

    world.engine._hooks = replace(world.engine._hooks, applied=end)
    with pytest.raises(ConfigurationError, match="block 2 is executed by other code"):
        asyncio.run(world.engine.run(lambda: ()))
    assert len(world.stored) == 1
    assert (world.reports, world.incidents) == (["code-due"], [])


def test_engine_with_damaged_log_signs_nothing_and_says_why() -> None:
    world = World("a")
    asyncio.run(world.engine.run(lambda: [b"\xff"]))
    assert world.engine.failure is not None
    assert "write-ahead log is damaged" in world.engine.failure
    assert (world.reports, world.stored) == (["storage"], [])
    assert not any(entry.startswith("send") for entry in world.diary)


# holds CM-8
def test_engine_whose_log_cannot_be_read_signs_nothing_and_goes_on_serving() -> None:
    world = World("a")

    def read() -> list[bytes]:
        raise StorageError("the write-ahead log cannot be read: Input/output error")

    asyncio.run(world.engine.run(read))
    assert world.engine.failure == "the write-ahead log cannot be read: Input/output error"
    assert (world.reports, world.stored, world.sent) == (["storage"], [], [])


def test_engine_messages_beyond_the_bytes_that_may_wait_are_dropped_and_reported() -> None:
    world = World("abcd")
    vote = vote_of_b()
    message = encode_message(vote)
    size = len(message)
    world.engine.post(Received("b", vote), MEMBER_BYTES_MAX - size, "b")
    world.engine.on_message("b", message)
    assert world.reports == []
    world.engine.on_message("b", message)
    assert world.reports == ["event-dropped"]
    world.engine.post(Connected("b"))
    assert world.reports == ["event-dropped"]


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


def fault_of_b(height: int = 1) -> FaultProof:
    """Return the proof that member b prepared two blocks."""
    first, second = (
        Statement(
            Step.PREPARE, 0, digest, KEYS["b"].sign(vote_bytes(CHAIN, 0, Step.PREPARE, height, 0, digest)).signature
        )
        for digest in (bytes(32), b"\x01" * 32)
    )
    return FaultProof(CHAIN, 0, height, "b", first, second)


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


# holds CM-16
def test_engine_certified_block_that_differs_here_stops_signing() -> None:
    world = World("abcd")
    world.is_pending = False
    world.diverges = True
    final = block(1, GENESIS.digest, "abcd", proposer="a")
    signed = vote_bytes(CHAIN, 0, Step.COMMIT, 1, 0, final.header.digest())
    signatures = tuple((name, KEYS[name].sign(signed).signature) for name in "bcd")
    certificate = Certificate(Step.COMMIT, 0, 1, 0, final.header.digest(), signatures)
    message = encode_message(Blocks(((final, certificate),)))

    def answered() -> bool:
        # blocks count only as an answer, and a node asks once another stays ahead of it
        world.clock.advance(50)
        if any(isinstance(decode_message(raw), GetBlocks) for _, raw in world.sent):
            world.engine.on_message("b", message)
        return world.engine.failure is not None

    ahead = encode_message(Status(2, 0, "new"))
    asyncio.run(world.run_until(answered, lambda: world.engine.on_message("b", ahead)))
    assert "came out differently" in (world.engine.failure or "")
    assert world.stored == []


def test_engine_answers_get_blocks_with_what_is_stored() -> None:
    world = World("a")

    async def run() -> None:
        await world.run_until(lambda: len(world.stored) == 3)
        world.engine.on_message("b", encode_message(GetBlocks(2)))
        world.engine.on_message("b", encode_message(GetBlocks(1)))
        while not [to for to, _ in world.sent if to == "b"]:  # noqa: ASYNC110 the answer comes from a thread
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.05)

    asyncio.run(run())
    answers = [decode_message(raw) for to, raw in world.sent if to == "b"]
    assert len(answers) == 1, "one answer to a member at a time"
    assert isinstance(answers[0], Blocks)
    assert [entry.header.height for entry, _ in answers[0].blocks] == [2, 3]


def test_engine_hears_heights_and_gossip() -> None:
    world = World("abcd")
    world.engine.on_message("b", encode_message(Status(8, 0, "new")))
    world.engine.on_message("b", encode_message(Gossip((b"tx",))))
    assert world.engine.heights == {"b": 7}
    assert world.gossiped == [b"tx"]


# holds TP-6
def test_engine_opens_long_messages_on_another_thread_and_short_ones_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    opened = Engine._opened

    def watched(engine: Engine, raw: bytes) -> object:
        threads.append(threading.current_thread().name)
        return opened(engine, raw)

    monkeypatch.setattr(Engine, "_opened", watched)
    world = World("abcd")
    long_one = encode_message(Gossip((bytes(DECODED_INLINE_BYTES),)))

    async def run() -> None:
        assert await world.engine.receive("b", encode_message(Gossip((b"tx",))))
        assert await world.engine.receive("b", long_one)
        assert not await world.engine.receive("b", long_one + b"\x00")

    asyncio.run(run())
    assert threads[0] == threading.main_thread().name
    assert [name.startswith("decode") for name in threads] == [False, True, True]
    assert world.gossiped == [b"tx", bytes(DECODED_INLINE_BYTES)]
    assert [member for member, _ in world.refused] == ["b"]


# holds TP-5
def test_engine_gossip_costs_by_its_transactions_and_lets_others_have_their_turn() -> None:
    world = World("abcd")
    transactions = tuple(number.to_bytes(2, "big") * 40 for number in range(1000))
    turns: list[int] = []

    async def run() -> None:
        receiving = asyncio.create_task(world.engine.receive("b", encode_message(Gossip(transactions))))
        while not receiving.done():
            turns.append(len(world.gossiped))
            await asyncio.sleep(0)
        assert await receiving == 1 + 1000 // 8

    asyncio.run(run())
    assert world.gossiped == list(transactions)
    assert {256, 512, 768} <= set(turns)


# holds TP-8
def test_engine_asked_for_a_body_without_end_sends_what_its_budget_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LONG_BYTES", 0)
    monkeypatch.setattr(answers, "BURST_BYTES", 50)
    monkeypatch.setattr(answers, "BYTES_PER_S", 50)
    world = World("abcd")
    size = len(encode_message(Gossip((b"tx",))))
    assert size <= 50 < 2 * size

    async def run() -> None:
        for _ in range(2):
            await world.engine._perform(Send("b", Gossip((b"tx",))))
        await world.engine._perform(Send("c", Gossip((b"tx",))))
        world.clock.advance(1000)
        await world.engine._perform(Send("b", Gossip((b"tx",))))

    asyncio.run(run())
    assert [member for member, _ in world.sent] == ["b", "c", "b"]
    assert world.reports == ["answer-refused"]


# holds SN-8
def test_engine_asks_for_no_blocks_while_a_state_is_fetched() -> None:
    world = World("abcd")
    is_fetching = [True, False]
    hooks = replace(world.engine._hooks, withholds=lambda message: isinstance(message, GetBlocks) and is_fetching[0])
    world.engine._hooks = hooks

    async def run() -> None:
        await world.engine._perform(Send("b", GetBlocks(1)))
        await world.engine._perform(Send("b", Gossip((b"tx",))))
        del is_fetching[0]
        await world.engine._perform(Send("c", GetBlocks(1)))

    asyncio.run(run())
    assert [(member, decode_message(raw)) for member, raw in world.sent] == [
        ("b", Gossip((b"tx",))),
        ("c", GetBlocks(1)),
    ]


# holds TP-8
def test_engine_asked_for_blocks_without_end_answers_as_fast_as_its_budget_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("a")
    waits: list[str] = []

    def wait_s(_: object, member: str, size_bytes: int, now_ms: int) -> float:
        # three blocks without transactions are short, but no answer with blocks is free
        assert (size_bytes > answers.LONG_BYTES, now_ms) == (True, world.clock.monotonic_ms())
        waits.append(member)
        return 0.01 if len(waits) % 2 else 0

    monkeypatch.setattr(answers.AnswerBudget, "wait_s", wait_s)

    async def run() -> None:
        await world.run_until(lambda: len(world.stored) == 3)
        world.engine.on_message("b", encode_message(GetBlocks(1)))
        async with asyncio.timeout(10):
            while not [to for to, _ in world.sent if to == "b"]:  # noqa: ASYNC110 the answer comes from a thread
                await asyncio.sleep(0.002)

    asyncio.run(run())
    assert waits == ["b", "b"]


def test_engine_gossips_to_all_or_to_one_and_never_nothing() -> None:
    world = World("abcd")
    world.engine.gossip([])
    world.engine.gossip([b"tx"])
    world.engine.gossip([b"tx"], "c")
    assert [(member, decode_message(raw)) for member, raw in world.sent] == [
        ("*", Gossip((b"tx",))),
        ("c", Gossip((b"tx",))),
    ]


def test_engine_full_event_queue_drops_and_reports() -> None:
    world = World("abcd")
    for _ in range(20_000):
        world.engine.post(Tick(pending=False))
    world.engine.wake()
    world.engine.wake()
    assert world.reports == ["event-dropped", "event-dropped"]


def test_engine_is_woken_once_however_many_transactions_come() -> None:
    world = World("abcd")
    for _ in range(20_001):
        world.engine.wake()
    assert world.reports == []


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
