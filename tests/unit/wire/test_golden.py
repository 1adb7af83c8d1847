"""The bytes of every format, made once with fixed keys: a change here is a change of the protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.ledger.snapshots import crowded, cut
from tests.unit.wire.samples import (
    ANSWER,
    BLOCK,
    CERTIFICATE,
    EVIDENCE,
    GENESIS,
    HEADER,
    ITEM,
    ITEM_OF_WORDS,
    LATER_RECEIPT,
    OUTCOMES,
    RAW_TX,
    RECEIPT,
    RELEASE,
    SECOND_END,
    TX,
    VALIDATORS,
    Json,
    public_of,
    vectors,
)
from tests.unit.wire.test_snapshot import MANIFEST
from wire import cbor
from wire.block import decode_block
from wire.certificate import Step, decode_certificate, decode_validators, vote_bytes
from wire.epochs import decode_epoch_ends
from wire.evidence import decode_evidence, decode_item
from wire.genesis import decode_genesis
from wire.header import decode_header
from wire.receipt import Bundle, decode_bundle, decode_outcome, decode_receipt, verify_receipt
from wire.release import decode_release
from wire.snapshot import decode_manifest, part_of_value
from wire.tx import open_tx
from wire.types import sha256

PARTS = cut(crowded(), 1)[1]
GOLDEN = vectors("golden.json")["formats"]
FORMATS: dict[str, tuple[Json, bytes, Callable[[bytes], object]]] = {
    "genesis": (GENESIS, GENESIS.encode(), decode_genesis),
    "release": (RELEASE, RELEASE.encode(), decode_release),
    "item": (ITEM, cbor.encode(ITEM.to_value()), lambda raw: decode_item(cbor.decode(raw))),
    "evidence": (EVIDENCE, EVIDENCE.encode(), decode_evidence),
    "transaction": (TX, RAW_TX, lambda raw: open_tx(raw).tx),
    "outcome": (OUTCOMES[0], OUTCOMES[0].encode(), decode_outcome),
    "validators": (VALIDATORS, cbor.encode(VALIDATORS.to_value()), lambda raw: decode_validators(cbor.decode(raw))),
    "header": (HEADER, HEADER.encode(), decode_header),
    "block": (BLOCK, BLOCK.encode(), decode_block),
    "certificate": (CERTIFICATE, CERTIFICATE.encode(), lambda raw: decode_certificate(cbor.decode(raw))),
    "epoch_end": (SECOND_END, cbor.encode(SECOND_END.to_value()), lambda raw: decode_epoch_ends([cbor.decode(raw)])[0]),
    "receipt": (RECEIPT, RECEIPT.encode(), decode_receipt),
    "receipt_of_a_later_epoch": (LATER_RECEIPT, LATER_RECEIPT.encode(), decode_receipt),
    "bundle": (Bundle(RAW_TX, RECEIPT), Bundle(RAW_TX, RECEIPT).encode(), decode_bundle),
    "snapshot": (MANIFEST, MANIFEST.encode(), decode_manifest),
    "part": (PARTS[2], cbor.encode(PARTS[2].to_value()), lambda raw: part_of_value(cbor.decode(raw))),
    "item_of_words": (
        ITEM_OF_WORDS,
        cbor.encode(ITEM_OF_WORDS.to_value()),
        lambda raw: decode_item(cbor.decode(raw)),
    ),
    "evidence_of_a_read_order": (ANSWER, ANSWER.encode(), decode_evidence),
}


# holds GE-1 RL-1 EV-1 EV-14 EV-16 EV-17 TX-2 RC-1 RC-2 QC-2 QC-5 HD-1 HD-9 EP-3 RC-7 SN-1 SN-3
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes_are_written_and_read(name: str) -> None:
    sample, written, read = FORMATS[name]
    assert written.hex() == GOLDEN[name]["hex"]
    assert sha256(written).hex() == GOLDEN[name]["sha256"]
    assert read(bytes.fromhex(GOLDEN[name]["hex"])) == sample


def test_golden_file_holds_every_format() -> None:
    assert list(GOLDEN) == list(FORMATS)


# holds TX-4 GE-2 HD-2 EV-7 RL-4 COSE-3 QC-3
def test_golden_names_and_signed_bytes() -> None:
    golden = vectors("golden.json")
    names = {
        "chain": GENESIS.chain(),
        "transaction_id": open_tx(RAW_TX).id.hex(),
        "kid": open_tx(RAW_TX).envelope.kid.hex(),
        "public_key": public_of("gw-1").hex(),
        "block_digest": HEADER.digest().hex(),
        "item_digest": ITEM.digest().hex(),
        "release_digest": RELEASE.digest().hex(),
        "validators_hash": VALIDATORS.digest().hex(),
        "code_table_hash": GENESIS.code_table_hash().hex(),
        "vote": vote_bytes(GENESIS.chain(), 1, Step.PREPARE, 43, 2, HEADER.digest()).hex(),
    }
    assert names == golden["names"]


# holds RC-6
@pytest.mark.parametrize("name", ["receipt", "receipt_of_a_later_epoch"])
def test_golden_receipt_verifies_from_bytes_alone(name: str) -> None:
    genesis, raw_tx, receipt = (bytes.fromhex(GOLDEN[part]["hex"]) for part in ("genesis", "transaction", name))
    verify_receipt(decode_receipt(receipt), raw_tx, decode_genesis(genesis))
