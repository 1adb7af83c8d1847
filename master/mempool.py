"""Transactions that wait for a block: bounded, one per key and counter, organisations served in turn (TX-12)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from master.party import Party
from rules.places import has_place
from wire.tx import SignedTx, open_tx
from wire.types import Digest, sha256

PER_SENDER_MAX: Final = 256
"""Of one gateway, or of an organisation and its operators together."""
BYTES_MAX: Final = 64 * 1024 * 1024


class MempoolError(Exception):
    """A transaction was not taken; ``code`` says why: mempool-full, sender-full or seq-taken."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(slots=True)
class _Sender:
    party: Party
    transactions: dict[tuple[int, bytes], SignedTx] = field(default_factory=dict)
    """Keyed by (seq, kid)."""
    slots: list[tuple[int, bytes]] = field(default_factory=list)
    """The keys, ascending."""

    def in_order(self) -> Iterator[SignedTx]:
        """Yield the transactions by (seq, kid)."""
        return map(self.transactions.__getitem__, self.slots)


@dataclass(slots=True)
class _Share:
    """What waits on one account."""

    senders: OrderedDict[str, _Sender] = field(default_factory=OrderedDict)
    """In the order in which they are served next."""
    count: int = 0
    size_bytes: int = 0

    def in_turn(self) -> Iterator[SignedTx]:
        """Yield the transactions, senders in turn, each by (seq, kid)."""
        if len(self.senders) == 1:
            return next(iter(self.senders.values())).in_order()
        return _in_turn([sender.in_order() for sender in self.senders.values()])


class Mempool:
    """Pending transactions, at most 64 MiB in all, of which nobody may hold more than is free."""

    def __init__(self, *, per_sender_max: int = PER_SENDER_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._per_sender_max = per_sender_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._by_id: dict[Digest, SignedTx] = {}
        self._senders: dict[str, _Sender] = {}
        # parties in the order in which they are served next
        self._shares: OrderedDict[Party, _Share] = OrderedDict()

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

    def add(self, signed: SignedTx, party: Party) -> bool:
        """Take a checked transaction; False when it is here already.

        Args:
            signed: Its signature verified.
            party: On whose account it waits; while others of its sender wait, on the account of those.

        Raises:
            MempoolError: No room, or another transaction of the same key has the same seq.
        """
        if signed.id in self._by_id:
            return False
        size = len(signed.raw)
        if self._bytes + size > self._bytes_max:
            raise MempoolError("mempool-full", f"the {self._bytes_max} bytes for pending transactions are taken")
        name, slot = signed.tx.sender, (signed.tx.seq, signed.envelope.kid)
        sender = self._senders.get(name) or _Sender(party)
        share = self._shares.get(sender.party) or _Share()
        if slot in sender.transactions:
            raise MempoolError("seq-taken", f"another transaction with seq {signed.tx.seq} of this key is pending")
        self._check_share(sender, share)
        self._senders[name] = share.senders[name] = sender
        self._shares[sender.party] = share
        sender.transactions[slot] = signed
        insort(sender.slots, slot)
        share.count += 1
        share.size_bytes += size
        self._by_id[signed.id] = signed
        self._bytes += size
        return True

    def _check_share(self, sender: _Sender, share: _Share) -> None:
        organisation, are_gateways = sender.party
        if (len(sender.slots) if are_gateways else share.count) >= self._per_sender_max:
            whose = "this gateway" if are_gateways else f"{organisation} and its operators"
            raise MempoolError("sender-full", f"{self._per_sender_max} transactions of {whose} are pending")
        if not has_place(share.size_bytes, self._bytes, self._bytes_max):
            whose = f"{'the gateways of ' * are_gateways}{organisation}"
            raise MempoolError("sender-full", f"{share.size_bytes} bytes of {whose} are pending, more than are free")

    def candidates(self, bytes_max: int) -> list[SignedTx]:
        """Return transactions of at most ``bytes_max`` in all: parties in turn, their senders in turn, seq ascending.

        The party, and of it the sender, that was served first goes to the end of the line, so that nobody starves.
        """
        queues = [share.in_turn() for share in self._shares.values()]
        if self._shares:
            party, share = next(iter(self._shares.items()))
            self._shares.move_to_end(party)
            share.senders.move_to_end(next(iter(share.senders)))
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
            name, sender = signed.tx.sender, self._senders[signed.tx.sender]
            share = self._shares[sender.party]
            slot = (signed.tx.seq, signed.envelope.kid)
            del sender.transactions[slot], sender.slots[bisect_left(sender.slots, slot)]
            share.count -= 1
            share.size_bytes -= len(signed.raw)
            self._bytes -= len(signed.raw)
            if not sender.slots:
                del self._senders[name], share.senders[name]
            if not share.senders:
                del self._shares[sender.party]

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
