"""Validators, votes and quorum certificates (docs/spec, clauses QC-1 to QC-9)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from wire import cbor, cose
from wire.errors import CertificateError, FormatError, SignatureError
from wire.fields import Fields
from wire.types import DIGEST_BYTES, Digest, check_ascending, check_identifier, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCHEME: Final = "gridwitness-pbft-1"
VALIDATORS_MAX: Final = 16
_VOTE_DOMAIN: Final = b"gridwitness/vote/1"
_NAMES: Final = ("scheme", "step", "epoch", "height", "view", "digest", "signatures")


class Step(IntEnum):
    """The signed steps of PBFT, in the order in which one view takes them."""

    VIEW_CHANGE = 1
    PROPOSE = 2
    PREPARE = 3
    COMMIT = 4


_STEP_WORDS: Final = {"prepare": Step.PREPARE, "commit": Step.COMMIT}


@dataclass(frozen=True, slots=True)
class Validator:
    """A full node that votes."""

    member: str
    vote_key: bytes
    """Ed25519 public key, 32 bytes; used for votes alone."""
    tls_digest: Digest
    """SHA-256 of the node's TLS certificate in DER."""


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """The 1..16 validators of one epoch, sorted by member."""

    validators: tuple[Validator, ...]

    def __post_init__(self) -> None:
        """Refuse an empty, oversized, unsorted or ambiguous set.

        Raises:
            FormatError: Names what is wrong.
        """
        count = len(self.validators)
        if not 1 <= count <= VALIDATORS_MAX:
            raise FormatError(f"validators: {count} of them, 1..{VALIDATORS_MAX} are allowed")
        check_ascending((validator.member for validator in self.validators), "validators")
        if len({validator.vote_key for validator in self.validators}) != count:
            raise FormatError("validators: two of them share a vote key")

    def __len__(self) -> int:
        """Return n."""
        return len(self.validators)

    @property
    def quorum(self) -> int:
        """Signatures that make a certificate."""
        return quorum(len(self.validators))

    def find(self, member: str) -> Validator | None:
        """Return the validator of that name, if there is one."""
        return next((validator for validator in self.validators if validator.member == member), None)

    def index(self, member: str) -> int:
        """Return the place of ``member`` in the set.

        Raises:
            CertificateError: No such validator.
        """
        for place, validator in enumerate(self.validators):
            if validator.member == member:
                return place
        raise CertificateError(f"{member!r} is no validator of this epoch")

    def to_value(self) -> list[cbor.Value]:
        """Return the set as a CBOR array."""
        return [
            {"member": entry.member, "vote_key": entry.vote_key, "tls_digest": entry.tls_digest}
            for entry in self.validators
        ]

    def digest(self) -> Digest:
        """Return the header's validators_hash: SHA-256 of the canonical array."""
        return sha256(cbor.encode(self.to_value()))


def decode_validators(value: object) -> ValidatorSet:
    """Check an array of validators.

    Raises:
        FormatError: Not an array of 1..16 validators sorted by member.
    """
    if not isinstance(value, list):
        raise FormatError("validators: an array is due")
    entries = (Fields(entry, ("member", "vote_key", "tls_digest"), "validators") for entry in value)
    return ValidatorSet(
        tuple(
            Validator(entry.identifier("member"), entry.digest("vote_key"), entry.digest("tls_digest"))
            for entry in entries
        )
    )


def faults(validators: int) -> int:
    """Return f, the number of validators that may fail in any way: floor((n-1)/3)."""
    return (validators - 1) // 3


def quorum(validators: int) -> int:
    """Return q = floor((n+f)/2)+1; any two quorums of n share more than f validators."""
    return (validators + faults(validators)) // 2 + 1


def vote_bytes(chain: str, epoch: int, step: Step, height: int, view: int, digest: Digest) -> bytes:
    """Return the bytes that a validator signs for one step.

    Each part is of fixed width or carries its length, so that no two votes share their bytes.

    Args:
        chain: Name of the ledger, at most 255 bytes.
        epoch: Number of the validator set, 0..2^63-1.
        step: What is voted.
        height: Height of the block, 0..2^63-1.
        view: View at this height, 0..2^63-1.
        digest: 32 bytes; the block's digest for PREPARE and COMMIT (for the others see docs/spec/consensus.md).

    Source: docs/spec QC-3.
    """
    assert len(digest) == DIGEST_BYTES, "every statement is a digest"
    name = chain.encode("ascii")
    return b"".join(
        (
            bytes((len(_VOTE_DOMAIN),)),
            _VOTE_DOMAIN,
            bytes((len(name),)),
            name,
            epoch.to_bytes(8, "big"),
            bytes((step,)),
            height.to_bytes(8, "big"),
            view.to_bytes(8, "big"),
            digest,
        )
    )


@dataclass(frozen=True, slots=True)
class Certificate:
    """Signatures of at least q validators for one digest at one height and view."""

    step: Step
    """PREPARE (a prepared certificate) or COMMIT (finality)."""
    epoch: int
    height: int
    view: int
    digest: Digest
    signatures: tuple[tuple[str, bytes], ...]
    """(member, 64 bytes of Ed25519), sorted by member."""

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the certificate as a CBOR map."""
        return {
            "scheme": SCHEME,
            "step": self.step.name.lower(),
            "epoch": self.epoch,
            "height": self.height,
            "view": self.view,
            "digest": self.digest,
            "signatures": [[member, signature] for member, signature in self.signatures],
        }

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(self.to_value())

    @property
    def signers(self) -> tuple[str, ...]:
        """Members that signed."""
        return tuple(member for member, _ in self.signatures)

    def vote_bytes(self, chain: str) -> bytes:
        """Return the bytes that every signature of the certificate is over."""
        return vote_bytes(chain, self.epoch, self.step, self.height, self.view, self.digest)


def decode_certificate(value: object) -> Certificate:
    """Check the form of a certificate; it proves nothing before `verify_certificate`.

    Raises:
        FormatError: A field is missing, unknown or out of range, or the signers are not sorted.
    """
    fields = Fields(value, _NAMES, "certificate")
    fields.choice("scheme", (SCHEME,))
    pairs: list[tuple[str, bytes]] = []
    for entry in fields.sequence("signatures", VALIDATORS_MAX):
        match entry:
            case [member, bytes(signature)] if len(signature) == cose.SIGNATURE_BYTES:
                pairs.append((check_identifier(member, "certificate.signatures"), signature))
            case _:
                raise FormatError("certificate.signatures: pairs of a member and 64 bytes are due")
    check_ascending((member for member, _ in pairs), "certificate.signatures")
    return Certificate(
        step=_STEP_WORDS[fields.choice("step", _STEP_WORDS)],
        epoch=fields.integer("epoch"),
        height=fields.integer("height", 1),
        view=fields.integer("view"),
        digest=fields.digest("digest"),
        signatures=tuple(pairs),
    )


def verify_certificate(
    certificate: Certificate,
    chain: str,
    validators: ValidatorSet,
    verify: Callable[[bytes, bytes, bytes], None] = cose.verify_ed25519,
) -> None:
    """Prove that a quorum of ``validators`` signed the certificate's digest, all in one view.

    What was signed is for the caller to compare: step, epoch, height and digest.

    Args:
        certificate: As decoded.
        chain: Name of the ledger.
        validators: The set of the certificate's epoch, from a trusted source.
        verify: Checks (key, message, signature) and raises SignatureError; a cache may stand here.

    Raises:
        CertificateError: Too few signers, one twice, a stranger among them, or a signature that does not verify.

    Source: docs/spec QC-6 and QC-7.
    """
    what = f"certificate for height {certificate.height}"
    signers = certificate.signers
    if len(set(signers)) != len(signers):
        raise CertificateError(f"{what}: one validator signs twice")
    if len(signers) < validators.quorum:
        raise CertificateError(f"{what}: {len(signers)} signatures, {validators.quorum} of {len(validators)} are due")
    signed = certificate.vote_bytes(chain)
    for member, signature in certificate.signatures:
        validator = validators.find(member)
        if validator is None:
            raise CertificateError(f"{what}: {member!r} is no validator of this epoch")
        try:
            verify(validator.vote_key, signed, signature)
        except SignatureError:
            raise CertificateError(f"{what}: the signature of {member!r} does not verify") from None


def build_certificate(
    step: Step,
    epoch: int,
    height: int,
    view: int,
    digest: Digest,
    votes: Sequence[tuple[str, bytes]],
) -> Certificate:
    """Return the certificate over ``votes`` (member, signature), sorted by member."""
    return Certificate(step, epoch, height, view, digest, tuple(sorted(votes)))
