"""The dry run of an upgrade, as a person runs it beside a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.exitcodes import StorageError, run
from master import rehearsing
from master.cli import PROGRAM, app
from master.contracts.table import own_software
from master.io.store import Store
from master.ledger.state import Overlay
from tests.unit.ledger.test_upgrades import TWO
from tests.unit.master.test_upkeep import Node
from tests.unit.store.stores import MAP_BYTES


class Bench(Node):
    """A stopped node whose commands answer with exit code, output and what they said on stderr."""

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = run(app, program=PROGRAM, args=[*arguments, "--config", str(self.config)])
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def node(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(rehearsing, "own_software", lambda: TWO)
    return Bench(tmp_path, capsys)


def plan(node: Bench, *args: str) -> dict[str, Any]:
    code, out, _ = node.run("dry-run", *args, "--json")
    assert code == 0
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


# holds GV-9
def test_dry_run_over_a_store_goes_back_to_its_base_and_keeps_nothing(node: Bench, tmp_path: Path) -> None:
    before = (node.ledger / "data.mdb").read_bytes()
    newest = plan(node, "notary:2", "--height", "100")
    assert (newest["base_height"], newest["height"], newest["code"][0]["version"]) == (6, 100, 2)
    older = plan(node, "notary:2", "--height", "100", "--base", "3")
    assert older["base_height"] == 3
    assert older["state_root"] != newest["state_root"]
    assert older == plan(node, "notary:2", "--height", "100", "--base", "3")
    assert (node.ledger / "data.mdb").read_bytes() == before
    assert not list(node.data_dir.glob("dry-run-*"))
    (tmp_path / "plan.json").write_text(json.dumps(older))
    code, out, _ = node.run("dry-run", "--check", str(tmp_path / "plan.json"))
    assert code == 0
    assert out.splitlines()[-1] == f"state root {older['state_root']}, as the plan says"


def test_dry_run_that_comes_to_another_root_than_the_plan_is_refused(node: Bench, tmp_path: Path) -> None:
    found = plan(node, "notary:2", "--height", "100")
    (tmp_path / "plan.json").write_text(json.dumps({**found, "state_root": "00" * 32}))
    code, _, error = node.run("dry-run", "--check", str(tmp_path / "plan.json"))
    assert code == 65
    assert "do not vote for it" in error


def test_dry_run_of_what_this_release_lacks_is_refused(
    node: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(plan(node, "notary:2", "--height", "100")))
    monkeypatch.setattr(rehearsing, "own_software", own_software)
    code, _, error = node.run("dry-run", "--check", str(tmp_path / "plan.json"))
    assert (code, "notary version 2, which this software does not have" in error) == (78, True)
    code, _, error = node.run("dry-run", "notary:2", "--height", "100")
    assert (code, "no contract version of this release" in error) == (64, True)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "name contract versions"),
        (("notary:2",), "name contract versions"),
        (("notary",), "name contract versions"),
        (("notary:x", "--height", "9"), "is no contract version"),
        (("notary:2", "--height", "9", "--base", "7"), "states of blocks 1 to 6"),
        (("notary:2", "--height", "5"), "it must lie above block 6"),
    ],
)
def test_dry_run_that_makes_no_sense_is_refused(node: Bench, args: tuple[str, ...], said: str) -> None:
    code, _, error = node.run("dry-run", *args)
    assert (code, said in error) == (64, True)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"code": [], "height": 1, "base_height": 0, "state_root": null}'])
def test_plan_of_another_form_is_refused(node: Bench, tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    code, _, error = node.run("dry-run", "--check", str(tmp_path / "plan.json"))
    assert (code, "is no plan of" in error) == (65, True)


def test_dry_run_without_a_store_or_over_one_whose_past_does_not_fit_is_refused(
    node: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(node.ledger, node.world.genesis, map_bytes=MAP_BYTES) as store, monkeypatch.context() as patch:
        patch.setattr(rehearsing, "past_state", lambda found, _height: Overlay(found))
        with pytest.raises(StorageError, match="run gridwitness-node fsck"):
            rehearsing.rehearse_on(store, rehearsing._wanted(["notary:2"], 100, 3))
    node.ledger.rename(node.ledger.with_name("gone"))
    code, _, error = node.run("dry-run", "notary:2", "--height", "100")
    assert (code, "there is none" in error) == (74, True)
