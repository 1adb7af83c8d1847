"""One agent process: 500 devices polled every second, then 32 at once whose firmware has 1 MiB, beside pymodbus alone.

The agent runs as it does on a gateway, with broker, four full nodes and receipts, on the same machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.memory import resident_mib
from benchmarks.results import Result, median
from benchmarks.simulator import simulated
from client.demo.cluster import Cluster, open_cluster
from client.demo.layout import table, write_text
from client.demo.ports import LOOPBACK
from client.demo.processes import Program, wait_until
from client.demo.topology import build_topology
from kit.files import read_bounded
from wire.genesis import GENESIS_BYTES_MAX, Device, decode_genesis

POLLED: Final = 500
REGISTERS: Final = 20
POLL_S: Final = 60
READ: Final = 32
FIRMWARE_KIB: Final = 1024
READ_S: Final = 30
SETTLE_S: Final = 5.0
RECEIPTS_S: Final = 60.0
SAMPLE_S: Final = 0.5
_PROFILE: Final = "bench-registers"
_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class Window:
    """What an agent did between two pictures of itself."""

    elapsed_s: float
    polls: int
    missed: int
    failures: int
    bytes_read: int
    poll_ms: Sequence[int]
    """Of each device's last poll."""
    resident_mib: float
    """The most, children included."""
    cpu_s: float


def measure(polled: int = POLLED, poll_s: float = POLL_S, read: int = READ, read_s: float = READ_S) -> Sequence[Result]:
    """Let one agent poll registers of many devices, then files of some.

    Args:
        polled: Devices whose registers are polled.
        poll_s: For how long.
        read: Devices whose files are read.
        read_s: For how long.
    """
    topology = build_topology((("place", "north"),), 1, "bench")
    with (
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        open_cluster(Path(name) / "d", topology, devices=False) as cluster,
    ):
        _enrol(cluster, (*_names("polled", polled), *_names("read", read)))
        cluster.start_broker()
        cluster.start_nodes()
        small = ("--name", "polled", "--size-kib", "64")
        with simulated(Path(name) / "polled", polled, *small) as found, _agent(cluster, found.ports, 1000, _PROFILE):
            polls = _watch(cluster, poll_s)
        large = ("--name", "read", "--size-kib", str(FIRMWARE_KIB))
        with simulated(Path(name) / "read", read, *large) as found:
            bare = _bare(tuple(found.ports.values()))
            with _agent(cluster, found.ports, 100, "stability-control-modbus"):
                files = _watch(cluster, read_s)
    return (*_poll_rows(polled, polls), *_file_rows(read, files, bare))


def _poll_rows(devices: int, found: Window) -> Sequence[Result]:
    note = (
        f"one agent, {devices} devices of one simulator process, {REGISTERS} holding registers each, due every second, "
        f"for {found.elapsed_s:.0f} s; four full nodes and the broker on the same {os.cpu_count()} cores"
    )
    return (
        Result("poll: cycles due", found.polls + found.missed, "", note),
        Result("poll: cycles missed", found.missed, "", note),
        Result("poll: cycles failed", found.failures, "", note),
        Result("poll: one poll, median", median(found.poll_ms), "ms", f"last poll of each device; {note}"),
        Result("poll: one poll, longest", max(found.poll_ms), "ms", f"last poll of each device; {note}"),
        Result("poll: CPU of the agent", _PERCENT * found.cpu_s / found.elapsed_s, "% core", note),
        Result("poll: agent", found.resident_mib, "MiB", f"most RSS with all children; {note}"),
    )


def _file_rows(devices: int, found: Window, bare: float) -> Sequence[Result]:
    rate = found.bytes_read / found.elapsed_s / 1e6
    each = f"{devices} devices at once, firmware of {FIRMWARE_KIB} KiB, strategy and settings, FC20"
    note = f"{each}; one agent for {found.elapsed_s:.0f} s, fingerprints, identity and evidence included"
    return (
        Result("files: agent", rate, "MB/s", note),
        Result("files: pymodbus alone", bare, "MB/s", f"{each}; pymodbus in a process of its own, nothing digested"),
        Result("files: agent / pymodbus", rate / bare, "ratio", "same devices, one after the other"),
        Result("files: polls failed", found.failures, "", note),
        Result("files: CPU of the agent", _PERCENT * found.cpu_s / found.elapsed_s, "% core", note),
        Result("files: agent", found.resident_mib, "MiB", f"most RSS with all children; {note}"),
    )


# --- the agent ----------------------------------------------------------------------------------------------------


def _names(name: str, count: int) -> Iterator[Device]:
    """Yield the devices of a scenario as the ledger knows them."""
    for number in range(1, count + 1):
        yield Device(f"{name}-{number}", "gw-place", "Northgrid Controls", "SCD-220/8", f"NG-{number}")


def _enrol(cluster: Cluster, devices: Sequence[Device]) -> None:
    """Put devices of the only gateway into the genesis file."""
    path = cluster.layout.genesis
    genesis = decode_genesis(read_bounded(path, bytes_max=GENESIS_BYTES_MAX))
    everything = tuple(sorted((*genesis.devices, *devices), key=lambda device: device.id))
    path.write_bytes(replace(genesis, devices=everything).encode())


@contextlib.contextmanager
def _agent(cluster: Cluster, ports: Mapping[str, int], interval_ms: int, profile: str) -> Iterator[Program]:
    """Run the agent with these devices, from the receipts of all of them on."""
    ((gateway, program),) = cluster.agents.items()
    folder = cluster.layout.gateway(gateway)
    for path in (folder / "devices.d").iterdir():
        path.unlink()
    lines: list[str] = []
    for device, port in ports.items():
        place: dict[str, str | int] = {"host": LOOPBACK, "port": port, "interval_ms": interval_ms}
        lines += table("[[device]]", id=device, protocol="modbus", profile=profile, **place)
    write_text(folder / "devices.d" / "devices.toml", lines)
    write_text(folder / "profiles" / f"{_PROFILE}.toml", _profile())
    if program.starts:
        program.start()
        program.wait_healthy()
    else:
        cluster.start_agents()
    try:
        wait_until(lambda: _is_settled(cluster, len(ports)), within_s=RECEIPTS_S, what="receipts of all devices")
        time.sleep(SETTLE_S)
        yield program
    finally:
        program.stop()


def _profile() -> list[str]:
    return [
        'protocol = "modbus"',
        'about = "registers alone"',
        *table("[modbus.identity]", access="none"),
        *table("[[modbus.registers]]", kind="settings"),
        f"blocks = [{{ address = 0, count = {REGISTERS} }}]",
    ]


def _status(cluster: Cluster) -> dict[str, Any]:
    (gateway,) = cluster.agents
    path = cluster.layout.gateway(gateway) / "state" / "status.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {"devices": []}
    return found


def _is_settled(cluster: Cluster, count: int) -> bool:
    devices = _status(cluster)["devices"]
    return len(devices) == count and all(device["status"] == "read" and device["has_receipt"] for device in devices)


def _watch(cluster: Cluster, seconds: float) -> Window:
    """Look at the agent's own counts and at its process for so many seconds."""
    (program,) = cluster.agents.values()
    process = psutil.Process(program.pid)
    before, cpu_s, began_s = _status(cluster), _cpu_s(process), time.perf_counter()
    most = 0.0
    while time.perf_counter() - began_s < seconds:
        time.sleep(SAMPLE_S)
        most = max(most, resident_mib(program.pid))
    wall_s = time.perf_counter() - began_s
    after, used_s = _status(cluster), _cpu_s(process) - cpu_s
    elapsed_s = (after["time_ms"] - before["time_ms"]) / 1000
    counts = {name: _total(after, name) - _total(before, name) for name in ("polls", "missed", "bytes_read")}
    return Window(
        elapsed_s=elapsed_s,
        polls=counts["polls"],
        missed=counts["missed"],
        failures=_failures(after) - _failures(before),
        bytes_read=counts["bytes_read"],
        poll_ms=[device["last_duration_ms"] for device in after["devices"]],
        resident_mib=most,
        cpu_s=used_s * elapsed_s / wall_s,
    )


def _total(status: Mapping[str, Any], name: str) -> int:
    return sum(device[name] for device in status["devices"])


def _failures(status: Mapping[str, Any]) -> int:
    return sum(sum(device["failures"].values()) for device in status["devices"])


def _cpu_s(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(float(time_.user + time_.system) for time_ in times)


def _bare(ports: Sequence[int]) -> float:
    """Return MB/s of pymodbus without anything of ours."""
    command = (sys.executable, "-m", "benchmarks.bare_modbus", *(str(port) for port in ports))
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
