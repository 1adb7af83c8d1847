"""The gateway's configuration: what it asks for, what it checks, and the values that the program gets.

Everything wrong is reported at once, each with its file and line (`kit.config`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.drivers.table import DRIVERS, load_profiles
from agent.model import DeviceConfig, TlsFiles
from agent.profile import Profile
from kit.config import ConfigProblemsError, HostPort, Origin, Problem, load, origin, rule
from wire.types import IDENTIFIER_PATTERN

ENV_PREFIX: Final = "GRIDWITNESS_AGENT"
DEVICE_FOLDER: Final = "devices.d"
PROFILE_FOLDER: Final = "profiles"
DEVICES_MAX: Final = 1000
_DAY_S: Final = 86_400
_HOUR_MS: Final = 3_600_000
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTable:
    """``[agent]``: which gateway this is, and where its files are."""

    gateway: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    area: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    station: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    state_dir: Path = Path("/var/lib/gridwitness")
    genesis: Path = field(metadata=rule(exists="file"))
    key: Path = field(metadata=rule(exists="file"))
    heartbeat_ms: int | None = field(default=None, metadata=rule(minimum=100, maximum=_HOUR_MS, unit="ms"))
    """The ledger's parameter, where a vote has changed it since the genesis file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttTable:
    """``[mqtt]``: the broker, and how this gateway shows itself to it."""

    host: str = field(metadata=rule(maximum=253))
    port: int = field(default=8883, metadata=rule(minimum=1, maximum=65_535))
    ca: Path = field(metadata=rule(exists="file"))
    certificate: Path = field(metadata=rule(exists="file"))
    key: Path = field(metadata=rule(exists="file"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTable:
    """``[poll]``: how often devices are read, and how often that is reported without a change."""

    interval_ms: int = field(default=1000, metadata=rule(minimum=100, maximum=_DAY_S * 1000, unit="ms"))
    report_interval_s: int = field(default=900, metadata=rule(minimum=1, maximum=_DAY_S, unit="s"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxTable:
    """``[outbox]``: how much may wait for its receipt."""

    bytes_max: int = field(default=64 * _MIB, metadata=rule(minimum=_MIB, maximum=16 * 1024 * _MIB, unit="bytes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsTable:
    """``[metrics]``: where Prometheus finds the figures of this program."""

    listen: HostPort


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsTable:
    """``[device.tls]``: certificates for the connection to one device."""

    ca: Path = field(metadata=rule(exists="file"))
    certificate: Path = field(metadata=rule(exists="file"))
    key: Path = field(metadata=rule(exists="file"))
    server_name: str = field(default="", metadata=rule(minimum=0, maximum=253))


@dataclass(frozen=True, slots=True, kw_only=True)
class _DeviceTable:
    """``[[device]]``: one device and how it is read."""

    id: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    protocol: str = field(metadata=rule(choices=tuple(sorted(DRIVERS))))
    profile: str = field(metadata=rule(maximum=64))
    host: str = field(default="", metadata=rule(maximum=253))
    port: int | None = field(default=None, metadata=rule(minimum=1, maximum=65_535))
    unit_id: int = field(default=1, metadata=rule(minimum=0, maximum=255))
    timeout_ms: int = field(default=2000, metadata=rule(minimum=10, maximum=600_000, unit="ms"))
    retries: int = field(default=2, metadata=rule(minimum=0, maximum=10))
    pacing_ms: int | None = field(default=None, metadata=rule(minimum=0, maximum=60_000, unit="ms"))
    interval_ms: int | None = field(default=None, metadata=rule(minimum=100, maximum=_DAY_S * 1000, unit="ms"))
    deadline_s: int = field(default=1800, metadata=rule(minimum=1, maximum=_DAY_S, unit="s"))
    tls: TlsTable | None = None
    written_at: Origin = field(metadata=origin())

    def __post_init__(self) -> None:
        """Refuse what the device's protocol does not have.

        Raises:
            ValueError: With what is too much or missing.
        """
        entry = DRIVERS[self.protocol]
        missing = entry.missing()
        if missing:
            raise ValueError(missing)
        if entry.port is not None and not self.host:
            raise ValueError("key 'host' is missing")
        if entry.port is None and (self.host or self.port is not None):
            raise ValueError(f"host, port: protocol '{self.protocol}' has no network address")
        if self.tls is not None and entry.tls_port is None:
            raise ValueError(f"tls: the driver of '{self.protocol}' knows no TLS")
        if entry.needs_options and getattr(self, self.protocol) is None:
            raise ValueError(f"table '{self.protocol}' is missing")
        for protocol, other in DRIVERS.items():
            if other.options is not None and protocol != self.protocol and getattr(self, protocol) is not None:
                raise ValueError(f"{protocol}: a table for another protocol than '{self.protocol}'")

    def usual_port(self) -> int:
        """Return the port of a device that names none, 0 if its protocol has none."""
        entry = DRIVERS[self.protocol]
        return (entry.port if self.tls is None else entry.tls_port) or 0


if TYPE_CHECKING:
    DeviceTable = _DeviceTable
else:
    # Each protocol whose devices have options of their own adds its table.
    DeviceTable = dataclasses.make_dataclass(
        "DeviceTable",
        [
            (protocol, entry.options | None, field(default=None))
            for protocol, entry in DRIVERS.items()
            if entry.options is not None
        ],
        bases=(_DeviceTable,),
        frozen=True,
        slots=True,
        kw_only=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFile:
    """What agent.toml may hold, with its drop-ins and devices.d."""

    agent: AgentTable
    mqtt: MqttTable
    poll: PollTable = field(default=PollTable())
    outbox: OutboxTable = field(default=OutboxTable())
    metrics: MetricsTable | None = None
    devices: tuple[DeviceTable, ...] = field(metadata=rule(key="device", minimum=1, maximum=DEVICES_MAX, unique="id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig(AgentFile):
    """The whole configuration, profiles included."""

    profiles: Mapping[str, Profile]
    """By name; every device's is there and of its protocol."""

    def device_configs(self) -> tuple[DeviceConfig, ...]:
        """Return the devices as the drivers take them, sorted by id."""
        return tuple(self._device_config(table) for table in sorted(self.devices, key=lambda table: table.id))

    def _device_config(self, table: DeviceTable) -> DeviceConfig:
        tls = table.tls
        profile = self.profiles[table.profile]
        return DeviceConfig(
            id=table.id,
            protocol=table.protocol,
            profile=table.profile,
            host=table.host,
            port=table.usual_port() if table.port is None else table.port,
            unit_id=table.unit_id,
            timeout_ms=table.timeout_ms,
            retries=table.retries,
            pacing_ms=profile.pacing.pause_ms if table.pacing_ms is None else table.pacing_ms,
            interval_ms=self.poll.interval_ms if table.interval_ms is None else table.interval_ms,
            deadline_ms=1000 * table.deadline_s,
            quiet=profile.quiet,
            plan=profile.read,
            tls=None if tls is None else TlsFiles(tls.ca, tls.certificate, tls.key, tls.server_name),
            options=getattr(table, table.protocol, None),
        )


def load_agent_config(path: Path) -> AgentConfig:
    """Read agent.toml, agent.toml.d/*.toml, devices.d/*.toml, profiles/*.toml and the environment.

    Raises:
        ConfigProblemsError: With every problem found; exit code 78.
    """
    profiles = load_profiles(path.parent / PROFILE_FOLDER)
    file = load(path, AgentFile, env_prefix=ENV_PREFIX, folders=(DEVICE_FOLDER,))
    problems = [problem for device in file.devices for problem in _profile_problems(device, profiles)]
    if problems:
        raise ConfigProblemsError(problems)
    parts = {part.name: getattr(file, part.name) for part in dataclasses.fields(file)}
    return AgentConfig(**parts, profiles=profiles)


def _profile_problems(device: DeviceTable, profiles: Mapping[str, Profile]) -> tuple[Problem, ...]:
    of_protocol = sorted(name for name, profile in profiles.items() if profile.protocol == device.protocol)
    if device.profile in of_protocol:
        return ()
    names = ", ".join(f"'{name}'" for name in of_protocol)
    return (
        Problem(device.written_at, f"device {device.id}: profile: expected one of {names}, found '{device.profile}'"),
    )
