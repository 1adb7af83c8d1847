from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.cli import app
from kit.exitcodes import run
from kit.httpsign import RequestSigner
from kit.keystore import create_key
from kit.sealing import Reader, create_reading_key, load_reading_key, open_sealed, seal
from master.io.readlog import Read, ReadLog
from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.wire.samples import GENESIS, MEMBERS, certify
from tests.unit.wire.statetrees import Tree, chain_of
from wire import cbor
from wire.finality import FinalHeader
from wire.grants import Grant, PastGrant, page_key, past_count_key, past_key
from wire.historyproof import HistoryProof
from wire.merkle import inclusion_path
from wire.sealed import Label, decode_sealed
from wire.tx import open_tx
from wire.types import sha256

NODE = ("--node", "http://node")
SUBJECT = "device/dev-1"
GIVEN = Grant(sha256(b"1"), "organisation/lab", "grid", 2, None, None, 6, "grid")
BLOCKS = 9


class ProvingNode(FakeNode):
    """Answers state, history and lists from one state of BLOCKS blocks."""

    def __init__(self, entries: Mapping[tuple[str, bytes], cbor.Value]) -> None:
        super().__init__({"/v1/status": {"chain": GENESIS.chain(), "node": "dispatch"}})
        self.entries = {place: cbor.encode(value) for place, value in entries.items()}
        self.voters: tuple[str, ...] = MEMBERS
        self.made: Any = None
        """The state's proofs, and what they were made of."""
        self.missing: list[str] = []
        self.signed: list[str] = []

    def get_bytes(
        self, path: str, params: Mapping[str, str] | None = None, *, signer: RequestSigner | None = None
    ) -> bytes:
        about = (tuple(self.entries.items()), self.voters)
        if self.made is None or self.made[0] != about:
            tree = Tree(self.entries)
            headers, leaves = chain_of(tree.root, BLOCKS)
            self.made = about, (tree, headers, leaves, FinalHeader(headers[-1], certify(headers[-1], self.voters), ()))
        tree, headers, leaves, final = self.made[1]
        for namespace, key in (*self.entries, *ABSENT):
            if path == f"/v1/state/{namespace}/{key.decode().replace('/', '%2F')}":
                raw: bytes = tree.prove(namespace, key, final).encode()
                return raw
        if path.startswith("/v1/headers/"):
            assert params == {"in": str(BLOCKS), "format": "cbor"}
            height = int(path.split("/")[3])
            return HistoryProof(headers[height - 1], inclusion_path(leaves[:BLOCKS], height), final).encode()
        if signer is not None:
            self.signed.append(path)
        return self.files[path]

    def post_cbor(self, path: str, body: bytes, *, content_type: str = "application/cbor") -> dict[str, object]:
        self.posted.append((path, body, content_type))
        tx = sha256(body).hex()
        self.answers[f"/v1/tx/{tx}"] = {"status": "committed", "code": "ok", "height": 9}
        blob = open_tx(body).tx.args.get("blob")
        named = [blob.hex()] if isinstance(blob, bytes) else []
        return {"results": [{"id": tx, "status": "pending", "blobs": named}]}


ABSENT: Sequence[tuple[str, bytes]] = (
    ("access", page_key("settings", SUBJECT, 0)),
    ("access", past_count_key("settings", SUBJECT)),
    ("access", past_key("settings", SUBJECT, 0)),
    ("access", b"key/nobody"),
    ("access", b"anchors/dispatch"),
    ("access", b"anchor/dispatch/1"),
)


class Desk:
    """Keys, files, and a node behind both commands."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        create_key(folder, "alder")
        self.key = ("--key", str(folder / "alder.key"))
        (folder / "genesis.cbor").write_bytes(GENESIS.encode())
        self.genesis = ("--genesis", str(folder / "genesis.cbor"))
        self.reading = {name: create_reading_key(folder, name) for name in ("alder", "lab", "auditor")}
        entries: dict[tuple[str, bytes], cbor.Value] = {
            ("access", f"key/{name}".encode()): {"key": key.public, "height": 3} for name, key in self.reading.items()
        }
        entries["membership", b"organisation/lab"] = {"role": "laboratory"}
        entries["membership", b"organisation/alder"] = {"role": "manufacturer"}
        self.node = ProvingNode(entries)
        for module in ("access", "sealed"):
            use_node(monkeypatch, module, self.node)

    def sent(self) -> tuple[str, dict[str, cbor.Value]]:
        """Return method and arguments of the newest transaction."""
        tx = open_tx(self.node.posted[-1][1]).tx
        assert tx.contract == "access"
        return tx.method, tx.args

    def keep(self, content: bytes, *readers: str) -> str:
        """Let the node hold a sealed content; return its digest."""
        made = seal(
            Label(GENESIS.chain(), "settings", SUBJECT, "linden"),
            content,
            [Reader(name, self.reading[name].public) for name in readers],
        )
        raw = made.encode()
        item = {"content": made.content.hex(), "blob": sha256(raw).hex(), "title": "linden"}
        self.node.files[f"/v1/blobs/{sha256(raw).hex()}"] = raw
        self.node.answers[f"/v1/sealed/{made.content.hex()}"] = item
        self.node.answers["/v1/sealed"] = lambda params: {
            "items": [item] if params["title"] == "linden" else [],
            "next": None,
        }
        return made.content.hex()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def test_grant_and_revoke_send_what_they_say(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("access", "grant", "settings", SUBJECT, "role/auditor", "--until", "99", *desk.key, *NODE) == 0
    wanted = {"class": "settings", "subject": SUBJECT, "reader": "role/auditor", "from_ms": None, "until_ms": 99}
    assert desk.sent() == ("grant", wanted)
    assert "role/auditor may read settings of device/dev-1: ok in block 9" in capsys.readouterr().out
    assert call("access", "revoke", "ab" * 32, "--no-wait", *desk.key, *NODE) == 0
    assert desk.sent() == ("revoke", {"grant": b"\xab" * 32})
    assert "is revoked: sent" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("grant", "public", SUBJECT, "role/auditor"),
        ("grant", "settings", "dev-1", "role/auditor"),
        ("grant", "settings", SUBJECT, "auditor"),
        ("revoke", "ab"),
        ("revoke", "xy" * 32),
    ],
)
def test_grant_that_makes_no_sense_is_not_sent(desk: Desk, arguments: tuple[str, ...]) -> None:
    assert call("access", *arguments, *desk.key, *NODE) == 64
    assert desk.node.posted == []


def test_reading_key_is_made_and_made_known(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("access", "new-key", "grid", "--out", str(desk.folder), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert call("access", "register", shown["file"], *desk.key, *NODE) == 0
    assert desk.sent() == ("register", {"key": bytes.fromhex(shown["key"])})


def test_list_shows_grants(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("id", "class", "subject", "reader", "state", "by")
    item: dict[str, object] = {**dict.fromkeys(names, "x"), "until_ms": None, "reader": "role/auditor"}
    desk.node.answers["/v1/grants"] = {"items": [item, item | {"until_ms": 5}], "next": None}
    assert call("access", "list", *NODE) == 0
    assert "role/auditor" in capsys.readouterr().out


def test_who_proves_and_verify_believes_the_proof_alone(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.node.entries["access", page_key("settings", SUBJECT, 0)] = cbor.encode({"grants": [GIVEN.to_value()]})
    out = desk.folder / "who.cbor"
    arguments = ("access", "who", "settings", SUBJECT, *desk.genesis, *NODE)
    assert call(*arguments, "--height", "3", "--out", str(out)) == 0
    assert "organisation/lab, by grant" in capsys.readouterr().out
    assert call(*arguments, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["height"], shown["grants"], len(shown["others"])) == (9, [], 1)
    assert call("verify", str(out), *desk.genesis, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["type"], shown["height"], shown["grants"][0]["reader"]) == ("access-proof", 3, "organisation/lab")
    out.write_bytes(out.read_bytes().replace(b"organisation/lab", b"organisation/xxx"))
    assert call("verify", str(out), *desk.genesis) == 65


def test_who_brings_the_pages_of_the_past_that_may_tell_of_the_block(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("client.commands.access", "wire.accessproof"):
        monkeypatch.setattr(f"{name}.PAGES_MAX", 1)
        monkeypatch.setattr(f"{name}.PAGE_GRANTS", 2)
    over = replace(GIVEN, until_ms=0, ended_height=None, ended_by=None)
    desk.node.entries["access", page_key("settings", SUBJECT, 0)] = cbor.encode({"grants": [over.to_value()] * 2})
    who = ("access", "who", "settings", SUBJECT, *desk.genesis, *NODE, "--json")

    def readers(height: int) -> list[str]:
        capsys.readouterr()
        assert call(*who, "--height", str(height)) == 0
        return [grant["by"] for grant in json.loads(capsys.readouterr().out)["grants"]]

    assert readers(3) == []
    left = [PastGrant(height, replace(GIVEN, by=f"b-{height}", ended_height=height)) for height in (3, 4, 5, 7, 8)]
    pages = {number: left[2 * number : 2 * number + 2] for number in range(3)}
    desk.node.entries["access", past_count_key("settings", SUBJECT)] = cbor.encode(len(left))
    for number, entries in pages.items():
        value: cbor.Value = {"grants": [entry.to_value() for entry in entries]}
        desk.node.entries["access", past_key("settings", SUBJECT, number)] = cbor.encode(value)
    fetched: list[str] = []
    prove = desk.node.get_bytes

    def get_bytes(path: str, params: Mapping[str, str] | None = None) -> bytes:
        fetched.append(path)
        return prove(path, params)

    monkeypatch.setattr(desk.node, "get_bytes", get_bytes)
    for height, by, due in ((2, ["b-3", "b-4", "b-5", "b-7", "b-8"], 3), (6, ["b-7", "b-8"], 2), (8, [], 1)):
        fetched.clear()
        assert readers(height) == by
        assert sum("%2F0000000" in path and "past" in path for path in fetched) == due
    monkeypatch.setattr("client.commands.access.PAST_PAGES_MAX", 2)
    assert call(*who, "--height", "2") == 65
    assert "gave up their places since block 2 for one proof" in capsys.readouterr().out


def test_who_does_not_believe_what_no_quorum_signed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.node.voters = MEMBERS[:1]
    assert call("access", "who", "settings", SUBJECT, *desk.genesis, *NODE) == 65
    assert "does not verify" in capsys.readouterr().err
    assert call("access", "who", "public", SUBJECT, *desk.genesis, *NODE) == 64


def test_answer_that_is_no_proof_of_what_was_asked_exits_65(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("access", "who", "settings", SUBJECT, *desk.genesis, *NODE)
    other = desk.node.get_bytes("/v1/state/access/key%2Fnobody")
    for raw, reason in ((b"<html>", "did not send a state proof"), (other, "sent the proof of another entry")):
        monkeypatch.setattr(desk.node, "get_bytes", lambda *_, raw=raw, **__: raw)
        assert call(*asked) == 65
        assert reason in capsys.readouterr().err


def anchor(desk: Desk, number: int, log: ReadLog) -> None:
    entries, head = log.position()
    desk.node.entries["access", b"anchors/dispatch"] = cbor.encode({"number": number, "entries": entries})
    record: cbor.Value = {"entries": entries, "head": head, "height": 4, "time_ms": 5}
    desk.node.entries["access", f"anchor/dispatch/{number}".encode()] = cbor.encode(record)


def test_audit_finds_the_first_entry_that_was_changed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk.folder / "reads"
    with ReadLog(folder, GENESIS.chain(), "dispatch") as log:
        for number in (1, 2):
            log.append(Read(5, 6, "lab", bytes(16), "settings", SUBJECT, "/v1/blobs/00", "owner"))
            anchor(desk, number, log)
        log.append(Read(5, 6, "lab", bytes(16), "settings", SUBJECT, "/v1/blobs/00", "owner"))
    arguments = ("access", "audit", str(folder), "--member", "dispatch", *desk.genesis, *NODE)
    assert call(*arguments) == 0
    assert "entries 1 to 3 follow one another and agree with 2 anchors; 1 are not" in capsys.readouterr().out
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes().replace(b"\x63lab", b"\x63lob", 1))
    assert call(*arguments) == 65
    assert "entry 1: it or one up to 1 is not what anchor 1" in capsys.readouterr().err
    path.unlink()
    assert call(*arguments) == 65
    assert "entry 1: it is missing" in capsys.readouterr().err
    assert call(*(word.replace("dispatch", "Dispatch") for word in arguments)) == 64


def test_audit_of_another_node_s_log_or_of_a_lost_anchor_exits_65(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = desk.folder / "reads"
    with ReadLog(folder, GENESIS.chain(), "east") as log:
        log.append(Read(5, 6, "lab", bytes(16), "settings", SUBJECT, "/v1/blobs/00", "owner"))
    arguments = ("access", "audit", str(folder), "--member", "dispatch", *desk.genesis, *NODE)
    assert call(*arguments) == 65
    assert "it is the log of east" in capsys.readouterr().err
    desk.node.entries["access", b"anchors/dispatch"] = cbor.encode({"number": 1, "entries": 1})
    assert call(*arguments) == 65
    assert "anchor 1 of dispatch is not in the state" in capsys.readouterr().err


def test_sealed_content_goes_to_its_readers_with_proven_keys(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    file = desk.folder / "linden.package"
    file.write_bytes(b"49.00 Hz")
    desk.node.answers["/v1/members"] = {"items": [{"organisation": "lab"}, {"organisation": "alder"}], "next": None}
    about = ("--class", "settings", "--subject", SUBJECT, "--for", "role/laboratory", "--for", "organisation/alder")
    assert call("sealed", "submit", str(file), *about, *desk.key, *desk.genesis, *NODE) == 0
    assert "for alder, lab: ok in block 9" in capsys.readouterr().out
    method, args = desk.sent()
    assert (method, args["title"], args["subject"]) == ("seal", "linden.package", SUBJECT)
    blob = args["blob"]
    assert isinstance(blob, bytes)
    raw = desk.node.files[f"/v1/blobs/{blob.hex()}"]
    made = decode_sealed(raw)
    assert (sha256(raw), list(made.kids()), made.content) == (blob, args["keys"], args["content"])
    assert open_sealed(made, load_reading_key(desk.folder / "lab.reading")) == b"49.00 Hz"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (("--class", "public", "--for", "organisation/lab"), 64),
        (("--subject", "dev-1", "--for", "organisation/lab"), 64),
        (("--for", "lab"), 64),
        (("--for", "account/nobody"), 65),
        (("--for", "role/regulator"), 65),
    ],
)
def test_content_for_nobody_or_about_nothing_is_not_sealed(desk: Desk, changes: tuple[str, ...], code: int) -> None:
    file = desk.folder / "x"
    file.write_bytes(b"x")
    desk.node.answers["/v1/members"] = {"items": [{"organisation": "lab"}], "next": None}
    about = ("--class", "settings", "--subject", SUBJECT)
    assert call("sealed", "submit", str(file), *about, *changes, *desk.key, *desk.genesis, *NODE) == code
    assert desk.node.posted == []


def test_key_that_no_quorum_stands_for_is_not_sealed_to(desk: Desk) -> None:
    desk.node.voters = MEMBERS[:1]
    (desk.folder / "x").write_bytes(b"x")
    about = ("--class", "settings", "--subject", SUBJECT, "--for", "organisation/lab")
    assert call("sealed", "submit", str(desk.folder / "x"), *about, *desk.key, *desk.genesis, *NODE) == 65
    assert desk.node.posted == []


def opened(desk: Desk, content: str, name: str = "lab") -> int:
    reading = ("--reading-key", str(desk.folder / f"{name}.reading"))
    out = ("--out", str(desk.folder / "out"), "--force")
    return call("sealed", "open", content, *out, *reading, *desk.key, *desk.genesis, *NODE)


def test_sealed_content_is_fetched_by_a_signed_request_and_opened(desk: Desk) -> None:
    content = desk.keep(b"49.00 Hz", "lab")
    for name in (content, "linden"):
        assert opened(desk, name) == 0
        assert (desk.folder / "out").read_bytes() == b"49.00 Hz"
    assert len(desk.node.signed) == 2
    assert opened(desk, content, "auditor") == 77
    assert opened(desk, "another") == 65


def test_blob_that_is_not_what_was_asked_is_not_opened(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    content = desk.keep(b"49.00 Hz", "lab")
    other = desk.keep(b"48.50 Hz", "lab")
    item = desk.node.answers[f"/v1/sealed/{content}"]
    assert isinstance(item, dict)
    swapped = desk.node.answers[f"/v1/sealed/{other}"]
    assert isinstance(swapped, dict)
    desk.node.answers[f"/v1/sealed/{content}"] = item | {"blob": swapped["blob"]}
    assert opened(desk, content) == 65
    assert "holds content" in capsys.readouterr().err
    desk.node.files[f"/v1/blobs/{swapped['blob']}"] = b"other"
    assert opened(desk, content) == 65
    desk.node.answers[f"/v1/sealed/{content}"] = item | {"blob": sha256(b"other").hex()}
    desk.node.files[f"/v1/blobs/{sha256(b'other').hex()}"] = b"other"
    assert opened(desk, content) == 65
    assert "is no sealed file" in capsys.readouterr().err


def test_sealed_file_of_another_ledger_is_not_opened(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    content = desk.keep(b"49.00 Hz", "lab")
    other = replace(GENESIS, name="elsewhere")
    (desk.folder / "genesis.cbor").write_bytes(other.encode())
    assert opened(desk, content) == 65
    assert f"not {content} of {other.chain()}" in capsys.readouterr().err


def test_title_of_two_contents_is_asked_to_be_told_apart(desk: Desk) -> None:
    desk.node.answers["/v1/sealed"] = {"items": [{"content": "a"}, {"content": "b"}], "next": None}
    assert opened(desk, "linden") == 64


def test_rewrapped_content_keeps_its_digest(desk: Desk) -> None:
    content = desk.keep(b"49.00 Hz", "alder")
    reading = ("--reading-key", str(desk.folder / "alder.reading"))
    more = ("--for", "organisation/auditor", "--no-wait")
    assert call("sealed", "rewrap", content, *more, *reading, *desk.key, *desk.genesis, *NODE) == 0
    method, args = desk.sent()
    assert (method, args["content"]) == ("seal", bytes.fromhex(content))
    blob = args["blob"]
    assert isinstance(blob, bytes)
    made = decode_sealed(desk.node.files[f"/v1/blobs/{blob.hex()}"])
    assert [wrap.account for wrap in made.wraps] == ["auditor"]


def test_sealed_list_shows_titles(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    item: dict[str, object] = {**dict.fromkeys(("content", "title", "class", "subject", "by"), "linden"), "keys": [1]}
    desk.node.answers["/v1/sealed"] = {"items": [item], "next": None}
    assert call("sealed", "list", *NODE) == 0
    assert "linden" in capsys.readouterr().out


@pytest.mark.parametrize("noun", ["access", "sealed"])
def test_every_command_has_an_example(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, program="gridwitness", args=(noun, "--help")) == 0
    assert capsys.readouterr().out
