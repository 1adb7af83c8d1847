"""consortium.toml, the file from which people make a genesis file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kit.clock import SystemClock
from kit.config import load, rule
from kit.exitcodes import ConfigurationError
from kit.files import read_bounded
from kit.keystore import load_public_key
from kit.tls import der_of
from master.contracts.parameters import check_parameters
from master.contracts.table import code_table
from wire.cbor import Value
from wire.errors import WireError
from wire.genesis import (
    ROLES,
    AccountKey,
    Device,
    Gateway,
    Genesis,
    GenesisValidator,
    Organisation,
    Station,
)
from wire.types import IDENTIFIER_PATTERN

_PEM_BYTES_MAX: Final = 16 * 1024
_ID: Final = rule(pattern=IDENTIFIER_PATTERN)
_FILE: Final = rule(exists="file")


@dataclass(frozen=True, slots=True)
class ValidatorEntry:
    """A full node that votes."""

    member: str = field(metadata=_ID)
    vote_key: Path = field(metadata=_FILE)
    """Public key file (NAME.pub)."""
    certificate: Path = field(metadata=_FILE)
    """PEM of its TLS certificate."""


@dataclass(frozen=True, slots=True)
class OrganisationEntry:
    """A member of the consortium."""

    id: str = field(metadata=_ID)
    role: str = field(metadata=rule(choices=ROLES))
    parent: str | None = field(default=None, metadata=_ID)
    """Dispatch centre, sub-centre or agency in whose jurisdiction it is."""
    root_key: Path | None = field(default=None, metadata=_FILE)
    """Public key file of the key that is kept for the loss of all others."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key that may sign for an account."""

    public: Path = field(metadata=_FILE)
    sender: str = field(metadata=_ID)
    organisation: str = field(metadata=_ID)


@dataclass(frozen=True, slots=True)
class StationEntry:
    """A substation or plant."""

    id: str = field(metadata=_ID)
    area: str = field(metadata=_ID)
    organisation: str = field(metadata=_ID)


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    """A light node."""

    id: str = field(metadata=_ID)
    station: str = field(metadata=_ID)


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device as its nameplate says."""

    id: str = field(metadata=_ID)
    gateway: str = field(metadata=_ID)
    vendor: str
    model: str
    serial: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """On-chain parameters; absent ones take their defaults."""

    skew_ms: int | None = None
    stale_ms: int | None = None
    tx_valid_ms_max: int | None = None
    block_bytes_max: int | None = None
    block_interval_ms: int | None = None
    heartbeat_ms: int | None = None
    reappraise_devices_max: int | None = None
    former_owner_ms: int | None = None
    evidence_window: int | None = None
    validator_votes_percent: int | None = None
    validator_deadline_ms_max: int | None = None
    validator_wait_ms: int | None = None
    ready_blocks_max: int | None = None
    alarm_shelf_ms_max: int | None = None
    alarm_flood_ms: int | None = None
    alarm_flood_alarms: int | None = None
    baseline_days_max: int | None = None
    alarm_severities: tuple[str, ...] | None = None
    snapshot_blocks: int | None = None
    parameters_votes_percent: int | None = None
    upgrade_votes_percent: int | None = None
    correction_votes_percent: int | None = None
    policy_votes_percent: int | None = None
    proposal_deadline_ms_max: int | None = None
    proposals_each_max: int | None = None
    proposals_open_max: int | None = None
    upgrade_blocks_min: int | None = None
    weight_agency: int | None = None
    weight_auditor: int | None = None
    weight_consumer: int | None = None
    weight_dispatch_centre: int | None = None
    weight_generator: int | None = None
    weight_grid_company: int | None = None
    weight_laboratory: int | None = None
    weight_manufacturer: int | None = None
    weight_plant: int | None = None
    weight_prosumer: int | None = None
    weight_regulator: int | None = None
    weight_sub_centre: int | None = None
    weight_substation: int | None = None
    weight_trading_centre: int | None = None
    applications_max: int | None = None
    application_wait_ms: int | None = None
    work_window_ms_max: int | None = None
    work_ahead_ms_max: int | None = None
    inspect_interval_ms: int | None = None
    inspect_deadline_ms_max: int | None = None
    blob_day_bytes_max: int | None = None
    key_recovery_wait_ms: int | None = None
    recovery_votes_percent: int | None = None
    clock_policy: str | None = None
    endorser_roles: tuple[str, ...] | None = None
    endorser_excluded: tuple[str, ...] | None = None
    super_only: tuple[str, ...] | None = None

    def to_value(self) -> dict[str, Value]:
        """Return the parameters that were given."""
        given = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class Consortium:
    """The whole file."""

    name: str = field(metadata=_ID)
    validators: tuple[ValidatorEntry, ...] = field(metadata=rule(key="validator", unique="member"))
    organisations: tuple[OrganisationEntry, ...] = field(metadata=rule(key="organisation", unique="id"))
    keys: tuple[KeyEntry, ...] = field(default=(), metadata=rule(key="key"))
    stations: tuple[StationEntry, ...] = field(default=(), metadata=rule(key="station", unique="id"))
    gateways: tuple[GatewayEntry, ...] = field(default=(), metadata=rule(key="gateway", unique="id"))
    devices: tuple[DeviceEntry, ...] = field(default=(), metadata=rule(key="device", unique="id"))
    parameters: Parameters = field(default_factory=Parameters)
    time_ms: int | None = None
    """Start of the ledger, milliseconds since 1970 UTC; now when absent."""


def build_genesis(path: Path) -> Genesis:
    """Read consortium.toml and the public keys and certificates that it names.

    Raises:
        ConfigProblemsError: With every problem of the file; exit code 78.
        ConfigurationError: The entries do not fit together.
        DataError: A key or certificate file holds something else.
    """
    wanted = load(path, Consortium, env_prefix="GRIDWITNESS_CONSORTIUM")
    genesis = Genesis(
        name=wanted.name,
        time_ms=wanted.time_ms if wanted.time_ms is not None else SystemClock().now_ms(),
        validators=tuple(sorted(map(_validator, wanted.validators), key=lambda entry: entry.member)),
        organisations=tuple(sorted(map(_organisation, wanted.organisations), key=lambda entry: entry.id)),
        keys=tuple(sorted(map(_key, wanted.keys), key=lambda entry: entry.key)),
        stations=tuple(
            sorted(
                (Station(entry.id, entry.area, entry.organisation) for entry in wanted.stations),
                key=lambda entry: entry.id,
            )
        ),
        gateways=tuple(
            sorted((Gateway(entry.id, entry.station) for entry in wanted.gateways), key=lambda entry: entry.id)
        ),
        devices=tuple(
            sorted(
                (Device(entry.id, entry.gateway, entry.vendor, entry.model, entry.serial) for entry in wanted.devices),
                key=lambda entry: entry.id,
            )
        ),
        parameters=wanted.parameters.to_value(),
        code_table=code_table(),
    )
    try:
        check_parameters(genesis.parameters)
        genesis.encode()
    except WireError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return genesis


def _validator(entry: ValidatorEntry) -> GenesisValidator:
    certificate = der_of(read_bounded(entry.certificate, bytes_max=_PEM_BYTES_MAX))
    return GenesisValidator(entry.member, load_public_key(entry.vote_key).public, certificate)


def _organisation(entry: OrganisationEntry) -> Organisation:
    root_key = None if entry.root_key is None else load_public_key(entry.root_key).public
    return Organisation(entry.id, entry.role, entry.parent, root_key)


def _key(entry: KeyEntry) -> AccountKey:
    return AccountKey(load_public_key(entry.public).public, entry.sender, entry.organisation)
