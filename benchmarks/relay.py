"""python -m benchmarks.relay LISTEN:TARGET ...: TCP relays on this machine that can be cut and mended.

SIGUSR1 cuts: connections stay open and nothing passes, as when a cable is pulled. SIGUSR2 mends: what waited flows on.
It stands between a node and its peers in the partition benchmark, in a process of its own, so that it costs the load
generator nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Final

import uvloop

from client.demo.ports import LOOPBACK
from client.demo.processes import wait_until

_CHUNK_BYTES: Final = 256 * 1024
_READY: Final = b"ready\n"


class Relay:
    """Some relays with one switch."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def run(self, ports: Mapping[int, int]) -> None:
        """Relay from each port to its target until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._open.clear)
        loop.add_signal_handler(signal.SIGUSR2, self._open.set)
        servers = [await self._serve(port, target) for port, target in ports.items()]
        os.write(sys.stdout.fileno(), _READY)
        await asyncio.gather(*(server.serve_forever() for server in servers))

    async def _serve(self, port: int, target: int) -> asyncio.Server:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._open.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection(LOOPBACK, target)
            except OSError:
                writer.close()
                return
            for pump in (self._pump(reader, far_writer), self._pump(far_reader, writer)):
                task = asyncio.create_task(pump)
                self._pumps.add(task)
                task.add_done_callback(self._pumps.discard)

        return await asyncio.start_server(accept, LOOPBACK, port, limit=_CHUNK_BYTES)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Cuttable:
    """The relay process as the benchmark sees it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def cut(self) -> None:
        """Let nothing pass from now on."""
        self._process.send_signal(signal.SIGUSR1)

    def mend(self) -> None:
        """Let everything pass again."""
        self._process.send_signal(signal.SIGUSR2)


@contextlib.contextmanager
def relaying(ports: Mapping[int, int]) -> Iterator[Cuttable]:
    """Run relays from each port of this machine to another while the block of code runs."""
    words = [f"{port}:{target}" for port, target in ports.items()]
    command = [sys.executable, "-m", "benchmarks.relay", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == _READY
            yield Cuttable(process)
        finally:
            process.terminate()
            wait_until(lambda: process.poll() is not None, within_s=10, what="the relay to end")


if __name__ == "__main__":
    pairs = (word.partition(":") for word in sys.argv[1:])
    found = {int(port): int(target) for port, _, target in pairs}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Relay().run(found))
