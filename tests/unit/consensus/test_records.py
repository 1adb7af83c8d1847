from __future__ import annotations

import pytest

from master.consensus.message_codec import encode_message
from master.consensus.messages import Status
from master.consensus.records import (
    Accepted,
    Fetched,
    Prepared,
    Record,
    Signed,
    decode_record,
    encode_record,
    height_of,
)
from tests.unit.consensus.bench import Peers
from wire import cbor
from wire.certificate import Step
from wire.errors import CborError, FormatError

PEERS = Peers()
BLOCK = PEERS.block(b"one")
RECORDS: list[Record] = [
    Accepted(PEERS.propose(0, BLOCK)),
    Fetched(BLOCK),
    Signed(PEERS.vote(1, Step.PREPARE, BLOCK)),
    Signed(PEERS.change(1, 1)),
    Prepared(PEERS.certificate(Step.PREPARE, BLOCK)),
]


@pytest.mark.parametrize("record", RECORDS)
def test_record_of_every_kind_survives_the_round_trip(record: Record) -> None:
    assert decode_record(encode_record(record)) == record
    assert height_of(record) == 1


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("rumour", b"x", "record.type"),
        ("signed", b"", "record.body"),
        ("accepted", encode_message(PEERS.change(1, 1)), "a accepted record holds a ViewChange"),
        ("signed", encode_message(PEERS.propose(0, BLOCK)), "a signed record holds a Propose"),
        ("signed", encode_message(Status(1, 0, "new")), "a signed record holds a Status"),
        ("prepared", cbor.encode(5), "certificate"),
        ("fetched", cbor.encode(5), "block"),
    ],
)
def test_record_malformed_is_refused(kind: str, body: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_record(cbor.encode({"type": kind, "body": body}))


def test_record_torn_is_refused() -> None:
    with pytest.raises(CborError):
        decode_record(encode_record(RECORDS[0])[:-1])
