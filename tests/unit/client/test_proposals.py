from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.keystore import create_key
from master.contracts.membership_decisions import decode_upgrade
from master.contracts.references_policy import decode_policy_change
from tests.unit.client.nodes import FakeNode, call, use_node
from wire import cbor
from wire.tx import Transaction, open_tx

TX = "ab" * 32
PROPOSAL = "cd" * 32
NODE = ("--node", "http://node")
PLAN: dict[str, Any] = {
    "code": [{"name": "notary", "version": 2, "digest": "11" * 32}],
    "height": 1200,
    "base_height": 1100,
    "state_root": "22" * 32,
}


def item(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "proposal": PROPOSAL,
        "contract": "governance",
        "kind": "parameters",
        "subject": "stale_ms",
        "member": None,
        "status": "pending",
        "reason": None,
        "by": "dispatch",
        "body": {"values": {"stale_ms": 60_000}},
        "in_favour": ["dispatch"],
        "against": ["grid"],
        "weight_in_favour": 4,
        "weight_against": 1,
        "votes_due": 8,
        "deadline_ms": 1_790_000_000_000,
        "from_height": None,
        **changes,
    }


class Site:
    def __init__(self, folder: Path, node: FakeNode) -> None:
        create_key(folder, "dispatch")
        self.node, self.folder = node, folder
        self.by = ("--key", str(folder / "dispatch.key"), *NODE)

    def plan(self, **changes: Any) -> str:  # noqa: ANN401
        path = self.folder / "plan.json"
        path.write_text(json.dumps({**PLAN, **changes}))
        return str(path)

    def sent(self) -> Transaction:
        (posted,) = self.node.posted
        return open_tx(posted[1]).tx

    def answer(self, code: str) -> None:
        self.node.answers[f"/v1/tx/{TX}"] = {"status": "committed", "code": code, "height": 9}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    node = FakeNode({"/v1/status": {"chain": "demo-00000000", "height": 7}})
    node.post_answer = {"results": [{"id": TX, "status": "pending"}]}
    node.answers[f"/v1/proposals/{PROPOSAL}"] = item()
    names = ("clock_policy", "endorser_roles", "stale_ms", "work_window_ms_max")
    node.answers["/v1/parameters"] = {"items": [{"name": name} for name in names], "next": None}
    node.answers["/v1/devices"] = {"items": [{"device": "linden-sc-1", "model": "SCD-220/8"}], "next": None}
    monkeypatch.setattr("client.node.LOOK_S", 0)
    use_node(monkeypatch, "proposals", node)
    made = Site(tmp_path, node)
    made.answer("ok")
    return made


def test_list_shows_proposals_of_both_contracts(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    both = [item(), item(contract="validators", kind="add", subject="lab", status="closed", reason="rejected")]
    site.node.answers["/v1/proposals"] = {"items": both, "next": None}
    assert call("proposals", "list", "--status", "pending", *NODE) == 0
    out = capsys.readouterr().out
    for word in ("parameters", "stale_ms", "pending", "add", "rejected"):
        assert word in out
    assert ("/v1/proposals", {"status": "pending", "limit": "500"}) in site.node.asked
    assert call("proposals", "list", *NODE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["items"] == both


def test_show_tells_what_is_to_change_and_who_voted(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("proposals", "show", PROPOSAL, *NODE) == 0
    out = capsys.readouterr().out
    assert '{"values": {"stale_ms": 60000}}' in out
    assert "4 in favour, 1 against, 8 due" in out
    assert call("proposals", "show", PROPOSAL, *NODE, "--json") == 0
    assert json.loads(capsys.readouterr().out) == item()
    assert call("proposals", "show", "5f0c", *NODE) == 64


def test_parameters_are_proposed_with_a_deadline(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    values = ("stale_ms=60000", 'endorser_roles=["manufacturer"]', "clock_policy=bench")
    assert call("proposals", "parameters", *values, *site.by, "--days", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tx"] == TX
    tx = site.sent()
    assert (tx.contract, tx.method, tx.sender, tx.args["kind"]) == ("governance", "propose", "dispatch", "parameters")
    expected = {"stale_ms": 60_000, "endorser_roles": ["manufacturer"], "clock_policy": "bench"}
    assert tx.args["body"] == {"values": expected}
    deadline_ms = tx.args["deadline_ms"]
    assert isinstance(deadline_ms, int)
    assert deadline_ms - tx.valid_until_ms == pytest.approx(2 * 86_400_000 - 3_600_000, abs=60_000)


@pytest.mark.parametrize("text", ["stale_ms", "=5", "stale_ms=0.5", "stale_ms=99999999999999999999"])
def test_parameter_that_is_none_is_refused_before_anything_is_signed(site: Site, text: str) -> None:
    assert call("proposals", "parameters", text, *site.by) == 64
    assert not site.node.posted


def test_upgrade_is_proposed_as_the_plan_says(site: Site) -> None:
    assert call("proposals", "upgrade", site.plan(), *site.by) == 0
    tx = site.sent()
    assert tx.args["kind"] == "upgrade"
    found = decode_upgrade(tx.args["body"])
    assert (found.height, found.base_height, found.state_root) == (1200, 1100, b"\x22" * 32)
    assert [(one.name, one.version, one.digest) for one in found.code] == [("notary", 2, b"\x11" * 32)]


def test_upgrade_without_a_dry_run_is_proposed_without_a_root(site: Site) -> None:
    assert call("proposals", "upgrade", site.plan(base_height=0, state_root=None), *site.by) == 0
    assert decode_upgrade(site.sent().args["body"]).state_root is None


@pytest.mark.parametrize("changes", [{"more": 1}, {"state_root": "xy"}, {"code": 7}, {"height": 1.5}])
def test_plan_of_another_form_is_refused(site: Site, changes: dict[str, Any]) -> None:
    assert call("proposals", "upgrade", site.plan(**changes), *site.by) == 65
    assert not site.node.posted


def test_correction_of_a_transaction_says_old_and_new(site: Site) -> None:
    args = ("--tx", TX, "--old", '{"a": "hex:00ff"}', "--new", '["b", 1]', "--reason", "typing error")
    assert call("proposals", "correct", *args, *site.by) == 0
    old, new = cbor.encode({"a": b"\x00\xff"}), cbor.encode(["b", 1])
    expected = {"target": {"tx": bytes.fromhex(TX)}, "old": old, "new": new, "reason": "typing error"}
    assert site.sent().args["body"] == expected


def test_correction_of_an_entry_takes_as_old_what_stands_there(site: Site) -> None:
    site.node.answers["/v1/state/notary/lab%2Fk"] = {"value": cbor.encode(5).hex()}
    args = ("--entry", "notary/lab/k", "--new", "6", "--reason", "typing error")
    assert call("proposals", "correct", *args, *site.by) == 0
    body = site.sent().args["body"]
    assert isinstance(body, dict)
    assert (body["target"], body["old"]) == ({"namespace": "notary", "key": b"lab/k"}, cbor.encode(5))
    site.node.posted.clear()
    assert call("proposals", "correct", *args, "--old", "7", *site.by) == 0
    body = site.sent().args["body"]
    assert isinstance(body, dict)
    assert body["old"] == cbor.encode(7)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ((), 64),
        (("--tx", TX), 64),
        (("--tx", TX, "--entry", "a/b", "--old", "1"), 64),
        (("--tx", "ab", "--old", "1"), 64),
        (("--tx", TX, "--old", '"hex:zz"'), 64),
        (("--entry", "notary/none"), 65),
    ],
)
def test_correction_that_lacks_something_is_refused(site: Site, args: tuple[str, ...], code: int) -> None:
    site.node.answers["/v1/state/notary/none"] = {"value": None}
    assert call("proposals", "correct", *args, "--new", "2", "--reason", "r", *site.by) == code
    assert not site.node.posted


@pytest.mark.parametrize("contract", ["governance", "validators"])
def test_vote_and_withdrawal_go_to_the_contract_that_counts(site: Site, contract: str) -> None:
    site.node.answers[f"/v1/proposals/{PROPOSAL}"] = item(contract=contract)
    assert call("proposals", "vote", PROPOSAL, "--against", *site.by) == 0
    tx = site.sent()
    assert (tx.contract, tx.method) == (contract, "vote")
    assert tx.args == {"proposal": bytes.fromhex(PROPOSAL), "in_favour": False}
    site.node.posted.clear()
    assert call("proposals", "withdraw", PROPOSAL, *site.by) == 0
    assert (site.sent().contract, site.sent().method) == (contract, "withdraw")


def test_vote_with_a_plan_is_signed_only_if_the_proposal_says_the_same(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.node.answers[f"/v1/proposals/{PROPOSAL}"] = item(kind="upgrade", body=PLAN)
    assert call("proposals", "vote", PROPOSAL, "--plan", site.plan(state_root="33" * 32), *site.by) == 65
    assert "differs from" in (said := capsys.readouterr().err)
    assert "in state_root; nothing was signed" in said
    assert not site.node.posted
    assert call("proposals", "vote", PROPOSAL, "--plan", site.plan(), *site.by) == 0
    assert site.sent().args["in_favour"] is True


def test_count_asks_the_contract_and_does_not_wait_if_told_so(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("proposals", "count", PROPOSAL, *site.by, "--no-wait") == 0
    assert (site.sent().method, "pending" in capsys.readouterr().out) == ("count", True)


def test_proposal_is_found_by_how_its_id_begins(site: Site) -> None:
    other = item(proposal="cd" * 8 + "ee" * 24)
    site.node.answers["/v1/proposals"] = {"items": [item(), other], "next": None}
    assert call("proposals", "vote", PROPOSAL[:18], *site.by) == 0
    assert site.sent().args["proposal"] == bytes.fromhex(PROPOSAL)
    site.node.posted.clear()
    for text, code in ((PROPOSAL[:16], 65), ("00" * 4, 65), ("zz" * 4, 64), ("cd", 64)):
        assert call("proposals", "vote", text, *site.by) == code
    assert not site.node.posted


def test_vote_tells_how_the_proposal_stands_after_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("proposals", "vote", PROPOSAL, *site.by, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["proposal_status"], said["votes"]) == ("pending", "4 in favour, 1 against, 8 due")
    monkeypatch.setattr("client.node.LOOK_S", 0)
    site.node.answers[f"/v1/proposals/{PROPOSAL}"] = item(in_favour=[])
    assert call("proposals", "vote", PROPOSAL, *site.by, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["proposal"], "votes" in said) == (PROPOSAL, False)


def test_correction_is_shown_as_what_its_values_say(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    target = {"namespace": "notary", "key": b"lab/k".hex()}
    body = {"old": cbor.encode({"a": b"\x01"}).hex(), "new": cbor.encode([480]).hex(), "reason": "r", "target": target}
    site.node.answers[f"/v1/proposals/{PROPOSAL}"] = item(kind="correction", body=body)
    assert call("proposals", "show", PROPOSAL, *NODE) == 0
    shown = capsys.readouterr().out
    for words in ('"old": {"a": "hex:01"}', '"new": [480]', '"key": "lab/k"'):
        assert words in shown
    site.node.answers[f"/v1/proposals/{PROPOSAL}"] = item(kind="correction", body={**body, "new": "ff"})
    assert call("proposals", "show", PROPOSAL, *NODE) == 0
    assert '"new": "ff"' in capsys.readouterr().out


def test_policy_is_proposed_as_the_file_says(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    policy = {"roles": [{"role": "laboratory", "count": 1}], "endorsements_due": 1, "excluded": ["owner-of-device"]}
    body = {"target": {"device": None, "model": "SCD-220/8"}, "kind": "strategy", "policy": policy}
    path = site.folder / "policy.json"
    path.write_text(json.dumps(body))
    assert call("proposals", "policy", str(path), *site.by) == 0
    assert (site.sent().args["kind"], site.sent().args["body"]) == ("endorsement-policy", body)
    decode_policy_change(body)
    assert TX in capsys.readouterr().out
    site.answer("bad-body")
    assert call("proposals", "policy", str(path), *site.by) == 65
    assert "no such policy" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["no json", '{"kind": 1}', '{"target": 0.5, "kind": null, "policy": 1}', "[]"])
def test_policy_of_another_form_is_refused(site: Site, text: str) -> None:
    path = site.folder / "policy.json"
    path.write_text(text)
    assert call("proposals", "policy", str(path), *site.by) == 65
    assert not site.node.posted


@pytest.mark.parametrize("code", ["no-say", "voted", "closed", "bad-deadline"])
def test_refusal_is_told_in_words(site: Site, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    site.answer(code)
    assert call("proposals", "vote", PROPOSAL, *site.by) == 65
    assert code in capsys.readouterr().err


def test_parameters_and_corrections_are_listed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    parameter = {"name": "stale_ms", "value": 5, "source": "vote", "since_height": 9, "proposal": PROPOSAL}
    site.node.answers["/v1/parameters"] = {"items": [parameter], "next": None}
    assert call("parameters", "list", "--source", "vote", *NODE) == 0
    assert "stale_ms" in capsys.readouterr().out
    frame = {"correction": PROPOSAL, "old": 1, "new": {"a": 2}, "reason": "typo", "superseded_by": None, "time_ms": 0}
    of_tx = {**frame, "tx": TX, "namespace": None, "key": None}
    of_entry = {**frame, "tx": None, "namespace": "notary", "key": b"lab/k".hex()}
    site.node.answers["/v1/corrections"] = {"items": [of_tx, of_entry], "next": None}
    assert call("corrections", "list", "--tx", TX, *NODE) == 0
    out = capsys.readouterr().out
    assert TX[:20] in out
    assert "notary/lab/k" in out
