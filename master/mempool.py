"""Transactions that wait for a block: bounded, one per key and counter, senders served in turn."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from wire.tx import SignedTx, open_tx
from wire.types import Digest, sha256

PER_SENDER_MAX: Final = 256
BYTES_MAX: Final = 64 * 1024 * 1024


class MempoolError(Exception):
    """A transaction was not taken; ``code`` says why: mempool-full, sender-full or seq-taken."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(slots=True)
class _Sender:
    transactions: dict[tuple[int, bytes], SignedTx] = field(default_factory=dict)
    """Keyed by (seq, kid)."""
    slots: list[tuple[int, bytes]] = field(default_factory=list)
    """The keys, ascending."""

    def in_order(self) -> Iterator[SignedTx]:
        """Yield the transactions by (seq, kid)."""
        return map(self.transactions.__getitem__, self.slots)


class Mempool:
    """Pending transactions, at most 256 per sender and 64 MiB in all."""

    def __init__(self, *, per_sender_max: int = PER_SENDER_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._per_sender_max = per_sender_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._by_id: dict[Digest, SignedTx] = {}
        # senders in the order in which they are served next
        self._senders: OrderedDict[str, _Sender] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of transactions."""
        return len(self._by_id)

    @property
    def size_bytes(self) -> int:
        """Bytes of all transactions."""
        return self._bytes

    def find(self, tx_id: Digest) -> SignedTx | None:
        """Return the transaction of that id, if it waits here."""
        return self._by_id.get(tx_id)

    def open(self, raw: bytes) -> SignedTx:
        """Return the transaction of these bytes, parsed anew only if it does not wait here; in any thread.

        Raises:
            WireError: As for `wire.tx.open_tx`.
        """
        return self._by_id.get(sha256(raw)) or open_tx(raw)

    def oldest(self) -> SignedTx | None:
        """Return the transaction that came first."""
        return next(iter(self._by_id.values()), None)

    def add(self, signed: SignedTx) -> bool:
        """Take a checked transaction; False when it is here already.

        Raises:
            MempoolError: No room, or another transaction of the same key has the same seq.
        """
        if signed.id in self._by_id:
            return False
        if self._bytes + len(signed.raw) > self._bytes_max:
            raise MempoolError("mempool-full", f"the {self._bytes_max} bytes for pending transactions are taken")
        sender = self._senders.setdefault(signed.tx.sender, _Sender())
        slot = (signed.tx.seq, signed.envelope.kid)
        if slot in sender.transactions:
            raise MempoolError("seq-taken", f"another transaction with seq {signed.tx.seq} of this key is pending")
        if len(sender.transactions) >= self._per_sender_max:
            raise MempoolError("sender-full", f"{self._per_sender_max} transactions of this sender are pending")
        sender.transactions[slot] = signed
        insort(sender.slots, slot)
        self._by_id[signed.id] = signed
        self._bytes += len(signed.raw)
        return True

    def candidates(self, bytes_max: int) -> list[SignedTx]:
        """Return transactions of at most ``bytes_max`` in all: senders in turn, seq ascending.

        The sender that was served first goes to the end of the line, so that nobody starves.
        """
        queues = [sender.in_order() for sender in self._senders.values()]
        if self._senders:
            self._senders.move_to_end(next(iter(self._senders)))
        taken: list[SignedTx] = []
        used_bytes = 0
        for signed in _in_turn(queues):
            used_bytes += len(signed.raw)
            if used_bytes > bytes_max:
                break
            taken.append(signed)
        return taken

    def longest_waiting(self, count_max: int, bytes_max: int) -> list[SignedTx]:
        """Return those that have waited longest, at most so many and of so many bytes in all."""
        found: list[SignedTx] = []
        used_bytes = 0
        for signed in islice(self._by_id.values(), count_max):
            used_bytes += len(signed.raw)
            if used_bytes > bytes_max:
                break
            found.append(signed)
        return found

    def remove(self, tx_ids: Iterable[Digest]) -> None:
        """Forget transactions that are committed or were refused; unknown ids are ignored."""
        for tx_id in tx_ids:
            signed = self._by_id.pop(tx_id, None)
            if signed is None:
                continue
            self._bytes -= len(signed.raw)
            sender = self._senders[signed.tx.sender]
            slot = (signed.tx.seq, signed.envelope.kid)
            del sender.transactions[slot], sender.slots[bisect_left(sender.slots, slot)]
            if not sender.transactions:
                del self._senders[signed.tx.sender]

    def rivals(self, signed: SignedTx) -> list[Digest]:
        """Return the id of the other transaction that has the key and seq of a committed one, if it waits here."""
        sender = self._senders.get(signed.tx.sender)
        held = None if sender is None else sender.transactions.get((signed.tx.seq, signed.envelope.kid))
        return [] if held is None or held.id == signed.id else [held.id]

    def expired(self, time_ms: int) -> list[Digest]:
        """Return the ids that no block after ``time_ms`` may hold."""
        return [tx_id for tx_id, signed in self._by_id.items() if signed.tx.valid_until_ms <= time_ms]


def _in_turn(queues: list[Iterator[SignedTx]]) -> Iterator[SignedTx]:
    """Yield one of each queue, then the next of each, until all are empty."""
    while queues:
        remaining = []
        for queue in queues:
            signed = next(queue, None)
            if signed is not None:
                remaining.append(queue)
                yield signed
        queues = remaining
