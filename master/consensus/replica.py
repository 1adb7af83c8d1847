"""One PBFT replica: ``step(event, now) -> effects``, pure (docs/spec, clauses CM-3 to CM-17).

Per height a replica goes NEW -> PROPOSED -> PREPARED -> applied, or leaves a view by VIEW-CHANGE.
Whatever it signs is in a `Persist` that stands before the `Broadcast` of it. One height is in
flight; messages of the next height wait in one slot per sender and kind, all others are dropped
or turned into a request for blocks, so that memory is bounded by the number of validators.

An event changes what is known; `_progress` then does whatever has become possible, in one place,
so that nothing hangs on the order in which messages, bodies and results of execution arrive.

Source: Castro and Liskov 1999 with signatures and a window of one; docs/spec/consensus.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from master.consensus.checks import check_proposal
from master.consensus.events import (
    Applied,
    Apply,
    Broadcast,
    Build,
    Built,
    Connected,
    Effect,
    Event,
    Execute,
    Executed,
    Head,
    Now,
    Persist,
    Received,
    Report,
    Send,
    Tick,
    Wake,
)
from master.consensus.messages import (
    Blocks,
    Body,
    GetBody,
    Propose,
    Status,
    ViewChange,
    Vote,
    prepared_digest,
    proposal_digest,
)
from master.consensus.records import Accepted, Fetched, Prepared, Record, Signed, encode_record
from master.consensus.state import HeightState, Settings, open_height
from master.consensus.sync import Sync
from master.consensus.votes import highest_prepared
from wire.block import Block
from wire.certificate import Step, faults, vote_bytes
from wire.types import Digest


class Replica:
    """The state machine of one validator (or of a full node that only follows, if not in the set)."""

    def __init__(self, settings: Settings, head: Head, sign: Callable[[bytes], bytes], now: Now) -> None:
        """Start above ``head``.

        Args:
            settings: Identity, validators and times.
            head: The newest block in the store.
            sign: Signs vote bytes with this node's vote key.
            now: The clocks.
        """
        self._settings = settings
        self._sign = sign
        self._height = open_height(settings, head)
        self._last_applied_ms = now.monotonic_ms - settings.block_interval_ms
        self._next_status_ms = now.monotonic_ms
        # what the last tick said; out of date after a block, but worth a try: an empty pool answers with no block
        self._is_pending = False
        self._sync = Sync(settings)
        self._is_halted = False

    @property
    def head(self) -> Head:
        """The newest applied block."""
        return self._height.rules.head

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
        return self._is_halted

    def restore(self, records: Iterable[Record], now: Now) -> list[Effect]:
        """Take up what the write-ahead log holds about the height that is being decided.

        Args:
            records: Decoded, in the order in which they were written; older heights are ignored.
            now: The clocks.
        """
        for record in records:
            self._height.restore(record, self._settings.member)
        return self._progress(now)

    def step(self, event: Event, now: Now) -> list[Effect]:
        """Take one event and return what to do, in this order.

        Args:
            event: Its messages are verified for this epoch.
            now: The clocks.
        """
        match event:
            case Received():
                effects = self._on_message(event, now)
            case Tick():
                effects = self._on_tick(event, now)
            case Built():
                effects = self._on_built(event)
            case Executed():
                effects = self._on_executed(event)
            case Applied():
                effects = self._on_applied(event, now)
            case Connected():
                effects = [Send(event.member, self._status())]
            case _:
                self._is_halted = True
                effects = [Report("divergence", f"height {event.height}: {event.detail}")]
        return [*effects, *self._progress(now)]

    # ---- what arrives -------------------------------------------------------------------------

    def _on_message(self, event: Received, now: Now) -> list[Effect]:
        message, state = event.message, self._height
        match message:
            case Vote() | ViewChange() | Propose():
                return self._on_signed(event, message, now)
            case Status():
                return self._on_status(event.sender, message, now)
            case Blocks():
                self._sync.take(event.sender, message, state)
                return self._sync.next(state)
            case GetBody():
                return self._sync.serve_body(event.sender, message.digest, state, now)
            case Body() if message.block.header.digest() in state.wanted:
                state.keep_body(message.block, self._settings.bodies_max)
            case _:
                pass  # not asked for, or the shell's business
        return []

    def _on_status(self, sender: str, status: Status, now: Now) -> list[Effect]:
        self._sync.claim(sender, status.height)
        if status.height != self._height.rules.height:
            return []
        return self._sync.answer(sender, status, self._height, now)

    def _on_signed(self, event: Received, message: Vote | ViewChange | Propose, now: Now) -> list[Effect]:
        state = self._height
        if message.height > state.rules.height:
            self._sync.claim(event.sender, message.height)
            if message.height == state.rules.height + 1:
                state.keep_later(event, message)
            return []
        if message.height < state.rules.height or state.is_applying:
            return []
        match message:
            case Propose():
                return self._on_propose(message, now)
            case ViewChange():
                state.view_changes.add(message)
                return self._follow_views()
            case _:
                state.votes.add(message)
                return []

    def _on_propose(self, message: Propose, now: Now) -> list[Effect]:
        state = self._height
        for entry in message.view_changes:
            state.view_changes.add(entry)
        effects = self._follow_views()
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
            return [*effects, *self._leave_view(f"invalid proposal: {verdict.reason}")]
        state.is_awaited = True
        return effects

    def _on_tick(self, event: Tick, now: Now) -> list[Effect]:
        state = self._height
        self._is_pending = state.is_pending = event.pending
        state.is_idle = False
        effects: list[Effect] = []
        if now.monotonic_ms >= self._next_status_ms:
            self._next_status_ms = now.monotonic_ms + self._settings.status_interval_ms
            effects.append(Broadcast(self._status()))
        if state.deadline_ms is not None and now.monotonic_ms >= state.deadline_ms:
            effects += self._leave_view("no block in time")
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
        if not self._may_lead() or highest_prepared(proof) is not None:
            return []  # a view change that came meanwhile binds this view to another block
        state.executed[event.block.header.digest()] = True
        return self._propose(event.block, proof)

    def _on_executed(self, event: Executed) -> list[Effect]:
        state = self._height
        if event.digest not in state.executed:
            return []
        state.executed[event.digest] = event.accepted
        if event.accepted:
            return []
        detail = f"height {state.rules.height}: block {event.digest.hex()[:16]} came out otherwise"
        return [Report("divergence", detail)]

    def _on_applied(self, event: Applied, now: Now) -> list[Effect]:
        if event.head.height < self._height.rules.height:
            return []
        later = [received for _, received in self._height.later.values()]
        self._height = open_height(self._settings, event.head)
        self._last_applied_ms = now.monotonic_ms
        self._sync.opened()
        effects = self._sync.next(self._height)
        for received in later:
            effects += self._on_message(received, now)
        return effects

    # ---- what has become possible -------------------------------------------------------------

    def _progress(self, now: Now) -> list[Effect]:
        """Do all that the present knowledge allows: lead, PREPARE, COMMIT, apply, ask, start the timer."""
        state = self._height
        effects: list[Effect] = []
        if not state.is_applying:
            effects += [*self._lead(now), *self._prepare(), *self._commit(now), *self._finish(now)]
        if not state.is_applying:
            effects += [*self._sync.pull(state, now), *self._arm(now)]
        return effects

    def _may_vote(self) -> bool:
        rules = self._height.rules
        return not self._is_halted and rules.validators.find(self._settings.member) is not None

    def _may_lead(self) -> bool:
        """Tell whether this node leads the view and has not proposed in it."""
        state = self._height
        return (
            self._may_vote()
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
        if not self._is_pending and not self._is_heartbeat_due(now):
            return []
        due_ms = self._last_applied_ms + self._settings.block_interval_ms
        if now.monotonic_ms < due_ms:
            return [Wake(due_ms)]
        return self._build(is_empty_allowed=self._is_heartbeat_due(now))

    def _build(self, *, is_empty_allowed: bool) -> list[Effect]:
        state = self._height
        state.is_building = True
        return [Build(state.rules.height, state.view, state.rules.head.time_ms + 1, is_empty_allowed)]

    def _propose(self, block: Block, proof: tuple[ViewChange, ...]) -> list[Effect]:
        state = self._height
        digest = proposal_digest(block.header.digest(), proof)
        message = Propose(
            self._settings.member,
            state.rules.height,
            state.view,
            block,
            proof,
            self._signature(Step.PROPOSE, digest),
        )
        state.claim(Step.PROPOSE, digest)
        state.proposal = message
        state.keep_body(block, self._settings.bodies_max)
        state.logged.add(block.header.digest())
        return [Persist((encode_record(Accepted(message)),)), Broadcast(message)]

    def _prepare(self) -> list[Effect]:
        state = self._height
        proposal = state.proposal
        if proposal is None or not self._may_vote() or not state.own.keys().isdisjoint((Step.PREPARE, Step.COMMIT)):
            return []
        digest = proposal.block.header.digest()
        if not state.executed.get(digest):
            return self._execute(proposal.block)
        state.logged.add(digest)
        # the leader's own proposal is in the log since before it was sent
        basis = () if proposal.member == self._settings.member else (Accepted(proposal),)
        return self._vote(Step.PREPARE, digest, *basis)

    def _commit(self, now: Now) -> list[Effect]:
        """COMMIT what a quorum prepared in this view, if it executes here, whatever one prepared oneself."""
        state = self._height
        if Step.COMMIT in state.own or not self._may_vote():
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
        return [Apply(body, committed)]

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
        if not state.claim(step, digest):
            # cannot be; should it be, this node is not fit to sign anything
            self._is_halted = True
            return [Report("vote-refused", f"{step.name.lower()} at {rules.height} in view {state.view}")]
        signature = self._signature(step, digest)
        vote = Vote(self._settings.member, step, rules.epoch, rules.height, state.view, digest, signature)
        state.own[step] = vote
        state.votes.add(vote)
        return [Persist(tuple(map(encode_record, (*basis, Signed(vote))))), Broadcast(vote)]

    # ---- views --------------------------------------------------------------------------------

    def _leave_view(self, reason: str) -> list[Effect]:
        """Go one view on; beyond view 1 only while a quorum is known to be in this view or above."""
        state = self._height
        if state.is_applying or not self._may_vote():
            return []
        if state.view > 0 and not self._is_view_shared():
            return []
        return self._enter_view(state.view + 1, reason)

    def _follow_views(self) -> list[Effect]:
        """Adopt the (f+1)-th highest view: at least one honest validator is there."""
        state = self._height
        enough = faults(len(state.rules.validators)) + 1
        target = state.view_changes.nth_highest_view(enough)
        if target <= state.view:
            return []
        return self._enter_view(target, f"{enough} validators are there")

    def _enter_view(self, view: int, reason: str) -> list[Effect]:
        state = self._height
        rules = state.rules
        state.enter(view)
        report = Report("view-change", f"height {rules.height} to view {view}: {reason}")
        if not self._may_vote():
            return [report]
        digest = prepared_digest(state.prepared)
        state.claim(Step.VIEW_CHANGE, digest)
        signature = self._signature(Step.VIEW_CHANGE, digest)
        message = ViewChange(self._settings.member, rules.epoch, rules.height, view, state.prepared, signature)
        state.own[Step.VIEW_CHANGE] = message
        state.view_changes.add(message)
        return [report, Persist((encode_record(Signed(message)),)), Broadcast(message)]

    def _is_view_shared(self) -> bool:
        """Tell whether a quorum announced this view or a later one; counting only this one would deadlock."""
        state = self._height
        return state.view_changes.count_from(state.view) >= state.rules.validators.quorum

    def _arm(self, now: Now) -> list[Effect]:
        """Start the timer of the view, once, if there is something to wait for; else stop it."""
        state = self._height
        if not (self._is_view_shared() if state.view else self._is_block_due(state, now)):
            state.deadline_ms = None
            return []
        if state.deadline_ms is not None:
            return []
        doubled_ms = self._settings.timeout_ms << min(state.view, 16)
        state.deadline_ms = now.monotonic_ms + min(doubled_ms, self._settings.timeout_max_ms)
        return [Wake(state.deadline_ms)]

    # ---- helpers ------------------------------------------------------------------------------

    def _is_block_due(self, state: HeightState, now: Now) -> bool:
        """Tell whether view 0 ought to bring a block; the votes of f liars alone do not say so."""
        is_voted = state.votes.voters > faults(len(state.rules.validators))
        has_work = state.is_pending or self._is_heartbeat_due(now)
        return has_work or state.is_awaited or state.proposal is not None or is_voted

    def _is_heartbeat_due(self, now: Now) -> bool:
        idle_ms = now.monotonic_ms - self._last_applied_ms
        return idle_ms >= self._settings.heartbeat_ms

    def _status(self) -> Status:
        state = self._height
        return Status(state.rules.height, state.view, state.phase)

    def _signature(self, step: Step, digest: Digest) -> bytes:
        rules = self._height.rules
        return self._sign(vote_bytes(rules.chain, rules.epoch, step, rules.height, self._height.view, digest))
