"""What really leaves the gateway on a Modbus connection: a tap between driver and device reads every byte of it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from agent.drivers.modbus import ModbusDriver
from agent.drivers.modbus_profile import ModbusProfile
from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.files.setting_list import setting_list
from tests.unit.agent.bench import PROFILES, served, with_driver
from tests.unit.firmware_sim.bench import device

READING = {3, 4, 20, 43}
"""Functions that read: registers, file records, identification. Every other one is refused here."""
DEVICE_IDENTIFICATION = 14
NAMES = sorted(name for name, profile in PROFILES.items() if profile.protocol == "modbus")


@dataclass(slots=True)
class Tap:
    """Passes bytes on, and takes the frames of the gateway apart by itself."""

    device_port: int
    functions: list[int] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    in_flight: int = 0
    in_flight_max: int = 0
    talks: list[asyncio.Task[None]] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.talks.append(task)
        device_reader, device_writer = await asyncio.open_connection("127.0.0.1", self.device_port)
        ways = [
            asyncio.create_task(self._pass(reader, device_writer, self._request)),
            asyncio.create_task(self._pass(device_reader, writer, self._answer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for one in (writer, device_writer):
            one.close()
            with contextlib.suppress(ConnectionError):
                await one.wait_closed()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, take: Callable[[bytes], None]
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(7)
                _, protocol, length, _ = struct.unpack(">HHHB", head)
                pdu = await reader.readexactly(length - 1)
                if protocol:
                    self.violations.append("not Modbus")
                take(pdu)
                writer.write(head + pdu)

    def _request(self, pdu: bytes) -> None:
        self.functions.append(pdu[0])
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        if pdu[0] not in READING or (pdu[0] == 43 and pdu[1] != DEVICE_IDENTIFICATION):
            self.violations.append(f"function {pdu[0]}")

    def _answer(self, pdu: bytes) -> None:
        self.in_flight -= 1


@contextlib.asynccontextmanager
async def tapped(simulated: Device) -> AsyncIterator[tuple[int, Tap]]:
    async with served(simulated) as device_port:
        tap = Tap(device_port)
        server = await asyncio.start_server(tap.talk, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1], tap
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.gather(*tap.talks)


def full_device() -> Device:
    return device(
        artefact("firmware", "2.0", bytes(range(256)) * 50),
        artefact("strategy", "4", b"rows"),
        artefact("settings", "9", setting_list("tapped", "1")),
    )


# holds PF-5 PF-6
@pytest.mark.parametrize("name", NAMES)
def test_every_profile_only_reads_and_asks_one_thing_at_a_time(name: str) -> None:
    async def work() -> Tap:
        async def twice(driver: ModbusDriver) -> None:
            await driver.read()
            await driver.read(frozenset({"settings"}))

        async with tapped(full_device()) as (port, tap):
            await with_driver(port, twice, profile=PROFILES[name])
            return tap

    tap = asyncio.run(work())
    assert tap.violations == []
    assert tap.in_flight_max == 1
    assert {4, 43} <= set(tap.functions) <= READING
    specifics = PROFILES[name].specifics
    assert isinstance(specifics, ModbusProfile)
    assert (20 in tap.functions) == (specifics.directory is not None or bool(specifics.files))


# holds PF-5
@pytest.mark.parametrize(
    ("pdu", "violation"),
    [
        (b"\x05\x00\x01\xff\x00", "function 5"),
        (b"\x06\x00\x01\x00\x02", "function 6"),
        (b"\x10\x00\x01\x00\x01\x02\x00\x02", "function 16"),
        (b"\x15\x09\x06\x00\x01\x00\x00\x00\x01\x00\x02", "function 21"),
        (b"\x2b\x0d\x00", "function 43"),
    ],
)
def test_tap_sees_a_client_that_does_write(pdu: bytes, violation: str) -> None:
    async def work() -> Tap:
        async with tapped(full_device()) as (port, tap):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(struct.pack(">HHHB", 1, 0, len(pdu) + 1, 1) + pdu)
            await reader.readexactly(9)
            writer.close()
            await writer.wait_closed()
            return tap

    assert asyncio.run(work()).violations == [violation]


# holds PF-6
def test_tap_sees_a_client_that_pipelines() -> None:
    request = struct.pack(">HHHB", 1, 0, 6, 1) + b"\x04\x00\x00\x00\x01"

    async def work() -> Tap:
        async with tapped(full_device()) as (port, tap):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request * 3)
            await reader.readexactly(3 * 11)
            writer.close()
            await writer.wait_closed()
            return tap

    assert asyncio.run(work()).in_flight_max > 1
