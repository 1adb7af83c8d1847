from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from client.commands import compliance
from master.views.compliance import COLUMNS, STATUSES
from tests.unit.client.nodes import FakeNode, call, use_node

NODE = ("--node", "http://node")


def entry(device: str, status: str, days: int | None) -> dict[str, Any]:
    told = dict.fromkeys(COLUMNS, "x") | {"device": device, "status": status, "days": days, "days_max": 35}
    return {**told, "baseline_ms": None if days is None else 1_790_000_000_000, "due_ms": None}


def serve(monkeypatch: pytest.MonkeyPatch, *items: dict[str, Any], stale: bool = False) -> FakeNode:
    node = FakeNode({"/v1/compliance": {"items": list(items), "next": None, "head_age_ms": 5, "ledger_stale": stale}})
    use_node(monkeypatch, "compliance", node)
    return node


@pytest.mark.parametrize(
    ("items", "stale", "code"),
    [
        ((entry("a", "compliant", 3),), False, 0),
        ((), False, 0),
        ((entry("a", "compliant", 3), entry("b", "overdue", 36)), False, 16),
        ((entry("a", "never_verified", None),), False, 16),
        ((entry("a", "compliant", 3),), True, 16),
    ],
)
def test_compliance_list_exit_code_says_whether_all_is_well(
    items: tuple[dict[str, Any], ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stale: bool,
) -> None:
    serve(monkeypatch, *items, stale=stale)
    assert call("compliance", "list", *NODE) == code


def test_compliance_list_asks_for_what_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = serve(monkeypatch, entry("dev-7", "overdue", 36))
    monkeypatch.setenv("COLUMNS", "250")
    assert call("compliance", "list", "--status", "overdue", "--station", "st-1", *NODE) == 16
    assert node.asked[0][1] == {"station": "st-1", "status": "overdue", "limit": "500"}
    shown = capsys.readouterr().out
    assert "dev-7" in shown
    assert "36" in shown
    assert compliance.STATUSES == STATUSES


def test_compliance_export_writes_csv_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items = (entry("a", "compliant", 3), entry("b", "never_verified", None))
    serve(monkeypatch, *items)
    file = tmp_path / "report.csv"
    assert call("compliance", "export", "--out", str(file), *NODE) == 16
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["device"], row["days"]) for row in rows] == [("a", "3"), ("b", "")]
    assert "2 devices, 1 of them" in capsys.readouterr().out
    file = tmp_path / "report.json"
    assert call("compliance", "export", "--out", str(file), *NODE, "--json") == 16
    assert json.loads(file.read_bytes())["items"] == list(items)
    assert json.loads(capsys.readouterr().out)["not_compliant"] == 1


def test_compliance_export_of_nothing_has_a_heading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch)
    assert call("compliance", "export", "--out", str(tmp_path / "none.csv"), *NODE) == 0
    assert (tmp_path / "none.csv").read_bytes() == b"device\r\n"


@pytest.mark.parametrize("words", [("list", "--status", "fine"), ("export", "--out", "report.xls")])
def test_compliance_wrong_arguments_exit_64(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    node = serve(monkeypatch)
    assert call("compliance", *words, *NODE) == 64
    assert not node.asked
