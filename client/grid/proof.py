"""Proof that a file is the version of a model that counted at a time (docs/spec, clause MO-6); offline.

Two state proofs: of the version's entry, and of the next one's, which stands there or does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire import cbor
from wire.errors import FormatError, ProofError
from wire.fields import Fields
from wire.genesis import Genesis
from wire.stateproof import STATE_PROOF_BYTES_MAX, StateProof, decode_state_proof, verify_state_proof
from wire.types import Digest

TYPE: Final = "model-proof"
VERSION: Final = 1
PROOF_BYTES_MAX: Final = 2 * STATE_PROOF_BYTES_MAX + 1024
NAMESPACE: Final = "models"
_NAMES: Final = ("type", "version", "model", "number", "entry", "next")


@dataclass(frozen=True, slots=True)
class ModelProof:
    """One version of a model."""

    model: str
    number: int
    entry: StateProof
    next: StateProof

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": TYPE,
                "version": VERSION,
                "model": self.model,
                "number": self.number,
                "entry": self.entry.encode(),
                "next": self.next.encode(),
            }
        )


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof says once it is verified."""

    digest: Digest
    fields: Fields
    from_ms: int
    """From when on the version counts."""
    until_ms: int
    """Up to when it is proven to count: time of the next version, or of the block that has no next one."""
    is_newest: bool
    """There was no next version in that block."""


def version_key(model: str, number: int) -> bytes:
    """Return the key of the state entry about one version (MO-2)."""
    return f"v/{model}/".encode("ascii") + number.to_bytes(8, "big")


def decode_model_proof(raw: bytes) -> ModelProof:
    """Decode a proof; it proves nothing before `verify_model_proof`.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=PROOF_BYTES_MAX), _NAMES, TYPE)
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    return ModelProof(
        fields.identifier("model"),
        fields.integer("number", 1),
        decode_state_proof(fields.octets("entry", 1, STATE_PROOF_BYTES_MAX)),
        decode_state_proof(fields.octets("next", 1, STATE_PROOF_BYTES_MAX)),
    )


def verify_model_proof(proof: ModelProof, genesis: Genesis) -> Proven:
    """Prove with the genesis file alone which bytes a version has, and when it counts.

    Raises:
        ProofError: It is about something else, or a state holds something else.
        CertificateError: A header or an epoch on the way is not certified.
        FormatError: An entry is not of its form.
    """
    for part, number in ((proof.entry, proof.number), (proof.next, proof.number + 1)):
        if (part.namespace, part.key) != (NAMESPACE, version_key(proof.model, number)):
            raise ProofError(f"model proof: it holds the proof of another entry than of version {number}")
        verify_state_proof(part, genesis)
    if proof.entry.value is None:
        raise ProofError(f"model proof: the ledger has no version {proof.number} of {proof.model}")
    fields = _entry(proof.entry.value)
    if proof.next.value is not None:
        until_ms, is_newest = _entry(proof.next.value).integer("time_ms"), False
    else:
        until_ms, is_newest = proof.next.final.header.time_ms, True
        if until_ms < proof.entry.final.header.time_ms:
            raise ProofError("model proof: the block without a next version is older than the one with this version")
    return Proven(fields.digest("digest"), fields, fields.integer("time_ms"), until_ms, is_newest)


def counts_at(proven: Proven, time_ms: int) -> bool:
    """Tell whether the version is proven to be the one that counted at a time, ms since 1970 UTC."""
    is_before_end = time_ms < proven.until_ms or (proven.is_newest and time_ms == proven.until_ms)
    return proven.from_ms <= time_ms and is_before_end


def _entry(raw: bytes) -> Fields:
    value = cbor.decode(raw)
    if not isinstance(value, dict):
        raise FormatError("model proof: the entry is no map")
    return Fields(value, tuple(value), "models.version")
