"""Signs what the signer guard allows, and says what the guard must be on disk (docs/spec CM-17, CM-18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from master.consensus.events import Apply, Effect, Seal
from master.consensus.guard import SignerGuard, Statement, statement_of
from master.consensus.messages import Propose, Spoken, Standing, ViewChange, Vote, standing_bytes
from master.consensus.records import Accepted, Record, Signed, height_of
from wire.certificate import Certificate, vote_bytes
from wire.types import Digest


class Signer:
    """A vote key and its guard; who calls `sign` must put ``guard`` into a `Seal` before the signature leaves."""

    def __init__(self, member: str, sign: Callable[[bytes], bytes], guard: SignerGuard) -> None:
        self.member = member
        self.guard = guard
        """As it must be on disk before anything signed so far is sent."""
        self._sign = sign

    def sign(self, chain: str, statement: Statement) -> bytes | None:
        """Raise the guard and sign; None when the guard refuses."""
        if self.guard.refusal(statement) is not None:
            return None
        self.guard = self.guard.raised(statement)
        place = (statement.step, statement.height, statement.view)
        return self._sign(vote_bytes(chain, statement.epoch, *place, statement.digest))

    def endorses(self, statement: Statement) -> bool:
        """Let a statement of the log pass the guard if it is above it; False when it may not be used."""
        if statement.place < self.guard.place:
            return True  # it passed when it was signed
        if self.guard.refusal(statement) is not None:
            return False
        self.guard = self.guard.raised(statement)
        return True

    def mark(self, lock: Digest) -> Seal:
        """Note that the key may have signed more than the guard knows of; ``lock`` names the quarantine."""
        self.guard = self.guard.marked(lock)
        return Seal(self.guard)

    def begin(self) -> Seal:
        """Note that the ledger is not beyond what a new guard can answer for."""
        self.guard = replace(self.guard, is_new=False)
        return Seal(self.guard)

    def forget(self, head_height: int) -> Seal:
        """Begin anew above a head: whatever the key signed up to it is of no account any more."""
        self.guard = SignerGuard(floor=max(head_height, self.guard.floor), height=head_height + 1)
        return Seal(self.guard)

    def floored(self, apply: Apply) -> list[Effect]:
        """Raise the floor, on disk, before a block is stored."""
        height = apply.block.header.height
        if height <= self.guard.floor:
            return [apply]
        self.guard = replace(self.guard, floor=height)
        return [Seal(self.guard), apply]

    def standing(
        self,
        chain: str,
        nonce: Digest,
        certificate: Certificate | None,
        newest: Vote | ViewChange | Propose | None,
        *,
        is_quarantined: bool,
    ) -> Standing:
        """Return a signed answer to a node that has started."""
        signed = standing_bytes(chain, self.member, nonce, certificate, is_quarantined=is_quarantined)
        spoken = None if newest is None else _spoken(newest)
        return Standing(self.member, nonce, certificate, is_quarantined, spoken, self._sign(signed))


def endorsed(records: Iterable[Record], signer: Signer, height: int) -> Iterator[Record]:
    """Yield the records of a height, without own statements that the guard refuses."""
    for record in records:
        if height_of(record) != height:
            continue
        message = _own(record, signer.member)
        if message is None or signer.endorses(statement_of(message)):
            yield record


def _own(record: Record, member: str) -> Vote | ViewChange | Propose | None:
    if isinstance(record, Signed):
        return record.message
    if isinstance(record, Accepted) and record.propose.member == member:
        return record.propose
    return None


def _spoken(message: Vote | ViewChange | Propose) -> Spoken:
    said = statement_of(message)
    place = (said.step, said.epoch, said.height, said.view)
    return Spoken(message.member, *place, said.digest, message.signature)
