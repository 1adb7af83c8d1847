"""One PBFT replica: ``step(event, now) -> effects``, pure (docs/spec, clauses CM-3 to CM-16).

Per height a replica goes NEW -> PROPOSED -> PREPARED -> applied, or leaves a view by VIEW-CHANGE.
Whatever it signs is in a `Persist` that stands before the `Broadcast` of it. One height is in
flight; messages of the next height wait in one slot per sender and kind, all others are dropped
or turned into a request for blocks, so that memory is bounded by the number of validators.

Source: Castro and Liskov 1999 with signatures and a window of one; docs/spec/consensus.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from master.consensus.checks import check_proposal, chosen_digest
from master.consensus.events import (
    Applied,
    Apply,
    Broadcast,
    Build,
    Built,
    Connected,
    Diverged,
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
from master.consensus.records import Accepted, Prepared, Record, Signed, encode_record
from master.consensus.state import Settings, open_height
from master.consensus.sync import Sync
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
        state = self._height
        for record in records:
            state.restore(record, self._settings.member)
        if state.proposal is None:
            return []
        return [Execute(state.proposal.block), *self._arm(now)]

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
                self._is_pending = event.pending
                effects = self._on_tick(now)
            case Built():
                effects = self._on_built(event, now)
            case Executed():
                effects = self._on_executed(event, now)
            case Applied():
                effects = self._on_applied(event, now)
            case Connected():
                effects = [Send(event.member, self._status())]
            case Diverged():
                self._is_halted = True
                effects = [Report("divergence", f"height {event.height}: {event.detail}")]
        return effects

    # ---- messages -----------------------------------------------------------------------------

    def _on_message(self, event: Received, now: Now) -> list[Effect]:
        message, state = event.message, self._height
        if isinstance(message, Vote | ViewChange | Propose):
            return self._on_signed(event, message, now)
        match message:
            case Status():
                return self._on_status(event.sender, message, now)
            case Blocks():
                self._sync.take(message, state)
                return self._sync.next(state)
            case GetBody() if message.digest in state.bodies:
                return [Send(event.sender, Body(state.bodies[message.digest]))]
            case Body():
                return self._on_body(message.block, now)
            case _:
                return []

    def _on_signed(self, event: Received, message: Vote | ViewChange | Propose, now: Now) -> list[Effect]:
        state = self._height
        if message.height == state.rules.height + 1:
            state.keep_later(event, message, now.monotonic_ms)
            return []
        if message.height != state.rules.height or state.is_applying:
            return []
        if isinstance(message, Propose):
            return self._on_propose(message, now)
        if isinstance(message, ViewChange):
            state.view_changes.add(message)
            return self._follow_views(now)
        state.votes.add(message)
        return [*self._arm(now), *self._advance(now)]

    def _on_propose(self, message: Propose, now: Now) -> list[Effect]:
        state = self._height
        effects: list[Effect] = []
        for entry in message.view_changes:
            if entry.height == state.rules.height:
                state.view_changes.add(entry)
        if message.view > state.view:
            effects = self._follow_views(now)
        if message.view != state.view or state.proposal is not None:
            return effects
        verdict = check_proposal(message, state.rules, now.wall_ms)
        if verdict is not None:
            effects += [Report("invalid-proposal", verdict.reason), *self._arm(now)]
            if verdict.leaders_fault and message.member == state.rules.leader(message.view):
                effects += self._leave_view(now, f"invalid proposal: {verdict.reason}")
            return effects
        state.proposal, state.is_changing = message, False
        state.keep_body(message.block, self._settings.bodies_max)
        effects += self._arm(now)
        if message.block.header.digest() in state.executed:
            return [*effects, *self._prepare(), *self._advance(now)]
        return [*effects, Execute(message.block)]

    def _on_status(self, sender: str, status: Status, now: Now) -> list[Effect]:
        state = self._height
        if status.height > state.rules.height:
            return self._sync.ask_blocks(sender, state, now)
        if status.height < state.rules.height:
            return []
        return self._sync.answer(sender, status, state, now)

    def _on_body(self, block: Block, now: Now) -> list[Effect]:
        state = self._height
        wanted = {chosen_digest(state.view_changes.exactly(state.view))}
        committed = state.votes.committed(state.rules.validators.quorum)
        if committed is not None:
            wanted.add(committed.digest)
        digest = block.header.digest()
        if digest not in wanted or digest in state.bodies:
            return []
        state.keep_body(block, self._settings.bodies_max)
        return [*self._advance(now), *self._lead_view(now)]

    # ---- normal case --------------------------------------------------------------------------

    def _on_tick(self, now: Now) -> list[Effect]:
        state = self._height
        effects: list[Effect] = []
        if now.monotonic_ms >= self._next_status_ms:
            self._next_status_ms = now.monotonic_ms + self._settings.status_interval_ms
            effects.append(Broadcast(self._status()))
        ahead = state.ahead_since_ms
        if ahead is not None and now.monotonic_ms - ahead >= self._settings.pull_after_ms:
            sender = next(iter(state.later.values())).sender
            effects += self._sync.ask_blocks(sender, state, now)
        if self._has_work(now):
            effects += self._arm(now)
        if state.deadline_ms is not None and now.monotonic_ms >= state.deadline_ms:
            effects += self._leave_view(now, "no block in time")
        return [*effects, *self._lead(now)]

    def _lead(self, now: Now) -> list[Effect]:
        """Start a block when this node leads view 0 and there is something to put into it."""
        state = self._height
        if state.view > 0 or not self._may_build() or not self._has_work(now):
            return []
        due_ms = self._last_applied_ms + self._settings.block_interval_ms
        if now.monotonic_ms < due_ms:
            return [Wake(due_ms)]
        state.is_building = True
        return [self._build(empty_allowed=self._is_heartbeat_due(now))]

    def _may_build(self) -> bool:
        state = self._height
        busy = state.is_building or state.is_applying or self._is_halted
        return (
            not busy
            and state.proposal is None
            and self.leader == self._settings.member
            and (Step.PROPOSE, state.view) not in state.signed
        )

    def _build(self, *, empty_allowed: bool) -> Build:
        rules = self._height.rules
        return Build(rules.height, self._height.view, rules.head.time_ms + 1, empty_allowed)

    def _on_built(self, event: Built, now: Now) -> list[Effect]:
        state = self._height
        if event.height != state.rules.height or event.view != state.view:
            return []
        state.is_building = False
        if event.block is None or state.proposal is not None or state.is_applying:
            return []
        state.executed[event.block.header.digest()] = True
        return self._propose(event.block, now)

    def _propose(self, block: Block, now: Now) -> list[Effect]:
        state = self._height
        view_changes = state.view_changes.exactly(state.view) if state.view else ()
        digest = proposal_digest(block.header.digest(), view_changes)
        signature = self._signature(Step.PROPOSE, digest)
        if signature is None:
            return [Report("vote-refused", f"propose at {state.rules.height} in {state.view}")]
        message = Propose(self._settings.member, state.rules.height, state.view, block, view_changes, signature)
        state.proposal, state.is_changing = message, False
        state.keep_body(block, self._settings.bodies_max)
        effects: list[Effect] = [
            Persist((encode_record(Accepted(message)),)),
            Broadcast(message),
            *self._arm(now),
        ]
        if block.header.digest() not in state.executed:
            return [*effects, Execute(block)]
        return [*effects, *self._prepare(), *self._advance(now)]

    def _on_executed(self, event: Executed, now: Now) -> list[Effect]:
        state = self._height
        if event.digest not in state.bodies or state.is_applying:
            return []
        state.executed[event.digest] = event.accepted
        if not event.accepted:
            detail = f"height {state.rules.height}: block {event.digest.hex()[:16]} came out otherwise"
            return [Report("divergence", detail)]
        return [*self._prepare(), *self._advance(now)]

    def _prepare(self) -> list[Effect]:
        state = self._height
        proposal = state.proposal
        if proposal is None or state.is_changing or state.own_step(Step.PREPARE):
            return []
        digest = proposal.block.header.digest()
        if not state.executed.get(digest, False):
            return []
        # the leader's own proposal is in the log since before it was sent
        basis = () if proposal.member == self._settings.member else (Accepted(proposal),)
        return self._vote(Step.PREPARE, digest, *basis)

    def _vote(self, step: Step, digest: Digest, *basis: Record) -> list[Effect]:
        state = self._height
        signature = self._signature(step, digest)
        if signature is None:
            return [Report("vote-refused", f"{step.name.lower()} at {state.rules.height}")]
        vote = Vote(
            self._settings.member,
            step,
            state.rules.epoch,
            state.rules.height,
            state.view,
            digest,
            signature,
        )
        state.own[step] = vote
        state.votes.add(vote)
        records = (*basis, Signed(vote))
        return [Persist(tuple(map(encode_record, records))), Broadcast(vote)]

    def _advance(self, now: Now) -> list[Effect]:
        """Commit on a quorum of PREPAREs, apply on a quorum of COMMITs."""
        state = self._height
        if state.is_applying:
            return []
        effects: list[Effect] = []
        quorum = state.rules.validators.quorum
        if state.own_step(Step.PREPARE) and not state.own_step(Step.COMMIT):
            digest = state.own[Step.PREPARE].digest
            assert isinstance(digest, bytes)
            prepared = state.votes.certificate(Step.PREPARE, state.view, digest, quorum)
            if prepared is not None and not state.is_changing:
                state.prepared = prepared
                effects += self._vote(Step.COMMIT, digest, Prepared(prepared))
        committed = state.votes.committed(quorum)
        if committed is None:
            return effects
        body = state.bodies.get(committed.digest)
        if body is None:
            return [*effects, *self._sync.ask_body(committed.digest, committed.signers, now)]
        state.is_applying = True
        return [*effects, Apply(body, committed)]

    def _on_applied(self, event: Applied, now: Now) -> list[Effect]:
        later = list(self._height.later.values())
        self._height = open_height(self._settings, event.head)
        self._last_applied_ms = now.monotonic_ms
        self._sync.opened()
        effects: list[Effect] = []
        for received in later:
            effects += self._on_message(received, now)
        effects += self._sync.next(self._height)
        return [*effects, *self._lead(now)]

    # ---- views --------------------------------------------------------------------------------

    def _leave_view(self, now: Now, reason: str) -> list[Effect]:
        """Go one view on; beyond view 1 only while a quorum is known to be in this view too."""
        state = self._height
        state.deadline_ms = None
        if state.is_applying or self._is_halted:
            return []
        quorum = state.rules.validators.quorum
        if state.view > 0 and state.view_changes.count_from(state.view) < quorum:
            return []
        return self._enter_view(state.view + 1, now, reason)

    def _enter_view(self, view: int, now: Now, reason: str) -> list[Effect]:
        state = self._height
        prepared = state.prepared
        state.view, state.is_changing, state.proposal = view, True, None
        state.is_building, state.deadline_ms = False, None
        signature = self._signature(Step.VIEW_CHANGE, prepared_digest(prepared))
        report = Report("view-change", f"height {state.rules.height} to view {view}: {reason}")
        if signature is None:
            return [report]
        message = ViewChange(
            self._settings.member,
            state.rules.epoch,
            state.rules.height,
            view,
            prepared,
            signature,
        )
        state.own = {Step.VIEW_CHANGE: message}
        state.view_changes.add(message)
        effects: list[Effect] = [
            report,
            Persist((encode_record(Signed(message)),)),
            Broadcast(message),
        ]
        return [*effects, *self._follow_views(now)]

    def _follow_views(self, now: Now) -> list[Effect]:
        """Adopt the (f+1)-th highest view; start its timer or lead it once a quorum is there."""
        state = self._height
        enough = faults(len(state.rules.validators)) + 1
        target = state.view_changes.nth_highest_view(enough)
        if target > state.view:
            return self._enter_view(target, now, f"{enough} validators are there")
        return [*self._arm(now), *self._lead_view(now)]

    def _lead_view(self, now: Now) -> list[Effect]:
        state = self._height
        proof = state.view_changes.exactly(state.view)
        ready = state.view > 0 and len(proof) >= state.rules.validators.quorum
        if not ready or not self._may_build():
            return []
        digest = chosen_digest(proof)
        if digest is None:
            state.is_building = True
            return [self._build(empty_allowed=True)]
        body = state.bodies.get(digest)
        if body is None:
            return [Broadcast(GetBody(digest))]
        return self._propose(body, now)

    # ---- helpers ------------------------------------------------------------------------------

    def _arm(self, now: Now) -> list[Effect]:
        """Start the timer of the present view if it does not run and may run."""
        state = self._height
        if state.deadline_ms is not None or state.is_applying:
            return []
        quorum = state.rules.validators.quorum
        if state.view > 0 and state.view_changes.count_from(state.view) < quorum:
            return []
        doubled = self._settings.timeout_ms << min(state.view, 16)
        state.deadline_ms = now.monotonic_ms + min(doubled, self._settings.timeout_max_ms)
        return [Wake(state.deadline_ms)]

    def _has_work(self, now: Now) -> bool:
        return self._is_pending or self._is_heartbeat_due(now)

    def _is_heartbeat_due(self, now: Now) -> bool:
        idle_ms = now.monotonic_ms - self._last_applied_ms
        return idle_ms >= self._settings.heartbeat_ms

    def _status(self) -> Status:
        state = self._height
        return Status(state.rules.height, state.view, state.phase)

    def _signature(self, step: Step, digest: Digest) -> bytes | None:
        """Sign once per step and view; None when that would contradict an earlier signature."""
        state = self._height
        is_member = state.rules.validators.find(self._settings.member) is not None
        if self._is_halted or not is_member or not state.claim(step, digest):
            return None
        rules = state.rules
        return self._sign(vote_bytes(rules.chain, rules.epoch, step, rules.height, state.view, digest))
