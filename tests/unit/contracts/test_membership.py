from __future__ import annotations

import pytest

from master.contracts import membership, parameters
from master.contracts.context import Refused
from master.ledger.call import StateReads
from master.ledger.genesis import genesis_writes
from tests.unit.ledger.worlds import MemoryState, World, key_of, make_genesis
from wire.cbor import Value
from wire.cose import kid_of
from wire.errors import FormatError
from wire.genesis import AccountKey, Device, Gateway, Organisation


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
