"""An invariant breaks in one node: it signs nothing more, serves reads and keeps its log, which replays to there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import requests

from client.demo.cluster import Cluster
from client.demo.processes import wait_until
from client.demo.topology import MEMBERS
from tests.e2e.harness import PROGRAM_WITHIN_S, Churn

BROKEN = """
import sys
from master.cli import main
from master.consensus.sync import Sync

limit, whole = int(sys.argv.pop(1)), Sync.heard_head

def heard_head(self, member, height, now):
    assert height < limit, "heights end here"
    return whole(self, member, height, now)

Sync.heard_head = heard_head
sys.exit(main())
"""
"""The program with a mistake: it cannot bear to hear of a height."""


# holds EL-6
def test_node_with_a_broken_invariant_serves_reads_and_keeps_the_incident(cluster: Cluster) -> None:
    member = next(name for name in MEMBERS if name != cluster.status(MEMBERS[0])["leader"])
    program, url = cluster.nodes[member], cluster.layout.api_url(member)
    device = cluster.layout.topology.substations[0].devices[0].id
    limit = int(cluster.status(member)["height"]) + 6
    command = program.command
    kept = cluster.layout.node(member) / "data" / "incidents" / "0001"
    program.stop()
    program.command = (sys.executable, "-c", BROKEN, str(limit), *command[1:])
    program.start()
    try:
        program.wait_healthy()
        with Churn(cluster, device, 0.3):
            wait_until(
                lambda: requests.get(f"{url}/healthz", timeout=30).status_code == 503, within_s=60, what="it to stop"
            )
            assert "heights end here" in requests.get(f"{url}/healthz", timeout=30).json()["detail"]
            with cluster.client(member) as client:
                height = int(client.get_json("/v1/status")["height"])
                assert client.get_json(f"/v1/blocks/{height}")["height"] == height
            other = next(name for name in MEMBERS if name != member)
            due = int(cluster.status(other)["height"]) + 2
            wait_until(lambda: int(cluster.status(other)["height"]) >= due, within_s=60, what="the others to go on")
            wait_until(lambda: any(kept.glob("*.events")), within_s=60, what="the log to be kept")
    finally:
        program.stop()
        # the kept copy has it; without the mistake the ring would come out otherwise in every later test
        shutil.rmtree(cluster.layout.node(member) / "data" / "events")
        program.command = command
        program.start()
        program.wait_healthy()
    newest = str(max(kept.glob("*.events")))
    same = replayed([sys.executable, "-c", BROKEN, str(limit), "replay", newest, "--json"])
    assert (same[0], same[1]["problem"]) == (0, None)
    assert any("AssertionError: heights end here" in line["text"] for line in same[1]["last"])
    code, told = replayed([*command[:1], "replay", newest, "--json"])
    assert code == 65
    assert "ended with None, recorded is AssertionError: heights end here" in told["problem"]
    assert told["steps"] == same[1]["steps"] - 1, "all steps but the last come out the same without the mistake"


def replayed(command: list[str]) -> tuple[int, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROGRAM_WITHIN_S)
    return done.returncode, json.loads(done.stdout)
