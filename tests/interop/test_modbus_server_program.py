"""The program as a tester uses it: real processes, a real control port, pymodbus as the reader."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu.file_message import FileRecord

from firmware_sim.cli import app
from firmware_sim.faults import CATALOGUE
from kit import exitcodes
from tests.unit.firmware_sim.bench import FIRMWARE_BYTES, SCENARIO, write_bench

pytestmark = pytest.mark.interop

PROGRAM = (sys.executable, "-m", "firmware_sim.cli")
WAIT_S = 60
RESIDENT_BYTES_MAX = 150_000_000
"""Of one simulator process with 2,000 devices; it has about 65 MB."""


@dataclass
class Bench:
    """A running simulator."""

    folder: Path
    process: subprocess.Popen[str]
    announced: dict[str, Any]

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    def run(self, *args: str) -> tuple[int, Any]:
        return run(*args, "--state-file", str(self.state_file), "--json", cwd=self.folder)

    def port(self, device: str) -> int:
        return int(self.announced["devices"][device]["port"])


def run(*args: str, cwd: Path) -> tuple[int, Any]:
    """Run one command inside this process and return its exit code and its JSON or text."""
    output = io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(output):
        code = exitcodes.run(app, program="gridwitness-sim", args=args)
    text = output.getvalue()
    return code, json.loads(text) if text.startswith("{") else text


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("program")
    scenario = write_bench(folder)
    command = [*PROGRAM, "up", str(scenario), "--state-file", str(folder / "state.json"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Bench(folder, process, json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    assert not (folder / "state.json").exists()


def read_firmware(port: int, unit: int, size: int) -> bytes:
    """Read the firmware in requests of 121 registers, as our agent does."""

    async def main() -> bytes:
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=30, retries=0)
        assert await client.connect()
        found = bytearray()
        left = (size + 1) // 2
        number, record = 1, 0
        while left:
            count = min(121, left, 10_000 - record)
            wanted = FileRecord(file_number=number, record_number=record, record_length=2 * count)
            answer: Any = await client.read_file_record([wanted], device_id=unit)
            found += answer.records[0].record_data
            left -= count
            record += count
            if record == 10_000:
                number, record = number + 1, 0
        client.close()
        return bytes(found[:size])

    return asyncio.run(main())


def test_program_announces_what_the_state_file_and_the_control_port_say(bench: Bench) -> None:
    assert json.loads(bench.state_file.read_text()) == bench.announced
    assert bench.announced["pid"] == bench.process.pid
    listed = requests.get(bench.announced["control"] + "/devices", timeout=30).json()
    assert [(item["device"], item["port"]) for item in listed["items"]] == [
        ("dev-a", bench.port("dev-a")),
        ("dev-b", bench.port("dev-b")),
    ]
    assert bench.run("list") == (0, listed)


def test_program_device_serves_the_release_and_then_the_tampered_file(bench: Bench) -> None:
    release = (bench.folder / "releases" / "a-2" / "firmware.bin").read_bytes()
    assert read_firmware(bench.port("dev-a"), 1, FIRMWARE_BYTES) == release
    code, answer = bench.run("tamper", "dev-a", "flip-byte", "--offset", "50001", "--mask", "128")
    assert code == 0
    (change,) = answer["changes"]
    assert (change["old_byte"], change["new_byte"]) == (release[50_001], release[50_001] ^ 128)
    assert answer["time_ms"] > 1_700_000_000_000
    expected = release[:50_001] + bytes((release[50_001] ^ 128,)) + release[50_002:]
    found = read_firmware(bench.port("dev-a"), 1, FIRMWARE_BYTES)
    assert found == expected
    shown = requests.get(bench.announced["control"] + "/devices/dev-a", timeout=30).json()
    assert shown["artefacts"][0]["sha256"] == hashlib.sha256(found).hexdigest()
    assert bench.run("tamper", "all", "restore")[0] == 0
    assert read_firmware(bench.port("dev-a"), 1, FIRMWARE_BYTES) == release


def test_program_every_action_and_fault_works_from_the_command_line(bench: Bench) -> None:
    assert bench.run("tamper", "dev-a", "change-setting", "17", "48.50")[1]["changes"][0]["old_value"] == "49.00"
    assert bench.run("tamper", "dev-a", "change-setting", "17", "60", "--force")[0] == 0
    assert len(bench.run("tamper", "dev-a", "swap", "dev-b")[1]["changes"]) == 6
    assert bench.run("tamper", "dev-a", "old-release")[0] == 0
    assert bench.run("tamper", "dev-b", "old-release", "releases/a-1")[0] == 0
    assert bench.run("tamper", "dev-b", "truncate", "--artefact", "strategy", "--size", "10")[0] == 0
    assert bench.run("tamper", "dev-a", "change-back")[1]["changes"][0]["number"] == 17
    assert bench.run("tamper", "all", "restart", "--down-ms", "1")[0] == 0
    assert bench.run("tamper", "dev-a", "upgrade", "releases/a-2", "--down-ms", "1")[0] == 0
    assert bench.run("tamper", "dev-a", "switch-group", "2")[0] == 65
    assert len(bench.run("fault", "dev-a", "set", "swapped-files", "--with", "dev-b")[1]["changes"]) == 6
    assert bench.run("fault", "dev-a", "set", "wrong-clock", "--offset-ms", "-5")[1]["fault"]["offset_ms"] == -5
    assert bench.run("fault", "dev-a", "set", "changed-byte")[1]["fault"]["fault"] == "wrong-clock"
    assert bench.run("tamper", "all", "restore")[0] == 0
    code, answer = bench.run("fault", "dev-a", "set", "busy", "--function", "20", "--requests", "3")
    assert code == 0
    assert answer["fault"]["functions"] == [20]
    assert bench.run("fault", "dev-a", "clear")[1]["fault"] is None


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("tamper", "dev-x", "restore"), 64),
        (("tamper", "dev-a", "flip-byte", "--mask", "0"), 64),
        (("tamper", "dev-a", "change-setting", "17", "49.00"), 65),
        (("tamper", "dev-a", "swap", "dev-a"), 64),
        (("tamper", "dev-b", "old-release"), 64),
        (("tamper", "dev-a", "melt"), 64),
        (("fault", "dev-a", "set", "gone"), 64),
    ],
)
def test_program_refused_request_has_its_exit_code(bench: Bench, args: tuple[str, ...], expected: int) -> None:
    code, answer = bench.run(*args)
    assert code == expected
    assert answer["exit_code"] == expected
    assert answer["error"]
    shown = requests.get(bench.announced["control"] + "/devices", timeout=30).json()
    assert all(item["state"] == "original" for item in shown["items"])


def test_program_without_a_simulator_says_unreachable(tmp_path: Path) -> None:
    code, answer = run("list", "--control", "http://127.0.0.1:9", "--json", cwd=tmp_path)
    assert (code, answer["exit_code"]) == (69, 69)
    assert "gridwitness-sim up" in answer["error"]


def test_program_state_file_that_is_missing_or_none_is_refused(tmp_path: Path) -> None:
    assert run("list", "--state-file", "none.json", "--json", cwd=tmp_path)[0] == 69
    (tmp_path / "bad.json").write_text("[]")
    assert run("list", "--state-file", "bad.json", "--json", cwd=tmp_path)[0] == 65


def test_program_that_cannot_start_leaves_the_state_file_of_a_running_one(bench: Bench, tmp_path: Path) -> None:
    control = bench.announced["control"].removeprefix("http://")
    write_bench(tmp_path).write_text(SCENARIO.replace('listen = "127.0.0.1:0"', f'listen = "{control}"', 1))
    before = bench.state_file.read_text()
    code, answer = run("up", "bench.toml", "--state-file", str(bench.state_file), "--json", cwd=tmp_path)
    assert (code, "choose another [control] listen" in answer["error"]) == (78, True)
    assert bench.state_file.read_text() == before


def test_program_scenario_mistake_has_file_and_line(tmp_path: Path) -> None:
    write_bench(tmp_path).write_text(SCENARIO.replace("unit_id = 3", "unit_id = 300"))
    code, answer = run("up", "bench.toml", "--json", cwd=tmp_path)
    assert code == 78
    assert "bench.toml:18" in answer["error"]


def test_program_port_that_is_taken_is_a_configuration_error(bench: Bench, tmp_path: Path) -> None:
    taken = f'id = "dev-a"\nlisten = "127.0.0.1:{bench.port("dev-a")}"'
    write_bench(tmp_path).write_text(SCENARIO.replace('id = "dev-a"', taken))
    code, answer = run("up", "bench.toml", "--json", cwd=tmp_path)
    assert code == 78
    assert "device dev-a cannot listen" in answer["error"]


def test_program_makes_a_release_and_refuses_a_bad_one(tmp_path: Path) -> None:
    args = ("release", "make", "r-1.0", "--model", "M", "--size-kib", "64", "--kind", "firmware", "--json")
    code, answer = run(*args, cwd=tmp_path)
    assert (code, answer["release"]) == (0, "r-1-0")
    assert answer["artefacts"] == [{"kind": "firmware", "version": "1.0.0", "size_bytes": 65_536}]
    assert run("release", "make", "r-2", "--json", cwd=tmp_path)[0] == 64
    assert not (tmp_path / "r-2").exists()


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("up",),
        ("list",),
        ("faults",),
        ("record",),
        ("replay",),
        ("tamper", "d", "swap"),
        ("fault", "d", "set"),
        ("release", "make"),
        ("scenario", "make"),
        ("scenario", "check"),
    ],
)
def test_program_help_shows_an_example(args: tuple[str, ...], tmp_path: Path) -> None:
    code, text = run(*args, "--help", cwd=tmp_path)
    assert code == 0
    assert "Example: gridwitness-sim" in text


def test_program_serves_2000_devices_in_one_process(tmp_path: Path) -> None:
    args = ("scenario", "make", "fleet", "--devices", "2000", "--size-kib", "64", "--control-listen", "127.0.0.1:0")
    assert run(*args, "--json", cwd=tmp_path)[0] == 0
    process = subprocess.Popen(
        [*PROGRAM, "up", "fleet/scenario.toml", "--json"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        assert len(announced["devices"]) == 2_000

        async def ask(port: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes.fromhex("0001 0000 0006 01 04 0064 0001"))
            answer = await reader.readexactly(11)
            writer.close()
            return answer

        async def ask_all() -> list[bytes]:
            found: list[bytes] = []
            ports = [at["port"] for at in announced["devices"].values()]
            for first in range(0, len(ports), 100):
                found += await asyncio.gather(*(ask(port) for port in ports[first : first + 100]))
            return found

        assert set(asyncio.run(ask_all())) == {bytes.fromhex("0001 0000 0005 01 04 02 0003")}
        assert psutil.Process(process.pid).memory_info().rss < RESIDENT_BYTES_MAX
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.communicate()


def test_program_lists_the_fault_catalogue(tmp_path: Path) -> None:
    code, answer = run("faults", "--json", cwd=tmp_path)
    assert code == 0
    assert [item["fault"] for item in answer["items"]] == list(CATALOGUE)
    assert all(item["verdict"] and item["protocols"] for item in answer["items"])


def test_program_makes_a_scenario_and_checks_it(tmp_path: Path) -> None:
    made = run("scenario", "make", "fleet", "--devices", "30", "--size-kib", "64", "--json", cwd=tmp_path)
    assert made == (
        0,
        {"scenario": "fleet", "file": "fleet/scenario.toml", "devices": 30, "ports": 30, "events": 0},
    )
    assert run("scenario", "check", "fleet/scenario.toml", "--json", cwd=tmp_path) == made
    assert run("scenario", "make", "other", "--devices", "0", "--json", cwd=tmp_path)[0] == 64
    (tmp_path / "fleet" / "releases" / "fleet" / "strategy.csv").unlink()
    assert run("scenario", "check", "fleet/scenario.toml", "--json", cwd=tmp_path)[0] == 65


def test_program_lists_and_tells_for_people_too(bench: Bench) -> None:
    state = ("--state-file", str(bench.state_file))
    code, text = run("list", *state, cwd=bench.folder)
    assert code == 0
    lines = str(text).splitlines()
    assert lines[0].split() == ["DEVICE", "ADDRESS", "UNIT", "FIRMWARE", "FILES", "FAULT"]
    assert lines[1].split() == ["dev-a", f"127.0.0.1:{bench.port('dev-a')}", "1", "2.0.0", "original", "-"]
    code, text = run("tamper", "dev-a", "restore", *state, cwd=bench.folder)
    assert (code, text) == (0, "nothing to change\n")


def test_program_as_a_process_has_the_exit_code(tmp_path: Path) -> None:
    command = [*PROGRAM, "list", "--control", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("gridwitness-sim: 'nowhere' is no node address")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [(200, b"<html>", 65), (200, b"[]", 65), (403, b'{"title": "x"}', 77), (404, b"", 64), (500, b"", 74)],
)
def test_program_control_port_of_something_else_is_refused(
    status: int, body: bytes, expected: int, tmp_path: Path
) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        code, answer = run("list", "--control", url, "--json", cwd=tmp_path)
        thread.join(WAIT_S)
    assert (code, answer["exit_code"]) == (expected, expected)


def test_program_control_port_may_come_from_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDWITNESS_SIM_CONTROL", bench.announced["control"])
    code, answer = run("list", "--json", cwd=bench.folder)
    assert (code, answer["scenario"]) == (0, "two-devices")
