"""Real nodes that come back: with a million keys in the store, and with ten thousand blocks to catch up."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import requests

from benchmarks.chains import MAP_BYTES, PAST_MS, Author, fill, grow
from benchmarks.notary import Notes, with_senders
from benchmarks.results import Result
from client.demo.cluster import Cluster, open_cluster
from client.demo.processes import wait_until
from client.demo.topology import MEMBERS, build_topology
from kit.files import read_bounded
from kit.keystore import load_signing_key
from master.consensus.guard import SignerGuard
from master.io.guard import GuardFile, owner_of
from master.io.store import Store
from master.seat import GUARD_FILE
from wire.genesis import GENESIS_BYTES_MAX, decode_genesis

KEYS: Final = 1_000_000
BLOCKS: Final = 10_000
TRANSACTIONS: Final = 4
"""In each of the blocks that are caught up."""
RESTARTS: Final = 3
WITHIN_S: Final = 240.0
_POLL_S: Final = 0.02
_TX_TYPE: Final = {"content-type": 'application/cose; cose-type="cose-sign1"'}


def measure_restart(keys: int = KEYS, restarts: int = RESTARTS) -> Sequence[Result]:
    """Kill one of four nodes whose state holds a million keys, start it again, and wait for its first signature."""
    served_s, voted_s = [], []
    with _cluster() as (cluster, author):

        def make(store: Store) -> None:
            fill(store, author, store.state_tree(), range(keys))

        _give(cluster, author, MEMBERS, make)
        cluster.restart_nodes()
        notes, victim = Notes(author.genesis.chain()), _follower(cluster)
        for _ in range(restarts):
            served, voted = _restart(cluster, notes, victim)
            served_s.append(served)
            voted_s.append(voted)
    note = f"longest of {restarts}: kill -9 of one of four nodes, {keys / 1e6:g} M keys, one transaction every 50 ms"
    return (
        Result("restart until /healthz is fine", max(served_s), "s", note),
        Result("restart until it has voted", max(voted_s), "s", f"{note}; its signature stands in a certificate"),
    )


def measure_catch_up(blocks: int = BLOCKS) -> Sequence[Result]:
    """Start a node that has nothing but the genesis state beside three that have a long chain."""
    *sources, late = MEMBERS
    with _cluster() as (cluster, author):
        _give(cluster, author, sources, lambda store: grow(store, author, blocks, TRANSACTIONS))
        for member in sources:
            cluster.nodes[member].start()
        for member in sources:
            cluster.nodes[member].wait_healthy()
        cluster.wait_connected()
        # block by block, though a node that lags so far would take a snapshot
        cluster.nodes[late].environ = {"GRIDWITNESS_NODE__NODE__SNAPSHOT_LAG_BLOCKS": "1000000000"}
        began_s = time.perf_counter()
        cluster.nodes[late].start()
        wait_until(lambda: _height(cluster, late) > 0, within_s=WITHIN_S, what="its first block", poll_s=_POLL_S)
        first_s, first = time.perf_counter(), _height(cluster, late)
        wait_until(lambda: _height(cluster, late) >= blocks, within_s=WITHIN_S, what="all blocks", poll_s=_POLL_S)
        done_s = time.perf_counter()
    note = (
        f"{blocks:,} blocks of {TRANSACTIONS} transactions of 500 bytes from three nodes on the same machine, each "
        "verified, executed and stored with fsync"
    )
    return (
        Result("catch-up", (blocks - first) / (done_s - first_s), "blocks/s", note),
        Result("catch-up from start to newest block", done_s - began_s, "s", note),
    )


@contextlib.contextmanager
def _cluster() -> Iterator[tuple[Cluster, Author]]:
    """Start four nodes once, so that they have all their files, and stop them; return who can sign for them all."""
    topology = build_topology((("place", "north"),), 1, "bench")
    with (
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        open_cluster(Path(name) / "d", topology, devices=False) as cluster,
    ):
        path = cluster.layout.genesis
        genesis = with_senders(decode_genesis(read_bounded(path, bytes_max=GENESIS_BYTES_MAX)))
        genesis = replace(genesis, time_ms=genesis.time_ms - PAST_MS)
        path.write_bytes(genesis.encode())
        cluster.start_broker()
        cluster.start_nodes()
        for program in cluster.nodes.values():
            program.stop()
        keys = {member: load_signing_key(cluster.layout.node(member) / "vote.key").signing_key for member in MEMBERS}
        yield cluster, Author(genesis, keys)


def _give(cluster: Cluster, author: Author, members: Sequence[str], make: Callable[[Store], None]) -> None:
    """Put one store in the place of that of each of the members, and let their guards know of it."""
    first, *others = (cluster.layout.node(member) / "data" for member in members)
    shutil.rmtree(first / "ledger")
    with Store.create(first / "ledger", author.genesis, map_bytes=MAP_BYTES) as store:
        make(store)
        height = store.head().height
    for other in others:
        shutil.copyfile(first / "ledger" / "data.mdb", other / "ledger" / "data.mdb")
    for member in members:
        public = bytes(author.keys[member].verify_key)
        path = cluster.layout.node(member) / "data" / GUARD_FILE
        with GuardFile(path, owner_of(author.genesis.chain(), member, public)) as guard:
            guard.save(replace(guard.guard or SignerGuard(), floor=height))


def _follower(cluster: Cluster) -> str:
    """Return a node that does not lead."""
    leader = str(cluster.status(MEMBERS[0])["leader"])
    return next(member for member in MEMBERS if member != leader)


def _restart(cluster: Cluster, notes: Notes, victim: str) -> tuple[float, float]:
    """Return seconds from the start of a killed node until it serves, and until it has signed a block."""
    other = next(member for member in MEMBERS if member != victim)
    program = cluster.nodes[victim]
    program.kill()
    known = _height(cluster, other) + 1  # its last vote may stand in the block that was under way
    wait_until(lambda: _post(cluster, other, notes) > known, within_s=WITHIN_S, what="blocks without the node")
    began_s, served_s = time.perf_counter(), 0.0
    program.start()
    while time.perf_counter() - began_s < WITHIN_S:
        _post(cluster, other, notes)
        served_s = served_s or (time.perf_counter() - began_s if program.is_healthy() else 0.0)
        if served_s and _has_signed(cluster, victim, known + 1):
            return served_s, time.perf_counter() - began_s
        time.sleep(_POLL_S)
    raise TimeoutError(f"{victim} did not vote within {WITHIN_S:g} s")


def _post(cluster: Cluster, member: str, notes: Notes) -> int:
    """Hand in a transaction; return the node's height."""
    requests.post(f"{cluster.layout.api_url(member)}/v1/tx", data=notes.sign(1)[0], timeout=5, headers=_TX_TYPE)
    return _height(cluster, member)


def _height(cluster: Cluster, member: str) -> int:
    """Return the height of a node; 0 when it does not answer."""
    try:
        answer = requests.get(f"{cluster.layout.api_url(member)}/v1/status", timeout=5)
    except requests.RequestException:
        return 0
    return int(answer.json()["height"]) if answer.ok else 0


def _has_signed(cluster: Cluster, member: str, first: int) -> bool:
    """Tell whether a node's signature stands in the certificate of its newest block, from ``first`` on."""
    height = _height(cluster, member)
    if height < first:
        return False
    answer = requests.get(f"{cluster.layout.api_url(member)}/v1/blocks/{height}", timeout=5)
    return member in answer.json()["certificate"]["signers"]
