"""Proof that a validator broke the protocol: two statements under its key that no honest one signs both.

The proof stands alone: whoever knows the validators of its epoch can check it (docs/spec, clauses FP-1 to FP-4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire import cbor, cose
from wire.certificate import Step, ValidatorSet, vote_bytes
from wire.epochs import EpochEnd, decode_epochs_field, verify_epochs
from wire.errors import CertificateError, FormatError
from wire.fields import Fields
from wire.header import ZERO_DIGEST
from wire.types import Digest, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from wire.genesis import Genesis

TYPE: Final = "fault-proof"
FILE_TYPE: Final = "fault"
VERSION: Final = 1
FAULT_PROOF_BYTES_MAX: Final = 1024
FAULT_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
FAULT_PROOFS_MAX: Final = 16
"""Most proofs of one block."""
AMNESIA: Final = "amnesia"
_NAMES: Final = ("type", "version", "chain", "epoch", "height", "member", "first", "second", "prepared")
_STATEMENT: Final = ("step", "view", "digest", "signature")
_STEPS: Final = {step.name.lower().replace("_", "-"): step for step in Step}
KINDS: Final = (*_STEPS, AMNESIA)


@dataclass(frozen=True, slots=True)
class Statement:
    """What one signature of a validator says at the proof's height."""

    step: Step
    view: int
    digest: Digest
    signature: bytes

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the statement as a CBOR map."""
        word = self.step.name.lower().replace("_", "-")
        return {"step": word, "view": self.view, "digest": self.digest, "signature": self.signature}


@dataclass(frozen=True, slots=True)
class Prepared:
    """The certificate that a VIEW-CHANGE is bound to, as far as its signature tells."""

    view: int
    digest: Digest

    def to_value(self) -> dict[str, cbor.Value]:
        """Return it as a CBOR map."""
        return {"view": self.view, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class FaultProof:
    """Two statements of one validator at one height that exclude each other.

    Either both are of the same step and view with different digests; or the first is a COMMIT, and the second a
    VIEW-CHANGE for a later view that hides the prepared certificate which the COMMIT rests on (amnesia).
    """

    chain: str
    epoch: int
    height: int
    member: str
    first: Statement
    second: Statement
    prepared: Prepared | None = None
    """Of the VIEW-CHANGE in a proof of amnesia, None when it carried no certificate; None in every other proof."""

    @property
    def kind(self) -> str:
        """What the validator did: the step that it signed twice, or ``amnesia``; one of `KINDS`."""
        if self.first.step is not self.second.step:
            return AMNESIA
        return self.first.step.name.lower().replace("_", "-")

    @property
    def place(self) -> tuple[str, int, str]:
        """Offender, height and kind: the ledger keeps one proof of each."""
        return self.member, self.height, self.kind

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        value: dict[str, cbor.Value] = {
            "type": TYPE,
            "version": VERSION,
            "chain": self.chain,
            "epoch": self.epoch,
            "height": self.height,
            "member": self.member,
            "first": self.first.to_value(),
            "second": self.second.to_value(),
            "prepared": None if self.prepared is None else self.prepared.to_value(),
        }
        return cbor.encode(value)

    def digest(self) -> Digest:
        """Return SHA-256 of the canonical bytes."""
        return sha256(self.encode())


def bound_digest(prepared: Prepared | None) -> Digest:
    """Return the digest that a VIEW-CHANGE signs: SHA-256(view | digest) of its certificate, or zeros without one."""
    return ZERO_DIGEST if prepared is None else sha256(prepared.view.to_bytes(8, "big") + prepared.digest)


def decode_fault_proof(raw: bytes) -> FaultProof:
    """Decode a proof and check that its two statements exclude each other; no signature has been checked.

    Args:
        raw: Canonical CBOR of at most 1,024 bytes.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range, or an honest validator could have signed both.
    """
    fields = Fields(cbor.decode(raw, bytes_max=FAULT_PROOF_BYTES_MAX), _NAMES, TYPE)
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    proof = FaultProof(
        chain=fields.identifier("chain"),
        epoch=fields.integer("epoch"),
        height=fields.integer("height", 1),
        member=fields.identifier("member"),
        first=_statement(fields, "first"),
        second=_statement(fields, "second"),
        prepared=None if fields.is_null("prepared") else _prepared(fields.raw("prepared")),
    )
    problem = _problem(proof)
    if problem is not None:
        raise FormatError(f"{TYPE}: {problem}")
    return proof


def verify_fault_proof(
    proof: FaultProof,
    chain: str,
    epoch: int,
    validators: ValidatorSet,
    verify: Callable[[bytes, bytes, bytes], None] = cose.verify_ed25519,
) -> None:
    """Prove that a validator of one epoch signed both statements.

    Args:
        proof: As decoded.
        chain: Name of the ledger.
        epoch: Number of the epoch whose validators are given.
        validators: Of that epoch, from a trusted source.
        verify: Checks (key, message, signature) and raises SignatureError; a cache may stand here.

    Raises:
        CertificateError: Another ledger or epoch, or the member is no validator of it.
        SignatureError: A signature does not verify.

    Source: docs/spec FP-2.
    """
    if proof.chain != chain or proof.epoch != epoch:
        raise CertificateError(f"{TYPE}: it is about epoch {proof.epoch} of {proof.chain}, not {epoch} of {chain}")
    validator = validators.find(proof.member)
    if validator is None:
        raise CertificateError(f"{TYPE}: {proof.member!r} is no validator of epoch {epoch}")
    for said in (proof.first, proof.second):
        signed = vote_bytes(chain, proof.epoch, said.step, proof.height, said.view, said.digest)
        verify(validator.vote_key, signed, said.signature)


@dataclass(frozen=True, slots=True)
class FaultFile:
    """A fault proof with the way from genesis to the validators of its epoch: what one person hands to another."""

    proof: FaultProof
    epochs: tuple[EpochEnd, ...]
    """Every epoch end from genesis to the proof's epoch."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": FILE_TYPE,
                "version": VERSION,
                "proof": self.proof.encode(),
                "epochs": [end.to_value() for end in self.epochs],
            }
        )


def decode_fault_file(raw: bytes) -> FaultFile:
    """Decode a file; it proves nothing before `verify_fault_file`.

    Args:
        raw: Canonical CBOR of at most 4 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    value = cbor.decode(raw, bytes_max=FAULT_FILE_BYTES_MAX)
    fields = Fields(value, ("type", "version", "proof", "epochs"), FILE_TYPE)
    fields.choice("type", (FILE_TYPE,))
    fields.integer("version", VERSION, VERSION)
    proof = decode_fault_proof(fields.octets("proof", 1, FAULT_PROOF_BYTES_MAX))
    return FaultFile(proof, decode_epochs_field(fields))


def verify_fault_file(file: FaultFile, genesis: Genesis) -> None:
    """Prove with the genesis file alone that the member of the proof broke the protocol.

    Raises:
        CertificateError: An epoch on the way is not certified, or the member is no validator of the proof's epoch.
        SignatureError: A signature does not verify.
    """
    trusted = verify_epochs(genesis, file.epochs)
    verify_fault_proof(file.proof, genesis.chain(), trusted.number, trusted.validators)


def _statement(fields: Fields, name: str) -> Statement:
    entry = Fields(fields.raw(name), _STATEMENT, f"{TYPE}.{name}")
    return Statement(
        _STEPS[entry.choice("step", _STEPS)],
        entry.integer("view"),
        entry.digest("digest"),
        entry.octets("signature", cose.SIGNATURE_BYTES, cose.SIGNATURE_BYTES),
    )


def _prepared(value: object) -> Prepared:
    entry = Fields(value, ("view", "digest"), f"{TYPE}.prepared")
    return Prepared(entry.integer("view"), entry.digest("digest"))


def _problem(proof: FaultProof) -> str | None:
    """Return why an honest validator could have signed both, or why the form is not the one form."""
    first, second, prepared = proof.first, proof.second, proof.prepared
    if first.step is second.step:
        problems: tuple[tuple[bool, str], ...] = (
            (first.view != second.view, "two statements of different views"),
            (first.digest >= second.digest, "two different digests in ascending order are due"),
            (prepared is not None, "it speaks of a certificate without being about one"),
        )
    else:
        problems = (
            ((first.step, second.step) != (Step.COMMIT, Step.VIEW_CHANGE), "a commit, then a view change are due"),
            (second.view <= first.view, "the view change is not for a later view"),
            (bound_digest(prepared) != second.digest, "the view change was signed over another certificate"),
            (prepared is not None and prepared.view >= first.view, "the view change hides nothing"),
        )
    return next((reason for wrong, reason in problems if wrong), None)
