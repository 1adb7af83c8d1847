"""The ends of ranges that are still accepted; what lies beyond is refused in the test of each format."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.wire.samples import (
    ARTEFACT,
    CERTIFICATE,
    EVIDENCE,
    GENESIS,
    HEADER,
    ITEM,
    OUTCOMES,
    RECEIPT,
    RELEASE,
    TX,
    Json,
    key_of,
)
from wire import cbor
from wire.certificate import decode_certificate
from wire.errors import CborError
from wire.evidence import Clock, SeenBlock, decode_evidence, decode_item
from wire.genesis import CodeEntry, decode_genesis
from wire.header import decode_header
from wire.receipt import decode_outcome, decode_receipt
from wire.release import decode_release
from wire.tx import open_tx

LARGEST = 2**63 - 1


# holds EV-3 EV-4 EV-5
@pytest.mark.parametrize(
    ("low", "time_ms", "height", "offset"), [(1, 0, 0, -(2**62)), (LARGEST, LARGEST, LARGEST, 2**62)]
)
def test_evidence_at_the_ends_of_its_ranges_is_accepted(low: int, time_ms: int, height: int, offset: int) -> None:
    clock, block = Clock(time_ms, "ptp", offset, "suspect"), SeenBlock(height, bytes(32))
    evidence = replace(EVIDENCE, boot=low, seq=low, clock=clock, block=block)
    assert decode_evidence(evidence.encode()) == evidence


# holds EV-9 EV-11
@pytest.mark.parametrize("number", [0, LARGEST])
def test_artefact_at_the_ends_of_its_ranges_is_accepted(number: int) -> None:
    artefact = replace(
        ARTEFACT, size=number, read_size=number, read_from_ms=number, read_to_ms=number, name="", version=""
    )
    item = replace(ITEM, artefacts=(artefact,))
    assert decode_item(item.to_value()) == item


# holds HD-1 HD-4 HD-5
@pytest.mark.parametrize("changes", [(0, 1, 0, 0), (LARGEST, LARGEST, LARGEST, 100_000)])
def test_header_at_the_ends_of_its_ranges_is_accepted(changes: tuple[int, int, int, int]) -> None:
    epoch, height, time_ms, tx_count = changes
    header = replace(HEADER, epoch=epoch, height=height, time_ms=time_ms, tx_count=tx_count)
    assert decode_header(header.encode()) == header


# holds QC-5
@pytest.mark.parametrize(("epoch", "height", "view"), [(0, 1, 0), (LARGEST, LARGEST, LARGEST)])
def test_certificate_at_the_ends_of_its_ranges_is_accepted(epoch: int, height: int, view: int) -> None:
    certificate = replace(CERTIFICATE, epoch=epoch, height=height, view=view, signatures=())
    assert decode_certificate(certificate.to_value()) == certificate


# holds GE-4 GE-10
@pytest.mark.parametrize(("certificate_bytes", "version", "time_ms"), [(1, 1, 0), (4096, 65_535, LARGEST)])
def test_genesis_at_the_ends_of_its_ranges_is_accepted(certificate_bytes: int, version: int, time_ms: int) -> None:
    first, *rest = GENESIS.validators
    genesis = replace(
        GENESIS,
        time_ms=time_ms,
        validators=(replace(first, tls_certificate=bytes(certificate_bytes)), *rest),
        code_table=(CodeEntry("a", version, bytes(32)),),
    )
    assert decode_genesis(genesis.encode()) == genesis


# holds TX-7 TX-9
@pytest.mark.parametrize(("version", "seq", "valid_until_ms"), [(1, 1, 0), (65_535, LARGEST, LARGEST)])
def test_tx_at_the_ends_of_its_ranges_is_accepted(version: int, seq: int, valid_until_ms: int) -> None:
    changed = replace(TX, version=version, seq=seq, valid_until_ms=valid_until_ms, args={})
    assert open_tx(changed.sign(key_of("gw-1"))).tx == changed


# holds RC-1
@pytest.mark.parametrize(("index", "size", "digests"), [(0, 1, 0), (99_999, 100_000, 64)])
def test_receipt_at_the_ends_of_its_ranges_is_accepted(index: int, size: int, digests: int) -> None:
    path = (bytes(32),) * digests
    receipt = replace(RECEIPT, index=index, size=size, tx_path=path, outcome_path=path)
    assert decode_receipt(receipt.encode()) == receipt


# holds RC-2
@pytest.mark.parametrize("count", [0, 4096])
def test_outcome_at_the_ends_of_its_ranges_is_accepted(count: int) -> None:
    outcome = replace(OUTCOMES[0], events=OUTCOMES[0].events * count)
    assert decode_outcome(outcome.encode()) == outcome


# holds RL-2 RL-3
@pytest.mark.parametrize(("model", "size"), [("m", 0), ("m" * 256, LARGEST)])
def test_release_at_the_ends_of_its_ranges_is_accepted(model: str, size: int) -> None:
    artefacts = (replace(RELEASE.artefacts[0], size=size),)
    release = replace(RELEASE, model=model, artefacts=artefacts)
    assert decode_release(release.encode()) == release


# holds CBOR-1 CBOR-14
@pytest.mark.parametrize("before", [False, True, None, 0, -1, LARGEST, -LARGEST - 1, "", b"", [], {}, {"a": [None]}])
def test_cbor_reason_is_found_behind_any_canonical_value(before: Json) -> None:
    with pytest.raises(CborError, match=r"^undefined "):
        cbor.decode(b"\x82" + cbor.encode(before) + b"\xf7")
