"""How fast the agent's driver reads files over FC20 from simulated devices in a process of their own."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agent.drivers.table import DRIVERS, load_profiles
from agent.model import DeviceConfig
from benchmarks.results import Result
from client.demo.layout import table, write_text
from client.demo.ports import LOOPBACK, free_ports
from client.demo.processes import Processes, Program, find_program, run_once
from kit.clock import SystemClock

DEVICES = 9
FIRMWARE_KIB = 1024
ROUNDS = 3


def measure() -> Sequence[Result]:
    """Read one device alone, then nine at a time; firmware of 1 MiB each, nothing skipped."""
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name, Processes() as processes:
        ports = _start_devices(Path(name), processes)
        one = asyncio.run(_read(ports[:1]))
        all_of_them = asyncio.run(_read(ports))
    note = (
        f"firmware of {FIRMWARE_KIB} KiB, requests of 121 registers, loopback, fingerprints included, best of {ROUNDS}"
    )
    return (
        Result("FC20, one device", one, "MB/s", note),
        Result(f"FC20, {DEVICES} devices at once", all_of_them, "MB/s", f"all together; {note}"),
    )


def _start_devices(folder: Path, processes: Processes) -> tuple[int, ...]:
    control, *ports = free_ports(DEVICES + 1)
    release = folder / "release"
    options = ("--model", "SCD-220", "--size-kib", str(FIRMWARE_KIB), "--kind", "firmware")
    run_once("gridwitness-sim", "release", "make", release, *options)
    lines = [*table("[scenario]", name="bench"), *table("[control]", listen=f"{LOOPBACK}:{control}")]
    for number, port in enumerate(ports, start=1):
        lines += table(
            "[[device]]",
            id=f"device-{number}",
            listen=f"{LOOPBACK}:{port}",
            vendor="Bench",
            product="SCD-220",
            model="SCD-220",
            serial=str(number),
            release=release,
        )
    scenario = folder / "scenario.toml"
    write_text(scenario, lines)
    command = (find_program("gridwitness-sim"), "up", str(scenario))
    processes.add(Program("simulator", command, folder / "simulator.log", lambda: _listens(control))).wait_healthy()
    return tuple(ports)


async def _read(ports: Sequence[int]) -> float:
    profile = load_profiles()["stability-control-modbus"]
    drivers = [DRIVERS["modbus"].open(_device(port), profile, SystemClock()) for port in ports]
    best = 0.0
    try:
        for _ in range(ROUNDS):
            before = sum(driver.counters.bytes_read for driver in drivers)
            began_s = time.perf_counter()
            await asyncio.gather(*(driver.read() for driver in drivers))
            elapsed_s = time.perf_counter() - began_s
            read_bytes = sum(driver.counters.bytes_read for driver in drivers) - before
            assert read_bytes == len(ports) * FIRMWARE_KIB * 1024, "a byte was not really read"
            best = max(best, read_bytes / elapsed_s / 1e6)
    finally:
        for driver in drivers:
            await driver.close()
    return best


def _device(port: int) -> DeviceConfig:
    return DeviceConfig(
        id=f"device-{port}",
        protocol="modbus",
        profile="stability-control-modbus",
        host=LOOPBACK,
        port=port,
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
