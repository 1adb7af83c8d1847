"""Files that commands write: what is there already is left as it is, unless a person says so."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from client.cli import app
from client.outfiles import write_out
from kit.exitcodes import StorageError
from kit.http import NodeClient
from tests.unit.client.nodes import call, commands

OPTIONS = {
    "key": "--key",
    "node": "--node",
    "genesis": "--genesis",
    "reading_key": "--reading-key",
}
NEVER = {"anchor new", "members approve", "members certificates add", "quarantine sign", "quarantine statement"}
"""They make what people keep: no option lets them write over it."""
FOLDERS = {"access new-key"}
COMMANDS = {
    name: command
    for name, command in commands(app).items()
    if "out" in {param.name for param in command.params} and name not in FOLDERS
}
WORDS = {
    "access who": ("settings", "all"),
    "anchor new": (),
    "bundles alarm": ("ab" * 16,),
    "bundles device": ("a",),
    "bundles gateway": ("a", "--from", "2026-01-01", "--to", "2026-01-02"),
    "compliance export": (),
    "gaps check": ("a",),
    "members approve": ("wind", "--ca", "ca"),
    "members certificates add": ("gw-a", "gw-a.csr", "--ca", "ca"),
    "models get": ("north",),
    "models prove": ("north",),
    "quarantine sign": ("east.unlock", "--organisation", "a"),
    "quarantine statement": ("east.report",),
    "records check": ("file", "--name", "a", "--account", "b"),
    "refs package": ("folder", "--manufacturer", "a"),
    "sealed open": ("content",),
    "state get": ("membership", "a"),
    "tx get": ("ab" * 32,),
}


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> NodeClient:
        raise AssertionError("a node was asked")

    monkeypatch.setattr("kit.http.NodeClient.__init__", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"data")


def options(name: str, out: str) -> tuple[str, ...]:
    given = {"key": "a.key", "node": "http://node", "genesis": "genesis.cbor", "reading_key": "a.reading", "out": out}
    required = {
        param.name: param.opts[0]
        for param in COMMANDS[name].params
        if param.name in given and param.opts[0].startswith("--")
    }
    return tuple(itertools.chain.from_iterable((flag, given[str(word)]) for word, flag in required.items()))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_leaves_a_file_as_it_is_and_asks_no_node_before(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_bytes(b"mine")
    if name == "members certificates add":
        assert call("members", "certificates", "request", "gw-a") == 0
    if name.startswith("members"):
        assert call("members", "authority", "--ca", "ca") == 0
    assert call(*name.split(), *WORDS[name], *options(name, str(mine))) == 74
    assert mine.read_bytes() == b"mine"
    remedy = "move it away" if name in NEVER else "give --force to overwrite it"
    assert f"{mine} exists and was left as it is; {remedy}" in capsys.readouterr().err
    assert ("force" in {param.name for param in COMMANDS[name].params}) is (name not in NEVER)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_names_a_folder_that_is_no_file_or_that_is_missing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = ".csv" if name == "compliance export" else ""
    (tmp_path / f"made{end}").mkdir()
    if name == "members certificates add":
        assert call("members", "certificates", "request", "gw-a") == 0
    if name.startswith("members"):
        assert call("members", "authority", "--ca", "ca") == 0
    for out, said in ((f"made{end}", "is a folder; name the file"), (f"none/a{end}", "there is no folder none")):
        assert call(*name.split(), *WORDS[name], *options(name, out)) == 74
        assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_file_is_written_anew_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out"
    write_out(path, b"first", force=False, mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError, match="give --force"):
        write_out(path, b"second", force=False)
    assert path.read_bytes() == b"first"
    write_out(path, b"second", force=True)
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_request_of_a_membership_makes_no_key_beside_an_application_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "wind.application").write_bytes(b"mine")
    words = ("--role", "generator", "--key", "wind.key", "--node", "http://node")
    assert call("members", "request", "wind", *words) == 74
    assert not (tmp_path / "wind.tls.key").exists()
