from __future__ import annotations

from wire import (
    block,
    cbor,
    certificate,
    cose,
    epochs,
    evidence,
    fields,
    genesis,
    header,
    merkle,
    receipt,
    release,
    tx,
    types,
)


# holds CBOR-9 CBOR-12 CBOR-14 CBOR-17 TX-3 TX-7 EV-1 EV-2 EV-4 RL-1 GE-1 GE-2 GE-3 HD-1 HD-5 HD-9 QC-2 EP-5 RC-8
def test_limits_are_those_of_the_clauses() -> None:
    assert (cbor.DEPTH_MAX, cbor.BYTES_MAX, cbor.EXPLAINED_VALUES_MAX) == (8, 16_777_216, 131_072)
    assert (types.INT_MIN, types.INT_MAX) == (-9_223_372_036_854_775_808, 9_223_372_036_854_775_807)
    assert (types.TX_BYTES_MAX, types.CHUNK_BYTES, types.DIGEST_BYTES) == (65_536, 65_536, 32)
    assert (types.EVIDENCE_BYTES_MAX, types.EVIDENCE_DEVICES_MAX) == (49_152, 64)
    assert (evidence.ARTEFACTS_MAX, evidence.OFFSET_MS_MAX) == (3, 4_611_686_018_427_387_904)
    assert fields.TEXT_CHARACTERS_MAX == 256
    assert (cose.KID_BYTES, cose.PUBLIC_KEY_BYTES, cose.SIGNATURE_BYTES) == (16, 32, 64)
    assert tx.VERSION_MAX == 65_535
    assert release.RELEASE_BYTES_MAX == 32_768
    assert (genesis.GENESIS_BYTES_MAX, genesis.ENTRIES_MAX) == (16_777_216, 100_000)
    assert (genesis.CERTIFICATE_BYTES_MAX, genesis.NAME_CHARACTERS_MAX) == (4096, 55)
    assert (header.HEADER_BYTES_MAX, header.BLOCK_TRANSACTIONS_MAX) == (4096, 100_000)
    assert block.BLOCK_BYTES_MAX == 8_388_608
    assert (certificate.VALIDATORS_MAX, epochs.EPOCHS_MAX, merkle.PATH_LENGTH_MAX) == (16, 1024, 64)
    assert (receipt.RECEIPT_BYTES_MAX, receipt.OUTCOME_BYTES_MAX, receipt.EVENTS_MAX) == (4_194_304, 1_048_576, 4096)
