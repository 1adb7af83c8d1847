from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from client.releases import read_release
from tests.unit.client.nodes import FakeNode, call
from tests.unit.client.releases import MANIFEST, NODE, accept, listed
from wire.release import decode_release
from wire.tx import open_tx
from wire.types import sha256


def test_submit_signs_the_fingerprints_and_waits(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node)
    assert call("refs", "submit", str(folder), "--key", key, *NODE, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["status"], shown["code"], shown["height"]) == ("committed", "ok", 9)
    path, raw, _ = node.posted[0]
    sent = open_tx(raw).tx
    assert path == "/v1/tx"
    assert (sent.chain, sent.sender, sent.contract, sent.method) == ("test-00000000", "alder", "references", "submit")
    assert sent.seq == 1
    release = sent.args["release"]
    assert isinstance(release, bytes)
    assert decode_release(release) == read_release(folder, "alder")
    assert shown["digest"] == sha256(release).hex()


def test_submit_refused_by_the_contract_exits_65(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node, "not-manufacturer")
    assert call("refs", "submit", str(folder), "--key", key, *NODE) == 65
    assert "not-manufacturer" in capsys.readouterr().err


def test_submit_of_several_goes_on_past_a_refusal(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node, "name-taken", "ok")
    releases = folder.parent / "releases"
    releases.mkdir()
    for name in ("2-4-0", "2-5-0"):
        shutil.copytree(folder, releases / name)
        (releases / name / "release.toml").write_text(MANIFEST.replace("2-4-0", name))
    assert call("refs", "submit", str(releases), "--key", key, *NODE) == 65
    told = capsys.readouterr()
    assert len(node.posted) == 2
    assert "linden-sc-1-2-5-0 " in told.out
    assert "1 of 2 releases were refused:\n  release linden-sc-1-2-4-0: " in told.err
    assert "choose another one in release.toml" in told.err


def test_submit_of_what_the_ledger_has_is_no_error(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node, "already-submitted")
    assert call("refs", "submit", str(folder), "--key", key, *NODE) == 0
    assert "linden-sc-1-2-4-0: the ledger had it before; nothing changed" in capsys.readouterr().out


def test_submit_still_pending_exits_75(folder: Path, key: str, node: FakeNode) -> None:
    accept(node)

    def take(_: object) -> dict[str, Any]:
        tx = sha256(node.posted[-1][1]).hex()
        node.answers[f"/v1/tx/{tx}"] = {"status": "pending"}
        return {"results": [{"id": tx, "status": "pending"}]}

    node.post_answer = take
    assert call("refs", "submit", str(folder), "--key", key, *NODE, "--timeout", "0.1") == 75


def test_submit_no_wait_returns_at_once(folder: Path, key: str, node: FakeNode) -> None:
    node.post_answer = {"results": [{"id": "ab", "status": "pending"}]}
    assert call("refs", "submit", str(folder), "--key", key, *NODE, "--no-wait", "--sender", "other") == 0
    assert open_tx(node.posted[0][1]).tx.sender == "other"


@pytest.mark.parametrize("answer", [{}, {"results": []}, {"results": [{"id": "ab", "status": "refused"}]}])
def test_submit_not_taken_exits_65(answer: dict[str, Any], folder: Path, key: str, node: FakeNode) -> None:
    node.post_answer = answer
    assert call("refs", "submit", str(folder), "--key", key, *NODE) == 65


def test_submit_without_folder_exits_64(tmp_path: Path, key: str, node: FakeNode) -> None:
    assert call("refs", "submit", str(tmp_path / "nosuch"), "--key", key, *NODE) == 64


def test_submit_without_key_exits_74(folder: Path, tmp_path: Path, node: FakeNode) -> None:
    assert call("refs", "submit", str(folder), "--key", str(tmp_path / "nosuch.key"), *NODE) == 74


def test_submit_to_something_that_is_no_node_exits_65(folder: Path, key: str, node: FakeNode) -> None:
    node.answers["/v1/status"] = {"hello": "world"}
    assert call("refs", "submit", str(folder), "--key", key, *NODE) == 65


def test_endorse_by_name_signs_the_digest(folder: Path, key: str, node: FakeNode, tmp_path: Path) -> None:
    accept(node)
    node.answers["/v1/references"] = {"items": [listed(folder)], "next": None}
    report = tmp_path / "report.pdf"
    report.write_bytes(b"passed")
    arguments = ("--key", key, *NODE, "--files", str(folder), "--report", str(report))
    assert call("refs", "endorse", "linden-sc-1-2-4-0", *arguments) == 0
    sent = open_tx(node.posted[0][1]).tx
    assert (sent.contract, sent.method) == ("references", "endorse")
    assert sent.args == {"release": read_release(folder, "alder").digest(), "report": sha256(b"passed")}


def test_endorse_other_files_exits_65(folder: Path, key: str, node: FakeNode) -> None:
    node.answers["/v1/references"] = {"items": [listed(folder)], "next": None}
    (folder / "strategy.csv").write_bytes(b"row!")
    assert call("refs", "endorse", "linden-sc-1-2-4-0", "--key", key, *NODE, "--files", str(folder)) == 65
    assert node.posted == []


def test_endorse_unknown_release_exits_65(key: str, node: FakeNode) -> None:
    node.answers["/v1/references"] = {"items": [], "next": None}
    assert call("refs", "endorse", "nosuch", "--key", key, *NODE) == 65


def test_endorse_name_of_two_releases_exits_64(folder: Path, key: str, node: FakeNode) -> None:
    two = [listed(folder), listed(folder, digest="cd" * 32)]
    node.answers["/v1/references"] = {"items": two, "next": None}
    assert call("refs", "endorse", "linden-sc-1-2-4-0", "--key", key, *NODE) == 64
    accept(node)
    assert call("refs", "endorse", "cd" * 32, "--key", key, *NODE) == 0


def test_list_shows_who_is_missing(folder: Path, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers["/v1/references"] = {"items": [listed(folder)], "next": None}
    assert call("refs", "list", *NODE) == 0
    shown = capsys.readouterr().out
    assert "laboratory" in shown
    assert "2 x regulator" in shown
    assert "any of the policy" in shown


def test_show_tells_the_whole_life_of_a_release(
    folder: Path, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    item = listed(
        folder,
        status="revoked",
        tests=[{"organisation": "lab", "report": "ab" * 32, "verdict": "pass", "height": 3}],
        endorsements=[
            {"organisation": "alder", "role": "manufacturer", "height": 2, "report": None},
            {"organisation": "lab", "role": "laboratory", "height": 3, "report": "ab" * 32},
        ],
        missing=[],
        effective_from={"height": None, "time_ms": 1_800_000_000_000},
        effective_height=9,
        revoked={"organisation": "office", "role": "regulator", "reason": "a flaw", "height": 12},
        target={"device": None, "model": "SCD-220/4"},
    )
    node.answers["/v1/references"] = {"items": [item], "next": None}
    behind = [{"device": f"dev-{number}", "state": "retired" if number == 3 else "match"} for number in range(11)]
    node.answers["/v1/devices"] = {"items": behind, "next": None}
    assert call("refs", "show", item["digest"], *NODE) == 0
    assert node.asked[-1][1] == {"model": item["target"]["model"], "judged_before": "12", "limit": "500"}
    shown = capsys.readouterr().out
    for said in (
        "10 devices until their next report: dev-0, dev-1, dev-2, dev-4, dev-5, dev-6, dev-7, dev-8, ...",
        "4 of: 1 x laboratory, 2 x regulator; never owner-of-device",
        f"pass by lab, report {'ab' * 32}",
        "by alder (manufacturer) in block 2",
        "2027-01-15 08:00:00.000Z",
        "block 9",
        "by office in block 12: a flaw",
        "nobody",
    ):
        assert said in shown
    assert call("refs", "show", item["digest"], *NODE, "--json") == 0
    names = [one["device"] for one in behind if one["state"] == "match"]
    assert json.loads(capsys.readouterr().out) == {**item, "rivals": [], "not_judged": names}


@pytest.mark.parametrize(("judged_height", "behind"), [(None, []), (8, ["sc-1"]), (9, [])])
def test_show_of_a_release_for_one_device_says_whether_it_was_judged_by_it(
    folder: Path, node: FakeNode, capsys: pytest.CaptureFixture[str], judged_height: int | None, behind: list[str]
) -> None:
    item = listed(folder, status="effective", effective_height=9, target={"device": "sc-1", "model": None})
    node.answers["/v1/references"] = {"items": [item], "next": None}
    node.answers["/v1/devices/sc-1"] = {"device": "sc-1", "state": "match", "judged_height": judged_height}
    assert call("refs", "show", item["digest"], *NODE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["not_judged"] == behind


def test_show_and_endorse_name_the_rivals_of_a_release(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node)
    item = listed(folder)
    rival = listed(folder, release="rival-release", manufacturer="rowan", digest="cd" * 32)
    apart = [
        listed(folder, release="own-one", digest="ce" * 32),
        {**rival, "release": "revoked-one", "digest": "cf" * 32, "status": "revoked"},
        {**rival, "release": "of-other-files", "digest": "d0" * 32, "artefacts": [{"kind": "settings"}]},
    ]
    node.answers["/v1/references"] = {"items": [item, *apart, rival], "next": None}
    for command in ("show", "endorse"):
        arguments = ("--key", key) if command == "endorse" else ()
        assert call("refs", command, item["digest"], *arguments, *NODE) == 0
        told = capsys.readouterr().out
        assert "rival-release of rowan, pending (firmware, strategy;" in told
        assert not any(one["release"] in told for one in apart)


def test_show_of_a_release_that_waits_for_a_block(
    folder: Path, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    item = listed(folder, effective_from={"height": 120, "time_ms": None})
    node.answers["/v1/references"] = {"items": [item], "next": None}
    assert call("refs", "show", item["release"], *NODE) == 0
    assert "block 120" in capsys.readouterr().out


def test_policies_are_listed_by_what_they_are_for(
    folder: Path, node: FakeNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    policy = {name: listed(folder)["policies"][0][name] for name in ("roles", "endorsements_due", "excluded")}
    rows = [
        {"subject": "firmware of model SC-2", "policy": policy, "height": 7},
        {"subject": "all kinds of all devices", "policy": None, "height": 9},
    ]
    node.answers["/v1/endorsement-policies"] = {"items": rows, "next": None}
    assert call("refs", "policies", *NODE) == 0
    shown = capsys.readouterr().out
    for said in ("firmware of model SC-2", "4 of: 1 x laboratory", "block 7", "removed"):
        assert said in shown
    node.answers["/v1/endorsement-policies"] = {"items": [], "next": None}
    assert call("refs", "policies", *NODE) == 0
    assert "the parameters endorser_roles" in capsys.readouterr().out


@pytest.mark.parametrize("verdict", ["pass", "fail"])
def test_test_signs_digest_report_and_verdict(
    verdict: str, folder: Path, key: str, node: FakeNode, tmp_path: Path
) -> None:
    accept(node)
    node.answers["/v1/references"] = {"items": [listed(folder)], "next": None}
    report = tmp_path / "report.pdf"
    report.write_bytes(b"stage 2 trips late")
    arguments = ("--key", key, *NODE, "--files", str(folder), "--report", str(report), "--verdict", verdict)
    assert call("refs", "test", "linden-sc-1-2-4-0", *arguments) == 0
    sent = open_tx(node.posted[0][1]).tx
    assert (sent.contract, sent.method) == ("references", "test")
    digest = read_release(folder, "alder").digest()
    assert sent.args == {"release": digest, "report": sha256(b"stage 2 trips late"), "verdict": verdict}


def test_test_with_another_verdict_or_other_files_signs_nothing(
    folder: Path, key: str, node: FakeNode, tmp_path: Path
) -> None:
    node.answers["/v1/references"] = {"items": [listed(folder)], "next": None}
    report = tmp_path / "report.pdf"
    report.write_bytes(b"report")
    arguments = ("refs", "test", "linden-sc-1-2-4-0", "--key", key, *NODE, "--report", str(report))
    assert call(*arguments, "--verdict", "perhaps") == 64
    (folder / "strategy.csv").write_bytes(b"row!")
    assert call(*arguments, "--verdict", "pass", "--files", str(folder)) == 65
    assert not node.posted


def test_revoke_signs_the_reason(folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    accept(node)
    item = listed(folder)
    node.answers["/v1/references"] = {"items": [item], "next": None}
    arguments = ("refs", "revoke", "linden-sc-1-2-4-0", "--key", key, *NODE, "--reason", "a flaw")
    assert call(*arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["digest"] == item["digest"]
    sent = open_tx(node.posted[0][1]).tx
    assert (sent.method, sent.args) == ("revoke", {"release": bytes.fromhex(item["digest"]), "reason": "a flaw"})
    accept(node, "release-revoked")
    assert call(*arguments) == 65
    assert "revoked for good" in capsys.readouterr().err


def test_submit_of_a_release_in_conflict_names_the_other_one(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node, "conflicting-release")
    other = listed(folder, release="other-release", digest="cd" * 32, artefacts=[{"kind": "firmware"}])
    apart = [
        {**other, "release": "effective-one", "status": "effective"},
        {**other, "release": "of-other-files", "artefacts": [{"kind": "settings"}]},
        {**other, "release": "of-a-model", "target": {"device": None, "model": "linden-sc-1"}},
    ]
    node.answers["/v1/references"] = {"items": [*apart, other], "next": None}
    assert call("refs", "submit", str(folder), "--key", key, *NODE) == 65
    told = capsys.readouterr().err
    assert f"in conflict with other-release of alder (firmware; {'cd' * 32}), which waits" in told
    for item in apart:
        assert item["release"] not in told


def test_submit_of_a_folder_of_release_folders_submits_each(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    second = folder.parent / "second"
    shutil.copytree(folder, second)
    (second / "release.toml").write_text(MANIFEST.replace("linden-sc-1-2-4-0", "linden-sc-1-2-5-0"))
    (folder.parent / "no-release").mkdir()
    accept(node)
    assert call("refs", "submit", str(folder.parent), "--key", key, *NODE, "--json") == 0
    shown = [json.loads(line)["release"] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["linden-sc-1-2-4-0", "linden-sc-1-2-5-0"]
    assert len(node.posted) == 2
    (second / "firmware.bin").unlink()
    assert call("refs", "submit", str(folder.parent), "--key", key, *NODE) == 65
    assert len(node.posted) == 2


def test_endorse_beginning_of_a_digest_is_refused_with_the_whole_one(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    item = listed(folder)
    node.answers["/v1/references"] = {"items": [item], "next": None}
    assert call("refs", "endorse", item["digest"][:12], "--key", key, *NODE) == 64
    assert item["digest"] in capsys.readouterr().err
    assert not node.posted


def test_endorse_missing_report_names_it_and_signs_nothing(
    folder: Path, key: str, node: FakeNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = listed(folder)
    node.answers["/v1/references"] = {"items": [item], "next": None}
    report = str(tmp_path / "report.pdf")
    assert call("refs", "endorse", item["digest"], "--report", report, "--key", key, *NODE) == 74
    assert capsys.readouterr().err == f"gridwitness: {report}: No such file or directory\n"
    assert not node.posted


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("already-endorsed", "has endorsed it before"),
        ("wrong-role", "may not do this"),
        ("of-another-version", "of-another-version"),
    ],
)
def test_endorse_refusal_of_the_contract_is_said_in_words(
    code: str, said: str, folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    item = listed(folder)
    node.answers["/v1/references"] = {"items": [item], "next": None}
    accept(node, code)
    assert call("refs", "endorse", item["digest"], "--key", key, *NODE) == 65
    told = capsys.readouterr().err
    assert said in told
    assert code in told
