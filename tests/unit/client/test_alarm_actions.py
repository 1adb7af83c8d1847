from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.commands import alarm_actions, alarms
from kit.http import NodeProblemError
from kit.keystore import create_key
from master.contracts import alarm_actions as contract
from master.contracts.alarms import EVENTS
from tests.unit.client.nodes import FakeNode, call, use_node
from wire.tx import Transaction, open_tx

TX = "ab" * 32
ALARM = "ab" * 16


class Desk:
    def __init__(self, folder: Path, node: FakeNode) -> None:
        self.node = node
        create_key(folder, "grid")
        self.by = ("--key", str(folder / "grid.key"), "--node", "http://node", "--action", "looked at it")

    def sent(self) -> Transaction:
        (posted,) = self.node.posted
        return open_tx(posted[1]).tx

    def answer(self, code: str) -> None:
        self.node.answers[f"/v1/tx/{TX}"] = {"status": "committed", "code": code, "height": 9}

    def show(self, **changes: Any) -> None:  # noqa: ANN401
        shown = {"alarm_id": ALARM, "device": "dev-1", "gateway": "gw-1", "cause": "mismatch", "count": 3}
        self.node.answers[f"/v1/alarms/{ALARM}"] = {**shown, **changes}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    node = FakeNode({"/v1/status": {"chain": "demo-00000000"}})
    node.post_answer = {"results": [{"id": TX, "status": "pending"}]}
    use_node(monkeypatch, "alarm_actions", node)
    made = Desk(tmp_path, node)
    made.show()
    made.answer("ok")
    return made


def test_alarm_is_acted_on_by_the_beginning_of_its_id(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    shown = desk.node.answers[f"/v1/alarms/{ALARM}"]
    assert isinstance(shown, dict)
    desk.node.answers["/v1/alarms"] = {"items": [shown, {**shown, "alarm_id": "cd" * 16}], "next": None}
    assert call("alarms", "acknowledge", ALARM[:8], "--reason", "under-investigation", *desk.by) == 0
    assert desk.sent().args["alarm"] == ALARM
    capsys.readouterr()
    desk.node.answers["/v1/alarms"] = {"items": [shown, {**shown, "alarm_id": ALARM[:8] + "c" * 24}], "next": None}
    assert call("alarms", "acknowledge", ALARM[:8], "--reason", "under-investigation", *desk.by) == 64
    assert f"2 alarms begin with {ALARM[:8]}: {ALARM}, " in capsys.readouterr().err
    desk.node.answers["/v1/alarms"] = {"items": [], "next": None}
    assert call("alarms", "acknowledge", "12345678", "--reason", "under-investigation", *desk.by) == 64
    assert "no alarm '12345678'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "method", "more"),
    [
        (("acknowledge", ALARM, "--reason", "under-investigation"), "acknowledge-alarm", "under-investigation"),
        (("close", ALARM, "--reason", "wrong-file"), "close-alarm", "wrong-file"),
        (("unshelve", ALARM), "unshelve-alarm", None),
    ],
)
def test_alarm_is_acted_on_as_the_node_shows_it(
    words: tuple[str, ...], method: str, more: str | None, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("alarms", *words, *desk.by) == 0
    sent = desk.sent()
    assert (sent.contract, sent.method, sent.sender) == ("consistency", method, "grid")
    seen = {"subject": "dev-1", "cause": "mismatch", "alarm": ALARM, "count": 3, "action": "looked at it"}
    assert sent.args == (seen if more is None else {**seen, "reason": more})
    assert f"{words[0]}: mismatch of dev-1, transaction {TX}, block 9" in capsys.readouterr().out


def test_shelve_names_a_time_and_says_it(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("alarms", "shelve", ALARM, "--hours", "2", *desk.by, "--json") == 0
    until_ms = desk.sent().args["until_ms"]
    assert isinstance(until_ms, int)
    assert abs(until_ms - desk.sent().valid_until_ms - 3_600_000) < 60_000  # that is valid for one hour
    told = {"alarm": ALARM, "move": "shelve", "tx": TX, "height": 9}
    assert json.loads(capsys.readouterr().out) == told
    desk.node.posted.clear()
    assert call("alarms", "shelve", ALARM, *desk.by) == 0
    assert "mismatch of dev-1 until 20" in capsys.readouterr().out


def test_alarm_of_a_gateway_names_the_gateway(desk: Desk) -> None:
    desk.show(device=None, cause="evidence_conflict")
    assert call("alarms", "acknowledge", ALARM, "--reason", "test", *desk.by, "--no-wait") == 0
    assert desk.sent().args["subject"] == "gw-1"


@pytest.mark.parametrize(
    ("move", "code", "words"),
    [
        ("acknowledge", "not-permitted", "the station's owner, agencies above it and the dispatch centre"),
        ("acknowledge", "changed-since", "decide anew"),
        ("acknowledge", "wrong-state", "somebody has acknowledged it already"),
        ("close", "wrong-state", "its cause must be gone"),
        ("close", "something-new", "something-new"),
    ],
)
def test_refusal_says_what_to_do(
    move: str, code: str, words: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answer(code)
    assert call("alarms", move, ALARM, "--reason", "test", *desk.by) == 65
    assert words in capsys.readouterr().err


def test_reason_that_does_not_fit_is_refused_before_anything_is_signed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("alarms", "close", ALARM, "--reason", "under-investigation", *desk.by) == 64
    assert "one of approved-change" in capsys.readouterr().err
    assert call("alarms", "acknowledge", ALARM, "--reason", "because", *desk.by) == 64
    assert not desk.node.posted


def test_unknown_alarm_is_named_as_such(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.node.answers[f"/v1/alarms/{ALARM}"] = NodeProblemError("http://node", 404, {"title": "not found"})
    assert call("alarms", "unshelve", ALARM, *desk.by) == 64
    assert "no alarm" in capsys.readouterr().err
    assert not desk.node.posted


def test_client_knows_the_words_of_the_contract() -> None:
    assert alarm_actions.REASONS == contract.REASONS
    assert alarm_actions.CLOSING_REASONS == contract.CLOSING_REASONS
    assert set(alarms.ALARM_EVENTS) == set(EVENTS.values())


def _group(desk: Desk, *states: str) -> list[str]:
    names = [f"{number:032x}" for number in range(len(states))]
    found = [
        {
            "alarm_id": name,
            "device": f"dev-{name[-1]}",
            "gateway": "gw-1",
            "cause": "mismatch",
            "count": 1,
            "state": state,
        }
        for name, state in zip(names, states, strict=True)
    ]
    desk.node.answers["/v1/alarms"] = {"items": found, "next": None}
    return names


def test_group_is_acknowledged_alarm_by_alarm(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = _group(desk, "raised", "acknowledged", "returned", "shelved", "raised")
    monkeypatch.setattr(alarm_actions, "_AT_ONCE", 2)
    assert call("alarms", "acknowledge-group", names[0], "--reason", "reference-error", *desk.by) == 0
    sent = [open_tx(posted[1]).tx.args for posted in desk.node.posted]
    assert [args["alarm"] for args in sent] == [names[0], names[2], names[4]]
    assert [args["subject"] for args in sent] == ["dev-0", "dev-2", "dev-4"]
    assert "acknowledged 3 of 5 open alarms" in capsys.readouterr().out
    assert desk.node.asked[0][1]["group"] == names[0]


@pytest.mark.parametrize(("code", "words"), [("changed-since", "decide anew"), ("something-new", "something-new")])
def test_group_of_which_one_is_refused_says_so(
    code: str, words: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    names = _group(desk, "raised", "raised")
    desk.answer(code)
    assert call("alarms", "acknowledge-group", names[0], "--reason", "test", *desk.by) == 65
    shown = capsys.readouterr().err
    assert f"2 of 2 alarms were not acknowledged, the first of them {names[0]}" in shown
    assert words in shown


def test_group_that_there_is_not_is_named_as_such(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    _group(desk)
    assert call("alarms", "acknowledge-group", "nothing", "--reason", "test", *desk.by) == 64
    assert "no open alarm in a group 'nothing'" in capsys.readouterr().err
