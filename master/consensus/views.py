"""When a replica leaves a view, and what it says then (docs/spec, clauses CM-10 to CM-12, CM-24).

Views of one height are counted from 0; a view goes on only while a quorum is known to be in it or above it.
"""

from __future__ import annotations

from master.consensus.events import Applied, Broadcast, Effect, Now, Persist, Report, Wake
from master.consensus.messages import ViewChange, prepared_digest
from master.consensus.progress import progress_of
from master.consensus.records import Signed, encode_record
from master.consensus.state import HeightState, Settings
from master.consensus.sync import Sync
from master.consensus.voice import Voice
from wire.certificate import Step, faults


class Views:
    """Timers and view changes of one replica; the state of the height is handed to every call."""

    def __init__(self, settings: Settings, voice: Voice, sync: Sync, now: Now) -> None:
        self.settings = settings
        """Of the present height."""
        self._voice = voice
        self._sync = sync
        self.waiting_ms = 0
        """For how long one and the same acceptable transaction has been the oldest."""
        self._led_since_ms = now.monotonic_ms
        self._last_applied_ms = now.monotonic_ms - settings.block_interval_ms

    @property
    def block_due_ms(self) -> int:
        """Monotonic time before which view 0 brings no further block."""
        return self._last_applied_ms + self.settings.block_interval_ms

    def applied(self, event: Applied, now: Now, *, is_led_on: bool) -> None:
        """Note a block that is stored; ``is_led_on`` tells whether who proposed it also proposed the one before."""
        if not is_led_on:
            self._led_since_ms = now.monotonic_ms
        self.waiting_ms = event.waiting_ms
        self._last_applied_ms = now.monotonic_ms

    def may_vote(self, state: HeightState, now: Now) -> bool:
        """Tell whether this node may sign anything for this height now."""
        return self._voice.may_speak(state, now) and not self._sync.is_behind(state, now)

    def is_heartbeat_due(self, now: Now) -> bool:
        """Tell whether a block must come even without transactions."""
        return now.monotonic_ms - self._last_applied_ms >= self.settings.heartbeat_ms

    def leave(self, state: HeightState, now: Now, cause: str, reason: str) -> list[Effect]:
        """Go one view on; beyond view 1 only while a quorum is known to be in this view or above.

        Args:
            state: Of the height.
            now: The clocks.
            cause: A word of `Report.cause`.
            reason: The same for people.
        """
        if state.is_applying or not self.may_vote(state, now):
            return []
        if state.view > 0 and not _is_shared(state):
            return []
        return self._enter(state, now, state.view + 1, cause, reason)

    def follow(self, state: HeightState, now: Now) -> list[Effect]:
        """Adopt the (f+1)-th highest view: at least one honest validator is there."""
        enough = faults(len(state.rules.validators)) + 1
        target = state.view_changes.nth_highest_view(enough)
        if target <= state.view:
            return []
        return self._enter(state, now, target, "followed", f"{enough} validators are there")

    def _enter(self, state: HeightState, now: Now, view: int, cause: str, reason: str) -> list[Effect]:
        detail = f"height {state.rules.height} to view {view}: {reason}; it {progress_of(state).text()}"
        report = Report("view-change", detail, cause)
        state.enter(view)
        return [report, *self.announce(state, now)]

    def announce(self, state: HeightState, now: Now) -> list[Effect]:
        """Say VIEW-CHANGE for the present view, once; a node that could not vote when it came there says it later."""
        rules, step = state.rules, Step.VIEW_CHANGE
        if state.view == 0 or not self.may_vote(state, now) or any(view == state.view for _, view in state.signed):
            return []
        digest = prepared_digest(state.prepared)
        signature = self._voice.sign(state, step, digest, None if state.prepared is None else state.prepared.view)
        if signature is None:
            return self._voice.refused(state, step)
        message = ViewChange(self.settings.member, rules.epoch, rules.height, state.view, state.prepared, signature)
        state.own[step] = message
        state.view_changes.add(message)
        return [Persist((encode_record(Signed(message)),)), self._voice.seal(), Broadcast(message)]

    def complain(self, state: HeightState, now: Now) -> list[Effect]:
        """Leave view 0 of a leader that has led for long while one transaction waited for long (request timer)."""
        rules = state.rules
        led_ms = now.monotonic_ms - self._led_since_ms
        is_late = min(self.waiting_ms, led_ms) >= self.settings.complain_ms
        if state.view or not is_late or rules.head.proposer not in (None, rules.leader(0)):
            return []
        return self.leave(state, now, "complaint", f"{rules.leader(0)} leaves a transaction waiting")

    def arm(self, state: HeightState, now: Now) -> list[Effect]:
        """Start the timer of the view, once, if there is something to wait for; else stop it."""
        is_awaiting = _is_shared(state) if state.view else self._is_block_due(state, now)
        if not is_awaiting or not self.may_vote(state, now):
            state.deadline_ms = None
            return []
        if state.deadline_ms is not None:
            return []
        doubled_ms = self.settings.timeout_ms << min(state.view, 16)
        state.deadline_ms = now.monotonic_ms + min(doubled_ms, self.settings.timeout_max_ms)
        return [Wake(state.deadline_ms)]

    def _is_block_due(self, state: HeightState, now: Now) -> bool:
        """Tell whether view 0 ought to bring a block; the votes of f liars alone do not say so."""
        is_voted = state.votes.voters > faults(len(state.rules.validators))
        has_work = state.is_pending or self.is_heartbeat_due(now)
        return has_work or state.is_awaited or state.proposal is not None or is_voted


def _is_shared(state: HeightState) -> bool:
    """Tell whether a quorum announced this view or a later one; counting only this one would deadlock."""
    return state.view_changes.count_from(state.view) >= state.rules.validators.quorum
