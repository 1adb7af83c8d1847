"""A node that has lost everything comes back by a snapshot, though the others have given up the old blocks.

Real processes: four nodes past many snapshots, three of them prune, one is wiped and made anew; one of the others lies
in every part of a snapshot that it sends.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client.demo.cluster import Cluster, open_cluster
from client.demo.processes import run_once, wait_until
from client.demo.references import register
from client.demo.topology import DISPATCH, MEMBERS, SMALL
from client.node import items
from kit.exitcodes import UnreachableError
from tests.e2e.harness import run_program
from wire.genesis import GENESIS_BYTES_MAX, decode_genesis

SNAPSHOT_BLOCKS = 16
KEEP = 128
HEIGHT = KEEP + 3 * SNAPSHOT_BLOCKS
"""Far enough that blocks are given up before it, and a joiner of it takes a snapshot."""
WITHIN_S = 90.0
LOST, LIAR, *OTHERS = sorted(MEMBERS, key=lambda member: (member != DISPATCH, member))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Run four nodes that make a block every 100 ms, though nobody has anything to say."""
    monkeypatch.setenv("GRIDWITNESS_NODE__NODE__SNAPSHOT_LAG_BLOCKS", "40")
    with open_cluster(tmp_path / "d", SMALL) as made:
        path = made.layout.genesis
        assert path.stat().st_size < GENESIS_BYTES_MAX
        genesis = decode_genesis(path.read_bytes())
        parameters = {**genesis.parameters, "heartbeat_ms": 100, "snapshot_blocks": SNAPSHOT_BLOCKS}
        path.write_bytes(replace(genesis, parameters=parameters).encode())
        liar = made.nodes[LIAR]
        liar.command = (sys.executable, "-m", "tests.e2e.liar", *liar.command[1:])
        made.start_broker()
        made.start_nodes()
        register(made, made.layout.old_releases())
        yield made


def config(cluster: Cluster, member: str) -> str:
    return str(cluster.layout.node(member) / "node.toml")


def log(cluster: Cluster, member: str) -> str:
    return cluster.nodes[member].log.read_text(errors="replace")


def wait_height(cluster: Cluster, member: str, height: int) -> None:
    wait_until(
        lambda: cluster.status(member)["height"] >= height, within_s=WITHIN_S, what=f"block {height} at {member}"
    )


def header_at(cluster: Cluster, member: str, height: int) -> dict[str, str]:
    with cluster.client(member) as client:
        found = client.get_json("/v1/headers", {"from": str(height), "limit": "1"})["items"][0]
        return {name: str(found[name]) for name in ("height", "digest", "header")}  # certificates may differ


def references(cluster: Cluster, member: str) -> list[object]:
    with cluster.client(member) as client:
        return list(items(client, "/v1/references", {}))


def began_with(cluster: Cluster) -> int:
    """Return the height of the snapshot with which the lost node began, 0 while it has none or does not answer."""
    try:
        return int(cluster.status(LOST)["past"]["blocks_from"]) - 1
    except UnreachableError:
        return 0


def wipe(cluster: Cluster, member: str) -> None:
    cluster.nodes[member].kill()
    shutil.rmtree(cluster.layout.node(member) / "data")
    run_once("gridwitness-node", "init", "--config", config(cluster, member))


def prune(cluster: Cluster, members: list[str]) -> None:
    for member in members:
        cluster.nodes[member].stop()
        done = run_program("gridwitness-node", "prune", "--keep", str(KEEP), "--config", config(cluster, member))
        assert done.returncode == 0, done.stderr
        cluster.nodes[member].start()
    for member in members:
        cluster.nodes[member].wait_healthy()


def test_node_that_lost_all_comes_back_by_a_snapshot_and_votes_again(cluster: Cluster) -> None:
    wait_height(cluster, LOST, HEIGHT)
    cluster.nodes[LOST].stop()
    prune(cluster, [LIAR, *OTHERS])
    wipe(cluster, LOST)
    node = cluster.nodes[LOST]
    node.start()
    wait_until(lambda: "fetching a snapshot" in log(cluster, LOST), within_s=WITHIN_S, what="a snapshot")
    node.kill()
    time.sleep(0.2)
    node.start()
    wait_until(lambda: began_with(cluster) > HEIGHT - KEEP, within_s=WITHIN_S, what="the snapshot's store")
    node.wait_healthy(WITHIN_S)
    assert cluster.status(LOST)["past"]["known_from"] == 1
    assert began_with(cluster) % SNAPSHOT_BLOCKS == 0
    assert "goes on from a snapshot" in log(cluster, LOST)
    assert f"{LIAR}: part: " in log(cluster, LOST), "the liar's chunk was refused"

    # the same chain, state, history and lists as everybody else
    height = cluster.status(LOST)["height"]
    wait_height(cluster, OTHERS[0], height)
    for at in (1, height // 2, height):
        assert header_at(cluster, LOST, at) == header_at(cluster, OTHERS[0], at)
    assert references(cluster, LOST) == references(cluster, OTHERS[0]) != []
    with cluster.client(LOST) as client:
        assert client.get_json("/v1/headers/1/proof", {"in": str(height)})["height"] == 1

    # with another node gone nothing is decided without its vote
    cluster.nodes[OTHERS[1]].stop()
    wait_height(cluster, LOST, cluster.status(LOST)["height"] + 10)
    node.stop()
    done = run_program("gridwitness-node", "fsck", "--json", "--config", config(cluster, LOST))
    assert done.returncode == 0, done.stdout
