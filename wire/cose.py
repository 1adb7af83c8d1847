"""COSE_Sign1 (RFC 9052) with one algorithm, one protected header and nothing unprotected.

tag 18, [h'{1: -8, 4: kid}', {}, payload, signature]. Ed25519 under libsodium's acceptance rules and no other
verifier's: other libraries accept small-order keys, and replicas that mix verifiers fork.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from wire.errors import SignatureError
from wire.types import sha256

KID_BYTES: Final = 16
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_TAG_AND_ARRAY: Final = b"\xd2\x84"
# a map of 21 bytes: {1 (alg): -8 (EdDSA), 4 (kid): 16 bytes}
_PROTECTED_START: Final = b"\xa2\x01\x27\x04\x50"
_PREFIX: Final = _TAG_AND_ARRAY + b"\x55" + _PROTECTED_START
_UNPROTECTED_EMPTY: Final = b"\xa0"
_SIGNATURE_HEAD: Final = b"\x58\x40"
_CONTEXT: Final = b"\x84\x6aSignature1"


@dataclass(frozen=True, slots=True)
class Sign1:
    """A parsed, not yet verified envelope."""

    kid: bytes
    """First 16 bytes of SHA-256 over the signer's public key."""
    payload: bytes
    signature: bytes
    """64 bytes of Ed25519."""


def kid_of(public_key: bytes) -> bytes:
    """Return the key identifier of a public key: SHA-256(public key)[:16]."""
    return sha256(public_key)[:KID_BYTES]


def sign1(payload: bytes, key: SigningKey, aad: bytes) -> bytes:
    """Return the tagged COSE_Sign1 over ``payload``.

    Args:
        payload: The signed bytes.
        key: Ed25519 private key; its kid goes into the protected header.
        aad: external_aad that says what kind of statement this is; it is signed, not sent.

    Source: RFC 9052, 4.2 and 4.4; docs/spec COSE-1 to COSE-5.
    """
    protected = _PROTECTED_START + kid_of(key.verify_key.encode())
    signature = key.sign(_to_be_signed(protected, aad, payload)).signature
    return b"".join(
        (
            _TAG_AND_ARRAY,
            _byte_string(protected),
            _UNPROTECTED_EMPTY,
            _byte_string(payload),
            _byte_string(signature),
        )
    )


def parse1(data: bytes) -> Sign1:
    """Take an envelope apart without verifying it.

    Raises:
        SignatureError: Not the one form that `sign1` writes; the message names what differs.
    """
    if data[: len(_PREFIX)] != _PREFIX:
        raise SignatureError(_explain_prefix(data))
    at = len(_PREFIX) + KID_BYTES
    kid = data[len(_PREFIX) : at]
    if data[at : at + 1] != _UNPROTECTED_EMPTY:
        message = "COSE_Sign1: the unprotected header is not empty; anything there could be changed by others"
        raise SignatureError(message)
    start, length = _byte_string_head(data, at + 1)
    end = start + length
    if len(data) < end + len(_SIGNATURE_HEAD) + SIGNATURE_BYTES:
        message = "COSE_Sign1: truncated"
        raise SignatureError(message)
    if data[end : end + len(_SIGNATURE_HEAD)] != _SIGNATURE_HEAD:
        message = "COSE_Sign1: the signature is no byte string of 64 bytes in its shortest form"
        raise SignatureError(message)
    signature_start = end + len(_SIGNATURE_HEAD)
    if len(data) != signature_start + SIGNATURE_BYTES:
        trailing = len(data) - signature_start - SIGNATURE_BYTES
        message = f"COSE_Sign1: {trailing} trailing bytes after the signature"
        raise SignatureError(message)
    return Sign1(kid, data[start:end], data[signature_start:])


def verify1(envelope: Sign1, public_key: bytes, aad: bytes) -> None:
    """Prove that the holder of ``public_key`` signed the envelope.

    Raises:
        SignatureError: The kid is another key's, the key is no acceptable point, or the signature does not verify.

    Source: RFC 9052, 4.4; RFC 8032, 5.1.7 with libsodium's refusal of small-order points.
    """
    if envelope.kid != kid_of(public_key):
        message = "COSE_Sign1: the kid names another key"
        raise SignatureError(message)
    protected = _PROTECTED_START + envelope.kid
    verify_ed25519(public_key, _to_be_signed(protected, aad, envelope.payload), envelope.signature)


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Verify a bare Ed25519 signature with libsodium's rules.

    Raises:
        SignatureError: Wrong lengths, an unacceptable key or signature, or a signature over something else.
    """
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        reason = f"Ed25519: key of {len(public_key)} bytes or signature of {len(signature)} bytes, 32 and 64 are due"
        raise SignatureError(reason)
    try:
        VerifyKey(public_key).verify(message, signature)
    except BadSignatureError:
        reason = "Ed25519: the signature does not verify"
        raise SignatureError(reason) from None


def _to_be_signed(protected: bytes, aad: bytes, payload: bytes) -> bytes:
    return _CONTEXT + _byte_string(protected) + _byte_string(aad) + _byte_string(payload)


def _byte_string(data: bytes) -> bytes:
    length = len(data)
    if length < 24:  # noqa: PLR2004 - RFC 8949, 3: the argument fits the first byte
        return bytes((0x40 | length,)) + data
    width = 1 if length <= 0xFF else 2 if length <= 0xFFFF else 4  # noqa: PLR2004 - widths of RFC 8949, 3
    return bytes(({1: 0x58, 2: 0x59, 4: 0x5A}[width],)) + length.to_bytes(width, "big") + data


def _byte_string_head(data: bytes, at: int) -> tuple[int, int]:
    """Return where a byte string's content starts and its length in bytes."""
    first = data[at] if at < len(data) else 0
    if 0x40 <= first <= 0x57:  # noqa: PLR2004 - byte string with its length in the first byte
        return at + 1, first & 31
    width = {0x58: 1, 0x59: 2, 0x5A: 4}.get(first)
    if width is None or len(data) < at + 1 + width:
        message = "COSE_Sign1: the payload is no byte string of definite length"
        raise SignatureError(message)
    length = int.from_bytes(data[at + 1 : at + 1 + width], "big")
    if length < {1: 24, 2: 0x100, 4: 0x1_0000}[width]:
        message = "COSE_Sign1: the payload's length is not in its shortest form"
        raise SignatureError(message)
    return at + 1 + width, length


def _explain_prefix(data: bytes) -> str:
    if data[:1] != _TAG_AND_ARRAY[:1]:
        return "COSE_Sign1: tag 18 is missing"
    if data[1:2] != _TAG_AND_ARRAY[1:2]:
        return "COSE_Sign1: no array of four entries"
    return "COSE_Sign1: the protected header is not exactly {1: -8, 4: kid of 16 bytes}"
