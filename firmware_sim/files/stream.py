"""A reproducible stream of choices: the same label gives the same files on every machine.

SHAKE-256 is used instead of a random generator, because its output does not
depend on a library version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

_BLOCK_BYTES = 65_536
_WORD_BYTES = 4

T = TypeVar("T")


class Stream:
    """Bytes, numbers and picks that follow from a label alone."""

    def __init__(self, *labels: str) -> None:
        """Start the stream of ``labels``."""
        self._label = "\x1f".join(labels).encode()
        self._block = b""
        self._index = 0
        self._position = 0

    def take(self, size: int) -> bytes:
        """Give the next ``size`` bytes."""
        parts = []
        while size > 0:
            if self._position == len(self._block):
                label = self._label + b"\x1e" + str(self._index).encode()
                self._block = hashlib.shake_256(label).digest(_BLOCK_BYTES)
                self._index += 1
                self._position = 0
            part = self._block[self._position : self._position + size]
            self._position += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def below(self, limit: int) -> int:
        """Give a number in 0..limit-1; limit is at most 2**31."""
        return int.from_bytes(self.take(_WORD_BYTES), "big") % limit

    def between(self, low: int, high: int) -> int:
        """Give a number in low..high."""
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[T]) -> T:
        """Give one of ``items``."""
        return items[self.below(len(items))]
