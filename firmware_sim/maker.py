"""Make a scenario with any number of devices, and the releases that they hold, from nothing but arguments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_sim.errors import BadRequestError
from firmware_sim.faults import IEC104, MODBUS
from firmware_sim.protocols import PROTOCOLS
from firmware_sim.release import ReleaseSpec, make_release
from firmware_sim.scenario import DEVICES_MAX, Scenario, load_scenario
from kit.config_check import PORT_MAX
from kit.files import write_atomic

SCENARIO_FILE = "scenario.toml"
_MODEL = "SCD-220/8"
_VENDOR = "Northgrid Controls"
_CHECKSUMS_ONLY = {MODBUS: "modbus = {files = false}", IEC104: "iec104 = {has_files = false}"}


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """What a scenario is made from.

    Attributes:
        devices: How many, 1..5,000.
        name: Of the scenario; the ids of its devices begin with it.
        host: Where they listen.
        first_port: Port of the first, each has the next; 0 lets each take a free one.
        version: Of the release that all of them hold; it is one for the model.
        old_version: Of the release that the action ``old-release`` loads.
        size_bytes: Size of the firmware image.
        seed: Other seeds give other files.
        control: Address of the control port.
        protocol: What they speak.
        checksums_only: Relays that give no files, but checksums.
        groups: Setting groups, 1..8; the further ones are releases of their own.
    """

    devices: int
    name: str = "fleet"
    host: str = "127.0.0.1"
    first_port: int = 0
    version: str = "2.4.0"
    old_version: str = "2.3.1"
    size_bytes: int = 280 * 1024
    seed: str = "gridwitness"
    control: str = "127.0.0.1:8470"
    protocol: str = MODBUS
    checksums_only: bool = False
    groups: int = 1


def make_scenario(folder: Path, spec: FleetSpec) -> Scenario:
    """Write releases and ``scenario.toml`` below ``folder``; what is there already is replaced.

    Args:
        folder: Made when missing.
        spec: What to write.

    Returns:
        The scenario as it is read back.

    Raises:
        BadRequestError: A number, name, version or size is out of its bounds.
        ConfigProblemsError: A name or address that no scenario may have.
        OSError: The folder cannot be written.
    """
    if not 1 <= spec.devices <= DEVICES_MAX:
        raise BadRequestError(f"{spec.devices} devices, expected 1..{DEVICES_MAX}")
    if spec.first_port and spec.first_port + spec.devices - 1 > PORT_MAX:
        raise BadRequestError(f"{spec.devices} devices from port {spec.first_port} on would leave the port numbers")
    if spec.protocol not in PROTOCOLS:
        raise BadRequestError(f"protocol is {spec.protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    if spec.checksums_only and spec.protocol not in _CHECKSUMS_ONLY:
        raise BadRequestError(f"a device that speaks {spec.protocol} always gives its files")
    releases = folder / "releases"
    for name, version in ((spec.name, spec.version), (f"{spec.name}-old", spec.old_version)):
        make_release(releases / name, _release(spec, name, version, ("firmware", "strategy", "settings")))
    for group in range(2, spec.groups + 1):
        name = _group(spec, group)
        make_release(releases / name, _release(spec, name, spec.version, ("settings",), f"{spec.seed}/{group}"))
    path = folder / SCENARIO_FILE
    write_atomic(path, _text(spec).encode())
    return load_scenario(path)


def _release(spec: FleetSpec, name: str, version: str, kinds: tuple[str, ...], seed: str | None = None) -> ReleaseSpec:
    return ReleaseSpec(
        release=name,
        version=version,
        model=_MODEL,
        seed=seed or spec.seed,
        size_bytes=spec.size_bytes,
        kinds=kinds,
    )


def _group(spec: FleetSpec, group: int) -> str:
    return f"{spec.name}-group-{group}"


def _text(spec: FleetSpec) -> str:
    """Write the scenario: one table for all devices."""
    lines = [
        "[scenario]",
        f'name = "{spec.name}"',
        "",
        "[control]",
        f'listen = "{spec.control}"',
        "",
        "[[device]]",
        f'id = "{spec.name}-{{n}}"',
        f"count = {spec.devices}",
        f'protocol = "{spec.protocol}"',
        f'listen = "{spec.host}:{spec.first_port}"',
        f'vendor = "{_VENDOR}"',
        'product = "SCD-220"',
        f'model = "{_MODEL}"',
        'serial = "NG-{n}"',
        f'release = "releases/{spec.name}"',
        f'old_release = "releases/{spec.name}-old"',
    ]
    if spec.groups > 1:
        names = ", ".join(f'"releases/{_group(spec, group)}"' for group in range(2, spec.groups + 1))
        lines.append(f"group_releases = [{names}]")
    if spec.checksums_only:
        lines.append(_CHECKSUMS_ONLY[spec.protocol])
    return "\n".join(lines) + "\n"
