"""The demo as a stranger starts it, and what is left of it when it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from client.demo.processes import find_program, wait_until
from tests.e2e.harness import processes_of

DEMO_WITHIN_S = 170.0


@pytest.mark.timeout(180)
def test_demo_once_gives_five_alarms_on_four_nodes(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [find_program("gridwitness"), "demo", "--once", "--dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEMO_WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary.keys() == {"alarms", "false_alarms", "nodes", "detect_ms_p50", "detect_ms_max", "pilot"}
    assert summary["pilot"] == {"errors": 10, "alarms": 11, "missed": 0, "invented": 0}
    assert (summary["alarms"], summary["false_alarms"], summary["nodes"]) == (5, 0, 4)
    assert 0 < summary["detect_ms_p50"] <= summary["detect_ms_max"]
    assert done.stdout.count("misfilled on all 4 nodes") == 5
    assert processes_of(folder) == []
    _check_proof(folder)


def _check_proof(folder: Path) -> None:
    """Verify the demo's bundle as somebody would who got these two files, and refuse it with one bit turned."""
    bundle, genesis = folder / "alarm.bundle", folder / "genesis.cbor"
    command = [find_program("gridwitness"), "verify", str(bundle), "--genesis", str(genesis), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    shown = json.loads(done.stdout)
    assert shown["verified"] is True
    assert [event["type"] for event in shown["events"]].count("alarm_raised") >= 1
    raw = bytearray(bundle.read_bytes())
    raw[len(raw) // 3] ^= 1
    bundle.write_bytes(bytes(raw))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 65


@pytest.mark.timeout(180)
def test_demo_stays_up_shows_what_one_tries_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    folder, log = tmp_path / "demo", tmp_path / "said.txt"
    with log.open("w", encoding="utf-8") as said, _demo(folder, said) as demo:
        wait_until(lambda: "curl" in log.read_text(), within_s=DEMO_WITHIN_S, what="the story to end")
        tamper = next(line.split() for line in log.read_text().splitlines() if "flip-byte" in line)
        assert subprocess.run(tamper, check=False, timeout=30, stdout=subprocess.DEVNULL).returncode == 0
        wait_until(lambda: "alarm raised weir-sc-3: mismatch" in log.read_text(), within_s=30, what="the alarm")
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    assert processes_of(folder) == []


@pytest.mark.timeout(180)
def test_demo_killed_while_starting_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with (tmp_path / "said.txt").open("w", encoding="utf-8") as said, _demo(folder, said) as demo:
        log = folder / "logs" / "broker.log"
        wait_until(lambda: log.exists() and log.stat().st_size > 0, within_s=60, what="the broker to start")
        assert len(processes_of(folder)) > 1
        demo.kill()
        demo.wait(30)
        wait_until(lambda: processes_of(folder) == [], within_s=30, what="all processes to end")


@contextlib.contextmanager
def _demo(folder: Path, said: TextIO) -> Iterator[subprocess.Popen[bytes]]:
    command = [find_program("gridwitness"), "demo", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT) as demo:
        try:
            yield demo
        finally:
            demo.kill()
