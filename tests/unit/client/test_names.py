"""Names with a typing error are found before anything is signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.names import meant
from kit.exitcodes import UnreachableError
from kit.http import NodeProblemError
from kit.keystore import create_key
from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.client.releases import MANIFEST, accept, listed

NODE = ("--node", "http://node")
NEAREST = {
    "parameters": ("stale_ms", "name", "stale_mss", "gridwitness parameters list"),
    "validators": ("sub-east", "member", "sub-eats", "gridwitness validators list"),
    "members": ("grid-company", "organisation", "grid-compny", "gridwitness members list"),
}


def page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "next": None}


@pytest.mark.parametrize(
    ("word", "said"),
    [("scd-220/8", " (is SCD-220/8 meant?)"), ("SCD-2208", " (is SCD-220/8 meant?)"), ("relay", ""), ("", "")],
)
def test_the_nearest_name_is_asked_for_letter_case_aside(word: str, said: str) -> None:
    assert meant(word, ["SCD-220/8", "AVR-7"]) == said
    assert meant(word, []) == ""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    create_key(tmp_path, "alder")
    node = FakeNode({"/v1/status": {"chain": "test-00000000"}})
    for table, (name, column, _, _) in NEAREST.items():
        node.answers[f"/v1/{table}"] = page({column: name})
    node.answers["/v1/devices"] = page({"device": "linden-sc-1", "model": "SCD-220/8"})
    node.answers["/v1/state/membership/recoveries%2Fgrid-company"] = {"value": None}
    for module in ("proposals", "validators", "member_keys", "refs", "orders"):
        use_node(monkeypatch, module, node)
    monkeypatch.setattr("client.node.time.sleep", lambda _: None)
    monkeypatch.chdir(tmp_path)
    accept(node)
    return node


def run(*arguments: str) -> int:
    return call(*arguments, "--key", "alder.key", *NODE)


def unsigned(tmp_path: Path, node: FakeNode) -> bool:
    """Tell whether no number of the key was taken and nothing was sent."""
    return (tmp_path / "alder.seq").read_bytes() == b"0\n" and node.posted == []


@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        (("proposals", "parameters", "stale_mss=1"), "parameters"),
        (("validators", "propose-removal", "sub-eats"), "validators"),
        (("validators", "propose-add", "grid-compny", "--vote-key", "alder.pub", "--certificate", "a.crt"), "members"),
        (("members", "recover-key", "grid-compny", "--new-key", "alder.key", "--root-key", "alder.key"), "members"),
    ],
)
def test_name_that_is_not_in_the_list_is_refused_before_it_is_signed(
    arguments: tuple[str, ...],
    table: str,
    site: FakeNode,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.commands.validators._certificate", lambda _: b"DER")
    name, _, wrong, see = NEAREST[table]
    assert run(*arguments) == 65
    said = capsys.readouterr().err
    assert f"{wrong} (is {name} meant?); nothing was signed; see '{see}'" in said
    assert unsigned(tmp_path, site)
    assert run(*(word.replace(wrong, name) for word in arguments)) == 0


def test_name_that_its_list_shows_a_moment_later_is_taken(site: FakeNode) -> None:
    pages = iter((page(), page({"name": "stale_ms"})))
    site.answers["/v1/parameters"] = lambda _: next(pages)
    assert run("proposals", "parameters", "stale_ms=1") == 0
    assert len(site.posted) == 1


@pytest.mark.parametrize(
    ("target", "wrong", "said"),
    [
        ('device = "linden-sc-1"', 'device = "linden-cs-1"', "no device linden-cs-1 (is linden-sc-1 meant?)"),
        ('model = "SCD-220/8"', 'model = "SDC-220/8"', "no device of model SDC-220/8 (is SCD-220/8 meant?)"),
        ('model = "SCD-220/8"', 'model = "X"', "no device of model X; nothing was signed"),
    ],
)
def test_release_for_what_the_ledger_lacks_is_not_submitted(
    target: str, wrong: str, said: str, folder: Path, tmp_path: Path, site: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = folder / "release.toml"
    site.answers["/v1/devices"] = lambda asked: page(
        *([] if asked.get("model", "SCD-220/8") != "SCD-220/8" else [{"device": "linden-sc-1", "model": "SCD-220/8"}])
    )
    manifest.write_text(MANIFEST.replace('device = "linden-sc-1"', wrong))
    assert run("refs", "submit", str(folder)) == 65
    assert f"release linden-sc-1-2-4-0: the ledger has {said}" in capsys.readouterr().err
    assert unsigned(tmp_path, site)
    manifest.write_text(MANIFEST.replace('device = "linden-sc-1"', target))
    assert run("refs", "submit", str(folder)) == 0


def test_device_is_looked_for_by_its_id_and_another_fault_of_the_node_is_told(folder: Path, site: FakeNode) -> None:
    site.answers["/v1/devices/linden-sc-1"] = {"device": "linden-sc-1"}
    assert run("refs", "submit", str(folder)) == 0
    assert "/v1/devices" not in {path for path, _ in site.asked}
    for fault, code in ((NodeProblemError("http://node", 503, {}), 75), (UnreachableError("nobody answers"), 69)):
        site.answers["/v1/devices/linden-sc-1"] = fault
        assert run("refs", "submit", str(folder)) == code


def test_policy_for_a_model_that_comes_later_is_proposed_when_told_so(
    site: FakeNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = {"roles": [{"role": "laboratory", "count": 1}], "endorsements_due": 1, "excluded": []}
    for name, wrong in (("device", "linden-sc-11"), ("model", "SCD-220/9")):
        target = {"device": None, "model": None, name: wrong}
        (tmp_path / "policy.json").write_text(json.dumps({"target": target, "kind": None, "policy": policy}))
        site.answers["/v1/devices"] = lambda asked: page(
            *([] if "model" in asked else [{"device": "linden-sc-1", "model": "SCD-220/8"}])
        )
        site.posted.clear()
        (tmp_path / "alder.seq").write_bytes(b"0\n")
        assert run("proposals", "policy", "policy.json") == 65
        assert f"policy.json: the ledger has no device{' of model' * (name == 'model')} {wrong} (is " in (
            capsys.readouterr().err
        )
        assert unsigned(tmp_path, site)
        assert run("proposals", "policy", "policy.json", "--ahead") == 0
    (tmp_path / "policy.json").write_text(json.dumps({"target": None, "kind": None, "policy": policy}))
    assert run("proposals", "policy", "policy.json") == 0


def test_release_and_device_of_a_work_order_are_looked_for_with_the_nearest_name(
    folder: Path, tmp_path: Path, site: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    site.answers["/v1/references"] = page(listed(folder))
    words = ("--approver", "sub-east")
    assert run("orders", "open", "linden-sc-1", "linden-sc-1-2-4-1", *words) == 65
    assert "no release linden-sc-1-2-4-1 (is linden-sc-1-2-4-0 meant?)" in capsys.readouterr().err
    assert run("orders", "open", "linden-sc-2", "linden-sc-1-2-4-0", *words) == 65
    assert "no device linden-sc-2 (is linden-sc-1 meant?)" in capsys.readouterr().err
    assert run("refs", "endorse", "linden-sc-1-24-0") == 65
    assert "no release linden-sc-1-24-0 (is linden-sc-1-2-4-0 meant?)" in capsys.readouterr().err
    assert unsigned(tmp_path, site)
