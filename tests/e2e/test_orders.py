"""Orders through the ledger: a device is changed under one, a gateway reads on one; and the proof of its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from client.demo.cluster import Cluster
from client.demo.processes import wait_until
from client.demo.topology import GRID_COMPANY, MEMBERS, REGULATOR
from tests.e2e.harness import agent_metric, run_program


def orders(cluster: Cluster, method: str, *arguments: str, key: str | None = None) -> Any:  # noqa: ANN401 JSON
    options = () if key is None else ("--key", str(cluster.layout.keys / f"{key}.key"))
    node = ("--node", cluster.layout.api_url(MEMBERS[1]))
    done = run_program("gridwitness", "orders", method, *arguments, *options, *node, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_change_under_a_work_order_is_pending_until_its_end_and_a_read_is_ordered_and_answered(
    cluster: Cluster, tmp_path: Path
) -> None:
    device, member = cluster.layout.topology.devices[0].id, MEMBERS[1]

    def is_shown(state: str) -> None:
        wait_until(lambda: cluster.devices(member)[device]["state"] == state, within_s=60, what=f"{device}: {state}")

    planned = next(name for name in cluster.layout.new_releases() if name.startswith(device))
    order = orders(cluster, "open", device, planned, "--approver", MEMBERS[0], key=GRID_COMPANY)["order"]
    orders(cluster, "approve", order, key=MEMBERS[0])
    orders(cluster, "fill", order, "--files", str(cluster.layout.release(planned)), key=GRID_COMPANY)
    cluster.tamper(device, {"action": "flip-byte", "artefact": "settings", "offset": 100})
    try:
        is_shown("pending")
        orders(cluster, "close", order, key=GRID_COMPANY)
        is_shown("alarm")
    finally:
        cluster.restore()
    (item,) = orders(cluster, "list", "--device", device)["items"]
    assert (item["state"], [fill["account"] for fill in item["fills"]]) == ("closed", [GRID_COMPANY])
    is_shown("match")
    inspect_and_prove(cluster, tmp_path)


def inspect_and_prove(cluster: Cluster, folder: Path) -> None:
    gateway = cluster.layout.topology.substations[0].gateway
    names = sorted(device.id for device in cluster.layout.topology.devices)
    order = orders(cluster, "inspect", gateway, "--wait", key=REGULATOR)
    assert order["answers"] == ", ".join(f"{name} read" for name in names)
    # the agent's figures are taken now and then, the order may have been answered since
    wait_until(
        lambda: agent_metric(cluster, gateway, "down_total", {"result": "order-taken"}) == 1,
        within_s=60,
        what="the agent to count the order",
    )
    (item,) = orders(cluster, "inspections", "--state", "answered")["items"]
    assert (item["id"], item["waiting"], item["gateway"]) == (order["order"], [], gateway)
    assert set(item["answers"]) == set(names)

    proof = folder / "gaps.cbor"
    check = ("gaps", "check", gateway, "--genesis", str(cluster.layout.genesis), "--json")
    asked = run_program("gridwitness", *check, "--node", cluster.layout.api_url(MEMBERS[1]), "--out", str(proof))
    assert asked.returncode == 0, asked.stdout + asked.stderr
    offline = run_program("gridwitness", *check, "--file", str(proof))
    assert json.loads(offline.stdout) == json.loads(asked.stdout)
    assert json.loads(offline.stdout)["nothing_missing"] is True
