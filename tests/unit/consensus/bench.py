"""One real replica between peers whose every word a test chooses."""

from __future__ import annotations

from typing import Any, TypeVar

from master.consensus.events import (
    Applied,
    Apply,
    Broadcast,
    Effect,
    Event,
    Executed,
    Head,
    Now,
    Persist,
    Received,
    Report,
    Seal,
    Send,
    Tick,
)
from master.consensus.guard import SignerGuard
from master.consensus.messages import Message, Propose, ViewChange, Vote, prepared_digest, proposal_digest
from master.consensus.records import Record, decode_record
from master.consensus.replica import Replica
from master.consensus.state import HeightState, Settings
from tests.simulation.keys import KeyRing
from tests.simulation.toy import CHAIN, EPOCH, GENESIS, Ledger
from wire.block import Block
from wire.certificate import Certificate, Step, build_certificate, vote_bytes
from wire.types import Digest, sha256

T = TypeVar("T")
START_MS = 50_000
NONCE = sha256(b"this start")
FRESH = SignerGuard()


def name(index: int) -> str:
    """Return the member of that place; at height 1 node-v leads view v."""
    return f"node-{index}"


class Peers:
    """Everybody's keys."""

    def __init__(self, size: int = 4) -> None:
        self.keys = KeyRing(size, is_keyed=True)
        self.ledger = Ledger(self.keys.validators)

    def sign(self, index: int, step: Step, height: int, view: int, digest: Digest, epoch: int = EPOCH) -> bytes:
        return self.keys.signer(name(index))(vote_bytes(CHAIN, epoch, step, height, view, digest))

    def block(self, *transactions: bytes, proposer: int = 0, time_ms: int = 0) -> Block:
        return self.ledger.block_of(transactions, name(proposer), GENESIS.time_ms + (time_ms or START_MS))

    def vote(self, index: int, step: Step, block: Block, view: int = 0, height: int = 1) -> Vote:
        digest = block.header.digest()
        return Vote(name(index), step, EPOCH, height, view, digest, self.sign(index, step, height, view, digest))

    def certificate(self, step: Step, block: Block, view: int = 0, signers: tuple[int, ...] = (0, 1, 2)) -> Certificate:
        height, digest = block.header.height, block.header.digest()
        votes = [(name(index), self.sign(index, step, height, view, digest)) for index in signers]
        return build_certificate(step, EPOCH, height, view, digest, votes)

    def change(
        self, index: int, view: int, prepared: Certificate | None = None, height: int = 1, epoch: int = EPOCH
    ) -> ViewChange:
        signature = self.sign(index, Step.VIEW_CHANGE, height, view, prepared_digest(prepared), epoch)
        return ViewChange(name(index), epoch, height, view, prepared, signature)

    def propose(self, index: int, block: Block, view: int = 0, changes: tuple[ViewChange, ...] = ()) -> Propose:
        height = block.header.height
        digest = proposal_digest(block.header.digest(), changes)
        signature = self.sign(index, Step.PROPOSE, height, view, digest, block.header.epoch)
        return Propose(name(index), height, view, block, changes, signature)


class Bench(Peers):
    """A replica that the test drives by hand."""

    def __init__(
        self,
        me: int = 1,
        size: int = 4,
        head: Head = GENESIS,
        *,
        guard: SignerGuard | None = FRESH,
        is_settled: bool = True,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(size)
        validators = settings.pop("validators", self.keys.validators)
        chosen: dict[str, Any] = {"heartbeat_ms": 1_000_000, "timeout_ms": 1_000, "timeout_max_ms": 3_000, **settings}
        self.settings = Settings(name(me), CHAIN, EPOCH, validators, **chosen)
        self.now_ms = START_MS
        self.head = head
        self.guard = guard
        """What is on disk; None when there is none."""
        self.is_settled = is_settled
        self.waiting_ms = 0
        self.replica = self.boot()
        self.log: list[Record] = []
        self.first: list[Effect] = []
        """What it did when it was born again."""

    def boot(self) -> Replica:
        """Return a new life of the replica; unless the test is about that, its start is settled."""
        sign = self.keys.signer(self.settings.member)
        replica = Replica(self.settings, self.head, sign, self.now, guard=self.guard, nonce=NONCE)
        if self.is_settled:
            replica._voice._recovery._settled_ms = replica._voice._recovery._ask_ms = 0
            replica._voice._recovery._others = []
        return replica

    @property
    def now(self) -> Now:
        return Now(GENESIS.time_ms + self.now_ms, self.now_ms)

    @property
    def state(self) -> HeightState:
        return self.replica._height

    def feed(self, event: Event) -> list[Effect]:
        """Take one event; keep what reaches the disk and check that own words reach it first."""
        return self.note(self.replica.step(event, self.now))

    def reboot(self, *records: Record) -> None:
        """Crash and start again from the log, and from further records."""
        self.replica = self.boot()
        log, self.log = [*self.log, *records], []
        self.first = self.note(self.replica.restore(log, self.now))

    def note(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Persist):
                self.log += [decode_record(raw) for raw in effect.records]
            elif isinstance(effect, Seal):
                self.guard = effect.guard
        return effects

    def hear(self, message: Message, sender: int | None = None) -> list[Effect]:
        """Receive a message over the connection of its author, or of ``sender``."""
        author = getattr(message, "member", name(0))
        return self.feed(Received(author if sender is None else name(sender), message))

    def hear_all(self, *messages: Message) -> list[Effect]:
        return [effect for message in messages for effect in self.hear(message)]

    def tick(self, after_ms: int = 0, *, pending: bool = False) -> list[Effect]:
        self.now_ms += after_ms
        return self.feed(Tick(pending, self.waiting_ms))

    def executed(self, block: Block, *, accepted: bool = True) -> list[Effect]:
        return self.feed(Executed(block.header.digest(), accepted))

    def applied(self, block: Block) -> list[Effect]:
        header = block.header
        self.head = Head(header.height, header.digest(), header.time_ms, header.proposer)
        return self.feed(Applied(self.head, self.waiting_ms))

    def prepare(self, block: Block, view: int = 0) -> list[Effect]:
        """Bring the replica to its COMMIT for a block that node-0 proposed in view 0."""
        effects = self.hear(self.propose(view, block, view))
        effects += self.executed(block)
        others = [index for index in range(len(self.keys.validators)) if name(index) != self.settings.member]
        return effects + self.hear_all(*(self.vote(index, Step.PREPARE, block, view) for index in others))

    def go_to(self, view: int) -> list[Effect]:
        """Let f+1 others pull the replica into a view."""
        others = [index for index in range(len(self.keys.validators)) if name(index) != self.settings.member]
        return self.hear_all(*(self.change(index, view) for index in others[:2]))


def kinds(effects: list[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def of(effects: list[Effect], kind: type[T]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def said(effects: list[Effect], kind: type[T]) -> list[T]:
    """Return what was broadcast or sent, of one kind of message."""
    messages = [effect.message for effect in effects if isinstance(effect, Broadcast | Send)]
    return [message for message in messages if isinstance(message, kind)]


def votes(effects: list[Effect]) -> list[tuple[str, int]]:
    return [(vote.step.name, vote.view) for vote in said(effects, Vote)]


def reports(effects: list[Effect]) -> list[str]:
    return [report.code for report in of(effects, Report)]


def applies(effects: list[Effect]) -> list[Digest]:
    return [effect.block.header.digest() for effect in of(effects, Apply)]
