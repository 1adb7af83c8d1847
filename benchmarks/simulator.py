"""One simulator process with 2,000 devices: how soon it listens, what it holds, how many polls it answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import uvloop

from benchmarks.results import Result
from client.demo.ports import LOOPBACK
from client.demo.processes import find_program, run_once

DEVICES: Final = 2_000
ROUNDS: Final = 10
REGISTERS: Final = 20
START_S: Final = 60.0
_POLL = bytes.fromhex("0001 0000 0006 01 04 0000") + REGISTERS.to_bytes(2, "big")
_ANSWER_BYTES = 9 + 2 * REGISTERS


@dataclass(frozen=True, slots=True)
class Simulated:
    """Devices of one simulator process."""

    pid: int
    ports: Mapping[str, int]
    """By device."""
    start_s: float
    """From the start of the process until all of them listened."""


@contextlib.contextmanager
def simulated(folder: Path, devices: int, *options: str) -> Iterator[Simulated]:
    """Start so many Modbus devices in one process.

    Args:
        folder: For scenario and releases.
        devices: How many.
        options: Further ones of ``gridwitness-sim scenario make``.
    """
    listen = ("--control-listen", f"{LOOPBACK}:0")
    run_once("gridwitness-sim", "scenario", "make", folder, "--devices", str(devices), *listen, *options)
    began_s = time.perf_counter()
    command = (find_program("gridwitness-sim"), "up", "scenario.toml", "--state-file", "state.json")
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        ports = _ports(folder / "state.json", process)
        yield Simulated(process.pid, ports, time.perf_counter() - began_s)
    finally:
        process.terminate()
        process.wait()


def measure() -> Sequence[Result]:
    """Start all devices, connect to each, and poll each ten times, all at once."""
    with (
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        simulated(Path(name), DEVICES) as found,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        alone = _resident_mib(found.pid)
        rate = runner.run(_poll_all(tuple(found.ports.values())))
        polled = _resident_mib(found.pid)
    note = f"{DEVICES} devices in one process, each with a port of its own, firmware of 280 KiB held once"
    return (
        Result("start until all listen", found.start_s, "s", note),
        Result("resident", alone, "MiB", f"{note}; before the first connection"),
        Result("resident, all connected", polled, "MiB", "one connection a device, after the polls"),
        Result("polls", rate, "1/s", f"FC4 of {REGISTERS} registers, a connection a device, one client process"),
    )


def _ports(state_file: Path, process: subprocess.Popen[bytes]) -> Mapping[str, int]:
    """Wait until everything listens."""
    end_s = time.perf_counter() + START_S
    while not state_file.exists():
        assert process.poll() is None, "the simulator ended"
        assert time.perf_counter() < end_s, "the simulator did not start"
        time.sleep(0.01)
    return {device: at["port"] for device, at in json.loads(state_file.read_text())["devices"].items()}


def _resident_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20


async def _poll_all(ports: Sequence[int]) -> float:
    """Return polls per second."""
    links = [await asyncio.open_connection(LOOPBACK, port) for port in ports]

    async def poll(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(ROUNDS):
            writer.write(_POLL)
            answer = await reader.readexactly(_ANSWER_BYTES)
            assert answer[7] == _POLL[7], "an exception instead of an answer"

    began_s = time.perf_counter()
    await asyncio.gather(*(poll(*link) for link in links))
    elapsed_s = time.perf_counter() - began_s
    for _, writer in links:
        writer.close()
    return len(ports) * ROUNDS / elapsed_s
