"""What people get wrong at every command: each time it ends with a published exit code and words that were foreseen."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from client.cli import app
from kit.exitcodes import Answers
from kit.httpsign import RequestSigner
from kit.keystore import create_key
from kit.sealing import create_reading_key
from kit.sse import JsonObject, json_object
from tests.unit.client import ledgers
from tests.unit.client.nodes import FakeNode, call, commands

PROGRAM = typer.main.get_command(app)
COMMANDS = {name: command for name, command in commands(app).items() if name != "demo" and not name.endswith(" watch")}
CODES = {*range(32), 64, 65, 69, 74, 75, 77, 78}
GIVEN = {
    **dict.fromkeys(("alarm", "content", "grant_id", "order", "proposal", "release", "tx"), "ab" * 32),
    "begin": "2026-01-01",
    "data_class": "settings",
    "end": "2026-01-02",
    "folder": "folder",
    "folders": "folder",
    "genesis": "genesis.cbor",
    "key": "a.key",
    "kind": "device",
    "new_key": "b.key",
    "node": "http://node",
    "old_vote_key": "a.key",
    "out": "out.csv",
    "reader": "role/auditor",
    "readers": "role/auditor",
    "reading_key": "a.reading",
    "root_key": "b.key",
    "subject": "all",
    "values": "stale_ms=1",
    "verdict": "pass",
    "vote_key": "a.key",
}
KINDS: tuple[object, ...] = (7, "zz", [], [7], {}, True)
LISTS = ("items", "results")
ANSWERS = (b"{}", b'{"items": [{}]}', b'{"items": [7], "value": "zz"}', b'{"items": [], "value": "a0", "results": [7]}')


class Chameleon(JsonObject):
    """An answer that has every field, each with the same value, but that a list has one such object in it."""

    def __init__(self, value: object, path: str) -> None:
        super().__init__({"items": [], "next": None, "value": None}, f"the answer of http://node to {path}")
        self.value = value

    def __missing__(self, name: str) -> Any:  # noqa: ANN401
        return self.value

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        if name in LISTS:
            Answers.read("the answer of http://node", name)
            return [self]
        return super().__getitem__(name)

    def get(self, name: str, default: object = None) -> Any:  # noqa: ANN401
        return self[name]


class AnyNode(FakeNode):
    """A node that tells the name of its ledger, and answers all else with the same bytes."""

    answer = b"{}"
    kind: object = None
    """Of all fields of all answers, if it is set."""

    def get_json(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        if self.kind is not None:
            return Chameleon(self.kind, path)
        is_status = path == "/v1/status" and self.answer != b"{}"
        return json_object(b'{"chain": "test-00000000", "height": 7}' if is_status else self.answer, "the answer")

    def get_bytes(
        self, path: str, params: Mapping[str, str] | None = None, *, signer: RequestSigner | None = None
    ) -> bytes:
        return self.answer

    def post_cbor(self, path: str, body: bytes, *, content_type: str = "application/cbor") -> dict[str, Any]:
        return json_object(self.answer, "the answer") if self.kind is None else Chameleon(self.kind, path)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    for name in ("a", "b"):
        create_key(folder, name)
    create_reading_key(folder, "a")
    (folder / "genesis.cbor").write_bytes(ledgers.genesis().encode())
    (folder / "file").write_bytes(b"hello")
    (folder / "folder").mkdir()
    (folder / "garbage").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture
def node(desk: Path, monkeypatch: pytest.MonkeyPatch) -> AnyNode:
    made = AnyNode()
    for module, loaded in list(sys.modules.items()):
        if module.startswith("client.") and hasattr(loaded, "NodeClient"):
            monkeypatch.setattr(loaded, "NodeClient", lambda *_, **__: made)
    monkeypatch.setattr("client.node.LOOK_S", 0)
    monkeypatch.setattr("typer.main.get_command", lambda _: PROGRAM)  # made once for all calls
    monkeypatch.chdir(desk)
    return made


def kind_of(param: Any) -> str:  # noqa: ANN401 typer tells no better type
    return "" if param.name == "help" else str(param.type_descriptor.annotation)


def wrong_words(command: Any) -> Iterator[dict[str, str]]:  # noqa: ANN401
    for param in command.params:
        kind = kind_of(param)
        if "Path" in kind:
            yield from ({param.name: wrong} for wrong in ("missing", "folder", "garbage", ""))
        elif "int" in kind or "float" in kind:
            yield from ({param.name: wrong} for wrong in ("-1", "9" * 30))
        elif "str" in kind:
            yield from ({param.name: wrong} for wrong in ("", "ä b", "a\udcff"))


def words_of(name: str, command: Any, given: Mapping[str, str], changed: Mapping[str, str]) -> list[str]:  # noqa: ANN401
    """Return what a command needs, as it is given, some of it changed; without a say, a file or a name."""
    options, places = [], []
    for param in command.params:
        if param.name in changed or param.required:
            text = changed.get(param.name, given.get(param.name, "file" if "Path" in kind_of(param) else "a"))
            if param.param_type_name == "argument":
                places.append(text)
            else:
                options.append(f"{param.opts[0]}={text}")
    return [*name.split(), *options, "--", *places]


@pytest.mark.parametrize("name", COMMANDS)
def test_command_with_a_wrong_word_or_answer_says_what_is_wrong(
    name: str, node: AnyNode, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = [(ANSWERS[3], words_of(name, COMMANDS[name], GIVEN, changed)) for changed in wrong_words(COMMANDS[name])]
    calls += [(answer, words_of(name, COMMANDS[name], GIVEN, {})) for answer in ANSWERS]
    plain: list[tuple[object, bytes, list[str]]] = [(None, answer, words) for answer, words in calls]
    kinds: list[tuple[object, bytes, list[str]]] = [
        (kind, b"{}", words_of(name, COMMANDS[name], GIVEN, {})) for kind in KINDS
    ]
    for kind, answer, words in (*plain, *kinds):
        node.kind, node.answer = kind, answer
        (desk / "out.csv").unlink(missing_ok=True)
        code = call(*words)
        said = capsys.readouterr()
        assert code in CODES, words
        assert "unexpected" not in said.err, (words, said.err)
        assert said.out or said.err, words
        assert said.err.count("\n") <= 1 or code == 78, (words, said.err)


@pytest.mark.parametrize("folder", ["", "folder", "garbage", "garbage/more", "a\udcff", ".", "/"])
@pytest.mark.parametrize("option", ["--once", "--json"])
def test_demo_in_a_folder_that_is_not_its_own_says_what_is_wrong_and_starts_nothing(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: str, option: str
) -> None:
    (desk / "folder" / "more").touch()
    monkeypatch.chdir(desk)
    monkeypatch.setattr("client.demo.layout.choose_ports", lambda _: pytest.fail("it went on"))
    before = sorted(path.name for path in desk.iterdir())
    code = call("demo", f"--dir={folder}", option)
    said = capsys.readouterr()
    assert code in {64, 74}
    assert "unexpected" not in said.out + said.err
    assert (said.out if option == "--json" else said.err).strip()
    assert [name for name in sorted(path.name for path in desk.iterdir()) if not name.endswith(".lock")] == [
        name for name in before if not name.endswith(".lock")
    ]
