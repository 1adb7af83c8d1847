"""Calls of the contract `models`, as tests need them."""

from __future__ import annotations

from typing import Any

from tests.unit.ledger.worlds import Done, World
from wire.cbor import Value
from wire.types import sha256

MIB = 1024 * 1024


def arguments(content: bytes = b"case 1", **changes: Value) -> dict[str, Value]:
    """Return the arguments of a first version; ``changes`` replace some."""
    made: dict[str, Value] = {
        "model": "north",
        "region": "north-area",
        "format": "pandapower",
        "file": "north.json",
        "reason": "first",
        "equipment": ["bus", "line"],
        "voltages_v": [110_000, 220_000],
        "parent": None,
        "digest": sha256(content),
        "size": len(content),
    }
    return {**made, **changes}


def store(world: World, content: bytes = b"case 1", sender: str = "dispatch", **changes: Any) -> Done:  # noqa: ANN401
    """Store a version in a block of its own."""
    return world.call(sender, "models", "store", arguments(content, **changes))
