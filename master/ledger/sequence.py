"""Replay protection: one counter per key, its highest number and a window of 4,096 bits below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from master.ledger.call import decode_entry
from wire import cbor
from wire.fields import Fields

NAMESPACE: Final = "sequence"
WINDOW: Final = 4096
"""Numbers below the highest that may still arrive, once each."""
_WINDOW_BYTES_MAX: Final = WINDOW // 8
_TOP: Final = 1 << WINDOW - 1
_MASK: Final = (1 << WINDOW) - 1


@dataclass(frozen=True, slots=True)
class SequenceWindow:
    """Which numbers of one key are used up: all above ``highest`` are free, all below the window are not."""

    highest: int = 0
    """0 before the first transaction."""
    seen: int = -1
    """Bit i of its two's complement stands for number highest - 1 - i; -2^4095..2^4095-1.

    A key that leaves no number out has -1 for ever, and one that jumps beyond its window 0: a byte each.
    """

    def is_used(self, seq: int) -> bool:
        """Tell whether ``seq`` may not be used any more."""
        if seq > self.highest:
            return False
        below = self.highest - seq
        return below == 0 or below > WINDOW or bool(self.seen >> (below - 1) & 1)

    def use(self, seq: int) -> SequenceWindow:
        """Return the window after ``seq``.

        Raises:
            ValueError: ``seq`` is used up.
        """
        if self.is_used(seq):
            raise ValueError(f"sequence number {seq} is used up")
        if seq < self.highest:
            return SequenceWindow(self.highest, _within(self.seen | 1 << (self.highest - 1 - seq)))
        step = seq - self.highest
        if step > WINDOW:
            return SequenceWindow(seq, 0)
        return SequenceWindow(seq, _within(self.seen << step | 1 << (step - 1)))

    def encode(self) -> bytes:
        """Return the canonical state value."""
        seen_bytes = (~self.seen if self.seen < 0 else self.seen).bit_length() // 8 + 1
        # in the order of the bytes, and nothing in it to check: every transaction writes one
        return cbor.encode_part({"window": self.seen.to_bytes(seen_bytes, "big", signed=True), "highest": self.highest})


def _within(seen: int) -> int:
    """Return the number of as many bits as the window has whose bits are those of ``seen``."""
    if -_TOP <= seen < _TOP:
        return seen
    seen &= _MASK
    return seen - _TOP - _TOP if seen & _TOP else seen


def decode_window(raw: bytes | None) -> SequenceWindow:
    """Return the window of a state value; without one, that of an unused key.

    Raises:
        FormatError: A field is missing, unknown or out of range.
    """
    if raw is None:
        return SequenceWindow()
    fields = Fields(decode_entry(raw), ("highest", "window"), "sequence")
    window = fields.octets("window", 1, _WINDOW_BYTES_MAX)
    return SequenceWindow(fields.integer("highest", 1), int.from_bytes(window, "big", signed=True))
