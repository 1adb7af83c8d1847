"""Transactions, bundles, blocks and headers."""

from __future__ import annotations

import pytest

from tests.unit.master.api.fakes import CHAIN, World, signed
from tests.unit.master.api.http import fetch
from tests.unit.master.views.story import GENESIS
from wire import cbor
from wire.block import decode_block
from wire.certificate import decode_certificate, verify_certificate
from wire.errors import ProofError
from wire.header import decode_header
from wire.receipt import Event, decode_bundle, verify_receipt
from wire.tx import open_tx
from wire.types import sha256

EVENT = Event("market", "told", "x", {"n": 1})


@pytest.fixture
def world() -> World:
    found = World()
    for _ in range(5):
        found.commit([[EVENT], [], [EVENT, EVENT]])
    return found


def test_transaction_committed_says_where_and_what_came_of_it(world: World) -> None:
    tx = sha256(world.ledger.blocks[1].transactions[2]).hex()
    assert fetch(world.api, f"/v1/tx/{tx}").json() == {
        "id": tx,
        "status": "committed",
        "height": 2,
        "index": 2,
        "code": "ok",
        "sender": "gw-1",
        "contract": "consistency",
        "method": "report",
    }


def test_transaction_in_the_mempool_is_pending(world: World) -> None:
    raw = signed(77)
    world.node.waiting[sha256(raw)] = open_tx(raw)
    answer = fetch(world.api, f"/v1/tx/{sha256(raw).hex()}").json()
    assert (answer["status"], answer["height"], answer["code"]) == ("pending", None, None)
    reply = fetch(world.api, f"/v1/bundles/{sha256(raw).hex()}")
    assert reply.status == 404
    assert reply.json()["detail"].endswith("yet, it is pending")


def test_transaction_that_a_block_takes_while_it_is_looked_up_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = signed(6000)

    def pending(tx_id: bytes) -> None:
        world.commit([[]])

    monkeypatch.setattr(world.node, "pending", pending)
    answer = fetch(world.api, f"/v1/tx/{sha256(raw).hex()}").json()
    assert (answer["status"], answer["height"]) == ("committed", 6)


@pytest.mark.parametrize("route", ["tx", "bundles"])
def test_transaction_unknown_is_not_found(world: World, route: str) -> None:
    assert fetch(world.api, f"/v1/{route}/{'00' * 32}").status == 404


@pytest.mark.parametrize("name", ["00", "zz" * 32, "AA" * 32, "00" * 33])
def test_transaction_id_that_is_none_is_refused(world: World, name: str) -> None:
    reply = fetch(world.api, f"/v1/tx/{name}")
    assert (reply.status, reply.json()["detail"]) == (400, "id: 64 lower-case hex digits are due")


def test_bundle_verifies_with_the_genesis_file_alone(world: World) -> None:
    raw = world.ledger.blocks[3].transactions[1]
    reply = fetch(world.api, f"/v1/bundles/{sha256(raw).hex()}")
    assert reply.headers["content-type"] == "application/cbor"
    bundle = decode_bundle(reply.body)
    assert bundle.tx == raw
    verify_receipt(bundle.receipt, bundle.tx, GENESIS)
    with pytest.raises(ProofError):
        verify_receipt(bundle.receipt, world.ledger.blocks[3].transactions[0], GENESIS)


def test_block_json_names_transactions_and_signers(world: World) -> None:
    answer = fetch(world.api, "/v1/blocks/3").json()
    block = world.ledger.blocks[2]
    assert answer["digest"] == block.header.digest().hex()
    assert answer["header"]["parent"] == world.ledger.blocks[1].header.digest().hex()
    assert answer["header"]["tx_count"] == 3
    assert answer["transactions"] == [sha256(raw).hex() for raw in block.transactions]
    assert answer["certificate"]["signers"] == ["dispatch", "sub-east", "sub-north"]


def test_block_cbor_holds_block_and_certificate_whole(world: World) -> None:
    reply = fetch(world.api, "/v1/blocks/3?format=cbor")
    value = cbor.decode_map(reply.body)
    raw, certificate = value["block"], value["certificate"]
    assert isinstance(raw, bytes)
    assert isinstance(certificate, bytes)
    assert decode_block(raw) == world.ledger.blocks[2]
    found = decode_certificate(cbor.decode(certificate))
    verify_certificate(found, CHAIN, GENESIS.validator_set())


@pytest.mark.parametrize(("height", "status"), [("6", 404), ("0", 400), ("x", 400), (str(2**63), 400)])
def test_block_that_is_not_there_is_refused(world: World, height: str, status: int) -> None:
    for target in (f"/v1/blocks/{height}", f"/v1/blocks/{height}?format=cbor"):
        assert fetch(world.api, target).status == status


def test_block_unknown_format_is_refused(world: World) -> None:
    assert fetch(world.api, "/v1/blocks/1?format=xml").status == 400


def test_headers_walk_covers_the_chain_once(world: World) -> None:
    heights: list[int] = []
    place: int | None = 1
    while place is not None:
        answer = fetch(world.api, f"/v1/headers?from={place}&limit=2").json()
        for item in answer["items"]:
            header = decode_header(bytes.fromhex(item["header"]))
            certificate = decode_certificate(cbor.decode(bytes.fromhex(item["certificate"])))
            verify_certificate(certificate, CHAIN, GENESIS.validator_set())
            assert certificate.digest == header.digest() == bytes.fromhex(item["digest"])
            heights.append(header.height)
        place = answer["next"]
    assert heights == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("first", [6, 100])
def test_headers_beyond_the_head_are_none(world: World, first: int) -> None:
    answer = fetch(world.api, f"/v1/headers?from={first}").json()
    assert (answer["items"], answer["next"]) == ([], None)


@pytest.mark.parametrize("query", ["from=0", "limit=0", "limit=101", "from=x"])
def test_headers_bad_range_is_refused(world: World, query: str) -> None:
    assert fetch(world.api, f"/v1/headers?{query}").status == 400
