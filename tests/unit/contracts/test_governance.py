from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from master.contracts import corrections, governance, membership
from master.contracts.context import Reads
from master.contracts.corrections import Target
from master.contracts.governance_kinds import VOTERS_MAX, by_data_centre, by_role
from master.contracts.parameters import check_parameters
from master.ledger.call import StateReads
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import GENESIS_MS, Done, World, key_of, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.errors import FormatError
from wire.genesis import GenesisValidator
from wire.types import Digest, sha256

DEADLINE_MS = GENESIS_MS + 3_600_000
WEIGHTS = {"dispatch": 4, "regulator": 2, "grid": 1, "lab": 1, "lab-b": 1, "maker-a": 1, "maker-b": 1}
"""Of the organisations of the test ledger: 11 in all, 8 are due."""
TX = sha256(b"some transaction")


@dataclass
class Assembly:
    """A world and the calls of its organisations."""

    world: World

    def call(self, sender: str, method: str, **args: Value) -> Done:
        return self.world.call(sender, "governance", method, args)

    def propose(self, kind: str, body: Value, by: str = "dispatch", deadline_ms: int = DEADLINE_MS) -> Done:
        return self.call(by, "propose", kind=kind, body=body, deadline_ms=deadline_ms)

    def set(self, by: str = "dispatch", deadline_ms: int = DEADLINE_MS, **values: Value) -> Done:
        return self.propose("parameters", {"values": values}, by, deadline_ms)

    def vote(self, proposal: Done, *voters: str, in_favour: bool = True) -> list[Done]:
        return [self.call(voter, "vote", proposal=proposal.tx.id, in_favour=in_favour) for voter in voters]

    def accept(self, kind: str, body: Value) -> Done:
        """Propose, with all votes that it takes."""
        made = self.propose(kind, body)
        assert made.code == "ok"
        return self.vote(made, "regulator", "lab", "lab-b")[-1] if self.status(made) == "open" else made

    def status(self, proposal: Done) -> str:
        return self.proposal(proposal).status

    def proposal(self, proposal: Done) -> governance.Proposal:
        raw = self.world.state.get("governance", b"proposal/" + proposal.tx.id)
        assert raw is not None
        return governance.decode_proposal(proposal.tx.id, cbor.decode(raw))

    @property
    def state(self) -> Reads:
        return StateReads(Overlay(self.world.state))

    def parameter(self, name: str) -> int:
        return membership.integer_parameter(self.state, name)

    def pass_blocks(self, count: int) -> None:
        for _ in range(count):
            self.world.run()


def assembly(**parameters: Value) -> Assembly:
    return Assembly(World(make_genesis(dict(parameters))))


def codes(done: list[Done]) -> list[str]:
    return [entry.code for entry in done]


# ---- proposing and voting ------------------------------------------------------------------------


# holds GV-1 GV-3
def test_parameters_change_with_the_vote_that_makes_enough_weight_and_not_before() -> None:
    room = assembly()
    made = room.set(stale_ms=60_000)
    assert (made.code, made.event_types) == ("ok", ["proposal_made"])
    (told,) = made.events("proposal_made")
    weights = [told[f"weight_{name}"] for name in ("in_favour", "against", "total", "due")]
    assert weights == [4, 0, sum(WEIGHTS.values()), 8]
    assert codes(room.vote(made, "regulator", "lab")) == ["ok", "ok"]
    assert (room.status(made), room.parameter("stale_ms")) == ("open", 1_800_000)
    last = room.vote(made, "maker-a")[0]
    assert last.event_types == ["proposal_voted", "proposal_accepted"]
    assert ("membership", b"parameter/stale_ms") in last.written
    assert (room.status(made), room.parameter("stale_ms")) == ("accepted", 60_000)
    assert room.proposal(made).height == room.world.head.height


# holds GV-3
def test_proposal_that_cannot_get_enough_any_more_is_rejected_and_changes_nothing() -> None:
    room = assembly()
    made = room.set("lab", stale_ms=60_000)
    last = room.vote(made, "dispatch", in_favour=False)[0]
    assert last.events("proposal_closed") == [{"proposal": made.tx.id, "reason": "rejected"}]
    assert room.status(made) == "rejected"
    assert codes(room.vote(made, "regulator")) == ["closed"]
    assert room.parameter("stale_ms") == 1_800_000


# holds GV-2
def test_organisation_votes_once_itself_and_only_where_it_has_a_say() -> None:
    room = assembly(weight_grid_company=0)
    made = room.set(stale_ms=60_000)
    assert codes(room.vote(made, "dispatch")) == ["voted"]
    assert codes(room.vote(made, "regulator", "regulator", "grid", "gw-1")) == ["ok", "voted", "no-say", "no-say"]
    assert room.set("grid", stale_ms=1000).code == "no-say"
    assert room.set("gw-1", stale_ms=1000).code == "no-say"
    # where the organisation has a say, its gateway has none, nor may it take back what the organisation proposed
    other = assembly()
    own = other.set("grid", stale_ms=60_000)
    assert codes(other.vote(other.set(stale_ms=60_000), "gw-1", "gw-2")) == ["no-say", "no-say"]
    assert other.set("gw-1", stale_ms=1000).code == "no-say"
    assert other.call("gw-1", "withdraw", proposal=own.tx.id).code == "not-yours"
    assert other.status(own) == "open"


# holds GV-2
def test_votes_weigh_what_their_organisations_weigh_when_they_are_counted() -> None:
    room = assembly()
    made = room.set(stale_ms=60_000)
    room.vote(made, "lab", "lab-b")
    assert room.status(made) == "open"
    other = room.set(weight_laboratory=4)
    room.vote(other, "regulator", "maker-a", "maker-b")
    assert room.status(other) == "accepted"
    counted = room.call("gw-2", "count", proposal=made.tx.id)
    assert counted.event_types == ["proposal_accepted"]
    assert room.parameter("stale_ms") == 60_000


# holds GV-2
def test_vote_of_an_organisation_without_weight_any_more_counts_for_nothing() -> None:
    room = assembly(parameters_votes_percent=51)
    made = room.set("lab", stale_ms=60_000)
    room.vote(made, "lab-b", "maker-a", "maker-b")
    room.vote(room.set(weight_manufacturer=0, weight_laboratory=0), "regulator")
    assert room.parameter("weight_laboratory") == 0
    assert room.call("lab", "count", proposal=made.tx.id).code == "ok"
    assert room.status(made) == "open"
    last = room.vote(made, "dispatch")[0]
    told = last.events("proposal_voted")[0]
    assert (told["weight_in_favour"], told["weight_due"], told["weight_total"]) == (4, 4, 7)
    assert room.status(made) == "accepted"


# holds GV-2
def test_who_suspends_the_others_does_not_decide_for_them() -> None:
    room = assembly()
    others = [name for name in WEIGHTS if name != "dispatch"]
    made = room.set("lab", stale_ms=60_000)
    for name in others:
        args: dict[str, Value] = {"account": name, "until_ms": None, "reason": "so"}
        assert room.world.call("dispatch", "membership", "suspend", args).code == "ok"
    told = room.vote(made, "dispatch")[0].events("proposal_voted")[0]
    assert (told["weight_in_favour"], told["weight_due"], told["weight_total"]) == (4, 8, 11)
    assert room.status(made) == "open"
    assert by_data_centre(room.state) == {"dispatch": 1}


# holds GV-4
def test_proposal_counts_up_to_its_deadline_and_not_after() -> None:
    room = assembly()
    made, late = (room.set(deadline_ms=GENESIS_MS + 3000, stale_ms=60_000) for _ in range(2))
    assert codes(room.vote(made, "regulator")) == ["ok"]
    assert room.world.head.time_ms == GENESIS_MS + 3000
    assert codes(room.vote(late, "regulator")) == ["expired"]
    closed = room.call("gw-1", "count", proposal=late.tx.id)
    assert closed.events("proposal_closed") == [{"proposal": late.tx.id, "reason": "expired"}]
    assert room.status(late) == "expired"


# holds GV-1
@pytest.mark.parametrize("deadline_ms", [GENESIS_MS + 1000, GENESIS_MS + 1001 + 30 * 86_400_000])
def test_deadline_that_is_past_or_too_far_off_is_refused(deadline_ms: int) -> None:
    assert assembly().set(deadline_ms=deadline_ms, stale_ms=60_000).code == "bad-deadline"


# holds GV-4
def test_own_proposal_is_withdrawn_and_no_other() -> None:
    room = assembly()
    made = room.set(stale_ms=60_000)
    assert room.call("lab", "withdraw", proposal=made.tx.id).code == "not-yours"
    gone = room.call("dispatch", "withdraw", proposal=made.tx.id)
    assert gone.events("proposal_closed") == [{"proposal": made.tx.id, "reason": "withdrawn"}]
    assert room.call("dispatch", "withdraw", proposal=made.tx.id).code == "closed"
    short = room.set(deadline_ms=room.world.head.time_ms + 1001, stale_ms=60_000)
    room.pass_blocks(1)
    assert room.call("dispatch", "withdraw", proposal=short.tx.id).events("proposal_closed")[0]["reason"] == "expired"


# holds GV-5
def test_open_proposals_are_bounded_for_each_and_in_all_until_they_end() -> None:
    room = assembly(proposals_each_max=2, proposals_open_max=3)
    short = room.set("lab", GENESIS_MS + 5000, stale_ms=60_000)
    mine = [room.set(stale_ms=60_000) for _ in range(3)]
    assert codes(mine) == ["ok", "ok", "too-many"]
    assert room.set("regulator", stale_ms=60_000).code == "too-many"
    room.pass_blocks(1)
    swept = room.set("regulator", stale_ms=60_000)
    assert swept.event_types == ["proposal_closed", "proposal_made"]
    assert room.status(short) == "expired"
    room.call("dispatch", "withdraw", proposal=mine[0].tx.id)
    assert room.set(stale_ms=60_000).code == "ok"
    assert len(list(room.world.state.scan("governance", b"open/"))) == 3


# holds GV-5
def test_one_organisation_has_its_share_of_the_open_proposals_and_no_more() -> None:
    room = assembly(proposals_each_max=1)
    assert codes([room.set(stale_ms=60_000), room.set(stale_ms=60_000), room.set("lab", stale_ms=60_000)]) == [
        "ok",
        "too-many",
        "ok",
    ]


# holds GV-1
@pytest.mark.parametrize(
    ("method", "args", "code"),
    [
        ("propose", {"kind": "parameters", "body": {}}, "bad-args"),
        ("propose", {"kind": 1, "body": {}, "deadline_ms": DEADLINE_MS}, "bad-args"),
        ("propose", {"kind": "parameters", "body": [], "deadline_ms": DEADLINE_MS}, "bad-args"),
        ("propose", {"kind": "parameters", "body": {}, "deadline_ms": "soon"}, "bad-args"),
        ("propose", {"kind": "war", "body": {}, "deadline_ms": DEADLINE_MS}, "unknown-kind"),
        (
            "propose",
            {"kind": "parameters", "body": {"values": {"a": "b" * 8192}}, "deadline_ms": DEADLINE_MS},
            "bad-body",
        ),
        ("vote", {"proposal": TX}, "bad-args"),
        ("vote", {"proposal": TX, "in_favour": 1}, "bad-args"),
        ("vote", {"proposal": b"", "in_favour": True}, "bad-args"),
        ("vote", {"proposal": TX, "in_favour": True}, "no-such-proposal"),
        ("withdraw", {}, "bad-args"),
        ("withdraw", {"proposal": TX}, "no-such-proposal"),
        ("count", {}, "bad-args"),
        ("count", {"proposal": TX}, "no-such-proposal"),
    ],
)
def test_call_that_cannot_be_is_refused_and_writes_nothing(method: str, args: dict[str, Value], code: str) -> None:
    done = assembly().call("dispatch", method, **args)
    assert (done.code, done.outcome.events) == (code, ())
    assert {namespace for namespace, _ in done.written} == {"sequence"}


# holds GV-2
def test_electorate_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.contracts.governance_kinds.VOTERS_MAX", 3)
    assert len(by_role(assembly().state)) == 3
    assert VOTERS_MAX == 4096


def test_proposal_entry_of_another_form_is_refused() -> None:
    with pytest.raises(FormatError):
        governance.decode_proposal(TX, {"kind": "parameters"})


# ---- parameters ----------------------------------------------------------------------------------


# holds GV-6
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "bad-body"),
        ({"values": {}}, "bad-body"),
        ({"values": []}, "bad-body"),
        ({"values": {"stale_ms": 60_000}, "why": "so"}, "bad-body"),
        ({"values": {f"name_{number}": 1 for number in range(17)}}, "bad-body"),
        ({"values": {"stale_ms": 1}}, "bad-value"),
        ({"values": {"stale_s": 60}}, "bad-value"),
        ({"values": {"endorser_roles": ["laboratory"]}}, "bad-value"),
        ({"values": {"weight_dispatch_centre": 0}}, "bad-value"),
    ],
)
def test_parameters_that_cannot_be_are_refused_when_they_are_proposed(body: dict[str, Value], code: str) -> None:
    assert assembly().propose("parameters", body).code == code


# holds GV-6
def test_parameters_of_every_form_are_what_contracts_go_by_from_the_next_call_on() -> None:
    room = assembly()
    values: dict[str, Value] = {
        "clock_policy": "synchronised",
        "endorser_roles": ["manufacturer", "regulator"],
        "proposal_deadline_ms_max": 60_000,
    }
    check_parameters(values)
    room.accept("parameters", {"values": values})
    assert membership.clock_policy(room.state) == "synchronised"
    assert membership.endorser_roles(room.state) == ("manufacturer", "regulator")
    assert room.set(deadline_ms=room.world.head.time_ms + 61_001, stale_ms=60_000).code == "bad-deadline"
    assert room.set(deadline_ms=room.world.head.time_ms + 61_000, stale_ms=60_000).code == "ok"


# ---- corrections ---------------------------------------------------------------------------------


def data_centres(*names: str) -> Assembly:
    genesis = make_genesis()
    voters = tuple(
        GenesisValidator(name, key_of(name + " vote").verify_key.encode(), name.encode()) for name in sorted(names)
    )
    room = Assembly(World(replace(genesis, validators=voters)))
    assert room.world.call("lab", "notary", "put", {"key": "k", "data": b"right"}).code == "ok"
    return room


def correction(target: Value, before: Value, after: Value, **changes: Value) -> dict[str, Value]:
    return {
        "target": target,
        "old": cbor.encode(before),
        "new": cbor.encode(after),
        "reason": "typing error",
        **changes,
    }


ENTRY: dict[str, Value] = {"namespace": "notary", "key": b"lab/k"}


def standing(room: Assembly) -> Value:
    raw = room.world.state.get("notary", b"lab/k")
    assert raw is not None
    return cbor.decode(raw)


# holds GV-10 GV-11
def test_correction_is_decided_by_the_share_of_data_centres_and_stands_beside_the_entry() -> None:
    room = data_centres("dispatch", "grid", "regulator", "maker-a")
    assert by_data_centre(room.state) == dict.fromkeys(("dispatch", "grid", "maker-a", "regulator"), 1)
    before = standing(room)
    made = room.propose("correction", correction(ENTRY, before, "better"), "maker-a")
    assert codes(room.vote(made, "lab")) == ["no-say"]
    room.vote(made, "grid")
    assert corrections.corrected(room.state, "notary", b"lab/k") == before
    last = room.vote(made, "regulator")[0]
    assert last.event_types == ["proposal_voted", "proposal_accepted", "data_corrected"]
    assert {name for name, _ in last.written} == {"governance", "sequence"}, "it is never an edit"
    assert standing(room) == before
    assert corrections.corrected(room.state, "notary", b"lab/k") == "better"
    (told,) = last.events("data_corrected")
    assert isinstance(before, dict)
    assert (told["old"], told["new"]) == (cbor.encode(before), cbor.encode("better"))
    assert (told["reason"], told["proposal"], told["number"]) == ("typing error", made.tx.id, 1)
    assert (told["target"], told["supersedes"]) == (ENTRY, None)


# holds GV-11
def test_correction_of_a_correction_supersedes_it_and_starts_from_what_counts_now() -> None:
    room = data_centres("dispatch")
    before = standing(room)
    first = room.propose("correction", correction(ENTRY, before, "better"))
    assert room.propose("correction", correction(ENTRY, before, "best")).code == "wrong-old"
    second = room.propose("correction", correction(ENTRY, "better", "best"))
    (told,) = second.events("data_corrected")
    assert (told["supersedes"], told["number"]) == (first.tx.id, 2)
    assert corrections.corrected(room.state, "notary", b"lab/k") == "best"
    found = corrections.newest(room.state, Target(None, "notary", b"lab/k"))
    assert found is not None
    assert found["proposal"] == second.tx.id


# holds GV-11
def test_correction_ends_where_the_entry_itself_changes() -> None:
    room = data_centres("dispatch")
    target: dict[str, Value] = {"namespace": "membership", "key": b"parameter/stale_ms"}
    assert room.propose("correction", correction(target, 5, 6)).code == "no-such-entry"
    room.set(stale_ms=60_000)
    room.vote(room.set(stale_ms=60_000), "regulator", "lab", "lab-b")
    assert room.propose("correction", correction(target, 60_000, 70_000)).code == "ok"
    assert corrections.corrected(room.state, "membership", b"parameter/stale_ms") == 70_000
    room.vote(room.set(stale_ms=80_000), "regulator", "lab", "lab-b")
    assert corrections.corrected(room.state, "membership", b"parameter/stale_ms") == 80_000
    assert corrections.corrected(room.state, "membership", b"nothing") is None


# holds GV-12
def test_correction_of_a_transaction_names_it_and_the_next_one_starts_from_it() -> None:
    room = data_centres("dispatch")
    first = room.propose("correction", correction({"tx": TX}, 490, 480))
    (told,) = first.events("data_corrected")
    assert (told["target"], told["stood"]) == ({"tx": TX}, None)
    assert room.propose("correction", correction({"tx": TX}, 490, 470)).code == "wrong-old"
    assert room.propose("correction", correction({"tx": TX}, 480, 470)).code == "ok"
    found = corrections.newest(room.state, Target(TX, None, None))
    assert found is not None
    assert found["new"] == cbor.encode(470)


# holds GV-3 GV-10
def test_correction_whose_old_value_is_overtaken_before_it_is_decided_is_closed() -> None:
    room = data_centres("dispatch", "grid", "regulator")
    before = standing(room)
    slow = room.propose("correction", correction(ENTRY, before, "better"))
    fast = room.propose("correction", correction(ENTRY, before, "other"))
    room.vote(fast, "grid", "regulator")
    last = room.vote(slow, "grid", "regulator")[-1]
    assert last.events("proposal_closed") == [{"proposal": slow.tx.id, "reason": "wrong-old"}]
    assert room.status(slow) == "wrong-old"
    assert corrections.corrected(room.state, "notary", b"lab/k") == "other"


# holds GV-10
@pytest.mark.parametrize(
    "body",
    [
        correction({"tx": TX}, 1, 1),
        correction({"tx": b""}, 1, 2),
        correction({"tx": TX, "key": b"k"}, 1, 2),
        correction({"namespace": "notary", "key": b""}, 1, 2),
        correction({"namespace": "No", "key": b"k"}, 1, 2),
        correction(TX, 1, 2),
        correction({"tx": TX}, 1, 2, reason=""),
        correction({"tx": TX}, 1, 2, reason="x" * 257),
        correction({"tx": TX}, 1, 2, new=b"\xff"),
        correction({"tx": TX}, 1, 2, new=cbor.encode(bytes(2048))),
        {"target": {"tx": TX}},
    ],
)
def test_correction_of_another_form_is_refused(body: dict[str, Any]) -> None:
    assert data_centres("dispatch").propose("correction", body).code == "bad-body"


def identifiers(room: Assembly) -> set[Digest]:
    return {key for key, _ in room.world.state.scan("governance", b"correction/")}


def test_corrections_of_different_targets_do_not_meet() -> None:
    room = data_centres("dispatch")
    for tx in (TX, sha256(TX)):
        assert room.propose("correction", correction({"tx": tx}, 1, 2)).code == "ok"
    assert len(identifiers(room)) == 2
