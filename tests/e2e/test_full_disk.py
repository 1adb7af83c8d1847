"""A node whose disk is full signs nothing and serves reads; the others go on; with room it comes back by itself.

The disk is full in the eyes of one process: the largest file that it may write is one byte long (RLIMIT_FSIZE), which
any user may set and lift for a process of theirs, on every Linux.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from client.demo.cluster import Cluster
from client.demo.processes import Program, wait_until
from client.demo.topology import MEMBERS
from tests.e2e.harness import Churn, node_metric, run_program

STOPPED_WITHIN_S = 60.0
BACK_WITHIN_S = 90.0
"""A full disk is looked at every 30 seconds at least."""
BLOCKS = 3


@contextmanager
def full_disk(program: Program) -> Iterator[None]:
    """Let every write of a process to a file fail, then let them succeed again."""
    soft, hard = resource.prlimit(program.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (soft, hard))


def health(cluster: Cluster, member: str) -> requests.Response:
    return requests.get(f"{cluster.layout.api_url(member)}/healthz", timeout=30)


def height(cluster: Cluster, member: str) -> int:
    return int(cluster.status(member)["height"])


def wait_blocks(cluster: Cluster, member: str, count: int) -> None:
    due = height(cluster, member) + count
    wait_until(lambda: height(cluster, member) >= due, within_s=60, what=f"{count} blocks at {member}")


def wait_metric(cluster: Cluster, member: str, due: float) -> None:
    """Gauges are brought up to date once a second."""
    wait_until(
        lambda: node_metric(cluster, member, "taking_part") == due,
        within_s=60,
        what=f"{member} to say so",
    )


# holds EL-7
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_node_on_a_full_disk_stops_signing_and_comes_back_by_itself(cluster: Cluster, role: str) -> None:
    leader = str(cluster.status(MEMBERS[0])["leader"])
    victim = leader if role == "leader" else next(member for member in MEMBERS if member != leader)
    others = [member for member in MEMBERS if member != victim]
    program = cluster.nodes[victim]
    pid = program.pid
    device = cluster.layout.topology.substations[0].devices[0].id
    with Churn(cluster, device, 0.4):
        wait_blocks(cluster, victim, 1)
        with full_disk(program):
            wait_until(
                lambda: health(cluster, victim).status_code == 503, within_s=STOPPED_WITHIN_S, what=f"{victim} to stop"
            )
            stopped_at = height(cluster, victim)
            assert "bytes were written" in health(cluster, victim).json()["detail"]
            wait_metric(cluster, victim, 0)
            assert node_metric(cluster, victim, "consensus_reports_total", {"code": "disk-full"}) >= 1
            wait_blocks(cluster, others[0], BLOCKS)
            # reads are served all the while
            with cluster.client(victim) as client:
                assert client.get_json(f"/v1/blocks/{stopped_at}")["height"] == stopped_at
                assert client.get_json("/v1/alarms")["items"] is not None
            assert height(cluster, victim) == stopped_at
            assert health(cluster, victim).status_code == 503
        wait_until(lambda: health(cluster, victim).ok, within_s=BACK_WITHIN_S, what=f"{victim} to come back")
        assert program.pid == pid, "nobody restarted it"
        wait_metric(cluster, victim, 1)
        wait_blocks(cluster, victim, BLOCKS)
        # with another node gone, nothing is final without its signature
        gone = cluster.nodes[others[-1]]
        gone.kill()
        try:
            wait_blocks(cluster, victim, BLOCKS)
        finally:
            gone.start()
            gone.wait_healthy()
    cluster.wait_connected()
    cluster.wait_matched()
    cluster.wait_same_height()
    folder = cluster.layout.node(victim) / "data" / "events"
    done = run_program("gridwitness-node", "replay", str(folder), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["problem"]) == (0, None)
