from __future__ import annotations

import pytest

from master.contracts.context import Context
from master.ledger.call import CallContext, StateReads, Surroundings
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import World
from wire import cbor
from wire.errors import CborError, FormatError
from wire.receipt import Event


def context_of(world: World, contract: str = "notes") -> tuple[Context, Overlay, list[Event]]:
    signed = world.sign("gw-1", "consistency", "report", {})
    overlay, events = Overlay(world.state), list[Event]()
    around = Surroundings(signed, "grid", 7, world.head.time_ms + 5)
    return CallContext(around, contract, overlay, events), overlay, events


def test_context_tells_who_calls_when_and_where() -> None:
    world = World()
    context, _, _ = context_of(world)
    assert (context.sender, context.organisation, context.height) == ("gw-1", "grid", 7)
    assert context.time_ms == world.head.time_ms + 5
    assert len(context.tx_id) == 32


def test_context_writes_its_own_namespace_alone() -> None:
    context, overlay, _ = context_of(World())
    context.put(b"a", {"b": [1, b"2"]})
    assert context.get(b"a") == {"b": [1, b"2"]}
    assert [(write.namespace, write.key) for write in overlay.writes()] == [("notes", b"a")]
    assert list(context.scan(b"")) == [(b"a", {"b": [1, b"2"]})]
    context.delete(b"a")
    assert context.get(b"a") is None
    assert overlay.writes() == ()


def test_context_get_gives_a_copy_that_may_be_changed() -> None:
    context, _, _ = context_of(World())
    context.put(b"a", [1])
    value = context.get(b"a")
    assert isinstance(value, list)
    value.append(2)
    assert context.get(b"a") == [1]


def test_context_reads_other_namespaces_with_the_changes_of_the_call() -> None:
    world = World()
    context, overlay, _ = context_of(world)
    assert context.namespace("membership").get(b"gateway/gw-1") == {"station": "st-1"}
    overlay.delete("membership", b"gateway/gw-1")
    assert context.namespace("membership").get(b"gateway/gw-1") is None
    assert StateReads(world.state).namespace("membership").get(b"gateway/gw-1") == {"station": "st-1"}


@pytest.mark.parametrize("key", [b"", b"k" * 401])
def test_context_put_under_an_impossible_key_is_a_mistake(key: bytes) -> None:
    context, _, _ = context_of(World())
    with pytest.raises(ValueError, match="state key"):
        context.put(key, 1)
    with pytest.raises(ValueError, match="state key"):
        context.put_encoded(key, b"\x01")
    context.put(b"k" * 400, 1)


def test_context_put_encoded_writes_the_bytes_that_a_value_has() -> None:
    context, overlay, _ = context_of(World())
    context.put(b"a", {"b": [1, b"2"]})
    written = overlay.writes()
    context.put_encoded(b"a", cbor.encode({"b": [1, b"2"]}))
    assert overlay.writes() == written
    assert context.get(b"a") == {"b": [1, b"2"]}


def test_context_put_of_a_value_outside_the_profile_is_a_mistake() -> None:
    context, _, _ = context_of(World())
    with pytest.raises(CborError):
        context.put(b"a", 2**63)


def test_context_emit_keeps_the_order_and_bounds_the_subject() -> None:
    context, _, events = context_of(World())
    context.emit("first", "s" * 256, {"a": 1})
    context.emit("second", "", {})
    assert events == [Event("notes", "first", "s" * 256, {"a": 1}), Event("notes", "second", "", {})]
    with pytest.raises(FormatError):
        context.emit("third", "s" * 257, {})
