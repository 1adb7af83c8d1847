from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import (
    CERTIFICATE,
    FIRST_END,
    GENESIS,
    HEADER,
    MEMBERS,
    NEXT_VALIDATORS,
    SECOND_END,
    THIRD_VALIDATORS,
    VALIDATORS,
    VOTE_KEYS,
    Json,
    certify,
    end_of,
    key_of,
)
from wire import cbor
from wire.certificate import Step
from wire.epochs import (
    EPOCHS_MAX,
    EpochEnd,
    TrustedEpoch,
    decode_epoch_ends,
    decode_epochs_field,
    verify_epochs,
    verify_header,
)
from wire.errors import CborError, CertificateError, FormatError
from wire.fields import Fields
from wire.header import Header

CHAIN = GENESIS.chain()
FIRST = TrustedEpoch(0, VALIDATORS, 1)
KEYS = {**VOTE_KEYS, "sub-zenith": key_of("sub-zenith votes")}


# holds EP-1
def test_epochs_begin_with_the_validators_of_genesis_at_height_1() -> None:
    assert verify_epochs(GENESIS, ()) == FIRST


# holds EP-3 EP-4
def test_epochs_lead_from_set_to_set() -> None:
    assert verify_epochs(GENESIS, (FIRST_END,)) == TrustedEpoch(1, NEXT_VALIDATORS, 43)
    assert verify_epochs(GENESIS, (FIRST_END, SECOND_END)) == TrustedEpoch(2, THIRD_VALIDATORS, 61)


# holds EP-3
def test_epoch_end_round_trips() -> None:
    ends = (FIRST_END, SECOND_END)
    assert decode_epoch_ends([cbor.decode(cbor.encode(entry.to_value())) for entry in ends]) == ends


# holds EP-4
@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ((SECOND_END,), "not those trusted for epoch 0"),
        ((SECOND_END, FIRST_END), "not those trusted for epoch 0"),
        ((FIRST_END, FIRST_END), "not those trusted for epoch 1"),
        ((FIRST_END, SECOND_END, SECOND_END), "not those trusted for epoch 2"),
    ],
)
def test_epochs_out_of_order_or_missing_are_refused(ends: tuple[EpochEnd, ...], reason: str) -> None:
    with pytest.raises(CertificateError, match=reason):
        verify_epochs(GENESIS, ends)


# holds EP-4
def test_epoch_end_below_the_quorum_of_the_set_before_is_refused() -> None:
    with pytest.raises(CertificateError, match="2 signatures, 3 of 4"):
        verify_epochs(GENESIS, (end_of(HEADER, NEXT_VALIDATORS, MEMBERS[:2]),))


# holds EP-4
def test_epoch_end_signed_by_the_set_that_it_brings_is_refused() -> None:
    signers = ("dispatch", "sub-east", "sub-zenith")
    with pytest.raises(CertificateError, match="'sub-zenith' is no validator of this epoch"):
        verify_epochs(GENESIS, (end_of(HEADER, THIRD_VALIDATORS, signers, keys=KEYS),))


# holds EP-3
def test_epoch_end_with_another_set_than_its_header_names_is_refused() -> None:
    with pytest.raises(CertificateError, match="not the one its header names"):
        verify_epochs(GENESIS, (replace(FIRST_END, validators=THIRD_VALIDATORS),))


# holds EP-3
def test_epoch_end_that_changes_nothing_is_refused() -> None:
    with pytest.raises(CertificateError, match="height 42 does not end an epoch"):
        verify_epochs(GENESIS, (EpochEnd(HEADER, CERTIFICATE, VALIDATORS),))


# holds EP-2 QC-9
def test_header_of_the_trusted_epoch_verifies() -> None:
    verify_header(CHAIN, FIRST, HEADER, CERTIFICATE)
    verify_header(CHAIN, TrustedEpoch(0, VALIDATORS, 42), HEADER, certify(HEADER, view=5))


# holds EP-2
@pytest.mark.parametrize(
    ("header", "epoch", "reason"),
    [
        (replace(HEADER, chain="other-00000000"), FIRST, "header of chain 'other-00000000'"),
        (replace(HEADER, epoch=1), FIRST, "not those trusted for epoch 0"),
        (replace(HEADER, validators_hash=NEXT_VALIDATORS.digest()), FIRST, "not those trusted for epoch 0"),
        (HEADER, TrustedEpoch(1, VALIDATORS, 1), "not those trusted for epoch 1"),
        (HEADER, TrustedEpoch(0, NEXT_VALIDATORS, 1), "not those trusted for epoch 0"),
        (HEADER, TrustedEpoch(0, VALIDATORS, 43), "epoch 0 starts at height 43"),
    ],
)
def test_header_of_another_chain_epoch_or_set_is_refused(header: Header, epoch: TrustedEpoch, reason: str) -> None:
    with pytest.raises(CertificateError, match=reason):
        verify_header(CHAIN, epoch, header, certify(header))


# holds QC-9
@pytest.mark.parametrize(
    "changes",
    [{"step": Step.PREPARE}, {"epoch": 1}, {"height": 43}, {"digest": bytes(32)}],
    ids=["step", "epoch", "height", "digest"],
)
def test_header_with_a_certificate_of_something_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CertificateError, match="the certificate is not a commit of this header"):
        verify_header(CHAIN, FIRST, HEADER, replace(CERTIFICATE, **changes))


# holds QC-9
def test_header_with_a_prepared_certificate_is_not_final() -> None:
    with pytest.raises(CertificateError, match="not a commit"):
        verify_header(CHAIN, FIRST, HEADER, certify(HEADER, step=Step.PREPARE))


# holds QC-9
def test_header_changed_under_its_certificate_is_refused() -> None:
    with pytest.raises(CertificateError, match="not a commit of this header"):
        verify_header(CHAIN, FIRST, replace(HEADER, state_root=bytes(32)), CERTIFICATE)


# holds EP-3
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": None}, "epochs.header"),
        ({"header": bytes(4097)}, "epochs.header"),
        ({"certificate": None}, "certificate: a NoneType"),
        ({"validators": None}, "validators: an array is due"),
        ({"more": 0}, "field 'more' is unknown"),
    ],
)
def test_epoch_end_of_another_shape_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_epoch_ends([{**FIRST_END.to_value(), **changes}])


# holds EP-3
def test_epoch_end_with_a_header_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(CborError, match="trailing bytes"):
        decode_epoch_ends([{**FIRST_END.to_value(), "header": FIRST_END.header.encode() + b"\x00"}])


# holds EP-5
def test_epochs_field_of_at_most_1024_entries_is_read() -> None:
    fields = Fields({"epochs": [FIRST_END.to_value()]}, ("epochs",), "receipt")
    assert decode_epochs_field(fields) == (FIRST_END,)


# holds EP-5
@pytest.mark.parametrize(
    ("entries", "reason"),
    [([None], "receipt.epochs: epochs: a NoneType"), ([0] * (EPOCHS_MAX + 1), "at most 1024 entries"), (None, "array")],
)
def test_epochs_field_that_is_too_long_or_malformed_is_refused(entries: Json, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_epochs_field(Fields({"epochs": entries}, ("epochs",), "receipt"))
