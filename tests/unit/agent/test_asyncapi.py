"""Every topic and session message of a running gateway is what docs/asyncapi.yaml says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.io.mqtt import HEALTH_EXPIRY_S, KEEPALIVE_S, VERBS, Topics
from agent.io.trust import ITEM_BYTES_MAX
from tests.unit.agent.broker import Published
from tests.unit.agent.test_app import running
from tests.unit.firmware_sim.bench import device
from wire.types import TX_BYTES_MAX

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs" / "asyncapi.yaml").read_text("utf-8"))
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def schema_of(verb: str) -> dict[str, Any]:
    (reference,) = DOCUMENT["channels"][verb]["messages"].values()
    message = DOCUMENT["components"]["messages"][reference["$ref"].rsplit("/", 1)[1]]
    payload = message["payload"]
    assert isinstance(payload, dict)
    return payload


def check(value: object, schema: Mapping[str, Any], where: str) -> None:
    """Hold a value to as much of JSON Schema as the document uses."""
    assert isinstance(value, TYPES[schema["type"]]), where
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        assert set(schema.get("required", ())) <= value.keys(), where
        others = schema.get("additionalProperties", True)
        assert others is not False or value.keys() <= properties.keys(), where
        for key, entry in value.items():
            inner = properties.get(key, others)
            if isinstance(inner, dict):
                check(entry, inner, f"{where}.{key}")
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            check(entry, schema["items"], f"{where}[{number}]")
    elif isinstance(value, str):
        assert value in schema.get("enum", (value,)), where
        assert re.search(schema.get("pattern", ""), value), where
    else:
        assert isinstance(value, int)
        assert value >= schema.get("minimum", value), where


def operation_of(verb: str) -> dict[str, Any]:
    (found,) = (entry for entry in DOCUMENT["operations"].values() if entry["channel"]["$ref"] == f"#/channels/{verb}")
    binding = found["bindings"]["mqtt"]
    assert isinstance(binding, dict)
    return binding


def test_messages_of_a_running_gateway_are_as_documented(tmp_path: Path) -> None:
    published: list[Published] = []

    async def work() -> None:
        async with running(tmp_path, device()) as site:
            for verb in ("birth", "health", "tx"):
                await site.fake.until(verb)
            published.extend(site.fake.wills)
        published.extend(site.fake.messages)  # with the farewell

    asyncio.run(work())
    assert {message.verb for message in published} == {"birth", "death", "health", "tx"}
    for message in published:
        channel = DOCUMENT["channels"][message.verb]
        pattern = re.sub(r"\\{\w+\\}", "[a-z0-9-]{1,64}", re.escape(channel["address"]))
        assert re.fullmatch(pattern, message.topic)
        binding = operation_of(message.verb)
        assert (message.qos, message.retain) == (binding["qos"], binding["retain"])
        schema = schema_of(message.verb)
        if schema.get("format") == "binary":
            assert len(message.payload) <= schema["maxLength"]
        else:
            check(message.value, schema, message.verb)


@pytest.mark.parametrize("verb", VERBS)
def test_topic_of_each_verb_is_a_documented_channel(verb: str) -> None:
    address = DOCUMENT["channels"][verb]["address"]
    assert address.format(area="east", station="station-1", gateway="gw-1") == Topics("east", "station-1", "gw-1").of(
        verb
    )


def test_limits_of_the_document_are_those_of_the_program() -> None:
    assert schema_of("tx")["maxLength"] == TX_BYTES_MAX
    assert schema_of("down")["maxLength"] == ITEM_BYTES_MAX
    assert operation_of("health")["messageExpiryInterval"] == HEALTH_EXPIRY_S
    assert DOCUMENT["servers"]["broker"]["bindings"]["mqtt"]["keepAlive"] == KEEPALIVE_S


@pytest.mark.parametrize(
    "change",
    [{"boot": 0}, {"boot": "1"}, {"reason": "tired"}, {"gateway": "GW 1"}, {"more": 1}],
)
def test_message_that_differs_from_the_document_is_noticed(change: dict[str, object]) -> None:
    death = {"gateway": "gw-1", "boot": 1, "session": 1, "time_ms": 1, "reason": "lost"}
    check(death, schema_of("death"), "death")
    with pytest.raises(AssertionError):
        check({**death, **change}, schema_of("death"), "death")
