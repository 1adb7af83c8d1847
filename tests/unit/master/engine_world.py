"""What the engine's tests share: one replica's shell in a world of lists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from nacl.signing import SigningKey

from kit.clock import FakeClock
from kit.exitcodes import StorageError
from master.consensus.events import (
    Build,
    Head,
    Now,
)
from master.consensus.guard import SignerGuard
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import (
    ViewChangeSet,
    Vote,
)
from master.consensus.state import Settings
from master.engine import Engine
from master.ledger.faults import FaultRefusedError
from master.recorder import RecordedReplica
from master.seams import BlockRefusedError, Hooks
from wire.block import Block
from wire.certificate import Certificate, Step, Validator, ValidatorSet, vote_bytes
from wire.faultproof import FaultProof, Statement, decode_fault_proof
from wire.header import ZERO_DIGEST, Header, tx_root
from wire.merkle import EMPTY_HEAD
from wire.tx import SignedTx

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
            async with asyncio.timeout(60):
                while not condition():  # noqa: ASYNC110 any condition
                    await asyncio.sleep(0.002)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def vote_of_b(key: str = "b") -> Vote:
    """Return a vote of member b, who leads nothing here, or of a forger."""
    vote = Vote("b", Step.PREPARE, 0, 1, 0, bytes(32), b"")
    return replace(vote, signature=KEYS[key].sign(vote.signed_bytes(CHAIN)).signature)


def leader_says(world: World, *, key: str = "b") -> None:
    """Let member b, who leads nothing here, or a forger send a vote."""
    world.engine.on_message("b", encode_message(vote_of_b(key)))


def fault_of_b(height: int = 1) -> FaultProof:
    """Return the proof that member b prepared two blocks."""
    first, second = (
        Statement(
            Step.PREPARE, 0, digest, KEYS["b"].sign(vote_bytes(CHAIN, 0, Step.PREPARE, height, 0, digest)).signature
        )
        for digest in (bytes(32), b"\x01" * 32)
    )
    return FaultProof(CHAIN, 0, height, "b", first, second)
