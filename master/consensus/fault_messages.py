"""What replicas say about each other's faults (docs/spec, clauses FP-8 to FP-10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from wire import cbor
from wire.certificate import Step, vote_bytes
from wire.faultproof import FAULT_PROOF_BYTES_MAX, decode_fault_proof
from wire.fields import Fields
from wire.types import Digest

_QUOTE: Final = ("member", "epoch", "height", "view", "digest", "signature")


@dataclass(frozen=True, slots=True)
class Quote:
    """What a leader signed with its PROPOSE, for one who voted for another block in the same view."""

    member: str
    """The leader, not the sender."""
    epoch: int
    height: int
    view: int
    digest: Digest
    signature: bytes

    def signed_bytes(self, chain: str) -> bytes:
        """Return the bytes under the leader's signature."""
        return vote_bytes(chain, self.epoch, Step.PROPOSE, self.height, self.view, self.digest)


@dataclass(frozen=True, slots=True)
class Fault:
    """Proof that a validator broke the protocol; said once by everybody who learns of it."""

    proof: bytes
    """Canonical; it is of the right form, its signatures are for the receiver to check."""


FaultMessage: TypeAlias = "Quote | Fault"


def _decode_quote(value: object) -> Quote:
    fields = Fields(value, _QUOTE, "quote")
    return Quote(
        fields.identifier("member"),
        fields.integer("epoch"),
        fields.integer("height", 1),
        fields.integer("view"),
        fields.digest("digest"),
        fields.octets("signature", 64, 64),
    )


def _decode_fault(value: object) -> Fault:
    raw = Fields(value, ("proof",), "fault").octets("proof", 1, FAULT_PROOF_BYTES_MAX)
    decode_fault_proof(raw)
    return Fault(raw)


DECODERS: Final[dict[str, Callable[[object], Any]]] = {"quote": _decode_quote, "fault": _decode_fault}

ENCODERS: Final[dict[type, tuple[str, Callable[[Any], dict[str, cbor.Value]]]]] = {
    Quote: ("quote", lambda quote: {name: getattr(quote, name) for name in _QUOTE}),
    Fault: ("fault", lambda fault: {"proof": fault.proof}),
}
