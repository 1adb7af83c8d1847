"""Proofs from a running node, checked by both implementations; a backup of it, brought back and found whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from client.demo.cluster import Cluster
from client.demo.topology import MEMBERS
from kit.http import NodeClient
from master.io.backups import back_up, restore
from master.io.store import Store
from master.io.store_tools import Fsck
from tests.e2e.harness import run_program
from tests.interop import independent_checker as checker
from wire.finality import FinalHeader
from wire.genesis import decode_genesis
from wire.historyproof import (
    decode_consistency_proof,
    decode_history_proof,
    verify_consistency_proof,
    verify_history_proof,
)
from wire.lightclient import accept, begin
from wire.stateproof import decode_state_proof

pytestmark = pytest.mark.e2e
MAP_BYTES = 4 << 30


def test_state_of_a_running_node_is_proven_and_a_forged_one_refused(cluster: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "state.proof"
    genesis = str(cluster.layout.genesis)
    key = f"gateway/{cluster.layout.topology.substations[0].gateway}"
    get = ("gridwitness", "state", "get", "membership", key, "--node", cluster.layout.api_url(MEMBERS[0]), "--json")
    done = run_program(*get, "--verify", "--genesis", genesis, "--out", str(out))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["verified"], shown["present"]) == (True, True)
    checker.check_state(out.read_bytes(), cluster.layout.genesis.read_bytes())
    forged = replace(decode_state_proof(out.read_bytes()), value=None)
    with pytest.raises(ValueError, match="SP-3"):
        checker.check_state(forged.encode(), cluster.layout.genesis.read_bytes())
    recent = run_program(*get, "--height", str(max(1, shown["height"] - 1)), "--verify", "--genesis", genesis)
    assert recent.returncode == 0, recent.stderr
    assert json.loads(recent.stdout)["value"] == shown["value"]
    ahead = run_program(*get, "--height", str(2**40))
    assert ahead.returncode != 0
    assert "can be had" in ahead.stdout + ahead.stderr
    other = tmp_path / "other.cbor"
    other.write_bytes(replace(decode_genesis(cluster.layout.genesis.read_bytes()), time_ms=1).encode())
    assert run_program(*get, "--verify", "--genesis", str(other)).returncode == 65


def test_history_of_a_running_node_is_proven_to_a_light_client(cluster: Cluster) -> None:
    raw_genesis = cluster.layout.genesis.read_bytes()
    genesis = decode_genesis(raw_genesis)
    with NodeClient([cluster.layout.api_url(MEMBERS[1])]) as client:
        head = int(client.get_json("/v1/status")["height"])
        answers = {"format": "cbor", "in": str(head)}
        history = client.get_bytes("/v1/headers/1/proof", answers)
        consistency = client.get_bytes("/v1/headers/2/consistency", answers)
    proof = decode_history_proof(history)
    verify_history_proof(proof, genesis)
    checker.check_history(history, raw_genesis)
    known = decode_consistency_proof(consistency).header
    verify_consistency_proof(decode_consistency_proof(consistency), known, genesis)
    checker.check_history(consistency, raw_genesis, known.encode())
    state = accept(begin(genesis), FinalHeader(proof.final.header, proof.final.certificate, ()))
    assert state.newest is not None
    assert state.newest.header.height == head


def test_backup_of_a_running_node_is_brought_back_whole(cluster: Cluster, tmp_path: Path) -> None:
    config = cluster.layout.node(MEMBERS[2]) / "node.toml"
    backup = tmp_path / "backup"
    done = run_program("gridwitness-node", "backup", "--out", str(backup), "--config", str(config), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(done.stdout)
    assert made["height"] > 0
    refused = run_program("gridwitness-node", "fsck", "--config", str(config), "--json")
    assert refused.returncode == 74
    assert "another process owns it" in refused.stdout + refused.stderr
    genesis = decode_genesis(cluster.layout.genesis.read_bytes())
    restored = tmp_path / "elsewhere"
    restore(backup, genesis, restored, tmp_path / "restored")
    assert (tmp_path / "restored").exists()
    with Store.open(restored, genesis, map_bytes=MAP_BYTES) as store:
        assert store.head().height == made["height"]
        assert Fsck(store, genesis, lambda _: None).run() == []
    assert back_up(restored, genesis, tmp_path / "again").head == made["head"]
