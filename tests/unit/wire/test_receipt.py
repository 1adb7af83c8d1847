from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import (
    CERTIFICATE,
    FIRST_END,
    GENESIS,
    HEADER,
    INDEX,
    LATER_RECEIPT,
    MEMBERS,
    NEXT_VALIDATORS,
    OUTCOMES,
    RAW_TX,
    RECEIPT,
    SECOND_END,
    TXS,
    certify,
    path_of,
)
from wire import cbor
from wire.errors import CborError, CertificateError, FormatError, ProofError, WireError
from wire.header import tx_root
from wire.merkle import inclusion_path, leaf_digest, tree_head
from wire.receipt import (
    BUNDLE_BYTES_MAX,
    RECEIPT_BYTES_MAX,
    Bundle,
    Event,
    Outcome,
    Receipt,
    decode_bundle,
    decode_outcome,
    decode_receipt,
    verify_receipt,
)
from wire.types import sha256

OUTCOME = OUTCOMES[INDEX]


def value() -> dict[str, Any]:
    return cbor.decode_map(RECEIPT.encode())


# holds RC-1 RC-4 RC-5 RC-6
@pytest.mark.parametrize("receipt", [RECEIPT, LATER_RECEIPT], ids=["first epoch", "second epoch"])
def test_receipt_round_trips_and_verifies_with_genesis_alone(receipt: Receipt) -> None:
    assert decode_receipt(receipt.encode()) == receipt
    verify_receipt(decode_receipt(receipt.encode()), RAW_TX, GENESIS)


# holds RC-5
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_receipt_of_every_place_in_a_block_verifies(size: int) -> None:
    for index in range(size):
        txs = [*TXS[:INDEX], *TXS[INDEX + 1 :], *(bytes((number,)) for number in range(8))][: size - 1]
        txs.insert(index, RAW_TX)
        outcomes = [Outcome(sha256(raw), "ok", ()).encode() for raw in txs]
        header = replace(HEADER, tx_count=size, tx_root=tx_root(txs), outcome_root=tree_head(outcomes))
        receipt = replace(
            RECEIPT,
            header=header,
            certificate=certify(header),
            index=index,
            size=size,
            tx_path=path_of(txs, index),
            outcome=decode_outcome(outcomes[index]),
            outcome_path=path_of(outcomes, index),
        )
        verify_receipt(receipt, RAW_TX, GENESIS)
        for other in set(range(size)) - {index}:
            with pytest.raises(ProofError):
                verify_receipt(replace(receipt, index=other), RAW_TX, GENESIS)


# holds RC-3
def test_receipt_of_another_transaction_is_refused() -> None:
    with pytest.raises(ProofError, match="about another transaction"):
        verify_receipt(RECEIPT, TXS[0], GENESIS)
    with pytest.raises(ProofError, match="about another transaction"):
        verify_receipt(replace(RECEIPT, outcome=OUTCOMES[0]), RAW_TX, GENESIS)
    with pytest.raises(ProofError, match="about another transaction"):
        verify_receipt(replace(RECEIPT, tx=sha256(TXS[0]), outcome=OUTCOMES[0]), RAW_TX, GENESIS)


OTHER_HEADER = replace(HEADER, time_ms=HEADER.time_ms + 1)


# holds RC-4 RC-5
@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"header": OTHER_HEADER}, CertificateError, "not a commit of this header"),
        ({"header": replace(HEADER, chain="other-00000000")}, CertificateError, "header of chain"),
        ({"certificate": certify(OTHER_HEADER)}, CertificateError, "not a commit of this header"),
        ({"certificate": certify(HEADER, MEMBERS[:2])}, CertificateError, "2 signatures"),
        ({"certificate": replace(CERTIFICATE, view=1)}, CertificateError, "does not verify"),
        ({"index": INDEX - 1}, ProofError, "inclusion proof"),
        ({"index": INDEX + 1}, ProofError, "inclusion proof"),
        ({"index": len(TXS)}, ProofError, "inclusion proof"),
        ({"size": len(TXS) + 1}, ProofError, "its header counts 6"),
        ({"size": len(TXS) - 1}, ProofError, "its header counts 6"),
        ({"index": 1, "size": 2}, ProofError, "its header counts 6"),
        ({"tx_path": ()}, ProofError, "too short"),
        ({"tx_path": RECEIPT.tx_path[::-1]}, ProofError, "another tree head"),
        ({"tx_path": (*RECEIPT.tx_path, bytes(32))}, ProofError, "too long"),
        ({"outcome_path": ()}, ProofError, "too short"),
        ({"outcome_path": RECEIPT.tx_path}, ProofError, "another tree head"),
        ({"outcome": replace(OUTCOME, code="refused")}, ProofError, "another tree head"),
        ({"outcome": replace(OUTCOME, events=())}, ProofError, "another tree head"),
        ({"epochs": (FIRST_END,)}, CertificateError, "not those trusted for epoch 1"),
    ],
)
def test_receipt_with_one_part_changed_is_refused(changes: dict[str, Any], error: type[WireError], reason: str) -> None:
    with pytest.raises(error, match=reason):
        verify_receipt(replace(RECEIPT, **changes), RAW_TX, GENESIS)


# holds RC-5
def test_receipt_of_the_last_place_cannot_pose_as_one_of_a_smaller_block() -> None:
    """Leaf 4 of 5 and leaf 1 of 2 have paths of one shape: only the certified count tells them apart."""
    txs = (*TXS[:4], RAW_TX)
    outcomes = [Outcome(sha256(raw), "ok", ()).encode() for raw in txs]
    header = replace(HEADER, tx_count=5, tx_root=tx_root(txs), outcome_root=tree_head(outcomes))
    leaf = inclusion_path([leaf_digest(raw) for raw in txs], 4)
    outcome_leaf = inclusion_path([leaf_digest(raw) for raw in outcomes], 4)
    receipt = Receipt(
        sha256(RAW_TX), header, certify(header), 4, 5, leaf, decode_outcome(outcomes[4]), outcome_leaf, ()
    )
    verify_receipt(receipt, RAW_TX, GENESIS)
    with pytest.raises(ProofError, match="its header counts 5"):
        verify_receipt(replace(receipt, index=1, size=2), RAW_TX, GENESIS)


# holds RC-6
@pytest.mark.parametrize(
    ("epochs", "reason"),
    [
        ((), "not those trusted for epoch 0"),
        ((FIRST_END, SECOND_END), "not those trusted for epoch 2"),
        ((replace(FIRST_END, validators=NEXT_VALIDATORS, certificate=CERTIFICATE),), "not a commit of this header"),
    ],
)
def test_receipt_of_a_later_epoch_with_other_epochs_is_refused(epochs: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(CertificateError, match=reason):
        verify_receipt(replace(LATER_RECEIPT, epochs=epochs), RAW_TX, GENESIS)


# holds RC-6
def test_receipt_under_another_genesis_is_refused() -> None:
    with pytest.raises(CertificateError, match="header of chain"):
        verify_receipt(RECEIPT, RAW_TX, replace(GENESIS, time_ms=0))


# holds RC-1
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "header"}, "receipt.type: one of receipt"),
        ({"version": 2}, "receipt.version"),
        ({"tx": b""}, "receipt.tx"),
        ({"header": b""}, "receipt.header"),
        ({"certificate": None}, "certificate: a NoneType"),
        ({"index": -1}, "receipt.index"),
        ({"index": 100_000}, "receipt.index"),
        ({"size": 0}, "receipt.size"),
        ({"size": 100_001}, "receipt.size"),
        ({"tx_path": [b""]}, "receipt.tx_path: digests of 32 bytes"),
        ({"tx_path": ["x" * 32]}, "receipt.tx_path: digests of 32 bytes"),
        ({"tx_path": [bytes(32)] * 65}, "receipt.tx_path: an array of at most 64"),
        ({"outcome_path": None}, "receipt.outcome_path"),
        ({"outcome": None}, "receipt.outcome"),
        ({"outcome": b""}, "receipt.outcome"),
        ({"epochs": None}, "receipt.epochs"),
        ({"more": 0}, "field 'more' is unknown"),
    ],
)
def test_receipt_of_another_shape_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_receipt(cbor.encode({**value(), **changes}))


# holds RC-1
@pytest.mark.parametrize("name", sorted(value()))
def test_receipt_without_a_field_is_refused(name: str) -> None:
    rest = {key: entry for key, entry in value().items() if key != name}
    with pytest.raises(FormatError, match=f"field '{name}' is missing"):
        decode_receipt(cbor.encode(rest))


# holds RC-2
def test_outcome_round_trips() -> None:
    bare = Outcome(bytes(32), "evidence-conflict", ())
    subject = Outcome(bytes(32), "ok", (Event("references", "release_effective", "", {"nested": [1, {"a": b"b"}]}),))
    for outcome in (OUTCOME, bare, subject):
        assert decode_outcome(outcome.encode()) == outcome


# holds RC-2
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tx": b""}, "outcome.tx"),
        ({"code": "Not OK"}, "outcome.code"),
        ({"events": None}, "outcome.events"),
        ({"events": [0] * 4097}, "at most 4096 entries"),
        ({"events": [{"contract": "A", "type": "t", "subject": "", "data": {}}]}, "outcome.events.contract"),
        ({"events": [{"contract": "a", "type": "", "subject": "", "data": {}}]}, "outcome.events.type"),
        ({"events": [{"contract": "a", "type": "t\n", "subject": "", "data": {}}]}, "outcome.events.type"),
        ({"events": [{"contract": "a", "type": "t", "subject": 1, "data": {}}]}, "outcome.events.subject"),
        ({"events": [{"contract": "a", "type": "t", "subject": "", "data": []}]}, "outcome.events.data: a map"),
        ({"events": [{"contract": "a", "type": "t", "subject": ""}]}, "field 'data' is missing"),
    ],
)
def test_outcome_of_another_shape_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_outcome(cbor.encode({"tx": bytes(32), "code": "ok", "events": [], **changes}))


# holds RC-8
def test_receipt_or_outcome_past_its_length_is_refused_unread() -> None:
    with pytest.raises(CborError, match="longer than the 4194304"):
        decode_receipt(bytes(RECEIPT_BYTES_MAX + 1))
    with pytest.raises(CborError, match="longer than the 1048576"):
        decode_outcome(bytes(1024 * 1024 + 1))


def test_bundle_of_the_longest_transaction_and_receipt_fits() -> None:
    frame = len(cbor.encode({"type": "bundle", "version": 1, "tx": bytes(65_536), "receipt": bytes(65_536)}))
    # the length of a receipt of 4 MiB takes as many bytes as that of 64 KiB
    assert frame - 65_536 + RECEIPT_BYTES_MAX <= BUNDLE_BYTES_MAX
    with pytest.raises(CborError, match="longer than"):
        decode_bundle(bytes(BUNDLE_BYTES_MAX + 1))


# holds RC-7
def test_bundle_round_trips() -> None:
    bundle = Bundle(RAW_TX, RECEIPT)
    assert decode_bundle(bundle.encode()) == bundle
    assert cbor.decode_map(bundle.encode())["type"] == "bundle"


# holds RC-7
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "receipt"}, "bundle.type"),
        ({"version": 0}, "bundle.version"),
        ({"tx": b""}, "bundle.tx"),
        ({"tx": bytes(65_537)}, "bundle.tx"),
        ({"receipt": None}, "bundle.receipt"),
        ({"receipt": cbor.encode({})}, "receipt: field"),
        ({"more": 0}, "field 'more' is unknown"),
    ],
)
def test_bundle_of_another_shape_is_refused(changes: dict[str, Any], reason: str) -> None:
    whole = cbor.decode_map(Bundle(RAW_TX, RECEIPT).encode())
    with pytest.raises(FormatError, match=reason):
        decode_bundle(cbor.encode({**whole, **changes}))
