"""Gateway and full node speak of the same topics (docs/spec, MQ)."""

from __future__ import annotations

import pytest

from agent.io import mqtt as gateway
from tests.unit.wire.samples import RAW_TX, RECEIPT
from wire import cbor
from wire.receipt import decode_receipt
from wire.topics import DOWN, UP, GatewayTopic, filter_of, host_topic, parse_topic
from wire.tx import open_tx


# holds MQ-1 MQ-3
@pytest.mark.parametrize("kind", [*UP, DOWN])
def test_topic_of_the_gateway_is_that_of_the_clause(kind: str) -> None:
    topic = gateway.Topics("east", "station-1", "gw-1").of(kind)
    assert topic == f"gridwitness/v1/east/station-1/gw-1/{kind}"
    assert parse_topic(topic) == GatewayTopic("east", "station-1", "gw-1", kind)


# holds MQ-4
def test_topic_filter_of_the_full_node_is_that_of_the_clause() -> None:
    assert filter_of("tx") == "gridwitness/v1/+/+/+/tx"
    assert host_topic("dispatch") == "gridwitness/v1/host/dispatch"


# holds MQ-6
def test_payloads_are_a_transaction_up_and_a_typed_map_down() -> None:
    assert open_tx(RAW_TX).raw == RAW_TX
    assert cbor.decode_map(RECEIPT.encode())["type"] == "receipt"
    assert decode_receipt(RECEIPT.encode()) == RECEIPT
