from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.wire.samples import GENESIS, MEMBERS, certify
from tests.unit.wire.test_historyproof import inclusion
from tests.unit.wire.test_stateproof import PROOF, proof_of

NODE = ("--node", "http://node")
PATH = "/v1/state/membership/gateway%2Fgw-1"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    made = FakeNode()
    made.files[PATH] = PROOF.encode()
    use_node(monkeypatch, "state", made)
    return made


@pytest.fixture
def genesis(tmp_path: Path) -> str:
    path = tmp_path / "genesis.cbor"
    path.write_bytes(GENESIS.encode())
    return str(path)


def get(*more: str) -> int:
    return call("state", "get", "membership", "gateway/gw-1", *NODE, *more)


def test_state_get_shows_a_verified_entry(node: FakeNode, genesis: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert get("--verify", "--genesis", genesis, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["verified"], shown["present"]) == (True, True)
    assert shown["value"] == {"station": "station-1"}
    assert get("--verify", "--genesis", genesis) == 0
    assert "verified; signed by dispatch" in capsys.readouterr().out


def test_state_get_shows_a_proven_absence(node: FakeNode, genesis: str, capsys: pytest.CaptureFixture[str]) -> None:
    node.files[PATH] = proof_of(None).encode()
    assert get("--verify", "--genesis", genesis) == 0
    assert "nothing stands there" in capsys.readouterr().out


def test_state_get_without_verify_says_so(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert get() == 0
    assert "not checked" in capsys.readouterr().out


def test_state_get_of_a_lie_exits_65(node: FakeNode, genesis: str, capsys: pytest.CaptureFixture[str]) -> None:
    weak = replace(PROOF, final=replace(PROOF.final, certificate=certify(PROOF.final.header, MEMBERS[:2])))
    for lie in (replace(PROOF, value=b"\xa0"), replace(PROOF, value=None), weak):
        node.files[PATH] = lie.encode()
        assert get("--verify", "--genesis", genesis) == 65
        assert "does not verify" in capsys.readouterr().err


@pytest.mark.parametrize("raw", [b"<html>", replace(PROOF, key=b"gateway/gw-2").encode()])
def test_state_get_of_something_else_exits_65(node: FakeNode, raw: bytes) -> None:
    node.files[PATH] = raw
    assert get() == 65


def test_state_get_writes_the_proof_that_it_showed(node: FakeNode, tmp_path: Path) -> None:
    assert get("--out", str(tmp_path / "proof.cbor")) == 0
    assert (tmp_path / "proof.cbor").read_bytes() == PROOF.encode()


def test_state_get_takes_a_key_in_hex(node: FakeNode) -> None:
    assert call("state", "get", "membership", b"gateway/gw-1".hex(), "--hex", *NODE) == 0


def test_state_get_asks_for_the_height_that_is_wanted(node: FakeNode, genesis: str) -> None:
    height = str(PROOF.final.header.height)
    assert get("--height", height, "--verify", "--genesis", genesis) == 0
    assert node.asked[-1] == (PATH, {"proof": "1", "format": "cbor", "height": height})
    assert get() == 0
    assert "height" not in node.asked[-1][1]


def test_state_get_of_the_proof_of_another_height_exits_65(
    node: FakeNode, genesis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get("--height", str(PROOF.final.header.height + 1), "--verify", "--genesis", genesis) == 65
    assert "sent the proof of height" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("membership", "gateway/gw-1", "--height", "0"),
        ("membership", "gateway/gw-1", "--verify"),
        ("Member ship", "a"),
        ("membership", "zz", "--hex"),
        ("membership", ""),
    ],
)
def test_state_get_of_wrong_arguments_exits_64(node: FakeNode, arguments: tuple[str, ...]) -> None:
    assert call("state", "get", *arguments, *NODE) == 64


@pytest.mark.parametrize("raw", [PROOF.encode(), proof_of(None).encode(), inclusion(5, 18).encode()])
def test_verify_takes_state_and_history_proofs_and_refuses_their_lies(
    tmp_path: Path, genesis: str, capsys: pytest.CaptureFixture[str], raw: bytes
) -> None:
    file = tmp_path / "proof.cbor"
    file.write_bytes(raw)
    assert call("verify", str(file), "--genesis", genesis, "--json") == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True
    assert call("verify", str(file), "--genesis", genesis) == 0
    at = raw.index(b"signatures") + 40
    file.write_bytes(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :])
    assert call("verify", str(file), "--genesis", genesis) == 65
