from __future__ import annotations

import importlib
import re

import pytest

from kit.exitcodes import run


@pytest.mark.parametrize(
    ("module", "program"),
    [
        ("client.cli", "gridwitness"),
        ("agent.cli", "gridwitness-agent"),
        ("master.cli", "gridwitness-node"),
        ("firmware_sim.cli", "gridwitness-sim"),
    ],
)
def test_every_program_tells_its_version(module: str, program: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = importlib.import_module(module).app
    assert run(app, program=program, args=["--version"]) == 0
    assert re.fullmatch(rf"{program} \d+\.\d+\.\S+\n", capsys.readouterr().out)


def test_version_is_asked_of_the_program_and_not_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    app = importlib.import_module("agent.cli").app
    assert run(app, program="gridwitness-agent", args=["status", "--version"]) == 64
    assert "--version" in capsys.readouterr().err
