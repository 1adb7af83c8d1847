"""Submission of transactions."""

from __future__ import annotations

import asyncio

import pytest

from master.api.context import Limits
from master.api.ports import SubmitResult
from tests.unit.master.api.fakes import World, signed
from tests.unit.master.api.http import STALLED, Reply, fetch, send
from wire.types import TX_BYTES_MAX, sha256

ONE = {"content-type": 'application/cose; cose-type="cose-sign1"'}
MANY = {"content-type": "application/cbor-seq"}


def post(world: World, body: bytes | list[bytes], headers: dict[str, str]) -> Reply:
    return fetch(world.api, "/v1/tx", method="POST", body=body, headers=headers)


def counted(world: World, result: str, code: str = "") -> float | None:
    labels = {"result": result, "code": code}
    return world.registry.get_sample_value("gridwitness_node_http_transactions_total", labels)


@pytest.mark.parametrize(
    "kind",
    [
        "application/cose",
        "application/cose; cose-type=cose-sign1",
        'Application/COSE;cose-type="cose-sign1"',
        "application/octet-stream",
    ],
)
def test_submit_one_new_is_accepted(kind: str) -> None:
    world, raw = World(), signed(1)
    reply = post(world, raw, {"content-type": kind})
    assert reply.status == 202
    assert reply.json() == {"results": [{"id": sha256(raw).hex(), "status": "pending"}]}
    assert list(world.node.waiting) == [sha256(raw)]
    assert counted(world, "pending") == 1


def test_submit_body_in_parts_is_put_together() -> None:
    world, raw = World(), signed(1)
    assert post(world, [raw[:50], raw[50:]], ONE).status == 202


def test_submit_again_is_a_duplicate_and_no_error() -> None:
    world, raw = World(), signed(1)
    post(world, raw, ONE)
    reply = post(world, raw, ONE)
    assert (reply.status, reply.json()["results"][0]["status"]) == (200, "duplicate")
    assert counted(world, "duplicate") == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"hello", 400, "malformed"),
        (signed(1)[:-1], 400, "malformed"),
        (signed(1) + b"\x00", 400, "malformed"),
        (signed(1, "other-ledger"), 409, "wrong-chain"),
    ],
)
def test_submit_one_refused_gets_a_problem(body: bytes, status: int, code: str) -> None:
    world = World()
    reply = post(world, body, ONE)
    assert reply.status == status
    problem = reply.json()
    assert problem["type"] == f"urn:gridwitness:problem:{code}"
    assert problem["detail"]
    assert counted(world, "refused", code) == 1
    assert world.node.waiting == {}


@pytest.mark.parametrize("status", [400, 403, 409, 413, 429])
def test_submit_refusal_has_the_node_s_status(status: int) -> None:
    world = World()
    world.node.refuse = SubmitResult(b"", "refused", "some-code", status, "because")
    reply = post(world, signed(1), ONE)
    assert (reply.status, reply.json()["detail"]) == (status, "because")
    assert ("retry-after" in reply.headers) == (status == 429)


def test_submit_sequence_answers_for_each() -> None:
    world = World()
    post(world, signed(1), ONE)
    body = signed(2) + signed(1) + signed(3, "other-ledger") + signed(4)
    reply = post(world, body, MANY)
    assert reply.status == 202
    results = reply.json()["results"]
    assert [result["status"] for result in results] == ["pending", "duplicate", "refused", "pending"]
    assert results[2] == {"id": sha256(signed(3, "other-ledger")).hex(), "status": "refused", "reason": "wrong-chain"}


def test_submit_sequence_without_a_new_one_is_fine() -> None:
    world = World()
    body = signed(1) + signed(2)
    post(world, body, MANY)
    assert post(world, body, MANY).status == 200


def test_submit_sequence_of_256_is_taken_and_of_257_not() -> None:
    world = World()
    transactions = [signed(seq) for seq in range(1, 258)]
    reply = post(world, b"".join(transactions), MANY)
    assert (reply.status, world.node.waiting) == (413, {})
    reply = post(world, b"".join(transactions[:256]), MANY)
    assert (reply.status, len(reply.json()["results"])) == (202, 256)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (signed(1) + b"\xff", "transaction 1 of the sequence: no COSE_Sign1 begins at byte"),
        (b"\x00", "transaction 0 of the sequence: no COSE_Sign1 begins at byte 0"),
        (signed(1)[:-1], "transaction 0 of the sequence: it is cut off"),
        (signed(1) + signed(2)[:2], "transaction 1 of the sequence: it is cut off"),
        (b"\xd2\x84\x01", "transaction 0 of the sequence: a byte string or an empty map is due at byte 2"),
        (b"\xd2\x84\x5b" + bytes(8), "transaction 0 of the sequence: a byte string or an empty map is due"),
        (b"\xd2\x84\x40\xa0\x5a\x00\x01\x00\x00" + bytes(65_536) + b"\x40", "it has more than 65536 bytes"),
    ],
)
def test_submit_malformed_sequence_is_refused_whole(body: bytes, detail: str) -> None:
    world = World()
    reply = post(world, body, MANY)
    assert reply.status == 400
    assert detail in reply.json()["detail"]
    assert world.node.waiting == {}
    assert counted(world, result="refused", code="malformed") == 1


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {"content-type": 'application/cose; cose-type="cose-sign"'}],
)
def test_submit_unknown_type_is_refused(headers: dict[str, str]) -> None:
    world = World()
    assert post(world, signed(1), headers).status == 415
    assert world.node.waiting == {}
    assert counted(world, result="refused", code="unsupported-media-type") == 1


@pytest.mark.parametrize("headers", [ONE, MANY])
def test_submit_empty_body_is_refused(headers: dict[str, str]) -> None:
    reply = post(World(), b"", headers)
    assert (reply.status, reply.json()["detail"]) == (400, "the body is empty")


@pytest.mark.parametrize(("headers", "limit"), [(ONE, TX_BYTES_MAX), (MANY, Limits().sequence_bytes_max)])
def test_submit_body_too_large_is_refused(headers: dict[str, str], limit: int) -> None:
    world = World()
    assert post(world, [bytes(limit), b"x"], headers).status == 413
    declared = {**headers, "content-length": str(limit + 1)}
    assert post(world, b"x", declared).status == 413
    assert post(world, bytes(limit), headers).status == 400
    assert counted(world, result="refused", code="body-too-large") == 2


def test_submit_body_that_breaks_off_is_refused() -> None:
    reply = post(World(), [b"half", b""], ONE)
    assert (reply.status, reply.json()["detail"]) == (400, "the body broke off")


def test_submit_body_that_never_comes_is_given_up() -> None:
    world = World(limits=Limits(body_wait_s=0.01))
    reply = post(world, [signed(1)[:50], STALLED], ONE)
    assert (reply.status, reply.json()["detail"]) == (408, "the body was not here after 0.01 s")
    assert post(world, signed(1), ONE).status == 202


def test_submit_more_bodies_than_allowed_are_put_off() -> None:
    world = World(limits=Limits(bodies_max=0))
    reply = post(world, signed(1), ONE)
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")


def test_submit_at_once_are_all_taken() -> None:
    world = World()

    async def all_at_once() -> list[Reply]:
        calls = (send(world.api, "/v1/tx", method="POST", body=signed(seq), headers=ONE) for seq in range(1, 20))
        return await asyncio.gather(*calls)

    assert {reply.status for reply in asyncio.run(all_at_once())} == {202}
    assert len(world.node.waiting) == 19
