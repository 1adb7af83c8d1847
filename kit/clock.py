"""The clock that programs pass in, so that tests can turn it by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for people and records, monotonic time for waiting."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC; may jump when the clock is set."""
        ...

    def monotonic_ms(self) -> int:
        """Return milliseconds since an unknown start; never goes back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Return milliseconds of the monotonic clock."""
        return time.monotonic_ns() // 1_000_000


class FakeClock:
    """A clock for tests: it stands still until it is told to move."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0

    def now_ms(self) -> int:
        """Return the wall time that was set."""
        return self._now_ms

    def monotonic_ms(self) -> int:
        """Return the sum of all advances."""
        return self._monotonic_ms

    def advance(self, by_ms: int) -> None:
        """Let time pass on both clocks."""
        assert by_ms >= 0, "time does not run backwards; use set_now for a clock that is set back"
        self._now_ms += by_ms
        self._monotonic_ms += by_ms

    def set_now(self, now_ms: int) -> None:
        """Set the wall clock, as an operator or a time server may; monotonic time does not care."""
        self._now_ms = now_ms
