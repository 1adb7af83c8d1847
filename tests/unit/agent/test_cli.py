from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

import agent.cli
from agent.io.statefile import StateFolder, read_status
from client.demo.ports import free_ports
from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.faults import Fault
from firmware_sim.modbus.server import ModbusServer
from kit.clock import SystemClock
from kit.exitcodes import DataError, UnreachableError
from rules.fingerprint import fingerprint
from tests.unit.agent.site import write_site
from tests.unit.firmware_sim.bench import device

ROOT = Path(__file__).parents[3]
FIRMWARE = bytes(range(256)) * 10


class Served:
    """A simulated device in a thread of its own, since the command has its own event loop."""

    def __init__(self, simulated: Device) -> None:
        self.port = 0
        self._device = simulated
        self._started, self._loop = threading.Event(), uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._started.wait()

    def _run(self) -> None:
        server = ModbusServer(self._device)
        _, self.port = self._loop.run_until_complete(server.start("127.0.0.1", 0))
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()
        self._loop.run_until_complete(server.stop())
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture
def simulated() -> Device:
    return device(artefact("firmware", "1.0.0", FIRMWARE))


@pytest.fixture
def config(tmp_path: Path, simulated: Device) -> Iterator[Path]:
    served = Served(simulated)
    yield write_site(tmp_path, broker_port=1, devices=[("sps-1", served.port)])
    served.close()


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gridwitness-agent", *arguments])
    return agent.cli.main()


def test_read_shows_identity_artefacts_methods_and_timings(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "read", "sps-1", "--config", str(config), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    (part,) = value["artefacts"]
    assert value["identity"]["vendor"] == "Northgrid Controls"
    assert (part["kind"], part["method"], part["errors"]) == ("firmware", "full-file", [])
    assert part["sha256"] == fingerprint(FIRMWARE).sha256.hex()
    assert part["chunk_root"] == fingerprint(FIRMWARE).chunk_root.hex()
    assert value["requests"] > 10
    assert (value["connections"], value["busy"], value["bytes_read"]) == (1, 0, len(FIRMWARE))
    assert value["profile"] == "stability-control-modbus"
    assert part["word"] is None
    assert value["duration_ms"] >= part["duration_ms"] >= 0


def test_read_for_people_shows_the_same(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "read", "sps-1", "--config", str(config)) == 0
    shown = capsys.readouterr().out
    assert fingerprint(FIRMWARE).sha256.hex() in shown
    assert "2560 of 2560 bytes" in shown


def test_read_saves_what_a_release_is_made_of_and_overwrites_nothing(
    config: Path, simulated: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("read", "sps-1", "--config", str(config), "--save", str(tmp_path / "bench"))
    assert call(monkeypatch, *words) == 74  # firmware alone: the manufacturer has that file
    assert "no setting list or strategy table" in capsys.readouterr().err
    simulated.load(simulated.contents.loaded(artefact("strategy", "1.0.0", b"number,name\n1,a\n")))
    assert call(monkeypatch, *words) == 0
    saved = tmp_path / "bench" / "strategy.content"
    assert f"saved as {saved}" in capsys.readouterr().out
    assert (saved.read_bytes(), saved.stat().st_mode & 0o777) == (b"number,name\n1,a\n", 0o600)
    assert call(monkeypatch, *words) == 74
    assert "never overwritten" in capsys.readouterr().err


def test_profile_show_prints_the_file_of_the_one_that_counts(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "profile", "show", "folder", "--config", str(config)) == 0
    shown = capsys.readouterr().out
    assert 'pattern = "*.bin"' in shown
    own = config.parent / "profiles"
    own.mkdir()
    (own / "folder.toml").write_text(shown.replace("*.bin", "*.hex"))
    assert call(monkeypatch, "profile", "show", "folder", "--config", str(config)) == 0
    assert 'pattern = "*.hex"' in capsys.readouterr().out
    assert call(monkeypatch, "profile", "show", "other", "--config", str(config)) == 64
    assert "there are: folder, " in capsys.readouterr().err


def test_profile_check_shows_what_is_obtained_and_how(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "ours.toml"
    text = 'protocol = "modbus"\nabout = "a sample"\n[quiet]\nhours = ["01:00-02:00"]\n[read]\nfirmware_s = 600\n'
    path.write_text(text + "[modbus.directory]\naddress = 100\n")
    assert call(monkeypatch, "profile", "check", str(path)) == 0
    shown = capsys.readouterr().out
    assert "ours: modbus, a sample" in shown
    assert "firmware  full-file, at most every 600 s" in shown
    assert "settings  full-file, at every poll" in shown
    assert "01:00-02:00 UTC" in shown
    assert "counter   none: nothing shows a change and change back between two polls" in shown
    assert call(monkeypatch, "profile", "check", str(path), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["methods"] == dict.fromkeys(("firmware", "settings", "strategy"), "full-file")
    assert value["intervals_s"] == {"firmware": 600}
    assert value["counts_changes"] is False
    path.write_text(text + "[modbus]\nrevision_at = {address = 300, count = 2}\n[modbus.directory]\naddress = 100\n")
    assert call(monkeypatch, "profile", "check", str(path)) == 0
    assert "counter   shows a change and change back" in capsys.readouterr().out


def test_profile_check_of_a_wrong_file_exits_with_78_and_names_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "ours.toml"
    path.write_text('protocol = "modbus"\nabout = "a sample"\n[modbus.directory]\nadress = 100\n')
    assert call(monkeypatch, "profile", "check", str(path)) == 78
    assert "ours.toml:4: unknown key 'adress'" in capsys.readouterr().err


def test_profile_list_names_packaged_and_own_profiles(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = config.parent / "profiles"
    own.mkdir()
    (own / "ours.toml").write_text('protocol = "modbus"\nabout = "a sample"\n[modbus.directory]\naddress = 1\n')
    assert call(monkeypatch, "profile", "list", "--config", str(config)) == 0
    shown = capsys.readouterr().out
    assert "ours  modbus  a sample" in shown
    assert "stability-control-modbus  modbus" in shown


def test_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("gridwitness-agent 0.")


@pytest.mark.parametrize(("fault", "code"), [("offline", 69), ("never", 69), ("garbage", 65), ("too-short", 65)])
def test_read_of_a_sick_device_says_why_and_exits_with_its_code(
    fault: str,
    code: int,
    config: Path,
    simulated: Device,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulated.set_fault(Fault(fault))
    if fault == "never":
        config.write_text(config.read_text().replace("timeout_ms = 5000", "timeout_ms = 100"))
    assert call(monkeypatch, "read", "sps-1", "--config", str(config)) == code
    assert "gridwitness-agent: device sps-1: " in capsys.readouterr().err


def test_read_of_an_unknown_device_is_a_usage_error_that_lists_the_known(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "read", "sps-7", "--config", str(config)) == 64
    assert "there are: sps-1" in capsys.readouterr().err


def test_wrong_configuration_exits_with_78_and_names_the_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text().replace("[poll]", "[pol]") + '\n[pol]\nx = "y"\n')
    assert call(monkeypatch, "run", "--config", str(config)) == 78
    assert "agent.toml:" in capsys.readouterr().err


def test_unknown_command_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, "reed") == 64


STATUS: dict[str, Any] = {
    "gateway": "gw-1",
    "chain": "sample-00000000",
    "boot": 3,
    "clock_grade": "synchronised",
    "clock_source": "system",
    "is_running": True,
    "broker": {"address": "b:1", "is_connected": True, "sent": 1, "resent": 0},
    "outbox": {"items": 0, "bytes": 0, "oldest_age_ms": 0},
    "block": {"height": 5},
    "trust": {"is_expired": False, "head_age_ms": 4000, "is_stale": False, "head_age_ms_max": 90_000, "conflicts": 0},
    "warnings": ["look here"],
    "down": {"settled": 3},
}


def write_status(
    config: Path,
    *devices: str,
    is_connected: bool = True,
    age_ms: int = 0,
    trust: dict[str, object] | None = None,
    kept_ms: int = 500,
    last_error: str = "",
    waits_ms: int = 0,
    down: dict[str, int] | None = None,
) -> None:
    now_ms = SystemClock().now_ms() - age_ms
    folder = StateFolder(config.parent / "state")
    more = {"has_receipt": True, "last_error": "", "differences": ["settings: setting 17 differs from release r-1"]}
    rows = [
        {
            "device": f"sps-{number}",
            "status": name,
            "last_read_ms": now_ms if number else None,
            "oldest_read_ms": now_ms - kept_ms if number else None,
            **more,
        }
        for number, name in enumerate(devices)
    ]
    broker = {"address": "b:1", "is_connected": is_connected, "sent": 1, "resent": 0, "last_error": last_error}
    believed = {**STATUS["trust"], **(trust or {})}
    outbox = {**STATUS["outbox"], "oldest_age_ms": waits_ms}
    more = {"trust": believed, "time_ms": now_ms, "devices": rows, "broker": broker, "outbox": outbox}
    more |= {"down": down or STATUS["down"]}
    folder.write_status({**STATUS, **more})
    folder.release()


def test_status_says_how_old_the_oldest_file_is_where_one_is_read_less_often(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kept_ms, says in ((500, False), (86_400_000, True)):
        write_status(config, "read", "read", kept_ms=kept_ms)
        assert call(monkeypatch, "status", "--config", str(config)) == 0
        assert ("the oldest file 86400 s before" in capsys.readouterr().out) == says


@pytest.mark.parametrize(
    ("devices", "is_connected", "code"),
    [
        (["read", "read"], True, 0),
        (["not-yet-read"], True, 0),
        (["read", "unreachable"], True, 69),
        (["read"], False, 69),
        (["unreachable", "protocol-error"], True, 65),
    ],
)
def test_status_exits_by_what_it_shows(
    devices: list[str],
    is_connected: bool,  # noqa: FBT001
    code: int,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_status(config, *devices, is_connected=is_connected)
    assert call(monkeypatch, "status", "--config", str(config)) == code
    shown = capsys.readouterr().out
    assert all(name in shown for name in devices)
    assert "warning: look here" in shown
    assert shown.count("\n    settings: setting 17 differs from release r-1\n") == len(devices)
    assert call(monkeypatch, "status", "--config", str(config), "--json") == code
    assert json.loads(capsys.readouterr().out)["block"] == {"height": 5}


@pytest.mark.parametrize(
    ("given", "said", "unsaid"),
    [
        ({"waits_ms": 60_000}, "broker b:1: connected;", "receipts do not"),
        ({"waits_ms": 0}, "broker b:1: connected;", "refused"),
        ({"down": {"settled": 1, "refused-foreign-device": 7}}, "refused reports: foreign-device 7 times;", "settled"),
        ({"trust": {"head_age_ms": None}, "waits_ms": 60_001}, "does not have gateway gw-1 yet", "receipts do not"),
        ({"trust": {"head_age_ms": None}, "waits_ms": 0}, "newest header none yet", "access list"),
        ({"waits_ms": 60_001}, "warning: blocks arrive and receipts do not", "access list"),
        ({"trust": {"is_stale": True}, "waits_ms": 90_000}, "does not have gateway gw-1 yet", "receipts do not"),
        (
            {"is_connected": False, "last_error": "revoked", "waits_ms": 90_000},
            "not connected (revoked);",
            "receipts do",
        ),
    ],
)
def test_status_says_what_a_silence_may_mean(
    given: dict[str, Any],
    said: str,
    unsaid: str,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_status(config, "read", **given)
    call(monkeypatch, "status", "--config", str(config))
    shown = capsys.readouterr().out
    assert said in shown
    assert unsaid not in shown


# holds LC-7
@pytest.mark.parametrize(
    ("trust", "code", "said"),
    [
        ({}, 0, "newest header 4 s old"),
        ({"head_age_ms": None}, 0, "newest header none yet"),
        ({"head_age_ms": 95_000, "is_stale": True}, 16, "newest header 95 s old, stale"),
        ({"is_expired": True}, 16, "newest header 4 s old"),
        ({"conflicts": 1}, 65, "newest header 4 s old"),
    ],
)
def test_status_says_how_far_the_ledger_is_known(
    trust: dict[str, object],
    code: int,
    said: str,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_status(config, "read", trust=trust)
    assert call(monkeypatch, "status", "--config", str(config)) == code
    assert said in capsys.readouterr().out


def test_status_without_a_running_agent_is_unreachable(config: Path) -> None:
    state = config.parent / "state"
    with pytest.raises(UnreachableError, match="gridwitness-agent run"):
        read_status(state, 0)
    write_status(config, "read", age_ms=60_000)
    with pytest.raises(UnreachableError, match="60 s old"):
        read_status(state, SystemClock().now_ms())


def test_status_file_that_holds_something_else_is_a_data_error(config: Path) -> None:
    state = config.parent / "state"
    state.mkdir()
    (state / "status.json").write_text("[]")
    with pytest.raises(DataError, match="holds no status"):
        read_status(state, 0)


def test_run_ends_cleanly_on_sigterm_and_serves_metrics_meanwhile(config: Path) -> None:
    (port,) = free_ports(1)
    config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    program = "import agent.cli, sys; sys.exit(agent.cli.main())"
    command = [sys.executable, "-c", program, "run", "--config", str(config), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stdout is not None
            log = process.stderr.readline()
            while log and "device_changed" not in log:
                log = process.stderr.readline()
            wait_for_metrics(port)
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert process.wait(60) == 0
            ended = json.loads(process.stdout.read())
        finally:
            process.kill()
    assert ended == {"gateway": "gw-1", "ended": "stopped"}
    assert "agent_stopped" in rest
    assert "Traceback" not in rest


def wait_for_metrics(port: int) -> None:
    """Return once the endpoint shows the device; the picture is taken once a second."""
    for _ in range(1000):
        text = _metrics(port)
        if 'gridwitness_agent_device_polls_total{device="sps-1"} ' in text:
            assert "process_resident_memory_bytes" in text
            return
        time.sleep(0.05)
    raise AssertionError(text)


def _metrics(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as stream:
            return stream.read().decode()
