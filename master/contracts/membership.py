"""Who is who: organisations, keys, stations, gateways, devices, validators and parameters.

In this version the namespace is written once, at height 0, from the genesis file; the rest are read functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from master.contracts import parameters
from master.contracts.context import Entries, Reads
from wire import cbor
from wire.cose import kid_of
from wire.fields import Fields
from wire.genesis import (
    CERTIFICATE_BYTES_MAX,
    AccountKey,
    Device,
    Gateway,
    Genesis,
    GenesisValidator,
    Organisation,
)
from wire.types import sha256

NAMESPACE: Final = "membership"


def genesis_entries(genesis: Genesis) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and canonical values of the namespace at height 0, in no particular order.

    Raises:
        FormatError: A parameter is unknown or out of range.
    """
    parameters.check_parameters(genesis.parameters)
    for name, value in genesis.parameters.items():
        yield b"parameter/" + name.encode(), cbor.encode(value)
    for validator in genesis.validators:
        yield (
            _key("validator", validator.member),
            cbor.encode({"vote_key": validator.vote_key, "tls_certificate": validator.tls_certificate}),
        )
    for organisation in genesis.organisations:
        yield _key("organisation", organisation.id), cbor.encode({"role": organisation.role})
    for key in genesis.keys:
        record: dict[str, cbor.Value] = {"key": key.key, "sender": key.sender, "organisation": key.organisation}
        yield account_key_entry(kid_of(key.key)), cbor.encode(record)
    for station in genesis.stations:
        record = {"area": station.area, "organisation": station.organisation}
        yield _key("station", station.id), cbor.encode(record)
    for gateway in genesis.gateways:
        yield _key("gateway", gateway.id), cbor.encode({"station": gateway.station})
    for device in genesis.devices:
        names = ("gateway", "vendor", "model", "serial")
        yield _key("device", device.id), cbor.encode({name: getattr(device, name) for name in names})
        yield _model_prefix(device.model) + device.id.encode(), cbor.encode(device.gateway)
    for entry in genesis.code_table:
        yield b"code/" + entry.name.encode() + b"/" + entry.version.to_bytes(2, "big"), cbor.encode(entry.digest)


def account_key(state: Reads, kid: bytes) -> AccountKey | None:
    """Return the key that a kid names, if it may sign for an account."""
    value = _entries(state).get(account_key_entry(kid))
    return None if value is None else decode_account_key(value)


def account_key_entry(kid: bytes) -> bytes:
    """Return the key of the state entry that holds the key of a kid."""
    return b"key/" + kid


def decode_account_key(value: cbor.Value) -> AccountKey:
    """Return the key that a state entry holds.

    Raises:
        FormatError: It holds something else.
    """
    fields = Fields(value, ("key", "sender", "organisation"), "membership.key")
    return AccountKey(fields.digest("key"), fields.identifier("sender"), fields.identifier("organisation"))


def organisation(state: Reads, name: str) -> Organisation | None:
    """Return a member of the consortium."""
    value = _entries(state).get(_key("organisation", name))
    return None if value is None else Organisation(name, Fields(value, ("role",), "membership").text("role"))


def validators(state: Reads) -> Iterator[GenesisValidator]:
    """Yield the validators of the genesis file, sorted by member; `validator_records` knows those of now."""
    prefix = _key("validator", "")
    for key, value in _entries(state).scan(prefix):
        fields = Fields(value, ("vote_key", "tls_certificate"), "membership.validator")
        certificate = fields.octets("tls_certificate", 1, CERTIFICATE_BYTES_MAX)
        yield GenesisValidator(key[len(prefix) :].decode("ascii"), fields.digest("vote_key"), certificate)


def gateway(state: Reads, name: str) -> Gateway | None:
    """Return a gateway."""
    value = _entries(state).get(_key("gateway", name))
    return None if value is None else Gateway(name, Fields(value, ("station",), "membership").identifier("station"))


def device(state: Reads, name: str) -> Device | None:
    """Return a device with its nameplate."""
    value = _entries(state).get(_key("device", name))
    if value is None:
        return None
    fields = Fields(value, ("gateway", "vendor", "model", "serial"), "membership.device")
    return Device(
        name, fields.identifier("gateway"), fields.text("vendor"), fields.text("model"), fields.text("serial")
    )


def devices_of_model(state: Reads, model: str) -> Iterator[str]:
    """Yield the ids of all devices of a model in ascending order."""
    prefix = _model_prefix(model)
    for key, _ in _entries(state).scan(prefix):
        yield key[len(prefix) :].decode("ascii")


def integer_parameter(state: Reads, name: str) -> int:
    """Return a parameter of `parameters.INTEGERS`, its default when the genesis file does not set it."""
    value = _entries(state).get(b"parameter/" + name.encode())
    return value if isinstance(value, int) else parameters.INTEGERS[name].default


def clock_policy(state: Reads) -> str:
    """Return the rule by which clocks of gateways are believed, one of `parameters.CLOCK_POLICIES`."""
    value = _entries(state).get(b"parameter/clock_policy")
    return value if isinstance(value, str) else parameters.CLOCK_POLICY_DEFAULT


def endorser_roles(state: Reads) -> tuple[str, ...]:
    """Return the roles that must all stand behind a release, sorted."""
    value = _entries(state).get(b"parameter/endorser_roles")
    return tuple(str(role) for role in value) if isinstance(value, list) else parameters.ENDORSER_ROLES_DEFAULT


def alarm_severities(state: Reads) -> dict[str, str]:
    """Return the severities that the consortium gives to causes of alarms, in place of those of `rules.severity`."""
    value = _entries(state).get(b"parameter/alarm_severities")
    entries = value if isinstance(value, list) else []
    return {cause: level for cause, _, level in (str(entry).partition(" ") for entry in entries)}


def _entries(state: Reads) -> Entries:
    return state.namespace(NAMESPACE)


def _key(table: str, name: str) -> bytes:
    return f"{table}/{name}".encode("ascii")


def _model_prefix(model: str) -> bytes:
    return b"model/" + sha256(model.encode()) + b"/"
