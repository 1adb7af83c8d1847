"""A small bench for tests: two devices with releases of their own, and an old release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from firmware_sim.contents import Artefact, Contents, artefact
from firmware_sim.device import Device, Identity
from firmware_sim.fleet import Fleet
from firmware_sim.modbus.unit import Unit
from firmware_sim.release import ReleaseSpec, make_release
from firmware_sim.scenario import load_scenario

NOW_MS = 1_750_000_000_000
FIRMWARE_BYTES = 64 * 1024 + 1
IDENTITY = Identity("Northgrid Controls", "SCD-220", "Stability control device", "SCD-220/8", "NG-1")

SCENARIO = """\
[scenario]
name = "two-devices"

[control]
listen = "127.0.0.1:0"

[[device]]
id = "dev-a"
vendor = "Northgrid Controls"
product = "SCD-220"
model = "SCD-220/8"
serial = "NG-0001"
release = "releases/a-2"
old_release = "releases/a-1"

[[device]]
id = "dev-b"
unit_id = 3
vendor = "Northgrid Controls"
product = "SCD-220"
model = "SCD-220/8"
serial = "NG-0002"
release = "releases/b-2"
"""


def clock_ms() -> int:
    """Stand still."""
    return NOW_MS


def device(*artefacts: Artefact, name: str = "dev-a", unit_id: int = 1) -> Device:
    """Make a device of a few bytes."""
    held = artefacts or (artefact("firmware", "1.0.0", bytes(range(256)) * 100),)
    return Device(name, IDENTITY, Contents.of(held), clock_ms, unit_id)


class FixedUnit(Unit):
    """A Modbus unit that shows what a test wants; what it does not want is the device's own."""

    def __init__(
        self,
        shown: Device,
        *,
        files: Mapping[int, bytes] | None = None,
        objects: Mapping[int, bytes] | None = None,
        registers: bytes | None = None,
    ) -> None:
        super().__init__(shown)
        self.fixed_files = files
        self.objects = objects
        self.registers = registers

    @property
    def holding(self) -> bytes:
        return super().holding if self.registers is None else self.registers

    @property
    def identification(self) -> Mapping[int, bytes]:
        return super().identification if self.objects is None else self.objects

    def file_part(self, number: int, offset: int, size: int) -> bytes | None:
        if self.fixed_files is None:
            return super().file_part(number, offset, size)
        part = self.fixed_files.get(number, b"")[offset : offset + size]
        return part if len(part) == size else None


def write_bench(folder: Path) -> Path:
    """Write releases and scenario below ``folder`` and return the scenario file."""
    for name, target, version in (("a-2", "dev-a", "2.0.0"), ("a-1", "dev-a", "1.0.0"), ("b-2", "dev-b", "2.0.0")):
        spec = ReleaseSpec(release=name, version=version, device=target, size_bytes=FIRMWARE_BYTES)
        make_release(folder / "releases" / name, spec)
    path = folder / "bench.toml"
    path.write_text(SCENARIO)
    return path


def make_fleet(scenario: Path) -> Fleet:
    """Load the bench; nothing listens."""
    return Fleet(load_scenario(scenario), base=scenario.parent, clock_ms=clock_ms)
