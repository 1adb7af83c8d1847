"""IEC 60870-5-104: interrogations and a file, by the agent's driver and by c104, each in processes of their own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import uvloop

from agent.drivers.iec104 import Iec104Driver
from agent.drivers.iec104_profile import Iec104Profile, PointsTable
from agent.drivers.table import load_profiles
from agent.model import DeviceConfig
from agent.profile import Profile
from benchmarks.results import Result
from client.demo.layout import table, write_text
from client.demo.ports import LOOPBACK, free_ports
from client.demo.processes import find_program, run_once
from kit.clock import SystemClock

POINTS: Final = 20_000
FIRST: Final = 10_001
C104_POINTS: Final = 4_900
"""Above some 5,400 points c104's server leaves points out."""
FIRMWARE_KIB: Final = 1024
ROUNDS: Final = 5
START_S: Final = 30.0
_ROOT: Final = Path(__file__).parents[1]
_C104: Final = (_ROOT / ".venv-interop/bin/python", _ROOT / "tests/interop/c104_peer.py")


def measure() -> Sequence[Result]:
    """Interrogate stations of both, then read a file of 1 MiB; what c104 cannot do stands without a second figure."""
    profile = load_profiles()["stability-control-104"]
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name, _simulator(Path(name)) as port:
        ours = _run(_interrogate(port, _of_points(profile, POINTS), POINTS))
        file = _run(_read_file(port, profile))
        foreign = _c104_client(port, POINTS)
    points = [[FIRST + number, "M_ME_NB_1", number % 100] for number in range(C104_POINTS)]
    with _c104() as (ask, _):
        served = ask(do="serve", common_address=1, points=points)["port"]
        ours_of_c104 = _run(_interrogate(served, _of_points(profile, C104_POINTS), C104_POINTS))
        c104_of_c104 = _c104_client(served, C104_POINTS)
    note = f"scaled values, each in the hands of a Python program, loopback, best of {ROUNDS}"
    many, few = f"{POINTS} points of the simulator; {note}", f"{C104_POINTS} points of c104's server; {note}"
    return (
        Result("interrogation, agent", ours, "points/s", f"complete, counted against the profile; {many}"),
        Result("interrogation, c104", foreign, "points/s", many),
        Result("interrogation, agent", ours_of_c104, "points/s", few),
        Result("interrogation, c104", c104_of_c104, "points/s", few),
        Result(
            "file, agent",
            file,
            "MB/s",
            f"{FIRMWARE_KIB} KiB of the simulator in sections of 16 KiB, fingerprint included, best of {ROUNDS}; "
            "c104 has no file transfer",
        ),
    )


def _run(work: Any) -> float:  # noqa: ANN401 - a coroutine
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return float(runner.run(work))


@contextmanager
def _simulator(folder: Path) -> Iterator[int]:
    """Start one device of firmware and many points, and give its port."""
    (port,) = free_ports(1)
    release = folder / "release"
    options = ("--model", "SCD-220", "--size-kib", str(FIRMWARE_KIB), "--kind", "firmware")
    run_once("gridwitness-sim", "release", "make", release, *options)
    lines = [
        *table("[scenario]", name="bench"),
        *table("[control]", listen=f"{LOOPBACK}:0"),
        *table(
            "[[device]]",
            id="device-1",
            protocol="iec104",
            listen=f"{LOOPBACK}:{port}",
            vendor="Bench",
            product="SCD-220",
            model="SCD-220",
            serial="1",
            release=release,
        ),
        *table("[device.iec104]", extra_points=POINTS),
    ]
    write_text(folder / "scenario.toml", lines)
    command = (find_program("gridwitness-sim"), "up", "scenario.toml", "--state-file", "state.json")
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        end_s = time.perf_counter() + START_S
        while not (folder / "state.json").exists():
            assert process.poll() is None, "the simulator ended"
            assert time.perf_counter() < end_s, "the simulator did not start"
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def _of_points(profile: Profile, count: int) -> Profile:
    """Return a profile whose interrogations have to bring so many points."""
    assert isinstance(profile.specifics, Iec104Profile)
    points = (PointsTable(type="M_ME_NB_1", address=FIRST, count=count),)
    return replace(profile, specifics=replace(profile.specifics, points=points))


def _driver(port: int, profile: Profile) -> Iec104Driver:
    device = DeviceConfig(
        id="device-1", protocol="iec104", profile=profile.name, host=LOOPBACK, port=port, timeout_ms=10_000
    )
    return Iec104Driver(device, profile, SystemClock())


async def _interrogate(port: int, profile: Profile, count: int) -> float:
    driver = _driver(port, profile)
    best = 0.0
    try:
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            frame = await driver.measure()
            elapsed_s = time.perf_counter() - began_s
            best = max(best, len(frame.points) / elapsed_s)
            assert len(frame.points) >= count, "a point is missing"
    finally:
        await driver.close()
    return best


async def _read_file(port: int, profile: Profile) -> float:
    driver = _driver(port, profile)
    best = 0.0
    try:
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            (part,) = (await driver.read(frozenset({"firmware"}))).files
            best = max(best, part.digest.size / (time.perf_counter() - began_s) / 1e6)
            assert part.digest.size == FIRMWARE_KIB * 1024, "a byte was not read"
    finally:
        await driver.close()
    return best


@contextmanager
def _c104() -> Iterator[tuple[Any, subprocess.Popen[str]]]:
    """Start c104 in its own process and environment: it is under the GPLv3."""
    with subprocess.Popen(_C104, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        to_peer, from_peer = process.stdin, process.stdout
        assert to_peer is not None
        assert from_peer is not None

        def ask(**request: object) -> dict[str, Any]:
            to_peer.write(json.dumps(request) + "\n")
            to_peer.flush()
            answer: dict[str, Any] = json.loads(from_peer.readline())
            assert "error" not in answer, answer
            return answer

        yield ask, process
        ask(do="close")
        to_peer.close()


def _c104_client(port: int, count: int) -> float:
    """Let c104 interrogate a station; the first time, which makes its points, does not count."""
    best = 0.0
    with _c104() as (ask, _):
        assert ask(do="connect", port=port, common_address=1)["open"], "c104 did not connect"
        for number in range(ROUNDS + 1):
            ask(do="forget")
            began_s = time.perf_counter()
            ask(do="interrogate", common_address=1)
            came = len(ask(do="wait_seen", count=count)["seen"])
            elapsed_s = time.perf_counter() - began_s
            assert came >= count, f"c104 has {came} points"
            if number:
                best = max(best, came / elapsed_s)
    return best
