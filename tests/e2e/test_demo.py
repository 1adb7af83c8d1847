"""The demo as a stranger starts it, and what is left of it when it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from client.commands.demo import stay
from client.demo.cluster import Cluster
from client.demo.processes import find_program, wait_until
from tests.e2e.harness import processes_of

DEMO_WITHIN_S = 280.0


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
    assert done.stdout.count(" on all 4 nodes after ") == summary["alarms"] + summary["pilot"]["alarms"]
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


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be heard by this process and those it starts, also where a shell lets its background ignore it."""
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, kept)


@pytest.mark.usefixtures("ctrl_c")
def test_demo_that_stays_up_shows_what_one_tries_until_ctrl_c(cluster: Cluster) -> None:
    said = io.StringIO()

    def visit() -> None:
        """Do what it says one may try, then press Ctrl-C."""
        try:
            wait_until(lambda: "curl" in said.getvalue(), within_s=60, what="what to try")
            tamper, restore = (line.split() for line in said.getvalue().splitlines() if " tamper " in line)
            assert subprocess.run(tamper, check=False, timeout=30, stdout=subprocess.DEVNULL).returncode == 0
            raised = f"alarm raised {device}: mismatch, on all 4 nodes"
            wait_until(lambda: raised in said.getvalue(), within_s=60, what="the alarm")
            assert subprocess.run(restore, check=False, timeout=30, stdout=subprocess.DEVNULL).returncode == 0
            wait_until(lambda: f"alarm returned {device}" in said.getvalue(), within_s=60, what="the alarm to go")
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    device = cluster.layout.topology.devices[-1].id
    with ThreadPoolExecutor(1) as pool:
        visitor = pool.submit(visit)
        stay(cluster, Console(file=said, width=200))
        visitor.result()
    assert said.getvalue().endswith("stopping all programs\n")


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_demo_ended_while_starting_leaves_no_process_behind(tmp_path: Path, end: signal.Signals) -> None:
    folder = tmp_path / "demo"
    command = [find_program("gridwitness"), "demo", "--dir", str(folder)]
    with (tmp_path / "said.txt").open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as demo:
        try:
            log = folder / "logs" / "broker.log"
            wait_until(lambda: log.exists() and log.stat().st_size > 0, within_s=200, what="the broker to start")
            assert len(processes_of(folder)) > 1
            demo.send_signal(end)
            assert demo.wait(60) != 0
            wait_until(lambda: processes_of(folder) == [], within_s=60, what="all processes to end")
        finally:
            demo.kill()
