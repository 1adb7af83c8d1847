"""COSE_Sign1 (RFC 9052) with one algorithm, one protected header, nothing unprotected (docs/spec, COSE-1 to COSE-9).

tag 18, [h'{1: -8, 4: kid}', {}, payload, signature]. Ed25519 under libsodium's acceptance rules and no other
verifier's: other libraries accept small-order keys, and replicas that mix verifiers fork.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from wire import cbor
from wire.errors import MALFORMED, SignatureError
from wire.types import sha256

KID_BYTES: Final = 16
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_TAG_AND_ARRAY: Final = b"\xd2\x84"
# a map of 21 bytes: {1 (alg): -8 (EdDSA), 4 (kid): 16 bytes}
_PROTECTED_START: Final = b"\xa2\x01\x27\x04\x50"
_PREFIX: Final = _TAG_AND_ARRAY + b"\x55" + _PROTECTED_START
_UNPROTECTED_EMPTY: Final = b"\xa0"
# first byte of a byte string: its length inside, or in so many bytes behind; the least length that needs them
_SHORT_HEADS: Final = range(0x40, 0x58)
_LONG_HEADS: Final = {0x58: (1, 24), 0x59: (2, 0x100), 0x5A: (4, 0x1_0000)}
_SIGNATURE_HEAD: Final = b"\x58\x40"
_CONTEXT: Final = b"\x84\x6aSignature1"
_BYTE_STRING: Final = 0x40
_LENGTH_INSIDE: Final = range(24)


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

    Source: RFC 9052, 4.2 and 4.4; docs/spec COSE-1 to COSE-7.
    """
    protected = _PROTECTED_START + kid_of(key.verify_key.encode())
    signature = key.sign(_to_be_signed(protected, aad, payload)).signature
    return b"".join(
        (
            _TAG_AND_ARRAY,
            cbor.encode(protected),
            _UNPROTECTED_EMPTY,
            cbor.encode(payload),
            cbor.encode(signature),
        )
    )


def parse1(data: bytes) -> Sign1:
    """Take an envelope apart without verifying it.

    Raises:
        SignatureError: Not the one form that `sign1` writes; the message names what differs.
    """
    if data[: len(_PREFIX)] != _PREFIX:
        raise SignatureError(_explain_prefix(data), code=MALFORMED)
    at = len(_PREFIX) + KID_BYTES
    kid = data[len(_PREFIX) : at]
    if len(data) <= at + 1:
        raise SignatureError("COSE_Sign1: truncated", code=MALFORMED)
    if data[at : at + 1] != _UNPROTECTED_EMPTY:
        raise SignatureError(
            "COSE_Sign1: the unprotected header is not empty; anything there could be changed by others",
            code=MALFORMED,
        )
    start, end = _payload_span(data, at + 1)
    signature_start = end + len(_SIGNATURE_HEAD)
    trailing = len(data) - signature_start - SIGNATURE_BYTES
    if trailing < 0:
        raise SignatureError("COSE_Sign1: truncated", code=MALFORMED)
    if data[end:signature_start] != _SIGNATURE_HEAD:
        raise SignatureError(
            "COSE_Sign1: the signature is no byte string of 64 bytes in its shortest form", code=MALFORMED
        )
    if trailing:
        raise SignatureError(f"COSE_Sign1: {trailing} trailing bytes after the signature", code=MALFORMED)
    return Sign1(kid, data[start:end], data[signature_start:])


def verify1(envelope: Sign1, public_key: bytes, aad: bytes) -> None:
    """Prove that the holder of ``public_key`` signed the envelope.

    Raises:
        SignatureError: The kid is another key's, the key is no acceptable point, or the signature does not verify.

    Source: RFC 9052, 4.4; RFC 8032, 5.1.7 with libsodium's refusal of small-order points.
    """
    if envelope.kid != kid_of(public_key):
        raise SignatureError("COSE_Sign1: the kid names another key")
    protected = _PROTECTED_START + envelope.kid
    verify_ed25519(public_key, _to_be_signed(protected, aad, envelope.payload), envelope.signature)


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Verify a bare Ed25519 signature with libsodium's rules.

    Raises:
        SignatureError: Wrong lengths, an unacceptable key or signature, or a signature over something else.
    """
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        found = f"a key of {len(public_key)} bytes and a signature of {len(signature)} bytes"
        raise SignatureError(f"Ed25519: {found}, 32 and 64 are due")
    try:
        VerifyKey(public_key).verify(message, signature)
    except BadSignatureError:
        raise SignatureError("Ed25519: the signature does not verify") from None


def _to_be_signed(protected: bytes, aad: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure. Source: RFC 9052, 4.4."""
    return b"".join((_CONTEXT, _head(protected), protected, _head(aad), aad, _head(payload), payload))


def _head(content: bytes) -> bytes:
    """Return what stands before ``content`` in its CBOR byte string. Source: RFC 8949, 3."""
    length = len(content)
    if length in _LENGTH_INSIDE:
        return bytes((_BYTE_STRING | length,))
    return next(
        bytes((head,)) + length.to_bytes(width, "big")
        for head, (width, _) in _LONG_HEADS.items()
        if length < 1 << 8 * width
    )


def _payload_span(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the byte string at ``at`` starts and where it would end."""
    head = data[at]
    if head in _SHORT_HEADS:
        return at + 1, at + 1 + (head & 31)
    if head not in _LONG_HEADS:
        raise SignatureError("COSE_Sign1: the payload is no byte string of definite length below 4 GiB", code=MALFORMED)
    width, shortest = _LONG_HEADS[head]
    start = at + 1 + width
    length = int.from_bytes(data[at + 1 : start], "big")
    if length < shortest and len(data) >= start:
        raise SignatureError("COSE_Sign1: the payload's length is not in its shortest form", code=MALFORMED)
    return start, start + length


def _explain_prefix(data: bytes) -> str:
    if _PREFIX.startswith(data):
        return "COSE_Sign1: truncated"
    if data[:1] != _TAG_AND_ARRAY[:1]:
        return "COSE_Sign1: tag 18 is missing"
    if data[1:2] != _TAG_AND_ARRAY[1:2]:
        return "COSE_Sign1: no array of four entries"
    return "COSE_Sign1: the protected header is not exactly {1: -8, 4: kid of 16 bytes}"
