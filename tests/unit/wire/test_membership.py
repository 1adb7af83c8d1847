from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.samples import CHAIN, Json, public_of
from wire import cbor
from wire.errors import FormatError, WireError
from wire.membership import (
    APPLICATION_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Application,
    application_bytes,
    decode_application,
    key_bytes,
    recovery_bytes,
)

APPLICATION = Application(
    CHAIN, "wind", "generator", "sub-east", "Wind & Söhne", public_of("wind"), public_of("wind root"), b"request"
)


# holds MB-4
@pytest.mark.parametrize(
    "made",
    [
        APPLICATION,
        replace(APPLICATION, parent=None, root_key=None),
        replace(APPLICATION, request=bytes(REQUEST_BYTES_MAX), title="x" * 256),
    ],
)
def test_application_round_trips(made: Application) -> None:
    assert decode_application(made.encode()) == made


# holds MB-4
@pytest.mark.parametrize(
    "changes",
    [
        {"chain": "No"},
        {"organisation": ""},
        {"role": "king"},
        {"parent": "No"},
        {"title": ""},
        {"title": "a\nb"},
        {"key": b"short"},
        {"root_key": b"short"},
        {"request": b""},
        {"request": bytes(REQUEST_BYTES_MAX + 1)},
    ],
)
def test_application_out_of_range_is_refused(changes: Json) -> None:
    with pytest.raises(FormatError, match=f"application.{next(iter(changes))}"):
        decode_application(replace(APPLICATION, **changes).encode())


# holds MB-4
def test_application_with_a_field_more_or_too_long_is_refused() -> None:
    with pytest.raises(FormatError, match="'more' is unknown"):
        decode_application(cbor.encode({**cbor.decode_map(APPLICATION.encode()), "more": 1}))
    with pytest.raises(WireError, match="longer than"):
        decode_application(bytes(APPLICATION_BYTES_MAX + 1))


# holds MB-4 MB-7 MB-11
def test_signed_words_name_what_they_are_and_whom_they_are_about() -> None:
    raw = APPLICATION.encode()
    assert application_bytes(raw) == b"gridwitness/application/1" + raw
    words = {
        key_bytes(chain, account, purpose, old, new)
        for chain in ("a", "b")
        for account in ("x", "y")
        for purpose in ("rotate", "replace")
        for old in (None, b"old")
        for new in (None, b"new")
    }
    assert len(words) == 32
    assert key_bytes("a", "x", "rotate", b"o", b"n") == b"gridwitness/key/1" + cbor.encode(
        ["a", "x", "rotate", b"o", b"n"]
    )
    recoveries = {
        recovery_bytes("a", "x", new, number, expires_ms)
        for new in (b"new", b"old")
        for number in (1, 2)
        for expires_ms in (1, 2)
    }
    assert len(recoveries | words) == 40
    assert recovery_bytes("a", "x", b"n", 3, 9) == b"gridwitness/key/1" + cbor.encode(
        ["a", "x", "recover", None, b"n", 3, 9]
    )
