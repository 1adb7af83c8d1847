from __future__ import annotations

import json
from typing import Any

import pytest

from kit.exitcodes import UnreachableError
from tests.unit.client.nodes import FakeNode, call, use_node

STATUS: dict[str, Any] = {
    "node": "dispatch",
    "height": 7,
    "head": "ab" * 32,
    "head_age_ms": 120,
    "ledger_stale": False,
    "leader": "dispatch",
    "peers": [{"member": "centre-east", "connected": True, "height": 7}],
    "mempool": {"transactions": 0, "bytes": 0},
    "version": "0.1.0",
}


def test_status_of_two_nodes_exits_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use_node(monkeypatch, "status", FakeNode({"/v1/status": STATUS}))
    assert call("status", "--node", "http://a", "--node", "http://b") == 0
    said = capsys.readouterr().out
    assert said.count("dispatch") == 4
    assert "1 of 1" in said


def test_status_tells_what_is_wrong_with_a_node_that_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_node(monkeypatch, "status", FakeNode({"/v1/status": {**STATUS, "health": "disk full", "broker": "none"}}))
    assert call("status", "--node", "http://a") == 0
    assert capsys.readouterr().err == "dispatch takes no part, or not yet: disk full\n"
    use_node(monkeypatch, "status", FakeNode({"/v1/status": {**STATUS, "health": "ok", "broker": "not connected"}}))
    assert call("status", "--node", "http://a") == 0
    assert "dispatch has no connection to the broker" in capsys.readouterr().err


def test_status_of_stale_ledger_exits_16(monkeypatch: pytest.MonkeyPatch) -> None:
    use_node(monkeypatch, "status", FakeNode({"/v1/status": {**STATUS, "ledger_stale": True}}))
    assert call("status", "--node", "http://a") == 16


def test_status_of_unreachable_node_exits_69(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_node(monkeypatch, "status", FakeNode({"/v1/status": UnreachableError("nobody answers")}))
    assert call("status", "--node", "http://a", "--json") == 69
    assert json.loads(capsys.readouterr().out)["items"][0]["error"] == "nobody answers"


def test_status_of_unreachable_node_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_node(monkeypatch, "status", FakeNode({"/v1/status": UnreachableError("nobody answers")}))
    assert call("status", "--node", "http://a") == 69
    said = capsys.readouterr()
    assert "unreachable" in said.out
    assert said.err == "nobody answers\n"


@pytest.mark.parametrize(
    ("answer", "said"), [({}, "the status of http://a has no 'peers'"), ({**STATUS, "peers": 3}, "as a node does")]
)
def test_status_of_what_is_no_node_is_told_beside_the_others(
    answer: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_node(monkeypatch, "status", FakeNode({"/v1/status": answer}))
    assert call("status", "--node", "http://a") == 69
    assert said in capsys.readouterr().err


def test_status_of_an_address_that_is_none_exits_64(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("status", "--node", "nonsense") == 64
    assert "is no node address" in capsys.readouterr().err
