"""What people get wrong at every command of gridwitness-sim: a published exit code and words that were foreseen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from firmware_sim.cli import app
from kit.exitcodes import run
from kit.sse import json_object
from tests.unit.client.nodes import FakeNode, commands
from tests.unit.client.test_wrong_arguments import CODES, KINDS, Chameleon, words_of, wrong_words

PROGRAM = typer.main.get_command(app)
COMMANDS = commands(app)
GIVEN = {
    "devices": "1",
    "device": "dev-1",
    "folder": "garbage",  # so that nothing is made at length
    "path": "file",
    "scenario": "file",
}
LISTENS = {"listen": "nowhere"}
"""So that nothing listens for long."""
ANSWERS = (b"{}", b'{"items": [{}]}', b'{"items": [7]}', b'{"items": 7}')


class AnySimulator(FakeNode):
    """Answers everything with the same bytes, or with fields of one kind."""

    answer = b"{}"
    kind: object = None

    def get_json(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self.post_cbor(path, b"")

    def post_cbor(self, path: str, body: bytes, *, content_type: str = "application/cbor") -> dict[str, Any]:
        return json_object(self.answer, "the answer") if self.kind is None else Chameleon(self.kind, path)


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnySimulator:
    (tmp_path / "file").write_bytes(b"hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "more").write_bytes(b"")
    (tmp_path / "garbage").write_bytes(bytes(range(256)))
    made = AnySimulator()
    monkeypatch.setattr("firmware_sim.control.NodeClient", lambda *_, **__: made)
    monkeypatch.setattr("typer.main.get_command", lambda _: PROGRAM)  # made once for all calls
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.parametrize("name", COMMANDS)
def test_command_with_a_wrong_word_or_answer_says_what_is_wrong(
    name: str, simulator: AnySimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[object, bytes, list[str]]] = [
        (None, ANSWERS[0], words_of(name, COMMANDS[name], GIVEN, LISTENS | changed))
        for changed in wrong_words(COMMANDS[name])
    ]
    calls += [(None, answer, words_of(name, COMMANDS[name], GIVEN, LISTENS)) for answer in ANSWERS]
    calls += [(kind, ANSWERS[0], words_of(name, COMMANDS[name], GIVEN, LISTENS)) for kind in KINDS]
    for kind, answer, words in calls:
        simulator.kind, simulator.answer = kind, answer
        code = run(app, program="gridwitness-sim", args=words)
        said = capsys.readouterr()
        assert code in CODES, words
        assert "unexpected" not in said.err, (words, said.err)
        assert said.out or said.err, words
        assert said.err.count("\n") <= 1 or code == 78, (words, said.err)
