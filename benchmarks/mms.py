"""IEC 61850 MMS: a file of 1 MiB by the agent's driver and by pyiec61850-ng alone, each in processes of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from agent.drivers.mms import MmsDriver
from agent.drivers.mms_link import missing_extra
from agent.drivers.table import load_profiles
from agent.model import DeviceConfig
from benchmarks.results import Result
from benchmarks.simulator import scenario_up
from client.demo.layout import table, write_text
from client.demo.ports import LOOPBACK, free_ports
from client.demo.processes import run_once
from kit.clock import SystemClock

FIRMWARE_KIB: Final = 1024
ROUNDS: Final = 5
_PATH: Final = "/firmware.bin"


def measure() -> Sequence[Result]:
    """Fetch the firmware of one simulated relay five times each way; nothing without the library."""
    missing = missing_extra()
    if missing:
        print(f"mms: {missing}", flush=True)
        return ()
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name:
        port = _write_scenario(Path(name))
        with scenario_up(Path(name)):
            command = (sys.executable, "-m", "benchmarks.bare_mms", str(port), _PATH, str(FIRMWARE_KIB * 1024))
            bare = float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                ours, whole_ms = runner.run(_read(port))
    note = f"{FIRMWARE_KIB} KiB of the simulator, loopback, best of {ROUNDS}"
    return (
        Result("file, agent", ours, "MB/s", f"from the read's begin to the fingerprint; {note}"),
        Result("file, pyiec61850-ng alone", bare, "MB/s", f"in a process of its own, nothing digested; {note}"),
        Result("file, agent / pyiec61850-ng", ours / bare, "ratio", note),
        Result(
            "read of the device",
            whole_ms,
            "ms",
            f"name plates, file directory, the file, and the values of the active setting group; {note}",
        ),
    )


def _write_scenario(folder: Path) -> int:
    (port,) = free_ports(1)
    release = folder / "release"
    run_once("gridwitness-sim", "release", "make", release, "--model", "RP-1/8", "--size-kib", str(FIRMWARE_KIB))
    lines = [
        *table("[scenario]", name="bench"),
        *table("[control]", listen=f"{LOOPBACK}:0"),
        *table(
            "[[device]]",
            id="relay-1",
            protocol="mms",
            listen=f"{LOOPBACK}:{port}",
            vendor="Bench",
            product="RP-1",
            model="RP-1/8",
            serial="1",
            release=release,
        ),
        *table("[device.mms]", ied="BAY1", config_rev="17"),
    ]
    write_text(folder / "scenario.toml", lines)
    return port


async def _read(port: int) -> tuple[float, float]:
    """Return the best rate of the file in MB/s, and the shortest read of the whole device, ms."""
    device = DeviceConfig(
        id="relay-1", protocol="mms", profile="relay-61850", host=LOOPBACK, port=port, timeout_ms=10_000
    )
    driver = MmsDriver(device, load_profiles()["relay-61850"], SystemClock())
    best, whole_ms = 0.0, float("inf")
    try:
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            (part,) = (await driver.read(frozenset({"firmware"}))).files
            whole_ms = min(whole_ms, 1000 * (time.perf_counter() - began_s))
            assert part.digest.size == FIRMWARE_KIB * 1024, "a byte was not read"
            best = max(best, part.digest.size / max(1, part.read_to_ms - part.read_from_ms) / 1e3)
    finally:
        await driver.close()
    return best, whole_ms
