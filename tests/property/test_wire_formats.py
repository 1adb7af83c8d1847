from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from tests.unit.wire.samples import GENESIS, HEADER, LATER_RECEIPT, RAW_TX, RECEIPT, certify, key_of, public_of
from tests.unit.wire.test_golden import FORMATS
from wire import cose
from wire.certificate import Validator, ValidatorSet, faults, quorum, verify_certificate
from wire.errors import CertificateError, WireError
from wire.receipt import Receipt, decode_receipt, verify_receipt
from wire.tx import open_tx

ENCODERS = {name: type(sample).encode for name, (sample, _, _) in FORMATS.items() if hasattr(sample, "encode")}
NODES = {f"node-{number}": SigningKey(bytes((number,)) * 32) for number in range(7)}


def accepts(raw: bytes, receipt: Receipt) -> bool:
    try:
        verify_receipt(receipt, raw, GENESIS)
    except WireError:
        return False
    return True


# holds CBOR-13
@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"transaction"}))
@settings(max_examples=250)
@given(data=st.data())
def test_format_with_changed_bytes_is_refused_or_writes_the_same_bytes_again(name: str, data: st.DataObject) -> None:
    _, written, read = FORMATS[name]
    raw = bytearray(written)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = read(bytes(raw))
    except WireError:
        return
    assert ENCODERS[name](value) == raw


# holds TX-4 COSE-7
def test_tx_with_any_one_byte_changed_is_refused() -> None:
    public = public_of("gw-1")
    for place in range(len(RAW_TX)):
        changed = bytearray(RAW_TX)
        changed[place] ^= 1 << place % 8
        with pytest.raises(WireError):
            open_tx(bytes(changed)).verify(public)


# holds COSE-5 COSE-7
@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=40))
def test_cose_any_payload_verifies_with_its_own_aad_alone(payload: bytes, aad: bytes, other: bytes) -> None:
    envelope = cose.parse1(cose.sign1(payload, key_of("lab"), aad))
    assert envelope.payload == payload
    cose.verify1(envelope, public_of("lab"), aad)
    if other != aad:
        with pytest.raises(WireError, match="does not verify"):
            cose.verify1(envelope, public_of("lab"), other)


# holds RC-4 RC-5 RC-6
@pytest.mark.parametrize("receipt", [RECEIPT, LATER_RECEIPT], ids=["first epoch", "second epoch"])
def test_receipt_with_any_one_byte_changed_is_refused(receipt: Receipt) -> None:
    raw = receipt.encode()
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        try:
            decoded = decode_receipt(bytes(changed))
        except WireError:
            continue
        assert not accepts(RAW_TX, decoded), f"byte {place}"


# holds RC-3
@given(st.data())
def test_receipt_proves_no_changed_transaction(data: st.DataObject) -> None:
    changed = bytearray(RAW_TX)
    changed[data.draw(st.integers(0, len(RAW_TX) - 1))] ^= data.draw(st.integers(1, 255))
    assert not accepts(bytes(changed), RECEIPT)


# holds QC-1
@pytest.mark.parametrize("count", range(1, 41))
def test_quorums_of_every_size_meet_in_an_honest_validator_and_are_always_reachable(count: int) -> None:
    may_fail, signers = faults(count), quorum(count)
    assert 3 * may_fail < count <= 3 * may_fail + 3
    assert 2 * signers - count > may_fail
    assert count - may_fail >= signers
    assert 2 * (signers - 1) - count <= may_fail, "one signature fewer would not do"


# holds QC-6
@pytest.mark.parametrize("count", range(1, 8))
def test_certificate_verifies_for_every_quorum_and_for_nothing_less(count: int) -> None:
    members = list(NODES)[:count]
    validators = ValidatorSet(
        tuple(Validator(member, NODES[member].verify_key.encode(), bytes(32)) for member in members)
    )
    for size in range(count + 1):
        for signers in combinations(members, size):
            certificate = certify(HEADER, signers, keys=NODES)
            if size >= quorum(count):
                verify_certificate(certificate, HEADER.chain, validators)
            else:
                with pytest.raises(CertificateError, match=f"{size} signatures, {quorum(count)} of {count}"):
                    verify_certificate(certificate, HEADER.chain, validators)
