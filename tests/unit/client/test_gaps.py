"""gridwitness gaps: proven by the genesis file alone, and never more said than is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rules.gaps import BOOTS_MAX, Counters, taken
from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.wire.samples import GENESIS, HEADER, MEMBERS, certify
from tests.unit.wire.test_stateproof import PATH
from wire import cbor
from wire.finality import FinalHeader
from wire.stateproof import StateProof
from wire.statetree import bucket_digest, bucket_of, leaf_key, path_root
from wire.types import sha256

URL = "/v1/state/consistency/counters%2Fgw-1"
SECOND_MS = 1_000
BASE_MS = HEADER.time_ms - 1_000_000


def counters(*numbers: tuple[int, int]) -> Counters:
    """Return the counters after evidence of these (boot, seq), each signed 1000 s per boot and 1 s per seq later."""
    made = Counters()
    for boot, seq in numbers:
        made = taken(made, boot, seq, BASE_MS + 100 * boot * SECOND_MS + seq * SECOND_MS)
    return made


def proof(made: Counters | None, gateway: str = "gw-1", signers: tuple[str, ...] = MEMBERS[:3]) -> bytes:
    """Return a true proof of what the ledger keeps of a gateway."""
    namespace, key = "consistency", f"counters/{gateway}".encode()
    value = None if made is None else cbor.encode(made.to_value())
    place = leaf_key(namespace, key)
    bucket = () if value is None else ((place, sha256(value)),)
    root = path_root(bucket_of(place), bucket_digest(bucket), PATH)
    header = replace(HEADER, state_root=root)
    final = FinalHeader(header, certify(header, signers), ())
    return StateProof(namespace, key, value, bucket, PATH, final).encode()


@pytest.fixture
def genesis(tmp_path: Path) -> str:
    path = tmp_path / "genesis.cbor"
    path.write_bytes(GENESIS.encode())
    return str(path)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    made = FakeNode()
    use_node(monkeypatch, "gaps", made)
    return made


def check(genesis: str, *more: str) -> int:
    return call("gaps", "check", "gw-1", "--genesis", genesis, *more)


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


# holds GP-4
def test_gaps_check_of_a_whole_gateway_finds_nothing_and_says_what_it_does_not_show(
    node: FakeNode, genesis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.files[URL] = proof(counters((7, 1), (7, 2), (8, 1)))
    assert check(genesis, "--node", "http://node", "--json") == 0
    value = shown(capsys)
    assert (value["verified"], value["nothing_missing"], value["missing"], value["unknown"]) == (True, True, [], [])
    assert "after the last number" in value["not_shown"]
    assert check(genesis, "--node", "http://node") == 0
    out = capsys.readouterr().out
    assert "nothing is missing between the first and the last number" in out
    assert "not shown" in out


# holds GP-4
def test_gaps_check_names_what_is_missing_and_exits_2(
    node: FakeNode, genesis: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.files[URL] = proof(counters((7, 1), (7, 4), (9, 1)))
    kept = tmp_path / "gaps.cbor"
    assert check(genesis, "--node", "http://node", "--out", str(kept)) == 2
    out = capsys.readouterr().out
    assert "missing: boot 7 seq 2..3" in out
    assert "nothing at all of boot 8" in out
    assert check(genesis, "--file", str(kept), "--json") == 2
    value = shown(capsys)
    assert [(one["boot"], one["first"], one["last"]) for one in value["missing"]] == [(7, 2, 3)]
    assert [(one["first"], one["last"]) for one in value["unseen"]] == [(8, 8)]


# holds GP-4
def test_gaps_check_of_a_period_leaves_out_what_is_proven_to_be_of_another(
    node: FakeNode, genesis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.files[URL] = proof(counters((7, 1), (7, 4), (7, 5)))
    assert check(genesis, "--node", "http://node", "--from", "2035-01-01") == 0
    assert "nothing is missing" in capsys.readouterr().out


# holds GP-4
def test_gaps_check_past_what_is_known_exits_16_and_says_so(
    node: FakeNode, genesis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.files[URL] = proof(counters((7, 1), (7, 2)))
    assert check(genesis, "--node", "http://node", "--to", "2040-01-01T00:00Z") == 16
    assert "nothing is known" in capsys.readouterr().out
    node.files[URL] = proof(None)
    assert check(genesis, "--node", "http://node") == 16
    assert "never took evidence" in capsys.readouterr().out
    node.files[URL] = proof(counters(*((boot, 1) for boot in range(1, BOOTS_MAX + 3))))
    assert check(genesis, "--node", "http://node", "--from", "2001-01-01") == 16
    assert "not kept any more, up to boot 2" in capsys.readouterr().out


# holds GP-4
@pytest.mark.parametrize(
    "raw",
    [
        b"<html>",
        proof(counters((7, 1)), gateway="gw-2"),
        proof(counters((7, 1)), signers=MEMBERS[:2]),
        proof(counters((7, 1)))[:-1],
    ],
)
def test_gaps_check_of_what_proves_nothing_exits_65(node: FakeNode, genesis: str, raw: bytes) -> None:
    node.files[URL] = raw
    assert check(genesis, "--node", "http://node") == 65


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "name a node"),
        (("--node", "http://node", "--from", "yesterday"), "--from 'yesterday' is no time"),
    ],
)
def test_gaps_check_that_is_asked_wrongly_exits_64(
    node: FakeNode, genesis: str, more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.files[URL] = proof(counters((7, 1)))
    assert check(genesis, *more) == 64
    assert said in capsys.readouterr().err
    assert call("gaps", "check", "NO GATEWAY", "--genesis", genesis) == 64
