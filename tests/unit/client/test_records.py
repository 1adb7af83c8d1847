from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kit.keystore import create_key
from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.wire.samples import GENESIS, HEADER, certify
from wire import cbor
from wire.finality import FinalHeader
from wire.stateproof import StateProof
from wire.statetree import bucket_digest, bucket_of, leaf_key, path_root
from wire.tx import Transaction, open_tx
from wire.types import sha256

TX = "ab" * 32
KEY = b"wind/contract-17"
PATH = "/v1/state/notary/wind%2Fcontract-17"
SIBLINGS = (bytes(32),) * 20
NODE = ("--node", "http://node")


def proof_of(entry: Mapping[str, cbor.Value] | None) -> StateProof:
    """Return a true proof of a state that holds one record, or nothing."""
    place, value = leaf_key("notary", KEY), None if entry is None else cbor.encode(dict(entry))
    bucket = () if value is None else ((place, sha256(value)),)
    header = replace(HEADER, state_root=path_root(bucket_of(place), bucket_digest(bucket), SIBLINGS))
    return StateProof("notary", KEY, value, bucket, SIBLINGS, FinalHeader(header, certify(header), ()))


class Desk:
    def __init__(self, folder: Path, node: FakeNode) -> None:
        self.node = node
        self.file = folder / "contract.pdf"
        self.genesis = folder / "genesis.cbor"
        self.genesis.write_bytes(GENESIS.encode())
        create_key(folder, "wind")
        self.key = str(folder / "wind.key")

    def put(self, *more: str) -> int:
        return call("records", "put", str(self.file), "--name", "contract-17", "--key", self.key, *NODE, *more)

    def check(self, *more: str) -> int:
        about = ("--name", "contract-17", "--account", "wind", "--genesis", str(self.genesis))
        return call("records", "check", str(self.file), *about, *NODE, *more)

    def sent(self) -> Transaction:
        return open_tx(self.node.posted[-1][1]).tx

    def note(self, data: bytes, **changes: cbor.Value) -> StateProof:
        entry: dict[str, cbor.Value] = {"digest": sha256(data), "height": 7, "time_ms": 1_790_000_000_000}
        proof = proof_of({**entry, "data_centre": "centre-east", **changes})
        self.node.files[PATH] = proof.encode()
        return proof


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    node = FakeNode({"/v1/status": {"chain": GENESIS.chain()}})
    node.post_answer = {"results": [{"id": TX, "status": "pending"}]}
    node.answers[f"/v1/tx/{TX}"] = {"status": "committed", "code": "ok", "height": 7}
    use_node(monkeypatch, "records", node)
    return Desk(tmp_path, node)


# holds NT-2
def test_record_of_a_small_file_is_its_bytes_and_of_a_larger_one_its_sha_256(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    for size, noted in ((1, b"x"), (1024, b"x" * 1024), (1025, sha256(b"x" * 1025))):
        desk.file.write_bytes(b"x" * size)
        assert desk.put() == 0
        sent = desk.sent()
        assert (sent.contract, sent.method, sent.sender) == ("notary", "put", "wind")
        assert sent.args == {"key": "contract-17", "data": noted}
    assert "contract.pdf: noted as wind/contract-17, transaction abab" in capsys.readouterr().out
    assert desk.put("--no-wait", "--json") == 0
    assert json.loads(capsys.readouterr().out)["height"] is None


def test_record_under_a_taken_name_says_what_to_do(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.file.write_bytes(b"x")
    desk.node.answers[f"/v1/tx/{TX}"] = {"status": "committed", "code": "taken", "height": 7}
    assert desk.put() == 65
    assert "choose another --name" in capsys.readouterr().err


# holds NT-2
@pytest.mark.parametrize("size", [20, 5000])
def test_record_is_proven_with_time_and_data_centre(
    size: int, desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.file.write_bytes(b"x" * size)
    data = b"x" * size if size <= 1024 else sha256(b"x" * size)
    proof = desk.note(data)
    assert desk.check("--out", str(tmp_path / "proof")) == 0
    told = capsys.readouterr().out
    assert f"wind had the bytes of {desk.file} by 2026-09-21" in told
    assert "centre-east" in told
    assert (tmp_path / "proof").read_bytes() == proof.encode()
    desk.note(data, data_centre=None)
    assert desk.check("--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["data_centre"], shown["height"], shown["digest"]) == (None, 7, sha256(data).hex())


# holds NT-2
def test_record_of_other_bytes_or_of_nothing_exits_65(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.file.write_bytes(b"mine")
    desk.note(b"other")
    assert desk.check() == 65
    assert "other bytes" in capsys.readouterr().err
    desk.node.files[PATH] = proof_of(None).encode()
    assert desk.check() == 65
    assert "has noted nothing as contract-17" in capsys.readouterr().err
    desk.node.files[PATH] = replace(desk.note(b"other"), value=cbor.encode({"digest": sha256(b"mine")})).encode()
    assert desk.check() == 65
    assert "does not verify" in capsys.readouterr().err


def test_record_with_wrong_arguments_exits_64_and_names_them(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.put() == 74
    assert "contract.pdf: No such file" in capsys.readouterr().err
    desk.file.write_bytes(b"")
    assert desk.put() == 64
    assert "is empty" in capsys.readouterr().err
    assert desk.put("--name", "Contract 17") == 64
    assert "'Contract 17' is no name of a record" in capsys.readouterr().err
    assert desk.check("--account", "Wind") == 64
    assert "'Wind' is no account" in capsys.readouterr().err
