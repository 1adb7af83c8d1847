from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from nacl.signing import SigningKey

from wire.cose import kid_of, verify_ed25519
from wire.errors import SignatureError
from wire.httpsig import (
    LIFE_S_MAX,
    SIGNATURE,
    SIGNATURE_INPUT,
    SKEW_S,
    Message,
    StaleSignatureError,
    audience,
    boot_of,
    check_request,
    content_digest,
    read_signature,
    sign_request,
    signature_base,
)

KEY = SigningKey(bytes(range(32)))
PUBLIC = KEY.verify_key.encode()
TAG = audience("test-01234567", "dispatch.example", "00ff")
MESSAGE = Message("GET", "/v1/blobs/00", "format=raw")
NONCE = "0123456789abcdef"
NOW_S = 1_800_000_000


def signed(message: Message = MESSAGE, life_s: int = 60) -> dict[str, str]:
    return sign_request(message, KEY, TAG, NOW_S, NONCE, life_s)


def check(headers: dict[str, str], message: Message = MESSAGE, now_s: int = NOW_S) -> None:
    check_request(read_signature(headers), message, PUBLIC, {TAG}, now_s * 1000 + 999)


# holds HR-1
def test_signature_base_is_that_of_rfc_9421() -> None:
    """RFC 9421, B.2.6: a request signed with the RFC's test-key-ed25519."""
    base = signature_base(
        [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ],
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"',
    )
    public = base64.b64decode("MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")[-32:]
    signature = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    verify_ed25519(public, base, base64.b64decode(signature))


# holds HR-2
def test_content_digest_is_that_of_rfc_9530() -> None:
    """RFC 9421, B.2: sha-256 of the example's body."""
    body = b'{"hello": "world"}'
    assert content_digest(body) == "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"


# holds HR-1 HR-3
def test_signed_request_has_the_one_form_and_verifies() -> None:
    headers = signed()
    kid = kid_of(PUBLIC).hex()
    assert headers[SIGNATURE_INPUT] == (
        'gridwitness=("@method" "@path" "@query");created=1800000000;expires=1800000060;nonce="0123456789abcdef"'
        f';keyid="{kid}";alg="ed25519";tag="gridwitness/test-01234567/dispatch.example/00ff"'
    )
    found = read_signature(headers)
    assert (found.kid, found.nonce, found.expires_s, found.has_digest) == (kid_of(PUBLIC), NONCE, NOW_S + 60, False)
    check(headers)
    check(signed(Message("GET", "")), Message("GET", "/"))


# holds HR-3
def test_parameters_may_stand_in_any_order() -> None:
    first, _, rest = signed()[SIGNATURE_INPUT].partition(";")
    turned = ";".join((first, *reversed(rest.split(";"))))
    values = [("@method", "GET"), ("@path", MESSAGE.path), ("@query", "?format=raw")]
    raw = KEY.sign(signature_base(values, turned.partition("=")[2])).signature
    check({SIGNATURE_INPUT: turned, SIGNATURE: f"gridwitness=:{base64.b64encode(raw).decode()}:"})


# holds HR-2
def test_signed_request_with_a_body_covers_its_digest() -> None:
    message = replace(MESSAGE, method="POST", body=b"body")
    check(signed(message), message)
    for other in (b"other", b""):
        with pytest.raises(SignatureError):
            check(signed(message), replace(message, body=other))
    with pytest.raises(SignatureError, match="content-digest has to be covered"):
        check(signed(), replace(MESSAGE, body=b"body"))


# holds HR-1
@pytest.mark.parametrize(
    "message", [replace(MESSAGE, method="PUT"), replace(MESSAGE, path="/v1/blobs/01"), replace(MESSAGE, query="")]
)
def test_signature_of_another_request_is_refused(message: Message) -> None:
    with pytest.raises(SignatureError, match="does not verify"):
        check(signed(), message)


# holds HR-4
def test_signature_for_another_node_or_ledger_is_refused() -> None:
    found = read_signature(signed())
    others = [
        ("test-01234567", "dispatch.example", "00fe"),
        ("test-01234567", "east.example", "00ff"),
        ("other-01234567", "dispatch.example", "00ff"),
    ]
    tags = [audience(*other) for other in others]
    for given in (tags, []):
        with pytest.raises(
            SignatureError, match=r"the signature is for gridwitness/test-01234567/dispatch\.example/00ff"
        ):
            check_request(found, MESSAGE, PUBLIC, given, NOW_S * 1000)
    check_request(found, MESSAGE, PUBLIC, [*tags, TAG], NOW_S * 1000)


# holds HR-4
def test_start_is_read_from_what_a_node_accepts() -> None:
    assert boot_of(f'gridwitness=("@method");created;tag="{TAG}"') == "00ff"
    for other in ("", "gridwitness=();tag", 'gridwitness=();tag=""', f'x=();{"a" * 1024};tag="{TAG}"', TAG):
        assert boot_of(other) is None


# holds HR-5
def test_signature_counts_in_its_time_with_the_clocks_skew() -> None:
    for now_s in (NOW_S - SKEW_S, NOW_S, NOW_S + 60 + SKEW_S):
        check(signed(), now_s=now_s)
    for now_s in (NOW_S - SKEW_S - 1, NOW_S + 60 + SKEW_S + 1):
        with pytest.raises(StaleSignatureError, match="the clocks may differ by 30 s"):
            check(signed(), now_s=now_s)


# holds HR-5
def test_signature_that_lives_too_long_is_refused() -> None:
    check(signed(life_s=LIFE_S_MAX))
    for life_s in (0, LIFE_S_MAX + 1):
        with pytest.raises(StaleSignatureError, match=r"has to end 1\.\.300 s"):
            check(signed(life_s=life_s))


def test_signature_of_another_key_is_refused() -> None:
    with pytest.raises(SignatureError, match="does not verify"):
        check_request(read_signature(signed()), MESSAGE, SigningKey(bytes(32)).verify_key.encode(), {TAG}, NOW_S * 1000)


# holds HR-3
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("gridwitness=", "sig1=", "one signature with the label"),
        ("gridwitness=", "gridwitness=" * 100, "one signature with the label"),
        ('"@query");', '"@query"), other=("@query");', "one signature with the label"),
        ('"@method" ', "", "@method, @path, @query"),
        ('"@method" "@path"', '"@path" "@method"', "@method, @path, @query"),
        ('"@method"', "@method", "@method, @path, @query"),
        ('"@query")', '"@query" "date")', "@method, @path, @query"),
        (';alg="ed25519"', "", "each once"),
        (';alg="ed25519"', ';alg="ed25519";alg="ed25519"', "each once"),
        (';alg="ed25519"', ';alg="ed25519";more="x"', "each once"),
        ("created=1800000000", 'created="1800000000"', "created and expires are numbers"),
        (';alg="ed25519"', ";alg=25519", "created and expires are numbers"),
        ("ed25519", "hmac-sha256", "alg ed25519"),
        ('keyid="', 'keyid="g', "keyid of 32 hex digits"),
        (NONCE, "short", "nonce of 16"),
        (NONCE, "0123456789abcdef!", "nonce of 16"),
        ("ed25519", 'ed"25519', "one signature with the label"),
    ],
)
def test_signature_input_of_another_form_is_refused(old: str, new: str, reason: str) -> None:
    headers = signed()
    assert old in headers[SIGNATURE_INPUT]
    with pytest.raises(SignatureError, match=reason):
        read_signature(headers | {SIGNATURE_INPUT: headers[SIGNATURE_INPUT].replace(old, new)})


# holds HR-3
@pytest.mark.parametrize(
    "value", ["", "gridwitness=::", f"sig1=:{'A' * 86}==:", f"gridwitness=:{'A' * 88}:", f"gridwitness=:{'=' * 88}:"]
)
def test_signature_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(SignatureError, match="64 bytes in base64"):
        read_signature(signed() | {SIGNATURE: value})
    with pytest.raises(SignatureError):
        read_signature({})
