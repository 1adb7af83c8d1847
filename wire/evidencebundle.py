"""Evidence bundles: what the ledger holds of one alarm, device or period (docs/spec, clauses EB-1 to EB-4).

A bundle is transactions with their receipts and state proofs of one block: the genesis file alone verifies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.errors import FormatError, ProofError
from wire.fields import Fields
from wire.header import Header
from wire.receipt import BUNDLE_BYTES_MAX, Bundle, decode_bundle, verify_receipt
from wire.stateproof import STATE_PROOF_BYTES_MAX, StateProof, decode_state_proof, verify_state_proof

if TYPE_CHECKING:
    from wire.genesis import Genesis

TYPE: Final = "evidence-bundle"
VERSION: Final = 1
ALARM: Final = "alarm"
DEVICE: Final = "device"
GATEWAY: Final = "gateway"
SUBJECTS: Final = (ALARM, DEVICE, GATEWAY)
RECEIPTS_MAX: Final = 1024
STATES_MAX: Final = 16
EVIDENCE_BUNDLE_BYTES_MAX: Final = 32 * 1024 * 1024
PERIOD_MS_MAX: Final = 253_402_300_799_999
"""End of the year 9999."""
_NAMES: Final = ("type", "version", "subject", "states", "receipts")
_SUBJECT: Final = ("kind", "id", "from_ms", "to_ms")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a bundle is about."""

    kind: str
    """One of `SUBJECTS`."""
    id: str
    """Id of the alarm, the device or the gateway."""
    from_ms: int | None = None
    """Begin of a gateway's period by its own clock; None for an alarm and a device."""
    to_ms: int | None = None
    """End of the period."""


@dataclass(frozen=True, slots=True)
class EvidenceBundle:
    """What one person hands to another to prove what the ledger holds of a subject."""

    subject: Subject
    states: tuple[StateProof, ...]
    """At least one, all after the same block."""
    receipts: tuple[Bundle, ...]
    """Ascending by place in the ledger."""

    @property
    def header(self) -> Header:
        """Header of the block after which the states stood so."""
        return self.states[0].final.header

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        subject = self.subject
        return cbor.encode(
            {
                "type": TYPE,
                "version": VERSION,
                "subject": {name: getattr(subject, name) for name in _SUBJECT},
                "states": [state.encode() for state in self.states],
                "receipts": [receipt.encode() for receipt in self.receipts],
            }
        )


def is_one(raw: bytes) -> bool:
    """Return whether some file says that it is an evidence bundle.

    Raises:
        CborError: Not canonical.
    """
    value = cbor.decode(raw, bytes_max=EVIDENCE_BUNDLE_BYTES_MAX)
    return isinstance(value, dict) and value.get("type") == TYPE


def decode_evidence_bundle(raw: bytes) -> EvidenceBundle:
    """Decode an evidence bundle; it proves nothing before `verify_evidence_bundle`.

    Args:
        raw: Canonical CBOR of at most 32 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=EVIDENCE_BUNDLE_BYTES_MAX), _NAMES, TYPE)
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    states = _parts(fields, "states", STATES_MAX, STATE_PROOF_BYTES_MAX)
    if not states:
        raise FormatError(f"{fields.where('states')}: a state proof is due")
    return EvidenceBundle(
        _subject(fields.raw("subject")),
        tuple(decode_state_proof(part) for part in states),
        tuple(decode_bundle(part) for part in _parts(fields, "receipts", RECEIPTS_MAX, BUNDLE_BYTES_MAX)),
    )


def verify_evidence_bundle(bundle: EvidenceBundle, genesis: Genesis) -> None:
    """Prove every part with the genesis file alone, and that the parts fit together.

    Whether they are all that the subject needs is for whoever knows the contracts (docs/spec EB-5 to EB-7).

    Raises:
        ProofError: A part does not hold, stands twice or out of order, or speaks of another time than the others.
        CertificateError: A block or an epoch on the way is not certified.
    """
    for state in bundle.states:
        verify_state_proof(state, genesis)
        if state.final.header != bundle.header:
            raise ProofError("evidence bundle: its state proofs are of different blocks")
    keys = [(state.namespace, state.key) for state in bundle.states]
    if keys != sorted(set(keys)):
        raise ProofError("evidence bundle: its state proofs are out of order, or one stands twice")
    before = (0, 0)
    for part in bundle.receipts:
        receipt = part.receipt
        verify_receipt(receipt, part.tx, genesis)
        place = (receipt.header.height, receipt.index)
        if place <= before:
            raise ProofError("evidence bundle: its receipts are out of order, or one stands twice")
        if receipt.header.height > bundle.header.height:
            raise ProofError("evidence bundle: a receipt is of a later block than its state proofs")
        before = place


def _subject(value: object) -> Subject:
    fields = Fields(value, _SUBJECT, f"{TYPE}.subject")
    kind, name = fields.choice("kind", SUBJECTS), fields.identifier("id")
    if kind != GATEWAY:
        if not (fields.is_null("from_ms") and fields.is_null("to_ms")):
            raise FormatError(f"{TYPE}.subject: only a gateway has a period")
        return Subject(kind, name)
    from_ms = fields.integer("from_ms", 0, PERIOD_MS_MAX)
    return Subject(kind, name, from_ms, fields.integer("to_ms", from_ms, PERIOD_MS_MAX))


def _parts(fields: Fields, name: str, parts_max: int, bytes_max: int) -> list[bytes]:
    values = fields.sequence(name, parts_max)
    parts = [value for value in values if isinstance(value, bytes) and 1 <= len(value) <= bytes_max]
    if len(parts) != len(values):
        raise FormatError(f"{fields.where(name)}: byte strings of 1..{bytes_max} bytes are due")
    return parts
