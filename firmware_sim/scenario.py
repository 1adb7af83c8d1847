"""Scenario files: which devices stand on the bench, and with which releases.

[scenario]
name = "three-substations"

[control]
listen = "127.0.0.1:8470"

[[device]]
id = "sc-lakeside-1"
listen = "127.0.0.1:0"
unit_id = 1
vendor = "Northgrid Controls"
product = "SCD-220"
model = "SCD-220/8"
serial = "NG-220-0001"
release = "releases/lakeside-1-2.4.0"
old_release = "releases/lakeside-1-2.3.1"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from firmware_sim.contents import Contents
from firmware_sim.device import Device, Identity
from firmware_sim.errors import ScenarioError
from firmware_sim.release import IDENTIFIER, Release, load_release
from kit.config import HostPort, load, rule

DEVICES_MAX = 5_000
CONTROL_DEFAULT = HostPort("127.0.0.1", 8470)
ENVIRONMENT_PREFIX = "GRIDWITNESS_SIM"
WHOLE_FLEET = "all"
"""Stands for every device on the command line, so no device may be called so."""

_ANY_PORT = HostPort("127.0.0.1", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioHead:
    """Table ``[scenario]``."""

    name: str = field(metadata=rule(maximum=64))


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTable:
    """Table ``[control]``: where the test bench is reached."""

    listen: HostPort = CONTROL_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTable:
    """Table ``[[device]]``.

    Attributes:
        id: Identifier of the device.
        listen: Where it answers Modbus TCP; port 0 takes a free one.
        unit_id: 0..255.
        release: Folder of the release that is loaded at the start.
        extra_releases: Folders loaded after it, each replacing the kinds that it holds.
        old_release: Folder for the tamper action ``old-release``.
    """

    id: str = field(metadata=rule(pattern=IDENTIFIER))
    listen: HostPort = _ANY_PORT
    unit_id: int = field(default=1, metadata=rule(minimum=0, maximum=255))
    vendor: str = field(metadata=rule(maximum=64))
    product: str = field(metadata=rule(maximum=64))
    product_name: str = field(default="Stability control device", metadata=rule(maximum=64))
    model: str = field(metadata=rule(maximum=64))
    serial: str = field(metadata=rule(maximum=64))
    release: Path = field(metadata=rule(exists="folder"))
    extra_releases: tuple[Path, ...] = field(default=(), metadata=rule(maximum=3, exists="folder"))
    old_release: Path | None = field(default=None, metadata=rule(exists="folder"))

    def __post_init__(self) -> None:
        """Check what spans several keys.

        Raises:
            ValueError: A reserved name, or a text that no identification object can hold.
        """
        if self.id == WHOLE_FLEET:
            raise ValueError(f"id {WHOLE_FLEET!r} stands for the whole fleet; choose another")
        self.identity()

    def identity(self) -> Identity:
        """Give the identity texts."""
        return Identity(self.vendor, self.product, self.product_name, self.model, self.serial)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A whole scenario file."""

    scenario: ScenarioHead
    control: ControlTable = field(default_factory=ControlTable)
    devices: tuple[DeviceTable, ...] = field(metadata=rule(key="device", minimum=1, maximum=DEVICES_MAX, unique="id"))

    def __post_init__(self) -> None:
        """Check what spans several devices.

        Raises:
            ValueError: Two listeners on one port.
        """
        taken: dict[HostPort, str] = {self.control.listen: "the control port"}
        for device in self.devices:
            if device.listen.port and device.listen in taken:
                raise ValueError(f"device {device.id} listens on {device.listen}, which {taken[device.listen]} has")
            taken[device.listen] = f"device {device.id}"


@dataclass(frozen=True, slots=True)
class Place:
    """A device together with what the scenario says around it."""

    device: Device
    listen: HostPort
    old_release: Path | None


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises:
        ConfigProblemsError: Everything that is wrong, each with file and line.
    """
    return load(path, Scenario, env_prefix=ENVIRONMENT_PREFIX)


def build_places(scenario: Scenario, clock_ms: Callable[[], int]) -> dict[str, Place]:
    """Load the releases and make the devices; a release that several use is held once.

    Args:
        scenario: A checked scenario.
        clock_ms: Drives the measurements of all devices.

    Raises:
        ScenarioError: A release is for another device or model.
        ReleaseError: A release folder is not complete.
    """
    releases: dict[Path, Release] = {}
    contents: dict[tuple[Path, ...], Contents] = {}
    places = {}
    for table in scenario.devices:
        folders = (table.release, *table.extra_releases)
        for folder in folders:
            if folder not in releases:
                releases[folder] = load_release(folder)
            _check_target(table, releases[folder])
        if folders not in contents:
            files = [item for folder in folders for item in releases[folder].artefacts]
            contents[folders] = Contents.of(files)
        device = Device(table.id, table.identity(), contents[folders], clock_ms, table.unit_id)
        places[table.id] = Place(device, table.listen, table.old_release)
    return places


def _check_target(table: DeviceTable, release: Release) -> None:
    """Refuse a release that was made for something else.

    Raises:
        ScenarioError: With both names.
    """
    if release.device not in {None, table.id}:
        raise ScenarioError(f"device {table.id}: {release.folder} is a release for device {release.device}")
    if release.model not in {None, table.model}:
        raise ScenarioError(f"device {table.id} is a {table.model}: {release.folder} is for model {release.model}")
