"""When evidence that has no receipt is sent, and sent again: pure bookkeeping, the caller has the clock.

Oldest first. What has no receipt after 5 s is sent again, then after twice as long each time, up to a minute. Only so
many wait for their receipts at a time; what has been sent several times in vain no longer counts among them, so that
one report which no node takes cannot hold back the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

RESEND_MS: Final = 5000
RESEND_MS_MAX: Final = 60_000
WINDOW: Final = 64
"""Reports that wait for their first receipts at the same time."""
ATTEMPTS_COUNTED_MAX: Final = 3
"""After so many attempts a report no longer takes a place in the window."""
ATTEMPTS_REWRAP: Final = 6
"""After so many attempts, while others get receipts, a report is wrapped under a new number."""


class Numbered(Protocol):
    """What is sent: evidence under its key, the older the smaller."""

    @property
    def evidence(self) -> int:
        """Key of the evidence."""


NumberedT = TypeVar("NumberedT", bound=Numbered)


@dataclass(slots=True)
class _Sent:
    attempts: int
    next_ms: int
    settled_before: int


class ResendPlan:
    """Knows what was sent when in this connection."""

    def __init__(self) -> None:
        self._sent: dict[int, _Sent] = {}
        self._settled = 0

    def reset(self) -> None:
        """Forget what was sent: after a reconnect everything that waits is sent at once, oldest first."""
        self._sent.clear()

    def due(self, pending: Sequence[NumberedT], now_ms: int) -> list[NumberedT]:
        """Return what is to be sent now, oldest first.

        Args:
            pending: All that waits, or its oldest part, oldest first.
            now_ms: Monotonic milliseconds.
        """
        waiting = 0
        due = []
        for entry in pending:
            sent = self._sent.get(entry.evidence)
            if sent is None or sent.attempts < ATTEMPTS_COUNTED_MAX:
                waiting += 1
                if waiting > WINDOW:
                    continue
            if sent is None or sent.next_ms <= now_ms:
                due.append(entry)
        return due

    def wait_ms(self, pending: Sequence[Numbered], now_ms: int) -> int:
        """Return how long nothing becomes due, at most `RESEND_MS`; a new report is due at once."""
        waits = [sent.next_ms - now_ms for entry in pending if (sent := self._sent.get(entry.evidence)) is not None]
        return max(0, min([RESEND_MS, *waits]))

    def sent(self, evidence: int, now_ms: int) -> bool:
        """Note that a report was sent; tell whether it was sent before."""
        before = self._sent.get(evidence)
        attempts = 1 if before is None else before.attempts + 1
        pause_ms = min(RESEND_MS << (attempts - 1), RESEND_MS_MAX)
        settled_before = self._settled if before is None else before.settled_before
        self._sent[evidence] = _Sent(attempts, now_ms + pause_ms, settled_before)
        return before is not None

    def settled(self, evidence: int) -> None:
        """Note that a receipt came."""
        self._settled += 1
        self._sent.pop(evidence, None)

    def is_stuck(self, evidence: int) -> bool:
        """Tell whether a report was sent often while others got receipts: the nodes may hold its number for used."""
        sent = self._sent.get(evidence)
        return sent is not None and sent.attempts >= ATTEMPTS_REWRAP and self._settled > sent.settled_before

    def keep_only(self, pending: Sequence[Numbered]) -> None:
        """Forget what no longer waits."""
        known = {entry.evidence for entry in pending}
        for evidence in self._sent.keys() - known:
            del self._sent[evidence]
