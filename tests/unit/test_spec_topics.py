"""Gateway and full node speak of the same topics (docs/spec, MQ)."""

from __future__ import annotations

import pytest

from agent.io import mqtt as gateway
from master.io import ingest as node
from tests.unit.wire.samples import RAW_TX, RECEIPT
from wire import cbor
from wire.receipt import decode_receipt
from wire.topics import DOWN, ROOT, UP, GatewayTopic, filter_of
from wire.tx import open_tx


# holds MQ-1 MQ-3
@pytest.mark.parametrize("kind", gateway.VERBS)
def test_topic_of_the_gateway_is_that_of_the_clause(kind: str) -> None:
    assert gateway.ROOT == ROOT
    assert kind in {*UP, DOWN}
    assert gateway.Topics("east", "station-1", "gw-1").of(kind) == str(GatewayTopic("east", "station-1", "gw-1", kind))


# holds MQ-4
def test_topic_filter_of_the_full_node_is_that_of_the_clause() -> None:
    assert node.ROOT == ROOT
    assert filter_of("tx") == node.TX_FILTER


# holds MQ-6
def test_payloads_are_a_transaction_up_and_a_typed_map_down() -> None:
    assert open_tx(RAW_TX).raw == RAW_TX
    assert cbor.decode_map(RECEIPT.encode())["type"] == "receipt"
    assert decode_receipt(RECEIPT.encode()) == RECEIPT
