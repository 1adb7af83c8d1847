"""Signed transactions whose blobs are not here yet: bounded, and the only reason to take an upload (BL-9). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from master.ledger.blobs import named_blobs
from wire.blob import BLOB_BYTES_MAX, BlobRef
from wire.tx import SignedTx
from wire.types import Digest

TRANSACTIONS_MAX: Final = 512
PER_SENDER_MAX: Final = 16
PER_SENDER_BYTES_MAX: Final = 4 * BLOB_BYTES_MAX
"""Of the blobs that the waiting transactions of one sender name."""

PER_SENDER_DAY_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024
"""The same over a UTC day: what waits may yet be refused, and what was brought for it stays for a day."""
SENDERS_MAX: Final = 65_536
_DAY_MS: Final = 86_400_000

Way = Literal["mqtt", "http", "gossip"]


@dataclass(frozen=True, slots=True)
class Guest:
    """One transaction that waits."""

    signed: SignedTx
    way: Way
    blobs: tuple[BlobRef, ...]
    """All that it names."""


class WaitingRoom:
    """Where transactions wait before the mempool."""

    def __init__(self) -> None:
        """Begin empty."""
        self._guests: dict[Digest, Guest] = {}
        self._day = 0
        self._day_bytes: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._guests)

    def find(self, tx_id: Digest) -> SignedTx | None:
        """Return the transaction of that id, if it waits here."""
        guest = self._guests.get(tx_id)
        return None if guest is None else guest.signed

    def enter(self, signed: SignedTx, way: Way, now_ms: int) -> bool:
        """Let a transaction wait; False when there is no room for it.

        Args:
            signed: Verified, and acceptable now.
            way: How it came.
            now_ms: Clock of this node, ms since 1970 UTC.
        """
        if signed.id in self._guests:
            return True
        guest = Guest(signed, way, named_blobs(signed.tx))
        own = [other for other in self._guests.values() if other.signed.tx.sender == signed.tx.sender]
        size = sum(blob.size for other in (*own, guest) for blob in other.blobs)
        if len(self._guests) >= TRANSACTIONS_MAX or len(own) >= PER_SENDER_MAX or size > PER_SENDER_BYTES_MAX:
            return False
        if not self._charge(signed.tx.sender, sum(blob.size for blob in guest.blobs), now_ms // _DAY_MS):
            return False
        self._guests[signed.id] = guest
        return True

    def _charge(self, sender: str, size: int, day: int) -> bool:
        """Count bytes of a sender's day; False when they are too many."""
        if day != self._day:
            self._day, self._day_bytes = day, {}
        total = self._day_bytes.get(sender, 0) + size
        if total > PER_SENDER_DAY_BYTES_MAX or len(self._day_bytes) >= SENDERS_MAX:
            return False
        self._day_bytes[sender] = total
        return True

    def leave(self, holds: Callable[[BlobRef], bool]) -> list[Guest]:
        """Return the transactions whose blobs have all come; they wait no more."""
        ready = [guest for guest in self._guests.values() if all(map(holds, guest.blobs))]
        self.remove(guest.signed.id for guest in ready)
        return ready

    def remove(self, tx_ids: Iterable[Digest]) -> None:
        """Forget transactions; unknown ids are ignored."""
        for tx_id in tx_ids:
            self._guests.pop(tx_id, None)

    def expire(self, time_ms: int) -> None:
        """Forget what no block after ``time_ms`` may hold."""
        self.remove([tx_id for tx_id, guest in self._guests.items() if guest.signed.tx.valid_until_ms <= time_ms])

    def named(self) -> dict[Digest, int]:
        """Return the size of every blob that a waiting transaction names."""
        return {blob.digest: blob.size for guest in self._guests.values() for blob in guest.blobs}
