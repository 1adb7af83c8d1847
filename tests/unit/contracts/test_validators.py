from __future__ import annotations

from typing import Any

import pytest

from master.contracts import validator_records
from tests.unit.contracts.consortium import DEADLINE_MS, VOTERS, certificate, codes, consortium, vote_key
from tests.unit.ledger.worlds import key_of
from wire.handover import ready_bytes
from wire.types import sha256


# holds VM-1
def test_validators_before_any_change_are_those_of_the_genesis_file() -> None:
    at = consortium()
    assert at.members == sorted(VOTERS)
    assert validator_records.validator_set(at.state) == at.world.genesis.validator_set()
    assert validator_records.pending(at.state) is None
    assert at.admitted == []


# holds VM-3 VM-5
def test_add_is_voted_on_admitted_and_executed_by_ready() -> None:
    at = consortium()
    proposal = at.add()
    assert (proposal.code, proposal.event_types) == ("ok", ["change_proposed"])
    assert proposal.events("change_proposed")[0]["votes_due"] == 3
    assert at.admitted == []
    done = at.vote(proposal, "dispatch", "regulator")
    assert codes(done) == ["ok", "ok"]
    assert done[-1].event_types == ["change_voted", "change_approved"]
    assert at.admitted == [("lab", certificate("lab"))]
    assert at.members == sorted(VOTERS)
    at.pass_blocks(3)
    executed = at.ready(proposal)
    assert (executed.code, executed.event_types) == ("ok", ["validators_changed"])
    assert executed.events("validators_changed")[0]["from_height"] == at.world.head.height + 2
    assert at.members == sorted((*VOTERS, "lab"))
    assert at.kept(b"root/") == at.kept(b"pending") == []
    added = validator_records.validator_set(at.state).find("lab")
    assert added is not None
    assert added.vote_key == vote_key("lab").verify_key.encode()


# holds VM-5
def test_state_roots_are_kept_only_while_a_joiner_is_awaited() -> None:
    at = consortium()
    at.pass_blocks(2)
    assert at.kept(b"root/") == []
    proposal = at.add()
    at.pass_blocks(2)
    assert at.kept(b"root/") == []
    at.vote(proposal, "dispatch", "regulator")
    at.pass_blocks(3)
    assert len(at.kept(b"root/")) == 3
    assert at.call("grid", "withdraw", proposal=proposal.tx.id).code == "ok"
    assert at.kept(b"root/") == []
    at.pass_blocks(1)
    assert at.kept(b"root/") == []


# holds VM-4
def test_removal_is_executed_by_the_vote_that_makes_enough() -> None:
    at = consortium()
    proposal = at.remove()
    done = at.vote(proposal, "dispatch", "regulator")
    assert done[-1].event_types == ["change_voted", "change_approved", "validators_changed"]
    assert at.members == ["dispatch", "grid", "regulator"]
    # who leaves may follow for a while
    assert at.admitted == [("maker-a", certificate("maker-a"))]
    at.pass_blocks(100)
    assert at.admitted == [("maker-a", certificate("maker-a"))]
    at.pass_blocks(1)
    assert at.admitted == []


# holds VM-4
def test_change_that_too_many_are_against_is_rejected() -> None:
    at = consortium()
    proposal = at.remove()
    first, second = at.vote(proposal, "dispatch", "regulator", in_favour=False)
    assert (first.code, first.event_types) == ("ok", ["change_voted"])
    assert second.events("change_closed") == [{"proposal": proposal.tx.id, "reason": "rejected"}]
    assert at.members == sorted(VOTERS)
    assert codes(at.vote(proposal, "maker-a")) == ["no-such-change"]


# holds VM-4
def test_urgent_removal_takes_the_place_of_another_change_and_lets_nobody_follow() -> None:
    at = consortium(validator_votes_percent=100)
    older = at.add()
    assert at.remove().code == "change-pending"
    urgent = at.remove(urgent=True)
    assert urgent.event_types == ["change_closed", "change_proposed"]
    assert urgent.events("change_closed") == [{"proposal": older.tx.id, "reason": "displaced"}]
    assert urgent.events("change_proposed")[0]["votes_due"] == 3
    assert at.remove(member="dispatch", urgent=True).code == "change-pending"
    done = at.vote(urgent, "dispatch", "regulator")
    assert done[-1].code == "ok"
    assert at.members == ["dispatch", "grid", "regulator"]
    assert at.admitted == [("maker-a", certificate("maker-a"))]  # while the block is the newest
    at.pass_blocks(1)
    assert at.admitted == []


# holds VM-6
def test_rotation_is_proven_by_both_keys_and_voted_on() -> None:
    at = consortium()
    proposal = at.rotate()
    assert proposal.code == "ok"
    assert at.vote(proposal, "dispatch", "regulator")[-1].code == "ok"
    rotated = validator_records.validator_set(at.state).find("grid")
    assert rotated is not None
    assert rotated.vote_key == vote_key("grid 2").verify_key.encode()
    assert rotated.tls_digest == sha256(certificate("grid 2"))
    assert at.admitted == [("grid", certificate("grid"))]


# holds VM-6
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"old_signature": bytes(64)}, "bad-signature"),
        ({"new_signature": bytes(64)}, "bad-signature"),
        ({"old_signature": "text"}, "bad-args"),
        ({"member": "dispatch"}, "not-your-own"),
        ({"vote_key": vote_key("dispatch").verify_key.encode()}, "key-in-use"),
        ({"vote_key": key_of("lab").verify_key.encode()}, "key-in-use"),
        ({"tls_certificate": certificate("dispatch")}, "key-in-use"),
        ({"deadline_ms": "soon"}, "bad-args"),
    ],
)
def test_rotation_without_proof_is_refused(changes: dict[str, Any], code: str) -> None:
    at = consortium()
    signatures = {name: changes[name] for name in changes if name.endswith("signature")}
    if "deadline_ms" in changes or "member" in changes:
        args = {**changes}
        done = at.call(
            "grid",
            "propose-rotation",
            **{
                "member": "grid",
                "vote_key": vote_key("grid 2").verify_key.encode(),
                "tls_certificate": certificate("grid 2"),
                "address": "",
                "deadline_ms": DEADLINE_MS,
                "old_signature": bytes(64),
                "new_signature": bytes(64),
                **args,
            },
        )
    else:
        done = at.rotate(**{**changes, **signatures})
    assert done.code == code
    assert at.kept(b"pending") == []


# holds VM-6
def test_rotation_of_the_certificate_or_address_alone_keeps_the_vote_key() -> None:
    at = consortium()
    own = vote_key("grid").verify_key.encode()
    same = {"vote_key": own, "tls_certificate": certificate("grid"), "address": ""}
    assert at.rotate(new="grid", **same).code == "nothing-changes"  # type: ignore[arg-type]
    moved = at.rotate(new="grid", **{**same, "address": "node.example:7400"})  # type: ignore[arg-type]
    assert moved.code == "ok"
    at.vote(moved, "dispatch", "regulator")
    assert validator_records.records(at.state)[1].address == "node.example:7400"
    assert at.admitted == []
    assert at.kept(b"retired/") == []
    at.pass_blocks(1)
    renewed = at.rotate(new="grid", **{**same, "tls_certificate": certificate("grid 3")})  # type: ignore[arg-type]
    at.vote(renewed, "dispatch", "regulator")
    assert at.kept(b"retired/") == [b"retired/" + sha256(certificate("grid"))]


# holds VM-6
def test_keys_that_were_given_up_never_come_back() -> None:
    at = consortium()
    at.vote(at.remove(), "dispatch", "regulator")
    at.pass_blocks(1)
    again = at.add("maker-a")
    assert again.code == "key-in-use"
    fresh = vote_key("maker-a 2").verify_key.encode()
    assert at.add("maker-a", vote_key=fresh).code == "key-in-use"
    proposal = at.add("maker-a", vote_key=fresh, tls_certificate=certificate("maker-a 2"))
    assert proposal.code == "ok"
    at.vote(proposal, "dispatch", "regulator")
    height, root = at.world.head.height, at.world.head.state_root
    signature = vote_key("maker-a 2").sign(ready_bytes(proposal.tx.id, height, root)).signature
    assert at.ready(proposal, "maker-a", signature=signature).code == "ok"
    assert at.members == sorted(VOTERS)
    assert at.admitted == []


# holds VM-4
def test_organisation_votes_once_and_only_where_it_runs_a_validator() -> None:
    at = consortium()
    proposal = at.add()
    assert codes(at.vote(proposal, "grid", "lab", "dispatch", "dispatch", "regulator", "maker-a")) == [
        "voted",
        "not-a-voter",
        "ok",
        "voted",
        "ok",
        "approved",
    ]


# holds VM-4
@pytest.mark.parametrize(("percent", "due"), [(51, 3), (67, 3), (75, 3), (76, 4), (100, 4)])
def test_votes_due_are_the_share_that_the_parameter_asks_rounded_up(percent: int, due: int) -> None:
    proposal = consortium(validator_votes_percent=percent).remove()
    assert proposal.events("change_proposed")[0]["votes_due"] == due


def test_validator_alone_decides_by_proposing() -> None:
    at = consortium(("dispatch",))
    proposal = at.add(by="dispatch")
    assert proposal.event_types == ["change_proposed", "change_approved"]
    assert at.ready(proposal).code == "ok"
    assert at.members == ["dispatch", "lab"]


def test_old_certificates_of_leavers_are_forgotten_by_the_next_change() -> None:
    at = consortium(ready_blocks_max=3)
    at.vote(at.remove(), "dispatch", "regulator")
    at.pass_blocks(4)
    at.vote(at.remove("dispatch"), "grid", "regulator", "dispatch")
    assert at.kept(b"left/") == [b"left/dispatch"]
