"""The gateway's clock as evidence names it: the time, and how far it can be trusted."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final

from agent.io.ledgertime import LedgerTime
from kit.clock import Clock
from wire import evidence

JUMP_MS: Final = 1000
"""Wall time that runs away from monotonic time by more than this was set by somebody."""
SUSPECT_MS: Final = 15 * 60 * 1000
"""How long the clock is suspect after a jump."""

_STA_UNSYNC: Final = 0x0040
_TIMEX_BYTES: Final = 512
"""More than struct timex has on any Linux."""
_STATUS_OFFSET: Final = 5 * ctypes.sizeof(ctypes.c_long)


def kernel_is_synchronised() -> bool | None:
    """Ask the kernel whether something keeps its clock right; None where it does not say.

    Source: adjtimex(2): a call with modes 0 changes nothing.
    """
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if adjtimex is None or os.name != "posix":
        return None
    buffer = (ctypes.c_char * _TIMEX_BYTES)()
    if adjtimex(ctypes.byref(buffer)) < 0:
        return None
    # struct timex: modes (padded to a long), offset, freq, maxerror, esterror, status
    status = ctypes.c_int.from_buffer(buffer, _STATUS_OFFSET).value
    return not status & _STA_UNSYNC


class GradedClock:
    """A clock that notices when it is set, and when the ledger's time is another.

    Args:
        clock: The machine's clock.
        is_synchronised: Asked for each piece of evidence.
    """

    def __init__(self, clock: Clock, is_synchronised: Callable[[], bool | None] = kernel_is_synchronised) -> None:
        self._clock = clock
        self.ledger = LedgerTime(clock)
        """What verified headers say of the time."""
        self._is_synchronised = is_synchronised
        self._last = (clock.now_ms(), clock.monotonic_ms())
        self._suspect_until_ms = self._last[1]

    def now_ms(self) -> int:
        """Return milliseconds since 1970 UTC."""
        return self._clock.now_ms()

    def monotonic_ms(self) -> int:
        """Return milliseconds of a clock that nobody sets."""
        return self._clock.monotonic_ms()

    def offset_ms(self) -> int | None:
        """Return by how much the machine's clock is wrong as far as the ledger tells, None when it seems right.

        A clock that something keeps right and that is ahead is believed: then the headers are old.
        """
        offset_ms = self.ledger.offset_ms()
        if offset_ms is not None and offset_ms > 0 and self._is_synchronised():
            return None
        return offset_ms

    def best_ms(self) -> int:
        """Return the time to act by: the machine's, or the ledger's where the machine's is wrong."""
        return self._clock.now_ms() - (self.offset_ms() or 0)

    def graded(self) -> evidence.Clock:
        """Return the time and its grade, as evidence carries them."""
        now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        last_now_ms, last_monotonic_ms = self._last
        self._last = (now_ms, monotonic_ms)
        if abs((now_ms - last_now_ms) - (monotonic_ms - last_monotonic_ms)) > JUMP_MS:
            self._suspect_until_ms = monotonic_ms + SUSPECT_MS
        if monotonic_ms < self._suspect_until_ms:
            grade = "suspect"
        else:
            grade = "synchronised" if self._is_synchronised() else "unknown"
        offset_ms = self.offset_ms()
        if offset_ms is not None:
            return evidence.Clock(now_ms - offset_ms, source="ledger", offset_ms=offset_ms, grade="suspect")
        return evidence.Clock(time_ms=now_ms, source="system", offset_ms=None, grade=grade)
