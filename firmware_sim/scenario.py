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

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from firmware_sim.contents import GROUPS_MAX, SETTINGS, Artefact, Contents, ContentsError
from firmware_sim.device import Device, Identity
from firmware_sim.errors import ReleaseError, ScenarioError
from firmware_sim.events import EVENTS_MAX, EventTable
from firmware_sim.faults import MODBUS
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.mms.ied import MmsOptions
from firmware_sim.modbus.unit import ModbusOptions
from firmware_sim.protocols import PROTOCOLS
from firmware_sim.release import IDENTIFIER, Release, load_release
from kit.config import HostPort, load, rule
from kit.config_check import PORT_MAX

DEVICES_MAX = 5_000
UNIT_MAX = 255
CONTROL_DEFAULT = HostPort("127.0.0.1", 8470)
ENVIRONMENT_PREFIX = "GRIDWITNESS_SIM"
WHOLE_FLEET = "all"
"""Stands for every device on the command line, so no device may be called so."""

_ANY_PORT = HostPort("127.0.0.1", 0)
_NUMBER = "{n}"
_ID_TEMPLATE = re.compile(r"[a-z0-9{}-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioHead:
    """Table ``[scenario]``."""

    name: str = field(metadata=rule(maximum=64))


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTable:
    """Table ``[control]``: where the test bench is reached."""

    listen: HostPort = CONTROL_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsTable:
    """Table ``[device.tls]`` or ``[gateway.tls]``: the port speaks TLS and asks for a client certificate.

    Attributes:
        certificate: The device's certificate, PEM.
        key: Its key, PEM.
        client_ca: Authorities of the clients that are let in, PEM.
    """

    certificate: Path = field(metadata=rule(exists="file"))
    key: Path = field(metadata=rule(exists="file"))
    client_ca: Path = field(metadata=rule(exists="file"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTable:
    """Table ``[[gateway]]``: one port with several devices behind it, told apart by their unit ids.

    Attributes:
        id: What devices name in ``gateway``.
        listen: Port 0 takes a free one.
        protocol: That of all its devices.
        tls: Without it, plain TCP.
    """

    id: str = field(metadata=rule(pattern=IDENTIFIER))
    listen: HostPort = _ANY_PORT
    protocol: str = field(default=MODBUS, metadata=rule(choices=tuple(PROTOCOLS)))
    tls: TlsTable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTable:
    """Table ``[[device]]``: one device, or ``count`` of them that differ in number, port and unit id alone.

    Attributes:
        id: Identifier of the device; ``{n}`` in it is the number of each of ``count`` devices.
        count: How many.
        first: Number of the first.
        protocol: What it speaks.
        listen: Where it answers; port 0 takes a free one; of ``count`` devices each has the next port.
        gateway: Instead of a port of its own: the ``[[gateway]]`` that it stands behind.
        unit_id: 0..255; behind a gateway each of ``count`` devices has the next one.
        tls: Without it, plain TCP.
        release: Folder of the release that is loaded at the start.
        extra_releases: Folders loaded after it, each replacing the kinds that it holds.
        group_releases: Folders with the setting lists of group 2 and on.
        old_release: Folder for the tamper action ``old-release``.
        modbus: What this device can do in Modbus.
        iec104: What this device can do in IEC 60870-5-104.
        mms: What this device is called and has in IEC 61850.
    """

    id: str = field(metadata=rule(pattern=_ID_TEMPLATE))
    count: int = field(default=1, metadata=rule(minimum=1, maximum=DEVICES_MAX))
    first: int = field(default=1, metadata=rule(minimum=0, maximum=1_000_000_000))
    protocol: str = field(default=MODBUS, metadata=rule(choices=tuple(PROTOCOLS)))
    listen: HostPort = _ANY_PORT
    gateway: str | None = None
    unit_id: int = field(default=1, metadata=rule(minimum=0, maximum=255))
    tls: TlsTable | None = None
    vendor: str = field(metadata=rule(maximum=64))
    product: str = field(metadata=rule(maximum=64))
    product_name: str = field(default="Stability control device", metadata=rule(maximum=64))
    model: str = field(metadata=rule(maximum=64))
    serial: str = field(metadata=rule(maximum=64))
    release: Path = field(metadata=rule(exists="folder"))
    extra_releases: tuple[Path, ...] = field(default=(), metadata=rule(maximum=3, exists="folder"))
    group_releases: tuple[Path, ...] = field(default=(), metadata=rule(maximum=GROUPS_MAX - 1, exists="folder"))
    old_release: Path | None = field(default=None, metadata=rule(exists="folder"))
    modbus: ModbusOptions = field(default_factory=ModbusOptions)
    iec104: Iec104Options = field(default_factory=Iec104Options)
    mms: MmsOptions = field(default_factory=MmsOptions)

    def __post_init__(self) -> None:
        """Check what spans several keys.

        Raises:
            ValueError: A reserved name, a text that no identification object can hold, or devices that cannot differ.
        """
        if self.id == WHOLE_FLEET:
            raise ValueError(f"id {WHOLE_FLEET!r} stands for the whole fleet; choose another")
        if (self.count > 1 or "{" in self.id) and (_NUMBER not in self.id or _NUMBER not in self.serial):
            raise ValueError(f"{self.count} devices need {_NUMBER} in id and serial, so that they differ")
        if self.gateway is not None and (self.listen != _ANY_PORT or self.tls is not None):
            raise ValueError(f"device {self.id} stands behind gateway {self.gateway}, which has listen and tls")
        last = self.first + self.count - 1
        for number in (self.first, last):
            self._numbered(self.id, number)
            self.identity(number)
        if self.listen.port and self.listen.port + self.count - 1 > PORT_MAX:
            raise ValueError(f"{self.count} devices from port {self.listen.port} on would leave the port numbers")
        if self.gateway is not None and self.unit_id + self.count - 1 > UNIT_MAX:
            raise ValueError(f"{self.count} devices from unit {self.unit_id} on would leave the unit ids 0..{UNIT_MAX}")

    def _numbered(self, template: str, number: int) -> str:
        text = template.replace(_NUMBER, str(number))
        if template is self.id and not IDENTIFIER.fullmatch(text):
            raise ValueError(f"id {text!r} is not of the form {IDENTIFIER.pattern}")
        return text

    def identity(self, number: int = 1) -> Identity:
        """Give the identity texts of one of the devices."""
        serial = self._numbered(self.serial, number)
        return Identity(self.vendor, self.product, self.product_name, self.model, serial)

    def expanded(self) -> Iterator[DeviceTable]:
        """Give one table a device."""
        if self.count == 1 and _NUMBER not in self.id:
            yield self
            return
        for index in range(self.count):
            number = self.first + index
            port = self.listen.port and self.listen.port + index
            yield replace(
                self,
                id=self._numbered(self.id, number),
                serial=self._numbered(self.serial, number),
                count=1,
                listen=HostPort(self.listen.host, port),
                unit_id=self.unit_id + (index if self.gateway is not None else 0),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A whole scenario file."""

    scenario: ScenarioHead
    control: ControlTable = field(default_factory=ControlTable)
    gateways: tuple[GatewayTable, ...] = field(
        default=(), metadata=rule(key="gateway", maximum=DEVICES_MAX, unique="id")
    )
    devices: tuple[DeviceTable, ...] = field(metadata=rule(key="device", minimum=1, maximum=DEVICES_MAX, unique="id"))
    events: tuple[EventTable, ...] = field(default=(), metadata=rule(key="event", maximum=EVENTS_MAX))

    def __post_init__(self) -> None:
        """Put one table a device in the place of counts, and check what spans several tables.

        Raises:
            ValueError: Two listeners on one port, two devices of one name, a gateway that is not there, or too many.
        """
        object.__setattr__(self, "devices", tuple(each for table in self.devices for each in table.expanded()))
        if len(self.devices) > DEVICES_MAX:
            raise ValueError(f"{len(self.devices)} devices, at most {DEVICES_MAX}")
        taken: dict[HostPort, str] = {self.control.listen: "the control port"}
        listeners = [(f"gateway {table.id}", table.listen) for table in self.gateways]
        listeners += [(f"device {table.id}", table.listen) for table in self.devices if table.gateway is None]
        for who, listen in listeners:
            if listen.port and listen in taken:
                raise ValueError(f"{who} listens on {listen}, which {taken[listen]} has")
            taken[listen] = who
        self._check_devices()

    def _check_devices(self) -> None:
        gateways = {table.id: table for table in self.gateways}
        names: set[str] = set()
        units: set[tuple[str, int]] = set()
        for table in self.devices:
            if table.id in names:
                raise ValueError(f"two devices are called {table.id}")
            names.add(table.id)
            if table.gateway is None:
                continue
            gateway = gateways.get(table.gateway)
            if gateway is None or gateway.protocol != table.protocol or not PROTOCOLS[table.protocol].shared:
                raise ValueError(f"device {table.id}: there is no gateway {table.gateway} for {table.protocol}")
            if (gateway.id, table.unit_id) in units:
                raise ValueError(f"device {table.id}: unit {table.unit_id} of gateway {gateway.id} is taken")
            units.add((gateway.id, table.unit_id))


@dataclass(frozen=True, slots=True)
class Place:
    """A device together with what the scenario says around it.

    Attributes:
        device: The device.
        old_release: Folder for the action ``old-release``.
        port: Which of the ports it is reached at.
        options: Its protocol's options.
    """

    device: Device
    old_release: Path | None
    port: str
    options: object


@dataclass(frozen=True, slots=True)
class Port:
    """Where to listen, for whom.

    Attributes:
        name: Of the gateway, or of the one device.
        listen: Port 0 takes a free one.
        protocol: A key of ``PROTOCOLS``.
        tls: None for plain TCP.
    """

    name: str
    listen: HostPort
    protocol: str
    tls: TlsTable | None


def ports_of(scenario: Scenario) -> dict[str, Port]:
    """Name every port of a scenario: those of the gateways that have devices, and each device's own."""
    used = {table.gateway for table in scenario.devices}
    found = {
        f"gateway {table.id}": Port(f"gateway {table.id}", table.listen, table.protocol, table.tls)
        for table in scenario.gateways
        if table.id in used
    }
    for table in scenario.devices:
        if table.gateway is None:
            name = f"device {table.id}"
            found[name] = Port(name, table.listen, table.protocol, table.tls)
    return found


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
    loader = _Loader()
    places = {}
    for table in scenario.devices:
        contents = loader.contents(table)
        device = Device(table.id, table.identity(), contents, clock_ms, table.unit_id, table.protocol)
        port = f"device {table.id}" if table.gateway is None else f"gateway {table.gateway}"
        places[table.id] = Place(device, table.old_release, port, getattr(table, table.protocol))
    return places


class _Loader:
    """Reads each release folder once, however many devices have it."""

    def __init__(self) -> None:
        self._releases: dict[Path, Release] = {}
        self._contents: dict[tuple[tuple[Path, ...], tuple[Path, ...]], Contents] = {}

    def contents(self, table: DeviceTable) -> Contents:
        """Give what a device holds at the start.

        Raises:
            ScenarioError: A release is for another device or model.
            ReleaseError: A release folder is not complete, or one for a setting group has no setting list.
        """
        folders = (table.release, *table.extra_releases)
        for folder in (*folders, *table.group_releases):
            if folder not in self._releases:
                self._releases[folder] = load_release(folder)
            _check_target(table, self._releases[folder])
        key = (folders, table.group_releases)
        if key not in self._contents:
            files = [item for folder in folders for item in self._releases[folder].artefacts]
            groups = [_settings_of(self._releases[folder]) for folder in table.group_releases]
            try:
                self._contents[key] = Contents.of(files, groups)
            except ContentsError as error:
                raise ScenarioError(f"device {table.id}: {error}") from error
        return self._contents[key]


def _settings_of(release: Release) -> Artefact:
    """Give the setting list of a release.

    Raises:
        ReleaseError: It has none.
    """
    for item in release.artefacts:
        if item.kind == SETTINGS:
            return item
    raise ReleaseError(f"{release.folder} has no setting list, as the release of a setting group must")


def _check_target(table: DeviceTable, release: Release) -> None:
    """Refuse a release that was made for something else.

    Raises:
        ScenarioError: With both names.
    """
    if release.device not in {None, table.id}:
        raise ScenarioError(f"device {table.id}: {release.folder} is a release for device {release.device}")
    if release.model not in {None, table.model}:
        raise ScenarioError(f"device {table.id} is a {table.model}: {release.folder} is for model {release.model}")
