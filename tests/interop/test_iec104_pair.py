"""The agent's IEC 104 driver and the simulator, from a scenario file: TLS, two links of a redundancy group, faults."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError
from agent.drivers.iec104 import Iec104Driver
from agent.drivers.iec104_profile import Iec104Options
from agent.drivers.table import load_profiles
from agent.model import DeviceConfig, Reading, TlsFiles
from firmware_sim.faults import Fault, link_faults
from firmware_sim.fleet import Fleet
from firmware_sim.release import ReleaseSpec, make_release
from firmware_sim.scenario import load_scenario
from kit.clock import SystemClock
from kit.tls import Authority
from rules.fingerprint import fingerprint
from tests.interop.tap import HOST

pytestmark = pytest.mark.interop

PROFILE = load_profiles()["stability-control-104"]
SCENARIO = """\
[scenario]
name = "one-station"

[control]
listen = "127.0.0.1:0"

[[device]]
id = "sc-lakeside-1"
protocol = "iec104"
vendor = "Northgrid Controls"
product = "SCD-220"
model = "SCD-220/8"
serial = "NG-0001"
release = "release"

[device.iec104]
common_address = 300
section_bytes = 9000
"""
TLS = """
[device.tls]
certificate = "station.pem"
key = "station.key"
client_ca = "ca.pem"
"""
GONE_QUICKLY = frozenset({"never", "late", "half-open", "cut-frame", "oversize-length", "offline"})
"""Faults that leave nothing to say but a time that is up, or nothing at all."""

Talk = Callable[[Fleet, int], Awaitable[None]]


def on_bench(folder: Path, talk: Talk, more: str = "") -> None:
    """Run the scenario, and hold a conversation."""
    spec = ReleaseSpec(release="r-1", version="2.4.0", device="sc-lakeside-1", size_bytes=70_001)
    make_release(folder / "release", spec)
    path = folder / "bench.toml"
    path.write_text(SCENARIO + more)

    async def main() -> None:
        fleet = Fleet(load_scenario(path), base=folder)
        addresses = await fleet.start()
        try:
            await talk(fleet, addresses["sc-lakeside-1"].port)
        finally:
            await fleet.stop()

    asyncio.run(main())


def driver_at(port: int, tls: TlsFiles | None = None, *, timeout_ms: int = 3_000, retries: int = 1) -> Iec104Driver:
    """Read with two links to the same end."""
    pacing = dataclasses.replace(PROFILE.pacing, connect_pause_ms=0, busy_repeats=1, busy_pause_ms=1)
    options = Iec104Options(common_address=300, second_host=HOST, second_port=port)
    config = DeviceConfig("sc-lakeside-1", "iec104", PROFILE.name, HOST, port, timeout_ms=timeout_ms, retries=retries)
    config = dataclasses.replace(config, options=options, tls=tls)
    return Iec104Driver(config, dataclasses.replace(PROFILE, pacing=pacing), SystemClock())


def assert_is_the_release(fleet: Fleet, reading: Reading) -> None:
    held = fleet.device("sc-lakeside-1").contents.artefacts
    assert {part.kind: part.digest for part in reading.files} == {
        kind: fingerprint(item.content) for kind, item in held.items()
    }
    assert {(part.method, part.errors) for part in reading.files} == {("full-file", ())}
    assert (reading.identity.serial, reading.identity.revision) == ("NG-0001", "2.4.0")


def test_station_of_a_scenario_is_read_whole_and_again_after_tampering(tmp_path: Path) -> None:
    async def talk(fleet: Fleet, port: int) -> None:
        driver = driver_at(port)
        assert_is_the_release(fleet, await driver.read())
        fleet.tamper(["sc-lakeside-1"], {"action": "flip-byte", "offset": 69_000})
        assert_is_the_release(fleet, await driver.read())
        await driver.close()

    on_bench(tmp_path, talk)


def test_station_is_read_under_tls_and_not_without(tmp_path: Path) -> None:
    authority = Authority.create("bench")
    (tmp_path / "ca.pem").write_bytes(authority.identity().certificate)
    for name in ("station", "gateway"):
        authority.issue(name, hosts=(HOST,)).save(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")

    async def talk(fleet: Fleet, port: int) -> None:
        driver = driver_at(port, TlsFiles(tmp_path / "ca.pem", tmp_path / "gateway.pem", tmp_path / "gateway.key"))
        assert_is_the_release(fleet, await driver.read())
        await driver.close()
        plain = driver_at(port, timeout_ms=300, retries=0)
        with pytest.raises(DeviceError, match="device sc-lakeside-1: "):
            await plain.read()
        await plain.close()

    on_bench(tmp_path, talk, TLS)


def test_second_link_of_the_group_goes_on_where_the_first_is_cut(tmp_path: Path) -> None:
    async def talk(fleet: Fleet, port: int) -> None:
        driver = driver_at(port)
        assert_is_the_release(fleet, await driver.read())
        for _ in range(6000):
            if fleet.device("sc-lakeside-1").counters.connections == 2:
                break
            await asyncio.sleep(0.01)
        assert fleet.device("sc-lakeside-1").counters.connections == 2, "the second link stands by"
        driver._group.drop_active()
        assert_is_the_release(fleet, await driver.read())
        assert driver.counters.switches == 1
        await driver.close()

    on_bench(tmp_path, talk)


@pytest.mark.parametrize("kind", sorted(link_faults("iec104")))
def test_fault_of_the_link_is_an_error_or_the_truth_and_ends_with_the_fault(kind: str, tmp_path: Path) -> None:
    """Whatever the simulator's catalogue does to the link, no wrong fingerprint comes of it."""

    async def talk(fleet: Fleet, port: int) -> None:
        driver = driver_at(port, timeout_ms=250, retries=1)
        fleet.device("sc-lakeside-1").set_fault(Fault(kind, delay_ms=400 if kind in GONE_QUICKLY else 5))
        failure: DeviceError | None = None
        try:
            assert_is_the_release(fleet, await driver.read())
        except DeviceError as error:
            failure = error
        assert failure is None or (failure.device == "sc-lakeside-1" and failure.detail)
        fleet.device("sc-lakeside-1").set_fault(None)
        await asyncio.sleep(0.01)
        for _ in range(20):  # a device that restarts is away for a moment
            try:
                reading = await driver.read()
            except DeviceError:
                await asyncio.sleep(0.05)
                continue
            assert_is_the_release(fleet, reading)
            break
        else:
            pytest.fail("the device does not come back")
        await driver.close()

    on_bench(tmp_path, talk)
