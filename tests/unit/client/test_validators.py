from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.keystore import create_key, load_public_key
from kit.tls import der_of, self_signed
from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.wire.samples import HEADER
from wire import cbor
from wire.cose import verify_ed25519
from wire.handover import ready_bytes, rotation_bytes
from wire.tx import Transaction, open_tx
from wire.types import sha256

TX = "ab" * 32
NODE = ("--node", "http://node")
PROPOSAL = "cd" * 32


class Site:
    def __init__(self, folder: Path, node: FakeNode) -> None:
        self.node = node
        for name in ("dispatch", "vote", "vote-2"):
            create_key(folder, name)
        self.folder = folder
        self.certificate = folder / "peer.crt"
        self_signed("dispatch").save(self.certificate, folder / "peer.key")
        self.by = ("--key", str(folder / "dispatch.key"), *NODE)

    def key(self, name: str, kind: str = "key") -> str:
        return str(self.folder / f"{name}.{kind}")

    def public(self, name: str) -> bytes:
        return load_public_key(self.folder / f"{name}.pub").public

    def sent(self) -> Transaction:
        (posted,) = self.node.posted
        return open_tx(posted[1]).tx

    def answer(self, code: str) -> None:
        self.node.answers[f"/v1/tx/{TX}"] = {"status": "committed", "code": code, "height": 9}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    node = FakeNode({"/v1/status": {"chain": "demo-00000000", "height": 7}})
    node.post_answer = {"results": [{"id": TX, "status": "pending"}]}
    node.answers["/v1/members"] = {"items": [{"organisation": "lab"}], "next": None}
    node.answers["/v1/validators"] = {"items": [row(member="lab")], "next": None}
    use_node(monkeypatch, "validators", node)
    monkeypatch.setattr("client.node.LOOK_S", 0)
    made = Site(tmp_path, node)
    made.answer("ok")
    return made


def row(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    shown = {"vote_key": "aa" * 32, "tls_digest": "bb" * 32, "address": "", "since_height": 1, "until_height": None}
    return {"member": "dispatch", "status": "validator", **shown, **changes}


def test_list_shows_the_validators_of_now_or_all(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.node.answers["/v1/validators"] = {"items": [row()], "next": None}
    assert call("validators", "list", *NODE) == 0
    assert "dispatch" in capsys.readouterr().out
    assert call("validators", "list", "--all", *NODE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["items"] == [row()]
    assert [params.get("status") for path, params in site.node.asked if path == "/v1/validators"] == ["validator", None]


def test_proposals_show_who_is_in_favour(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    item = {
        "proposal": PROPOSAL,
        "kind": "add",
        "member": "lab",
        "status": "pending",
        "reason": None,
        "in_favour": ["grid"],
        "against": [],
        "votes_due": 3,
        "deadline_ms": 1_790_000_000_000,
    }
    site.node.answers["/v1/proposals"] = {"items": [item, {**item, "reason": "expired"}], "next": None}
    assert call("validators", "proposals", *NODE) == 0
    out = capsys.readouterr().out
    assert "grid" in out
    assert "expired" in out


def test_propose_add_sends_key_certificate_and_address(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--vote-key", site.key("vote", "pub"), "--certificate", str(site.certificate))
    assert call("validators", "propose-add", "lab", *files, "--address", "lab.example:7", *site.by, "--json") == 0
    assert json.loads(capsys.readouterr().out)["code"] == "ok"
    tx = site.sent()
    assert (tx.contract, tx.method, tx.sender) == ("validators", "propose-add", "dispatch")
    deadline_ms = tx.args["deadline_ms"]
    assert isinstance(deadline_ms, int)
    assert tx.args == {
        "member": "lab",
        "vote_key": site.public("vote"),
        "tls_certificate": der_of(site.certificate.read_bytes()),
        "address": "lab.example:7",
        "deadline_ms": deadline_ms,
    }


def test_propose_removal_says_whether_it_is_urgent(site: Site) -> None:
    assert call("validators", "propose-removal", "lab", "--urgent", *site.by) == 0
    assert site.sent().args["urgent"] is True


RECORD_PATHS = ("/v1/state/validators/member%2Fdispatch", "/v1/state/membership/validator%2Fdispatch")


def of_record(site: Site, *, is_changed: bool = True, **changes: cbor.Value) -> dict[str, cbor.Value]:
    """Let the node have a record of the caller: under its own name, or before any change that of the genesis file."""
    identity = self_signed("dispatch")
    record: dict[str, cbor.Value] = {"vote_key": site.public("vote"), "tls_certificate": identity.der()}
    if is_changed:
        record["address"] = "dispatch.example:7400"
    record |= changes
    values = (record, None) if is_changed else (None, record)
    for path, value in zip(RECORD_PATHS, values, strict=True):
        site.node.answers[path] = {"value": None if value is None else cbor.encode(value).hex()}
    return record


# holds VM-6
def test_propose_rotation_leaves_as_it_is_what_is_not_told(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    record = of_record(site)
    words = ("--old-vote-key", site.key("vote"), "--new-vote-key", site.key("vote-2"))
    assert call("validators", "propose-rotation", *words, *site.by, "--json") == 0
    args = site.sent().args
    assert (args["address"], args["tls_certificate"]) == ("dispatch.example:7400", record["tls_certificate"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["address"] == "dispatch.example:7400"
    assert shown["tls_digest"] == sha256(bytes(record["tls_certificate"])).hex()  # type: ignore[arg-type]


def test_propose_rotation_before_any_change_keeps_the_certificate_of_the_genesis_file(site: Site) -> None:
    record = of_record(site, is_changed=False)
    words = ("--old-vote-key", site.key("vote"), "--new-vote-key", site.key("vote-2"))
    assert call("validators", "propose-rotation", *words, *site.by) == 0
    args = site.sent().args
    assert (args["address"], args["tls_certificate"]) == ("", record["tls_certificate"])


@pytest.mark.parametrize("told", ["elsewhere.example:7", ""])
def test_propose_rotation_takes_the_address_that_is_told_even_an_empty_one(site: Site, told: str) -> None:
    of_record(site)
    words = ("--old-vote-key", site.key("vote"), "--certificate", str(site.certificate), "--address", told)
    assert call("validators", "propose-rotation", *words, *site.by) == 0
    args = site.sent().args
    assert (args["address"], args["tls_certificate"]) == (told, der_of(site.certificate.read_bytes()))


@pytest.mark.parametrize("value", [None, "00", "a0", 7])
def test_propose_rotation_of_a_node_that_tells_no_record_is_refused(
    site: Site, capsys: pytest.CaptureFixture[str], value: object
) -> None:
    site.node.answers |= {path: {"value": value} for path in RECORD_PATHS}
    assert call("validators", "propose-rotation", "--old-vote-key", site.key("vote"), *site.by) == 65
    assert "--certificate" in capsys.readouterr().err
    assert site.node.posted == []


@pytest.mark.parametrize("new", ["vote-2", None])
def test_propose_rotation_is_signed_by_both_vote_keys(site: Site, new: str | None) -> None:
    of_record(site)
    words = ["--old-vote-key", site.key("vote"), "--certificate", str(site.certificate)]
    if new is not None:
        words += ["--new-vote-key", site.key(new)]
    assert call("validators", "propose-rotation", *words, *site.by) == 0
    args = site.sent().args
    keys = (site.public("vote"), site.public(new or "vote"))
    deadline_ms, certificate = args["deadline_ms"], args["tls_certificate"]
    assert isinstance(deadline_ms, int)
    assert isinstance(certificate, bytes)
    signed = rotation_bytes("demo-00000000", "dispatch", keys, sha256(certificate), deadline_ms)
    for key, name in zip(keys, ("old_signature", "new_signature"), strict=True):
        signature = args[name]
        assert isinstance(signature, bytes)
        verify_ed25519(key, signed, signature)


@pytest.mark.parametrize(("words", "in_favour"), [((), True), (("--against",), False)])
def test_vote_says_in_favour_or_against(site: Site, words: tuple[str, ...], *, in_favour: bool) -> None:
    assert call("validators", "vote", PROPOSAL, *words, *site.by) == 0
    assert site.sent().args == {"proposal": bytes.fromhex(PROPOSAL), "in_favour": in_favour}


def test_vote_takes_the_beginning_of_an_id_and_refuses_what_is_none(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.node.answers["/v1/proposals"] = {"items": [{"proposal": PROPOSAL}, {"proposal": "ab" * 32}], "next": None}
    assert call("validators", "vote", PROPOSAL[:8], *site.by) == 0
    assert site.sent().args["proposal"] == bytes.fromhex(PROPOSAL)
    assert call("validators", "vote", "12345678", *site.by) == 65
    assert "there is no proposal 12345678" in capsys.readouterr().err
    assert call("validators", "vote", "first", *site.by) == 64
    assert len(site.node.posted) == 1


def test_ready_signs_the_newest_state_of_the_node_that_is_asked(site: Site) -> None:
    site.node.answers["/v1/headers"] = {"items": [{"header": HEADER.encode().hex(), "certificate": ""}]}
    assert call("validators", "ready", PROPOSAL, "--vote-key", site.key("vote"), *site.by) == 0
    args = site.sent().args
    assert (args["height"], args["state_root"]) == (7, HEADER.state_root)
    signature = args["signature"]
    assert isinstance(signature, bytes)
    verify_ed25519(site.public("vote"), ready_bytes(bytes.fromhex(PROPOSAL), 7, HEADER.state_root), signature)


@pytest.mark.parametrize(
    ("status", "page"),
    [
        ({"height": 0}, {}),
        ({"height": 7}, {"items": []}),
        ({"height": 7}, {"items": [7]}),
        ({"height": 7}, {"items": [{"header": None}]}),
    ],
)
def test_ready_of_a_node_without_blocks_is_refused(site: Site, status: dict[str, Any], page: dict[str, Any]) -> None:
    site.node.answers["/v1/status"] = {"chain": "demo-00000000", **status}
    site.node.answers["/v1/headers"] = page
    assert call("validators", "ready", PROPOSAL, "--vote-key", site.key("vote"), *site.by) == 65
    assert site.node.posted == []


def test_withdraw_returns_at_once_when_told_so(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("validators", "withdraw", PROPOSAL, "--no-wait", *site.by, "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "pending"


@pytest.mark.parametrize(("code", "words"), [("not-a-voter", "run a validator"), ("voted", "voted")])
def test_refusal_of_the_contract_is_told_in_words(
    site: Site, capsys: pytest.CaptureFixture[str], code: str, words: str
) -> None:
    site.answer(code)
    assert call("validators", "vote", PROPOSAL, *site.by) == 65
    assert words in capsys.readouterr().err


def test_proposal_that_is_no_id_is_a_usage_error(site: Site) -> None:
    assert call("validators", "vote", "abc", *site.by) == 64
    assert call("validators", "vote", "ab", *site.by) == 64
    assert site.node.posted == []
