"""The driver against the simulated controlled station, which shares with it the codec alone, and against its faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError, DeviceUnreachableError
from agent.drivers.iec104 import Iec104Driver
from agent.drivers.iec104_profile import PointsTable
from agent.model import Reading
from agent.profile import Pacing, Profile
from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.faults import Fault, link_faults
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.server import Iec104Server
from firmware_sim.scenario import Place
from firmware_sim.tamper import Bench, tamper
from kit.clock import SystemClock
from rules.fingerprint import fingerprint
from tests.unit.agent.iec104_bench import CHECKSUMS, FILES, driver_at, second_at
from tests.unit.agent.iec104_reads import changed
from tests.unit.firmware_sim.bench import IDENTITY, device
from tests.unit.wire.iec104.stored import content_of

SETTINGS = b"number,name,value,unit,min,max\n1,UFLS stage 1,49.00,Hz,45.00,52.00\n"
CONTENTS = {"firmware": content_of(70_001), "strategy": content_of(5_000), "settings": SETTINGS}
QUICK = Pacing(busy_repeats=2, busy_pause_ms=1)


@pytest.fixture(autouse=True)
def _no_pause_before_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.drivers.iec104._RETRY_PAUSE_MS", 0)


def simulated(**contents: bytes) -> Device:
    made = device(*(artefact(kind, "2.1.0", content) for kind, content in (contents or CONTENTS).items()))
    made.protocol = "iec104"
    made.clock_ms = SystemClock().now_ms  # a restart takes its time
    return made


@contextlib.asynccontextmanager
async def driving(
    target: Device, profile: Profile, options: Iec104Options, **changes: object
) -> AsyncIterator[Iec104Driver]:
    server = Iec104Server(target, options, None)
    _, port = await server.start("127.0.0.1", 0)
    driver = driver_at(port, profile, pacing=QUICK, unit_id=target.unit_id, **changes)
    try:
        yield driver
    finally:
        await driver.close()
        await server.stop()


def run(
    target: Device,
    work: Callable[[Iec104Driver], Awaitable[None]],
    profile: Profile = FILES,
    options: Iec104Options | None = None,
    **changes: object,
) -> None:
    async def all_of_it() -> None:
        async with driving(target, profile, options or Iec104Options(), **changes) as driver:
            await work(driver)

    asyncio.run(all_of_it())


def test_simulated_device_is_read_with_every_byte_of_every_file() -> None:
    async def work(driver: Iec104Driver) -> None:
        found = await driver.read()
        identity = found.identity
        assert (identity.vendor, identity.product, identity.model) == (
            IDENTITY.vendor,
            IDENTITY.product,
            IDENTITY.model,
        )
        assert (identity.serial, identity.revision) == (IDENTITY.serial, "2.1.0")
        assert {part.kind: part.digest for part in found.files} == {
            kind: fingerprint(content) for kind, content in CONTENTS.items()
        }
        assert {(part.method, part.version, part.errors) for part in found.files} == {("full-file", "2.1.0", ())}
        assert found.revision == 1

    run(simulated(), work)


# holds IC-23
@pytest.mark.parametrize("profile", [FILES, CHECKSUMS])
def test_device_that_was_changed_and_changed_back_shows_it_in_its_counter_alone(profile: Profile) -> None:
    target = simulated()

    async def work(driver: Iec104Driver) -> None:
        found = [await driver.read(), await driver.read()]
        bench = Bench({target.name: Place(target, None, "", None)}, Path())
        tamper(bench, [target.name], {"action": "fault", "fault": "changed-back"})
        found.append(await driver.read())
        assert [each.revision for each in found] == [1, 1, 3]
        assert len({tuple(part.digest.sha256 for part in each.files) for each in found}) == 1

    run(target, work, profile)


def test_simulated_firmware_of_a_mebibyte_arrives_byte_by_byte() -> None:
    content = content_of(2**20)

    async def work(driver: Iec104Driver) -> None:
        (part,) = (await driver.read(frozenset({"firmware"}))).files
        assert part.digest == fingerprint(content)

    run(simulated(firmware=content), work)


def test_simulated_checksums_are_the_devices_word() -> None:
    target = simulated()

    async def work(driver: Iec104Driver) -> None:
        words = {part.kind: part.word for part in (await driver.read()).files}
        assert words == {kind: target.checksum(kind).to_bytes(4, "big") for kind in CONTENTS}

    run(target, work, CHECKSUMS, Iec104Options(has_files=False))


def test_simulated_interrogation_of_twenty_thousand_points_is_complete() -> None:
    assert isinstance(FILES.specifics.points, tuple)  # type: ignore[attr-defined]
    extra = PointsTable(type="M_ME_NB_1", address=10_001, count=20_000)
    profile = changed(FILES, points=(*FILES.specifics.points, extra))  # type: ignore[attr-defined]

    async def work(driver: Iec104Driver) -> None:
        found = await driver.measure()
        assert sum(10_000 < point.address <= 30_000 for point in found.points) == 20_000

    run(simulated(), work, profile, Iec104Options(extra_points=20_000))


async def until_read(driver: Iec104Driver) -> Reading:
    """Read until an answer comes in time: on a busy machine even a sound device may be late."""
    for _ in range(50):
        with contextlib.suppress(DeviceUnreachableError):
            return await driver.read()
        await asyncio.sleep(0.02)
    raise AssertionError("no read in 50")


@pytest.mark.parametrize("kind", sorted(link_faults("iec104")))
def test_fault_of_the_link_gives_no_other_fingerprint(kind: str) -> None:
    target = simulated()

    async def work(driver: Iec104Driver) -> None:
        honest = await until_read(driver)
        target.set_fault(Fault(kind, delay_ms=150, requests=4))
        for _ in range(6):
            with contextlib.suppress(DeviceError):
                found = await driver.read()
                assert (found.identity, found.files) == (honest.identity, honest.files)
        target.set_fault(None)
        last = await until_read(driver)
        assert [part.digest for part in last.files] == [part.digest for part in honest.files]

    run(target, work, timeout_ms=100, retries=1)


def test_second_link_of_a_simulated_group_takes_over() -> None:
    target = simulated()

    async def work() -> None:
        server = Iec104Server(target, Iec104Options(), None)
        _, port = await server.start("127.0.0.1", 0)
        driver = driver_at(
            port,
            pacing=Pacing(connections=2),
            options=second_at(port),
            unit_id=target.unit_id,
            retries=1,
        )
        first = await driver.read()
        async with asyncio.timeout(60):
            while target.counters.connections < 2:  # noqa: ASYNC110 - the simulator counts
                await asyncio.sleep(0.001)
        active = driver._group._ends[driver._group._active].connection
        assert active is not None
        active.abort()
        second = await driver.read()
        assert (second.identity, second.files) == (first.identity, first.files)
        assert driver.counters.switches == 1
        await driver.close()
        await server.stop()

    asyncio.run(work())
