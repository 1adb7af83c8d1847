"""The README names files, commands and targets: all of them must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from client.cli import app

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\(([^)#:]+)\)", README)))
FILES = sorted(
    set(re.findall(r"`((?:wire|rules|agent|master|client|firmware_sim|kit|tests|benchmarks)/[^`]*)`", README))
)
COMMAND = re.compile(r"^ {4}(?:venv/bin/)?gridwitness ([a-z]+(?: [a-z]+(?:-[a-z]+)*)?)", re.MULTILINE)
COMMANDS = sorted(set(COMMAND.findall(README)))


def test_readme_begins_with_the_two_commands() -> None:
    code = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    assert code[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("path", [*LINKS, *FILES])
def test_readme_named_file_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_named_command_exists(command: str) -> None:
    found = typer.main.get_command(app)
    for word in command.split():
        commands = getattr(found, "commands", {})
        if not commands:
            break  # an argument, not a command
        found = commands[word]


def test_readme_names_something_to_check() -> None:
    assert len(LINKS) >= 5
    assert len(FILES) >= 10
    assert len(COMMANDS) >= 8
