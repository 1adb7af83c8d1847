"""The bench of a campaign: releases, references made from them, a scenario, a running simulator."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.drivers.table import DRIVERS, load_profiles
from agent.model import DeviceConfig
from firmware_sim.contents import Artefact
from firmware_sim.release import ReleaseSpec, make_release
from firmware_sim.settings import values_of
from rules.appraisal import Nameplate
from rules.fingerprint import FileDigest, fingerprint, fingerprint_word
from wire.release import Reference

FIRMWARE_BYTES: Final = 64 * 1024
START_S: Final = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of device on the bench.

    Attributes:
        profile: How the agent reads it.
        table: Its keys in the scenario.
        words: Artefact kinds of which only the device's own checksum is known.
        registers: Artefact kinds that are read from registers, not as a file.
        learned: Artefact kinds that the agent puts into a form of its own: what it reads of the untouched device is the
            reference, and what it reads with the earlier release is that release's.
    """

    profile: str
    table: str = ""
    words: frozenset[str] = frozenset()
    registers: frozenset[str] = frozenset()
    learned: frozenset[str] = frozenset()


MODBUS_FILES: Final = Kind("stability-control-modbus")
MODBUS_RELAY: Final = Kind(
    "relay-modbus-checksum",
    "modbus = {files = false}",
    words=frozenset({"firmware", "strategy"}),
    registers=frozenset({"settings"}),
)
IEC104_FILES: Final = Kind("stability-control-104", 'protocol = "iec104"')
IEC104_RELAY: Final = Kind(
    "relay-104-checksum",
    'protocol = "iec104"\niec104 = {has_files = false}',
    words=frozenset({"firmware", "strategy", "settings"}),
)
MMS_RELAY: Final = Kind("relay-61850", 'protocol = "mms"', learned=frozenset({"settings"}))
MMS_DEVICES: Final = 3
"""The first so many devices speak MMS, where its library is installed: each needs two child processes."""
MIX: Final = (MODBUS_FILES, MODBUS_RELAY, MODBUS_FILES, IEC104_FILES, MODBUS_FILES, IEC104_RELAY, MODBUS_FILES)
"""Kinds in the order in which devices get them, again and again."""

_MODEL = "SCD-220/8"
_PRODUCT = "SCD-220"


@dataclass(frozen=True, slots=True)
class Site:
    """One device of the bench, and what is right for it.

    Attributes:
        kind: What it is.
        config: As the agent knows it.
        nameplate: As the ledger knows it.
        slots: Reference value by artefact kind.
        old: The same of its earlier release.
    """

    kind: Kind
    config: DeviceConfig
    nameplate: Nameplate
    slots: dict[str, Reference]
    old: dict[str, Reference]


@dataclass(frozen=True, slots=True)
class Bench:
    """A running simulator.

    Attributes:
        sites: By device.
        control: URL of its control port.
        folder: Of the whole bench.
    """

    sites: Mapping[str, Site]
    control: str
    folder: Path


@contextlib.contextmanager
def running(folder: Path, devices: int) -> Iterator[Bench]:
    """Make releases and scenario below ``folder`` and run the simulator with them.

    Args:
        folder: Empty.
        devices: How many; their kinds follow from `kind_of`.
    """
    releases = folder / "releases"
    image = make_release(
        releases / "image",
        ReleaseSpec(release="image", version="2.4.0", model=_MODEL, size_bytes=FIRMWARE_BYTES, kinds=("firmware",)),
    ).artefacts
    held: dict[str, tuple[list[Artefact], list[Artefact]]] = {}
    tables = ['[scenario]\nname = "campaign"\n\n[control]\nlisten = "127.0.0.1:0"\n']
    for number in range(1, devices + 1):
        name = f"dev-{number}"
        new = _release(releases / f"{name}-new", name, "2.4.0")
        old = _release(releases / f"{name}-old", name, "2.3.1")
        held[name] = ([*image, *new], old)
        tables.append(_table(number, name))
    (folder / "scenario.toml").write_text("\n".join(tables))
    with _simulator(folder) as state:
        sites = {
            name: _site(number, name, state["devices"][name]["port"], *held[name])
            for number, name in enumerate(held, start=1)
        }
        yield Bench(sites, state["control"], folder)


def kind_of(number: int) -> Kind:
    """Give the kind of the device with this number, from 1 on."""
    if number <= MMS_DEVICES and not DRIVERS["mms"].missing():
        return MMS_RELAY
    return MIX[(number - 1) % len(MIX)]


def _release(folder: Path, device: str, version: str) -> list[Artefact]:
    spec = ReleaseSpec(release=folder.name, version=version, device=device, seed=device, kinds=("strategy", "settings"))
    return list(make_release(folder, spec).artefacts)


def _table(number: int, name: str) -> str:
    return (
        f'[[device]]\nid = "{name}"\nvendor = "Northgrid Controls"\nproduct = "{_PRODUCT}"\nmodel = "{_MODEL}"\n'
        f'serial = "NG-{number}"\nrelease = "releases/image"\nextra_releases = ["releases/{name}-new"]\n'
        f'old_release = "releases/{name}-old"\n{kind_of(number).table}\n'
    )


def _site(number: int, name: str, port: int, new: list[Artefact], old: list[Artefact]) -> Site:
    kind = kind_of(number)
    profile = load_profiles()[kind.profile]
    config = DeviceConfig(
        id=name,
        protocol=profile.protocol,
        profile=profile.name,
        host="127.0.0.1",
        port=port,
        timeout_ms=1_000,
        retries=1,
        deadline_ms=120_000,
    )
    slots = {item.kind: _reference(kind, item) for item in new}
    earlier = {item.kind: _reference(kind, item) for item in old}
    return Site(kind, config, Nameplate(_MODEL, f"NG-{number}"), slots, earlier)


def _reference(kind: Kind, item: Artefact) -> Reference:
    """Make the reference value of a file as a device of this kind gives it: whole, in registers, or its checksum."""
    if item.kind in kind.words:
        return _named(item, fingerprint_word("vendor-checksum", item.crc32.to_bytes(4, "big")))
    content = item.content
    if item.kind in kind.registers:
        values = values_of(content)
        content = struct.pack(f">{len(values)}h", *values)
    return _named(item, fingerprint(content))


def _named(item: Artefact, found: FileDigest) -> Reference:
    return Reference(item.kind, f"{item.kind}.bin", item.version, found.size, found.sha256, found.chunk_root)


@contextlib.contextmanager
def _simulator(folder: Path) -> Iterator[dict[str, Any]]:
    command = (sys.executable, "-m", "firmware_sim", "up", "scenario.toml", "--state-file", "state.json")
    with (folder / "simulator.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield _state(folder, process)
        finally:
            process.terminate()
            process.wait(START_S)


def _state(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for the state file, which is there when everything listens."""
    end_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end_s:
        with contextlib.suppress(FileNotFoundError):
            state: dict[str, Any] = json.loads((folder / "state.json").read_text())
            return state
        time.sleep(0.05)
    raise AssertionError(f"the simulator did not start: {(folder / 'simulator.log').read_text()}")
