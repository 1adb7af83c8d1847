"""Errors of everything that arrives as bytes. Each message is one sentence that names what was wrong.

WireError
+-- CborError          the bytes are not canonical CBOR of our profile
+-- FormatError        well-formed, but a field is missing, unknown or out of range
+-- SignatureError     a signature or its envelope does not verify
+-- ProofError         a Merkle proof leads to another root
+-- CertificateError   a quorum certificate does not prove what it claims
"""

from __future__ import annotations


class WireError(ValueError):
    """Bytes from outside were refused; nothing was changed."""


class CborError(WireError):
    """The bytes are not the one canonical form of a value of our CBOR profile."""


class FormatError(WireError):
    """A decoded value misses a field, has one too many, or one out of range."""


class SignatureError(WireError):
    """An envelope or a signature does not verify."""


class ProofError(WireError):
    """A Merkle proof has the wrong length or leads to another tree head."""


class CertificateError(WireError):
    """A quorum certificate or a chain of epochs does not prove what it claims."""
