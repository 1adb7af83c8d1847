"""Nothing but reading leaves the agent: a tap on the socket, for every protocol and every packaged profile."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from asyncio import selector_events
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from agent.drivers.errors import DeviceError
from agent.drivers.folder import FolderOptions
from agent.drivers.table import DRIVERS, Driver, load_profiles
from agent.model import DeviceConfig
from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.faults import Fault, link_faults
from firmware_sim.files.setting_list import setting_list
from firmware_sim.protocols import PROTOCOLS, Member
from kit.clock import SystemClock
from tests.interop.tap import FORBIDDEN, HOST, JUDGES, Judgement, Record, tapped, watched
from tests.unit.firmware_sim.bench import device

pytestmark = pytest.mark.interop

PROFILES: Final = load_profiles()
ON_LINE: Final = sorted(name for name, profile in PROFILES.items() if DRIVERS[profile.protocol].port is not None)
IN_PROCESS: Final = sorted(name for name in ON_LINE if PROFILES[name].protocol != "mms")
"""Profiles whose driver writes to its socket in this process; that of MMS is in a child, see test_mms_device.py."""
OPTIONS: Final[dict[str, dict[str, object]]] = {
    "relay-104-checksum": {"has_files": False},
    "relay-modbus-checksum": {"files": False},
}
"""What the simulated device of a profile does not have."""
ASKED_AT_LEAST: Final = {"iec104": {"STARTDT act", "interrogation"}, "mms": {"read"}, "modbus": {"identify"}}


def bay() -> Device:
    files = [("firmware", bytes(range(256)) * 200), ("strategy", b"a,b\n" * 300), ("settings", setting_list("x"))]
    return device(*(artefact(kind, "1.0", content) for kind, content in files))


@asynccontextmanager
async def served(profile: str, target: Device) -> AsyncIterator[int]:
    """Run a device that a profile fits, and give its port."""
    entry = PROTOCOLS[PROFILES[profile].protocol]
    options = dataclasses.replace(entry.options(), **OPTIONS.get(profile, {}))
    server = entry.open([Member(target, options)], None)
    _, port = await server.start(HOST, 0)
    try:
        yield port
    finally:
        await server.stop()


def driver_of(name: str, port: int, *, timeout_ms: int = 3_000, retries: int = 0) -> Driver:
    """Make the driver of a profile, without the pauses that spare real devices."""
    profile = PROFILES[name]
    pacing = dataclasses.replace(profile.pacing, pause_ms=0, connect_pause_ms=0, busy_repeats=2, busy_pause_ms=1)
    config = DeviceConfig("dev-a", profile.protocol, name, HOST, port, timeout_ms=timeout_ms, retries=retries)
    return DRIVERS[profile.protocol].open(config, dataclasses.replace(profile, pacing=pacing), SystemClock())


async def read_all_ways(name: str, port: int) -> Record:
    """Read twice over one connection, then some kinds alone, and close."""
    async with tapped(port) as (line, record):
        driver = driver_of(name, line)
        try:
            whole = await driver.read()
            await driver.read()
            for kind in sorted({item.kind for item in whole.listed}):
                await driver.read(frozenset({kind}))
        finally:
            await driver.close()
        return record


def assert_only_reads(name: str, record: Record) -> Judgement:
    protocol = PROFILES[name].protocol
    found = record.judged(protocol)
    assert found.offences == []
    assert ASKED_AT_LEAST[protocol] <= set(found.asked), "the tap saw the reads"
    return found


def test_every_protocol_with_an_address_has_a_judge_and_every_profile_a_device() -> None:
    protocols = {name for name, entry in DRIVERS.items() if entry.port is not None}
    assert protocols == set(JUDGES) == set(ASKED_AT_LEAST)
    assert {profile.protocol for profile in PROFILES.values()} == set(DRIVERS)
    assert protocols == set(PROTOCOLS)


# holds IC-15 MM-4
@pytest.mark.parametrize("name", ON_LINE)
def test_agent_sends_nothing_but_reads(name: str) -> None:
    async def main() -> Record:
        async with served(name, bay()) as port:
            return await read_all_ways(name, port)

    found = assert_only_reads(name, asyncio.run(main()))
    assert sum(found.asked.values()) > 5


# holds IC-15 MM-4
@pytest.mark.parametrize("name", ON_LINE)
def test_agent_sends_nothing_but_reads_to_a_device_with_any_fault(name: str) -> None:
    """Also what a driver sends to get out of trouble is a read."""
    protocol = PROFILES[name].protocol

    async def main() -> Record:
        target = bay()
        async with served(name, target) as port, tapped(port) as (line, record):
            for kind in sorted(link_faults(protocol)):
                target.set_fault(Fault(kind, delay_ms=150))
                driver = driver_of(name, line, timeout_ms=100, retries=1)
                with contextlib.suppress(DeviceError):
                    await driver.read()
                await driver.close()
            return record

    found = assert_only_reads(name, asyncio.run(main()))
    assert len(found.asked) > 2


@pytest.mark.parametrize("name", IN_PROCESS)
def test_tap_finds_a_write_that_is_planted_under_the_driver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect that slips a write between the reads of a real driver, on its own socket, is seen."""
    protocol = PROFILES[name].protocol
    planted = next(iter(FORBIDDEN[protocol].values()))
    transport = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write
    count = 0

    async def main() -> Record:
        async with served(name, bay()) as port, tapped(port) as (line, record):

            def write_more(self: asyncio.Transport, data: bytes) -> None:
                nonlocal count
                write(self, data)
                if self.get_extra_info("peername")[1] == line:
                    count += 1
                    if count == 2:
                        write(self, planted)

            monkeypatch.setattr(transport, "write", write_more)
            driver = driver_of(name, line, timeout_ms=300)
            with contextlib.suppress(DeviceError):
                await driver.read()
            await driver.close()
            monkeypatch.undo()
            return record

    assert asyncio.run(main()).judged(protocol).offences != []


@pytest.mark.parametrize(
    ("protocol", "name"), [(protocol, name) for protocol, cases in FORBIDDEN.items() for name in cases]
)
def test_judge_finds_every_write_control_clock_setting_and_deletion(protocol: str, name: str) -> None:
    found = Judgement()
    JUDGES[protocol](FORBIDDEN[protocol][name], found)
    assert (len(found.offences), sum(found.asked.values())) == (1, 0)


# --- folders ------------------------------------------------------------------------------------------------------


def folder_driver(folder: Path) -> Driver:
    profile = PROFILES["folder"]
    specifics = dataclasses.replace(profile.specifics, settle_s=0)  # type: ignore[type-var]
    profile = dataclasses.replace(profile, specifics=specifics)
    config = DeviceConfig("dev-a", "folder", "folder", "", 0, retries=0, options=FolderOptions(path=folder))
    return DRIVERS["folder"].open(config, profile, SystemClock())


def collected(folder: Path) -> None:
    for name in ("relay.bin", "settings-1.csv", "settings-2.csv", "strategy.csv"):
        (folder / name).write_bytes(name.encode() * 1000)
        os.utime(folder / name, (1_000_000_000, 1_000_000_000))


def test_agent_opens_collected_files_for_reading_alone(tmp_path: Path) -> None:
    collected(tmp_path)
    driver = folder_driver(tmp_path)

    async def main() -> int:
        reading = await driver.read()
        await driver.close()
        return len(reading.files)

    with watched(tmp_path) as found:
        assert asyncio.run(main()) == 3
    assert found.offences == []
    assert found.asked["open"] >= 3


@pytest.mark.parametrize("act", ["write", "remove", "rename", "utime"])
def test_tap_finds_a_change_of_a_folder(act: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.csv"
    path.write_bytes(b"1,50")
    with watched(tmp_path) as found:
        if act == "write":
            path.write_bytes(b"1,51")
        elif act == "remove":
            path.unlink()
        elif act == "rename":
            path.rename(tmp_path / "other.csv")
        else:
            os.utime(path, (0, 0))
    assert len(found.offences) == 1
