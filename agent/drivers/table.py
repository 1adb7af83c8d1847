"""Which driver speaks which protocol. A new protocol is one new file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from agent.drivers import folder, iec104, mms, modbus
from agent.drivers.iec104_profile import Iec104Options, Iec104Profile
from agent.drivers.link import LinkCounters
from agent.drivers.mms_link import missing_extra
from agent.drivers.mms_profile import MmsOptions, MmsProfile
from agent.drivers.modbus_profile import ModbusProfile
from agent.model import DeviceConfig, Reading
from agent.profile import Profile, Specifics, read_profiles
from kit.clock import Clock


class Driver(Protocol):
    """Reads one device; holds no keys and knows no broker."""

    @property
    def counters(self) -> LinkCounters:
        """What it has asked so far."""

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        """Read the device, or only its files of some kinds.

        Raises:
            DeviceError: The read did not come to its end.
        """

    async def close(self) -> None:
        """Close what is open; a later read opens it again."""


@dataclass(frozen=True, slots=True)
class DriverEntry:
    """A protocol."""

    open: Callable[[DeviceConfig, Profile, Clock], Driver]
    """Prepare a driver; nothing is connected yet."""
    specifics: type[Specifics]
    """Schema of the profile's table that is named as the protocol."""
    port: int | None = None
    """Usual port; None where the protocol has no network address, so that a device has neither host nor port."""
    tls_port: int | None = None
    """Usual port under TLS; None where the driver knows no TLS."""
    options: type | None = None
    """Schema of the table ``[device.PROTOCOL]`` in agent.toml, None if a device has none."""
    needs_options: bool = False
    """Whether a device must have that table."""
    missing: Callable[[], str] = str
    """Say in one sentence what must be installed for it, nothing when all is there."""


DRIVERS: Final[dict[str, DriverEntry]] = {
    "folder": DriverEntry(folder.FolderDriver, folder.FolderProfile, options=folder.FolderOptions, needs_options=True),
    "iec104": DriverEntry(iec104.Iec104Driver, Iec104Profile, port=2404, tls_port=19_998, options=Iec104Options),
    "mms": DriverEntry(mms.MmsDriver, MmsProfile, port=102, options=MmsOptions, missing=missing_extra),
    "modbus": DriverEntry(modbus.ModbusDriver, ModbusProfile, port=502, tls_port=802),
}


def profile_schemas() -> dict[str, type]:
    """Return by protocol the schema of its table in a profile."""
    return {protocol: entry.specifics for protocol, entry in DRIVERS.items()}


def load_profiles(folder: Path | None = None) -> dict[str, Profile]:
    """Read the packaged profiles and those of ``folder``.

    Raises:
        ConfigProblemsError: With every problem of every file; exit code 78.
    """
    return read_profiles(folder, profile_schemas())
