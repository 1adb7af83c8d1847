"""The genesis file: what everybody agreed on before the first block (docs/spec, clauses GE-1 to GE-10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire import cbor
from wire.certificate import VALIDATORS_MAX, Validator, ValidatorSet
from wire.errors import FormatError
from wire.fields import Fields
from wire.types import Digest, check_identifier, sha256

GENESIS_BYTES_MAX: Final = 16 * 1024 * 1024
ENTRIES_MAX: Final = 100_000
CERTIFICATE_BYTES_MAX: Final = 4096
NAME_CHARACTERS_MAX: Final = 55
ROLES: Final = (
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
                table: [{name: getattr(entry, name) for name in names} for entry in getattr(self, table)]
                for table, names in _TABLES.items()
            },
        }
        raw = cbor.encode(value)
        if decode_genesis(raw) != self:
            message = "genesis: a table is not sorted by its first field"
            raise FormatError(message)
        return raw

    def digest(self) -> Digest:
        """Return SHA-256 of the canonical bytes: the digest of block 0."""
        return sha256(self.encode())

    def chain(self) -> str:
        """Return the ledger's name: the name, a hyphen, the first 8 hex digits of the digest."""
        return f"{self.name}-{self.digest().hex()[:8]}"

    def validator_set(self) -> ValidatorSet:
        """Return the validators of epoch 0."""
        return ValidatorSet(
            tuple(Validator(entry.member, entry.vote_key, sha256(entry.tls_certificate)) for entry in self.validators)
        )

    def code_table_hash(self) -> Digest:
        """Return the header's code_table_hash: SHA-256 of the canonical table."""
        names = _TABLES["code_table"]
        return sha256(cbor.encode([{name: getattr(entry, name) for name in names} for entry in self.code_table]))


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
    parameters = fields.raw("parameters")
    if not isinstance(parameters, dict):
        message = "genesis.parameters: a map is due"
        raise FormatError(message)
    name = fields.identifier("name")
    if len(name) > NAME_CHARACTERS_MAX:
        message = f"genesis.name: at most {NAME_CHARACTERS_MAX} characters are allowed"
        raise FormatError(message)
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
        organisations=tuple(
            Organisation(row.identifier("id"), row.choice("role", ROLES)) for row in tables["organisations"]
        ),
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
    _check_references(genesis)
    return genesis


def _rows(fields: Fields, table: str) -> list[Fields]:
    rows = [
        Fields(entry, _TABLES[table], f"genesis.{table}")
        for entry in fields.sequence(table, VALIDATORS_MAX if table == "validators" else ENTRIES_MAX)
    ]
    width = 2 if table == "code_table" else 1
    keys = [tuple(row.raw(name) for name in _TABLES[table][:width]) for row in rows]
    if any(not first < second for first, second in zip(keys, keys[1:], strict=False)):
        message = f"genesis.{table}: not sorted by {_TABLES[table][0]} or not unique"
        raise FormatError(message)
    return rows


def _check_references(genesis: Genesis) -> None:
    genesis.validator_set()
    organisations = {entry.id for entry in genesis.organisations}
    stations = {entry.id for entry in genesis.stations}
    gateways = {entry.id for entry in genesis.gateways}
    for validator in genesis.validators:
        _check_known(validator.member, organisations, "genesis.validators.member")
    for key in genesis.keys:
        _check_known(key.organisation, organisations, "genesis.keys.organisation")
        _check_known(key.sender, organisations | gateways, "genesis.keys.sender")
    for station in genesis.stations:
        _check_known(station.organisation, organisations, "genesis.stations.organisation")
    for gateway in genesis.gateways:
        _check_known(gateway.station, stations, "genesis.gateways.station")
    for device in genesis.devices:
        _check_known(device.gateway, gateways, "genesis.devices.gateway")
    for clash in sorted(organisations & gateways):
        message = f"genesis: {clash!r} is both an organisation and a gateway"
        raise FormatError(message)


def _check_known(name: str, known: set[str], what: str) -> None:
    check_identifier(name, what)
    if name not in known:
        message = f"{what}: {name!r} is not in the genesis file"
        raise FormatError(message)
