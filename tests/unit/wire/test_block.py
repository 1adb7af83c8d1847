from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from tests.unit.wire.samples import BLOCK, HEADER, OUTCOMES, TXS, VALIDATORS, Json
from wire import cbor
from wire.block import BLOCK_BYTES_MAX, Block, block_of_value, decode_block
from wire.errors import CborError, FormatError
from wire.faultproof import FAULT_PROOF_BYTES_MAX, FAULT_PROOFS_MAX
from wire.header import HEADER_BYTES_MAX, Header, decode_header, tx_root
from wire.merkle import EMPTY_HEAD, Frontier, leaf_digest, tree_head
from wire.types import TX_BYTES_MAX, sha256

DIGESTS = [field.name for field in fields(Header) if field.name.endswith(("_root", "_hash", "parent"))]
EMPTY = replace(HEADER, tx_count=0, tx_root=EMPTY_HEAD)


# holds HD-1 HD-2
def test_header_round_trips_and_is_named_by_its_bytes() -> None:
    raw = HEADER.encode()
    assert decode_header(raw) == HEADER
    assert HEADER.digest() == sha256(raw)
    assert cbor.decode_map(raw)["version"] == 1


# holds HD-3
def test_header_holds_no_view() -> None:
    assert "view" not in cbor.decode_map(HEADER.encode())
    with pytest.raises(FormatError, match="field 'view' is unknown"):
        decode_header(cbor.encode({**cbor.decode_map(HEADER.encode()), "view": 0}))


# holds HD-1 HD-4
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chain": "Sample"}, "header.chain"),
        ({"epoch": -1}, "header.epoch"),
        ({"height": 0}, "header.height: an integer 1"),
        ({"height": True}, "header.height"),
        ({"proposer": ""}, "header.proposer"),
        ({"time_ms": -1}, "header.time_ms"),
        ({"tx_count": -1}, "header.tx_count"),
        ({"tx_count": 100_001}, "header.tx_count"),
        *(({name: bytes(31)}, f"header.{name}: 32..32 bytes") for name in DIGESTS),
    ],
)
def test_header_field_out_of_range_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_header(replace(HEADER, **changes).encode())


# holds HD-1
@pytest.mark.parametrize("version", [0, 2, None])
def test_header_of_another_version_is_refused(version: int | None) -> None:
    with pytest.raises(FormatError, match=r"header.version"):
        decode_header(cbor.encode({**cbor.decode_map(HEADER.encode()), "version": version}))


# holds HD-1
def test_header_past_4_kib_is_refused() -> None:
    with pytest.raises(CborError, match="longer than the 4096"):
        decode_header(bytes(HEADER_BYTES_MAX + 1))


# holds HD-2
@pytest.mark.parametrize("name", [field.name for field in fields(Header) if field.init])
def test_header_digest_covers_every_field(name: str) -> None:
    old = getattr(HEADER, name)
    new: Json = old + 1 if isinstance(old, int) else f"{old}x" if isinstance(old, str) else sha256(old)
    assert replace(HEADER, **{name: new}).digest() != HEADER.digest()


# holds HD-5
def test_header_tx_root_is_over_whole_signed_transactions() -> None:
    assert tx_root(TXS) == tree_head(TXS)
    other_signature = TXS[0][:-1] + bytes((TXS[0][-1] ^ 1,))
    assert tx_root((other_signature, *TXS[1:])) != tx_root(TXS)


# holds HD-6
def test_header_outcome_root_is_over_canonical_outcomes_in_order() -> None:
    assert HEADER.outcome_root == tree_head([outcome.encode() for outcome in OUTCOMES])
    assert HEADER.outcome_root != tree_head([outcome.encode() for outcome in reversed(OUTCOMES)])


# holds HD-7
def test_header_validators_hash_is_over_the_canonical_set() -> None:
    expected: cbor.Value = [
        {"member": entry.member, "vote_key": entry.vote_key, "tls_digest": entry.tls_digest}
        for entry in VALIDATORS.validators
    ]
    assert HEADER.validators_hash == VALIDATORS.digest() == sha256(cbor.encode(expected))


# holds HD-8
def test_header_history_is_the_tree_over_block_digests_genesis_first() -> None:
    digests = [sha256(bytes((height,))) for height in range(5)]
    history = Frontier()
    for digest in digests:
        history.append(leaf_digest(digest))
    assert history.head() == tree_head(digests)


# holds HD-10
def test_header_without_fault_proofs_holds_the_empty_head() -> None:
    assert HEADER.fault_proof_root == EMPTY_HEAD == sha256(b"")


# holds HD-10
def test_block_with_fault_proofs_round_trips_and_its_header_holds_their_head() -> None:
    proofs = (b"one proof", bytes(FAULT_PROOF_BYTES_MAX))
    block = Block(replace(HEADER, fault_proof_root=tree_head(proofs)), TXS, proofs)
    assert decode_block(block.encode()) == block


# holds HD-10
@pytest.mark.parametrize(
    ("header", "proofs", "reason"),
    [
        (HEADER, [b"one proof"], "do not lead to the header's fault_proof_root"),
        (replace(HEADER, fault_proof_root=tree_head([b"one proof"])), None, "do not lead to the header's fault_proof"),
        (HEADER, [], "or no field at all"),
        (HEADER, [bytes(FAULT_PROOF_BYTES_MAX + 1)], "at most 1,024 bytes"),
        (HEADER, ["text"], "at most 1,024 bytes"),
        (HEADER, [b"p"] * (FAULT_PROOFS_MAX + 1), "an array of at most 16"),
    ],
)
def test_block_with_other_fault_proofs_than_its_header_says_is_refused(
    header: Header, proofs: Json, reason: str
) -> None:
    value: Json = {"header": header.encode(), "transactions": list(TXS)}
    with pytest.raises(FormatError, match=reason):
        decode_block(cbor.encode(value if proofs is None else {**value, "fault_proofs": proofs}))


# holds HD-9
@pytest.mark.parametrize("block", [BLOCK, Block(EMPTY, ())], ids=["full", "empty"])
def test_block_round_trips(block: Block) -> None:
    assert decode_block(block.encode()) == block
    assert block_of_value(cbor.decode(block.encode())) == block


# holds HD-9
@pytest.mark.parametrize(
    ("header", "transactions", "reason"),
    [
        (HEADER, TXS[:-1], "5 of them, the header counts 6"),
        (HEADER, (*TXS, TXS[0]), "7 of them, the header counts 6"),
        (HEADER, (), "0 of them, the header counts 6"),
        (HEADER, tuple(reversed(TXS)), "do not lead to the header's tx_root"),
        (replace(HEADER, tx_root=EMPTY_HEAD), TXS, "do not lead to the header's tx_root"),
        (replace(HEADER, tx_count=1), (bytes(TX_BYTES_MAX + 1),), "byte strings of at most 64 KiB"),
        (replace(HEADER, tx_count=1), ("text",), "byte strings of at most 64 KiB"),
        (EMPTY, {}, "an array of at most 100000"),
        (replace(HEADER, epoch=-1), TXS, "header.epoch"),
    ],
)
def test_block_that_its_header_does_not_describe_is_refused(header: Header, transactions: Json, reason: str) -> None:
    value = {"header": header.encode(), "transactions": transactions}
    with pytest.raises(FormatError, match=reason):
        decode_block(cbor.encode(value))


# holds HD-9
@pytest.mark.parametrize("header", [b"", bytes(HEADER_BYTES_MAX + 1), None])
def test_block_without_a_header_in_bytes_is_refused(header: bytes | None) -> None:
    with pytest.raises(FormatError, match=r"block.header: 1..4096 bytes"):
        decode_block(cbor.encode({"header": header, "transactions": []}))


# holds HD-9
def test_block_with_a_header_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(CborError, match="trailing bytes"):
        decode_block(cbor.encode({"header": HEADER.encode() + b"\x00", "transactions": list(TXS)}))


# holds HD-9
def test_block_past_8_mib_is_refused_unread() -> None:
    with pytest.raises(CborError, match="longer than the 8388608"):
        decode_block(bytes(BLOCK_BYTES_MAX + 1))
