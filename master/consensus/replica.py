"""One PBFT replica: ``step(event, now) -> effects``, pure (docs/spec, clauses CM-3 to CM-28).

Per height a replica goes NEW -> PROPOSED -> PREPARED -> applied, or leaves a view by VIEW-CHANGE. What it signs is in a
`Persist`, then in a `Seal` of the signer guard, both before its `Broadcast`. One height is in flight; messages of the
next wait in one slot per sender and kind. An event changes what is known; `_progress` then does whatever is possible.

Source: Castro and Liskov 1999 with signatures and a window of one; docs/spec/consensus.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from master.consensus.checks import check_proposal
from master.consensus.events import (
    Accuse,
    Applied,
    Apply,
    Broadcast,
    Build,
    Built,
    Connected,
    Disconnected,
    Effect,
    Epoch,
    Event,
    Execute,
    Executed,
    Flawed,
    Head,
    Now,
    Persist,
    Received,
    Report,
    Send,
    Tick,
    Wake,
)
from master.consensus.fault_messages import Quote
from master.consensus.guard import SignerGuard
from master.consensus.messages import (
    Blocks,
    Body,
    GetBody,
    GetStanding,
    Message,
    Propose,
    Standing,
    Status,
    ViewChange,
    Vote,
    epoch_of,
    proposal_digest,
)
from master.consensus.progress import Progress, progress_of
from master.consensus.records import Accepted, Fetched, Prepared, Record, Signed, encode_record
from master.consensus.recovery import Recovery
from master.consensus.state import Settings, open_height
from master.consensus.sync import Sync
from master.consensus.views import Views
from master.consensus.voice import Voice
from master.consensus.votes import highest_prepared
from master.consensus.witness import Witness
from wire.block import Block
from wire.certificate import Step
from wire.types import Digest


class Replica:
    """The state machine of one validator (or of a full node that only follows, if not in the set)."""

    def __init__(
        self,
        settings: Settings,
        head: Head,
        sign: Callable[[bytes], bytes],
        now: Now,
        *,
        guard: SignerGuard | None,
        nonce: Digest,
    ) -> None:
        """Start above ``head``.

        Args:
            settings: Identity, validators and times.
            head: The newest block in the store, with its certificate.
            sign: Signs vote bytes with this node's vote key.
            now: The clocks.
            guard: What the key signed last; None when that is not known.
            nonce: 32 bytes that no earlier start of this node used.
        """
        self._settings = settings = settings.at(head)
        self._now = now
        self._height = open_height(settings, head)
        self._voice = Voice(settings, head.height, sign, guard, Recovery(settings, nonce, now))
        self._next_status_ms = now.monotonic_ms
        # what the last tick said; out of date after a block, but worth a try: an empty pool answers with no block
        self._is_pending = False
        self._sync = Sync(settings)
        self._witness = Witness(settings.member, settings.chain)
        self._views = Views(settings, self._voice, self._sync, now)

    @property
    def head(self) -> Head:
        """The newest applied block."""
        return self._height.rules.head

    @property
    def progress(self) -> Progress:
        """How far the height is, and whose word it waits for."""
        return progress_of(self._height)

    @property
    def view(self) -> int:
        """View of the height that is being decided."""
        return self._height.view

    @property
    def leader(self) -> str:
        """Leader of the present view."""
        return self._height.rules.leader(self._height.view)

    @property
    def is_halted(self) -> bool:
        """Tell whether this node found that it diverges and signs nothing more."""
        return self._voice.is_halted

    @property
    def quarantine(self) -> str | None:
        """Why this node must not vote before the ledger has left its past behind, or None."""
        return self._voice.quarantine

    def restore(self, records: Iterable[Record], now: Now) -> list[Effect]:
        """Take up what the write-ahead log holds about the height that is being decided.

        Args:
            records: Decoded, in the order in which they were written; older heights are ignored.
            now: The clocks.
        """
        self._now = now
        return [*self._voice.restore(records, self._height), *self._progress(now)]

    def step(self, event: Event, now: Now) -> list[Effect]:
        """Take one event and return what to do, in this order.

        Args:
            event: Its messages are verified with the validators of the epochs that they name.
            now: The clocks.
        """
        self._now = now
        match event:
            case Received():
                effects = self._on_message(event, now)
            case Flawed():
                effects = self._on_flawed(event, now)
            case Tick():
                effects = self._on_tick(event, now)
            case Built():
                effects = self._on_built(event)
            case Executed():
                effects = self._on_executed(event, now)
            case Applied():
                effects = self._on_applied(event, now)
            case Connected():
                effects = [Send(event.member, self._status())]
            case Disconnected():
                self._sync.gone(event.member)
                effects = []
            case _:
                self._voice.halt()
                effects = [Report("divergence", f"height {event.height}: {event.detail}")]
        return [*effects, *self._progress(now)]

    # ---- what arrives -------------------------------------------------------------------------

    def _on_message(self, event: Received, now: Now) -> list[Effect]:
        message, state = event.message, self._height
        proofs = self._witness.look(message, state.rules.height, state.view, state.rules.epoch)
        return [*map(Accuse, proofs), *self._on_known(event, message, now)]

    def _on_known(self, event: Received, message: Message, now: Now) -> list[Effect]:
        """Take a message that was compared with what its author said before."""
        state = self._height
        match message:
            case Vote() | ViewChange() | Propose():
                return self._on_signed(event, message, now)
            case Status():
                return self._on_status(event.sender, message, now)
            case GetStanding() | Standing():
                return self._voice.converse(event.sender, message, state, now)
            case Blocks():
                self._sync.take(event.sender, message, state)
                return self._apply_next()
            case GetBody():
                return self._sync.serve_body(event.sender, message.digest, state, now)
            case Body() if message.block.header.digest() in state.wanted:
                state.keep_body(message.block, self._settings.bodies_max)
            case _:
                pass  # not asked for, or the shell's business
        return []

    def _on_status(self, sender: str, status: Status, now: Now) -> list[Effect]:
        self._sync.claim(sender, status.height)
        self._sync.heard_head(sender, status.height - 1, now)
        if status.height != self._height.rules.height:
            return []
        return self._sync.answer(sender, status, self._height, now)

    def _on_signed(self, event: Received, message: Vote | ViewChange | Propose, now: Now) -> list[Effect]:
        state = self._height
        if message.height > state.rules.height:
            self._sync.claim(event.sender, message.height)
            if message.height == state.rules.height + 1 and epoch_of(message) == state.rules.next_epoch:
                state.keep_later(event, message)
            return []
        # a key of another epoch says nothing about this height, though its signature is good
        if message.height < state.rules.height or state.is_applying or epoch_of(message) != state.rules.epoch:
            return []
        match message:
            case Propose():
                return self._on_propose(message, now)
            case ViewChange():
                state.view_changes.add(message)
                return self._views.follow(state, now)
            case _:
                state.votes.add(message)
                return self._quote(message)

    def _quote(self, vote: Vote) -> list[Effect]:
        """Show who prepares another block what the leader signed for this node: the leader may have signed both."""
        state, proposal = self._height, self._height.proposal
        is_other = vote.step is Step.PREPARE and vote.view == state.view and vote.member not in state.quoted
        if proposal is None or not is_other or vote.digest == proposal.block.header.digest():
            return []
        state.quoted.add(vote.member)
        digest = proposal_digest(proposal.block.header.digest(), proposal.view_changes)
        place = (state.rules.epoch, state.rules.height, state.view)
        return [Send(vote.member, Quote(proposal.member, *place, digest, proposal.signature))]

    def _on_propose(self, message: Propose, now: Now) -> list[Effect]:
        state = self._height
        for entry in message.view_changes:
            state.view_changes.add(entry)
        effects = self._views.follow(state, now)
        is_leader = message.member == state.rules.leader(message.view)
        if message.view != state.view or state.proposal is not None or not is_leader:
            return effects
        verdict = check_proposal(message, state.rules, now.wall_ms)
        if verdict is None:
            state.proposal = message
            state.keep_body(message.block, self._settings.bodies_max)
            return effects
        effects.append(Report("invalid-proposal", verdict.reason))
        if verdict.leaders_fault:
            return [*effects, *self._views.leave(state, now, "invalid-proposal", verdict.reason)]
        state.is_awaited = True
        return effects

    def _on_flawed(self, event: Flawed, now: Now) -> list[Effect]:
        """Leave the view of a leader that signed view changes which nobody made; nothing in them counts."""
        message, state = event.proposal, self._height
        rules = state.rules
        place = (epoch_of(message), message.height, message.view)
        is_leader = message.member == rules.leader(message.view)
        if place != (rules.epoch, rules.height, state.view) or not is_leader or state.proposal is not None:
            return []
        report = Report("invalid-proposal", event.reason)
        return [report, *self._views.leave(state, now, "invalid-proposal", event.reason)]

    def _on_tick(self, event: Tick, now: Now) -> list[Effect]:
        state = self._height
        self._is_pending = state.is_pending = event.pending
        self._views.waiting_ms = event.waiting_ms
        state.is_idle = False
        effects: list[Effect] = self._views.complain(state, now)
        if now.monotonic_ms >= self._next_status_ms:
            self._next_status_ms = now.monotonic_ms + self._settings.status_interval_ms
            effects.append(Broadcast(self._status()))
        if state.deadline_ms is not None and now.monotonic_ms >= state.deadline_ms:
            effects += self._views.leave(state, now, "timeout", "no block in time")
        return effects

    def _on_built(self, event: Built) -> list[Effect]:
        state = self._height
        if (event.height, event.view) != (state.rules.height, state.view) or not state.is_building:
            return []
        state.is_building = False
        if event.block is None:
            state.is_idle = True
            return []
        proof = state.view_changes.exactly(state.view)
        is_proven = not state.view or len(proof) >= state.rules.validators.quorum
        if not self._may_lead() or not is_proven or highest_prepared(proof) is not None:
            return []  # a view change that came meanwhile took one of this view away, or binds it to another block
        state.executed[event.block.header.digest()] = True
        return self._propose(event.block, proof)

    def _on_executed(self, event: Executed, now: Now) -> list[Effect]:
        state = self._height
        if event.digest not in state.executed:
            return []
        state.executed[event.digest] = event.accepted
        if event.accepted:
            return []
        if event.fault:
            return self._on_broken(event, now)
        detail = f"height {state.rules.height}: block {event.digest.hex()[:16]} came out otherwise"
        return [Report("divergence", detail)]

    def _on_broken(self, event: Executed, now: Now) -> list[Effect]:
        """Leave the view of a leader that signed a block which breaks a rule, unless it had to carry it on."""
        state, proposal = self._height, self._height.proposal
        effects: list[Effect] = [Report("invalid-proposal", event.fault)]
        is_own_choice = proposal is not None and highest_prepared(proposal.view_changes) is None
        if proposal is None or proposal.block.header.digest() != event.digest or not is_own_choice:
            return effects
        return [*effects, *self._views.leave(state, now, "invalid-proposal", event.fault)]

    def _on_applied(self, event: Applied, now: Now) -> list[Effect]:
        if event.head.height < self._height.rules.height:
            return []
        later = [received for _, received in self._height.later.values()]
        self._views.applied(event, now, is_led_on=event.head.proposer == self.head.proposer)
        self._settings = self._views.settings = self._settings.at(event.head)
        self._height = open_height(self._settings, event.head)
        self._sync.opened()
        effects = [] if event.head.epoch is None else self._turn(event.head.epoch)
        effects += [*self._apply_next(), *self._views.complain(self._height, now)]
        for received in later:
            effects += self._on_message(received, now)
        return effects

    def _turn(self, epoch: Epoch) -> list[Effect]:
        """Begin an epoch: from this height on others decide."""
        members = ", ".join(entry.member for entry in epoch.validators.validators)
        report = Report("epoch", f"epoch {epoch.number} begins at height {self._height.rules.height}: {members}")
        return [report, *self._voice.turn(self._height)]

    def _apply_next(self) -> list[Effect]:
        apply = self._sync.next(self._height)
        if apply is None:
            return []
        return self._voice.floored(replace(apply, view_changes=self._height.archive()))

    # ---- what has become possible -------------------------------------------------------------

    def _progress(self, now: Now) -> list[Effect]:
        """Do all that the present knowledge allows: lead, PREPARE, COMMIT, apply, ask, start the timer."""
        state = self._height
        effects: list[Effect] = [*self._voice.ask(now), *self._voice.leave_quarantine(self.head.height)]
        if not state.is_applying:
            effects += [*self._views.announce(state, now), *self._lead(now), *self._prepare()]
            effects += [*self._commit(now), *self._finish(now)]
        if not state.is_applying:
            effects += [*self._sync.pull(state, now), *self._views.arm(state, now)]
        return effects

    def _may_vote(self) -> bool:
        return self._views.may_vote(self._height, self._now)

    def _may_say(self, step: Step) -> bool:
        return (step, self.view) not in self._height.refused and self._may_vote()

    def _may_lead(self) -> bool:
        """Tell whether this node leads the view and has not proposed in it."""
        state = self._height
        return (
            self._may_say(Step.PROPOSE)
            and self.leader == self._settings.member
            and not state.is_building
            and not state.is_applying
            and (Step.PROPOSE, state.view) not in state.signed
        )

    def _lead(self, now: Now) -> list[Effect]:
        """Propose: in view 0 when there is something to decide, above it once a quorum allows it."""
        state = self._height
        if not self._may_lead() or state.is_idle:
            return []
        if state.view == 0:
            return self._lead_first_view(now)
        proof = state.view_changes.exactly(state.view)
        if len(proof) < state.rules.validators.quorum:
            return []
        carried = highest_prepared(proof)
        if carried is None:
            return self._build(is_empty_allowed=True)
        body = state.bodies.get(carried.digest)
        if body is None:
            return self._sync.ask_body(carried.digest, carried.signers, state, now)
        return self._propose(body, proof)

    def _lead_first_view(self, now: Now) -> list[Effect]:
        if not self._is_pending and not self._views.is_heartbeat_due(now):
            return []
        due_ms = self._views.block_due_ms
        if now.monotonic_ms < due_ms:
            return [Wake(due_ms)]
        return self._build(is_empty_allowed=self._views.is_heartbeat_due(now))

    def _build(self, *, is_empty_allowed: bool) -> list[Effect]:
        state = self._height
        state.is_building = True
        return [Build(state.rules.height, state.view, state.rules.head.time_ms + 1, is_empty_allowed)]

    def _propose(self, block: Block, proof: tuple[ViewChange, ...]) -> list[Effect]:
        state = self._height
        digest = proposal_digest(block.header.digest(), proof)
        signature = self._voice.sign(state, Step.PROPOSE, digest)
        if signature is None:
            return self._voice.refused(state, Step.PROPOSE)
        message = Propose(self._settings.member, state.rules.height, state.view, block, proof, signature)
        state.proposal = message
        state.keep_body(block, self._settings.bodies_max)
        state.logged.add(block.header.digest())
        return [Persist((encode_record(Accepted(message)),)), self._voice.seal(), Broadcast(message)]

    def _prepare(self) -> list[Effect]:
        state = self._height
        proposal = state.proposal
        if (
            proposal is None
            or not self._may_say(Step.PREPARE)
            or not state.own.keys().isdisjoint((Step.PREPARE, Step.COMMIT))
        ):
            return []
        digest = proposal.block.header.digest()
        if not state.executed.get(digest):
            return self._execute(proposal.block)
        state.logged.add(digest)
        state.rely(proposal)
        # the leader's own proposal is in the log since before it was sent
        basis = () if proposal.member == self._settings.member else (Accepted(proposal),)
        return self._vote(Step.PREPARE, digest, *basis)

    def _commit(self, now: Now) -> list[Effect]:
        """COMMIT what a quorum prepared in this view, if it executes here, whatever one prepared oneself."""
        state = self._height
        if Step.COMMIT in state.own or not self._may_say(Step.COMMIT):
            return []
        prepared = state.votes.prepared(state.view, state.rules.validators.quorum)
        if prepared is None:
            return []
        body = state.bodies.get(prepared.digest)
        if body is None:
            return self._sync.ask_body(prepared.digest, prepared.signers, state, now)
        if not state.executed.get(prepared.digest):
            return self._execute(body)
        state.prepared = prepared
        basis = () if prepared.digest in state.logged else (Fetched(body),)
        state.logged.add(prepared.digest)
        return self._vote(Step.COMMIT, prepared.digest, *basis, Prepared(prepared))

    def _finish(self, now: Now) -> list[Effect]:
        """Apply what a quorum committed, in whichever view."""
        state = self._height
        committed = state.votes.committed(state.rules.validators.quorum)
        if committed is None:
            return []
        body = state.bodies.get(committed.digest)
        if body is None:
            return self._sync.ask_body(committed.digest, committed.signers, state, now)
        state.is_applying = True
        return self._voice.floored(Apply(body, committed, state.archive()))

    def _execute(self, block: Block) -> list[Effect]:
        state = self._height
        digest = block.header.digest()
        if digest in state.executed:
            return []  # under way, or it came out otherwise
        state.executed[digest] = None
        return [Execute(block)]

    def _vote(self, step: Step, digest: Digest, *basis: Record) -> list[Effect]:
        state = self._height
        rules = state.rules
        signature = self._voice.sign(state, step, digest)
        if signature is None:
            return self._voice.refused(state, step)
        vote = Vote(self._settings.member, step, rules.epoch, rules.height, state.view, digest, signature)
        state.own[step] = vote
        state.votes.add(vote)
        persist = Persist(tuple(map(encode_record, (*basis, Signed(vote)))))
        return [persist, self._voice.seal(), Broadcast(vote)]

    def _status(self) -> Status:
        state = self._height
        return Status(state.rules.height, state.view, state.phase)
