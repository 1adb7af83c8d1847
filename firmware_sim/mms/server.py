"""Serve one IED on one TCP port.

May touch network, disk and processes. The protocol itself is spoken by a child process (`firmware_sim.mms.child`) on a
port of the loopback address; this side fills its file store, gives it values, and carries its packets, so that faults,
limits and TLS are those of every other protocol of the simulator.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from firmware_sim.device import DOWN, Device
from firmware_sim.errors import ScenarioError
from firmware_sim.faults import CHANGING_FILE
from firmware_sim.mms.ied import Ied, MmsOptions
from firmware_sim.mms.packets import PIECE_BYTES_MIN, Delivery, PacketError, Packets, Passing, applies, disturb, is_data
from kit.logs import get_logger

PROGRAM: Final = "firmware_sim.mms.child"
LIBRARY: Final = "pyiec61850"
START_S: Final = 30
ANSWER_S: Final = 5
STARTS_MAX: Final = 5
"""Ports that are tried: another program may take a free one before the child does."""
_LOOPBACK: Final = "127.0.0.1"
_PIECE_BYTES: Final = 64 * 1024

_log = get_logger("firmware_sim.mms")


class ChildLostError(OSError):
    """The child process does not answer."""


class IedProcess:
    """The child process that speaks the protocol, and its file store.

    Args:
        ied: What it serves.
    """

    def __init__(self, ied: Ied) -> None:
        self._ied = ied
        self._written: dict[str, bytes] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="gridwitness-ied-", suffix=f"-{os.getpid()}"))
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.port = 0

    @property
    def is_running(self) -> bool:
        """Whether the child is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def store(self) -> Path:
        """Where the served files are."""
        return self._folder / "store"

    def start(self) -> None:
        """Start the child, which may take a second.

        Raises:
            OSError: It does not start.
        """
        with self._lock:
            self._start()

    def _start(self) -> None:
        self.end()
        self.store.mkdir(exist_ok=True)
        self._write_files()
        for _ in range(STARTS_MAX):
            with socket.create_server((_LOOPBACK, 0)) as taken:
                self.port = taken.getsockname()[1]
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            try:
                self._tell(self._model(), START_S)
            except ChildLostError as error:
                _log.info("ied_start_failed", device=self._ied.device.name, reason=str(error))
                self.end()
            else:
                return
        raise ChildLostError(f"the IED's process does not start on {STARTS_MAX} ports")

    def refresh(self) -> None:
        """Give the child the present files and values; when it is gone, the next start does."""
        with self._lock:
            if self.is_running:
                self._refresh()

    def _refresh(self) -> None:
        self._write_files()
        line = {"active": self._ied.device.contents.active_group, "attributes": self._ied.attributes()}
        try:
            self._tell(line, ANSWER_S)
        except ChildLostError as error:
            _log.warning("ied_lost", device=self._ied.device.name, reason=str(error))
            self.end()

    def disturb_files(self) -> None:
        """Write the first byte of each artefact anew, as the device shows it now."""
        for name, content in self._ied.files().items():
            if content and (self.store / name).exists():
                with (self.store / name).open("r+b") as file:
                    file.write(content[:1])
                self._written.pop(name, None)

    def end(self) -> None:
        """End the child; the files stay until `remove`."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def remove(self) -> None:
        """End the child and remove its files."""
        self.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _model(self) -> dict[str, Any]:
        options, who = self._ied.options, self._ied.device.identity
        return {
            "port": self.port,
            "ied": options.ied,
            "instance": options.instance,
            "folder": str(self.store),
            "identity": [who.vendor, who.model, self._ied.device.revision],
            "groups": self._ied.groups,
            "active": max(1, self._ied.device.contents.active_group),
            "attributes": self._ied.attributes(),
        }

    def _write_files(self) -> None:
        files = self._ied.files()
        for name in self._written.keys() - files.keys():
            (self.store / name).unlink(missing_ok=True)
        for name, content in files.items():
            if self._written.get(name) != content:
                fresh = self._folder / "fresh"
                fresh.write_bytes(content)
                fresh.replace(self.store / name)  # whoever reads it goes on with the old one
        self._written = dict(files)

    def _tell(self, line: dict[str, Any], patience_s: float) -> None:
        """Give the child one line and wait for its answer.

        Raises:
            ChildLostError: It refuses, ends, or gives no answer in time.
        """
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        answer = b""
        try:
            process.stdin.write(json.dumps(line).encode() + b"\n")
            with selectors.DefaultSelector() as waiting:
                waiting.register(process.stdout, selectors.EVENT_READ)
                while not answer.endswith(b"\n"):
                    if not waiting.select(patience_s):
                        raise ChildLostError("gives no answer")
                    piece = os.read(process.stdout.fileno(), _PIECE_BYTES)
                    if not piece:
                        raise ChildLostError("has ended")
                    answer += piece
        except BrokenPipeError as error:
            raise ChildLostError("has ended") from error
        told = json.loads(answer)
        if told != {"ok": True}:
            raise ChildLostError(str(told))


class MmsServer:
    """One IED and its port.

    Args:
        device: What it shows.
        options: How it is called.
        tls: Context of the port, None for plain TCP.

    Raises:
        ScenarioError: The library is not installed.
    """

    def __init__(self, device: Device, options: MmsOptions, tls: ssl.SSLContext | None = None) -> None:
        if find_spec(LIBRARY) is None:
            install = f"{sys.executable} -m pip install '.[sim,iec61850]'"
            what = f"needs a library that is not installed; in the checkout of gridwitness run: {install}"
            raise ScenarioError(f"device {device.name}: IEC 61850 {what}")
        self._device: Final = device
        self._tls: Final = tls
        self._process: Final = IedProcess(Ied(device, options))
        self._server: asyncio.Server | None = None
        self._open: Final[set[asyncio.StreamWriter]] = set()
        self._restarting: Final = asyncio.Lock()
        device.listen(self._told)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen and return the address and port that are bound; port 0 takes a free one.

        Raises:
            OSError: The address cannot be bound, or the child does not start.
        """
        await self._running()
        self._server = await asyncio.start_server(self._take, host, port, ssl=self._tls)
        address, bound = self._server.sockets[0].getsockname()[:2]
        return address, bound

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._drop()
        if server is not None:
            await server.wait_closed()
        await asyncio.get_running_loop().run_in_executor(None, self._process.remove)

    async def _running(self) -> None:
        """Start the child when it is not there."""
        async with self._restarting:
            if not self._process.is_running:
                await asyncio.get_running_loop().run_in_executor(None, self._process.start)

    def _told(self, what: str) -> None:
        if what == DOWN:
            self._drop()
        self._process.refresh()

    def _drop(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection, or refuse it."""
        device = self._device
        if not device.reachable or len(self._open) >= device.connections_max:
            device.counters.refused += 1
            writer.transport.abort()
            return
        device.counters.connections += 1
        self._open.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            await self._running()
            there_reader, there = await asyncio.open_connection(_LOOPBACK, self._process.port)
            ways = [
                asyncio.create_task(self._up(reader, there)),
                asyncio.create_task(self._down(there_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError as error:
            _log.info("ied_connection_failed", device=device.name, reason=str(error))
        finally:
            self._open.discard(writer)
            for each in (writer, there):
                if each is not None:
                    each.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        packets = Packets()
        while piece := await reader.read(_PIECE_BYTES):
            try:
                found = packets.feed(piece)
            except PacketError as error:
                self._device.counters.framing_errors += 1
                _log.info("mms_stream_refused", device=self._device.name, reason=str(error))
                return
            self._device.counters.requests += sum(map(is_data, found))
            fault = self._device.fault
            if fault is not None and fault.kind == CHANGING_FILE:
                self._process.disturb_files()
            there.write(b"".join(found))
            await there.drain()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets, previous, file_bytes = Packets(), b"", 0
        while piece := await there.read(_PIECE_BYTES):
            for packet in packets.feed(piece):
                passing = Passing(packet, previous, file_bytes)
                delivery = self._delivery(passing)
                if delivery.delay_ms:
                    await asyncio.sleep(delivery.delay_ms / 1000)
                writer.write(delivery.payload)
                await writer.drain()
                if delivery.restart_ms:
                    self._device.restart(delivery.restart_ms)
                if delivery.dead:
                    await asyncio.Event().wait()
                if delivery.close:
                    return
                file_bytes = file_bytes + len(packet) if len(packet) >= PIECE_BYTES_MIN else 0
                previous = packet if is_data(packet) else previous

    def _delivery(self, passing: Passing) -> Delivery:
        fault = self._device.fault
        if fault is None or not applies(fault, passing):
            return Delivery(passing.packet)
        hit = self._device.hit()
        return Delivery(passing.packet) if hit is None else disturb(hit, passing)
