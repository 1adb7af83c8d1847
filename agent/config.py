"""The gateway's configuration: what it asks for, what it checks, and the values that the program gets.

Everything wrong is reported at once, each with its file and line (`kit.config`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.drivers.table import DRIVERS
from agent.model import DeviceConfig
from kit.config import HostPort, load, rule
from wire.types import IDENTIFIER_PATTERN

ENV_PREFIX: Final = "GRIDWITNESS_AGENT"
DEVICE_FOLDER: Final = "devices.d"
DEVICES_MAX: Final = 1000
_DAY_S: Final = 86_400
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTable:
    """``[agent]``: which gateway this is, and where its files are."""

    gateway: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    area: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    station: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    state_dir: Path
    genesis: Path = field(metadata=rule(exists="file"))
    key: Path = field(metadata=rule(exists="file"))


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
class DeviceTable:
    """``[[device]]``: one device and how it is read."""

    id: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    protocol: str = field(metadata=rule(choices=tuple(sorted(DRIVERS))))
    profile: str = field(metadata=rule(maximum=64))
    host: str = field(metadata=rule(maximum=253))
    port: int = field(default=502, metadata=rule(minimum=1, maximum=65_535))
    unit_id: int = field(default=1, metadata=rule(minimum=0, maximum=255))
    timeout_ms: int = field(default=2000, metadata=rule(minimum=10, maximum=600_000, unit="ms"))
    retries: int = field(default=2, metadata=rule(minimum=0, maximum=10))
    pacing_ms: int = field(default=0, metadata=rule(minimum=0, maximum=60_000, unit="ms"))
    interval_ms: int | None = field(default=None, metadata=rule(minimum=100, maximum=_DAY_S * 1000, unit="ms"))

    def __post_init__(self) -> None:
        """Refuse a profile that the protocol does not have.

        Raises:
            ValueError: With the profiles that there are.
        """
        profiles = DRIVERS[self.protocol].profiles
        if self.profile not in profiles:
            names = ", ".join(f"'{name}'" for name in sorted(profiles))
            raise ValueError(f"profile: expected one of {names}, found '{self.profile}'")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The whole of agent.toml with its drop-ins and devices.d."""

    agent: AgentTable
    mqtt: MqttTable
    poll: PollTable = field(default=PollTable())
    outbox: OutboxTable = field(default=OutboxTable())
    metrics: MetricsTable | None = None
    devices: tuple[DeviceTable, ...] = field(metadata=rule(key="device", minimum=1, maximum=DEVICES_MAX, unique="id"))

    def device_configs(self) -> tuple[DeviceConfig, ...]:
        """Return the devices as the drivers take them, sorted by id."""
        return tuple(
            DeviceConfig(
                id=table.id,
                protocol=table.protocol,
                profile=table.profile,
                host=table.host,
                port=table.port,
                unit_id=table.unit_id,
                timeout_ms=table.timeout_ms,
                retries=table.retries,
                pacing_ms=table.pacing_ms,
                interval_ms=self.poll.interval_ms if table.interval_ms is None else table.interval_ms,
            )
            for table in sorted(self.devices, key=lambda table: table.id)
        )


def load_agent_config(path: Path) -> AgentConfig:
    """Read agent.toml, agent.toml.d/*.toml, devices.d/*.toml and the environment.

    Raises:
        ConfigProblemsError: With every problem found; exit code 78.
    """
    return load(path, AgentConfig, env_prefix=ENV_PREFIX, folders=(DEVICE_FOLDER,))
