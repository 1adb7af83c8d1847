"""Whether this node may speak with its vote key, and what it signs (docs/spec CM-17 to CM-23).

It joins the signer guard, the questions of a start, and quarantine; the replica asks it before every statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from master.consensus.events import Apply, Effect, Now, Report, Seal, Send
from master.consensus.guard import SignerGuard, Statement
from master.consensus.messages import GetStanding, Standing
from master.consensus.records import Record
from master.consensus.recovery import Recovery, quarantine_reason
from master.consensus.signer import Signer, endorsed
from master.consensus.state import HeightState, Settings
from wire.certificate import Step
from wire.types import Digest


class Voice:
    """The voice of one validator over one start."""

    def __init__(
        self,
        settings: Settings,
        head_height: int,
        sign: Callable[[bytes], bytes],
        guard: SignerGuard | None,
        recovery: Recovery,
    ) -> None:
        self._settings = settings
        self._doubt = quarantine_reason(guard, head_height)
        known = guard or SignerGuard(floor=head_height)
        # who only follows writes its guard, too: what is in doubt must stay so until its key votes again
        self._signer = Signer(settings.member, sign, replace(known, is_restored=self._doubt is not None))
        self._recovery = recovery
        self._told_ms: dict[str, int] = {}
        self._seated_from: int | None = None
        """Lowest height at which this start may vote."""
        self._is_halted = False

    @property
    def quarantine(self) -> str | None:
        """Why this node must not vote before the ledger has left its past behind, or None."""
        return self._recovery.reason

    @property
    def is_halted(self) -> bool:
        """Tell whether this node found that it diverges and signs nothing more."""
        return self._is_halted

    def halt(self) -> None:
        """Sign nothing more."""
        self._is_halted = True

    def may_speak(self, state: HeightState, now: Now) -> bool:
        """Tell whether anything may be signed; whether it is catching up is not looked at."""
        is_barred = self._is_halted or state.is_silent or self._recovery.reason is not None
        if is_barred or not self._settings.is_seated(state.rules.validators):
            return False
        return self._recovery.is_settled(now, is_new=self._signer.guard.is_new)

    def restore(self, records: Iterable[Record], state: HeightState) -> list[Effect]:
        """Take up the log; what stands in it above the guard passes the guard first."""
        before = self._signer.guard
        effects = self._doubted(state)
        for record in endorsed(records, self._signer, state.rules.height):
            state.restore(record, self._settings.member)
        guard = self._signer.guard
        if guard.height == state.rules.height and guard.view > state.view:
            state.enter(guard.view)  # the log has lost what brought this node there
        if guard != before:
            effects.append(self.seal())
        return effects

    def turn(self, state: HeightState) -> list[Effect]:
        """Go by the validators of the epoch that begins with this height."""
        self._recovery.follow(state.rules.validators)
        return self._doubted(state)

    def _doubted(self, state: HeightState) -> list[Effect]:
        """Let a validator that cannot know what its key has signed go into quarantine; who follows signs nothing."""
        if not self._settings.is_seated(state.rules.validators):
            return []
        if self._seated_from is None:
            self._seated_from = state.rules.height
        if self._doubt is None:
            return self._outrun()
        reason, self._doubt = self._doubt, None
        return self.enter_quarantine(reason)

    def _outrun(self) -> list[Effect]:
        """Let a new guard be doubted when the ledger is where its key, if it is older, may have voted."""
        if not self._signer.guard.is_new or self._seated_from is None:
            return []
        proven = self._recovery.proven_head
        if proven >= self._seated_from:
            return self.enter_quarantine(f"the signer guard is new, and height {proven} is final already")
        return [self._signer.begin()] if self._recovery.is_answered else []

    # ---- signing ------------------------------------------------------------------------------

    def sign(self, state: HeightState, step: Step, digest: Digest, prepared_view: int | None = None) -> bytes | None:
        """Return the signature of a statement in the present view; None when the guard refuses it."""
        rules = state.rules
        statement = Statement(rules.epoch, rules.height, state.view, step, digest, prepared_view)
        signature = self._signer.sign(rules.chain, statement)
        if signature is not None:
            state.signed[step, state.view] = digest
        return signature

    def seal(self) -> Seal:
        """Return the effect that must stand before what was signed is sent."""
        return Seal(self._signer.guard)

    def refused(self, state: HeightState, step: Step) -> list[Effect]:
        """Give up one step of this view; after a VIEW-CHANGE that would hide a COMMIT, all of this height."""
        state.refused.add((step, state.view))
        state.is_silent = state.is_silent or step is Step.VIEW_CHANGE
        place = f"{step.name.lower()} at {state.rules.height} in view {state.view}"
        return [Report("vote-refused", f"{place}: the signer guard knows of another statement")]

    def floored(self, apply: Apply) -> list[Effect]:
        """Raise the guard's floor, on disk, before a block is stored."""
        return self._signer.floored(apply)

    # ---- starting -----------------------------------------------------------------------------

    def ask(self, now: Now) -> list[Effect]:
        """Ask the others what they know of this key."""
        return self._recovery.ask(now)

    def converse(self, sender: str, message: GetStanding | Standing, state: HeightState, now: Now) -> list[Effect]:
        """Answer who has started; or take an answer, which may show that the key was used beyond the guard."""
        if isinstance(message, Standing):
            reason = self._recovery.take(sender, message, self._signer.guard)
            return self._outrun() if reason is None else self.enter_quarantine(reason)
        is_seated = self._settings.is_seated(state.rules.validators)
        if not is_seated or now.monotonic_ms < self._told_ms.get(sender, 0):
            return []
        self._told_ms[sender] = now.monotonic_ms + self._settings.status_interval_ms // 2
        return [self._tell(sender, message.nonce, state)]

    def _tell(self, asker: str, nonce: Digest, state: HeightState) -> Send:
        """Say where this node stands, and the newest word of the asker's key that it holds."""
        rules, is_quarantined = state.rules, self._recovery.reason is not None
        newest = state.newest_of(asker)
        head = rules.head.certificate
        return Send(asker, self._signer.standing(rules.chain, nonce, head, newest, is_quarantined=is_quarantined))

    def enter_quarantine(self, reason: str) -> list[Effect]:
        """Vote no more until the ledger has left this key's past behind; on disk, for later starts."""
        if self._recovery.reason is not None:
            return []
        self._recovery.quarantine(reason)
        return [Report("quarantine", reason), self._signer.mark(self._recovery.nonce)]

    def leave_quarantine(self, head_height: int) -> list[Effect]:
        """Vote again once enough is final without this node."""
        if not self._recovery.is_over(head_height):
            return []
        self._recovery.release()
        detail = f"height {head_height} is final without this node"
        return [self._signer.forget(head_height), Report("quarantine-over", detail)]
