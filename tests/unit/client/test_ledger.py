from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.nodes import FakeNode, call
from tests.unit.wire.samples import FIRST_END, GENESIS, HEADER, MEMBERS, certify
from tests.unit.wire.test_lightclient import LATER
from wire import cbor
from wire.certificate import Certificate
from wire.epochs import EpochEnd
from wire.header import Header
from wire.lightclient import decode_conflict, verify_conflict

NODES = ("--node", "http://a", "--node", "http://b")
NOW_MS = HEADER.time_ms + 5000


def node_of(*headers: Header, ends: tuple[EpochEnd, ...] = (), certificate: Certificate | None = None) -> FakeNode:
    """Return a node that has these blocks, the last one newest."""
    by_height = {header.height: header for header in headers}

    def page(params: Mapping[str, str]) -> dict[str, Any]:
        header = by_height.get(int(params["from"]))
        if header is None:
            return {"items": []}
        signed = certificate or certify(header)
        return {"items": [{"header": header.encode().hex(), "certificate": signed.encode().hex()}]}

    def epochs(params: Mapping[str, str]) -> dict[str, Any]:
        first = int(params["from"])
        items = [{"end": cbor.encode(end.to_value()).hex()} for end in ends[first : first + 1]]
        return {"items": items, "next": first + 1 if first + 1 < len(ends) else None}

    height = max(by_height, default=0)
    return FakeNode({"/v1/status": {"height": height}, "/v1/headers": page, "/v1/epochs": epochs})


class Site:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes: dict[str, FakeNode] = {}
        self.evidence = folder / "evidence.cbor"
        self.genesis = folder / "genesis.cbor"
        self.genesis.write_bytes(GENESIS.encode())
        monkeypatch.setattr("client.commands.ledger.NodeClient", self.open)
        monkeypatch.setattr("client.commands.ledger.time.time_ns", lambda: NOW_MS * 1_000_000)

    def open(self, urls: Sequence[str]) -> FakeNode:
        return self.nodes[urls[0]]

    def check(self, first: FakeNode, second: FakeNode, *more: str) -> int:
        self.nodes = {"http://a": first, "http://b": second}
        files = ("--genesis", str(self.genesis), "--evidence", str(self.evidence))
        return call("ledger", "check", *NODES, *files, *more)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_ledger_check_of_nodes_that_agree_shows_the_newest_block(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    child = replace(HEADER, height=43, parent=HEADER.digest())
    assert site.check(node_of(HEADER), node_of(HEADER, child), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["height"], shown["age_ms"], shown["fresh"], shown["nodes"]) == (43, 5000, True, 2)
    assert site.check(node_of(HEADER), node_of(HEADER)) == 0
    assert "2 nodes agree" in capsys.readouterr().out


def test_ledger_check_walks_over_epochs(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    ends = (FIRST_END,)
    assert site.check(node_of(LATER, ends=ends), node_of(LATER, ends=ends), "--json") == 0
    assert json.loads(capsys.readouterr().out)["epoch"] == 1


def test_ledger_check_of_an_old_block_exits_16(site: Site) -> None:
    assert site.check(node_of(HEADER), node_of(HEADER), "--max-age", "4") == 16
    assert site.check(node_of(HEADER), node_of(HEADER), "--max-age", "5") == 0


def test_ledger_check_of_two_certified_blocks_exits_65_and_writes_the_evidence(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.check(node_of(HEADER), node_of(replace(HEADER, tx_root=bytes(32)))) == 65
    assert "signed twice: dispatch, sub-east, sub-north" in capsys.readouterr().err
    assert verify_conflict(decode_conflict(site.evidence.read_bytes()), GENESIS) == MEMBERS[:3]


def test_evidence_of_a_conflict_is_kept_beside_that_of_another_one(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.evidence.write_bytes(b"of another conflict")
    for _ in range(2):
        assert site.check(node_of(HEADER), node_of(replace(HEADER, tx_root=bytes(32)))) == 65
    (other,) = site.evidence.parent.glob(f"{site.evidence.stem}-*{site.evidence.suffix}")
    assert f"the evidence is in {other}" in capsys.readouterr().err
    assert verify_conflict(decode_conflict(other.read_bytes()), GENESIS) == MEMBERS[:3]
    assert site.evidence.read_bytes() == b"of another conflict"


def test_ledger_check_of_a_node_that_lies_exits_65(site: Site) -> None:
    weak = node_of(HEADER, certificate=certify(HEADER, MEMBERS[:2]))
    assert site.check(node_of(HEADER), weak) == 65
    hidden = node_of(HEADER)
    hidden.answers["/v1/status"] = {"height": 50}
    assert site.check(node_of(HEADER), hidden) == 65
    assert site.check(node_of(), node_of(HEADER)) == 65
    answers: tuple[dict[str, Any], ...] = ({"items": [{"header": "zz"}]}, {"items": [{}]}, {"items": 7})
    for answer in answers:
        garbled = node_of(HEADER)
        garbled.answers["/v1/headers"] = answer
        assert site.check(node_of(HEADER), garbled) == 65
    assert not site.evidence.exists()
