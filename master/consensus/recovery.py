"""May this node vote after its start? What it asks the others, and its quarantine (docs/spec CM-20 to CM-22).

A start is settled when all others told what they hold of this node's key, or after one view timeout: after a power
failure the others may not exist. Quarantine lasts until the ledger has left behind whatever the key may have signed.
"""

from __future__ import annotations

from master.consensus.events import Effect, Now, Send
from master.consensus.guard import SignerGuard, Statement
from master.consensus.messages import GetStanding, Standing
from master.consensus.state import Settings
from wire.certificate import ValidatorSet
from wire.types import Digest

_PASSED_BY_OTHERS = 2
"""So many heights must become final without this node, beyond the highest that anybody proves."""


class Recovery:
    """One start of one node."""

    def __init__(self, settings: Settings, nonce: Digest, now: Now) -> None:
        """Begin to ask.

        Args:
            settings: As of the replica.
            nonce: 32 bytes that no earlier start used.
            now: The clocks.
        """
        self._settings = settings
        self.nonce = nonce
        """Drawn for this start."""
        self._validators = settings.validators
        self._others = self._all_others()
        self._settled_ms = now.monotonic_ms + settings.timeout_ms
        self._ask_ms = now.monotonic_ms
        self._answers: dict[str, Standing] = {}
        self._resume_head: int | None = None
        self.reason: str | None = None
        """Why this node is in quarantine; None while it is not."""

    def _all_others(self) -> list[str]:
        return [entry.member for entry in self._validators.validators if entry.member != self._settings.member]

    def follow(self, validators: ValidatorSet) -> None:
        """Go by the validators of the epoch that begins; what those who stay have answered still counts."""
        self._validators = validators
        self._others = self._all_others()
        self._answers = {member: answer for member, answer in self._answers.items() if member in self._others}

    @property
    def is_answered(self) -> bool:
        """Tell whether all others have answered."""
        return len(self._answers) == len(self._others)

    @property
    def proven_head(self) -> int:
        """The highest head that an answer proves, 0 without one."""
        return max((answer.height for answer in self._answers.values()), default=0)

    def is_settled(self, now: Now, *, is_new: bool) -> bool:
        """Tell whether this start need not wait for answers any more.

        Args:
            now: The clocks.
            is_new: The guard is new. Nothing is decided without a quorum, so a new ledger loses nothing by waiting for
                one, and who has lost everything hears of its past.
        """
        if is_new and len(self._answers) + 1 < self._validators.quorum:
            return False
        return self.is_answered or now.monotonic_ms >= self._settled_ms

    def quarantine(self, reason: str) -> None:
        """Vote no more until the ledger has left this node's past behind; what was answered before is too old."""
        self.reason = reason
        self._answers.clear()

    def ask(self, now: Now) -> list[Effect]:
        """Ask, once per status interval, those who have not answered; in quarantine everybody, until enough did."""
        if now.monotonic_ms < self._ask_ms:
            return []
        self._ask_ms = now.monotonic_ms + self._settings.status_interval_ms
        is_seeking = self.reason is not None and self._resume_head is None
        asked = [member for member in self._others if is_seeking or member not in self._answers]
        return [Send(member, GetStanding(self.nonce)) for member in asked]

    def take(self, sender: str, answer: Standing, guard: SignerGuard) -> str | None:
        """Take an answer; return why this node must go into quarantine, if the answer says so.

        Args:
            sender: Whose connection brought it.
            answer: Its signatures verify.
            guard: What this node remembers to have signed.
        """
        if answer.nonce != self.nonce or answer.member != sender or sender not in self._others:
            return None
        self._answers[sender] = answer
        spoken = answer.spoken
        if spoken is None or spoken.member != self._settings.member:
            return None
        said = Statement(spoken.epoch, spoken.height, spoken.view, spoken.step, spoken.digest)
        if not guard.contradicts(said):
            return None
        return f"{sender} holds a {spoken.step.name} of height {spoken.height}, view {spoken.view} that the guard lacks"

    def is_over(self, head_height: int) -> bool:
        """Tell whether the quarantine may end with this head."""
        if self.reason is None:
            return False
        if self._resume_head is None:
            proven = [answer.height for answer in self._answers.values() if not answer.is_quarantined]
            if len(proven) < self._validators.quorum:
                return False
            self._resume_head = max(proven) + _PASSED_BY_OTHERS
        return head_height >= self._resume_head

    def release(self) -> None:
        """End the quarantine."""
        self.reason = self._resume_head = None


def quarantine_reason(guard: SignerGuard | None, head_height: int) -> str | None:
    """Return why a node with this guard and store must not vote, or None."""
    if guard is None:
        return "the signer guard is missing or unreadable"
    if guard.is_restored:
        return "this node was restored from a backup, or its last quarantine has not ended"
    if guard.floor < head_height:
        return f"the signer guard is older than the store: {guard.floor} below {head_height}"
    return None
