from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.samples import GENESIS, HEADER, MEMBERS, RECEIPT, certify
from tests.unit.wire.samples import RAW_TX as TX
from tests.unit.wire.test_stateproof import PATH, PROOF
from wire import cbor
from wire.cbor import Value
from wire.errors import CborError, CertificateError, FormatError, ProofError, WireError
from wire.evidencebundle import (
    ALARM,
    EVIDENCE_BUNDLE_BYTES_MAX,
    GATEWAY,
    RECEIPTS_MAX,
    STATES_MAX,
    EvidenceBundle,
    Subject,
    decode_evidence_bundle,
    is_one,
    verify_evidence_bundle,
)
from wire.finality import FinalHeader
from wire.receipt import Bundle
from wire.stateproof import StateProof
from wire.statetree import bucket_digest, bucket_of, leaf_key, path_root
from wire.types import sha256

PART = Bundle(TX, RECEIPT)


def state_at(height: int, key: bytes = b"counters/gw-1") -> StateProof:
    """Return a true proof of one entry after a block."""
    value = cbor.encode({"some": "entry"})
    place = leaf_key("consistency", key)
    bucket = ((place, sha256(value)),)
    root = path_root(bucket_of(place), bucket_digest(bucket), PATH)
    header = replace(HEADER, state_root=root, height=height)
    return StateProof("consistency", key, value, bucket, PATH, FinalHeader(header, certify(header), ()))


STATE = state_at(RECEIPT.header.height + 3)
BUNDLE = EvidenceBundle(Subject(GATEWAY, "gw-1", 5, 9), (STATE,), (PART,))


# holds EB-1
@pytest.mark.parametrize("bundle", [BUNDLE, replace(BUNDLE, subject=Subject(ALARM, "ab" * 16), receipts=())])
def test_evidence_bundle_round_trips_and_verifies(bundle: EvidenceBundle) -> None:
    raw = bundle.encode()
    again = decode_evidence_bundle(raw)
    assert (again, again.encode(), is_one(raw)) == (bundle, raw, True)
    verify_evidence_bundle(again, GENESIS)
    assert not is_one(PART.encode())
    assert not is_one(cbor.encode([]))


def changed(**fields: Value) -> bytes:
    return cbor.encode({**cbor.decode_map(BUNDLE.encode()), **fields})


def about(**fields: Value) -> bytes:
    return changed(subject={"kind": "gateway", "id": "gw-1", "from_ms": 5, "to_ms": 9, **fields})


# holds EB-1 EB-2
@pytest.mark.parametrize(
    "raw",
    [
        changed(type="bundle"),
        changed(version=2),
        changed(more=1),
        changed(states=[]),
        changed(states=[5]),
        changed(states=[b""]),
        changed(states=[STATE.encode()] * (STATES_MAX + 1)),
        changed(receipts=[PART.encode()[:-1]]),
        changed(receipts=[b"\xa0"] * (RECEIPTS_MAX + 1)),
        about(kind="station"),
        about(id="GW 1"),
        about(from_ms=None),
        about(from_ms=10),
        about(to_ms=2**62),
        about(kind="alarm"),
        about(kind="device", to_ms=None),
        cbor.encode([]),
    ],
)
def test_evidence_bundle_of_another_shape_is_refused(raw: bytes) -> None:
    with pytest.raises((FormatError, CborError)):
        decode_evidence_bundle(raw)


# holds EB-2
def test_evidence_bundle_past_its_length_is_refused_unread() -> None:
    with pytest.raises(CborError):
        decode_evidence_bundle(bytes(EVIDENCE_BUNDLE_BYTES_MAX + 1))


# holds EB-3 EB-4
@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        (replace(BUNDLE, states=(STATE, PROOF)), "of different blocks"),
        (replace(BUNDLE, states=(STATE, STATE)), "one stands twice"),
        (replace(BUNDLE, receipts=(PART, PART)), "one stands twice"),
        (replace(BUNDLE, states=(state_at(RECEIPT.header.height - 1),)), "of a later block"),
        (replace(BUNDLE, states=(replace(STATE, key=b"counters/gw-2"),)), "the bucket holds something else"),
        (replace(BUNDLE, receipts=(replace(PART, tx=TX + b"\0"),)), "about another transaction"),
    ],
)
def test_evidence_bundle_whose_parts_do_not_fit_is_refused(bundle: EvidenceBundle, said: str) -> None:
    with pytest.raises(ProofError, match=said):
        verify_evidence_bundle(bundle, GENESIS)


# holds EB-3
def test_evidence_bundle_of_another_ledger_or_too_few_signers_is_refused() -> None:
    with pytest.raises(WireError):
        verify_evidence_bundle(BUNDLE, replace(GENESIS, name="other"))
    final = replace(STATE.final, certificate=certify(STATE.final.header, MEMBERS[:2]))
    with pytest.raises(CertificateError):
        verify_evidence_bundle(replace(BUNDLE, states=(replace(STATE, final=final),)), GENESIS)


# holds EB-3
def test_evidence_bundle_with_any_one_byte_changed_is_refused_or_has_another_subject() -> None:
    raw = BUNDLE.encode()
    for at in range(0, len(raw), 7):
        twisted = raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]
        try:
            found = decode_evidence_bundle(twisted)
            verify_evidence_bundle(found, GENESIS)
        except WireError:
            continue
        assert found.subject != BUNDLE.subject, f"byte {at} may be anything"
