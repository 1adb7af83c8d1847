"""What replicas say about each other's faults (docs/spec, clauses FP-9, FP-10 and FP-15)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from wire import cbor
from wire.certificate import Step, vote_bytes
from wire.errors import FormatError
from wire.faultproof import FAULT_PROOF_BYTES_MAX, decode_fault_proof
from wire.fields import Fields
from wire.types import Digest

RESULTS_MAX: Final = 4096
RESULT_BYTES: Final = 16
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


@dataclass(frozen=True, slots=True)
class Divergence:
    """What the transactions of a proposed block came to here, said when that differs from what others see."""

    height: int
    block: Digest
    root: Digest
    """SHA-256 of the joined leaf digests of the sender's own outcomes."""
    results: tuple[bytes, ...]
    """The first 16 bytes of the leaf digest of each of the first 4,096 outcomes; none in a first report."""


FaultMessage: TypeAlias = "Quote | Fault | Divergence"


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


def _decode_divergence(value: object) -> Divergence:
    fields = Fields(value, ("height", "block", "root", "results"), "divergence")
    entries = fields.sequence("results", RESULTS_MAX)
    results = tuple(entry for entry in entries if isinstance(entry, bytes) and len(entry) == RESULT_BYTES)
    if len(results) != len(entries):
        raise FormatError(f"divergence.results: {RESULT_BYTES} bytes each are due")
    return Divergence(fields.integer("height", 1), fields.digest("block"), fields.digest("root"), results)


DECODERS: Final[dict[str, Callable[[object], Any]]] = {
    "quote": _decode_quote,
    "fault": _decode_fault,
    "divergence": _decode_divergence,
}

ENCODERS: Final[dict[type, tuple[str, Callable[[Any], dict[str, cbor.Value]]]]] = {
    Quote: ("quote", lambda quote: {name: getattr(quote, name) for name in _QUOTE}),
    Fault: ("fault", lambda fault: {"proof": fault.proof}),
    Divergence: (
        "divergence",
        lambda said: {
            "height": said.height,
            "block": said.block,
            "root": said.root,
            "results": list(said.results),
        },
    ),
}
