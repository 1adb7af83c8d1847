from __future__ import annotations

import pytest

from master.ledger.rows import EventRow
from master.views.events import ViewError
from master.views.models import CURRENT, MODELS
from master.views.ports import END, Position
from master.views.schema import Reading, Row
from tests.unit.contracts.model_calls import arguments
from tests.unit.master.views.memory import MemoryTables
from tests.unit.master.views.story import GENESIS, START_MS
from wire.types import sha256

READING = Reading(START_MS, 1000)


def event(number: int, time_ms: int, model: str = "north", content: bytes = b"case") -> EventRow:
    parent = None if number == 1 else sha256(content + bytes([number - 1]))
    data = arguments(content + bytes([number]), parent=parent)
    del data["model"]
    data |= {"organisation": "dispatch", "height": number, "time_ms": time_ms, "number": number}
    return EventRow(number, 0, time_ms, sha256(b"tx"), "models", "model_stored", model, data)


def told(*events: EventRow) -> MemoryTables:
    tables = MemoryTables(GENESIS)
    for entry in events:
        tables.apply([entry], Position(entry.height, END))
    return tables


def asked(tables: MemoryTables, **filters: object) -> list[Row]:
    conditions = [one for name, value in filters.items() for one in MODELS.condition(name, str(value), READING)]
    return list(tables.page(MODELS, conditions, None, 100).rows)


# holds MO-5
def test_model_view_shows_each_version_and_until_when_it_counted() -> None:
    tables = told(event(1, 1000), event(2, 2000))
    first, second = tables.row("models", "north.1"), tables.row("models", "north.2")
    assert first is not None
    assert second is not None
    assert (first["time_ms"], first["until_ms"], first["parent"]) == (1000, 2000, None)
    assert (second["until_ms"], second["parent"]) == (CURRENT, first["digest"])
    assert (first["region"], first["equipment"], first["voltages_v"]) == (
        "north-area",
        ["bus", "line"],
        [110_000, 220_000],
    )
    assert [row["number"] for row in asked(tables)] == [2, 1]


# holds MO-5
@pytest.mark.parametrize(("time_ms", "numbers"), [(999, []), (1000, [1]), (1999, [1]), (2000, [2]), (10**15, [2])])
def test_model_view_as_of_a_time_shows_what_counted_then(time_ms: int, numbers: list[int]) -> None:
    tables = told(event(1, 1000), event(2, 2000))
    assert [row["number"] for row in asked(tables, as_of_ms=time_ms)] == numbers


# holds MO-5
@pytest.mark.parametrize(
    ("name", "value", "numbers"),
    [
        ("model", "north", [3, 2, 1]),
        ("region", "north-area", [3, 2, 1]),
        ("region", "south-area", []),
        ("organisation", "dispatch", [3, 2, 1]),
        ("format", "pandapower", [3, 2, 1]),
        ("reason", "first", [3, 2, 1]),
        ("digest", sha256(b"case\x02").hex(), [2]),
        ("parent", sha256(b"case\x02").hex(), [3]),
        ("equipment", "line", [3, 2, 1]),
        ("equipment", "lin", []),
        ("voltage_v", 110_000, [3, 2, 1]),
        ("voltage_v", 380_000, []),
        ("from_ms", 2000, [3, 2]),
        ("to_ms", 2000, [2, 1]),
    ],
)
def test_model_view_is_asked_by_every_one_of_its_properties(name: str, value: object, numbers: list[int]) -> None:
    tables = told(event(1, 1000), event(2, 2000), event(3, 3000))
    assert [row["number"] for row in asked(tables, **{name: value})] == numbers


def test_model_view_of_a_version_without_the_one_before_is_our_mistake() -> None:
    with pytest.raises(ViewError, match="there is no version 1"):
        told(event(2, 2000))
