"""The genesis file: what everybody agreed on before the first block (docs/spec, clauses GE-1 to GE-13)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from wire import cbor
from wire.certificate import VALIDATORS_MAX, Validator, ValidatorSet
from wire.errors import FormatError
from wire.fields import Fields
from wire.types import Digest, check_ascending, sha256, shown

GENESIS_BYTES_MAX: Final = 16 * 1024 * 1024
ENTRIES_MAX: Final = 100_000
CERTIFICATE_BYTES_MAX: Final = 4096
NAME_CHARACTERS_MAX: Final = 55
KEYS_PER_ACCOUNT_MAX: Final = 16
ROLES: Final = (
    "agency",
    "auditor",
    "consumer",
    "dispatch-centre",
    "generator",
    "grid-company",
    "laboratory",
    "manufacturer",
    "plant",
    "prosumer",
    "regulator",
    "sub-centre",
    "substation",
    "trading-centre",
)
PARENT_ROLES: Final = {"dispatch-centre": (), "sub-centre": ("dispatch-centre",), "agency": ("agency", "sub-centre")}
"""Roles under which an organisation of a dispatch role may stand; for all others see `PARENT_ROLES_OF_OTHERS`."""
PARENT_ROLES_OF_OTHERS: Final = ("agency", "dispatch-centre", "sub-centre")
JURISDICTION_LEVELS_MAX: Final = 8
"""Organisations from the top of the jurisdiction tree down to the lowest."""


@dataclass(frozen=True, slots=True)
class GenesisValidator:
    """A validator of epoch 0 with its whole TLS certificate."""

    member: str
    vote_key: bytes
    tls_certificate: bytes
    """DER."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """A member of the consortium."""

    id: str
    role: str
    """One of `ROLES`."""
    parent: str | None = None
    """The dispatch centre, sub-centre or agency in whose jurisdiction it is; None at the top or outside of the tree."""
    root_key: bytes | None = None
    """Ed25519 public key, 32 bytes, kept apart from all accounts: it alone stands for the organisation whose keys are
    lost. None: there is none."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """A public key that may sign for an account."""

    key: bytes
    sender: str
    """Account: a gateway's id or an organisation's id."""
    organisation: str


@dataclass(frozen=True, slots=True)
class Station:
    """A substation or plant."""

    id: str
    area: str
    organisation: str


@dataclass(frozen=True, slots=True)
class Gateway:
    """A light node in a station."""

    id: str
    station: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device behind a gateway, as its nameplate says."""

    id: str
    gateway: str
    vendor: str
    model: str
    serial: str


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """A contract version that validators must run."""

    name: str
    version: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Genesis:
    """The first state of a ledger; its digest names the ledger."""

    name: str
    time_ms: int
    validators: tuple[GenesisValidator, ...]
    organisations: tuple[Organisation, ...]
    keys: tuple[AccountKey, ...]
    stations: tuple[Station, ...]
    gateways: tuple[Gateway, ...]
    devices: tuple[Device, ...]
    parameters: dict[str, cbor.Value]
    code_table: tuple[CodeEntry, ...]
    _digests: list[Digest] = field(default_factory=list, init=False, repr=False, compare=False)
    # every receipt asks for the digest, and 100,000 devices take a second to encode

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            FormatError: A field that `decode_genesis` would refuse.
        """
        value: dict[str, cbor.Value] = {
            "name": self.name,
            "time_ms": self.time_ms,
            "parameters": self.parameters,
            **{
                table: [_row(entry, names, _OPTIONAL.get(table, ())) for entry in getattr(self, table)]
                for table, names in _TABLES.items()
            },
        }
        raw = cbor.encode(value)
        if decode_genesis(raw) != self:
            raise FormatError("genesis: a field has another type than the one it is decoded to")
        return raw

    def digest(self) -> Digest:
        """Return SHA-256 of the canonical bytes: the digest of block 0. Computed once."""
        if not self._digests:
            self._digests.append(sha256(self.encode()))
        return self._digests[0]

    def chain(self) -> str:
        """Return the ledger's name: the name, a hyphen, the first 8 hex digits of the digest."""
        return f"{self.name}-{self.digest().hex()[:8]}"

    def validator_set(self) -> ValidatorSet:
        """Return the validators of epoch 0."""
        return ValidatorSet(
            tuple(Validator(entry.member, entry.vote_key, sha256(entry.tls_certificate)) for entry in self.validators)
        )

    def code_table_hash(self) -> Digest:
        """Return the code_table_hash of the first headers: SHA-256 of the canonical table."""
        return code_table_hash(self.code_table)


_PARAMETER_PATTERN: Final = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
# each table is sorted by the field that stands first, which is unique in it (code_table: by its first two)
_TABLES: Final = {
    "validators": ("member", "vote_key", "tls_certificate"),
    "organisations": ("id", "role"),
    "keys": ("key", "sender", "organisation"),
    "stations": ("id", "area", "organisation"),
    "gateways": ("id", "station"),
    "devices": ("id", "gateway", "vendor", "model", "serial"),
    "code_table": ("name", "version", "digest"),
}
# fields that a row has only when it says something; null does not stand in a file
_OPTIONAL: Final = {"organisations": ("parent", "root_key")}


def code_table_hash(entries: Iterable[CodeEntry]) -> Digest:
    """Return SHA-256 of the canonical table of the contract versions that execute a block, sorted by name."""
    names = _TABLES["code_table"]
    return sha256(cbor.encode([{name: getattr(entry, name) for name in names} for entry in entries]))


def decode_genesis(raw: bytes) -> Genesis:
    """Decode a genesis file and check every field and every reference between its tables.

    Args:
        raw: Canonical CBOR of at most 16 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown, out of range, out of order, or names what is not there.
    """
    names = ("name", "time_ms", "parameters", *_TABLES)
    fields = Fields(cbor.decode(raw, bytes_max=GENESIS_BYTES_MAX), names, "genesis")
    name = fields.identifier("name")
    if len(name) > NAME_CHARACTERS_MAX:
        raise FormatError(f"genesis.name: at most {NAME_CHARACTERS_MAX} characters are allowed")
    parameters = fields.mapping("parameters")
    _check_parameters(parameters)
    tables = {table: _rows(fields, table) for table in _TABLES}
    genesis = Genesis(
        name=name,
        time_ms=fields.integer("time_ms"),
        validators=tuple(
            GenesisValidator(
                row.identifier("member"),
                row.digest("vote_key"),
                row.octets("tls_certificate", 1, CERTIFICATE_BYTES_MAX),
            )
            for row in tables["validators"]
        ),
        organisations=tuple(map(_organisation, tables["organisations"])),
        keys=tuple(
            AccountKey(row.digest("key"), row.identifier("sender"), row.identifier("organisation"))
            for row in tables["keys"]
        ),
        stations=tuple(
            Station(row.identifier("id"), row.identifier("area"), row.identifier("organisation"))
            for row in tables["stations"]
        ),
        gateways=tuple(Gateway(row.identifier("id"), row.identifier("station")) for row in tables["gateways"]),
        devices=tuple(
            Device(
                row.identifier("id"),
                row.identifier("gateway"),
                row.text("vendor"),
                row.text("model"),
                row.text("serial"),
            )
            for row in tables["devices"]
        ),
        parameters=parameters,
        code_table=tuple(
            CodeEntry(row.identifier("name"), row.integer("version", 1, 65_535), row.digest("digest"))
            for row in tables["code_table"]
        ),
    )
    for table, names in _TABLES.items():
        width = 2 if table == "code_table" else 1
        rows = getattr(genesis, table)
        check_ascending((tuple(getattr(row, key) for key in names[:width]) for row in rows), f"genesis.{table}")
    _check_references(genesis)
    _check_jurisdiction(genesis)
    _check_keys(genesis)
    return genesis


def _row(entry: object, names: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, cbor.Value]:
    row: dict[str, cbor.Value] = {name: getattr(entry, name) for name in names}
    return row | {name: getattr(entry, name) for name in optional if getattr(entry, name) is not None}


def _rows(fields: Fields, table: str) -> list[Fields]:
    """Return the rows of a table; an optional field that does not stand in a row is null."""
    rows_max = VALIDATORS_MAX if table == "validators" else ENTRIES_MAX
    optional = _OPTIONAL.get(table, ())
    return [_fields(entry, table, optional) for entry in fields.sequence(table, rows_max)]


def _fields(entry: cbor.Value, table: str, optional: tuple[str, ...]) -> Fields:
    what, names = f"genesis.{table}", _TABLES[table]
    if optional and isinstance(entry, dict):
        for name in optional:
            if entry.get(name, "") is None:
                raise FormatError(f"{what}.{name}: null stands where the field is left out")
        entry = {**dict.fromkeys(optional), **entry}
        names = (*names, *optional)
    return Fields(entry, names, what)


def _organisation(row: Fields) -> Organisation:
    return Organisation(
        row.identifier("id"),
        row.choice("role", ROLES),
        None if row.is_null("parent") else row.identifier("parent"),
        None if row.is_null("root_key") else row.digest("root_key"),
    )


def may_stand_under(role: str, parent_role: str) -> bool:
    """Tell whether an organisation of one role may be in the jurisdiction of one of another role."""
    return parent_role in PARENT_ROLES.get(role, PARENT_ROLES_OF_OTHERS)


def _check_parameters(parameters: dict[str, cbor.Value]) -> None:
    for name, value in parameters.items():
        if _PARAMETER_PATTERN.fullmatch(name) is None:
            raise FormatError(f"genesis.parameters: {shown(name)} is no name (1 to 64 of a-z, 0-9 and '_')")
        entries = value if isinstance(value, list) else [value]
        if any(type(entry) not in (int, str) for entry in entries):
            raise FormatError(f"genesis.parameters.{name}: an integer, a text or an array of these is due")


def _check_references(genesis: Genesis) -> None:
    organisations = {entry.id for entry in genesis.organisations}
    stations = {entry.id: entry for entry in genesis.stations}
    # whoever an account belongs to: an organisation to itself, a gateway to the owner of its station
    owners = {name: name for name in organisations}
    for validator in genesis.validators:
        _check_known(validator.member, organisations, "genesis.validators.member")
    for station in genesis.stations:
        _check_known(station.organisation, organisations, "genesis.stations.organisation")
    for gateway in genesis.gateways:
        _check_known(gateway.station, stations, "genesis.gateways.station")
        if gateway.id in organisations:
            raise FormatError(f"genesis: {gateway.id!r} is both an organisation and a gateway")
        owners[gateway.id] = stations[gateway.station].organisation
    gateways = owners.keys() - organisations
    for device in genesis.devices:
        _check_known(device.gateway, gateways, "genesis.devices.gateway")
    for key in genesis.keys:
        _check_known(key.sender, owners, "genesis.keys.sender")
        if key.organisation != owners[key.sender]:
            raise FormatError(f"genesis.keys.organisation: {key.sender!r} belongs to {owners[key.sender]!r}")
    for sender, count in Counter(key.sender for key in genesis.keys).items():
        if count > KEYS_PER_ACCOUNT_MAX:
            raise FormatError(f"genesis.keys: {sender!r} has {count} keys, at most {KEYS_PER_ACCOUNT_MAX} are allowed")


def _check_jurisdiction(genesis: Genesis) -> None:
    known = {entry.id: entry for entry in genesis.organisations}
    for entry in genesis.organisations:
        if entry.parent is None:
            continue
        _check_known(entry.parent, known, "genesis.organisations.parent")
        above = known[entry.parent]
        if not may_stand_under(entry.role, above.role):
            raise FormatError(f"genesis.organisations.parent: no {entry.role} stands under a {above.role}")
        levels = 2
        while above.parent is not None and levels <= JURISDICTION_LEVELS_MAX:
            _check_known(above.parent, known, "genesis.organisations.parent")
            above, levels = known[above.parent], levels + 1
        if levels > JURISDICTION_LEVELS_MAX:
            raise FormatError(f"genesis.organisations.parent: {entry.id!r} has more than {levels - 1} levels or a ring")
    owners = {entry.id: known[entry.organisation].role for entry in genesis.stations}
    stations = {entry.id: entry.station for entry in genesis.gateways}
    for device in genesis.devices:
        if owners[stations[device.gateway]] == "agency":
            raise FormatError(f"genesis.devices: {device.id!r} is at an agency, whose light node has no devices")


def _check_keys(genesis: Genesis) -> None:
    genesis.validator_set()
    if len({validator.tls_certificate for validator in genesis.validators}) != len(genesis.validators):
        raise FormatError("genesis.validators: two of them share a TLS certificate")
    accounts = {key.key for key in genesis.keys}
    for validator in genesis.validators:
        if validator.vote_key in accounts:
            raise FormatError(f"genesis.validators: the vote key of {validator.member!r} is an account's key, too")
    taken = accounts | {validator.vote_key for validator in genesis.validators}
    for organisation in genesis.organisations:
        if organisation.root_key is None:
            continue
        if organisation.root_key in taken:
            raise FormatError(f"genesis.organisations: the root key of {organisation.id!r} has another use, too")
        taken.add(organisation.root_key)


def _check_known(name: str, known: Container[str], what: str) -> None:
    if name not in known:
        raise FormatError(f"{what}: {name!r} is not in the genesis file")
