"""Who is who: organisations, keys, stations, gateways, devices, validators and parameters, for reading.

The genesis file writes the namespace at height 0 in the shapes that the contract `members` writes later.

State of the namespace
  organisation/ID               role, parent, root_key, data_centre, certificate, expires_ms
  role/ROLE/ID                  true: the organisation has the role, suspended or not
  application/ID, applied/ID    see `master.contracts.members`
  operator/ID                   organisation: whose person or program signs with an account of its own
  key/KID                       key, sender, organisation: the key signs for the account
  signs/ACCOUNT/KID             true: keys by account
  retired/KID                   sender, reason, height: the key signed for the account and never comes back
  root/KID                      organisation of which it is the root key
  certificate/SHA-256           account, certificate (DER), height, revoked (null, or the height)
  recovery/ID                   new_key, opens_ms: takes the place of the organisation's lost keys
  recoveries/ID                 how many recoveries of the organisation's keys have begun
  suspended/ACCOUNT             until_ms, by, reason, height: the account signs nothing until then; null: until resumed
  until/MS/ACCOUNT              true: suspensions by their end, 8 bytes, big-endian
  station/ID                    area, organisation
  gateway/ID                    station
  device/ID                     gateway, vendor, model, serial
  retired-device/ID             gateway, vendor, model, serial, organisation, reason, height: it was a device once
  behind/GATEWAY/DEVICE         true: devices by gateway
  binding/KIND/ID               to, by, sides: one side's word for a device's or gateway's move, while these are both
  model/SHA-256 of it/DEVICE    gateway
  owner/..., left/...           see `member_owners`
  validator/MEMBER              of the genesis file
  parameter/NAME                value
  code/NAME/VERSION             digest, from_height: see `membership_decisions`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from master.contracts import parameters
from master.contracts.context import Context, Entries, Reads
from master.contracts.member_owners import genesis_owners
from master.contracts.membership_decisions import code_entry, code_value
from wire import cbor
from wire.cose import kid_of
from wire.fields import Fields
from wire.genesis import (
    CERTIFICATE_BYTES_MAX,
    JURISDICTION_LEVELS_MAX,
    AccountKey,
    Device,
    Gateway,
    Genesis,
    GenesisValidator,
    Organisation,
    Station,
)
from wire.types import Digest, sha256

NAMESPACE: Final = "membership"
SUPER_NODE: Final = "dispatch-centre"
GATEWAY: Final = b"gateway/"
_ORGANISATION: Final = ("role", "parent", "root_key", "data_centre", "certificate", "expires_ms")
_SUSPENSION: Final = ("until_ms", "by", "reason", "height")


@dataclass(frozen=True, slots=True)
class Member:
    """An organisation as the state has it."""

    id: str
    role: str
    parent: str | None
    """In whose jurisdiction it is."""
    root_key: bytes | None
    data_centre: str | None
    """Organisation of the full node to which its clients are attached; None: not attached to any."""
    certificate: Digest | None
    """SHA-256 of the DER certificate of the consortium's authority; None for organisations of the genesis file."""
    expires_ms: int | None
    """When its membership is due for renewal; it goes on being a member. None: never."""

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the state value."""
        return {name: getattr(self, name) for name in _ORGANISATION}


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
        member = Member(
            organisation.id, organisation.role, organisation.parent, organisation.root_key, None, None, None
        )
        yield organisation_entry(member.id), cbor.encode(member.to_value())
        yield role_entry(member.role, member.id), cbor.encode(value=True)
        if member.root_key is not None:
            yield root_entry(member.root_key), cbor.encode(member.id)
    for key in genesis.keys:
        yield account_key_entry(kid_of(key.key)), cbor.encode(account_key_value(key))
        yield signs_entry(key.sender, kid_of(key.key)), cbor.encode(value=True)
    for station in genesis.stations:
        record: dict[str, cbor.Value] = {"area": station.area, "organisation": station.organisation}
        yield _key("station", station.id), cbor.encode(record)
    for gateway in genesis.gateways:
        yield _key("gateway", gateway.id), cbor.encode({"station": gateway.station})
    for device in genesis.devices:
        names = ("gateway", "vendor", "model", "serial")
        yield _key("device", device.id), cbor.encode({name: getattr(device, name) for name in names})
        yield model_entry(device.model, device.id), cbor.encode(device.gateway)
        yield _key("behind/" + device.gateway, device.id), cbor.encode(value=True)
    yield from genesis_owners(genesis)
    for entry in genesis.code_table:
        yield code_entry(entry.name, entry.version), cbor.encode(code_value(entry.digest, 0))


def account_key(state: Reads, kid: bytes) -> AccountKey | None:
    """Return the key that a kid names, if it may sign for an account."""
    value = _entries(state).get(account_key_entry(kid))
    return None if value is None else decode_account_key(value)


def account_key_entry(kid: bytes) -> bytes:
    """Return the key of the state entry that holds the key of a kid."""
    return b"key/" + kid


def account_key_value(key: AccountKey) -> dict[str, cbor.Value]:
    """Return what the state holds of a key that signs."""
    return {"key": key.key, "sender": key.sender, "organisation": key.organisation}


def signs_entry(account: str, kid: bytes) -> bytes:
    """Return the key of the state entry that lists a key under its account."""
    return b"signs/" + account.encode("ascii") + b"/" + kid


def root_entry(root_key: bytes) -> bytes:
    """Return the key of the state entry that says whose root key it is."""
    return b"root/" + kid_of(root_key)


def retired_entry(kid: bytes) -> bytes:
    """Return the key of the state entry of a key that was given up."""
    return b"retired/" + kid


def keys_of(state: Reads, account: str) -> Iterator[bytes]:
    """Yield the kids of the keys that sign for an account, in ascending order."""
    prefix = signs_entry(account, b"")
    for key, _ in _entries(state).scan(prefix):
        yield key[len(prefix) :]


def is_key_known(state: Reads, key: bytes) -> bool:
    """Tell whether a public key signs for an account, did so once, or is an organisation's root key."""
    kid = kid_of(key)
    entries = (account_key_entry(kid), retired_entry(kid), root_entry(key))
    return any(_entries(state).get(entry) is not None for entry in entries)


def is_account(state: Reads, name: str) -> bool:
    """Tell whether an organisation, an operator or a gateway has that name."""
    return any(_entries(state).get(_key(table, name)) is not None for table in ("organisation", "operator", "gateway"))


def devices_behind(state: Reads, gateway: str) -> Iterator[str]:
    """Yield the ids of the devices of a gateway in ascending order."""
    prefix = _key("behind/" + gateway, "")
    for key, _ in _entries(state).scan(prefix):
        yield key[len(prefix) :].decode("ascii")


def decode_account_key(value: cbor.Value) -> AccountKey:
    """Return the key that a state entry holds.

    Raises:
        FormatError: It holds something else.
    """
    fields = Fields(value, ("key", "sender", "organisation"), "membership.key")
    return AccountKey(fields.digest("key"), fields.identifier("sender"), fields.identifier("organisation"))


def organisation(state: Reads, name: str) -> Organisation | None:
    """Return a member of the consortium, suspended or not."""
    found = member(state, name)
    return None if found is None else Organisation(name, found.role, found.parent, found.root_key)


def member(state: Reads, name: str) -> Member | None:
    """Return all that the state says of an organisation."""
    value = _entries(state).get(organisation_entry(name))
    if value is None:
        return None
    fields = Fields(value, _ORGANISATION, "membership.organisation")
    return Member(
        name,
        fields.text("role"),
        None if fields.is_null("parent") else fields.identifier("parent"),
        None if fields.is_null("root_key") else fields.digest("root_key"),
        None if fields.is_null("data_centre") else fields.identifier("data_centre"),
        None if fields.is_null("certificate") else fields.digest("certificate"),
        None if fields.is_null("expires_ms") else fields.integer("expires_ms"),
    )


def organisation_entry(name: str) -> bytes:
    """Return the key of the state entry of an organisation."""
    return _key("organisation", name)


def role_entry(role: str, name: str) -> bytes:
    """Return the key of the state entry that lists an organisation under its role."""
    return _key(f"role/{role}", name)


def members_of_role(state: Reads, wanted: str) -> Iterator[str]:
    """Yield the organisations of a role, suspended ones too, in ascending order of their ids."""
    prefix = role_entry(wanted, "")
    for key, _ in _entries(state).scan(prefix):
        yield key[len(prefix) :].decode("ascii")


def role(state: Reads, organisation: str) -> str | None:
    """Return the role of an organisation; None when there is none of that name or it is suspended.

    A suspension whose end has come is lifted when the next block is opened.
    """
    found = member(state, organisation)
    return None if found is None or _suspension(state, organisation) is not None else found.role


def is_active(state: Reads, organisation: str, time_ms: int) -> bool:
    """Tell whether an organisation is a member and not suspended at a block time; expiry makes no difference."""
    return member(state, organisation) is not None and not is_suspended(state, organisation, time_ms)


def is_suspended(state: Reads, account: str, time_ms: int) -> bool:
    """Tell whether an account itself, an organisation, operator or gateway, is suspended at a block time."""
    fields = _suspension(state, account)
    return fields is not None and (fields.is_null("until_ms") or fields.integer("until_ms") > time_ms)


def may_sign(state: Reads, key: AccountKey, time_ms: int) -> bool:
    """Tell whether an account may have transactions in a block of that time.

    A suspended organisation takes its operators with it. Its gateways go on reporting: what they see concerns all.
    """
    if is_suspended(state, key.sender, time_ms):
        return False
    is_of_office = key.sender != key.organisation and operator(state, key.sender) is not None
    return not (is_of_office and is_suspended(state, key.organisation, time_ms))


def parent(state: Reads, organisation: str) -> str | None:
    """Return in whose jurisdiction an organisation is; None at the top, and for what is no organisation."""
    found = member(state, organisation)
    return None if found is None else found.parent


def agencies_above(state: Reads, organisation: str) -> Iterator[str]:
    """Yield in whose jurisdiction an organisation is, from its parent up to the top."""
    above = parent(state, organisation)
    for _ in range(JURISDICTION_LEVELS_MAX):
        if above is None:
            return
        yield above
        above = parent(state, above)


def is_under(state: Reads, organisation: str, agency: str) -> bool:
    """Tell whether an organisation is in the jurisdiction of another, at any depth; nobody is in its own."""
    return agency in agencies_above(state, organisation)


def operator(state: Reads, account: str) -> str | None:
    """Return the organisation of an operator's account; None when the account is none."""
    value = _entries(state).get(_key("operator", account))
    return None if value is None else Fields(value, ("organisation",), "membership.operator").identifier("organisation")


def organisation_of_account(state: Reads, account: str) -> str | None:
    """Return the organisation to which an account belongs: itself, its operator's or its gateway's owner."""
    if member(state, account) is not None:
        return account
    owner = operator(state, account)
    return owner if owner is not None else organisation_of_gateway(state, account)


def organisation_of_gateway(state: Reads, name: str) -> str | None:
    """Return the organisation that owns the station of a gateway."""
    found = gateway(state, name)
    if found is None:
        return None
    place = station(state, found.station)
    assert place is not None
    return place.organisation


def organisation_of_device(state: Reads, name: str) -> str | None:
    """Return the organisation that owns the station in which a device is."""
    found = device(state, name)
    return None if found is None else organisation_of_gateway(state, found.gateway)


def data_centre(state: Reads, organisation: str) -> str | None:
    """Return the organisation of the full node to which a member is attached as an extension node."""
    value = _entries(state).get(organisation_entry(organisation))
    if value is None:
        return None
    fields = Fields(value, _ORGANISATION, "membership.organisation")
    return None if fields.is_null("data_centre") else fields.identifier("data_centre")


def may(context: Context, act: str) -> bool:
    """Tell whether the caller may do what the parameter ``super_only`` may keep for the super node.

    Args:
        context: The running call.
        act: "contract.method".

    Returns:
        True when the act is not listed, or when the caller is an organisation with the role dispatch-centre, or one of
        its operators, not one of its gateways.
    """
    if act not in super_only(context):
        return True
    is_office = context.sender == context.organisation or operator(context, context.sender) is not None
    return is_office and role(context, context.organisation) == SUPER_NODE


def validators(state: Reads) -> Iterator[GenesisValidator]:
    """Yield the validators of the genesis file, sorted by member; `validator_records` knows those of now."""
    prefix = _key("validator", "")
    for key, value in _entries(state).scan(prefix):
        fields = Fields(value, ("vote_key", "tls_certificate"), "membership.validator")
        certificate = fields.octets("tls_certificate", 1, CERTIFICATE_BYTES_MAX)
        yield GenesisValidator(key[len(prefix) :].decode("ascii"), fields.digest("vote_key"), certificate)


def station(state: Reads, name: str) -> Station | None:
    """Return a station."""
    value = _entries(state).get(_key("station", name))
    if value is None:
        return None
    fields = Fields(value, ("area", "organisation"), "membership.station")
    return Station(name, fields.identifier("area"), fields.identifier("organisation"))


def gateway(state: Reads, name: str) -> Gateway | None:
    """Return a gateway."""
    value = _entries(state).get(_key("gateway", name))
    return None if value is None else Gateway(name, Fields(value, ("station",), "membership").identifier("station"))


def gateways(state: Reads) -> Iterator[tuple[Gateway, Station]]:
    """Yield every gateway and its station, in ascending order of the gateways' ids."""
    prefix = _key("gateway", "")
    for key, _ in _entries(state).scan(prefix):
        found = gateway(state, key[len(prefix) :].decode("ascii"))
        assert found is not None
        place = station(state, found.station)
        assert place is not None
        yield found, place


def device(state: Reads, name: str) -> Device | None:
    """Return a device with its nameplate."""
    value = _entries(state).get(_key("device", name))
    if value is None:
        return None
    fields = Fields(value, ("gateway", "vendor", "model", "serial"), "membership.device")
    return Device(
        name, fields.identifier("gateway"), fields.text("vendor"), fields.text("model"), fields.text("serial")
    )


def retired_device(state: Reads, name: str) -> tuple[Device, str] | None:
    """Return a device as it was when it was retired, and the organisation that owned it; None if it is not retired."""
    value = _entries(state).get(retired_device_entry(name))
    if value is None:
        return None
    names = ("gateway", "vendor", "model", "serial", "organisation", "reason", "height")
    fields = Fields(value, names, "membership.retired-device")
    plate = (fields.identifier("gateway"), *(fields.text(part) for part in ("vendor", "model", "serial")))
    return Device(name, *plate), fields.identifier("organisation")


def retired_device_entry(name: str) -> bytes:
    """Return the key of the state entry of a device that was retired."""
    return _key("retired-device", name)


def devices_of_model(state: Reads, model: str) -> Iterator[str]:
    """Yield the ids of all devices of a model in ascending order."""
    prefix = _model_prefix(model)
    for key, _ in _entries(state).scan(prefix):
        yield key[len(prefix) :].decode("ascii")


def model_entry(model: str, name: str) -> bytes:
    """Return the key of the state entry that lists a device under its model."""
    return _model_prefix(model) + name.encode("ascii")


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


def endorser_excluded(state: Reads) -> tuple[str, ...]:
    """Return the relations to a release in which a party does not count, sorted."""
    value = _entries(state).get(b"parameter/endorser_excluded")
    return tuple(str(name) for name in value) if isinstance(value, list) else ()


def super_only(state: Reads) -> tuple[str, ...]:
    """Return the calls, "contract.method", that only the super node may make, sorted."""
    value = _entries(state).get(b"parameter/super_only")
    return tuple(str(act) for act in value) if isinstance(value, list) else parameters.SUPER_ONLY_DEFAULT


def _suspension(state: Reads, account: str) -> Fields | None:
    value = _entries(state).get(_key("suspended", account))
    return None if value is None else Fields(value, _SUSPENSION, "membership.suspended")


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
