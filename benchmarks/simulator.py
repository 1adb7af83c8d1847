"""One simulator process with 2,000 devices: how soon it listens, what it holds, how many polls it answers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
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


def measure() -> Sequence[Result]:
    """Start all devices, connect to each, and poll each ten times, all at once."""
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name:
        folder = Path(name)
        run_once("gridwitness-sim", "scenario", "make", folder, "--devices", str(DEVICES), *_control())
        began_s = time.perf_counter()
        command = (find_program("gridwitness-sim"), "up", "scenario.toml", "--state-file", "state.json")
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            ports = _ports(folder / "state.json", process)
            started_s = time.perf_counter() - began_s
            alone = _resident_mib(process.pid)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                rate = runner.run(_poll_all(ports))
            polled = _resident_mib(process.pid)
        finally:
            process.terminate()
            process.wait()
    note = f"{DEVICES} devices in one process, each with a port of its own, firmware of 280 KiB held once"
    return (
        Result("start until all listen", started_s, "s", note),
        Result("resident", alone, "MiB", f"{note}; before the first connection"),
        Result("resident, all connected", polled, "MiB", "one connection a device, after the polls"),
        Result("polls", rate, "1/s", f"FC4 of {REGISTERS} registers, a connection a device, one client process"),
    )


def _control() -> tuple[str, str]:
    return "--control-listen", f"{LOOPBACK}:0"


def _ports(state_file: Path, process: subprocess.Popen[bytes]) -> Sequence[int]:
    """Wait until everything listens."""
    end_s = time.perf_counter() + START_S
    while not state_file.exists():
        assert process.poll() is None, "the simulator ended"
        assert time.perf_counter() < end_s, "the simulator did not start"
        time.sleep(0.01)
    return [at["port"] for at in json.loads(state_file.read_text())["devices"].values()]


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
