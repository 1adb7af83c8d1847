from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.client.ledgers import World
from tests.unit.client.nodes import FakeNode, call, use_node
from wire.types import sha256

NODE = ("--node", "http://node")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    made = FakeNode()
    use_node(monkeypatch, "tx", made)
    return made


def test_show_of_a_node_that_does_not_say_where_it_stands_exits_65(
    node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.answers[f"/v1/tx/{'ab' * 32}"] = {}
    assert call("tx", "show", "ab" * 32, *NODE) == 65
    assert "does not say where" in capsys.readouterr().err


def test_get_writes_the_bundle(tmp_path: Path, node: FakeNode) -> None:
    bundle = World().bundle()
    tx = sha256(bundle.tx).hex()
    node.files[f"/v1/bundles/{tx}"] = bundle.encode()
    out = tmp_path / "out.bundle"
    assert call("tx", "get", tx, *NODE, "--out", str(out)) == 0
    assert out.read_bytes() == bundle.encode()


def test_get_bundle_of_another_transaction_exits_65(tmp_path: Path, node: FakeNode) -> None:
    node.files[f"/v1/bundles/{'ab' * 32}"] = World().bundle().encode()
    out = tmp_path / "out.bundle"
    assert call("tx", "get", "ab" * 32, *NODE, "--out", str(out)) == 65
    assert not out.exists()


def test_get_no_bundle_exits_65(tmp_path: Path, node: FakeNode) -> None:
    node.files[f"/v1/bundles/{'ab' * 32}"] = b"<html>"
    assert call("tx", "get", "ab" * 32, *NODE, "--out", str(tmp_path / "out")) == 65


@pytest.mark.parametrize("tx", ["", "ab", "AB" * 32, "../status"])
def test_get_wrong_id_exits_64(tx: str, tmp_path: Path, node: FakeNode) -> None:
    assert call("tx", "get", tx, *NODE, "--out", str(tmp_path / "out")) == 64


def test_show_prints_the_status(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers[f"/v1/tx/{'ab' * 32}"] = {"id": "ab" * 32, "status": "pending"}
    assert call("tx", "show", "ab" * 32, *NODE) == 0
    assert "pending" in capsys.readouterr().out
