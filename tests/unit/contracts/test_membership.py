from __future__ import annotations

from dataclasses import replace

import pytest

from master.contracts import membership, parameters
from master.contracts.context import Refused
from master.ledger.call import CallContext, StateReads, Surroundings
from master.ledger.genesis import genesis_writes
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import MemoryState, World, key_of, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.cose import kid_of
from wire.errors import FormatError
from wire.genesis import AccountKey, Device, Gateway, Genesis, Organisation, Station


def state(changes: dict[str, Value] | None = None) -> StateReads:
    return StateReads(MemoryState(genesis_writes(make_genesis(changes))))


def test_membership_finds_what_the_genesis_file_names() -> None:
    reads, key = state(), key_of("gw-1").verify_key.encode()
    assert membership.account_key(reads, kid_of(key)) == AccountKey(key, "gw-1", "grid")
    assert membership.organisation(reads, "lab") == Organisation("lab", "laboratory")
    assert membership.gateway(reads, "gw-2") == Gateway("gw-2", "st-2")
    assert membership.device(reads, "dev-4") == Device("dev-4", "gw-2", "maker-b", "XR/7", "")
    assert list(membership.devices_of_model(reads, "SC-2")) == ["dev-1", "dev-2", "dev-3"]


def test_membership_does_not_find_what_the_genesis_file_does_not_name() -> None:
    reads = state()
    assert membership.account_key(reads, bytes(16)) is None
    assert membership.organisation(reads, "gw-1") is None
    assert membership.gateway(reads, "lab") is None
    assert membership.device(reads, "dev-9") is None
    assert list(membership.devices_of_model(reads, "SC")) == []


def jurisdiction() -> Genesis:
    """Return a consortium with a sub-centre under the dispatch centre, two agencies below it, and a plant there."""
    made = make_genesis()
    tree = {
        "dispatch": None,
        "sub-east": "dispatch",
        "county": "sub-east",
        "town": "county",
        "plant": "town",
        "grid": "sub-east",
    }
    roles = {entry.id: entry.role for entry in made.organisations}
    roles |= {"sub-east": "sub-centre", "county": "agency", "town": "agency", "plant": "plant"}
    return replace(made, organisations=tuple(Organisation(name, roles[name], tree.get(name)) for name in sorted(roles)))


def of(genesis: Genesis) -> StateReads:
    return StateReads(MemoryState(genesis_writes(genesis)))


def suspended(until_ms: int | None, *accounts: str) -> StateReads:
    """Return the state of the consortium with some accounts suspended."""
    kept = MemoryState(genesis_writes(make_genesis()))
    record: dict[str, Value] = {"until_ms": until_ms, "by": "dispatch", "reason": "audit", "height": 1}
    for account in accounts:
        kept.entries["membership", b"suspended/" + account.encode()] = cbor.encode(record)
    kept.entries["membership", b"operator/shift"] = cbor.encode({"organisation": "grid"})
    return StateReads(kept)


def test_member_of_the_genesis_file_has_its_role_and_is_active() -> None:
    reads = state()
    assert membership.role(reads, "lab") == "laboratory"
    assert membership.role(reads, "gw-1") is None
    assert membership.is_active(reads, "lab", 0)
    assert not membership.is_active(reads, "gw-1", 0)
    found = membership.member(reads, "lab")
    assert found == membership.Member("lab", "laboratory", None, None, None, None, None)
    assert membership.member(reads, "nobody") is None


# holds MB-1
def test_jurisdiction_is_a_tree_that_is_walked_upwards() -> None:
    reads = of(jurisdiction())
    assert [membership.parent(reads, name) for name in ("plant", "dispatch", "nobody")] == ["town", None, None]
    for above in ("town", "county", "sub-east", "dispatch"):
        assert membership.is_under(reads, "plant", above)
        assert not membership.is_under(reads, above, "plant")
    assert membership.is_under(reads, "grid", "sub-east")
    assert not membership.is_under(reads, "grid", "county")
    assert not membership.is_under(reads, "plant", "plant")
    assert not membership.is_under(reads, "nobody", "dispatch")


def test_devices_and_gateways_belong_to_the_owner_of_their_station() -> None:
    reads = suspended(None)
    assert membership.station(reads, "st-1") == Station("st-1", "north", "grid")
    assert membership.station(reads, "gw-1") is None
    assert membership.organisation_of_gateway(reads, "gw-1") == "grid"
    assert membership.organisation_of_device(reads, "dev-4") == "grid"
    assert membership.organisation_of_gateway(reads, "lab") is None
    assert membership.organisation_of_device(reads, "gw-1") is None
    names = ("lab", "shift", "gw-1", "nobody")
    assert [membership.organisation_of_account(reads, name) for name in names] == ["lab", "grid", "grid", None]
    assert membership.data_centre(reads, "lab") is None
    assert membership.data_centre(reads, "nobody") is None


# holds MB-2
def test_suspended_account_signs_nothing_until_its_end() -> None:
    key = AccountKey(bytes(32), "lab", "lab")
    reads = suspended(1000, "lab")
    assert (membership.may_sign(reads, key, 999), membership.may_sign(reads, key, 1000)) == (False, True)
    assert (membership.is_active(reads, "lab", 999), membership.is_active(reads, "lab", 1000)) == (False, True)
    assert membership.role(reads, "lab") is None
    assert membership.organisation(reads, "lab") == Organisation("lab", "laboratory")
    assert not membership.may_sign(suspended(None, "lab"), key, 1 << 60)


# holds MB-2
def test_suspended_organisation_takes_its_operators_with_it_and_not_its_gateways() -> None:
    shift, gateway = AccountKey(bytes(32), "shift", "grid"), AccountKey(bytes(32), "gw-1", "grid")
    reads = suspended(None, "grid")
    assert not membership.may_sign(reads, shift, 0)
    assert membership.may_sign(reads, gateway, 0)
    assert not membership.may_sign(suspended(None, "gw-1"), gateway, 0)
    assert not membership.may_sign(suspended(None, "shift"), shift, 0)
    assert membership.may_sign(suspended(None, "lab"), shift, 0)


# holds MB-3
@pytest.mark.parametrize(
    ("sender", "organisation", "allowed"),
    [
        ("dispatch", "dispatch", True),
        ("dispatcher", "dispatch", True),
        ("gw-9", "dispatch", False),
        ("lab", "lab", False),
        ("shift", "grid", False),
    ],
)
def test_what_is_listed_only_the_super_node_may_do(sender: str, organisation: str, allowed: bool) -> None:  # noqa: FBT001 - a column of the table
    world = World(make_genesis({"super_only": ["notary.put"]}))
    overlay = Overlay(world.state)
    overlay.put("membership", b"operator/dispatcher", cbor.encode({"organisation": "dispatch"}))
    overlay.put("membership", b"operator/shift", cbor.encode({"organisation": "grid"}))
    signed = world.sign("lab", "notary", "put", {})
    signed = replace(signed, tx=replace(signed.tx, sender=sender))
    context = CallContext(Surroundings(signed, organisation, 1, 0), "notary", overlay, [])
    assert membership.may(context, "notary.put") is allowed
    assert membership.may(context, "membership.admit")


# holds MB-3
def test_only_the_super_node_admits_if_the_genesis_file_does_not_say_otherwise() -> None:
    assert membership.super_only(state()) == ("membership.admit",)
    assert membership.super_only(state({"super_only": []})) == ()


def test_membership_keeps_validators_stations_and_code() -> None:
    entries = World().state.entries
    for key in (b"validator/dispatch", b"station/st-1", b"code/consistency/\0\x01", b"code/references/\0\x01"):
        assert ("membership", key) in entries


def test_parameters_that_are_not_set_have_their_defaults() -> None:
    reads = state()
    assert membership.integer_parameter(reads, "skew_ms") == 1000
    assert membership.clock_policy(reads) == "bench"
    assert membership.endorser_roles(reads) == ("laboratory", "manufacturer", "regulator")


def test_parameters_that_are_set_are_read_from_the_state() -> None:
    reads = state({"skew_ms": 500, "clock_policy": "synchronised", "endorser_roles": ["manufacturer"]})
    assert membership.integer_parameter(reads, "skew_ms") == 500
    assert membership.clock_policy(reads) == "synchronised"
    assert membership.endorser_roles(reads) == ("manufacturer",)


# holds MB-3
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("skew_ms", 99, "100..86400000"),
        ("skew_ms", "1000", "an integer"),
        ("heartbeat_ms", 3_600_001, "100..3600000"),
        ("reappraise_devices_max", 1025, "1..1024"),
        ("clock_policy", "none", "bench, synchronised"),
        ("clock_policy", 1, "bench, synchronised"),
        ("endorser_roles", "manufacturer", "a list of roles"),
        ("endorser_roles", ["manufacturer", "pirate"], "a list of roles"),
        ("endorser_roles", ["laboratory"], "with manufacturer"),
        ("endorser_roles", ["regulator", "manufacturer"], "sorted"),
        ("endorser_roles", ["manufacturer", "manufacturer"], "unique"),
        ("endorser_excluded", "owner-of-device", "a list of owner-of-device"),
        ("endorser_excluded", ["friends"], "a list of owner-of-device"),
        ("endorser_excluded", ["same-organisation", "owner-of-device"], "sorted and unique"),
        ("super_only", "notary.put", "a list of at most 64"),
        ("super_only", ["notary.put"] * 65, "a list of at most 64"),
        ("super_only", ["notary"], "calls such as"),
        ("super_only", ["notary.put", "membership.admit"], "sorted"),
        ("super_only", ["notary.put", "notary.put"], "unique"),
        ("super_only", ["governance.vote"], "for all who have a vote"),
        ("super_only", ["membership.admit", "validators.vote"], "for all who have a vote"),
        ("skew", 1000, "unknown"),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, value: Value, reason: str) -> None:
    with pytest.raises(FormatError, match=f"parameter {name}: .*{reason}"):
        parameters.check_parameters({name: value})


def test_parameters_at_their_defaults_are_accepted() -> None:
    parameters.check_parameters({name: limits.default for name, limits in parameters.INTEGERS.items()})


def test_refused_code_must_be_an_identifier() -> None:
    assert Refused("not-now").code == "not-now"
    with pytest.raises(FormatError):
        Refused("Not now!")
