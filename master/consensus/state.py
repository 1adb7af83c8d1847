"""What a replica is told once, and what it knows about the height that is being decided."""

from __future__ import annotations

from dataclasses import dataclass, field

from master.consensus.checks import Rules, next_base
from master.consensus.events import Head, Received
from master.consensus.messages import Message, Propose, ViewChange, Vote, proposal_digest
from master.consensus.records import Accepted, Record, Signed, height_of
from master.consensus.votes import ViewChangeBook, VoteBook
from wire.block import Block
from wire.certificate import Certificate, Step, ValidatorSet
from wire.types import Digest


@dataclass(frozen=True, slots=True)
class Settings:
    """What a replica is told once; all times in milliseconds."""

    member: str
    chain: str
    epoch: int
    validators: ValidatorSet
    rotation_blocks: int = 100
    block_interval_ms: int = 30
    heartbeat_ms: int = 30_000
    skew_ms: int = 1_000
    timeout_ms: int = 3_000
    """How long a view may take before it is left, doubled per view."""
    timeout_max_ms: int = 30_000
    status_interval_ms: int = 1_000
    pull_after_ms: int = 200
    """How long others may be one height ahead before their blocks are asked for."""
    bodies_max: int = 32


@dataclass(slots=True)
class HeightState:
    """Everything about the height that is being decided; made anew when it is applied."""

    rules: Rules
    votes: VoteBook
    view: int = 0
    is_changing: bool = False
    """The view was announced by VIEW-CHANGE and has no accepted proposal yet."""
    proposal: Propose | None = None
    prepared: Certificate | None = None
    view_changes: ViewChangeBook = field(default_factory=ViewChangeBook)
    bodies: dict[Digest, Block] = field(default_factory=dict)
    executed: dict[Digest, bool] = field(default_factory=dict)
    signed: dict[tuple[Step, int], Digest] = field(default_factory=dict)
    own: dict[Step, Vote | ViewChange] = field(default_factory=dict)
    later: dict[tuple[str, str], Received] = field(default_factory=dict)
    is_building: bool = False
    is_applying: bool = False
    deadline_ms: int | None = None
    ahead_since_ms: int | None = None

    @property
    def phase(self) -> str:
        """How far this node is in the present view: a word of messages.PHASES."""
        if self.own_step(Step.COMMIT):
            return "prepared"
        return "new" if self.proposal is None else "proposed"

    def own_step(self, step: Step) -> bool:
        """Tell whether this node signed ``step`` in the present view."""
        held = self.own.get(step)
        return held is not None and held.view == self.view

    def claim(self, step: Step, digest: Digest) -> bool:
        """Reserve one digest per step and view; False when another one was signed before."""
        return self.signed.setdefault((step, self.view), digest) == digest

    def keep_body(self, block: Block, bodies_max: int) -> None:
        """Remember a block of this height; the prepared one is never dropped."""
        if len(self.bodies) >= bodies_max:
            kept = None if self.prepared is None else self.prepared.digest
            del self.bodies[next(digest for digest in self.bodies if digest != kept)]
        self.bodies[block.header.digest()] = block

    def keep_later(self, received: Received, message: Vote | ViewChange | Propose, now_ms: int) -> None:
        """Let a message of the next height wait, one per sender and kind."""
        self.later[message.member, _slot(message)] = received
        if self.ahead_since_ms is None:
            self.ahead_since_ms = now_ms

    def restore(self, record: Record, member: str) -> None:
        """Take up one record of the write-ahead log; ``member`` is this node."""
        if height_of(record) != self.rules.height:
            return
        if isinstance(record, Accepted):
            self._restore_accepted(record.propose, member)
        elif isinstance(record, Signed):
            self._restore_signed(record.message)
        else:
            self.prepared = record.certificate

    def _restore_accepted(self, propose: Propose, member: str) -> None:
        digest = propose.block.header.digest()
        self.bodies[digest] = propose.block
        if propose.view >= self.view:
            self.view, self.proposal, self.is_changing = propose.view, propose, False
        if propose.member == member:
            self.signed[Step.PROPOSE, propose.view] = proposal_digest(digest, propose.view_changes)

    def _restore_signed(self, message: Vote | ViewChange) -> None:
        if isinstance(message, ViewChange):
            self.signed[Step.VIEW_CHANGE, message.view] = message.digest()
            self.own = {Step.VIEW_CHANGE: message}
            self.view_changes.add(message)
            self.view, self.is_changing, self.proposal = message.view, True, None
            return
        self.signed[message.step, message.view] = message.digest
        self.own[message.step] = message
        self.votes.add(message)


def open_height(settings: Settings, head: Head) -> HeightState:
    """Return the empty state of the height above ``head``."""
    base = next_base(head, settings.validators, settings.rotation_blocks)
    rules = Rules(settings.chain, settings.epoch, settings.validators, head, base, settings.skew_ms)
    return HeightState(rules, VoteBook(settings.epoch, rules.height))


def _slot(message: Message) -> str:
    return message.step.name if isinstance(message, Vote) else type(message).__name__
