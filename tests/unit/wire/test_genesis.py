from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import GENESIS, Json, key_of, public_of
from wire import cbor
from wire.certificate import Validator, ValidatorSet
from wire.errors import CborError, FormatError
from wire.genesis import (
    GENESIS_BYTES_MAX,
    AccountKey,
    CodeEntry,
    Device,
    Gateway,
    GenesisValidator,
    Organisation,
    Station,
    decode_genesis,
)
from wire.types import sha256

DEVICE, STATION = GENESIS.devices[0], GENESIS.stations[0]
TABLES = ("code_table", "devices", "gateways", "keys", "organisations", "stations", "validators")


def keys_with(key: AccountKey) -> tuple[AccountKey, ...]:
    return tuple(sorted((*GENESIS.keys, key), key=lambda entry: entry.key))


def refuse(reason: str, **changes: Json) -> None:
    with pytest.raises(FormatError, match=reason):
        replace(GENESIS, **changes).encode()


def value() -> dict[str, Any]:
    return cbor.decode_map(GENESIS.encode())


# holds GE-1 GE-2
def test_genesis_round_trips_and_names_its_chain() -> None:
    raw = GENESIS.encode()
    assert decode_genesis(raw) == GENESIS
    assert GENESIS.digest() == sha256(raw)
    assert GENESIS.digest() == decode_genesis(raw).digest()
    assert GENESIS.chain() == f"sample-{sha256(raw).hex()[:8]}"


# holds GE-2
def test_genesis_that_differs_in_anything_has_another_chain() -> None:
    assert replace(GENESIS, time_ms=GENESIS.time_ms + 1).chain() != GENESIS.chain()


# holds GE-2
def test_genesis_name_of_55_characters_is_accepted_and_of_56_refused() -> None:
    longest = replace(GENESIS, name="n" * 55)
    assert len(decode_genesis(longest.encode()).chain()) == 64
    refuse("at most 55 characters", name="n" * 56)
    refuse("genesis.name", name="Sample")
    refuse("genesis.time_ms", time_ms=-1)


# holds GE-1
def test_genesis_with_a_field_more_or_too_long_is_refused() -> None:
    with pytest.raises(FormatError, match="field 'more' is unknown"):
        decode_genesis(cbor.encode({**value(), "more": 1}))
    with pytest.raises(CborError, match="longer than"):
        decode_genesis(bytes(GENESIS_BYTES_MAX + 1))


# holds GE-3
@pytest.mark.parametrize("table", [table for table in TABLES if table not in ("devices", "gateways", "stations")])
def test_genesis_table_out_of_order_is_refused(table: str) -> None:
    refuse(f"genesis.{table}: not sorted or not unique", **{table: tuple(reversed(getattr(GENESIS, table)))})


# holds GE-3
@pytest.mark.parametrize("table", TABLES)
def test_genesis_row_that_stands_twice_is_refused(table: str) -> None:
    rows = getattr(GENESIS, table)
    refuse(f"genesis.{table}: not sorted or not unique", **{table: (rows[0], *rows)})


# holds GE-3
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("row", [None, 1, {}, []])
def test_genesis_row_that_is_no_map_of_its_fields_is_refused(table: str, row: object) -> None:
    genesis = value()
    genesis[table] = [row]
    with pytest.raises(FormatError, match=f"genesis.{table}: "):
        decode_genesis(cbor.encode(genesis))


# holds GE-3
@pytest.mark.parametrize("table", TABLES)
def test_genesis_row_whose_name_has_another_type_is_refused(table: str) -> None:
    genesis = value()
    first = next(iter(genesis[table][0].keys() & {"id", "member", "key", "name"}))
    genesis[table] = [{**genesis[table][0], first: 1}, *genesis[table]]
    with pytest.raises(FormatError, match=f"genesis.{table}.{first}: "):
        decode_genesis(cbor.encode(genesis))


# holds GE-4
def test_genesis_of_1_or_16_validators_is_accepted_and_of_0_or_17_refused() -> None:
    members = [f"node-{number:02}" for number in range(17)]
    validators = tuple(GenesisValidator(name, public_of(name), name.encode()) for name in members)
    organisations = tuple(
        sorted((*GENESIS.organisations, *(Organisation(name, "sub-centre") for name in members)), key=lambda o: o.id)
    )
    for count in (1, 16):
        genesis = replace(GENESIS, validators=validators[:count], organisations=organisations)
        assert len(decode_genesis(genesis.encode()).validator_set()) == count
    refuse(r"0 of them, 1\.\.16 are allowed", validators=(), organisations=organisations)
    refuse("at most 16 entries", validators=validators, organisations=organisations)


# holds GE-4
def test_genesis_validator_that_is_no_organisation_is_refused() -> None:
    stranger = GenesisValidator("zz-stranger", public_of("stranger"), b"DER")
    refuse("genesis.validators.member: 'zz-stranger' is not in", validators=(*GENESIS.validators, stranger))


# holds GE-4
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vote_key": bytes(31)}, "genesis.validators.vote_key"),
        ({"tls_certificate": b""}, "genesis.validators.tls_certificate"),
        ({"tls_certificate": bytes(4097)}, "genesis.validators.tls_certificate"),
        ({"member": "Dispatch"}, "genesis.validators.member"),
    ],
)
def test_genesis_validator_field_out_of_range_is_refused(changes: dict[str, Any], reason: str) -> None:
    first, *rest = GENESIS.validators
    refuse(reason, validators=(replace(first, **changes), *rest))


# holds GE-5
@pytest.mark.parametrize(
    ("field", "reason"), [("vote_key", "share a vote key"), ("tls_certificate", "share a TLS certificate")]
)
def test_genesis_validators_that_share_a_key_are_refused(field: str, reason: str) -> None:
    first, second, *rest = GENESIS.validators
    refuse(reason, validators=(first, replace(second, **{field: getattr(first, field)}), *rest))


# holds GE-5
def test_genesis_vote_key_that_signs_for_an_account_is_refused() -> None:
    key = AccountKey(GENESIS.validators[0].vote_key, "dispatch", "dispatch")
    refuse("the vote key of 'dispatch' is an account's key, too", keys=keys_with(key))


# holds GE-6
def test_genesis_account_may_have_several_keys() -> None:
    genesis = replace(GENESIS, keys=keys_with(AccountKey(public_of("spare"), "lab", "lab")))
    assert decode_genesis(genesis.encode()) == genesis


# holds GE-6
def test_genesis_account_with_more_than_16_keys_is_refused() -> None:
    spare = [AccountKey(public_of(f"spare {number}"), "lab", "lab") for number in range(16)]
    for count, fits in ((15, True), (16, False)):
        keys = tuple(sorted((*GENESIS.keys, *spare[:count]), key=lambda entry: entry.key))
        if fits:
            assert decode_genesis(replace(GENESIS, keys=keys).encode()).keys == keys
        else:
            refuse("genesis.keys: 'lab' has 17 keys, at most 16", keys=keys)


# holds GE-6
@pytest.mark.parametrize(
    ("sender", "organisation", "reason"),
    [
        ("stranger", "lab", "genesis.keys.sender: 'stranger' is not in"),
        ("sps-1", "grid", "genesis.keys.sender: 'sps-1' is not in"),
        ("station-1", "grid", "genesis.keys.sender: 'station-1' is not in"),
        ("lab", "office", "'lab' belongs to 'lab'"),
        ("lab", "stranger", "'lab' belongs to 'lab'"),
        ("gw-1", "lab", "'gw-1' belongs to 'grid'"),
    ],
)
def test_genesis_key_of_nobody_or_for_another_organisation_is_refused(
    sender: str, organisation: str, reason: str
) -> None:
    refuse(reason, keys=keys_with(AccountKey(key_of("spare").verify_key.encode(), sender, organisation)))


# holds GE-7
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stations": (Station("station-1", "east", "nobody"),)}, "genesis.stations.organisation: 'nobody'"),
        ({"gateways": (Gateway("gw-1", "nowhere"),)}, "genesis.gateways.station: 'nowhere'"),
        ({"devices": (Device("sps-1", "gw-9", "V", "M", "S"),)}, "genesis.devices.gateway: 'gw-9'"),
        ({"devices": (Device("sps-1", "lab", "V", "M", "S"),)}, "genesis.devices.gateway: 'lab'"),
        ({"devices": (replace(DEVICE, model="x\n"),)}, "genesis.devices.model"),
        ({"devices": (replace(DEVICE, vendor="x" * 257),)}, "genesis.devices.vendor"),
        ({"stations": (replace(STATION, area="East"),)}, "genesis.stations.area"),
    ],
)
def test_genesis_row_that_names_what_is_not_there_is_refused(changes: dict[str, Any], reason: str) -> None:
    refuse(reason, **changes)


# holds GE-8
def test_genesis_gateway_that_is_an_organisation_is_refused() -> None:
    refuse("'lab' is both an organisation and a gateway", gateways=(*GENESIS.gateways, Gateway("lab", "station-1")))


# holds GE-9
@pytest.mark.parametrize("parameter", [0, -5, "bench", "", [], ["a", 1]])
def test_genesis_parameter_is_a_number_a_text_or_a_list(parameter: cbor.Value) -> None:
    genesis = replace(GENESIS, parameters={"some_name_2": parameter})
    assert decode_genesis(genesis.encode()) == genesis


# holds GE-9
@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"Skew": 1}, "'Skew' is no name"),
        ({"skew-ms": 1}, "'skew-ms' is no name"),
        ({"": 1}, "'' is no name"),
        ({"n" * 65: 1}, "is no name"),
        ({"a": True}, "genesis.parameters.a: an integer, a text or an array"),
        ({"a": None}, "genesis.parameters.a"),
        ({"a": b""}, "genesis.parameters.a"),
        ({"a": {}}, "genesis.parameters.a"),
        ({"a": [[]]}, "genesis.parameters.a"),
        ({"a": [True]}, "genesis.parameters.a"),
        ([], "genesis.parameters: a map is due"),
    ],
)
def test_genesis_parameter_of_another_shape_is_refused(parameters: Json, reason: str) -> None:
    refuse(reason, parameters=parameters)


# holds GE-10
def test_genesis_code_table_has_a_digest_of_its_own() -> None:
    first, second = GENESIS.code_table
    expected: cbor.Value = [{"name": row.name, "version": 1, "digest": row.digest} for row in (first, second)]
    assert GENESIS.code_table_hash() == sha256(cbor.encode(expected))
    both = replace(GENESIS, code_table=(first, replace(first, version=2), second))
    assert decode_genesis(both.encode()) == both
    assert both.code_table_hash() != GENESIS.code_table_hash()


# holds GE-10
@pytest.mark.parametrize(
    "row", [CodeEntry("consistency", 0, bytes(32)), CodeEntry("a", 65_536, bytes(32)), CodeEntry("a", 1, b"")]
)
def test_genesis_code_entry_out_of_range_is_refused(row: CodeEntry) -> None:
    refuse("genesis.code_table", code_table=(row,))


# holds GE-11
def test_genesis_role_that_nobody_knows_is_refused() -> None:
    refuse("genesis.organisations.role: one of", organisations=(Organisation("dispatch", "king"),))


def organisations_with(*changed: Organisation) -> tuple[Organisation, ...]:
    found = {row.id: row for row in (*GENESIS.organisations, *changed)}
    return tuple(found[name] for name in sorted(found))


# holds GE-12 GE-13
def test_genesis_organisation_may_stand_under_another() -> None:
    rows = organisations_with(
        Organisation("sub-east", "sub-centre", "dispatch"),
        Organisation("county", "agency", "sub-east"),
        Organisation("town", "agency", "county", public_of("town root")),
        Organisation("grid", "grid-company", "town", public_of("grid root")),
        Organisation("lab", "laboratory", "dispatch"),
    )
    genesis = replace(GENESIS, organisations=rows)
    assert decode_genesis(genesis.encode()) == genesis
    assert value()["organisations"][1] == {"id": "grid", "role": "grid-company"}


# holds GE-12
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Organisation("grid", "grid-company", "nobody"), "genesis.organisations.parent: 'nobody' is not in"),
        (Organisation("grid", "grid-company", "lab"), "no grid-company stands under a laboratory"),
        (Organisation("sub-east", "sub-centre", "sub-west"), "no sub-centre stands under a sub-centre"),
        (Organisation("county", "agency", "dispatch"), "no agency stands under a dispatch-centre"),
        (Organisation("dispatch", "dispatch-centre", "sub-east"), "no dispatch-centre stands under a sub-centre"),
        (Organisation("grid", "grid-company", "Dispatch"), "genesis.organisations.parent: "),
    ],
)
def test_genesis_parent_of_another_role_or_unknown_is_refused(row: Organisation, reason: str) -> None:
    refuse(reason, organisations=organisations_with(row))


# holds GE-12
def test_genesis_jurisdiction_of_more_than_8_levels_or_a_ring_is_refused() -> None:
    top = Organisation("sub-east", "sub-centre", "dispatch")
    chain = [Organisation(f"agency-{level}", "agency", f"agency-{level - 1}") for level in range(2, 9)]
    levels = [top, Organisation("agency-1", "agency", "sub-east"), *chain]
    deepest = replace(GENESIS, organisations=organisations_with(*levels[:7]))
    assert decode_genesis(deepest.encode()) == deepest
    refuse("has more than 8 levels or a ring", organisations=organisations_with(*levels[:8]))
    ring = [Organisation("a", "agency", "b"), Organisation("b", "agency", "a")]
    refuse("'a' has more than 8 levels or a ring", organisations=organisations_with(*ring))
    lost = [Organisation("a", "agency", "b"), Organisation("b", "agency", "nobody")]
    refuse("'nobody' is not in", organisations=organisations_with(*lost))


# holds GE-12
def test_genesis_device_at_an_agency_is_refused() -> None:
    rows = organisations_with(Organisation("grid", "agency", "sub-east"))
    refuse("'sps-1' is at an agency, whose light node has no devices", organisations=rows)
    without = replace(GENESIS, organisations=rows, devices=())
    assert decode_genesis(without.encode()) == without


# holds GE-12
@pytest.mark.parametrize("name", ["parent", "root_key"])
def test_genesis_optional_field_that_is_null_is_refused(name: str) -> None:
    genesis = value()
    genesis["organisations"][0][name] = None
    with pytest.raises(FormatError, match=f"genesis.organisations.{name}: null stands where the field is left out"):
        decode_genesis(cbor.encode(genesis))


# holds GE-13
def test_genesis_root_key_with_another_use_is_refused() -> None:
    for used in (public_of("lab"), GENESIS.validators[0].vote_key):
        rows = organisations_with(Organisation("grid", "grid-company", None, used))
        refuse("the root key of 'grid' has another use, too", organisations=rows)
    both = [Organisation(name, "laboratory", None, public_of("root")) for name in ("lab", "lab-b")]
    refuse("the root key of 'lab-b' has another use, too", organisations=organisations_with(*both))
    refuse("root_key", organisations=organisations_with(Organisation("grid", "grid-company", None, bytes(31))))


# holds GE-4 QC-2
def test_genesis_validator_set_holds_the_digests_of_the_certificates() -> None:
    assert GENESIS.validator_set() == ValidatorSet(
        tuple(Validator(row.member, row.vote_key, sha256(row.tls_certificate)) for row in GENESIS.validators)
    )


# holds GE-1
def test_genesis_whose_fields_have_other_types_than_its_bytes_is_not_encoded() -> None:
    refuse("another type", devices=list(GENESIS.devices))
