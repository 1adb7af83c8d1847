"""The agent's IEC 104 driver reads c104, another people's controlled station, and our simulated one at full size."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import struct
import zlib
from typing import Any

import pytest

from agent.drivers.errors import DeviceUnreachableError
from agent.drivers.iec104 import Iec104Driver
from agent.drivers.iec104_profile import Iec104Options as DeviceOptions
from agent.drivers.iec104_profile import Iec104Profile, PointsTable
from agent.drivers.table import load_profiles
from agent.model import DeviceConfig, MeasurementFrame, Reading
from agent.profile import Profile
from firmware_sim.contents import artefact
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.points import (
    ARTEFACT_FIRST,
    CRC_OFFSET,
    EXTRA_FIRST,
    IDENTITY_FIRST,
    REVISION_OFFSET,
    SIZE_OFFSET,
    STRIDE,
)
from firmware_sim.iec104.server import Iec104Server
from kit.clock import SystemClock
from rules.fingerprint import fingerprint
from tests.interop.c104_line import C104, c104
from tests.interop.tap import HOST, Record, tapped
from tests.unit.firmware_sim.bench import device

pytestmark = pytest.mark.interop

PROFILES = load_profiles()
STATION = 9
TEXTS = {"vendor": "Sample Vendor", "product": "SC", "product_name": "-", "model": "SC-9000", "serial": "SN-0001"}
CONTENT = b"settings of a relay that gives no files"
MEASURED = 4_000
"""c104's server cuts an interrogation off above 5,000 points."""


def profile(name: str, *points: PointsTable, **changes: object) -> Profile:
    found = PROFILES[name]
    specifics = found.specifics
    assert isinstance(specifics, Iec104Profile)
    pacing = dataclasses.replace(found.pacing, connect_pause_ms=0, busy_repeats=1)
    changed = dataclasses.replace(specifics, points=points, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(found, specifics=changed, pacing=pacing)


def driver(port: int, kept: Profile, station: int = STATION, timeout_ms: int = 5_000) -> Iec104Driver:
    options = DeviceOptions(common_address=station)
    config = DeviceConfig("dev-a", "iec104", kept.name, HOST, port, timeout_ms=timeout_ms, retries=1, options=options)
    return Iec104Driver(config, kept, SystemClock())


def text_points(first: int, text: str, count: int) -> list[list[Any]]:
    padded = text.encode().ljust(4 * count, b"\0")
    return [[first + index, "M_BO_NA_1", number] for index, number in enumerate(struct.unpack(f">{count}I", padded))]


def number_point(address: int, number: int) -> list[Any]:
    return [address, "M_BO_NA_1", int.from_bytes(number.to_bytes(4, "little"), "big")]


def relay_points() -> list[list[Any]]:
    """A relay with checksum points, as the packaged profile describes it."""
    points: list[list[Any]] = []
    for index, text in enumerate((*TEXTS.values(), "3.1.4")):
        points += text_points(IDENTITY_FIRST + STRIDE * index, text, 16)
    for index in range(3):
        first = ARTEFACT_FIRST + STRIDE * index
        points += text_points(first, "7.0", 6)
        numbers = {SIZE_OFFSET: len(CONTENT), CRC_OFFSET: zlib.crc32(CONTENT), REVISION_OFFSET: 1}
        points += [number_point(first + offset, number) for offset, number in numbers.items()]
    return points


async def asked(peer: C104, do: str, **arguments: object) -> dict[str, Any]:
    return await asyncio.to_thread(lambda: peer.ask(do, **arguments))


def test_driver_reads_identity_and_checksums_of_c104() -> None:
    async def main(peer: C104) -> tuple[Reading, Record]:
        port = (await asked(peer, "serve", common_address=STATION, points=relay_points()))["port"]
        async with tapped(port) as (line, record):
            reader = driver(line, profile("relay-104-checksum", texts_qualifier=20))
            reading = await reader.read()
            await reader.close()
            return reading, record

    with c104() as peer:
        reading, record = asyncio.run(main(peer))
    identity = reading.identity
    assert (identity.vendor, identity.product, identity.model) == ("Sample Vendor", "SC", "SC-9000")
    assert (identity.serial, identity.revision) == ("SN-0001", "3.1.4")
    assert [(part.kind, part.version, part.size, part.method) for part in reading.files] == [
        (kind, "7.0", len(CONTENT), "vendor-checksum") for kind in ("firmware", "settings", "strategy")
    ]
    assert {part.word for part in reading.files} == {zlib.crc32(CONTENT).to_bytes(4, "big")}
    assert record.judged("iec104").offences == []


def test_driver_measures_four_thousand_points_of_c104_and_counters() -> None:
    kinds = (PointsTable(type="M_ME_NB_1", address=1, count=MEASURED), PointsTable(type="M_IT_NA_1", address=9_001))
    points = [[1 + index, "M_ME_NB_1", index - 2_000] for index in range(MEASURED)]
    points += [[9_001, "M_IT_NA_1", 77], *relay_points()]

    async def main(peer: C104) -> MeasurementFrame:
        port = (await asked(peer, "serve", common_address=STATION, points=points))["port"]
        reader = driver(port, profile("relay-104-checksum", *kinds, texts_qualifier=20))
        frame = await reader.measure()
        await reader.close()
        return frame

    with c104() as peer:
        frame = asyncio.run(main(peer))
    held = {point.address: (point.type, point.value) for point in frame.points}
    assert [held.pop(1 + index) for index in range(MEASURED)] == [
        ("M_ME_NB_1", value) for value in range(-2_000, 2_000)
    ]
    assert held.pop(9_001) == ("M_IT_NA_1", 77)
    assert set(held) == {address for address, _, _ in relay_points()}


def test_driver_finds_that_c104_does_not_give_every_point() -> None:
    async def main(peer: C104) -> None:
        port = (await asked(peer, "serve", common_address=STATION, points=relay_points()))["port"]
        reader = driver(
            port, profile("relay-104-checksum", PointsTable(type="M_ME_NB_1", address=1), texts_qualifier=20)
        )
        try:
            with pytest.raises(Exception, match="device dev-a: "):
                await reader.measure()
        finally:
            await reader.close()

    with c104() as peer:
        asyncio.run(main(peer))


def test_driver_of_another_station_says_so() -> None:
    async def main(peer: C104) -> None:
        port = (await asked(peer, "serve", common_address=STATION, points=relay_points()))["port"]
        reader = driver(port, profile("relay-104-checksum", texts_qualifier=20), station=STATION + 1, timeout_ms=500)
        try:
            with pytest.raises(Exception, match="device dev-a: "):
                await reader.read()
        finally:
            await reader.close()

    with c104() as peer:
        asyncio.run(main(peer))


def test_driver_without_c104_says_that_nobody_is_there() -> None:
    async def main() -> None:
        reader = driver(1, profile("relay-104-checksum"))
        with pytest.raises(DeviceUnreachableError, match="device dev-a: "):
            await reader.read()
        await reader.close()

    asyncio.run(main())


def test_simulated_station_gives_a_mebibyte_and_twenty_thousand_points_to_the_driver() -> None:
    firmware = hashlib.shake_128(b"firmware").digest(1024 * 1024)
    target = device(artefact("firmware", "2.4.0", firmware))
    points = PointsTable(type="M_ME_NB_1", address=EXTRA_FIRST, count=20_000)
    kept = profile("stability-control-104", points)

    async def main() -> tuple[Reading, MeasurementFrame]:
        server = Iec104Server(target, Iec104Options(common_address=STATION, extra_points=20_000), None)
        _, port = await server.start(HOST, 0)
        reader = driver(port, kept)
        try:
            return await reader.read(), await reader.measure()
        finally:
            await reader.close()
            await server.stop()

    reading, frame = asyncio.run(main())
    (part,) = reading.files
    assert part.digest == fingerprint(firmware)
    assert (part.size, part.method, part.errors) == (len(firmware), "full-file", ())
    extra = [point.address for point in frame.points if point.address >= EXTRA_FIRST]
    assert extra == list(range(EXTRA_FIRST, EXTRA_FIRST + 20_000))
