from __future__ import annotations

from dataclasses import replace

import pytest

from wire import cbor
from wire.errors import WireError
from wire.sealed import (
    CONTENT_BYTES_MAX,
    Label,
    SealedFile,
    Wrap,
    content_aad,
    content_digest,
    decode_sealed,
    wrap_info,
)
from wire.types import sha256

LABEL = Label("test-01234567", "settings", "device/dev-1", "linden 1.2.4")
FILE = SealedFile(
    LABEL,
    sha256(b"content"),
    bytes(24),
    (Wrap("grid", bytes(16), bytes(80)), Wrap("lab", b"\x01" * 16, bytes(80))),
)


# holds HS-1
def test_sealed_file_round_trips_and_begins_with_its_type() -> None:
    raw = FILE.encode()
    assert decode_sealed(raw) == FILE
    assert raw.startswith(b"\xa8\x64type\x74gridwitness/sealed/1\x65chain")
    assert FILE.kids() == (bytes(16), b"\x01" * 16)


# holds HS-1
@pytest.mark.parametrize(
    "changes",
    [
        {"type": "gridwitness/sealed/2"},
        {"chain": "A"},
        {"class": "public"},
        {"subject": "dev-1"},
        {"title": ""},
        {"title": "x" * 129},
        {"content": bytes(31)},
        {"ciphertext": bytes(15)},
        {"wraps": []},
        {"wraps": [{"account": "grid", "kid": bytes(15), "wrapped": bytes(80)}]},
        {"wraps": [{"account": "grid", "kid": bytes(16), "wrapped": bytes(81)}]},
        {"wraps": [{"account": "grid", "kid": bytes(16), "wrapped": bytes(80)}] * 2},
    ],
)
def test_sealed_file_with_a_field_out_of_range_is_refused(changes: dict[str, cbor.Value]) -> None:
    value = cbor.decode_map(FILE.encode())
    assert decode_sealed(cbor.encode(value)) == FILE
    with pytest.raises(WireError):
        decode_sealed(cbor.encode(value | changes))


def test_sealed_file_out_of_range_is_not_written() -> None:
    with pytest.raises(WireError, match="ciphertext"):
        replace(FILE, ciphertext=bytes(CONTENT_BYTES_MAX + 17)).encode()


# holds HS-3
def test_content_digest_depends_on_key_label_and_content_and_on_nothing_else() -> None:
    seen = {
        content_digest(label, key, content)
        for label in (LABEL, replace(LABEL, subject="all"))
        for key in (bytes(32), b"\x01" * 32)
        for content in (b"49.00", b"48.50")
    }
    assert len(seen) == 8
    assert content_digest(LABEL, bytes(32), b"49.00") in seen


# holds HS-2 HS-4
def test_bound_contexts_are_canonical_arrays_that_differ_by_use() -> None:
    head = ["gridwitness/sealed/1", "test-01234567", "settings", "device/dev-1", "linden 1.2.4"]
    assert cbor.decode(content_aad(LABEL)) == [*head, "ciphertext"]
    assert cbor.decode(wrap_info(LABEL, bytes(32), "lab")) == [*head, "wrap", bytes(32), "lab"]


# holds HS-5
def test_rewrapped_file_keeps_content_and_ciphertext() -> None:
    made = FILE.rewrapped((Wrap("maker", bytes(16), bytes(80)), Wrap("dispatch", bytes(16), bytes(80))))
    assert (made.content, made.ciphertext, made.label) == (FILE.content, FILE.ciphertext, LABEL)
    assert [wrap.account for wrap in made.wraps] == ["dispatch", "maker"]
