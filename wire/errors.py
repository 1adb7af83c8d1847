"""Errors of everything that arrives as bytes. Each message is one sentence that names what was wrong.

Each has a short code, too, of a closed set that never changes its meaning: what is counted, not what is read.

WireError
+-- CborError          the bytes are not canonical CBOR of our profile
+-- FormatError        well-formed, but a field is missing, unknown or out of range
+-- SignatureError     a signature or its envelope does not verify
+-- ProofError         a Merkle proof leads to another root
+-- CertificateError   a quorum certificate does not prove what it claims
"""

from __future__ import annotations

from typing import ClassVar, Final

TOO_LARGE: Final = "too-large"
TOO_MANY_VALUES: Final = "too-many-values"
UNKNOWN_TYPE: Final = "unknown-type"
UNKNOWN_SIGNER: Final = "unknown-signer"
UNKNOWN_EPOCH: Final = "unknown-epoch"
NOT_CANONICAL: Final = "not-canonical"
MALFORMED: Final = "malformed"
BAD_SIGNATURE: Final = "bad-signature"
BAD_PROOF: Final = "bad-proof"
BAD_CERTIFICATE: Final = "bad-certificate"
REFUSED: Final = "refused"
CODES: Final = (
    TOO_LARGE,
    TOO_MANY_VALUES,
    UNKNOWN_TYPE,
    UNKNOWN_SIGNER,
    UNKNOWN_EPOCH,
    NOT_CANONICAL,
    MALFORMED,
    BAD_SIGNATURE,
    BAD_PROOF,
    BAD_CERTIFICATE,
    REFUSED,
)


class WireError(ValueError):
    """Bytes from outside were refused; nothing was changed.

    Args:
        message: One sentence for people.
        code: One of `CODES` where the class alone says too little.
    """

    default_code: ClassVar[str] = REFUSED

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class CborError(WireError):
    """The bytes are not the one canonical form of a value of our CBOR profile."""

    default_code = NOT_CANONICAL


class FormatError(WireError):
    """A decoded value misses a field, has one too many, or one out of range."""

    default_code = MALFORMED


class SignatureError(WireError):
    """An envelope or a signature does not verify."""

    default_code = BAD_SIGNATURE


class ProofError(WireError):
    """A Merkle proof has the wrong length or leads to another tree head."""

    default_code = BAD_PROOF


class CertificateError(WireError):
    """A quorum certificate or a chain of epochs does not prove what it claims."""

    default_code = BAD_CERTIFICATE
