from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from client.commands.alarms import findings
from client.output import duration
from kit.exitcodes import UnreachableError
from kit.http import NodeProblemError
from tests.unit.client.nodes import FakeNode, call, event, use_node

NODE = ("--node", "http://node")


def alarm(device: str, cause: str, state: str = "raised") -> dict[str, Any]:
    return {
        "alarm_id": "ab12",
        "device": device,
        "gateway": "gw-linden",
        "station": "linden-220",
        "cause": cause,
        "severity": "critical",
        "state": state,
        "phase": "closed" if state == "closed" else "open",
        "present": state in ("raised", "acknowledged", "shelved"),
        "shelf": {"until_ms": 1_790_000_060_000} if state == "shelved" else None,
        "count": 2,
        "artefacts": [{"kind": "firmware", "verdict": cause, "detail": None, "difference": None}],
        "raised_ms": 1_790_000_000_000,
    }


def device(name: str, state: str, **verdicts: str) -> dict[str, Any]:
    return {
        "device": name,
        "station": "linden-220",
        "model": "SCD-220/4",
        "state": state,
        "verdicts": verdicts,
        "read_from_ms": None,
        "read_to_ms": None,
    }


def page(*found: dict[str, Any], following: str | None = None) -> dict[str, Any]:
    return {"items": list(found), "next": following}


@pytest.mark.parametrize(
    ("causes", "code"),
    [
        ((), 0),
        (("mismatch",), 4),
        (("mismatch", "misfilled", "superseded"), 4),
        (("mismatch", "missing"), 6),
        (("unknown_reference", "stale"), 24),
        (("unreachable",), 69),
    ],
)
def test_alarms_list_exit_code_ors_the_raised_causes(
    causes: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": page(*(alarm("a", cause) for cause in causes))}))
    assert call("alarms", "list", *NODE) == code


def test_alarms_list_returned_alarm_is_no_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": page(alarm("a", "mismatch", "returned"))}))
    assert call("alarms", "list", *NODE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["state"] == "returned"


def test_alarms_list_names_items_and_bytes_that_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"unit": "items", "count": 1, "numbers": [17]}
    found = [
        {"kind": "firmware", "detail": "9 bytes where 8 are expected", "difference": None},
        {"kind": "settings", "detail": "setting 17 differs", "difference": named},
    ]
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": page({**alarm("a", "mismatch"), "artefacts": found})}))
    monkeypatch.setenv("COLUMNS", "250")
    assert call("alarms", "list", *NODE) == 4
    shown = capsys.readouterr().out
    assert "settings: setting 17 differs" in shown
    assert "9 bytes" not in shown


def test_alarms_list_walks_all_pages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(params: Mapping[str, str]) -> dict[str, Any]:
        return page(alarm("b", "mismatch")) if "after" in params else page(alarm("a", "mismatch"), following="c1")

    node = FakeNode({"/v1/alarms": answer})
    use_node(monkeypatch, "alarms", node)
    assert call("alarms", "list", *NODE, "--state", "raised", "--json") == 4
    assert [item["device"] for item in json.loads(capsys.readouterr().out)["items"]] == ["a", "b"]
    assert node.asked[1][1] == {"state": "raised", "phase": "open", "limit": "500", "after": "c1"}


def test_alarms_list_answer_that_is_no_list_exits_65(monkeypatch: pytest.MonkeyPatch) -> None:
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": {"items": 3}}))
    assert call("alarms", "list", *NODE) == 65


def test_alarms_list_unknown_cause_exits_65(monkeypatch: pytest.MonkeyPatch) -> None:
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": page(alarm("a", "from-the-future"))}))
    assert call("alarms", "list", *NODE) == 65


def test_alarms_list_unreachable_node_exits_69(monkeypatch: pytest.MonkeyPatch) -> None:
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": UnreachableError("nobody answers")}))
    assert call("alarms", "list", *NODE) == 69


@pytest.mark.parametrize(
    "arguments",
    [("alarms",), ("alarms", "list"), ("alarms", "list", "--nosuch"), ("alarms", "watch", *NODE, "--until", "0")],
)
def test_alarms_wrong_arguments_exit_64(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRIDWITNESS_URL", raising=False)
    assert call(*arguments) == 64


def test_alarms_watch_until_two_prints_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = FakeNode()
    node.stream = [
        event(4, "report_accepted", gateway="gw"),
        event(5, "alarm_raised", device="a", cause="mismatch", alarm_id="x", artefacts=[]),
        event(6, "alarm_returned", device="a", cause="mismatch", alarm_id="x", artefacts=[]),
        event(7, "alarm_raised", device="b", cause="mismatch", alarm_id="y", artefacts=[]),
    ]
    use_node(monkeypatch, "alarms", node)
    assert call("alarms", "watch", *NODE, "--until", "2", "--after", "3-1", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["id"], line["type"]) for line in lines] == [("5-0", "alarm_raised"), ("6-0", "alarm_returned")]
    assert node.after == "3-1"


def test_alarms_watch_for_people_names_device_cause_and_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = FakeNode()
    found = [
        {"kind": "firmware", "verdict": "mismatch"},
        {"kind": "settings", "verdict": "mismatch", "detail": "setting 17 differs", "difference": {"unit": "items"}},
    ]
    node.stream = [event(5, "alarm_raised", device="a", cause="mismatch", alarm_id="x", artefacts=found)]
    use_node(monkeypatch, "alarms", node)
    assert call("alarms", "watch", *NODE) == 0
    assert (
        "a: mismatch raised (firmware mismatch, settings mismatch: setting 17 differs), alarm x"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("state", "verdicts", "words"),
    [
        ("match", {"firmware": "match"}, ["match"]),
        ("alarm", {"firmware": "match", "settings": "mismatch"}, ["match", "mismatch"]),
        ("unreachable", {}, ["unreachable"]),
        ("stale", {"firmware": "match"}, ["match", "stale"]),
        ("never_read", {}, ["stale"]),
        ("unknown_reference", {}, ["unknown_reference"]),
        ("retired", {"firmware": "mismatch"}, []),
    ],
)
def test_findings_of_a_device(state: str, verdicts: dict[str, str], words: list[str]) -> None:
    assert list(findings(device("a", state, **verdicts))) == words


def test_devices_list_ors_the_verdicts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = page(device("a", "match", firmware="match"), device("b", "alarm", settings="misfilled"))
    use_node(monkeypatch, "alarms", FakeNode({"/v1/devices": found}))
    assert call("devices", "list", *NODE) == 4
    assert "misfilled" in capsys.readouterr().out


def test_devices_list_all_match_exits_0(monkeypatch: pytest.MonkeyPatch) -> None:
    use_node(monkeypatch, "alarms", FakeNode({"/v1/devices": page(device("a", "match", firmware="match"))}))
    assert call("devices", "list", *NODE) == 0


@pytest.mark.parametrize("noun", ["alarms", "devices"])
def test_list_of_a_ledger_that_stands_still_says_so_and_exits_16(
    noun: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    still: dict[str, Any] = {"items": [], "next": None, "head_age_ms": 90_500, "ledger_stale": True}
    use_node(monkeypatch, "alarms", FakeNode({f"/v1/{noun}": still}))
    assert call(noun, "list", *NODE) == 16
    assert "stands still at http://node, its newest block is 90 s old" in capsys.readouterr().err
    assert call(noun, "list", *NODE, "--json") == 16
    found = capsys.readouterr()
    assert json.loads(found.out) == {"items": [], "head_age_ms": 90_500, "ledger_stale": True}
    assert not found.err


def test_alarms_list_of_a_ledger_that_goes_on_says_nothing_of_its_age(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh: dict[str, Any] = {"items": [], "next": None, "head_age_ms": 900, "ledger_stale": False}
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": fresh}))
    assert call("alarms", "list", *NODE) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [("acknowledged", 4), ("shelved", 4), ("returned_acknowledged", 0)])
def test_alarms_list_cause_that_is_present_is_a_finding_whatever_people_did(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": page(alarm("a", "mismatch", state))}))
    assert call("alarms", "list", *NODE) == code


@pytest.mark.parametrize(
    ("arguments", "phase"),
    [((), "open"), (("--all",), None), (("--state", "closed"), None), (("--group", "g"), "open")],
)
def test_alarms_list_leaves_out_what_was_closed_unless_it_is_asked_for(
    arguments: tuple[str, ...], phase: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = FakeNode({"/v1/alarms": page(alarm("a", "mismatch", "closed"))})
    use_node(monkeypatch, "alarms", node)
    assert call("alarms", "list", *NODE, *arguments) == 0
    assert node.asked[0][1].get("phase") == phase


NOT_FOUND = NodeProblemError("http://node/v1/devices/typo", 404, {"title": "not found"})


@pytest.mark.parametrize("command", [("alarms", "list", "--device", "typo"), ("devices", "history", "typo")])
def test_device_that_there_is_not_is_named_as_such(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = FakeNode({"/v1/alarms": page(), "/v1/verdicts": page(), "/v1/devices/typo": NOT_FOUND})
    use_node(monkeypatch, "alarms", node)
    assert call(*command, *NODE) == 64
    shown = capsys.readouterr()
    assert "no device 'typo'; see 'gridwitness devices list'" in shown.err
    assert "no alarms" not in shown.out


@pytest.mark.parametrize("command", [("alarms", "list", "--device", "a"), ("devices", "history", "a")])
def test_device_without_alarms_or_past_is_no_error(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"/v1/alarms": page(), "/v1/verdicts": page(), "/v1/devices/a": device("a", "never_read")}
    use_node(monkeypatch, "alarms", FakeNode(answers))
    assert call(*command, *NODE) == 0


def test_device_question_that_fails_otherwise_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = NodeProblemError("http://node/v1/devices/a", 503, {"title": "later"})
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": page(), "/v1/devices/a": broken}))
    assert call("alarms", "list", *NODE, "--device", "a") == 75


def test_alarms_list_names_gateways_and_ends_of_shelves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        {**alarm("a", "evidence_conflict"), "device": None},
        alarm("b", "mismatch", "shelved"),
    ]
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms": page(*found)}))
    monkeypatch.setenv("COLUMNS", "250")
    assert call("alarms", "list", *NODE) == 4
    shown = capsys.readouterr().out
    assert "gateway gw-linden" in shown
    assert "shelved until 2026-09-21" in shown


def transition(move: str, **changes: object) -> dict[str, Any]:
    return {
        "time_ms": 1_790_000_000_000,
        "move": move,
        "state": "raised",
        "by": None,
        "reason": None,
        "action": None,
        "until_ms": None,
        "height": 7,
        "tx": "cd" * 32,
        **changes,
    }


def test_alarms_show_tells_the_whole_story_in_its_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past = [transition("shelve", by="grid", action="part ordered", until_ms=1_790_000_060_000), transition("appear")]
    answers = {"/v1/alarms/ab12": {**alarm("a", "mismatch"), "alarm_id": "ab12"}, "/v1/alarm-transitions": page(*past)}
    node = FakeNode(answers)
    use_node(monkeypatch, "alarms", node)
    monkeypatch.setenv("COLUMNS", "250")
    assert call("alarms", "show", "ab12", *NODE) == 0
    shown = capsys.readouterr().out
    assert shown.index("appear") < shown.index("shelve until 2026-09-21")
    assert "part ordered" in shown
    assert node.asked[1][1]["alarm"] == "ab12"
    assert call("alarms", "show", "ab12", *NODE, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["alarm"]["cause"], len(told["history"])) == ("mismatch", 2)


def test_alarms_show_of_an_unknown_alarm_exits_64(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = NodeProblemError("http://node", 404, {"title": "not found"})
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms/nope": missing}))
    assert call("alarms", "show", "nope", *NODE) == 64
    assert "no alarm 'nope'" in capsys.readouterr().err
    broken = NodeProblemError("http://node", 503, {"title": "later"})
    use_node(monkeypatch, "alarms", FakeNode({"/v1/alarms/nope": broken}))
    assert call("alarms", "show", "nope", *NODE) == 75


def test_alarms_groups_and_figures_are_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = {
        "group_id": "ab12",
        "kind": "flood",
        "cause": "mismatch",
        "area": "north",
        "station": None,
        "severity": "high",
        "alarms": 120,
        "open": 3,
        "unacknowledged": 2,
        "first_ms": 0,
        "last_ms": 1,
    }
    figure = {
        "scope": "cause",
        "name": "mismatch",
        "opened": 3,
        "acknowledged": 2,
        "acknowledge_ms_mean": 90_000,
        "acknowledge_ms_max": 600_000,
        "closed": 1,
        "clear_ms_mean": 7_200_000,
        "clear_ms_max": 400_000_000,
    }
    node = FakeNode({"/v1/alarm-groups": page(group), "/v1/alarm-figures": page(figure)})
    use_node(monkeypatch, "alarms", node)
    monkeypatch.setenv("COLUMNS", "250")
    assert call("alarms", "groups", "--floods", *NODE) == 0
    assert "120" in capsys.readouterr().out
    assert node.asked[0][1]["kind"] == "flood"
    assert call("alarms", "figures", "--period", "2026-09", *NODE) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("90.0 s", "10.0 min", "2.0 h", "4.6 d"))
    assert duration(None) == "-"


def test_devices_history_lists_past_verdicts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "time_ms": 0,
        "verdicts": {"firmware": "mismatch"},
        "artefacts": [{"kind": "firmware", "detail": "4 bytes where 10 are expected"}],
        "height": 3,
        "tx": "ab" * 32,
    }
    use_node(monkeypatch, "alarms", FakeNode({"/v1/verdicts": page(row)}))
    monkeypatch.setenv("COLUMNS", "250")
    assert call("devices", "history", "a", *NODE) == 0
    assert "firmware: 4 bytes where 10 are expected" in capsys.readouterr().out


def test_alarms_watch_names_gateways_and_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = FakeNode()
    about: dict[str, Any] = {"device": None, "gateway": "gw-1", "cause": "evidence_conflict"}
    node.stream = [event(5, "alarm_closed", **about, alarm_id="x", artefacts=[], by="grid", action="key replaced")]
    use_node(monkeypatch, "alarms", node)
    assert call("alarms", "watch", *NODE) == 0
    assert "gateway gw-1: evidence_conflict closed by grid: key replaced, alarm x" in capsys.readouterr().out


def test_devices_list_shows_how_a_verdict_was_come_by_where_no_whole_file_was_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artefacts = [{"kind": "firmware", "method": "vendor-checksum"}, {"kind": "settings", "method": "full-file"}]
    found = {**device("a", "match", firmware="match", settings="match"), "artefacts": artefacts}
    use_node(monkeypatch, "alarms", FakeNode({"/v1/devices": page(found)}))
    monkeypatch.setenv("COLUMNS", "250")
    assert call("devices", "list", *NODE) == 0
    out = capsys.readouterr().out
    assert out.count("match (vendor-checksum)") == 1
    assert "full-file" not in out


def test_devices_list_of_a_device_inside_and_past_its_work_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for state, code in (("pending", 0), ("window_over", 16)):
        use_node(monkeypatch, "alarms", FakeNode({"/v1/devices": page(device("a", state, firmware="pending"))}))
        assert call("devices", "list", *NODE) == code
