"""Kill -9 of the agent, of the broker, of any one node in mid-run: no report is lost, none counts twice.

Nor is one that the gateway signed with a key which is replaced while it is down.

What was signed is read from the gateway's own database, what arrived from the blocks of a node.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from client.demo.cluster import Cluster
from client.demo.processes import Program, wait_until
from client.demo.topology import GRID_COMPANY, MEMBERS, Substation
from kit.keystore import create_key
from tests.e2e.harness import Churn, reports, run_program

DRAINED_WITHIN_S = 60.0
CHANGES = 3
"""Changes of a device's files before, during and after the outage."""
KILLS = 2


def outbox(cluster: Cluster, gateway: str) -> sqlite3.Connection:
    path = cluster.layout.gateway(gateway) / "state" / "outbox.sqlite"
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def signed(cluster: Cluster, gateway: str) -> tuple[int, int]:
    """Return the present boot of a gateway and how many pieces of evidence it has signed in it."""
    connection = outbox(cluster, gateway)
    try:
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    finally:
        connection.close()
    return meta["boot"], meta["seq"]


def waiting(cluster: Cluster, gateway: str) -> int:
    """Return how many pieces of evidence have no receipt."""
    connection = outbox(cluster, gateway)
    try:
        (count,) = connection.execute("SELECT count(*) FROM evidence").fetchone()
    finally:
        connection.close()
    return int(count)


def substation(cluster: Cluster) -> Substation:
    return cluster.layout.topology.substations[0]


def agent(cluster: Cluster) -> Program:
    return cluster.agents[substation(cluster).gateway]


def broker(cluster: Cluster) -> Program:
    return cluster.broker


def leader(cluster: Cluster) -> Program:
    return cluster.nodes[str(cluster.status(MEMBERS[0])["leader"])]


def follower(cluster: Cluster) -> Program:
    name = cluster.status(MEMBERS[0])["leader"]
    return cluster.nodes[next(member for member in MEMBERS if member != name)]


@pytest.mark.parametrize("victim", [agent, broker, leader, follower])
def test_kill_in_mid_run_loses_and_doubles_no_report(
    cluster: Cluster, victim: Callable[[Cluster], Program], tmp_path: Path
) -> None:
    gateway = substation(cluster).gateway
    device = substation(cluster).devices[0].id
    killed = victim(cluster)
    totals: dict[int, int] = dict([signed(cluster, gateway)])
    known = {entry.pair for entry in reports(cluster, MEMBERS[0], gateway)}
    with Churn(cluster, device, 0.4) as churn:
        for kill in range(KILLS):
            _wait_changes(churn, CHANGES)
            # in the moment in which a report is on its way
            wait_until(lambda: waiting(cluster, gateway) > 0, within_s=60, what="a report to be sent", poll_s=0.001)
            killed.kill()
            totals.update([signed(cluster, gateway)])
            _wait_changes(churn, CHANGES)
            if victim is agent and kill:
                _replace_key(cluster, gateway, tmp_path)
            killed.start()
            killed.wait_healthy()
        _wait_changes(churn, CHANGES)
    cluster.wait_connected()
    wait_until(lambda: waiting(cluster, gateway) == 0, within_s=DRAINED_WITHIN_S, what="the outbox to drain")
    cluster.wait_matched()
    totals.update([signed(cluster, gateway)])
    # a second copy of a report that was resent may still come, and count once, while the nodes are asked in turn
    last = cluster.wait_same_height()

    found = {member: reports(cluster, member, gateway, last) for member in MEMBERS}
    assert all(entries == found[MEMBERS[0]] for entries in found.values())
    accepted = Counter(entry.pair for entry in found[MEMBERS[0]] if entry.code == "ok")
    assert max(accepted.values()) == 1
    signed_pairs = {(boot, seq) for boot, total in totals.items() for seq in range(1, total + 1)}
    assert {pair for pair in accepted if pair[0] in totals} == signed_pairs
    assert known <= accepted.keys()
    # the same evidence may come in a second transaction; it is then told apart and counts once
    assert {entry.code for entry in found[MEMBERS[0]]} <= {"ok", "duplicate"}
    assert len(signed_pairs - known) > KILLS


def test_kill_in_mid_run_keeps_alarms_unique(cluster: Cluster) -> None:
    found = {member: cluster.alarms(member) for member in MEMBERS}
    assert all(alarms == found[MEMBERS[0]] for alarms in found.values())
    ids = Counter(str(alarm["alarm_id"]) for alarm in found[MEMBERS[0]])
    assert not ids or max(ids.values()) == 1
    raised = Counter((alarm["device"], alarm["cause"]) for alarm in found[MEMBERS[0]] if alarm["state"] == "raised")
    assert not raised


def _replace_key(cluster: Cluster, gateway: str, folder: Path) -> None:
    """Give the gateway, which is down, another key, in the ledger and on its disk."""
    create_key(folder, gateway)
    new, owner = folder / f"{gateway}.key", cluster.layout.keys / f"{GRID_COMPANY}.key"
    words = ("members", "replace-key", gateway, "--new-key", str(new), "--key", str(owner))
    done = run_program("gridwitness", *words, "--node", cluster.layout.api_url(MEMBERS[0]))
    assert done.returncode == 0, done.stderr
    for path in folder.glob(f"{gateway}.*"):
        path.replace(cluster.layout.gateway(gateway) / path.name)


def _wait_changes(churn: Churn, count: int) -> None:
    due = churn.changes + count
    wait_until(
        lambda: churn.changes >= due or churn.error is not None, within_s=60, what=f"{count} changes of a device"
    )
