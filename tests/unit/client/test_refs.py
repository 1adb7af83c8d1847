from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from client.releases import bytes_in, read_folder, read_release
from kit.config import ConfigProblemsError
from kit.exitcodes import DataError
from kit.keystore import create_key
from kit.releasefolder import ensure_salt
from rules.items.model import CONTENT_BYTES_MAX
from rules.items.root import items_of
from rules.items.table import read_items
from rules.package import Part, decode_package
from tests.unit.client.nodes import FakeNode, call, use_node
from wire.evidence import word_bytes
from wire.release import EffectiveFrom, decode_release
from wire.tx import open_tx
from wire.types import sha256

MANIFEST = """[release]
release = "linden-sc-1-2-4-0"
device = "linden-sc-1"

[[artefact]]
kind = "strategy"
name = "strategy.csv"
version = "2.4.0"

[[artefact]]
kind = "firmware"
name = "firmware.bin"
version = "2.4.0"
"""
FIRMWARE = bytes(range(256)) * 700
NODE = ("--node", "http://node")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "release"
    made.mkdir()
    (made / "release.toml").write_text(MANIFEST)
    (made / "firmware.bin").write_bytes(FIRMWARE)
    (made / "strategy.csv").write_bytes(b"row\n")
    return made


@pytest.fixture
def key(tmp_path: Path) -> str:
    create_key(tmp_path / "keys", "alder")
    return str(tmp_path / "keys" / "alder.key")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    made = FakeNode({"/v1/status": {"chain": "test-00000000"}})
    use_node(monkeypatch, "refs", made)
    monkeypatch.setattr("client.node.time.sleep", lambda _: None)
    return made


def accept(node: FakeNode, code: str = "ok") -> None:
    """Let the node take whatever comes and commit it with this outcome."""

    def take(_: object) -> dict[str, Any]:
        tx = sha256(node.posted[-1][1]).hex()
        asked = 0

        def state(_: object) -> dict[str, Any]:
            nonlocal asked
            asked += 1
            return {"status": "pending"} if asked == 1 else {"status": "committed", "code": code, "height": 9}

        node.answers[f"/v1/tx/{tx}"] = state
        return {"results": [{"id": tx, "status": "pending"}]}

    node.post_answer = take


def listed(folder: Path, **changes: object) -> dict[str, Any]:
    release = read_release(folder, "alder")
    return {
        "release": release.release,
        "digest": release.digest().hex(),
        "manufacturer": "alder",
        "target": {"device": "linden-sc-1", "model": None},
        "status": "pending",
        "policies": [
            {
                "kinds": ["firmware", "strategy"],
                "roles": [{"role": "laboratory", "count": 1}, {"role": "regulator", "count": 2}],
                "endorsements_due": 4,
                "excluded": ["owner-of-device"],
            }
        ],
        "endorsements": [],
        "tests": [],
        "missing_roles": ["laboratory", "regulator"],
        "missing": [
            {"role": "laboratory", "count": 1},
            {"role": "regulator", "count": 2},
            {"role": None, "count": 1},
        ],
        "artefacts": [{"kind": entry.kind} for entry in release.artefacts],
        "effective_kinds": [],
        "effective_from": None,
        "effective_height": None,
        "revoked": None,
        **changes,
    }


def test_read_release_fingerprints_the_files(folder: Path) -> None:
    pieces: list[int] = []
    release = read_release(folder, "alder", pieces.append)
    assert [entry.kind for entry in release.artefacts] == ["firmware", "strategy"]
    assert release.artefacts[0].sha256 == hashlib.sha256(FIRMWARE).digest()
    assert release.artefacts[0].size == len(FIRMWARE)
    assert (release.device, release.model, release.manufacturer) == ("linden-sc-1", None, "alder")
    assert sum(pieces) == len(FIRMWARE) + 4
    assert bytes_in(folder) == len(FIRMWARE) + 4 + len(MANIFEST)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('device = "linden-sc-1"', "", "name exactly one"),
        ('device = "linden-sc-1"', 'device = "a"\nmodel = "b"', "name exactly one"),
        ('"strategy.csv"', '"../strategy.csv"', "leads out of the folder"),
        ('kind = "strategy"', 'kind = "spell"', "kind"),
        ('kind = "strategy"', 'kind = "firmware"', "kind"),
        ('release = "linden-sc-1-2-4-0"', 'release = "Linden"', "release"),
        ("[release]", "[release]\nextra = 1", "extra"),
    ],
)
def test_read_release_wrong_manifest_is_refused_with_its_line(folder: Path, old: str, new: str, said: str) -> None:
    (folder / "release.toml").write_text(MANIFEST.replace(old, new, 1))
    with pytest.raises(ConfigProblemsError, match=said) as caught:
        read_release(folder, "alder")
    assert "release.toml:" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "method", "word"),
    [
        ('checksum = "9f8a6c01"', "vendor-checksum", bytes.fromhex("9f8a6c01")),
        ("version_only = true", "version-string", b"7"),
    ],
)
def test_read_release_of_a_device_that_gives_no_file_names_what_it_must_say(
    folder: Path, line: str, method: str, word: bytes
) -> None:
    (folder / "strategy.csv").unlink()
    old = 'name = "strategy.csv"\nversion = "2.4.0"\n'
    assert old in MANIFEST
    (folder / "release.toml").write_text(MANIFEST.replace(old, f'name = "table 3/7"\nversion = "7"\n{line}\n'))
    reference = read_release(folder, "alder").artefacts[1]
    raw = word_bytes(method, word)
    assert (reference.name, reference.size) == ("table 3/7", 0)
    assert (reference.sha256, reference.chunk_root) == (sha256(raw), sha256(b"\0" + raw))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('checksum = "9f8"', "checksum"),
        ('checksum = ""', "checksum"),
        ('checksum = "9f8a"\nversion_only = true', "name one of them"),
    ],
)
def test_read_release_of_a_word_that_is_none_is_refused(folder: Path, line: str, said: str) -> None:
    (folder / "release.toml").write_text(f"{MANIFEST}\n{line}\n")
    with pytest.raises(ConfigProblemsError, match=said):
        read_release(folder, "alder")


def test_read_release_missing_file_is_refused(folder: Path) -> None:
    (folder / "strategy.csv").unlink()
    with pytest.raises(DataError, match=r"strategy\.csv is missing"):
        read_release(folder, "alder")


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
    )
    node.answers["/v1/references"] = {"items": [item], "next": None}
    assert call("refs", "show", item["digest"], *NODE) == 0
    shown = capsys.readouterr().out
    for said in (
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
    assert json.loads(capsys.readouterr().out) == {**item, "rivals": []}


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


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("effective_height = 120", EffectiveFrom(120, None)),
        ('effective_time = "2027-01-15T09:00:00+01:00"', EffectiveFrom(None, 1_800_000_000_000)),
        ('effective_time = "2027-01-15T08:00:00.250Z"', EffectiveFrom(None, 1_800_000_000_250)),
    ],
)
def test_read_release_takes_the_date_of_the_manifest(folder: Path, line: str, start: EffectiveFrom) -> None:
    (folder / "release.toml").write_text(MANIFEST.replace("[release]", f"[release]\n{line}"))
    release = read_release(folder, "alder")
    assert release.effective_from == start
    assert decode_release(release.encode()) == release


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("effective_height = 0", "effective_height"),
        ('effective_time = "tomorrow"', "tomorrow"),
        ('effective_time = "2027-01-15T08:00:00"', "no offset"),
        ('effective_time = "1960-01-15T08:00:00Z"', "before 1971"),
        ('effective_height = 120\neffective_time = "2027-01-15T08:00:00Z"', "name one of them"),
    ],
)
def test_read_release_with_a_date_that_is_none_is_refused(folder: Path, line: str, said: str) -> None:
    (folder / "release.toml").write_text(MANIFEST.replace("[release]", f"[release]\n{line}"))
    with pytest.raises(ConfigProblemsError, match=said):
        read_release(folder, "alder")


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


# --- items and packages

SETTINGS = b"number,name,value,unit\n17,UFLS stage 1 frequency,49.00,Hz\n18,UFLS stage 1 delay,0.15,s\n"


@pytest.fixture
def listing(folder: Path) -> Path:
    """A release folder with a setting list in the place of the strategy table."""
    manifest = MANIFEST.replace('"strategy"', '"settings"').replace("strategy.csv", "settings.csv")
    (folder / "release.toml").write_text(manifest)
    (folder / "settings.csv").write_bytes(SETTINGS)
    return folder


def test_submit_makes_a_salt_once_and_sends_the_root_of_the_items(listing: Path, key: str, node: FakeNode) -> None:
    accept(node)
    assert call("refs", "submit", str(listing), "--key", key, *NODE) == 0
    salt = (listing / "release.salt").read_text()
    assert (listing / "release.salt").stat().st_mode & 0o777 == 0o600
    release = open_tx(node.posted[0][1]).tx.args["release"]
    assert isinstance(release, bytes)
    firmware, settings = decode_release(release).artefacts
    assert firmware.items is None
    assert settings.items == items_of(read_items(SETTINGS), bytes.fromhex(salt))
    assert bytes.fromhex(salt) not in release
    assert call("refs", "submit", str(listing), "--key", key, *NODE) == 0
    assert (listing / "release.salt").read_text() == salt
    assert open_tx(node.posted[1][1]).tx.args["release"] == release


def test_submit_of_a_list_that_is_not_understood_says_so_and_goes_on(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node)
    assert call("refs", "submit", str(folder), "--key", key, *NODE, "--json") == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert note.startswith("strategy.csv has no items: line 1 is no heading of 2..64 names; it is fingerprinted")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ('format = "registers"', 65, "settings.csv is not what release.toml says: 87 bytes are no whole registers"),
        ('format = "toml"', 65, "the format toml is not known here"),
        ('format = "CSV"', 78, "format"),
        ('format = "csv"\nchecksum = "00"', 78, "a format is for the file of a setting list or strategy table"),
    ],
)
def test_submit_of_a_list_in_another_format_than_named_is_refused(
    line: str, code: int, said: str, listing: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = (listing / "release.toml").read_text()
    (listing / "release.toml").write_text(manifest.replace('kind = "settings"', f'kind = "settings"\n{line}'))
    assert call("refs", "submit", str(listing), "--key", key, *NODE) == code
    assert said in capsys.readouterr().err
    assert not node.posted


def test_release_folder_names_the_format_of_registers(listing: Path) -> None:
    manifest = (listing / "release.toml").read_text()
    (listing / "release.toml").write_text(
        manifest.replace('kind = "settings"', 'kind = "settings"\nformat = "registers"')
    )
    (listing / "settings.csv").write_bytes(b"\x13\x24\x00\x0f")
    ensure_salt(listing)
    items = read_release(listing, "alder").artefacts[1].items
    assert items is not None
    assert (items.format, items.count) == ("registers", 2)


def test_release_folder_of_a_list_that_is_too_long_has_no_items(listing: Path) -> None:
    ensure_salt(listing)
    (listing / "settings.csv").write_bytes(SETTINGS + b"\n" * CONTENT_BYTES_MAX)
    found = read_folder(listing, "alder")
    assert found.package.release.artefacts[1].items is None
    assert "more than 262144 bytes" in found.notes[0]
    assert decode_package(found.package.encode()) == found.package


def test_release_folder_with_a_damaged_salt_is_refused(listing: Path) -> None:
    (listing / "release.salt").write_text("00" * 31)
    with pytest.raises(DataError, match="holds no salt: 64 hex digits are due"):
        read_release(listing, "alder")


def test_endorse_of_a_copy_without_the_salt_says_what_is_missing(
    listing: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_salt(listing)
    node.answers["/v1/references"] = {"items": [listed(listing)], "next": None}
    (listing / "release.salt").unlink()
    assert call("refs", "endorse", "linden-sc-1-2-4-0", "--key", key, *NODE, "--files", str(listing)) == 65
    assert "it lacks the manufacturer's release.salt" in capsys.readouterr().err
    assert not node.posted


def test_package_holds_items_salt_and_chunks_of_the_release(
    listing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRIDWITNESS_URL", raising=False)
    salt, out = ensure_salt(listing), tmp_path / "linden.package"
    assert call("refs", "package", str(listing), "--out", str(out), "--manufacturer", "alder", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    package = decode_package(out.read_bytes())
    assert out.stat().st_mode & 0o777 == 0o600
    assert (package.release, package.salt) == (read_release(listing, "alder"), salt)
    assert package.parts[1].items == read_items(SETTINGS)
    assert len(package.parts[0].chunks or ()) == 3
    assert shown["digest"] == package.release.digest().hex()
    assert shown["items"] == {"firmware": 0, "settings": 2}
    assert call("refs", "package", str(listing), "--out", str(out)) == 64
    assert "--manufacturer" in capsys.readouterr().err


def test_package_is_compared_with_the_release_of_the_ledger(
    listing: Path, tmp_path: Path, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_salt(listing)
    out = tmp_path / "linden.package"
    node.answers["/v1/references"] = {"items": [listed(listing, status="effective")], "next": None}
    assert call("refs", "package", str(listing), "--out", str(out), *NODE) == 0
    assert "effective; firmware 0 items, settings 2 items" in capsys.readouterr().out
    out.unlink()
    (listing / "settings.csv").write_bytes(SETTINGS.replace(b"49.00", b"48.50"))
    assert call("refs", "package", str(listing), "--out", str(out), *NODE) == 65
    assert not out.exists()


def test_package_of_a_devices_word_has_no_chunks(listing: Path) -> None:
    manifest = (listing / "release.toml").read_text()
    (listing / "release.toml").write_text(manifest.replace('kind = "settings"', 'kind = "settings"\nchecksum = "9f8a"'))
    ensure_salt(listing)
    found = read_folder(listing, "alder")
    assert found.package.parts[1] == Part("settings", None, None)
    assert decode_package(found.package.encode()) == found.package
