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

from agent.drivers.table import load_profiles
from agent.model import DeviceConfig
from firmware_sim.contents import Artefact
from firmware_sim.release import ReleaseSpec, make_release
from firmware_sim.settings import values_of
from rules.appraisal import Nameplate, Owner, Slot
from rules.fingerprint import fingerprint, fingerprint_word
from wire.types import Digest

FILES: Final = "stability-control-modbus"
CHECKSUMS: Final = "relay-modbus-checksum"
FIRMWARE_BYTES: Final = 64 * 1024
START_S: Final = 60
RELAY_EVERY: Final = 5
"""One in so many devices is a relay of which only checksums can be read."""

_MODEL = "SCD-220/8"
_PRODUCT = "SCD-220"


@dataclass(frozen=True, slots=True)
class Site:
    """One device of the bench, and what is right for it.

    Attributes:
        config: As the agent knows it.
        nameplate: As the ledger knows it.
        slots: Reference value by artefact kind.
        old: Digests of its earlier release by artefact kind.
    """

    config: DeviceConfig
    nameplate: Nameplate
    slots: Mapping[str, Slot]
    old: Mapping[str, Digest]


@dataclass(frozen=True, slots=True)
class Bench:
    """A running simulator.

    Attributes:
        sites: By device.
        control: URL of its control port.
    """

    sites: Mapping[str, Site]
    control: str

    def owner(self, device: str, kind: str, digest: Digest) -> Owner | None:
        """Find whose reference value some content is, the device's own first."""
        own = self.sites[device]
        slot = own.slots.get(kind)
        if (slot is not None and slot.sha256 == digest) or own.old.get(kind) == digest:
            return Owner(own=True, target=f"device {device}", kind=kind, release="own")
        for name, site in self.sites.items():
            for other, held in site.slots.items():
                if held.sha256 == digest or site.old.get(other) == digest:
                    return Owner(own=False, target=f"device {name}", kind=other, release="other")
        return None


@contextlib.contextmanager
def running(folder: Path, devices: int) -> Iterator[Bench]:
    """Make releases and scenario below ``folder`` and run the simulator with them.

    Args:
        folder: Empty.
        devices: How many; every fifth is a relay.
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
        yield Bench(sites, state["control"])


def is_relay(number: int) -> bool:
    """Whether only checksums can be read of the device with this number."""
    return number % RELAY_EVERY == 0


def _release(folder: Path, device: str, version: str) -> list[Artefact]:
    spec = ReleaseSpec(release=folder.name, version=version, device=device, seed=device, kinds=("strategy", "settings"))
    return list(make_release(folder, spec).artefacts)


def _table(number: int, name: str) -> str:
    options = "modbus = {files = false}\n" if is_relay(number) else ""
    return (
        f'[[device]]\nid = "{name}"\nvendor = "Northgrid Controls"\nproduct = "{_PRODUCT}"\nmodel = "{_MODEL}"\n'
        f'serial = "NG-{number}"\nrelease = "releases/image"\nextra_releases = ["releases/{name}-new"]\n'
        f'old_release = "releases/{name}-old"\n{options}'
    )


def _site(number: int, name: str, port: int, new: list[Artefact], old: list[Artefact]) -> Site:
    profile = load_profiles()[CHECKSUMS if is_relay(number) else FILES]
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
    reference = _told if is_relay(number) else _read
    slots = {item.kind: reference(item) for item in new}
    return Site(config, Nameplate(_MODEL, f"NG-{number}"), slots, {item.kind: reference(item).sha256 for item in old})


def _read(item: Artefact) -> Slot:
    """Make the reference value of a file that is read in full."""
    return Slot(len(item.content), fingerprint(item.content).sha256)


def _told(item: Artefact) -> Slot:
    """Make the reference value of what a relay gives: setting registers, and checksums of the rest."""
    if item.kind == "settings":
        values = values_of(item.content)
        content = struct.pack(f">{len(values)}h", *values)
        return Slot(len(content), fingerprint(content).sha256)
    word = item.crc32.to_bytes(4, "big")
    return Slot(0, fingerprint_word("vendor-checksum", word).sha256)


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
