from __future__ import annotations

from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.signing import SigningKey

from tests.unit.wire.samples import key_of, public_of, vectors
from wire import cbor, cose
from wire.errors import SignatureError
from wire.types import sha256

AAD = b"a kind of statement"
KEY = key_of("lab")
PUBLIC = public_of("lab")
SIGNED = cose.sign1(b"payload", KEY, AAD)
KID = sha256(PUBLIC)[:16]
REFUSED = vectors("ed25519_refused.json")["vectors"]
EXAMPLES = vectors("cose_examples.json")


def opened(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        cose.verify_ed25519(public, message, signature)
    except SignatureError:
        return False
    return True


# holds COSE-8
@pytest.mark.parametrize("case", vectors("ed25519_rfc8032.json")["vectors"], ids=lambda case: case["name"])
def test_ed25519_rfc8032_vector_signs_and_verifies(case: dict[str, str]) -> None:
    secret, public, message, signature = (
        bytes.fromhex(case[name]) for name in ("secret", "public", "message", "signature")
    )
    key = SigningKey(secret)
    assert key.verify_key.encode() == public
    assert key.sign(message).signature == signature
    cose.verify_ed25519(public, message, signature)
    with pytest.raises(SignatureError, match="does not verify"):
        cose.verify_ed25519(public, message + b"\x00", signature)


# holds COSE-8
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_ed25519_doubtful_key_or_signature_is_refused(case: dict[str, str]) -> None:
    public, message, signature = (bytes.fromhex(case[name]) for name in ("public", "message", "signature"))
    with pytest.raises(SignatureError, match="does not verify"):
        cose.verify_ed25519(public, message, signature)


# holds COSE-8
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_ed25519_openssl_differs_from_us_where_the_vector_says_so(case: dict[str, Any]) -> None:
    """The reason for the rule: replicas that mix verifiers would fork on the small-order key."""
    public, message, signature = (bytes.fromhex(case[name]) for name in ("public", "message", "signature"))
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        accepted = True
    except InvalidSignature:
        accepted = False
    assert accepted is case["openssl_accepts"]
    assert not opened(public, message, signature)


# holds COSE-6 COSE-8
@pytest.mark.parametrize(("key_bytes", "signature_bytes"), [(31, 64), (33, 64), (0, 64), (32, 63), (32, 65), (32, 0)])
def test_ed25519_key_or_signature_of_another_length_is_refused(key_bytes: int, signature_bytes: int) -> None:
    with pytest.raises(SignatureError, match="32 and 64 are due"):
        cose.verify_ed25519(bytes(key_bytes), b"", bytes(signature_bytes))


# holds COSE-7
@pytest.mark.parametrize("name", ["eddsa_sig_01", "sign_pass_02"])
def test_cose_working_group_example_has_the_same_sig_structure(name: str) -> None:
    case = EXAMPLES[name]
    protected, external, payload = (bytes.fromhex(case[part]) for part in ("protected", "external", "payload"))
    assert cose._to_be_signed(protected, external, payload).hex() == case["to_be_signed"]


# holds COSE-7 COSE-8
def test_cose_working_group_example_signature_verifies() -> None:
    case = EXAMPLES["eddsa_sig_01"]
    signed = bytes.fromhex(case["to_be_signed"])
    cose.verify_ed25519(bytes.fromhex(case["public"]), signed, bytes.fromhex(case["signature"]))
    assert SigningKey(bytes.fromhex(case["secret"])).sign(signed).signature.hex() == case["signature"]
    with pytest.raises(SignatureError, match="does not verify"):
        cose.verify_ed25519(bytes.fromhex(case["public"]), signed + b"\x00", bytes.fromhex(case["signature"]))


# holds COSE-2 COSE-4
@pytest.mark.parametrize("name", ["eddsa_sig_01", "sign_pass_02"])
def test_cose_message_of_a_wider_profile_is_refused(name: str) -> None:
    with pytest.raises(SignatureError, match="protected header is not exactly"):
        cose.parse1(bytes.fromhex(EXAMPLES[name]["message"]))


# holds COSE-1 COSE-2 COSE-3 COSE-4 COSE-5 COSE-6
def test_cose_sign1_writes_the_one_form() -> None:
    signature = KEY.sign(b"\x84\x6aSignature1\x55\xa2\x01\x27\x04\x50" + KID + b"\x53" + AAD + b"\x47payload").signature
    assert b"".join((b"\xd2\x84\x55\xa2\x01\x27\x04\x50", KID, b"\xa0\x47payload\x58\x40", signature)) == SIGNED
    envelope = cose.parse1(SIGNED)
    assert (envelope.kid, envelope.payload, envelope.signature) == (KID, b"payload", signature)
    assert cose.kid_of(PUBLIC) == KID
    cose.verify1(envelope, PUBLIC, AAD)


# holds COSE-5
@pytest.mark.parametrize("length", [0, 1, 23, 24, 255, 256, 65_535, 65_536])
def test_cose_payload_of_any_length_round_trips(length: int) -> None:
    payload = b"x" * length
    envelope = cose.parse1(cose.sign1(payload, KEY, AAD))
    assert envelope.payload == payload
    cose.verify1(envelope, PUBLIC, AAD)


# holds COSE-7
def test_cose_statement_of_another_kind_is_refused() -> None:
    with pytest.raises(SignatureError, match="does not verify"):
        cose.verify1(cose.parse1(SIGNED), PUBLIC, b"another kind")


# holds COSE-9
def test_cose_kid_of_another_key_is_refused() -> None:
    with pytest.raises(SignatureError, match="the kid names another key"):
        cose.verify1(cose.parse1(SIGNED), public_of("maker"), AAD)


# holds COSE-1 COSE-2 COSE-4 COSE-5 COSE-6
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("d284", "84", "tag 18 is missing"),
        ("d284", "d184", "tag 18 is missing"),
        ("d284", "d81284", "tag 18 is missing"),
        ("d284", "d9d9f7d284", "tag 18 is missing"),
        ("d284", "d285", "no array of four entries"),
        ("d284", "d29f", "no array of four entries"),
        ("d284", "d29804", "no array of four entries"),
        ("8455a2", "845815a2", "protected header is not exactly"),
        ("a2012704", "a2013204", "protected header is not exactly"),
        ("a2012704", "a301270300", "protected header is not exactly"),
        ("a20127", "a2013807", "protected header is not exactly"),
        ("a04770", "a10441614770", "unprotected header is not empty"),
        ("a04770", "b8004770", "unprotected header is not empty"),
        ("a04770", "bfff4770", "unprotected header is not empty"),
        ("a047", "a05807", "payload's length is not in its shortest form"),
        ("a047", "a0590007", "payload's length is not in its shortest form"),
        ("a047", "a05a00000007", "payload's length is not in its shortest form"),
        ("a047", "a05b0000000000000007", "no byte string of definite length"),
        ("a047", "a05f47", "no byte string of definite length"),
        ("a0477061796c6f6164", "a0f6", "no byte string of definite length"),
        ("a047", "a067", "no byte string of definite length"),
        ("a047", "a046", "the signature is no byte string"),
        ("a047", "a0580a", "payload's length is not in its shortest form"),
        ("a047", "a0587f", "truncated"),
        ("a047", "a05affffffff", "truncated"),
        ("5840", "594000", "the signature is no byte string"),
        ("5840", "590040", "the signature is no byte string"),
        ("5840", "583f", "the signature is no byte string"),
    ],
)
def test_cose_other_form_of_the_envelope_is_refused(old: str, new: str, reason: str) -> None:
    changed = SIGNED.hex().replace(old, new, 1)
    assert changed != SIGNED.hex()
    with pytest.raises(SignatureError, match=reason):
        cose.parse1(bytes.fromhex(changed))


# holds COSE-6
@pytest.mark.parametrize("behind", [b"\x00", SIGNED])
def test_cose_trailing_bytes_are_refused(behind: bytes) -> None:
    with pytest.raises(SignatureError, match=f"{len(behind)} trailing bytes"):
        cose.parse1(SIGNED + behind)


# holds COSE-1
def test_cose_message_cut_anywhere_is_refused() -> None:
    for length in range(len(SIGNED)):
        with pytest.raises(SignatureError, match="truncated"):
            cose.parse1(SIGNED[:length])


# holds COSE-7
def test_cose_one_flipped_bit_anywhere_is_refused() -> None:
    for place in range(len(SIGNED) * 8):
        changed = bytearray(SIGNED)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(SignatureError):
            cose.verify1(cose.parse1(bytes(changed)), PUBLIC, AAD)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65_535, 65_536, 70_000])
def test_signed_structure_has_the_heads_of_canonical_cbor(size: int) -> None:
    protected, payload = bytes(21), bytes(size)
    expected = cbor.encode(["Signature1", protected, b"aad", payload])
    assert cose._to_be_signed(protected, b"aad", payload) == expected
