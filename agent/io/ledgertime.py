"""The ledger's time as a gateway can know it, for gateways whose own clock is wrong (docs/spec LC-10)."""

from __future__ import annotations

from typing import Final

from kit.clock import Clock

BEHIND_MS: Final = 2_000
"""A correct clock is behind no header: block times run at most a second ahead."""
AHEAD_MS: Final = 5 * 60 * 1000
"""A header may have been under way for a while."""


class LedgerTime:
    """Runs on from the newest header verified since the start, by the clock that nobody sets."""

    def __init__(self, clock: Clock) -> None:
        """Begin without a header.

        Args:
            clock: The machine's clocks.
        """
        self._clock = clock
        self._base: tuple[int, int] | None = None
        """Block time, and the monotonic clock when it was heard."""

    def heard(self, time_ms: int) -> None:
        """Note the time of a verified header; one that was long under way changes nothing."""
        if time_ms > (self.now_ms() or 0):
            self._base = time_ms, self._clock.monotonic_ms()

    def now_ms(self) -> int | None:
        """Return the ledger's time, at the least; None before the first header."""
        if self._base is None:
            return None
        time_ms, at_ms = self._base
        return time_ms + self._clock.monotonic_ms() - at_ms

    def offset_ms(self) -> int | None:
        """Return by how much the own clock differs from the ledger's time, None while that is within bounds."""
        ledger_ms = self.now_ms()
        if ledger_ms is None:
            return None
        offset_ms = self._clock.now_ms() - ledger_ms
        return None if -BEHIND_MS <= offset_ms <= AHEAD_MS else offset_ms
