"""What a replica is told once, and what it knows about the height that is being decided."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Final

from master.consensus.checks import Rules, next_base
from master.consensus.events import Epoch, Head, Received, Timing
from master.consensus.guard import statement_of
from master.consensus.messages import Propose, ViewChange, ViewChangeSet, Vote, proposal_digest
from master.consensus.records import Accepted, Fetched, Record, Signed
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
    """Of the height above the head with which the replica starts."""
    validators: ValidatorSet
    """Of that epoch."""
    rotation_blocks: int = 100
    block_interval_ms: int = 20
    heartbeat_ms: int = 30_000
    skew_ms: int = 1_000
    timeout_ms: int = 3_000
    """How long a view may take before it is left, doubled per view."""
    timeout_max_ms: int = 30_000
    status_interval_ms: int = 1_000
    pull_after_ms: int = 200
    """How long others may be one height ahead before their blocks are asked for."""
    bodies_max: int = 32
    complain_ms: int = 10_000
    """How long a transaction may be the oldest, under one leader, before that leader is left."""
    vote_keys: tuple[bytes, ...] = ()
    """Public keys with which this node can sign; empty when the caller answers for the right one."""

    def at(self, head: Head) -> Settings:
        """Return the settings for the height above ``head``."""
        epoch = head.epoch or Epoch(self.epoch, self.validators)
        timing = head.timing or Timing(self.block_interval_ms, self.heartbeat_ms, self.skew_ms)
        changed = replace(self, epoch=epoch.number, validators=epoch.validators, **asdict(timing))
        return self if changed == self else changed

    def is_seated(self, validators: ValidatorSet) -> bool:
        """Tell whether this node votes in a set: it is in it, with a key that it has."""
        own = validators.find(self.member)
        return own is not None and (not self.vote_keys or own.vote_key in self.vote_keys)


RELIED_MAX: Final = 64
"""Views of one height whose view changes are kept."""


@dataclass(slots=True)
class HeightState:
    """Everything about the height that is being decided; made anew when it is applied."""

    rules: Rules
    votes: VoteBook
    view_changes: ViewChangeBook
    view: int = 0
    proposal: Propose | None = None
    """The proposal of the present view that passed the checks."""
    prepared: Certificate | None = None
    """The prepared certificate of the highest view that is on disk."""
    bodies: dict[Digest, Block] = field(default_factory=dict)
    wanted: set[Digest] = field(default_factory=set)
    """Blocks that certificates speak of and this node has asked for."""
    logged: set[Digest] = field(default_factory=set)
    """Blocks whose bodies are in the write-ahead log."""
    relied: dict[int, tuple[ViewChange, ...]] = field(default_factory=dict)
    """View changes that each PREPARE above view 0 rested on, by view; kept with the block for audits."""
    executed: dict[Digest, bool | None] = field(default_factory=dict)
    """Whether the roots came out; None while it is being executed."""
    signed: dict[tuple[Step, int], Digest] = field(default_factory=dict)
    refused: set[tuple[Step, int]] = field(default_factory=set)
    """What the signer guard did not allow."""
    is_silent: bool = False
    """The guard refused a VIEW-CHANGE: this node must not speak before the height is final."""
    quoted: set[str] = field(default_factory=set)
    """Who was shown, in this view, what the leader signed for this node."""
    own: dict[Step, Vote | ViewChange] = field(default_factory=dict)
    """Own messages of the present view, for sending them again."""
    later: dict[tuple[str, str], tuple[int, Received]] = field(default_factory=dict)
    is_pending: bool = False
    """Transactions were seen to wait since the height began."""
    is_awaited: bool = False
    """The leader of view 0 proposed something that this node must not vote for but others may."""
    is_building: bool = False
    is_idle: bool = False
    """The application had nothing for a block; it is asked again after the next tick."""
    is_applying: bool = False
    deadline_ms: int | None = None

    @property
    def phase(self) -> str:
        """How far this node is in the present view: a word of messages.PHASES."""
        if Step.COMMIT in self.own:
            return "prepared"
        return "new" if self.proposal is None else "proposed"

    def enter(self, view: int) -> None:
        """Go to a higher view; what was signed in lower ones will never be signed again."""
        self.view, self.proposal, self.deadline_ms = view, None, None
        self.is_building = self.is_idle = False
        self.own = {}
        self.wanted.clear()
        self.quoted.clear()
        self.signed = {key: digest for key, digest in self.signed.items() if key[1] >= view}

    def keep_body(self, block: Block, bodies_max: int) -> None:
        """Remember a block of this height, drop the oldest one if need be, but never the prepared one."""
        digest = block.header.digest()
        self.bodies.pop(digest, None)
        if len(self.bodies) >= bodies_max:
            kept = None if self.prepared is None else self.prepared.digest
            oldest = next(entry for entry in self.bodies if entry != kept)
            del self.bodies[oldest]
            self.executed.pop(oldest, None)
        self.bodies[digest] = block

    def keep_later(self, received: Received, message: Vote | ViewChange | Propose) -> None:
        """Let a message of the next height wait: one per signer and kind, the newest view."""
        kind = message.step.name if isinstance(message, Vote) else type(message).__name__
        held = self.later.get((message.member, kind))
        if held is None or held[0] < message.view:
            self.later[message.member, kind] = message.view, received

    def rely(self, proposal: Propose) -> None:
        """Keep the view changes of a proposal that is voted for; of at most `RELIED_MAX` views, the newest."""
        if proposal.view_changes:
            self.relied[proposal.view] = proposal.view_changes
            if len(self.relied) > RELIED_MAX:
                del self.relied[min(self.relied)]

    def archive(self) -> tuple[ViewChangeSet, ...]:
        """Return the view changes that PREPAREs rested on, by ascending view."""
        return tuple(ViewChangeSet(view, self.relied[view]) for view in sorted(self.relied))

    def newest_of(self, member: str) -> Vote | ViewChange | Propose | None:
        """Return the newest statement of a validator that is held here."""
        waiting = [received.message for _, received in self.later.values()]
        proposal = () if self.proposal is None else (self.proposal,)
        held = [
            message
            for message in (*self.votes.all(), *self.view_changes.all(), *proposal, *waiting)
            if isinstance(message, Vote | ViewChange | Propose) and message.member == member
        ]
        return max(held, key=lambda message: statement_of(message).place, default=None)

    def restore(self, record: Record, member: str) -> None:
        """Take up one record of this height from the write-ahead log; ``member`` is this node."""
        if isinstance(record, Accepted):
            self._restore_accepted(record.propose, member)
        elif isinstance(record, Fetched):
            self._restore_body(record.block)
        elif isinstance(record, Signed):
            self._restore_signed(record.message)
        elif self.prepared is None or record.certificate.view > self.prepared.view:
            self.prepared = record.certificate

    def _restore_body(self, block: Block) -> None:
        self.bodies[block.header.digest()] = block
        self.logged.add(block.header.digest())

    def _restore_accepted(self, propose: Propose, member: str) -> None:
        self._restore_body(propose.block)
        self.rely(propose)
        for entry in propose.view_changes:
            self.view_changes.add(entry)
        if propose.view > self.view:
            self.enter(propose.view)
        if propose.view == self.view:
            self.proposal = propose
        if propose.member == member:
            digest = proposal_digest(propose.block.header.digest(), propose.view_changes)
            self.signed[Step.PROPOSE, propose.view] = digest

    def _restore_signed(self, message: Vote | ViewChange) -> None:
        if isinstance(message, ViewChange):
            if message.view > self.view:
                self.enter(message.view)
            self.view_changes.add(message)
            self._restore_own(Step.VIEW_CHANGE, message, message.digest())
            return
        self.votes.add(message)
        self._restore_own(message.step, message, message.digest)

    def _restore_own(self, step: Step, message: Vote | ViewChange, digest: Digest) -> None:
        self.signed[step, message.view] = digest
        if message.view == self.view:
            self.own[step] = message


def open_height(settings: Settings, head: Head) -> HeightState:
    """Return the empty state of the height above ``head``."""
    settings = settings.at(head)
    base = next_base(head, settings.validators, settings.rotation_blocks)
    rules = Rules(settings.chain, settings.epoch, settings.validators, head, base, settings.skew_ms)
    frame = (settings.epoch, rules.height)
    return HeightState(rules, VoteBook(*frame), ViewChangeBook(*frame))
