"""README and guides: every command in them exists with its options, and the configurations that they print load."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer

import agent.cli
import client.cli
import firmware_sim.cli
import master.cli
from agent.config import load_agent_config
from kit.config import ConfigProblemsError
from kit.keystore import create_key
from kit.tls import self_signed
from master.config import load_node_config
from master.consortium import build_genesis
from master.contracts.findings import CLOCK_UNTRUSTED
from master.contracts.parameters import defaults
from rules import appraisal
from rules.severity import EVIDENCE_CONFLICT

ROOT: Final = Path(__file__).parents[2]
GUIDES: Final = ROOT / "docs" / "guides"
PAGES: Final = (ROOT / "README.md", *sorted(GUIDES.glob("*.md")))
PROGRAMS: Final = {
    "gridwitness": client.cli.app,
    "gridwitness-agent": agent.cli.app,
    "gridwitness-node": master.cli.app,
    "gridwitness-sim": firmware_sim.cli.app,
}
_BLOCK: Final = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)
_COMMAND: Final = re.compile(r"^ {4,}(?:\S*/)?(gridwitness(?:-[a-z]+)?) (.+)$", re.MULTILINE)


def lines_of(page: Path) -> list[tuple[str, str]]:
    """Return the program and its arguments of every command in an indented block."""
    text = page.read_text(encoding="utf-8")
    return [(found[1], found[2]) for found in _COMMAND.finditer(re.sub(r" *\\\n *", " ", text))]


def commands() -> Iterator[tuple[str, str, str]]:
    for page in PAGES:
        for program, rest in lines_of(page):
            yield page.name, program, rest


@pytest.fixture(scope="module")
def trees() -> dict[str, Any]:
    return {name: typer.main.get_command(app) for name, app in PROGRAMS.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_guide_commands_exist_with_their_options(page: Path, trees: dict[str, Any]) -> None:
    for program, rest in lines_of(page):
        found = trees[program]
        words = shlex.split(rest, comments=True)
        while words and getattr(found, "commands", None):
            del words[: sum(param.param_type_name == "argument" for param in found.params)]
            assert words[0] in found.commands, f"{page.name}: {program} {rest}"
            found = found.commands[words.pop(0)]
        known = {name for param in found.params for name in (*param.opts, *param.secondary_opts)}
        given = {word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z].*", word)}
        assert given <= known, f"{page.name}: {program} {rest}: {sorted(given - known)}"


def anchors_of(path: Path) -> set[str]:
    """Return what a link into a page may name: its headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_guide_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors_of(path), f"{page.name}: {target}"


def test_guides_name_many_commands() -> None:
    assert len(list(commands())) > 150


def tables_of(page: str, heading: str) -> str:
    """Return the indented block of a guide in which a TOML table comes first."""
    text = (GUIDES / page).read_text(encoding="utf-8")
    for block in _BLOCK.findall(text):
        lines = [line.removeprefix("    ") for line in block.splitlines()]
        if heading in (line.partition("#")[0].strip() for line in lines):
            return "\n".join(lines)
    raise AssertionError(heading)


def files_of(value: object) -> Iterator[str]:
    """Yield the texts of a configuration that name files."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from files_of(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from files_of(entry)
    elif isinstance(value, str) and re.search(r"\.(pub|key|crt|cbor)$", value):
        yield value


def put(folder: Path, name: str, text: str) -> Path:
    """Write a configuration and every file that it names, absolute paths below the folder."""
    text = text.replace('"/', f'"{folder}/')
    for file in sorted(set(files_of(tomllib.loads(text)))):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            continue
        if path.suffix == ".pub":
            create_key(path.parent, path.stem)
        elif path.suffix == ".crt":
            path.write_bytes(self_signed(path.stem).certificate)
        else:
            path.touch(0o600)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_guide_consortium_makes_a_genesis_file(tmp_path: Path) -> None:
    text = tables_of("consortium.md", "[[organisation]]")
    genesis = build_genesis(put(tmp_path, "consortium.toml", text))
    assert [entry.member for entry in genesis.validators] == ["centre-east", "dispatch"]
    assert [entry.id for entry in genesis.devices] == ["linden-sc-1"]
    with pytest.raises(ConfigProblemsError, match="role"):
        build_genesis(put(tmp_path, "wrong.toml", text.replace('role = "laboratory"', 'role = "wizard"')))


def test_guide_consortium_file_knows_every_parameter_of_the_ledger(tmp_path: Path) -> None:
    text, _, _ = tables_of("consortium.md", "[[organisation]]").partition("[parameters]")
    wanted = defaults()
    lines = [f"{name} = {value if isinstance(value, int) else repr(value)}" for name, value in wanted.items()]
    genesis = build_genesis(put(tmp_path, "consortium.toml", "\n".join([text, "[parameters]", *lines])))
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in genesis.parameters.items()} == (
        wanted
    )


def test_guide_node_is_a_configuration(tmp_path: Path) -> None:
    config = load_node_config(put(tmp_path, "node.toml", tables_of("consortium.md", "[peers.addresses]")))
    assert (config.node.member, sorted(config.peers.addresses)) == (
        "centre-east",
        ["centre-north", "centre-west", "dispatch"],
    )


def test_guide_agent_is_a_configuration(tmp_path: Path) -> None:
    config = load_agent_config(put(tmp_path, "agent.toml", tables_of("gateway.md", "[agent]")))
    assert [device.id for device in config.devices] == ["lakeside-scd-1"]


def warnings_of(package: str) -> set[str]:
    """Return every line of level warning or above that a program can log, but for those named by what they carry."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"warning", "error", "critical", "exception"}
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id.lower() == "_log"
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    return found


@pytest.mark.parametrize(("package", "page", "count"), [("agent", "gateway.md", 10), ("master", "operations.md", 25)])
def test_guide_explains_every_warning_of_a_program(package: str, page: str, count: int) -> None:
    said = " ".join((GUIDES / page).read_text(encoding="utf-8").split())
    lines = warnings_of(package)
    assert len(lines) >= count
    # the first clause is enough to find it by
    assert sorted(line for line in lines if re.split("[;,:]", line)[0] not in said) == []


def test_guide_of_alarms_has_every_cause() -> None:
    said = (GUIDES / "alarms.md").read_text(encoding="utf-8")
    verdicts = set(appraisal.VERDICTS) - {appraisal.MATCH, appraisal.PENDING}
    causes = {*verdicts, appraisal.IDENTITY_CHANGED, appraisal.ALTERED, CLOCK_UNTRUSTED, EVIDENCE_CONFLICT}
    assert sorted(cause for cause in causes if f"\n| `{cause}` |" not in said) == []
