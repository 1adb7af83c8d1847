from __future__ import annotations

from dataclasses import replace
from typing import Any

import cbor2
import pytest

from master.contracts.models import newest, version_key
from master.ledger.call import StateReads
from tests.unit.contracts.model_calls import arguments, store
from tests.unit.ledger.worlds import World, make_genesis
from wire.cbor import Value
from wire.genesis import Genesis, Organisation
from wire.types import sha256


def record(world: World, number: int, model: str = "north") -> dict[str, object] | None:
    raw = world.state.get("models", version_key(model, number))
    return None if raw is None else cbor2.loads(raw)


# holds MO-1 MO-2
def test_store_keeps_the_version_with_its_time_and_says_so() -> None:
    world = World()
    done = store(world)
    assert (done.code, done.event_types) == ("ok", ["model_stored"])
    kept = record(world, 1)
    given = arguments()
    del given["model"]
    assert kept == {**given, "organisation": "dispatch", "height": 1, "time_ms": world.head.time_ms}
    assert done.events("model_stored") == [{**kept, "number": 1}]
    assert newest(StateReads(world.state), "north") == (1, sha256(b"case 1"))
    assert newest(StateReads(world.state), "south") is None


# holds MO-3
def test_store_of_the_next_version_names_its_parent_and_leaves_the_older_one() -> None:
    world = World()
    store(world)
    before = record(world, 1)
    assert store(world, b"case 2", parent=sha256(b"case 1"), reason="line 3 is out").code == "ok"
    assert record(world, 1) == before
    assert newest(StateReads(world.state), "north") == (2, sha256(b"case 2"))


# holds MO-3
@pytest.mark.parametrize("parent", [None, sha256(b"another")])
def test_store_on_another_version_than_the_newest_is_refused(parent: Value) -> None:
    world = World()
    store(world)
    assert store(world, b"case 2", parent=parent).code == "stale-parent"
    assert record(world, 2) is None


# holds MO-3
def test_store_of_a_first_version_with_a_parent_is_refused() -> None:
    assert store(World(), parent=sha256(b"x")).code == "stale-parent"


# holds MO-3
def test_store_of_the_newest_again_changes_nothing_and_an_older_one_may_come_back() -> None:
    world = World()
    store(world)
    done = store(world)
    assert done.code == "duplicate"
    assert [namespace for namespace, _ in done.written] == ["sequence"]
    store(world, b"case 2", parent=sha256(b"case 1"))
    assert store(world, b"case 1", parent=sha256(b"case 2")).code == "ok"


# holds MO-4
@pytest.mark.parametrize("sender", ["maker-a", "grid", "gw-1", "regulator"])
def test_store_by_who_is_no_dispatch_agency_is_refused(sender: str) -> None:
    assert store(World(), sender=sender).code == "wrong-role"


# holds MO-4
def test_store_by_a_gateway_of_a_dispatch_agency_is_refused() -> None:
    made = make_genesis()
    stations = tuple(replace(entry, organisation="dispatch") for entry in made.stations)
    keys = tuple(replace(key, organisation="dispatch") if key.sender in ("gw-1", "gw-2") else key for key in made.keys)
    world = World(replace(made, stations=stations, keys=keys))
    assert store(world, sender="gw-1").code == "wrong-role"
    assert store(world, sender="dispatch").code == "ok"


# holds MO-4
def test_store_of_another_organisations_model_or_region_is_refused() -> None:
    world = World(two_agencies())
    store(world)
    changed: dict[str, Any] = {"parent": sha256(b"case 1")}
    assert store(world, b"case 2", "lab", **changed).code == "not-owner"
    assert store(world, b"case 2", region="south-area", **changed).code == "wrong-region"
    assert store(world, b"case 2", "lab", model="south").code == "ok"


def two_agencies() -> Genesis:
    """Return a consortium in which the laboratory is a sub-centre."""
    made = make_genesis()
    changed = [Organisation(entry.id, "sub-centre") if entry.id == "lab" else entry for entry in made.organisations]
    return replace(made, organisations=tuple(changed))


# holds MO-1
@pytest.mark.parametrize(
    "changes",
    [
        {"model": "No Identifier"},
        {"model": 7},
        {"region": ""},
        {"format": "A"},
        {"file": ""},
        {"file": "f" * 129},
        {"reason": ""},
        {"reason": "r" * 501},
        {"reason": "bell \x07"},
        {"parent": b"short"},
        {"equipment": "bus"},
        {"equipment": [7]},
        {"equipment": [""]},
        {"equipment": ["e" * 65]},
        {"equipment": ["line", "bus"]},
        {"equipment": ["bus", "bus"]},
        {"equipment": [f"{number:03}" for number in range(257)]},
        {"voltages_v": [0]},
        {"voltages_v": [2_000_001]},
        {"voltages_v": ["110"]},
        {"voltages_v": [True]},
        {"voltages_v": [220_000, 110_000]},
        {"voltages_v": list(range(1, 66))},
        {"more": 1},
    ],
)
def test_store_with_wrong_arguments_is_refused(changes: dict[str, Any]) -> None:
    done = store(World(), **changes)
    assert done.code == "bad-args"
    assert [namespace for namespace, _ in done.written] == ["sequence"]


# holds MO-1 BL-1 BL-2
@pytest.mark.parametrize(
    "changes", [{"digest": None}, {"digest": bytes(31)}, {"size": 0}, {"size": 32 * 1024 * 1024 + 1}, {"size": True}]
)
def test_store_that_names_no_blob_is_refused(changes: dict[str, Any]) -> None:
    assert store(World(), **changes).code == "bad-blob"


# holds MO-1
def test_store_at_every_bound_is_taken() -> None:
    words: list[Value] = [f"{number:03}{'e' * 61}" for number in range(256)]
    changes: dict[str, Any] = {"equipment": words, "voltages_v": list(range(1, 65)), "reason": "r" * 500}
    assert store(World(), file="f" * 128, **changes).code == "ok"
