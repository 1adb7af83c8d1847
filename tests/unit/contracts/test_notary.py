from __future__ import annotations

import cbor2
import pytest

from tests.unit.ledger.worlds import Done, World
from wire.cbor import Value
from wire.types import sha256


def put(world: World, key: Value = "meter-7", data: Value = b"reading", sender: str = "gw-1") -> Done:
    return world.call(sender, "notary", "put", {"key": key, "data": data})


# holds NT-1
def test_put_notes_the_digest_with_height_and_time() -> None:
    world = World()
    done = put(world)
    assert (done.code, done.event_types) == ("ok", [])
    raw = world.state.get("notary", b"gw-1/meter-7")
    assert raw is not None
    record = {"digest": sha256(b"reading"), "height": 1, "time_ms": world.head.time_ms, "data_centre": None}
    assert cbor2.loads(raw) == record


# holds NT-1 MB-15
def test_put_notes_through_which_data_centre_it_entered() -> None:
    world = World()
    for centre in ("dispatch", None):
        world.call("grid", "membership", "attach", {"data_centre": centre})
        put(world, key=f"from-{centre}".lower())
        raw = world.state.get("notary", f"gw-1/from-{centre}".lower().encode())
        assert raw is not None
        assert cbor2.loads(raw)["data_centre"] == centre


# holds NT-1
def test_put_of_other_data_under_a_key_is_refused_and_changes_nothing() -> None:
    world = World()
    put(world)
    before = world.state.get("notary", b"gw-1/meter-7")
    assert put(world, data=b"another").code == "taken"
    assert world.state.get("notary", b"gw-1/meter-7") == before


# holds NT-1
def test_put_of_the_same_again_is_a_duplicate_and_changes_nothing() -> None:
    world = World()
    put(world)
    before = world.state.get("notary", b"gw-1/meter-7")
    done = put(world)
    assert done.code == "duplicate"
    assert [namespace for namespace, _ in done.written] == ["sequence"]
    assert world.state.get("notary", b"gw-1/meter-7") == before


def test_put_under_the_same_key_of_another_sender_is_another_entry() -> None:
    world = World()
    put(world)
    assert put(world, data=b"another", sender="gw-2").code == "ok"
    assert world.state.get("notary", b"gw-2/meter-7") != world.state.get("notary", b"gw-1/meter-7")


@pytest.mark.parametrize("size", [1, 1024])
def test_put_of_the_shortest_and_longest_data_is_taken(size: int) -> None:
    assert put(World(), key="k" * 64, data=bytes(size)).code == "ok"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({}, "bad-args"),
        ({"key": "k"}, "bad-args"),
        ({"key": "k", "data": b"d", "more": 1}, "bad-args"),
        ({"key": "k", "data": "text"}, "bad-args"),
        ({"key": b"k", "data": b"d"}, "bad-key"),
        ({"key": "", "data": b"d"}, "bad-key"),
        ({"key": "k" * 65, "data": b"d"}, "bad-key"),
        ({"key": "a/b", "data": b"d"}, "bad-key"),
        ({"key": "k", "data": b""}, "bad-data"),
        ({"key": "k", "data": bytes(1025)}, "bad-data"),
    ],
)
def test_put_with_wrong_arguments_is_refused(args: dict[str, Value], code: str) -> None:
    done = World().call("gw-1", "notary", "put", args)
    assert done.code == code
    assert [namespace for namespace, _ in done.written] == ["sequence"]
