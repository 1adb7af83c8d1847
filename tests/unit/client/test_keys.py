from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.client.nodes import call


def test_new_then_show_agree_and_keep_the_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("keys", "new", "lab", "--dir", str(tmp_path), "--json") == 0
    made = json.loads(capsys.readouterr().out)
    for suffix in ("key", "pub"):
        assert call("keys", "show", str(tmp_path / f"lab.{suffix}"), "--json") == 0
        said = capsys.readouterr().out
        assert json.loads(said) == {name: made[name] for name in ("name", "public", "kid")}
        assert json.loads((tmp_path / "lab.key").read_text())["secret"] not in said


def test_new_twice_exits_74(tmp_path: Path) -> None:
    assert call("keys", "new", "lab", "--dir", str(tmp_path)) == 0
    assert call("keys", "new", "lab", "--dir", str(tmp_path)) == 74


def test_new_with_wrong_name_exits_64(tmp_path: Path) -> None:
    assert call("keys", "new", "Lab 1", "--dir", str(tmp_path)) == 64


def test_show_other_file_exits_64(tmp_path: Path) -> None:
    assert call("keys", "show", str(tmp_path / "lab.txt")) == 64


def test_show_missing_file_exits_74(tmp_path: Path) -> None:
    assert call("keys", "show", str(tmp_path / "lab.pub")) == 74
