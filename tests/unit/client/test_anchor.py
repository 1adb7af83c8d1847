from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kit.keystore import create_key
from tests.unit.client.nodes import FakeNode, call
from tests.unit.client.test_ledger import node_of
from tests.unit.wire.samples import GENESIS, HEADER, MEMBERS, certify
from tests.unit.wire.test_anchor import CHAIN_HEADER, ROOTED
from wire.anchor import decode_anchor, verify_anchor
from wire.genesis import AccountKey, Genesis


class Site:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.node = folder, node_of(CHAIN_HEADER)
        self.file, self.genesis = folder / "anchor.cbor", folder / "genesis.cbor"
        self.trust(ROOTED)
        monkeypatch.setattr("client.commands.anchor.NodeClient", self.open)

    def trust(self, genesis: Genesis) -> None:
        self.genesis.write_bytes(genesis.encode())

    def open(self, urls: Sequence[str]) -> FakeNode:
        assert urls == ["http://a"]
        return self.node

    def new(self) -> int:
        return call("anchor", "new", "--node", "http://a", "--genesis", str(self.genesis), "--out", str(self.file))

    def sign(self, organisation: str, key: Path) -> int:
        options = ("--organisation", organisation, "--key", str(key), "--genesis", str(self.genesis))
        return call("anchor", "sign", str(self.file), *options)

    def check(self, *more: str) -> int:
        return call("anchor", "check", str(self.file), "--genesis", str(self.genesis), *more)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


# holds LC-9
def test_anchor_is_fetched_signed_by_two_and_taken(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {name: create_key(site.folder, f"{name}-root") for name in MEMBERS[:2]}
    own = (AccountKey(key.public, name, name) for name, key in keys.items())
    genesis = replace(GENESIS, keys=tuple(sorted((*GENESIS.keys, *own), key=lambda entry: entry.key)))
    site.trust(genesis)
    header = replace(HEADER, chain=genesis.chain())
    site.node = node_of(header, certificate=certify(header))
    assert site.new() == 0
    assert "nobody yet" in capsys.readouterr().out
    assert site.check() == 65
    for name in MEMBERS[:2]:
        assert site.sign(name, site.folder / f"{name}-root.key") == 0
    capsys.readouterr()
    assert site.check("--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["height"], shown["signed_by"], shown["signers_due"]) == (42, list(MEMBERS[:2]), 2)
    verify_anchor(decode_anchor(site.file.read_bytes()), genesis)


def test_anchor_of_a_node_that_lies_is_refused_and_nothing_is_written(site: Site) -> None:
    site.node = node_of(CHAIN_HEADER, certificate=certify(CHAIN_HEADER, MEMBERS[:2]))
    assert site.new() == 65
    site.node = node_of()
    assert site.new() == 65
    site.node = node_of(CHAIN_HEADER)
    site.node.answers["/v1/headers"] = {"items": [{"header": "zz"}]}
    assert site.new() == 65
    assert not site.file.exists()


def test_anchor_is_not_signed_with_a_key_that_the_genesis_file_lacks(site: Site) -> None:
    assert site.new() == 0
    create_key(site.folder, "some")
    assert site.sign(MEMBERS[0], site.folder / "some.key") == 64
    site.file.write_bytes(b"nothing")
    assert site.sign(MEMBERS[0], site.folder / "some.key") == 65
    assert site.check() == 65
