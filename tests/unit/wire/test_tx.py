from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import CHAIN, RAW_TX, TX, key_of, public_of
from wire import cbor, cose
from wire.errors import CborError, FormatError, SignatureError
from wire.tx import TX_AAD, TX_VALUES_MAX, open_tx
from wire.types import TX_BYTES_MAX, sha256

FIELDS: dict[str, Any] = {
    "chain": CHAIN,
    "sender": "gw-1",
    "contract": "consistency",
    "version": 1,
    "method": "report",
    "args": {"evidence": b""},
    "seq": 1,
    "valid_until_ms": 1,
}


def signed(payload: bytes, aad: bytes = TX_AAD) -> bytes:
    return cose.sign1(payload, key_of("gw-1"), aad)


# holds TX-1 TX-2 TX-4
def test_tx_signed_then_opened_is_the_same() -> None:
    opened = open_tx(RAW_TX)
    assert opened.tx == TX
    assert opened.raw == RAW_TX
    assert opened.id == sha256(RAW_TX)
    assert opened.envelope.kid == cose.kid_of(public_of("gw-1"))
    assert cbor.decode(opened.envelope.payload) == cbor.decode(TX.encode())
    opened.verify(public_of("gw-1"))


# holds TX-1
def test_tx_signed_as_another_kind_of_statement_is_refused() -> None:
    opened = open_tx(signed(TX.encode(), b"gridwitness/tx/2"))
    with pytest.raises(SignatureError, match="does not verify"):
        opened.verify(public_of("gw-1"))


# holds TX-1
def test_tx_of_another_key_is_refused() -> None:
    with pytest.raises(SignatureError, match="kid names another key"):
        open_tx(RAW_TX).verify(public_of("maker"))


# holds TX-4
def test_tx_id_changes_with_every_byte_of_the_signature() -> None:
    assert open_tx(RAW_TX[:-1] + bytes((RAW_TX[-1] ^ 1,))).id != open_tx(RAW_TX).id


# holds TX-2
def test_tx_of_the_smallest_fields_is_opened() -> None:
    assert open_tx(signed(cbor.encode(FIELDS))).tx.seq == 1


# holds TX-2 TX-5 TX-6 TX-7 TX-8 TX-9
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chain": "Sample-00000000"}, "transaction.chain"),
        ({"chain": 1}, "transaction.chain"),
        ({"sender": ""}, "transaction.sender"),
        ({"sender": None}, "transaction.sender"),
        ({"contract": "a b"}, "transaction.contract"),
        ({"method": "Report"}, "transaction.method"),
        ({"version": 0}, "transaction.version"),
        ({"version": 65_536}, "transaction.version"),
        ({"version": True}, "transaction.version"),
        ({"args": []}, "transaction.args: a map is due"),
        ({"args": None}, "transaction.args: a map is due"),
        ({"seq": 0}, "transaction.seq"),
        ({"seq": -1}, "transaction.seq"),
        ({"seq": True}, "transaction.seq"),
        ({"valid_until_ms": -1}, "transaction.valid_until_ms"),
        ({"valid_until_ms": None}, "transaction.valid_until_ms"),
        ({"extra": 0}, "field 'extra' is unknown"),
    ],
)
def test_tx_field_out_of_range_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        open_tx(signed(cbor.encode({**FIELDS, **change})))


# holds TX-2
@pytest.mark.parametrize("name", sorted(FIELDS))
def test_tx_without_a_field_is_refused(name: str) -> None:
    rest = {key: value for key, value in FIELDS.items() if key != name}
    with pytest.raises(FormatError, match=f"field '{name}' is missing"):
        open_tx(signed(cbor.encode(rest)))


# holds TX-2
def test_tx_with_a_payload_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(CborError, match="trailing bytes"):
        open_tx(signed(TX.encode() + b"\x00"))
    with pytest.raises(FormatError, match="where a map is due"):
        open_tx(signed(b"\x80"))


# holds TX-3
def test_tx_of_exactly_64_kib_is_accepted_and_of_one_byte_more_refused() -> None:
    room = TX_BYTES_MAX - len(signed(cbor.encode({**FIELDS, "args": {"b": bytes(60_000)}}))) + 60_000
    fits = replace(TX, args={"b": bytes(room)}, seq=1, valid_until_ms=1)
    raw = fits.sign(key_of("gw-1"))
    assert len(raw) == TX_BYTES_MAX
    assert open_tx(raw).tx == fits
    with pytest.raises(FormatError, match="at most 65536 are allowed"):
        replace(fits, args={"b": bytes(room + 1)}).sign(key_of("gw-1"))
    with pytest.raises(FormatError, match="65537 bytes, at most 65536 are allowed"):
        open_tx(raw + b"\x00")


# holds TX-11
def test_tx_of_more_values_than_allowed_is_refused() -> None:
    room = TX_VALUES_MAX - 2 * len(FIELDS) - 3  # the map, its keys and values, and the one key of args and its array
    fits = replace(TX, args={"b": [[]] * room}, seq=1, valid_until_ms=1)
    assert open_tx(fits.sign(key_of("gw-1"))).tx == fits
    with pytest.raises(CborError, match="more than 16384 values"):
        replace(fits, args={"b": [[]] * (room + 1)}).sign(key_of("gw-1"))


# holds TX-2
@pytest.mark.parametrize(
    "change", [{"seq": 0}, {"sender": "GW"}, {"version": True}, {"args": None}, {"valid_until_ms": 2**63 - 1 + 0.0}]
)
def test_tx_that_nobody_would_open_is_not_signed(change: dict[str, Any]) -> None:
    with pytest.raises((FormatError, CborError)):
        replace(TX, **change).sign(key_of("gw-1"))
