"""What commands that sign have in common: one declaration of their options, one way to an outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer

from client.cli import app
from client.ways import Way, signed, signed_and_waited
from kit.exitcodes import run
from kit.keystore import create_key
from tests.unit.client.nodes import FakeNode, call, commands, use_node

SIGNING = {
    name: command for name, command in commands(app).items() if "sender" in {param.name for param in command.params}
}
WAITING = {"alarms acknowledge-group", "members approve", "members certificates add", "models watch", "orders inspect"}


@pytest.mark.parametrize("name", SIGNING)
def test_a_command_that_signs_has_the_options_of_all_others_in_their_order(name: str) -> None:
    names = [param.name for param in SIGNING[name].params]
    shared = [one for one in names if one in {"key", "node", "sender", "timeout", "no_wait", "json"}]
    assert shared == [
        "key",
        "node",
        "sender",
        "timeout",
        *([] if name in WAITING else ["no_wait"]),
        "json",
    ]
    assert names.index("node") == names.index("key") + 1
    assert names.index("timeout") == names.index("sender") + 1
    assert names[-1] == "json"


def test_the_shared_options_say_the_same_everywhere() -> None:
    assert len(SIGNING) > 40
    for option in ("key", "node", "sender", "timeout", "no_wait", "json"):
        said = {
            (param.help, str(param.default), param.required, tuple(param.opts))
            for command in SIGNING.values()
            for param in command.params
            if param.name == option
        }
        assert len(said) == 1, option


def small_program(seen: list[object]) -> typer.Typer:
    program = typer.Typer()

    @program.command()
    @signed
    def put(
        what: Annotated[str, typer.Argument()],
        way: Way,
        often: Annotated[int, typer.Option("--often")] = 1,
        *,
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> int:
        seen.append((what, way, often, loud))
        return 4

    @program.command()
    @signed_and_waited
    def watch(way: Way) -> None:
        seen.append(way)

    return program


def test_a_signed_command_gets_its_way_beside_its_own_options() -> None:
    seen: list[object] = []
    given = ("--key", "a.key", "--node", "http://n", "--sender", "lab", "--timeout", "5", "--no-wait", "--json")
    assert run(small_program(seen), program="p", args=("put", "x", "--often", "3", "--loud", *given)) == 4
    way = Way(Path("a.key"), "http://n", "lab", 5.0, no_wait=True, json=True)
    assert seen == [("x", way, 3, True)]
    assert way.wait_s is None
    assert way.account == "lab"


def test_a_command_that_waits_has_no_way_around_it() -> None:
    seen: list[object] = []
    given = ("--key", "a.key", "--node", "http://n")
    assert run(small_program(seen), program="p", args=("watch", *given)) == 0
    assert seen == [Way(Path("a.key"), "http://n", None, 30.0, no_wait=False, json=False)]
    assert run(small_program(seen), program="p", args=("watch", *given, "--no-wait")) == 64


def test_without_a_sender_the_account_is_the_name_of_the_key(tmp_path: Path) -> None:
    create_key(tmp_path, "wind")
    assert Way(tmp_path / "wind.key", "http://n", None, 1.0, no_wait=False, json=False).account == "wind"


def test_a_call_that_is_not_waited_for_says_that_it_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create_key(tmp_path, "wind")
    node = FakeNode({"/v1/status": {"chain": "test-00000000"}})
    node.post_answer = {"results": [{"id": "ab" * 32, "status": "pending"}]}
    use_node(monkeypatch, "access", node)
    signer = ("--key", str(tmp_path / "wind.key"), "--node", "http://n", "--no-wait")
    assert call("access", "grant", "settings", "device/a", "role/auditor", *signer) == 0
    assert capsys.readouterr().out == f"role/auditor may read settings of device/a: sent, transaction {'ab' * 32}\n"
