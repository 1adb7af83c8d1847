"""What a node that began with a snapshot answers while its past is being filled in."""

from __future__ import annotations

import pytest

from master.views.ports import START
from tests.unit.master.api.fakes import World
from tests.unit.master.api.http import fetch
from tests.unit.master.views.story import GENESIS
from wire.types import sha256

KNOWN_FROM = 4


@pytest.fixture
def world() -> World:
    """Return a ledger of six blocks of which this node knows from the fourth on."""
    found = World()
    for _ in range(6):
        found.commit([[], []])
    found.node.known_from = KNOWN_FROM
    return found


MISSING = (
    "/v1/headers",
    "/v1/headers?from=3",
    "/v1/headers/5/proof",
    "/v1/headers/5/consistency",
    "/v1/events?after=2-0",
    "/v1/devices",
    f"/v1/devices/{GENESIS.devices[0].id}",
)


# holds SN-10
@pytest.mark.parametrize("path", MISSING)
def test_past_that_is_missing_is_answered_with_503_and_a_sentence(world: World, path: str) -> None:
    world.tables._position = START
    reply = fetch(world.api, path)
    assert reply.status == 503
    assert reply.json()["type"] == "urn:gridwitness:problem:past-missing"
    assert reply.json()["detail"].startswith(
        "this node began with a snapshot and so far has the ledger from block 4 on"
    )


# holds SN-10
def test_past_that_is_here_is_answered(world: World) -> None:
    assert [item["height"] for item in fetch(world.api, "/v1/headers?from=4").json()["items"]] == [4, 5, 6]
    assert fetch(world.api, "/v1/status").json()["past"]["known_from"] == KNOWN_FROM
    world.node.known_from = 1
    for path in MISSING:
        if "events" not in path:
            assert fetch(world.api, path).status in (200, 404)


# holds SN-10
def test_transaction_of_a_block_that_is_not_here_is_told_from_one_that_never_was(world: World) -> None:
    unknown = sha256(b"unknown").hex()
    for path in (f"/v1/tx/{unknown}", f"/v1/bundles/{unknown}", "/v1/blocks/99"):
        reply = fetch(world.api, path)
        assert reply.status == 404
        assert reply.json()["detail"].endswith("this node has the transactions of blocks 4 and above")
    world.node.known_from = 1
    assert "this node has" not in fetch(world.api, f"/v1/tx/{unknown}").json()["detail"]


# holds SN-10
def test_health_names_the_past_that_is_missing(world: World) -> None:
    world.tables._position = START
    reply = fetch(world.api, "/healthz")
    assert reply.status == 503
    assert "began with a snapshot" in reply.json()["detail"]
