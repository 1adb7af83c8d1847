"""An IED served by libiec61850 in a process of its own, lines that fail, and a tap that names every MMS service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"
READING: Final = {1: "getNameList", 4: "read", 6: "getVariableAccessAttributes", 72: "fileOpen", 73: "fileRead"} | {
    74: "fileClose",
    77: "fileDirectory",
}
"""Confirmed services by their tag in ISO 9506-2 that a reader needs."""
_DATA_TRANSFER = b"\x01\x00\x01\x00"
_CONFIRMED_REQUEST = 0
_CONTEXT_CLASS = 2


def attributes(settings: int = 40) -> list[list[Any]]:
    texts = {
        "LLN0.NamPlt.vendor": "Sample Vendor",
        "LLN0.NamPlt.swRev": "5.1",
        "LLN0.NamPlt.d": "line protection",
        "LLN0.NamPlt.configRev": "17",
        "LPHD1.PhyNam.vendor": "Sample Vendor",
        "LPHD1.PhyNam.serNum": "SN-1",
        "LPHD1.PhyNam.model": "RP-1",
        "LPHD1.PhyNam.swRev": "2.4.0",
    }
    found: list[list[Any]] = [[name, "DC", "text", text] for name, text in texts.items()]
    found.append(["LLN0.NamPlt.paramRev", "ST", "integer", 5])
    found += [[f"GAPC1.Set{number:03}.setMag.f", "SG", "float", 49 + number / 4] for number in range(settings)]
    found.append(["PTUF1.OpDlTmms.setVal", "SG", "integer", 150])
    return found


@dataclass(slots=True)
class ServedIed:
    """One running server."""

    process: subprocess.Popen[str]
    port: int
    folder: Path

    def change(self, **line: Any) -> None:  # noqa: ANN401 - JSON
        """Give the server other values."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"attributes": [], **line}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer == {"ok": True}, answer

    def write(self, path: str, content: bytes) -> None:
        """Put a file into its store."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


@contextlib.contextmanager
def served(folder: Path, **model: Any) -> Iterator[ServedIed]:  # noqa: ANN401 - JSON
    """Serve an IED until the end of the block."""
    store = folder / "store"
    store.mkdir()
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "firmware_sim.mms.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    ied = ServedIed(process, port, store)
    try:
        line = {"port": port, "ied": "BAY1", "instance": "LD0", "folder": str(store), "groups": 2, "active": 1}
        ied.change(**{"identity": ["V", "M", "1"], "attributes": attributes(), **line, **model})
        yield ied
    finally:
        process.kill()
        process.communicate()


@dataclass(slots=True)
class Line:
    """A cable between agent and device: counts, cuts, slows and listens.

    Args:
        target: Port of the device.
    """

    target: int
    port: int = 0
    pass_bytes: int | None = None
    """Bytes that still come from the device; then nothing more does."""
    closes: bool = False
    """Whether the connection is closed then, instead of being held open."""
    pause_s: float = 0.0
    """Before each piece from the device."""
    piece_bytes: int = 65_536
    services: list[str] = field(default_factory=list)
    """What the agent asked for, in order."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `pass_bytes` have passed."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        there_reader, there = await asyncio.open_connection(HOST, self.target)
        self.writers += [writer, there]
        up = asyncio.create_task(self._up(reader, there))
        down = asyncio.create_task(self._down(there_reader, writer))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        for each in (writer, there):
            each.close()

    async def _up(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        tap = Tap()
        while piece := await reader.read(65_536):
            self.services += tap.take(piece)
            there.write(piece)
            await there.drain()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await there.read(self.piece_bytes):
            await asyncio.sleep(self.pause_s)
            if self.pass_bytes is not None:
                piece = piece[: self.pass_bytes]
                self.pass_bytes -= len(piece)
            writer.write(piece)
            await writer.drain()
            if self.pass_bytes == 0:
                self.reached.set()
                if not self.closes:
                    await asyncio.Event().wait()
                return


@contextlib.asynccontextmanager
async def line_to(target: int, **how: Any) -> AsyncIterator[Line]:  # noqa: ANN401 - fields of Line
    """Lay a cable to a port until the end of the block."""
    line = Line(target, **how)
    server = await asyncio.start_server(line.carry, HOST, 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        for writer in line.writers:
            writer.close()
        await server.wait_closed()


class Tap:
    """Names the confirmed MMS services in what one side sends (RFC 1006, ISO 8073, 8327, 8823, 9506)."""

    def __init__(self) -> None:
        self._stream = b""
        self._segments = b""

    def take(self, piece: bytes) -> list[str]:
        """Take bytes in their order; return the services that are whole now, unknown ones by their tag."""
        self._stream += piece
        found = []
        while len(self._stream) >= 4:
            length = int.from_bytes(self._stream[2:4], "big")
            if len(self._stream) < length:
                break
            found += self._packet(self._stream[4:length])
            self._stream = self._stream[length:]
        return found

    def _packet(self, cotp: bytes) -> list[str]:
        head = cotp[0] + 1
        if cotp[1] & 0xF0 != 0xF0:  # not a data TPDU: connection set-up and end
            return []
        self._segments += cotp[head:]
        if not cotp[2] & 0x80:  # more of it follows
            return []
        whole, self._segments = self._segments, b""
        return list(self._services(whole))

    def _services(self, session: bytes) -> Iterator[str]:
        if not session.startswith(_DATA_TRANSFER):  # set-up, end: no confirmed service inside
            return
        for _, _, list_of_values in elements(session[len(_DATA_TRANSFER) :]):
            for _, _, value in elements(list_of_values):
                for kind, number, pdu in elements(value):
                    if kind == _CONTEXT_CLASS and number == 0:
                        yield from self._pdu(pdu)

    def _pdu(self, pdu: bytes) -> Iterator[str]:
        for kind, number, body in elements(pdu):
            if kind != _CONTEXT_CLASS or number != _CONFIRMED_REQUEST:
                yield f"pdu-{number}"
                continue
            for _, service, _ in list(elements(body))[1:]:
                yield READING.get(service, f"service-{service}")


def elements(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Walk through BER: class, tag number and contents of each element."""
    at = 0
    while at < len(raw):
        kind, number = raw[at] >> 6, raw[at] & 0x1F
        at += 1
        if number == 0x1F:
            number = 0
            while raw[at] & 0x80:
                number, at = number << 7 | raw[at] & 0x7F, at + 1
            number, at = number << 7 | raw[at], at + 1
        length, at = raw[at], at + 1
        if length & 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(raw[at : at + count], "big"), at + count
        yield kind, number, raw[at : at + length]
        at += length
