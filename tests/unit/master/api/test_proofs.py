"""State entries, history and epochs with their proofs."""

from __future__ import annotations

import pytest

from master.api import proofs
from master.contracts.table import CONTRACTS
from tests.unit.master.api.fakes import World
from tests.unit.master.api.http import fetch
from tests.unit.master.views.story import GENESIS
from tests.unit.wire.samples import FIRST_END, SECOND_END
from tests.unit.wire.samples import GENESIS as SAMPLE_GENESIS
from wire import cbor
from wire.cose import kid_of
from wire.epochs import decode_epoch_ends, verify_epochs
from wire.errors import ProofError
from wire.historyproof import (
    decode_consistency_proof,
    decode_history_proof,
    verify_consistency_proof,
    verify_history_proof,
)
from wire.stateproof import StateProof, decode_state_proof, verify_state_proof


@pytest.fixture
def world() -> World:
    found = World()
    for _ in range(5):
        found.commit([[]])
    return found


def test_state_entry_comes_with_a_proof_that_verifies_with_genesis(world: World) -> None:
    answer = fetch(world.api, "/v1/state/membership/gateway%2Fgw-1?proof=1").json()
    assert bytes.fromhex(answer["value"]) == world.ledger.state.get("membership", b"gateway/gw-1")
    assert (answer["namespace"], answer["key"], answer["height"]) == ("membership", b"gateway/gw-1".hex(), 5)
    proof = decode_state_proof(bytes.fromhex(answer["proof"]))
    verify_state_proof(proof, GENESIS)
    assert proof.value is not None
    assert fetch(world.api, "/v1/state/membership/gateway/gw-1?proof=1&format=cbor").body == proof.encode()
    without = fetch(world.api, "/v1/state/membership/gateway%2Fgw-1").json()
    assert (without["proof"], without["value"]) == (None, answer["value"])


def test_state_entry_that_is_not_there_is_proven_absent(world: World) -> None:
    answer = fetch(world.api, "/v1/state/membership/gateway%2Fnobody?proof=1").json()
    assert answer["value"] is None
    verify_state_proof(decode_state_proof(bytes.fromhex(answer["proof"])), GENESIS)


def test_state_proof_of_another_key_does_not_verify_for_this_one(world: World) -> None:
    answer = fetch(world.api, "/v1/state/membership/gateway%2Fnobody?proof=1").json()
    found = decode_state_proof(bytes.fromhex(answer["proof"]))
    forged = StateProof("membership", b"gateway/gw-1", None, found.bucket, found.path, found.final)
    with pytest.raises(ProofError):
        verify_state_proof(forged, GENESIS)


def test_state_key_of_any_bytes_is_read_from_the_raw_path(world: World) -> None:
    key = next(entry.key for entry in GENESIS.keys if max(kid_of(entry.key)) > 127)
    raw = "".join(f"%{byte:02x}" for byte in b"key/" + kid_of(key))
    assert fetch(world.api, f"/v1/state/membership/{raw}").json()["value"] is not None
    assert fetch(world.api, "/v1/state/membership/a%3Fb%25?proof=0").json()["key"] == b"a?b%".hex()


@pytest.mark.parametrize(
    ("target", "status", "detail"),
    [
        ("/v1/state/secrets/a", 404, "there is no public namespace secrets"),
        ("/v1/state/membership/", 400, "key: 1..446 bytes are due"),
        (f"/v1/state/membership/{'a' * 447}", 400, "key: 1..446 bytes are due"),
        ("/v1/state/membership/a?height=0", 400, "height: an integer 1..9223372036854775807 is due"),
        ("/v1/state/membership/a?proof=2", 400, "proof: an integer 0..1 is due"),
        ("/v1/state/membership/a?format=cbor", 400, "format: cbor is the form of a proof; ask with proof=1"),
        ("/v1/headers/5/proof", 404, "there is no block 5 below block 5; the newest is 5"),
        ("/v1/headers/6/consistency", 404, "there is no block 6 below block 5; the newest is 5"),
        ("/v1/headers/1/proof?in=9", 404, "there is no block 1 below block 9; the newest is 5"),
        ("/v1/headers/0/proof", 400, "height: an integer 1..9223372036854775807 is due"),
    ],
)
def test_proof_that_there_is_not_is_refused(world: World, target: str, status: int, detail: str) -> None:
    reply = fetch(world.api, target)
    assert (reply.status, reply.json()["detail"]) == (status, detail)


def test_state_before_the_first_block_has_no_proof() -> None:
    reply = fetch(World().api, "/v1/state/membership/a?proof=1")
    assert (reply.status, reply.json()["detail"]) == (404, "there is no final block yet; a state proof needs one")


def test_state_proof_is_tried_again_while_blocks_land(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = world.proofs.state_proof, []

    def torn(namespace: str, key: bytes, _height: int | None) -> StateProof | None:
        asked.append(key)
        return made(namespace, key) if len(asked) > 2 else None

    monkeypatch.setattr(world.proofs, "state_proof", torn)
    assert fetch(world.api, "/v1/state/membership/a?proof=1").status == 200
    assert len(asked) == 3
    monkeypatch.setattr(world.proofs, "state_proof", lambda *_: None)
    monkeypatch.setattr(proofs, "PAUSE_S", 0.0)
    reply = fetch(world.api, "/v1/state/membership/a?proof=1")
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")


def test_history_and_consistency_proofs_verify_with_genesis(world: World) -> None:
    for target, newer in (("/v1/headers/2/proof", 5), ("/v1/headers/2/proof?in=4", 4)):
        answer = fetch(world.api, target).json()
        assert (answer["height"], answer["newer"]) == (2, newer)
        proof = decode_history_proof(bytes.fromhex(answer["proof"]))
        verify_history_proof(proof, GENESIS)
        assert (proof.header.height, proof.final.header.height) == (2, newer)
    raw = fetch(world.api, "/v1/headers/2/consistency?format=cbor").body
    known = world.ledger.blocks[1].header
    verify_consistency_proof(decode_consistency_proof(raw), known, GENESIS)
    with pytest.raises(ProofError):
        verify_consistency_proof(decode_consistency_proof(raw), world.ledger.blocks[2].header, GENESIS)


def test_epochs_come_in_order_and_lead_from_genesis(world: World) -> None:
    assert fetch(world.api, "/v1/epochs").json()["items"] == []
    world.ledger.ends = (FIRST_END, SECOND_END)
    first = fetch(world.api, "/v1/epochs?limit=1").json()
    second = fetch(world.api, f"/v1/epochs?from={first['next']}").json()
    assert (first["next"], second["next"]) == (1, None)
    items = [*first["items"], *second["items"]]
    assert [(item["epoch"], item["height"]) for item in items] == [(0, 42), (1, 60)]
    ends = decode_epoch_ends([cbor.decode(bytes.fromhex(item["end"])) for item in items])
    assert verify_epochs(SAMPLE_GENESIS, ends).number == 2


def test_every_contract_is_public_or_known_to_be_restricted() -> None:
    restricted: set[str] = set()
    assert {name for name, _ in CONTRACTS} <= {*proofs.PUBLIC_NAMESPACES, *restricted}


# holds UN-1
def test_state_at_a_recent_height_comes_with_the_proof_of_that_height(world: World) -> None:
    for height in range(1, 6):
        answer = fetch(world.api, f"/v1/state/membership/gateway%2Fgw-1?proof=1&height={height}").json()
        proof = decode_state_proof(bytes.fromhex(answer["proof"]))
        verify_state_proof(proof, GENESIS)
        assert (answer["height"], proof.final.header) == (height, world.ledger.blocks[height - 1].header)
    raw = fetch(world.api, "/v1/state/membership/gateway%2Fnobody?proof=1&height=2&format=cbor").body
    assert (decode_state_proof(raw).value, decode_state_proof(raw).final.header.height) == (None, 2)


# holds UN-3
@pytest.mark.parametrize("height", [6, 1])
def test_state_at_a_height_that_is_not_kept_is_a_problem_that_says_which_are(world: World, height: int) -> None:
    if height == 1:
        for _ in range(61):
            world.commit([[]])
    reply = fetch(world.api, f"/v1/state/membership/a?height={height}")
    first, last = (1, 5) if height == 6 else (2, 66)
    assert (reply.status, reply.json()["type"]) == (404, "urn:gridwitness:problem:height-not-kept")
    assert reply.json()["detail"] == f"there is no state of height {height} here; heights {first} to {last} can be had"
