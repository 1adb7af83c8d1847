"""Signed transactions whose blobs are not here yet: bounded, and the only reason to take an upload (BL-9). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from master.ledger.blobs import named_blobs
from master.party import Party
from wire.blob import BLOB_BYTES_MAX, BlobRef
from wire.tx import SignedTx
from wire.types import Digest

TRANSACTIONS_MAX: Final = 512
PER_PARTY_MAX: Final = 16
PER_PARTY_BYTES_MAX: Final = 4 * BLOB_BYTES_MAX
"""Of the blobs that the waiting transactions of one party name."""

PER_PARTY_DAY_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024
"""The same over a UTC day: what waits may yet be refused, and what was brought for it stays for a day."""
_DAY_MS: Final = 86_400_000

Way = Literal["mqtt", "http", "gossip"]


@dataclass(frozen=True, slots=True)
class Guest:
    """One transaction that waits."""

    signed: SignedTx
    party: Party
    way: Way
    blobs: tuple[BlobRef, ...]
    """All that it names."""


class WaitingRoom:
    """Where transactions wait before the mempool."""

    def __init__(self) -> None:
        """Begin empty."""
        self._guests: dict[Digest, Guest] = {}
        self._day = 0
        self._day_bytes: dict[Party, int] = {}
        """Two parties at most for each organisation of the ledger."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._guests)

    def find(self, tx_id: Digest) -> SignedTx | None:
        """Return the transaction of that id, if it waits here."""
        guest = self._guests.get(tx_id)
        return None if guest is None else guest.signed

    def enter(self, signed: SignedTx, party: Party, way: Way, now_ms: int) -> bool:
        """Let a transaction wait; False when there is no room for it.

        Args:
            signed: Verified, and acceptable now.
            party: On whose account it waits.
            way: How it came.
            now_ms: Clock of this node, ms since 1970 UTC.
        """
        if signed.id in self._guests:
            return True
        guest = Guest(signed, party, way, named_blobs(signed.tx))
        own = [other for other in self._guests.values() if other.party == party]
        size = sum(blob.size for other in (*own, guest) for blob in other.blobs)
        if len(self._guests) >= TRANSACTIONS_MAX or len(own) >= PER_PARTY_MAX or size > PER_PARTY_BYTES_MAX:
            return False
        if not self._charge(party, sum(blob.size for blob in guest.blobs), now_ms // _DAY_MS):
            return False
        self._guests[signed.id] = guest
        return True

    def _charge(self, party: Party, size: int, day: int) -> bool:
        """Count bytes of a party's day; False when they are too many."""
        if day != self._day:
            self._day, self._day_bytes = day, {}
        total = self._day_bytes.get(party, 0) + size
        if total > PER_PARTY_DAY_BYTES_MAX:
            return False
        self._day_bytes[party] = total
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

    def party_of(self, blob: Digest) -> Party | None:
        """Return on whose account the first transaction waits that names a blob, None if none does."""
        parties = (guest.party for guest in self._guests.values() if any(one.digest == blob for one in guest.blobs))
        return next(parties, None)

    def named(self) -> dict[Digest, int]:
        """Return the size of every blob that a waiting transaction names."""
        return {blob.digest: blob.size for guest in self._guests.values() for blob in guest.blobs}
