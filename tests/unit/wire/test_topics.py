from __future__ import annotations

import pytest

from wire.errors import FormatError
from wire.topics import DOWN, UP, GatewayTopic, filter_of, host_topic, node_user, parse_topic


# holds MQ-1 MQ-3
@pytest.mark.parametrize("kind", [*UP, DOWN])
def test_topic_of_a_gateway_round_trips(kind: str) -> None:
    topic = GatewayTopic("east", "station-1", "gw-1", kind)
    assert str(topic) == f"gridwitness/v1/east/station-1/gw-1/{kind}"
    assert parse_topic(str(topic)) == topic


# holds MQ-3
def test_topic_kinds_are_the_six_of_the_protocol() -> None:
    assert {*UP, DOWN} == {"birth", "death", "tx", "data", "health", "down"}


# holds MQ-1 MQ-2 MQ-3
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not gridwitness/v1/"),
        ("gridwitness/v2/east/s/g/tx", "is not gridwitness/v1/"),
        ("gridwitness/v1/east/s/g", "is not gridwitness/v1/"),
        ("gridwitness/v1/east/s/g/tx/more", "is not gridwitness/v1/"),
        ("east/s/g/tx", "is not gridwitness/v1/"),
        ("gridwitness/v1/host/dispatch", "is not gridwitness/v1/"),
        ("gridwitness/v1/east/s/g/command", "'command' is no kind"),
        ("gridwitness/v1/East/s/g/tx", "topic.area"),
        ("gridwitness/v1/east//g/tx", "topic.station"),
        ("gridwitness/v1/east/s/+/tx", "topic.gateway"),
        ("x" * 100_000, "is not gridwitness/v1/"),
    ],
    ids=lambda text: text[:30],
)
def test_topic_of_another_shape_is_refused_in_a_short_sentence(text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        parse_topic(text)
    assert len(str(caught.value)) < 200


# holds MQ-4
def test_topic_filter_takes_one_kind_of_all_gateways() -> None:
    assert filter_of("tx") == "gridwitness/v1/+/+/+/tx"


# holds MQ-5
def test_topic_of_a_full_node() -> None:
    assert host_topic("dispatch") == "gridwitness/v1/host/dispatch"
    with pytest.raises(FormatError, match="node"):
        host_topic("a/b")


# holds MQ-7
def test_the_broker_knows_a_full_node_by_its_member() -> None:
    assert node_user("dispatch") == "node-dispatch"
