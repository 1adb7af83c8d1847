"""What every command of the four programs promises: an example in its help, and an answer for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.cli import app as agent_app
from client.cli import app as client_app
from firmware_sim.cli import app as sim_app
from kit.exitcodes import command_of, run
from master.cli import app as node_app

PROGRAMS = {
    "gridwitness": client_app,
    "gridwitness-agent": agent_app,
    "gridwitness-node": node_app,
    "gridwitness-sim": sim_app,
}
DEPTH_MAX = 3


def commands(of: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 the library's own
    yield path, of
    for name, under in getattr(of, "commands", {}).items():
        if len(path) <= DEPTH_MAX:
            yield from commands(under, (*path, name))


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_every_command_and_group_has_an_example(program: str) -> None:
    found = list(commands(command_of(PROGRAMS[program]), ()))
    assert len(found) > len(PROGRAMS)
    assert [path for path, each in found if f"Example: {program}" not in f"{each.help} {each.epilog}"] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_answers_programs_in_json(program: str) -> None:
    leaves = [
        (path, each) for path, each in commands(command_of(PROGRAMS[program]), ()) if not hasattr(each, "commands")
    ]
    assert len(leaves) > len(PROGRAMS)
    assert [path for path, each in leaves if "--json" not in {name for item in each.params for name in item.opts}] == []


def test_group_shows_the_example_of_its_first_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(agent_app, program="gridwitness-agent", args=["package", "--help"]) == 0
    assert "Example: gridwitness-agent package add linden-sc-1.package" in capsys.readouterr().out
