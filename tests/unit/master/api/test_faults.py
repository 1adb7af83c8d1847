"""Fault proofs as lists, items and files."""

from __future__ import annotations

from dataclasses import replace

from master.consensus.message_codec import decode_view_change_set
from master.consensus.messages import ViewChangeSet
from master.views.ports import END, Position
from tests.unit.consensus.test_messages import CHANGES
from tests.unit.master.api.fakes import World
from tests.unit.master.api.http import fetch
from tests.unit.master.views.story import GENESIS, Story
from tests.unit.wire.samples import FIRST_END, VOTE_KEYS
from tests.unit.wire.test_faultproof import HEIGHT, HIGH, LOW, MEMBER, PROOF
from wire.cbor import Value
from wire.certificate import Step, vote_bytes
from wire.faultproof import FaultProof, Statement, decode_fault_file, verify_fault_file

VIEW_CHANGES = ViewChangeSet(2, CHANGES)


def proof_of(epoch: int) -> FaultProof:
    chain = GENESIS.chain()
    first, second = (
        Statement(
            Step.PREPARE,
            0,
            digest,
            VOTE_KEYS[MEMBER].sign(vote_bytes(chain, epoch, Step.PREPARE, HEIGHT, 0, digest)).signature,
        )
        for digest in (LOW, HIGH)
    )
    return FaultProof(chain, epoch, HEIGHT, MEMBER, first, second)


def record(world: World, proof: FaultProof) -> str:
    """Tell the tables of a proof and return its id."""
    data: dict[str, Value] = {"member": MEMBER, "epoch": proof.epoch, "height": HEIGHT, "kind": "prepare", "view": 0}
    event = replace(
        Story().row("faults", "fault_proven", MEMBER, {**data, "proof": proof.encode()}), tx=proof.digest(), height=99
    )
    world.tables.apply([event], Position(event.height, END))
    return proof.digest().hex()


def test_fault_is_listed_and_its_file_verifies_with_genesis() -> None:
    world = World()
    identity = record(world, proof_of(0))
    (item,) = fetch(world.api, f"/v1/faults?member={MEMBER}&kind=prepare").json()["items"]
    assert (item["digest"], item["member"], item["height"]) == (identity, MEMBER, HEIGHT)
    answer = fetch(world.api, f"/v1/faults/{identity}/proof")
    file = decode_fault_file(answer.body)
    assert (file.proof, file.epochs) == (proof_of(0), ())
    verify_fault_file(file, GENESIS)


def test_fault_file_of_a_later_epoch_brings_the_epochs() -> None:
    world = World()
    world.ledger.ends = (FIRST_END,)
    identity = record(world, proof_of(1))
    assert decode_fault_file(fetch(world.api, f"/v1/faults/{identity}/proof").body).epochs == (FIRST_END,)


def test_fault_that_nobody_recorded_is_not_found() -> None:
    world = World()
    assert fetch(world.api, f"/v1/faults/{PROOF.digest().hex()}/proof").status == 404
    assert fetch(world.api, "/v1/faults?kind=theft").status == 400


# holds FP-17
def test_view_changes_of_a_height_are_served_for_audits() -> None:
    world = World()
    world.commit([[]])
    assert fetch(world.api, "/v1/headers/1/view-changes").json() == {"height": 1, "items": []}
    world.ledger.sets = (VIEW_CHANGES.encode(),)
    (item,) = fetch(world.api, "/v1/headers/1/view-changes").json()["items"]
    assert item["view"] == 2
    assert decode_view_change_set(bytes.fromhex(item["set"])) == VIEW_CHANGES
    assert fetch(world.api, "/v1/headers/2/view-changes").status == 404
