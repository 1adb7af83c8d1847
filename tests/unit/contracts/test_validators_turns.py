"""Contract validators: whose turn it is: what waits, ends, gives way, and how much of it there may be."""

from __future__ import annotations

import pytest

from master.contracts import validators
from tests.unit.contracts.consortium import DEADLINE_MS, certificate, codes, consortium
from tests.unit.ledger.worlds import GENESIS_MS
from wire.cbor import Value
from wire.types import sha256


# holds VM-2
def test_change_that_is_not_in_force_yet_keeps_others_waiting() -> None:
    at = consortium()
    proposal = at.remove()
    # the deciding vote and the next proposal stand in one block
    votes = [
        at.world.sign(name, "validators", "vote", {"proposal": proposal.tx.id, "in_favour": True})
        for name in ("dispatch", "regulator")
    ]
    args: dict[str, Value] = {"member": "dispatch", "urgent": True, "deadline_ms": DEADLINE_MS}
    follow = at.world.sign("grid", "validators", "propose-removal", args)
    assert codes(at.world.run(*votes, follow)) == ["ok", "ok", "change-under-way"]
    assert at.remove("dispatch").code == "change-under-way"
    assert at.remove("dispatch").code == "ok"


# holds VM-3
def test_change_past_its_deadline_makes_room() -> None:
    at = consortium()
    proposal = at.add(deadline_ms=GENESIS_MS + 10_000)
    at.vote(proposal, "dispatch", "regulator")
    assert at.call("lab", "withdraw", proposal=proposal.tx.id).code == "not-yours"
    at.pass_blocks(9)
    assert at.admitted == []
    assert at.ready(proposal).code == "expired"
    assert codes(at.vote(proposal, "maker-a")) == ["expired"]
    assert at.call("lab", "withdraw", proposal=sha256(b"x")).code == "no-such-change"
    later = at.remove(by="dispatch")
    assert later.event_types == ["change_closed", "change_proposed"]
    assert later.events("change_closed")[0]["reason"] == "expired"


# holds VM-3
def test_anybody_may_close_what_is_past_its_deadline() -> None:
    at = consortium()
    proposal = at.add(deadline_ms=GENESIS_MS + 5_000)
    at.pass_blocks(5)
    done = at.call("lab", "withdraw", proposal=proposal.tx.id)
    assert done.events("change_closed")[0]["reason"] == "expired"
    assert at.call("lab", "withdraw", proposal=proposal.tx.id).code == "no-such-change"


# holds VM-13
@pytest.mark.parametrize("urgent", [True, False])
def test_who_was_rejected_waits_so_that_others_have_their_turn(*, urgent: bool) -> None:
    at = consortium(validator_wait_ms=20_000)
    rejected = at.remove(by="grid", urgent=urgent)
    assert at.vote(rejected, "dispatch", "regulator", in_favour=False)[-1].event_types[-1:] == ["change_closed"]
    assert at.remove(by="grid", urgent=True).code == "must-wait"
    assert at.add(by="grid").code == "must-wait"
    answer = at.remove("grid", by="dispatch", urgent=True)
    assert answer.code == "ok"
    assert codes(at.vote(answer, "regulator", "maker-a")) == ["ok", "ok"]
    assert "grid" not in at.members


# holds VM-13
def test_who_was_rejected_may_propose_again_after_its_time() -> None:
    at = consortium(validator_wait_ms=20_000)
    at.vote(at.remove(by="grid"), "dispatch", "regulator", in_favour=False)
    assert at.remove(by="grid").code == "must-wait"
    at.pass_blocks(20)
    assert at.remove(by="grid").code == "ok"
    assert at.kept(b"waits/") == []


# holds VM-13
def test_who_let_a_proposal_expire_neither_takes_its_place_nor_proposes_at_once() -> None:
    at = consortium(validator_wait_ms=20_000)
    proposal = at.remove(by="grid", urgent=True, deadline_ms=GENESIS_MS + 3_000)
    at.pass_blocks(3)
    assert at.remove(by="grid", urgent=True).code == "must-wait"
    assert at.call("grid", "withdraw", proposal=proposal.tx.id).events("change_closed")[0]["reason"] == "expired"
    assert at.remove(by="grid", urgent=True).code == "must-wait"
    assert at.remove(by="dispatch").code == "ok"


# holds VM-13
@pytest.mark.parametrize(
    ("urgent", "against", "code"), [(False, (), "ok"), (False, ("dispatch",), "must-wait"), (True, (), "must-wait")]
)
def test_who_withdraws_waits_if_it_was_urgent_or_opposed(*, urgent: bool, against: tuple[str, ...], code: str) -> None:
    at = consortium(validator_wait_ms=20_000)
    proposal = at.remove(by="grid", urgent=urgent)
    at.vote(proposal, *against, in_favour=False)
    assert at.call("grid", "withdraw", proposal=proposal.tx.id).code == "ok"
    assert at.remove(by="grid").code == code


# holds VM-13
def test_who_was_displaced_or_whose_joiner_did_not_come_need_not_wait() -> None:
    at = consortium(validator_wait_ms=20_000)
    at.add(by="grid")
    urgent = at.remove(by="dispatch", urgent=True)
    at.call("dispatch", "withdraw", proposal=urgent.tx.id)
    proposal = at.add(by="grid", deadline_ms=GENESIS_MS + 10_000)
    assert proposal.code == "ok"
    at.vote(proposal, "regulator", "maker-a")
    at.pass_blocks(9)
    assert at.add(by="grid").event_types[:1] == ["change_closed"]


# holds VM-2
def test_changes_that_make_an_epoch_are_bounded_with_some_left_for_urgent_removals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validators, "EPOCHS_MAX", 4)
    monkeypatch.setattr(validators, "EPOCHS_RESERVED", 2)
    at = consortium()
    for member in ("maker-a", "regulator"):
        at.vote(at.remove(member), "dispatch", "regulator")
        at.pass_blocks(2)
    assert at.members == ["dispatch", "grid"]
    assert at.remove("dispatch").code == "too-many-changes"
    assert at.add().code == "too-many-changes"
    assert at.rotate().code == "too-many-changes"
    # an address is not in the set: no epoch begins
    same = {"new": "grid", "tls_certificate": certificate("grid"), "address": "grid.example:7400"}
    moved = at.rotate(**same)  # type: ignore[arg-type]
    assert codes(at.vote(moved, "dispatch")) == ["ok"]
    at.pass_blocks(2)
    urgent = at.remove("dispatch", urgent=True)
    assert codes(at.vote(urgent, "dispatch")) == ["ok"]
    assert at.members == ["grid"]


# holds VM-2
def test_changes_beyond_the_last_epoch_are_refused_even_urgent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validators, "EPOCHS_MAX", 1)
    monkeypatch.setattr(validators, "EPOCHS_RESERVED", 1)
    at = consortium()
    at.vote(at.remove(urgent=True), "dispatch", "regulator")
    at.pass_blocks(2)
    assert at.members == ["dispatch", "grid", "regulator"]
    assert at.remove("dispatch", urgent=True).code == "too-many-changes"


def test_who_proposed_may_withdraw() -> None:
    at = consortium()
    proposal = at.add()
    done = at.call("grid", "withdraw", proposal=proposal.tx.id)
    assert done.events("change_closed")[0]["reason"] == "withdrawn"


# holds VM-3
def test_gateway_of_who_proposed_may_not_withdraw() -> None:
    at = consortium()
    proposal = at.add()
    assert at.call("gw-1", "withdraw", proposal=proposal.tx.id).code == "not-yours"
