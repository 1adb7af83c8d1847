"""The description holds every route, and every answer is as it says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from master.api.ports import SubmitResult
from master.api.problems import MEDIA_TYPE
from master.api.routes import ROUTES
from master.views.table import TABLES
from tests.unit.master.api.fakes import World, signed
from tests.unit.master.api.http import Reply, Stream, fetch
from tests.unit.master.api.schemas import problems
from tests.unit.master.api.test_faults import VIEW_CHANGES, proof_of, record
from wire.types import sha256


@pytest.fixture(scope="module")
def world() -> World:
    found = World(seed=2)
    while len(found.ledger.blocks) < 40 or {table for table, _ in found.tables.rows} < set(TABLES):
        found.block(6)
    return found


@pytest.fixture(scope="module")
def document(world: World) -> Mapping[str, Any]:
    found = fetch(world.api, "/openapi.json").json()
    assert isinstance(found, dict)
    return found


def wrong(document: Mapping[str, Any], path: str, method: str, reply: Reply) -> list[str]:
    """Return what of a reply is not as the description says."""
    responses = document["paths"][path][method.lower()]["responses"]
    described = responses.get(str(reply.status))
    if described is None:
        return [f"status {reply.status} is not described"]
    kind = reply.headers["content-type"].partition(";")[0]
    if kind not in described["content"]:
        return [f"{kind} is not described for {reply.status}"]
    if not kind.endswith("json"):
        return []
    components = document["components"]["schemas"]
    return problems(reply.json(), described["content"][kind]["schema"], components)


def test_description_holds_every_route_and_no_other(world: World, document: Mapping[str, Any]) -> None:
    served = {
        (route.path.replace(":path}", "}"), method)
        for route in world.api.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert served == described
    assert len(served) == len(ROUTES)
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)


def test_description_names_every_path_parameter(document: Mapping[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            in_path = {entry["name"] for entry in operation["parameters"] if entry["in"] == "path"}
            assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_description_names_every_filter(document: Mapping[str, Any]) -> None:
    for table in TABLES.values():
        parameters = document["paths"][table.path]["get"]["parameters"]
        names = {entry["name"] for entry in parameters}
        assert names == {*table.filters(), "after", "limit"}
    alarms = {entry["name"] for entry in document["paths"]["/v1/alarms"]["get"]["parameters"]}
    assert {"device", "cause", "state", "station"} <= alarms


def good_requests(world: World) -> Iterator[tuple[str, str]]:
    tx = sha256(world.ledger.blocks[0].transactions[0]).hex()
    yield "/v1/status", "/v1/status"
    yield "/v1/tx/{id}", f"/v1/tx/{tx}"
    yield "/v1/bundles/{id}", f"/v1/bundles/{tx}"
    yield "/v1/blocks/{height}", "/v1/blocks/1"
    yield "/v1/blocks/{height}", "/v1/blocks/1?format=cbor"
    yield "/v1/headers", "/v1/headers?from=2&limit=3"
    yield "/v1/headers/{height}/proof", "/v1/headers/2/proof"
    yield "/v1/headers/{height}/proof", "/v1/headers/1/proof?in=3&format=cbor"
    yield "/v1/headers/{height}/consistency", "/v1/headers/2/consistency"
    yield "/v1/headers/{height}/consistency", "/v1/headers/2/consistency?in=2&format=cbor"
    world.ledger.sets = (VIEW_CHANGES.encode(),)
    yield "/v1/headers/{height}/view-changes", "/v1/headers/1/view-changes"
    yield "/v1/epochs", "/v1/epochs"
    yield "/v1/epochs", "/v1/epochs?from=0&limit=1"
    yield "/v1/state/{namespace}/{key}", "/v1/state/membership/gateway%2Fgw-1"
    yield "/v1/state/{namespace}/{key}", "/v1/state/membership/nobody?proof=1"
    yield "/v1/state/{namespace}/{key}", "/v1/state/membership/nobody?proof=1&format=cbor"
    yield "/v1/validators", "/v1/validators?status=validator"
    fault = record(world, proof_of(0))
    for name, table in TABLES.items():
        yield table.path, f"{table.path}?limit=2"
        yield f"{table.path}/{{id}}", f"{table.path}/{next(key for one, key in world.tables.rows if one == name)}"
    yield "/v1/faults/{id}/proof", f"/v1/faults/{fault}/proof"
    yield "/v1/compliance", "/v1/compliance?limit=2"
    yield "/v1/compliance", "/v1/compliance?format=csv"
    yield "/metrics", "/metrics"
    yield "/healthz", "/healthz"
    yield "/openapi.json", "/openapi.json"


def test_every_good_answer_is_as_described(world: World, document: Mapping[str, Any]) -> None:
    seen = set()
    for path, target in good_requests(world):
        reply = fetch(world.api, target)
        assert reply.status == 200, target
        assert wrong(document, path, "GET", reply) == [], target
        seen.add(path)
    assert seen == set(document["paths"]) - {"/v1/tx", "/v1/events", "/v1/blobs/{digest}"}


def test_event_stream_is_as_described(world: World, document: Mapping[str, Any]) -> None:
    reply = fetch(world.api, "/v1/events", method="HEAD")
    assert wrong(document, "/v1/events", "GET", reply) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (signed(1), "application/cose", 202),
        (signed(1), "application/cose", 200),
        (signed(2) + signed(1), "application/cbor-seq", 202),
        (signed(3, "other-ledger"), "application/cose", 409),
        (b"", "application/cose", 400),
        (bytes(70_000), "application/cose", 413),
        (signed(4), "text/plain", 415),
    ],
)
def test_every_submission_is_answered_as_described(
    world: World, document: Mapping[str, Any], body: bytes, kind: str, status: int
) -> None:
    reply = fetch(world.api, "/v1/tx", method="POST", body=body, headers={"content-type": kind})
    assert reply.status == status
    assert wrong(document, "/v1/tx", "POST", reply) == []


def test_every_refusal_is_as_described(world: World, document: Mapping[str, Any]) -> None:
    for path in document["paths"]:
        if path == "/v1/tx":
            continue
        target = path.replace("{id}", "00" * 32).replace("{height}", "999999").replace("{digest}", "00" * 32)
        replies = [fetch(world.api, f"{target}?nonsense=1")]
        if "{" in path:
            replies.append(fetch(world.api, target))
        replies.append(fetch(world.api, f"{target}?{'x' * 5000}"))
        for reply, status in zip(replies, (400, 404, 414) if "{" in path else (400, 414), strict=True):
            assert reply.status == status, (path, reply)
            assert reply.headers["content-type"] == MEDIA_TYPE
            assert wrong(document, path, "GET", reply) == []


def test_busy_node_is_answered_as_described(document: Mapping[str, Any]) -> None:
    world = World()
    world.node.refuse = SubmitResult(b"", "refused", "mempool-full", 429, "the mempool is full")
    reply = fetch(world.api, "/v1/tx", method="POST", body=signed(1), headers={"content-type": "application/cose"})
    assert reply.status == 429
    assert reply.headers["retry-after"] == "1"
    assert wrong(document, "/v1/tx", "POST", reply) == []


def test_validator_finds_a_wrong_answer(world: World, document: Mapping[str, Any]) -> None:
    reply = fetch(world.api, "/v1/status")
    body = reply.body.replace(b'"connected":true', b'"connected":1')
    assert wrong(document, "/v1/status", "GET", Reply(200, reply.headers, body)) != []
    body = reply.body.replace(b'"view"', b'"vue"')
    assert len(wrong(document, "/v1/status", "GET", Reply(200, reply.headers, body))) == 2


def test_event_ids_are_those_that_the_description_lets_in(world: World, document: Mapping[str, Any]) -> None:
    async def first() -> list[str]:
        async with Stream(world.api, "/v1/events?after=0") as stream:
            return [told.id for told in await stream.events(5)]

    parameters = document["paths"]["/v1/events"]["get"]["parameters"]
    for entry in asyncio.run(first()):
        assert all(problems(entry, one["schema"], {}) == [] for one in parameters)


def test_guide_names_every_list_with_its_filters(document: Mapping[str, Any]) -> None:
    guide = (Path(__file__).parents[4] / "docs" / "guides" / "api.md").read_text(encoding="utf-8")
    told = {
        path: set(re.sub(r"\([^)]*\)", "", filters).replace(" ", "").split(","))
        for path, filters in re.findall(r"^\| `(/v1/[a-z-]+)` \| ([^|]+) \|", guide, re.MULTILINE)
    }
    lists = {path.removesuffix("/{id}") for path in document["paths"] if path.endswith("/{id}")} - {
        "/v1/tx",
        "/v1/bundles",
    }
    paging = {"after", "limit"}
    assert told == {
        path: {entry["name"] for entry in document["paths"][path]["get"]["parameters"]} - paging for path in lists
    }
    mentioned = {path for path in re.findall(r"/v1/[a-z-]+", guide) if path not in ("/v1/assessments", "/v1/market")}
    assert [path for path in mentioned if not any(known.startswith(path) for known in document["paths"])] == []
