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
_WINDOW_BYTES: Final = WINDOW // 8
_START: Final = b"\xa2\x66window\x59" + _WINDOW_BYTES.to_bytes(2, "big")
_MIDDLE: Final = b"\x67highest"
_MASK: Final = (1 << WINDOW) - 1


@dataclass(frozen=True, slots=True)
class SequenceWindow:
    """Which numbers of one key are used up: all above ``highest`` are free, all below the window are not."""

    highest: int = 0
    """0 before the first transaction."""
    seen: int = 0
    """Bit i stands for number highest - 1 - i."""

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
            return SequenceWindow(self.highest, self.seen | 1 << (self.highest - 1 - seq))
        step = seq - self.highest
        if step > WINDOW:
            return SequenceWindow(seq, 0)
        return SequenceWindow(seq, (self.seen << step | 1 << (step - 1)) & _MASK)

    def encode(self) -> bytes:
        """Return the canonical state value."""
        # cbor.encode of {"window": bytes, "highest": integer} written out: every transaction writes one
        return b"".join((_START, self.seen.to_bytes(_WINDOW_BYTES, "big"), _MIDDLE, cbor.encode(self.highest)))


def decode_window(raw: bytes | None) -> SequenceWindow:
    """Return the window of a state value; without one, that of an unused key.

    Raises:
        FormatError: A field is missing, unknown or out of range.
    """
    if raw is None:
        return SequenceWindow()
    fields = Fields(decode_entry(raw), ("highest", "window"), "sequence")
    window = fields.octets("window", _WINDOW_BYTES, _WINDOW_BYTES)
    return SequenceWindow(fields.integer("highest", 1), int.from_bytes(window, "big"))
