"""Lists and items of the views."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

import pytest

from master.views.ports import TablesError
from master.views.table import TABLES
from tests.unit.master.api.fakes import World
from tests.unit.master.api.http import fetch
from tests.unit.master.views.story import GENESIS


@pytest.fixture(scope="module")
def world() -> World:
    found = World(seed=13)
    # until every list has more than one page of seven, whatever new lists a story tells of
    while found.story.height < 90 or min(Counter(table for table, _ in found.tables.rows).values()) <= 7:
        found.block(5)
        assert found.story.height < 500
    return found


def walk(world: World, target: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    join = "&" if "?" in target else "?"
    page = f"{target}{join}limit={limit}"
    while True:
        answer = fetch(world.api, page).json()
        assert len(answer["items"]) <= limit
        found += answer["items"]
        if answer["next"] is None:
            return found
        assert len(answer["items"]) == limit
        page = f"{target}{join}limit={limit}&after={answer['next']}"


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
@pytest.mark.parametrize("name", list(TABLES))
def test_list_walk_covers_every_item_once(world: World, name: str, limit: int) -> None:
    found = walk(world, TABLES[name].path, limit)
    key = TABLES[name].key
    keys = [item[key] for item in found]
    assert len(set(keys)) == len(keys)
    assert set(keys) == {key for table, key in world.tables.rows if table == name}
    assert len(keys) > 7


def test_list_exactly_full_page_has_no_next(world: World) -> None:
    answer = fetch(world.api, f"/v1/devices?limit={len(GENESIS.devices)}").json()
    assert answer["next"] is None
    assert len(answer["items"]) == len(GENESIS.devices)


def test_list_filters_join_and_page(world: World) -> None:
    everything = walk(world, "/v1/alarms", 1000)
    want = [item for item in everything if item["cause"] == "mismatch" and item["station"] == "station-2"]
    assert walk(world, "/v1/alarms?cause=mismatch&station=station-2", 1) == want
    assert 0 < len(want) < len(everything)


@pytest.mark.parametrize("state", ["alarm", "match", "never_read", "stale", "unknown_reference", "unreachable"])
def test_list_device_state_filter_finds_those_shown_so(world: World, state: str) -> None:
    everybody = walk(world, "/v1/devices", 1000)
    want = [item for item in everybody if item["state"] == state]
    assert walk(world, f"/v1/devices?state={state}", 2) == want


@pytest.mark.parametrize("name", list(TABLES))
def test_list_answer_says_how_old_the_ledger_is(world: World, name: str) -> None:
    path = TABLES[name].path
    for target in (path, f"{path}/{next(key for table, key in world.tables.rows if table == name)}"):
        answer = fetch(world.api, target).json()
        assert answer["head_age_ms"] == 250
        assert answer["ledger_stale"] is False
    assert fetch(world.api, path).json()["height"] == world.story.height


def test_list_chain_that_stands_still_does_not_look_fresh() -> None:
    world = World()
    world.block()
    world.node.clock_ms += 3_600_000
    world.node.stale = True
    for target in ("/v1/devices", "/v1/devices/sps-00", "/v1/alarms", "/v1/references", "/v1/headers"):
        answer = fetch(world.api, target).json()
        assert (answer["head_age_ms"], answer["ledger_stale"]) == (3_600_250, True)


def test_list_clock_behind_the_block_time_shows_no_negative_age() -> None:
    world = World()
    world.block()
    world.node.clock_ms -= 10_000
    assert fetch(world.api, "/v1/devices").json()["head_age_ms"] == 0


def cursor(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("target", "detail"),
    [
        ("/v1/devices?limit=0", "limit: an integer 1..1000 is due"),
        ("/v1/devices?limit=1001", "limit: an integer 1..1000 is due"),
        ("/v1/devices?limit=01", "limit: an integer 1..1000 is due"),
        ("/v1/devices?limit=-1", "limit: an integer 1..1000 is due"),
        ("/v1/devices?limit=%D9%A1", "limit: an integer 1..1000 is due"),
        ("/v1/devices?limit=", "limit: an integer 1..1000 is due"),
        ("/v1/devices?limit=1&limit=2", "limit: it is given more than once"),
        ("/v1/devices?colour=red", "colour: this route knows"),
        ("/v1/devices?state=fine", "state: one of alarm, match"),
        ("/v1/devices?model=", "model: 1..256 printable characters are due"),
        ("/v1/devices?model=a%0Ab", "model: 1..256 printable characters are due"),
        (f"/v1/devices?model={'m' * 257}", "model: 1..256 printable characters are due"),
        (
            "/v1/alarms?state=open",
            "state: one of raised, acknowledged, returned, returned_acknowledged, closed, shelved is due",
        ),
        (
            "/v1/references?status=old",
            "status: one of pending, approved, effective, superseded, failed, revoked is due",
        ),
        ("/v1/alarms?after=%21", "after: the 'next' of an earlier answer"),
        ("/v1/alarms?after=" + "A" * 300, "after: the 'next' of an earlier answer"),
        ("/v1/alarms?after=" + cursor("x"), "after: the 'next' of an earlier answer"),
        ("/v1/alarms?after=" + cursor([1]), "after: the 'next' of an earlier answer"),
        ("/v1/alarms?after=" + cursor([1, "x"]), "after: the 'next' of an earlier answer"),
        ("/v1/alarms?after=" + cursor([1, -1]), "after: the 'next' of an earlier answer"),
        ("/v1/alarms?after=" + cursor([1, 2**63]), "after: the 'next' of an earlier answer"),
        ("/v1/alarms?after=" + cursor([True, 1]), "after: the 'next' of an earlier answer"),
        ("/v1/devices?after=" + cursor([4]), "after: the 'next' of an earlier answer"),
        ("/v1/devices?after=" + cursor(["a\u0000"]), "after: the 'next' of an earlier answer"),
        ("/v1/devices?after=" + "W" * 255 + "W", "after: the 'next' of an earlier answer"),
    ],
)
def test_list_bad_parameter_is_refused_with_what_is_due(world: World, target: str, detail: str) -> None:
    reply = fetch(world.api, target)
    assert reply.status == 400
    problem = reply.json()
    assert problem["type"] == "urn:gridwitness:problem:bad-parameter"
    assert problem["detail"].startswith(detail)


def test_item_unknown_is_not_found(world: World) -> None:
    reply = fetch(world.api, "/v1/devices/sps-99")
    assert reply.status == 404
    assert reply.json()["detail"] == "there is no device 'sps-99'"


def test_list_tables_that_fail_are_unavailable_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def fail(*_: object) -> None:
        raise TablesError("query tables: cannot read: disk I/O error")

    monkeypatch.setattr(world.tables, "page", fail)
    reply = fetch(world.api, "/v1/devices")
    assert (reply.status, reply.json()["type"]) == (503, "urn:gridwitness:problem:query-tables")
    assert fetch(world.api, "/v1/status").status == 200
