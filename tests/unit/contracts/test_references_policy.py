"""Endorsement policies: who is asked for, and who does not count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from master.contracts.parameters import DAY_MS
from master.contracts.references import REFERENCES
from master.contracts.references_policy import decode_policy, decode_policy_change, default_policy
from master.ledger.call import StateReads
from tests.unit.contracts.direct import DirectLedger
from tests.unit.contracts.reports import endorse, lab_test, release, submit
from tests.unit.ledger.worlds import World, make_genesis
from wire.cbor import Value
from wire.errors import FormatError
from wire.genesis import Genesis, Organisation
from wire.release import Release
from wire.types import sha256

ROLES = {"laboratory": 1, "manufacturer": 1, "regulator": 1}


def policy(roles: Mapping[str, int], due: int | None = None, *excluded: str) -> dict[str, Value]:
    return {
        "roles": [{"role": role, "count": roles[role]} for role in sorted(roles)],
        "endorsements_due": sum(roles.values()) if due is None else due,
        "excluded": list(excluded),
    }


def change(body_policy: Value, *, device: str | None = None, model: str | None = None, kind: Value = None) -> Value:
    target: Value = None if device is None and model is None else {"device": device, "model": model}
    return {"target": target, "kind": kind, "policy": body_policy}


def jurisdiction(**parents: str) -> Genesis:
    """Return the test's consortium with who is in whose jurisdiction, and two regulators more."""
    known = make_genesis()
    extra = (Organisation("office-a", "regulator"), Organisation("office-b", "regulator"))
    named = {entry.id: entry for entry in (*known.organisations, *extra)}
    for name, parent in parents.items():
        named[name.replace("_", "-")] = replace(named[name.replace("_", "-")], parent=parent)
    return replace(known, organisations=tuple(named[name] for name in sorted(named)))


class Bench:
    """A release on its way, under policies that were decided before."""

    def __init__(self, *changes: Value, genesis: Genesis | None = None) -> None:
        self.ledger = DirectLedger(REFERENCES, make_genesis() if genesis is None else genesis)
        for body in changes:
            found = decode_policy_change(body)
            assert found.policy is not None
            self.ledger.put("references", found.key, found.policy.to_value())

    def submit(self, made: Release) -> Value:
        code, events = self.ledger.call(made.manufacturer, "submit", {"release": made.encode()})
        assert code == "ok"
        return events[-1].data["missing"]

    def test(self, made: Release, sender: str = "lab") -> str:
        args: dict[str, Value] = {"release": made.digest(), "report": sha256(b"report"), "verdict": "pass"}
        return self.ledger.call(sender, "test", args)[0]

    def endorse(self, made: Release, sender: str) -> str:
        return self.ledger.call(sender, "endorse", {"release": made.digest(), "report": None})[0]

    def is_effective(self, made: Release) -> bool:
        (value,) = self.ledger.entries(b"release/" + made.digest()).values()
        assert isinstance(value, dict)
        return value["status"] == "effective"


# which policy


# holds RF-3
def test_policy_without_any_other_is_that_of_the_parameters() -> None:
    assert default_policy(StateReads(World().state)).to_value() == policy(ROLES)
    genesis = make_genesis({"endorser_roles": ["manufacturer", "regulator"], "endorser_excluded": ["owner-of-device"]})
    found = default_policy(StateReads(World(genesis).state))
    assert found.to_value() == policy({"manufacturer": 1, "regulator": 1}, 2, "owner-of-device")
    genesis = make_genesis({"endorser_excluded": ["same-organisation"]})
    found = default_policy(StateReads(World(genesis).state))
    assert found.to_value() == policy({**ROLES, "manufacturer": 0}, 2, "same-organisation")


MODEL, DEVICE = {"model": "SC-2"}, {"device": "dev-1"}


# holds RF-3
@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ([], 3),
        ([({}, None, 4)], 4),
        ([({}, None, 4), ({}, "firmware", 5)], 5),
        ([({}, None, 4), ({}, "settings", 5)], 4),
        ([({}, "firmware", 5), (MODEL, None, 6)], 6),
        ([(MODEL, None, 6), (MODEL, "firmware", 7)], 7),
        ([(MODEL, "firmware", 7), (DEVICE, None, 8)], 8),
        ([(DEVICE, None, 8), (DEVICE, "firmware", 9)], 9),
        ([({"device": "dev-2"}, None, 8), ({"model": "XR/7"}, None, 9)], 3),
    ],
)
def test_policy_about_most_goes_first(changes: list[tuple[dict[str, str], Value, int]], due: int) -> None:
    bench = Bench(*(change(policy(ROLES, number), kind=kind, **target) for target, kind, number in changes))
    made = release(device="dev-1", firmware=b"1")
    bench.submit(made)
    (record,) = bench.ledger.entries(b"release/").values()
    assert isinstance(record, dict)
    assert record["policies"] == [{"kinds": ["firmware"], **policy(ROLES, due)}]


# holds RF-3
def test_policy_of_each_kind_in_a_release_must_be_fulfilled() -> None:
    bench = Bench(change(policy({**ROLES, "regulator": 2}), kind="firmware"), genesis=jurisdiction())
    both, settings = release(firmware=b"1", strategy=b"1"), release("r-2", settings=b"1")
    assert bench.submit(both) == [{"role": "laboratory", "count": 1}, {"role": "regulator", "count": 2}]
    bench.submit(settings)
    for made in (both, settings):
        assert bench.test(made) == bench.endorse(made, "regulator") == "ok"
    assert (bench.is_effective(both), bench.is_effective(settings)) == (False, True)
    assert bench.endorse(both, "office-a") == "ok"
    assert bench.is_effective(both)


# holds RF-3
def test_policy_that_changes_later_is_not_that_of_a_release_already_submitted() -> None:
    bench, made = Bench(), release()
    bench.submit(made)
    found = decode_policy_change(change(policy(ROLES, 5)))
    assert found.policy is not None
    bench.ledger.put("references", found.key, found.policy.to_value())
    assert bench.test(made) == bench.endorse(made, "regulator") == "ok"
    assert bench.is_effective(made)


def decide(world: World, body: Value, kind: str = "endorsement-policy") -> list[str]:
    """Propose and vote, and return the events of the last vote; or the code of a proposal that is refused."""
    args: dict[str, Value] = {"kind": kind, "body": body, "deadline_ms": world.head.time_ms + 3_600_000}
    made = world.call("dispatch", "governance", "propose", args)
    if made.code != "ok":
        return [made.code]
    for voter in ("regulator", "lab", "maker-a"):
        last = world.call(voter, "governance", "vote", {"proposal": made.tx.id, "in_favour": True})
    return last.event_types


# holds RF-3
def test_policy_is_changed_and_removed_by_vote() -> None:
    world = World()
    looser = policy({"manufacturer": 1, "regulator": 1})
    told = ["proposal_voted", "proposal_accepted", "policy_changed"]
    assert decide(world, change(looser, model="SC-2", kind="firmware")) == told
    made = release(firmware=b"1")
    submit(world, made)
    assert endorse(world, "regulator", made.digest()).events("release_effective")
    assert decide(world, change(None, model="SC-2", kind="firmware")) == told
    made = release("r-2", firmware=b"2")
    submit(world, made)
    assert not endorse(world, "regulator", made.digest()).events("release_effective")
    assert decide(world, {"values": {"stale_ms": 60_000}}, "parameters") == told[:2]


@pytest.mark.parametrize("body", [{}, change({}), change({**policy(ROLES), "endorsements_due": 1})])
def test_policy_that_is_none_cannot_be_proposed(body: Value) -> None:
    assert decide(World(), body) == ["bad-body"]


# k of n


# holds RF-4
def test_policy_of_k_of_n_counts_any_of_its_roles_beyond_the_least_numbers() -> None:
    bench = Bench(change(policy({**ROLES, "grid-company": 0}, 5)), genesis=jurisdiction())
    made = release()
    assert bench.submit(made) == [
        {"role": "laboratory", "count": 1},
        {"role": "regulator", "count": 1},
        {"role": None, "count": 2},
    ]
    assert bench.test(made) == bench.endorse(made, "grid") == bench.endorse(made, "regulator") == "ok"
    assert not bench.is_effective(made)
    assert bench.endorse(made, "dispatch") == "wrong-role"
    assert bench.endorse(made, "office-b") == "ok"
    assert bench.is_effective(made)


# holds RF-4
def test_endorsement_of_an_organisation_that_is_suspended_since_does_not_count() -> None:
    bench, made = Bench(), release()
    bench.submit(made)
    assert bench.test(made) == "ok"
    suspended: Value = {"until_ms": None, "by": "dispatch", "reason": "", "height": 1}
    bench.ledger.put("membership", b"suspended/lab", suspended)
    assert bench.endorse(made, "regulator") == "ok"
    assert not bench.is_effective(made)
    assert bench.test(made, "lab") == "wrong-role"
    assert bench.test(made, "lab-b") == "ok"
    assert bench.is_effective(made)


# relations


# holds RF-5
def test_policy_may_keep_the_owner_of_a_device_from_endorsing() -> None:
    rule = change(policy({**ROLES, "grid-company": 1}, 4, "owner-of-device"))
    bench, made = Bench(rule), release(device="dev-1", firmware=b"1")
    bench.submit(made)
    assert bench.endorse(made, "grid") == "excluded"
    foreign = replace(make_genesis().stations[0], organisation="dispatch")
    genesis = make_genesis()
    genesis = replace(genesis, stations=(foreign, genesis.stations[1]))
    elsewhere = Bench(rule, genesis=genesis)
    elsewhere.submit(made)
    assert elsewhere.endorse(made, "grid") == "ok"
    # for a model, the owner of any device of it
    of_all = release("r-2", firmware=b"1")
    elsewhere.submit(of_all)
    assert elsewhere.endorse(of_all, "grid") == "excluded"


# holds RF-5
def test_policy_may_keep_those_under_the_owner_of_a_device_from_endorsing() -> None:
    rule = change(policy(ROLES, 3, "under-jurisdiction-of-target"))
    genesis = jurisdiction(office_a="dispatch")
    genesis = replace(genesis, stations=tuple(replace(one, organisation="dispatch") for one in genesis.stations))
    bench, made = Bench(rule, genesis=genesis), release()
    bench.submit(made)
    assert bench.endorse(made, "office-a") == "excluded"
    assert bench.endorse(made, "office-b") == "ok"


# holds RF-5
def test_policy_may_keep_the_manufacturer_itself_from_counting() -> None:
    rule = change(policy({**ROLES, "manufacturer": 0, "regulator": 1}, 2, "same-organisation"))
    bench, made = Bench(rule), release()
    assert bench.submit(made) == [{"role": "laboratory", "count": 1}, {"role": "regulator", "count": 1}]
    (record,) = bench.ledger.entries(b"release/").values()
    assert isinstance(record, dict)
    assert record["endorsements"] == []
    assert bench.test(made) == bench.endorse(made, "regulator") == "ok"
    assert bench.is_effective(made)


# holds RF-5
def test_endorsement_of_a_party_that_came_too_close_since_does_not_count() -> None:
    rule = change(policy({**ROLES, "grid-company": 1}, 4, "owner-of-device"))
    genesis = make_genesis()
    genesis = replace(genesis, stations=tuple(replace(one, organisation="dispatch") for one in genesis.stations))
    bench, made = Bench(rule, genesis=genesis), release(device="dev-1", firmware=b"1")
    bench.submit(made)
    assert bench.endorse(made, "grid") == "ok"
    bench.ledger.sell("st-1", "grid")
    assert bench.test(made) == bench.endorse(made, "regulator") == "ok"
    assert not bench.is_effective(made)


# holds RF-5
@pytest.mark.parametrize("relation", ["owner-of-device", "under-jurisdiction-of-target"])
@pytest.mark.parametrize("device", ["dev-1", None])
def test_owner_that_hands_its_device_over_for_the_vote_stays_excluded(relation: str, device: str | None) -> None:
    rule = change(policy({**ROLES, "grid-company": 0}, 4, relation))
    bench = Bench(rule, genesis=jurisdiction(grid="dispatch") if relation.startswith("under") else make_genesis())
    owner, friend = "dispatch" if relation.startswith("under") else "grid", "maker-b"
    for number in (1, 2):
        bench.ledger.sell(f"st-{number}", owner)
    made = release(device=device, firmware=b"1")
    bench.submit(made)
    bench.ledger.block()
    for number in (1, 2):
        bench.ledger.sell(f"st-{number}", friend)
    assert bench.endorse(made, "grid") == "excluded"
    assert bench.test(made) == bench.endorse(made, "regulator") == "ok"
    assert not bench.is_effective(made)


# holds RF-5
@pytest.mark.parametrize(("waited_ms", "code"), [(0, "excluded"), (90 * DAY_MS, "excluded"), (90 * DAY_MS + 1, "ok")])
@pytest.mark.parametrize("relation", ["owner-of-device", "under-jurisdiction-of-target"])
@pytest.mark.parametrize("device", ["dev-1", None])
def test_owner_that_handed_its_device_over_not_long_before_is_excluded(
    waited_ms: int, code: str, relation: str, device: str | None
) -> None:
    bench = former(relation)
    bench.ledger.time_ms += waited_ms
    made = release(device=device, firmware=b"1")
    bench.submit(made)
    # it counts from when the release was submitted, not from when somebody votes
    bench.ledger.time_ms += 100 * DAY_MS
    assert bench.endorse(made, "grid") == code


# holds RF-5
def test_owner_that_gave_its_device_up_is_excluded_as_long_as_the_ledger_says() -> None:
    for wait_ms, code in ((0, "ok"), (2000, "excluded")):
        bench = former("owner-of-device", {"former_owner_ms": wait_ms})
        bench.ledger.block()
        made = release(device="dev-1", firmware=b"1")
        bench.submit(made)
        assert bench.endorse(made, "grid") == code


def former(relation: str, parameters: dict[str, Value] | None = None) -> Bench:
    """Return a bench where who was related to all devices handed them over a moment ago."""
    rule = change(policy({**ROLES, "grid-company": 0}, 4, relation))
    under = relation.startswith("under")
    genesis = jurisdiction(grid="dispatch") if under else make_genesis()
    bench = Bench(rule, genesis=replace(genesis, parameters=parameters or {}))
    for owner in ("dispatch" if under else "grid", "maker-b"):
        for number in (1, 2):
            bench.ledger.sell(f"st-{number}", owner)
    return bench


# holds RF-5
def test_operator_of_an_excluded_owner_cannot_endorse_either() -> None:
    rule = change(policy({**ROLES, "grid-company": 0}, 3, "owner-of-device"))
    bench, made = Bench(rule), release(device="dev-1", firmware=b"1")
    bench.ledger.put("membership", b"operator/shift", {"organisation": "grid"})
    bench.submit(made)
    for sender, code in (("grid", "excluded"), ("shift", "wrong-role"), ("gw-1", "wrong-role")):
        assert bench.endorse(made, sender) == code
        args: dict[str, Value] = {"release": made.digest(), "reason": "mine"}
        assert bench.ledger.call(sender, "revoke", args)[0] == "wrong-role"


def test_laboratory_that_is_excluded_can_neither_pass_nor_fail_a_release() -> None:
    rule = change(policy(ROLES, 3, "owner-of-device"))
    genesis = make_genesis()
    genesis = replace(genesis, stations=tuple(replace(one, organisation="lab") for one in genesis.stations))
    bench, made = Bench(rule, genesis=genesis), release()
    bench.submit(made)
    assert bench.test(made) == "excluded"
    args: dict[str, Value] = {"release": made.digest(), "report": sha256(b"report"), "verdict": "fail"}
    assert bench.ledger.call("lab", "test", args)[0] == "excluded"
    assert bench.test(made, "lab-b") == "ok"


def test_exclusions_of_the_genesis_file_hold_in_a_ledger() -> None:
    world, made = World(make_genesis({"endorser_excluded": ["same-organisation"]})), release()
    assert submit(world, made).event_types == ["release_submitted"]
    assert lab_test(world, made.digest()).code == "ok"
    done = endorse(world, "regulator", made.digest())
    assert done.event_types == ["release_endorsed", "release_effective"]


# what is a policy


GOOD = policy(ROLES, 3, "owner-of-device")


def test_policy_round_trips() -> None:
    assert decode_policy(GOOD).to_value() == GOOD


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"more": 1}, "more"),
        ({"roles": [{"role": "pirate", "count": 1}]}, "policy.roles.role"),
        ({"roles": [{"role": "laboratory", "count": 17}]}, "policy.roles.count"),
        ({"roles": [{"role": "laboratory", "count": 1}] * 2}, "not sorted or not unique"),
        ({"endorsements_due": 2}, "the roles alone ask for 3"),
        ({"endorsements_due": 65}, "policy.endorsements_due"),
        ({"excluded": ["friends"]}, "policy.excluded: of owner-of-device"),
        ({"excluded": ["owner-of-device", "owner-of-device"]}, "not sorted or not unique"),
        ({"excluded": ["same-organisation"]}, "the release's own manufacturer"),
        ({"roles": [{"role": "manufacturer", "count": 2}]}, "the release's own manufacturer"),
        ({"roles": [{"role": "manufacturer", "count": 1}]}, "nobody could fulfil it"),
        ({"roles": [], "endorsements_due": 1}, "nobody could fulfil it"),
    ],
)
def test_policy_that_is_none_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_policy({**GOOD, **fields})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"policy": GOOD}, "endorsement policy"),
        (change(GOOD, kind="manual"), "endorsement policy.kind"),
        ({"kind": None, "policy": GOOD, "target": {"device": "d", "model": "m"}}, "either a device or a model"),
        ({"kind": None, "policy": GOOD, "target": {"device": None, "model": None}}, "either a device or a model"),
        (change(GOOD, device="DEV"), "endorsement policy.target.device"),
        (change({}), "policy"),
    ],
)
def test_policy_change_that_is_none_is_refused(body: Value, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_policy_change(body)


def test_policy_change_to_none_names_the_entry_that_goes() -> None:
    assert decode_policy_change(change(None, kind="firmware")).policy is None
