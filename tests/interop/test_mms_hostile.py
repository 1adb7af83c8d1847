"""A line that changes what the IED says, from a seed: whatever comes, the agent gets a reading or a typed error."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError
from agent.drivers.mms import MmsDriver
from agent.drivers.mms_link import START_MS
from agent.model import Reading
from firmware_sim.mms.packets import Packets, is_data
from tests.interop.ied import HOST, served
from tests.interop.mms_reads import driver_of

pytestmark = [pytest.mark.interop, pytest.mark.slow]
SEEDS = 60
TIMEOUT_MS = 250
HEAD_BYTES = 7


def changed(packet: bytes, chance: random.Random) -> bytes:
    """Return a packet with some of its octets, its length or its end changed."""
    body = bytearray(packet)
    kind = chance.randrange(5)
    if kind == 0:
        return bytes(body[:4]) + chance.randbytes(len(body) - 4)
    if kind == 1:
        cut = chance.randrange(HEAD_BYTES, len(body) + 1)
        return bytes(body[:2]) + cut.to_bytes(2, "big") + bytes(body[4:cut])
    if kind == 2:
        body[2:4] = chance.randbytes(2)
    for _ in range(chance.choice((1, 1, 2, 8))):
        body[chance.randrange(HEAD_BYTES, len(body))] = chance.choice(
            (0, 1, 0x7F, 0x80, 0x84, 0xFF, chance.randrange(256))
        )
    return bytes(body)


class Liar:
    """Stands between agent and device; changes one packet of the device in ``one_in``."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._chance = random.Random(seed)
        self._one_in = self._chance.choice((2, 8, 30))
        self.lies = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection(HOST, self._port)
        up = asyncio.create_task(self._up(reader, there))
        down = asyncio.create_task(self._down(there_reader, writer))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        for each in (writer, there):
            each.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            there.write(piece)

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets = Packets()
        while piece := await there.read(65_536):
            for packet in packets.feed(piece):
                is_lie = is_data(packet) and len(packet) > HEAD_BYTES and self._chance.randrange(self._one_in) == 0
                self.lies += is_lie
                writer.write(changed(packet, self._chance) if is_lie else packet)


async def read_through(port: int, seed: int) -> tuple[Reading | DeviceError, MmsDriver, Liar]:
    liar = Liar(port, seed)
    server = await asyncio.start_server(liar.carry, HOST, 0)
    try:
        async with driver_of(server.sockets[0].getsockname()[1], timeout_ms=TIMEOUT_MS) as driver:
            try:
                return await driver.read(), driver, liar
            except DeviceError as error:
                return error, driver, liar
    finally:
        server.close()


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def test_lying_ied_gives_a_reading_or_a_typed_error_in_its_time(tmp_path: Path) -> None:
    with served(tmp_path) as ied:
        ied.write("firmware.bin", bytes(range(256)) * 400)
        ied.write("strategy.csv", b"a,b\n")
        asyncio.run(read_through(ied.port, 0))
        before_kib, told, lies = resident_kib(), 0, 0
        for seed in range(1, SEEDS):
            began = time.monotonic()
            result, _, liar = asyncio.run(read_through(ied.port, seed))
            took_ms = 1000 * (time.monotonic() - began)
            lies += liar.lies
            assert took_ms < START_MS + 60 * TIMEOUT_MS, f"seed {seed}"
            if isinstance(result, DeviceError):
                told += 1
                assert str(result).startswith("device dev-a: "), f"seed {seed}"
                assert result.reason != "defect"
                assert str(result).isprintable(), f"seed {seed}"
        assert lies > SEEDS
        assert told > SEEDS // 3
        assert resident_kib() - before_kib < 20_000
