"""Watches the oldest pending transaction: says it again to all, and for how long it has been passed over.

Source: docs/spec CM-24.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from kit.clock import Clock
from wire.tx import SignedTx
from wire.types import Digest

RESEND_MS: Final = 2_000
CHECK_MS: Final = 500
"""How often it is asked anew whether the next block could hold the oldest."""
DROPPED_MAX: Final = 256
"""Transactions that are looked at and forgotten in one call."""


class Pending(Protocol):
    """Transactions that wait for a block."""

    def oldest(self) -> SignedTx | None:
        """Return the one that came first."""
        ...

    def remove(self, tx_ids: Sequence[Digest]) -> None:
        """Forget transactions."""
        ...


class OldestWatch:
    """Asked at every tick; it keeps one transaction in mind."""

    def __init__(
        self,
        pending: Pending,
        is_acceptable: Callable[[SignedTx], bool],
        resend: Callable[[Sequence[bytes]], None],
        clock: Clock,
    ) -> None:
        """Watch.

        Args:
            pending: The mempool.
            is_acceptable: Whether the next block could hold a transaction; what it could not is forgotten.
            resend: Passes transactions on to every other validator.
            clock: For its monotonic time.
        """
        self._pending = pending
        self._is_acceptable = is_acceptable
        self._resend = resend
        self._clock = clock
        self._watched: Digest | None = None
        self._since_ms = 0
        self._resent_ms = 0
        self._checked_ms = 0

    def waiting_ms(self) -> int:
        """Return for how long the oldest transaction has been the oldest; 0 when none waits.

        What no block can hold is forgotten first, so that it makes nobody wait for a block or complain of a leader.
        """
        now_ms = self._clock.monotonic_ms()
        oldest = self._first(now_ms)
        if oldest is None:
            self._watched = None
            return 0
        if oldest.id != self._watched:
            self._watched, self._since_ms, self._resent_ms = oldest.id, now_ms, now_ms
        if now_ms - self._resent_ms >= RESEND_MS:
            self._resent_ms = now_ms
            self._resend((oldest.raw,))
        return now_ms - self._since_ms

    def _first(self, now_ms: int) -> SignedTx | None:
        """Return the oldest that the next block could hold; one that could a moment ago still can."""
        for _ in range(DROPPED_MAX):
            oldest = self._pending.oldest()
            if oldest is None or (oldest.id == self._watched and now_ms - self._checked_ms < CHECK_MS):
                return oldest
            self._checked_ms = now_ms
            if self._is_acceptable(oldest):
                return oldest
            self._pending.remove([oldest.id])
        return None
