"""The event logs of real nodes: replayed by the command, and in the simulator's own way."""

from __future__ import annotations

import json

from client.demo.cluster import Cluster
from client.demo.processes import wait_until
from client.demo.topology import MEMBERS
from tests.e2e.harness import Churn, run_program
from tests.simulation.taped import Log

CHANGES = 3
STEPS_MIN = 50


# holds EL-5
def test_event_log_of_every_running_node_replays_bit_for_bit(cluster: Cluster) -> None:
    device = cluster.layout.topology.substations[0].devices[0].id
    before = int(cluster.status(MEMBERS[0])["height"])
    with Churn(cluster, device, 0.4) as churn:
        wait_until(lambda: churn.changes >= CHANGES or churn.error is not None, within_s=60, what="changes of a device")
    cluster.wait_matched()
    height = cluster.wait_same_height()
    assert height > before
    for member in MEMBERS:
        folder = cluster.layout.node(member) / "data" / "events"
        done = run_program("gridwitness-node", "replay", str(folder), "--json")
        told = json.loads(done.stdout)
        assert (done.returncode, told["problem"], told["same"]) == (0, None, True), done.stderr
        assert told["steps"] >= STEPS_MIN
        assert told["last_height"] >= height
        assert Log.read(folder).replayed().steps >= told["steps"]
