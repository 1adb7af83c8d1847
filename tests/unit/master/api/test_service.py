"""Status, health, metrics, and what no route answers."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from master.api.app import build_api
from master.api.context import Limits
from tests.unit.master.api.conftest import Log
from tests.unit.master.api.fakes import CHAIN, World
from tests.unit.master.api.http import Reply, fetch, send


def test_status_is_the_node_s() -> None:
    world = World()
    world.block()
    answer = fetch(world.api, "/v1/status").json()
    assert (answer["chain"], answer["height"], answer["leader"]) == (CHAIN, 1, "dispatch")


def test_health_node_that_can_serve_is_fine() -> None:
    assert fetch(World().api, "/healthz").json() == {"status": "ok"}


def test_health_node_that_cannot_serve_says_why() -> None:
    world = World()
    world.node.reason = "the disk is full"
    reply = fetch(world.api, "/healthz")
    assert (reply.status, reply.json()["detail"]) == (503, "the disk is full")


@pytest.mark.parametrize(("behind", "status"), [(2, 200), (3, 503)])
def test_health_tables_far_behind_the_ledger_are_named(behind: int, status: int) -> None:
    world = World(limits=Limits(lag_blocks_max=2))
    world.block()
    for _ in range(behind):
        world.ledger.commit([], [], world.node.head_time_ms() + 1)
    reply = fetch(world.api, "/healthz")
    assert reply.status == status
    assert status == 200 or "stand at block 1" in reply.json()["detail"]


def test_metrics_count_requests_by_route_and_status() -> None:
    world = World()
    fetch(world.api, "/v1/devices/sps-00")
    fetch(world.api, "/v1/devices/sps-01")
    fetch(world.api, "/v1/devices/nothing")
    fetch(world.api, "/nowhere/at/all")
    fetch(world.api, "/v1/status", method="BREW")
    reply = fetch(world.api, "/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    lines = reply.body.decode().splitlines()
    start = "gridwitness_node_http_requests_total"
    assert f'{start}{{method="GET",route="/v1/devices/{{id}}",status="200"}} 2.0' in lines
    assert f'{start}{{method="GET",route="/v1/devices/{{id}}",status="404"}} 1.0' in lines
    assert f'{start}{{method="GET",route="none",status="404"}} 1.0' in lines
    assert f'{start}{{method="other",route="none",status="405"}} 1.0' in lines
    assert "gridwitness_node_http_in_flight 1.0" in lines


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/nowhere", 404, None),
        ("GET", "/v1/status/", 404, None),
        ("GET", "/", 404, None),
        ("POST", "/v1/status", 405, "GET, HEAD"),
        ("GET", "/v1/tx", 405, "POST"),
        ("DELETE", "/v1/devices/sps-00", 405, "GET, HEAD"),
        ("OPTIONS", f"/v1/blobs/{'0' * 64}", 405, "GET, HEAD, PUT"),
    ],
)
def test_router_refuses_with_a_problem(method: str, target: str, status: int, allow: str | None) -> None:
    reply = fetch(World().api, target, method=method)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    found = reply.headers.get("allow")
    assert (None if found is None else ", ".join(sorted(found.split(", ")))) == allow


def test_mistake_of_the_node_is_a_problem_without_its_secrets(log: Log) -> None:
    world = World()
    world.node.fail = True
    reply = fetch(world.api, "/v1/status")
    assert reply.status == 500
    assert reply.json()["type"] == "urn:gridwitness:problem:internal"
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body
    assert "a secret of the node" in log.lines[0]
    world.node.fail = False
    assert fetch(world.api, "/v1/status").status == 200


def test_address_too_long_is_refused() -> None:
    world = World()
    assert fetch(world.api, "/v1/devices?model=" + "x" * 4100).status == 414
    assert fetch(world.api, "/" + "x" * 4100).status == 414


def test_more_requests_than_allowed_are_put_off() -> None:
    world = World(limits=Limits(requests_max=3))

    async def many() -> list[Reply]:
        return await asyncio.gather(*(send(world.api, "/v1/devices") for _ in range(5)))

    statuses = [reply.status for reply in asyncio.run(many())]
    assert statuses.count(200) == 3
    assert statuses.count(503) == 2
    assert fetch(world.api, "/v1/devices").status == 200


def test_every_answer_forbids_sniffing_and_storing() -> None:
    world = World()
    for target in ("/v1/status", "/nowhere", "/metrics", "/v1/bundles/x"):
        headers = fetch(world.api, target).headers
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_two_apis_on_one_registry_are_refused() -> None:
    world = World()
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        build_api(world.node, world.ledger, world.proofs, world.tables, world.registry)


def test_other_protocols_than_http_are_passed_on() -> None:
    async def websocket() -> list[str]:
        sent: list[str] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def take(message: Message) -> None:
            sent.append(message["type"])

        scope = {"type": "websocket", "path": "/v1/events", "headers": [], "query_string": b""}
        await World().api(scope, receive, take)
        return sent

    assert asyncio.run(websocket()) == ["websocket.close"]
