"""Fault proofs in a block: which may stand there, and what they leave in the state (docs/spec, clauses FP-5 to FP-7).

State: proof/MEMBER/HEIGHT/KIND, one proof each; count/MEMBER, how many there are. Contracts do not write here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from master.ledger.call import decode_entry
from master.ledger.rows import EventRow, event_rows
from master.ledger.state import Entries, Overlay
from wire import cbor
from wire.certificate import ValidatorSet
from wire.errors import ProofError, WireError
from wire.faultproof import FAULT_PROOFS_MAX, FaultProof, decode_fault_proof, verify_fault_proof
from wire.types import sha256

NAMESPACE: Final = "faults"
FAULT_PROVEN: Final = "fault_proven"
PER_MEMBER_MAX: Final = 64
"""Proofs against one member that the ledger keeps; a liar could make endless ones against itself."""

EpochSets = Callable[[int], ValidatorSet | None]
"""The validators of an epoch; None when there is no such epoch up to now."""


class FaultRefusedError(ProofError):
    """A fault proof may not stand in a block; the message says why."""


@dataclass(frozen=True, slots=True)
class FaultCourt:
    """Judges fault proofs by the validators of their epochs."""

    chain: str
    epochs: EpochSets

    def prove(self, raw: bytes) -> FaultProof:
        """Decode a proof and check its signatures.

        Raises:
            FaultRefusedError: It proves nothing here.
        """
        try:
            proof = decode_fault_proof(raw)
            validators = self.epochs(proof.epoch)
            if validators is not None:
                verify_fault_proof(proof, self.chain, proof.epoch, validators)
        except WireError as error:
            raise FaultRefusedError(str(error), code=error.code) from error
        if validators is None:
            raise FaultRefusedError(f"fault proof: there is no epoch {proof.epoch}")
        return proof

    def choose(self, state: Overlay, candidates: Sequence[bytes], height: int, time_ms: int) -> tuple[bytes, ...]:
        """Write down what may stand in a block of ``height``, at most `FAULT_PROOFS_MAX`, and return it in order."""
        provable: dict[tuple[str, int, str], bytes] = {}
        for raw in candidates:
            try:
                provable.setdefault(self.prove(raw).place, raw)
            except FaultRefusedError:
                continue
        taken: list[bytes] = []
        for place in sorted(provable):
            try:
                self._record(state, provable[place], height, time_ms)
            except FaultRefusedError:
                continue
            taken.append(provable[place])
            if len(taken) == FAULT_PROOFS_MAX:
                break
        return tuple(taken)

    def execute(self, state: Overlay, proofs: Sequence[bytes], height: int, time_ms: int) -> None:
        """Write down the proofs of a block.

        Raises:
            FaultRefusedError: One proves nothing, is on the ledger already, or they are out of order.
        """
        places = [self._record(state, raw, height, time_ms).place for raw in proofs]
        if any(first >= second for first, second in pairwise(places)):
            raise FaultRefusedError("fault proofs: ascending by member, height and kind they must be")

    def _record(self, state: Overlay, raw: bytes, height: int, time_ms: int) -> FaultProof:
        proof = self.prove(raw)
        if proof.height > height:
            raise FaultRefusedError(f"fault proof: height {proof.height} is still to come")
        if is_recorded(state, proof):
            raise FaultRefusedError("fault proof: the ledger has one of this member, height and kind")
        count_key = b"count/" + proof.member.encode("ascii")
        count = recorded_count(state, proof.member)
        if count >= PER_MEMBER_MAX:
            raise FaultRefusedError(f"fault proof: the ledger has {PER_MEMBER_MAX} against {proof.member} already")
        entry: dict[str, cbor.Value] = {
            "digest": sha256(raw),
            "epoch": proof.epoch,
            "block": height,
            "time_ms": time_ms,
        }
        state.put(NAMESPACE, _key(proof), cbor.encode(entry))
        state.put(NAMESPACE, count_key, cbor.encode(count + 1))
        return proof


def is_recorded(state: Entries, proof: FaultProof) -> bool:
    """Tell whether the ledger holds a proof of the same member, height and kind."""
    return state.get(NAMESPACE, _key(proof)) is not None


def recorded_count(state: Entries, member: str) -> int:
    """Return how many proofs against a member the ledger holds."""
    raw = state.get(NAMESPACE, b"count/" + member.encode("ascii"))
    value = 0 if raw is None else decode_entry(raw)
    assert isinstance(value, int)
    return value


def block_rows(height: int, time_ms: int, outcomes: Sequence[bytes], proofs: Sequence[bytes]) -> Iterator[EventRow]:
    """Yield the events of a block in their order: those of its transactions, then one for each fault proof.

    Args:
        height: Of the block.
        time_ms: Block time.
        outcomes: Canonical outcomes of the block's transactions.
        proofs: As the block holds them.
    """
    index = -1
    for row in event_rows(height, time_ms, outcomes):
        index = row.index
        yield row
    for raw in proofs:
        index += 1
        proof = decode_fault_proof(raw)
        data: dict[str, cbor.Value] = {
            "member": proof.member,
            "epoch": proof.epoch,
            "height": proof.height,
            "kind": proof.kind,
            "view": proof.first.view,
            "proof": raw,
        }
        yield EventRow(height, index, time_ms, sha256(raw), NAMESPACE, FAULT_PROVEN, proof.member, data)


def _key(proof: FaultProof) -> bytes:
    member, height, kind = proof.place
    return b"/".join((b"proof", member.encode("ascii"), b"%016x" % height, kind.encode("ascii")))
