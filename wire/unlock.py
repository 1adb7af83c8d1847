"""How organisations let a node in quarantine vote again when no quorum is left without it.

Every node that can be reached reports where it stands; the reports together make a statement; a quorum of the
organisations that run validators signs it; the locked node takes it once (docs/spec, clauses FP-11 to FP-14).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wire import cbor, cose
from wire.certificate import (
    VALIDATORS_MAX,
    Certificate,
    Step,
    ValidatorSet,
    decode_certificate,
    verify_certificate,
)
from wire.errors import CertificateError, FormatError, SignatureError
from wire.fields import Fields
from wire.header import ZERO_DIGEST
from wire.types import Digest, check_ascending, sha256

REPORT: Final = "lock-report"
STATEMENT: Final = "unlock"
FILE_TYPE: Final = "signed-unlock"
VERSION: Final = 1
STATEMENT_BYTES_MAX: Final = 8192
UNLOCK_BYTES_MAX: Final = 16 * 1024
_DOMAIN: Final = b"gridwitness/unlock/1"
_NAMES: Final = ("type", "version", "chain", "node", "vote_key", "lock", "resume_height", "view", "prepared")


@dataclass(frozen=True, slots=True)
class LockStatement:
    """Where a node stands (a report), or from where on it may vote again (the statement to be signed)."""

    kind: str
    """`REPORT` or `STATEMENT`."""
    chain: str
    node: str
    vote_key: bytes
    lock: Digest
    """Drawn when the node's quarantine began; zeros while it is in none. A statement is good for one lock."""
    resume_height: int
    """Height that is being decided."""
    view: int
    """Report: highest view at that height that the node has been in. Statement: lowest in which it may speak."""
    prepared: Certificate | None
    """PREPARE certificate of the highest view at that height."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": self.kind,
                "version": VERSION,
                "chain": self.chain,
                "node": self.node,
                "vote_key": self.vote_key,
                "lock": self.lock,
                "resume_height": self.resume_height,
                "view": self.view,
                "prepared": None if self.prepared is None else self.prepared.to_value(),
            }
        )

    def signed_bytes(self) -> bytes:
        """Return what an organisation signs."""
        return _DOMAIN + sha256(self.encode())


@dataclass(frozen=True, slots=True)
class Unlock:
    """A statement with the signatures of organisations."""

    statement: LockStatement
    signatures: tuple[tuple[str, bytes, bytes], ...] = ()
    """(organisation, public key, signature), sorted by organisation."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": FILE_TYPE,
                "version": VERSION,
                "statement": self.statement.encode(),
                "signatures": [list(entry) for entry in self.signatures],
            }
        )

    def signed(self, organisation: str, public_key: bytes, signature: bytes) -> Unlock:
        """Return it with the signature of one more organisation, or with a newer one of the same."""
        others = [entry for entry in self.signatures if entry[0] != organisation]
        return replace(self, signatures=tuple(sorted((*others, (organisation, public_key, signature)))))


def decode_statement(raw: bytes, kind: str) -> LockStatement:
    """Decode a report or a statement.

    Args:
        raw: Canonical CBOR of at most 8,192 bytes.
        kind: `REPORT` or `STATEMENT`.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range, or the certificate is not of this height.
    """
    fields = Fields(cbor.decode(raw, bytes_max=STATEMENT_BYTES_MAX), _NAMES, kind)
    fields.choice("type", (kind,))
    fields.integer("version", VERSION, VERSION)
    statement = LockStatement(
        kind=kind,
        chain=fields.identifier("chain"),
        node=fields.identifier("node"),
        vote_key=fields.digest("vote_key"),
        lock=fields.digest("lock"),
        resume_height=fields.integer("resume_height", 1),
        view=fields.integer("view"),
        prepared=None if fields.is_null("prepared") else decode_certificate(fields.raw("prepared")),
    )
    prepared = statement.prepared
    if prepared is not None and (prepared.step, prepared.height) != (Step.PREPARE, statement.resume_height):
        raise FormatError(f"{kind}.prepared: a PREPARE certificate of height {statement.resume_height} is due")
    if kind == STATEMENT and (statement.view < 1 or (prepared is not None and prepared.view >= statement.view)):
        raise FormatError(f"{kind}.view: above 0 and above the certificate's it must be")
    return statement


def decode_unlock(raw: bytes) -> Unlock:
    """Decode a signed statement; it allows nothing before `verify_unlock`.

    Args:
        raw: Canonical CBOR of at most 16 KiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    value = cbor.decode(raw, bytes_max=UNLOCK_BYTES_MAX)
    fields = Fields(value, ("type", "version", "statement", "signatures"), FILE_TYPE)
    fields.choice("type", (FILE_TYPE,))
    fields.integer("version", VERSION, VERSION)
    statement = decode_statement(fields.octets("statement", 1, STATEMENT_BYTES_MAX), STATEMENT)
    signatures = []
    for entry in fields.sequence("signatures", VALIDATORS_MAX):
        match entry:
            case [str(organisation), bytes(key), bytes(signature)] if (len(key), len(signature)) == (
                cose.PUBLIC_KEY_BYTES,
                cose.SIGNATURE_BYTES,
            ):
                signatures.append((organisation, key, signature))
            case _:
                raise FormatError(f"{FILE_TYPE}.signatures: organisation, key and signature are due")
    check_ascending((entry[0] for entry in signatures), f"{FILE_TYPE}.signatures")
    return Unlock(statement, tuple(signatures))


def merge_reports(locked: LockStatement, others: Iterable[LockStatement]) -> LockStatement:
    """Return the statement that follows from the reports of the locked node and of all others that can be reached.

    The node resumes at the highest height that anybody decides, with the certificate of the highest view there, in a
    view above all that anybody has been in.

    Raises:
        FormatError: The node is not locked, or a report is of another ledger.
    """
    if locked.lock == ZERO_DIGEST:
        raise FormatError(f"{REPORT}: {locked.node} is not in quarantine")
    reports = (locked, *others)
    if len({report.chain for report in reports}) != 1:
        raise FormatError(f"{REPORT}: they are of several ledgers")
    height = max(report.resume_height for report in reports)
    there = [report for report in reports if report.resume_height == height]
    certificates = [report.prepared for report in there if report.prepared is not None]
    prepared = max(certificates, key=lambda certificate: certificate.view, default=None)
    views = [report.view for report in there] + [certificate.view for certificate in certificates]
    return replace(locked, kind=STATEMENT, resume_height=height, view=max(views) + 1, prepared=prepared)


def verify_unlock(
    unlock: Unlock, chain: str, epoch: int, validators: ValidatorSet, root_keys: Mapping[str, Sequence[bytes]]
) -> None:
    """Prove that a quorum of the organisations that run validators signed the statement.

    Args:
        unlock: As decoded.
        chain: Name of the ledger.
        epoch: Number of the present epoch.
        validators: Of that epoch; each stands for the organisation of its name.
        root_keys: The keys that may sign for each organisation.

    Raises:
        CertificateError: Another ledger, no validator, too few organisations, or a certificate that proves nothing.
        SignatureError: A signature does not verify.

    Source: docs/spec FP-13.
    """
    statement = unlock.statement
    validator = validators.find(statement.node)
    if statement.chain != chain or validator is None or validator.vote_key != statement.vote_key:
        raise CertificateError(f"{STATEMENT}: {statement.node!r} is no validator of {chain} with that vote key")
    signed = statement.signed_bytes()
    for organisation, key, signature in unlock.signatures:
        if validators.find(organisation) is None:
            raise CertificateError(f"{STATEMENT}: {organisation!r} runs no validator")
        if key not in root_keys.get(organisation, ()):
            raise SignatureError(f"{STATEMENT}: {organisation!r} has no such key")
        cose.verify_ed25519(key, signed, signature)
    if len(unlock.signatures) < validators.quorum:
        have = f"{len(unlock.signatures)} organisations signed"
        raise CertificateError(f"{STATEMENT}: {have}, {validators.quorum} of {len(validators)} are due")
    prepared = statement.prepared
    if prepared is not None:
        if prepared.epoch != epoch:
            raise CertificateError(f"{STATEMENT}: its certificate is of epoch {prepared.epoch}, not {epoch}")
        verify_certificate(prepared, chain, validators)
