"""Wrong arguments and broken configuration files, told to the programs as a person would start them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.demo.layout import Layout, write_layout
from client.demo.topology import SMALL
from tests.e2e.harness import run_program

PROGRAMS = ("gridwitness", "gridwitness-agent", "gridwitness-node", "gridwitness-sim")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_layout(tmp_path_factory.mktemp("configuration") / "demo", SMALL)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("arguments", [("nosuch",), ("--nosuch",)])
def test_program_wrong_arguments_exits_64_and_names_them(program: str, arguments: tuple[str, ...]) -> None:
    done = run_program(program, *arguments)
    assert done.returncode == 64
    assert arguments[0] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_help_exits_0_with_an_example(program: str) -> None:
    done = run_program(program, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout


def test_client_unreachable_node_exits_69_as_json() -> None:
    done = run_program("gridwitness", "alarms", "list", "--node", "http://127.0.0.1:9", "--json")
    assert done.returncode == 69
    assert json.loads(done.stdout)["exit_code"] == 69


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[peers]", "[peers]\nlisten_on = 3", "listen_on"),
        ("member = ", "membre = ", "membre"),
        ('member = "dispatch"', "member = 7", "member"),
        ("[api]", "[api", "TOML"),
    ],
)
def test_node_broken_configuration_exits_78_with_file_and_line(layout: Layout, old: str, new: str, said: str) -> None:
    good = layout.node("dispatch") / "node.toml"
    broken = good.with_name("broken.toml")
    text = good.read_text()
    assert old in text
    broken.write_text(text.replace(old, new, 1))
    line = text[: text.index(old)].count("\n") + new.count("\n") + 1
    done = run_program("gridwitness-node", "run", "--config", str(broken))
    assert done.returncode == 78, done.stderr
    assert said in done.stderr
    assert f"broken.toml:{line}" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("interval_ms = 1000", "interval_ms = 0", "interval_ms"),
        ("interval_ms = 1000", 'interval_ms = "fast"', "interval_ms"),
        ("[poll]", "[pole]", "pole"),
        ("[mqtt]", "[mqtt", "TOML"),
    ],
)
def test_agent_broken_configuration_exits_78_with_file_and_line(layout: Layout, old: str, new: str, said: str) -> None:
    good = layout.gateway("gw-linden") / "agent.toml"
    broken = good.with_name("broken.toml")
    text = good.read_text()
    assert old in text
    broken.write_text(text.replace(old, new, 1))
    line = text[: text.index(old)].count("\n") + 1
    done = run_program("gridwitness-agent", "run", "--config", str(broken))
    assert done.returncode == 78, done.stderr
    assert said in done.stderr
    assert f"broken.toml:{line}" in done.stderr


def test_agent_broken_device_file_is_named_with_its_line(layout: Layout) -> None:
    folder = layout.gateway("gw-linden")
    device = folder / "devices.d" / "linden-sc-2.toml"
    text = device.read_text()
    device.write_text(text.replace('protocol = "modbus"', 'protocol = "telepathy"'))
    try:
        done = run_program("gridwitness-agent", "run", "--config", str(folder / "agent.toml"))
    finally:
        device.write_text(text)
    assert done.returncode == 78, done.stderr
    line = text[: text.index("protocol")].count("\n") + 1
    assert f"linden-sc-2.toml:{line}" in done.stderr


def test_node_key_readable_by_others_is_refused(layout: Layout) -> None:
    key = layout.node("dispatch") / "vote.key"
    key.chmod(0o644)
    try:
        done = run_program("gridwitness-node", "init", "--config", str(layout.node("dispatch") / "node.toml"))
    finally:
        key.chmod(0o600)
    assert done.returncode == 77
    assert "chmod 600" in done.stderr


def test_node_without_store_says_what_to_do(layout: Layout) -> None:
    done = run_program("gridwitness-node", "run", "--config", str(layout.node("centre-east") / "node.toml"))
    assert done.returncode == 74
    assert "init" in done.stderr


def test_demo_in_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = run_program("gridwitness", "demo", "--once", "--dir", str(tmp_path))
    assert done.returncode == 74
    assert (tmp_path / "mine.txt").read_text() == "mine"
