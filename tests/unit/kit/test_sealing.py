from __future__ import annotations

import hmac
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base

from kit.exitcodes import DataError, PermissionDeniedError, StorageError
from kit.sealing import (
    Reader,
    _wrap,
    create_reading_key,
    load_reading_key,
    open_sealed,
    rewrap,
    seal,
)
from wire.errors import FormatError
from wire.sealed import CONTENT_BYTES_MAX, Label, decode_sealed, wrap_info

LABEL = Label("test-01234567", "settings", "device/dev-1", "linden 1.2.4")
CONTENT = b"UFLS stage 1: 49.00 Hz"

BOUND = b"\x86\x74gridwitness/sealed/1\x6dtest-01234567\x68settings\x6cdevice/dev-1\x6clinden 1.2.4"
"""Array of six, of which the last is to follow."""


def expand(key: bytes, info: bytes, length: int) -> bytes:
    return hmac.digest(key, info + b"\x01", "sha256")[:length]


def hpke_key(secret: bytes, enc: bytes, info: bytes, aead: int, key_bytes: int) -> tuple[bytes, bytes]:
    """Compute key and nonce of base mode from the text of RFC 9180, 4.1 and 5.1; nothing of the library is used."""
    public = crypto_scalarmult_base(secret)
    kem = b"KEM\x00\x20"
    extracted = hmac.digest(b"", b"HPKE-v1" + kem + b"eae_prk" + crypto_scalarmult(secret, enc), "sha256")
    shared = expand(extracted, b"\x00\x20HPKE-v1" + kem + b"shared_secret" + enc + public, 32)
    suite = b"HPKE\x00\x20\x00\x01" + aead.to_bytes(2, "big")

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")

    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    scheduled = extract(shared, b"secret", b"")

    def derived(label: bytes, length: int) -> bytes:
        return expand(scheduled, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context, length)

    return derived(b"key", key_bytes), derived(b"base_nonce", 12)


def test_hpke_of_the_tests_opens_the_vector_of_rfc_9180() -> None:
    """RFC 9180, appendix A.1.1.1, sequence number 0."""
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    secret = bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    key, nonce = hpke_key(secret, enc, bytes.fromhex("4f6465206f6e2061204772656369616e2055726e"), 1, 16)
    assert key.hex() == "4531685d41d65f03dc48f6b8302c05b0"
    assert nonce.hex() == "56d890e5accaaf011cff4b7d"
    sealed = bytes.fromhex("f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a")
    assert AESGCM(key).decrypt(nonce, sealed, b"Count-0") == b"Beauty is truth, truth beauty"


# holds HS-4
def test_wrap_is_hpke_as_another_implementation_reads_it(tmp_path: Path) -> None:
    key = create_reading_key(tmp_path, "lab")
    made = seal(LABEL, CONTENT, [Reader("lab", key.public)])
    (wrap,) = made.wraps
    info = wrap_info(LABEL, made.content, "lab")
    wrap_key, nonce = hpke_key(key.private.private_bytes_raw(), wrap.wrapped[:32], info, 3, 32)
    content_key = ChaCha20Poly1305(wrap_key).decrypt(nonce, wrap.wrapped[32:], b"")
    opened = ChaCha20Poly1305(content_key).decrypt(bytes(12), made.ciphertext, BOUND + b"\x6aciphertext")
    assert opened == CONTENT
    named = hmac.digest(content_key, BOUND + b"\x67content" + sha256(CONTENT).digest(), "sha256")
    assert named == made.content


# holds HS-4
def test_sealed_content_opens_for_its_readers_and_for_nobody_else(tmp_path: Path) -> None:
    keys = {name: create_reading_key(tmp_path, name) for name in ("lab", "grid", "stranger")}
    made = seal(LABEL, CONTENT, [Reader(name, keys[name].public) for name in ("lab", "grid")])
    assert [wrap.account for wrap in made.wraps] == ["grid", "lab"]
    again = decode_sealed(made.encode())
    assert [open_sealed(again, load_reading_key(tmp_path / f"{name}.reading")) for name in ("lab", "grid")] == [
        CONTENT
    ] * 2
    with pytest.raises(PermissionDeniedError, match="is not sealed for the key stranger"):
        open_sealed(again, keys["stranger"])


# holds HS-5
def test_rotated_key_opens_what_is_wrapped_anew_and_the_old_one_does_not(tmp_path: Path) -> None:
    old, new, other = (create_reading_key(tmp_path, name) for name in ("old", "new", "other"))
    made = seal(LABEL, CONTENT, [Reader("grid", old.public)])
    again = rewrap(made, old, [Reader("grid", new.public), Reader("lab", other.public)])
    assert (again.content, again.ciphertext) == (made.content, made.ciphertext)
    assert [open_sealed(again, key) for key in (new, other)] == [CONTENT, CONTENT]
    with pytest.raises(PermissionDeniedError):
        open_sealed(again, old)
    with pytest.raises(PermissionDeniedError):
        rewrap(made, new, [Reader("grid", new.public)])


# holds HS-2 HS-3 HS-4
def test_sealed_file_that_was_changed_does_not_open(tmp_path: Path) -> None:
    key, other = create_reading_key(tmp_path, "lab"), create_reading_key(tmp_path, "other")
    made = seal(LABEL, CONTENT, [Reader("lab", key.public)])
    twin = seal(LABEL, b"another content", [Reader("lab", key.public)])
    wrap = made.wraps[0]
    changed = [
        replace(made, label=replace(LABEL, subject="device/dev-2")),
        replace(made, label=replace(LABEL, title="another")),
        replace(made, content=bytes(32)),
        replace(made, ciphertext=bytes([made.ciphertext[0] ^ 1]) + made.ciphertext[1:]),
        replace(made, ciphertext=twin.ciphertext),
        replace(made, wraps=(replace(wrap, account="grid"),)),
        replace(made, wraps=(replace(wrap, wrapped=bytes(80)),)),
        replace(made, wraps=twin.wraps),
    ]
    for file in changed:
        with pytest.raises(DataError, match="was changed"):
            open_sealed(file, key)
    assert open_sealed(made, key) == CONTENT
    assert other.kid != key.kid


# holds HS-3
def test_file_that_holds_another_content_than_it_names_does_not_open(tmp_path: Path) -> None:
    """Its maker wrapped a key that fits the ciphertext and named another content."""
    key = create_reading_key(tmp_path, "lab")
    made = seal(LABEL, CONTENT, [Reader("lab", key.public)])
    content_key = bytes(32)
    lying = replace(
        made,
        ciphertext=ChaCha20Poly1305(content_key).encrypt(bytes(12), CONTENT, BOUND + b"\x6aciphertext"),
        wraps=(_wrap(LABEL, made.content, content_key, Reader("lab", key.public)),),
    )
    with pytest.raises(DataError, match="holds another content than it names"):
        open_sealed(lying, key)


def test_content_or_reader_that_cannot_be_sealed_is_refused(tmp_path: Path) -> None:
    key = create_reading_key(tmp_path, "lab")
    with pytest.raises(DataError, match="at most 33423360 are allowed"):
        seal(LABEL, bytes(CONTENT_BYTES_MAX + 1), [Reader("lab", key.public)])
    with pytest.raises(DataError, match="the reading key of lab cannot be used"):
        seal(LABEL, CONTENT, [Reader("lab", bytes(32))])
    with pytest.raises(FormatError, match="not sorted or not unique"):
        seal(LABEL, CONTENT, [Reader("lab", key.public)] * 2)
    with pytest.raises(FormatError, match="nobody can open"):
        seal(LABEL, CONTENT, [])


def test_reading_key_is_private_and_shows_no_secret(tmp_path: Path) -> None:
    key = create_reading_key(tmp_path / "keys", "lab")
    path = tmp_path / "keys" / "lab.reading"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_reading_key(path).public == key.public
    assert "secret" not in repr(key)
    with pytest.raises(StorageError, match="never overwritten"):
        create_reading_key(tmp_path / "keys", "lab")
    with pytest.raises(FormatError):
        create_reading_key(tmp_path, "Lab/..")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json", "is no JSON"),
        ("[]", "is no reading key"),
        ('{"type": "x25519"}', "is no reading key"),
        ({"type": "ed25519"}, "is no reading key"),
        ({"secret": "00"}, "32 bytes of lower-case hex"),
        ({"public": "00" * 32}, "do not belong together"),
        ({"kid": "00" * 16}, "do not belong together"),
    ],
)
def test_file_that_is_no_reading_key_is_refused(tmp_path: Path, text: str | dict[str, str], reason: str) -> None:
    create_reading_key(tmp_path, "lab")
    path = tmp_path / "lab.reading"
    path.write_text(text if isinstance(text, str) else json.dumps(json.loads(path.read_text()) | text))
    with pytest.raises(DataError, match=reason):
        load_reading_key(path)


def test_reading_key_that_is_missing_or_open_to_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gridwitness access new-key"):
        load_reading_key(tmp_path / "none.reading")
    create_reading_key(tmp_path, "lab")
    (tmp_path / "lab.reading").chmod(0o640)
    with pytest.raises(PermissionDeniedError):
        load_reading_key(tmp_path / "lab.reading")
