"""What tests of commands are given: a release folder, a key, a node that answers from a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.keystore import create_key
from tests.unit.client.nodes import FakeNode, use_node
from tests.unit.client.releases import FIRMWARE, MANIFEST


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
    made = FakeNode({"/v1/status": {"chain": "test-00000000"}, "/v1/devices/linden-sc-1": {"device": "linden-sc-1"}})
    use_node(monkeypatch, "refs", made)
    monkeypatch.setattr("client.node.time.sleep", lambda _: None)
    return made
