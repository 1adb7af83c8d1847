"""A raw Modbus TCP connection for tests; it knows nothing of our codec."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import uvloop

from firmware_sim.contents import Artefact, artefact
from firmware_sim.device import Device
from firmware_sim.modbus.server import ModbusServer
from firmware_sim.modbus.unit import Unit
from tests.unit.firmware_sim.bench import device

TIMEOUT_S = 60
RECEIVE_BYTES = 64 * 1024
"""Small, so that a client that does not read is soon felt by the server."""
FIRMWARE = bytes(index * 31 % 253 for index in range(70_001))


class Line:
    """Send and receive bytes, with a bound on waiting."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    async def take(self, size: int) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self._reader.readexactly(size)

    async def frame(self) -> tuple[int, int, bytes]:
        """Read one frame by its own length: transaction, unit, PDU."""
        transaction, protocol, length, unit = struct.unpack(">HHHB", await self.take(7))
        assert protocol == 0
        return transaction, unit, await self.take(length - 1)

    async def ask(self, pdu: bytes, *, transaction: int = 1, unit: int = 1) -> bytes:
        """Send one request and return the PDU of its answer."""
        self.send(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)
        found = await self.frame()
        assert found[:2] == (transaction, unit)
        return found[2]

    async def ended(self) -> bool:
        """Wait until the other side closes; false when bytes come instead."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                return await self._reader.read(1) == b""
            except ConnectionError:
                return True

    async def rest(self) -> bytes:
        """Read until the other side closes."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    async def silent(self, for_s: float) -> bool:
        """Whether nothing comes for so long."""
        try:
            async with asyncio.timeout(for_s):
                await self._reader.read(1)
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


def run(main: Coroutine[object, object, None]) -> None:
    """Run on the loop that the program uses."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Line]:
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        link.settimeout(0)
        await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", port))
        line = Line(*await asyncio.open_connection(sock=link.dup()))
    try:
        yield line
    finally:
        await line.close()


@asynccontextmanager
async def serve(target: Unit | Device) -> AsyncIterator[int]:
    """Run a server for one device and give its port."""
    server = ModbusServer(target)
    _, port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop()


def firmware_device(*more: Artefact) -> Device:
    """Make a device with ``FIRMWARE``."""
    return device(artefact("firmware", "1.0.0", FIRMWARE), *more)


def on_line(target: Unit | Device, talk: Callable[[Line], Awaitable[None]]) -> None:
    """Serve ``target`` and hold one conversation with it."""

    async def main() -> None:
        async with serve(target) as port, connect(port) as line:
            await talk(line)

    run(main())


def read_file(file_number: int, record: int, count: int) -> bytes:
    """Build an FC20 request with one sub-request."""
    return struct.pack(">BBBHHH", 20, 7, 6, file_number, record, count)


def framed(pdu: bytes, *, transaction: int = 1, unit: int = 1) -> bytes:
    """Put a header before ``pdu``."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu
