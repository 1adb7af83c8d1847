"""How much this node answers: a question of thirty bytes must not cost megabytes without end (docs/spec TP-8)."""

from __future__ import annotations

from typing import Final

LONG_BYTES: Final = 64 * 1024
"""Shorter answers are free: what asks for them is rarer than this."""
BYTES_PER_S: Final = 16 * 1024 * 1024
BURST_BYTES: Final = 64 * 1024 * 1024
_MS_PER_S: Final = 1000


class AnswerBudget:
    """Bytes of long answers that every member may still have; integers alone."""

    def __init__(self) -> None:
        """Begin with full budgets."""
        self._left: dict[str, tuple[int, int]] = {}
        """Bytes left, in thousandths, and when."""

    def wait_s(self, member: str, size_bytes: int, now_ms: int) -> float:
        """Charge an answer and return 0, or return after how many seconds it would be within the budget."""
        if size_bytes <= LONG_BYTES:
            return 0
        full = BURST_BYTES * _MS_PER_S
        left, at_ms = self._left.get(member, (full, now_ms))
        left = min(full, left + (now_ms - at_ms) * BYTES_PER_S)
        missing = size_bytes * _MS_PER_S - left
        self._left[member] = (left if missing > 0 else -missing), now_ms
        return -(-missing // BYTES_PER_S) / _MS_PER_S if missing > 0 else 0
