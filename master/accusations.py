"""Fault proofs that wait for a block: checked on arrival, one per offender, height and kind, bounded per offender.

They are kept over a restart: one that finds nobody at the head, as after a power failure, would else be forgotten.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from master.ledger import faults
from master.ledger.faults import FaultCourt, is_recorded, recorded_count
from master.ledger.state import Entries
from wire.errors import WireError
from wire.faultproof import FaultProof, decode_fault_proof

WAITING_PER_MEMBER_MAX: Final = 16


class Kept(Protocol):
    """What outlives a restart."""

    def read(self) -> Sequence[bytes]:
        """Return what was written last, of which nothing is proven."""
        ...

    def write(self, proofs: Sequence[bytes]) -> None:
        """Put these in the place of what was written last."""
        ...


class Accusations:
    """What this node knows against validators and the ledger does not yet; one thread at a time.

    Args:
        court: Judges proofs.
        state: After the newest block.
        kept: Where all that waits is written whenever it changes.
    """

    def __init__(self, court: FaultCourt, state: Entries, kept: Kept) -> None:
        self._court = court
        self._state = state
        self._kept = kept
        self._waiting: dict[tuple[str, int, str], bytes] = {}

    def take_up(self) -> None:
        """Let wait again what was kept, as far as it proves something and no block holds it."""
        for raw in self._kept.read():
            with contextlib.suppress(WireError):
                self._admit(raw)

    def add(self, raw: bytes) -> FaultProof | None:
        """Let a proof wait for a block; return it when it is new, None when it is known or more than is kept.

        Raises:
            FaultRefusedError: It proves nothing.
        """
        proof = self._admit(raw)
        if proof is not None:
            self._kept.write(self.waiting())
        return proof

    def _admit(self, raw: bytes) -> FaultProof | None:
        proof = self._court.prove(raw)
        waiting = Counter(member for member, _, _ in self._waiting)[proof.member]
        is_full = waiting >= WAITING_PER_MEMBER_MAX
        is_full = is_full or waiting + recorded_count(self._state, proof.member) >= faults.PER_MEMBER_MAX
        if proof.place in self._waiting or is_full or is_recorded(self._state, proof):
            return None
        self._waiting[proof.place] = raw
        return proof

    def waiting(self) -> tuple[bytes, ...]:
        """Return canonical proofs, in no particular order."""
        return tuple(self._waiting.values())

    def applied(self, proofs: Iterable[bytes]) -> None:
        """Forget what a block has brought to the ledger."""
        count = len(self._waiting)
        for raw in proofs:
            self._waiting.pop(decode_fault_proof(raw).place, None)
        if len(self._waiting) < count:
            self._kept.write(self.waiting())
