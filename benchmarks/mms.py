"""How fast the agent reads an IED over MMS, beside pyiec61850-ng alone fetching the same file in the same run.

Needs the extra iec61850. The library alone runs in a process of its own and digests what it fetched, as the agent does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agent.drivers.mms import MmsDriver
from agent.drivers.table import load_profiles
from agent.model import DeviceConfig
from benchmarks.results import Result
from client.demo.ports import LOOPBACK, free_ports
from client.demo.processes import Processes, Program, find_program, run_once
from kit.clock import SystemClock

FIRMWARE_KIB = 1024
ROUNDS = 20
SCENARIO = """\
[scenario]
name = "bench"
[control]
listen = "{host}:{control}"
[[device]]
id = "relay-1"
protocol = "mms"
listen = "{host}:{port}"
vendor = "Bench"
product = "RP-1"
model = "SCD-220"
serial = "1"
release = "{release}"
"""
ALONE = """
import hashlib, json, sys, time
import pyiec61850.pyiec61850 as library
host, port, path, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for _ in range(5):
    connection = library.IedConnection_create()
    assert library.IedConnection_connect(connection, host, port)[1] == 0
    line, error = library.IedConnection_getMmsConnection(connection), library.MmsError_create()
    library.MmsConnection_getDomainNames(line, error)
    if library.MmsError_getValue(error) == 0:
        break
best = 1e9
for _ in range(rounds):
    began = time.perf_counter()
    assert library.MmsConnection_downloadFile(line, error, "/firmware.bin", path)
    content = open(path, "rb").read()
    digest = hashlib.sha256(content).hexdigest()
    best = min(best, time.perf_counter() - began)
began = time.perf_counter()
for _ in range(2000):
    library.MmsValue_delete(library.MmsConnection_readVariable(line, error, "IED1LD0", "LLN0$DC$NamPlt$swRev"))
values = 2000 / (time.perf_counter() - began)
print(json.dumps({"s": best, "digest": digest, "bytes": len(content), "values": values}))
"""


def measure() -> Sequence[Result]:
    """Fetch 1 MiB over and over: the library alone, then the agent's driver; then read the whole device."""
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name, Processes() as processes:
        port = _start_device(Path(name), processes)
        command = [sys.executable, "-c", ALONE, LOOPBACK, str(port), f"{name}/fetched", str(ROUNDS)]
        alone = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        file_s, digest, whole_ms, settings_ms, rss_kib = asyncio.run(_read(port))
        assert digest == alone["digest"] == hashlib.sha256((Path(name) / "fetched").read_bytes()).hexdigest()
    size = alone["bytes"]
    note = f"firmware of {FIRMWARE_KIB} KiB, loopback, digest included, best of {ROUNDS}"
    return (
        Result("MMS file, agent and its child", size / file_s / 1e6, "MB/s", f"{note}; also the chunk tree"),
        Result("MMS file, pyiec61850-ng alone", size / alone["s"] / 1e6, "MB/s", note),
        Result("MMS values, pyiec61850-ng alone", alone["values"], "values/s", "one attribute at a time"),
        Result("whole read of an IED", whole_ms, "ms", "identity, 3 artefacts, 1 MiB of firmware; best"),
        Result("of that, active setting group", settings_ms, "ms", "control block twice, values once; best"),
        Result("resident memory of the child", rss_kib / 1024, "MiB", "after the reads"),
    )


def _start_device(folder: Path, processes: Processes) -> int:
    control, port = free_ports(2)
    release = folder / "release"
    run_once("gridwitness-sim", "release", "make", release, "--model", "SCD-220", "--size-kib", str(FIRMWARE_KIB))
    scenario = folder / "scenario.toml"
    scenario.write_text(SCENARIO.format(host=LOOPBACK, control=control, port=port, release=release))
    command = (find_program("gridwitness-sim"), "up", str(scenario))
    processes.add(Program("simulator", command, folder / "simulator.log", lambda: _listens(control))).wait_healthy()
    return port


async def _read(port: int) -> tuple[float, str, int, int, int]:
    profile = load_profiles()["relay-61850"]
    device = DeviceConfig("relay-1", "mms", "relay-61850", LOOPBACK, port)
    driver = MmsDriver(device, profile, _Fine())
    file_s, whole_ms, settings_ms, digest = 1e9, 10**9, 10**9, ""
    try:
        for _ in range(ROUNDS):
            found = await driver.read()
            firmware, settings, _ = found.files
            assert firmware.digest.size == FIRMWARE_KIB * 1024, "a byte was not really read"
            digest = firmware.digest.sha256.hex()
            file_s = min(file_s, (firmware.read_to_ms - firmware.read_from_ms) / 1e6)
            settings_ms = min(settings_ms, settings.read_to_ms - settings.read_from_ms)
            whole_ms = min(whole_ms, found.read_to_ms - found.read_from_ms)
        child = driver._child  # noqa: SLF001 - the process whose memory is measured
        assert child is not None
        return file_s, digest, whole_ms // 1000, settings_ms // 1000, _resident_kib(child.pid)
    finally:
        await driver.close()


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


class _Fine(SystemClock):
    """Gives microseconds where milliseconds are due, since the whole takes few of those."""

    def now_ms(self) -> int:
        return time.perf_counter_ns() // 1000


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
