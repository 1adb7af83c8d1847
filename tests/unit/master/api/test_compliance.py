"""The compliance report: which device was verified when, against the limit."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from master.views.compliance import COLUMNS
from master.views.ports import Position
from master.views.schema import Row
from tests.unit.master.api.fakes import World
from tests.unit.master.api.http import fetch
from tests.unit.master.views.story import GENESIS

DAY_MS = 86_400_000
AGES = {
    "sps-00": 0,
    "sps-01": 34 * DAY_MS + 1,
    "sps-02": 35 * DAY_MS,
    "sps-03": 35 * DAY_MS + 1,
    "sps-04": 400 * DAY_MS,
}


@pytest.fixture
def world() -> World:
    """Return devices that were verified longer and longer ago, and seven that never were."""
    found = World()
    found.block(0)
    head_ms = found.node.head_time_ms()
    for device, age_ms in AGES.items():
        row = found.tables.rows["devices", device]
        baseline: Row = {"baseline_ms": head_ms - age_ms, "baseline_height": 1, "baseline_tx": "ab" * 32}
        found.tables.rows["devices", device] = {
            **row,
            **baseline,
            "baseline_method": "full-file",
            "verified_ms": head_ms - age_ms,
        }
    return found


def report(world: World, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = fetch(world.api, f"/v1/compliance{query}").json()["items"]
    return items


# holds CO-2
def test_compliance_counts_days_of_block_time_against_the_limit(world: World) -> None:
    answer = fetch(world.api, "/v1/compliance").json()
    found = {item["device"]: item for item in answer["items"]}
    assert len(found) == len(GENESIS.devices)
    assert answer["head_time_ms"] == world.node.head_time_ms()
    assert {name: (found[name]["days"], found[name]["status"]) for name in AGES} == {
        "sps-00": (0, "compliant"),
        "sps-01": (34, "compliant"),
        "sps-02": (35, "compliant"),
        "sps-03": (35, "overdue"),
        "sps-04": (400, "overdue"),
    }
    assert found["sps-03"]["due_ms"] == world.node.head_time_ms() - 1
    never = found["sps-05"]
    assert (never["status"], never["days"], never["due_ms"], never["baseline_tx"]) == (
        "never_verified",
        None,
        None,
        None,
    )
    assert {item["days_max"] for item in answer["items"]} == {35}
    world.node.days_max = 34
    assert [item["device"] for item in report(world, "?status=compliant")] == ["sps-00"]


# holds CO-2
@pytest.mark.parametrize("status", ["compliant", "overdue", "never_verified"])
def test_compliance_filter_finds_exactly_those_of_a_status(status: str, world: World) -> None:
    want = [item for item in report(world) if item["status"] == status]
    assert want
    assert report(world, f"?status={status}") == want
    place = next(item["station"] for item in want)
    assert report(world, f"?status={status}&station={place}") == [item for item in want if item["station"] == place]


def test_compliance_as_csv_has_the_same_in_pages(world: World) -> None:
    rows: list[dict[str, str]] = []
    target = "/v1/compliance?format=csv&limit=5"
    for _ in range(3):
        reply = fetch(world.api, target)
        assert reply.headers["content-type"].startswith("text/csv")
        page = list(csv.DictReader(io.StringIO(reply.body.decode())))
        assert tuple(page[0]) == COLUMNS
        rows += page
        if "link" not in reply.headers:
            break
        target = reply.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
    plain = report(world)
    assert rows == [{name: "" if item[name] is None else str(item[name]) for name in COLUMNS} for item in plain]


@pytest.mark.parametrize("query", ["?status=fine", "?format=xml", "?vendor=x", "?after=%21"])
def test_compliance_question_that_makes_no_sense_is_refused(query: str, world: World) -> None:
    assert fetch(world.api, f"/v1/compliance{query}").status == 400


def test_compliance_without_a_past_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.tables, "_position", Position(0, 0))
    world.node.known_from = 5
    assert fetch(world.api, "/v1/compliance").status == 503
