"""Record and replay as a tester uses them: real sockets and real programs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.drivers.table import DRIVERS, load_profiles
from agent.model import DeviceConfig, Reading
from firmware_sim.device import Device
from firmware_sim.faults import Fault
from firmware_sim.fleet import Fleet
from firmware_sim.scenario import load_scenario
from firmware_sim.sessions.record import Recorder
from firmware_sim.sessions.replay import Replayer
from firmware_sim.sessions.store import SessionWriter, load_session
from kit.clock import SystemClock
from kit.config import HostPort
from tests.interop.modbus_line import FIRMWARE, Line, connect, firmware_device, framed, read_file, run, serve
from tests.unit.firmware_sim.bench import write_bench

pytestmark = pytest.mark.interop

VENDOR = bytes.fromhex("2b 0e 04 00")
WAIT_S = 60


@contextlib.asynccontextmanager
async def recording(port: int, path: Path, protocol: str = "modbus") -> Any:  # noqa: ANN401
    """Stand before a device, and write the session to ``path``."""
    with path.open("x") as out:
        writer = SessionWriter(out, protocol, "bench")
        recorder = Recorder(HostPort("127.0.0.1", port), protocol, writer, SystemClock().monotonic_ms)
        _, proxy = await recorder.start("127.0.0.1", 0)
        try:
            yield proxy
        finally:
            await recorder.stop()


@contextlib.asynccontextmanager
async def replaying(path: Path, *, pauses: bool = False) -> Any:  # noqa: ANN401
    replayer = Replayer(load_session(path), pauses=pauses)
    _, port = await replayer.start("127.0.0.1", 0)
    try:
        yield replayer, port
    finally:
        await replayer.stop()


async def read_all(line: Line) -> list[bytes]:
    """Read a few things, three of them at once."""
    found = [await line.ask(VENDOR, transaction=9)]
    for number, record in enumerate((0, 100, 200)):
        line.send(framed(read_file(1, record, 100), transaction=20 + number))
    for number in range(3):
        transaction, _, pdu = await line.frame()
        assert transaction == 20 + number
        found.append(pdu)
    return found


def test_replay_answers_as_the_device_did_without_the_device(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    seen: list[list[bytes]] = []

    async def main() -> None:
        async with serve(firmware_device()) as port, recording(port, path) as proxy, connect(proxy) as line:
            seen.append(await read_all(line))
        async with replaying(path) as (replayer, port):
            for _ in range(2):
                async with connect(port) as line:
                    seen.append(await read_all(line))
                    assert await line.ask(read_file(1, 300, 100)) == b"\x94\x0b"
            assert (replayer.answered, replayer.unknown) == (8, 2)

    run(main())
    assert seen[0] == seen[1] == seen[2]
    assert b"".join(pdu[4:] for pdu in seen[0][1:]) == FIRMWARE[:600]


def test_recording_keeps_what_went_wrong(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    device: Device = firmware_device()

    async def main() -> None:
        async with serve(device) as port, recording(port, path) as proxy:
            async with connect(proxy) as line:
                device.set_fault(Fault("garbage", requests=1))
                line.send(framed(VENDOR))
                noise = await line.take(64)
            async with connect(proxy) as line:
                device.set_fault(Fault("close", requests=1))
                line.send(framed(read_file(1, 0, 1)))
                assert await line.ended()
        async with replaying(path) as (_, port), connect(port) as line:
            line.send(framed(VENDOR))
            assert await line.take(64) == noise
            line.send(framed(read_file(1, 0, 1)))
            assert await line.ended()

    run(main())
    events = load_session(path).events
    assert [event.what for event in events if event.link == 1] == ["open", "ask", "answer", "leave"]
    assert [event.what for event in events if event.link == 2] == ["open", "ask", "close"]


def test_recording_of_a_device_that_is_not_there_closes(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"

    async def main() -> None:
        async with serve(firmware_device()) as port:
            gone = port
        async with recording(gone, path) as proxy, connect(proxy) as line:
            assert await line.ended()

    run(main())
    assert [event.what for event in load_session(path).events] == ["open", "close"]


def test_replay_pauses_as_long_as_the_device_did(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    device = firmware_device()
    device.set_fault(Fault("late", delay_ms=120))
    took: dict[bool, float] = {}

    async def main() -> None:
        clock = asyncio.get_running_loop().time
        async with serve(device) as port, recording(port, path) as proxy, connect(proxy) as line:
            await line.ask(VENDOR)
        for pauses in (True, False):
            async with replaying(path, pauses=pauses) as (_, port), connect(port) as line:
                begin_s = clock()
                await line.ask(VENDOR)
                took[pauses] = clock() - begin_s

    run(main())
    assert took[True] >= 0.1 > took[False]


def test_replay_closes_on_bytes_that_are_no_request(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"

    async def main() -> None:
        async with serve(firmware_device()) as port, recording(port, path) as proxy, connect(proxy) as line:
            await line.ask(VENDOR)
        async with replaying(path) as (_, port), connect(port) as line:
            line.send(b"GET / HTTP/1.1\r\n\r\n")
            assert await line.ended()

    run(main())


# --- the programs ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def program(*args: str, cwd: Path) -> Iterator[dict[str, Any]]:
    """Run a program until it says where it listens; end it with SIGTERM."""
    command = (sys.executable, "-m", "firmware_sim.cli", *args, "--json")
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.communicate()


def test_programs_record_a_simulated_device_and_replay_it(tmp_path: Path) -> None:
    write_bench(tmp_path)

    def read(announced: dict[str, Any]) -> bytes:
        found: list[bytes] = []

        async def main() -> None:
            async with connect(HostPort.parse(announced["listen"]).port) as line:
                found.append(await line.ask(read_file(1, 0, 100)))

        run(main())
        return found[0]

    with program("up", "bench.toml", "--state-file", "state.json", cwd=tmp_path):
        args = ("record", "s.jsonl", "--simulated", "dev-a", "--state-file", "state.json")
        with program(*args, cwd=tmp_path) as announced:
            live = read(announced)
    with program("replay", "s.jsonl", "--fast", cwd=tmp_path) as announced:
        assert announced["protocol"] == "modbus"
        assert read(announced) == live
    firmware = (tmp_path / "releases" / "a-2" / "firmware.bin").read_bytes()
    assert live[4:] == firmware[:200]


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [
        (("record", "new.jsonl"), 64, "name the device"),
        (("record", "new.jsonl", "--device", "x"), 64, "no address"),
        (("record", "new.jsonl", "--device", "h:1", "--protocol", "smoke"), 64, "expected one of modbus"),
        (("record", "old.jsonl", "--device", "h:1"), 74, "never overwritten"),
        (("replay", "old.jsonl"), 65, "no session"),
        (("replay", "none.jsonl"), 74, "none.jsonl"),
        (("replay", "good.jsonl", "--listen", "127.0.0.1:x"), 64, "no address"),
        (("replay", "good.jsonl", "--listen", "192.0.2.1:9"), 78, "cannot listen on 192.0.2.1:9"),
    ],
)
def test_command_that_cannot_be_done_says_why(tmp_path: Path, args: tuple[str, ...], code: int, reason: str) -> None:
    (tmp_path / "old.jsonl").write_text("{}\n")
    SessionWriter(out := io.StringIO(), "modbus", "d")
    (tmp_path / "good.jsonl").write_text(out.getvalue())
    done = subprocess.run(
        (sys.executable, "-m", "firmware_sim.cli", *args), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert reason in done.stderr
    assert not (tmp_path / "new.jsonl").exists()


# --- the agent as the client ----------------------------------------------------------------------------------------

PROTOCOL_PROFILES = {"modbus": "stability-control-modbus", "iec104": "stability-control-104"}


async def read_device(protocol: str, port: int) -> Reading:
    """Read a device as the agent does."""
    profile = load_profiles()[PROTOCOL_PROFILES[protocol]]
    config = DeviceConfig("dev-a", protocol, profile.name, "127.0.0.1", port, retries=0)
    driver = DRIVERS[protocol].open(config, profile, SystemClock())
    try:
        return await driver.read()
    finally:
        await driver.close()


@pytest.mark.parametrize("protocol", PROTOCOL_PROFILES)
def test_agent_reads_the_same_from_the_record_as_from_the_device(tmp_path: Path, protocol: str) -> None:
    path = tmp_path / "s.jsonl"
    bench = write_bench(tmp_path)
    bench.write_text(bench.read_text().replace('id = "dev-a"', f'id = "dev-a"\nprotocol = "{protocol}"'))
    found: list[Reading] = []

    async def main() -> None:
        fleet = Fleet(load_scenario(bench), base=tmp_path)
        at = (await fleet.start())["dev-a"]
        async with recording(at.port, path, protocol) as proxy:
            found.append(await read_device(protocol, proxy))
        await fleet.stop()
        for _ in range(2):
            async with replaying(path) as (replayer, port):
                found.append(await read_device(protocol, port))
                assert replayer.unknown == 0

    run(main())
    digests = [[(file.kind, file.size, file.digest, file.method) for file in reading.files] for reading in found]
    assert digests[0] == digests[1] == digests[2]
    assert [file[3] for file in digests[0]] == ["full-file"] * 3
    assert found[0].identity == found[2].identity
