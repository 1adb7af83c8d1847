"""Devices that answer garbage, too long, too short, late or never: their gateway says so and reads the others on."""

from __future__ import annotations

import pytest

from client.demo.cluster import Cluster
from client.demo.processes import wait_until
from client.demo.topology import MEMBERS
from tests.e2e.harness import agent_metric

NOTICED_WITHIN_S = 60.0


@pytest.mark.parametrize("fault", ["garbage", "too-long", "too-short", "late", "never"])
def test_sick_device_is_unreachable_and_no_alarm_and_disturbs_no_other(cluster: Cluster, fault: str) -> None:
    sick, well = (device.id for device in cluster.layout.topology.devices)
    member = MEMBERS[2]
    alarms = cluster.alarms(member)
    before_ms = int(cluster.devices(member)[well]["read_to_ms"])
    cluster.fault(sick, {"action": "set", "fault": fault, "delay_ms": 60_000})
    try:
        wait_until(
            lambda: cluster.devices(member)[sick]["state"] == "unreachable",
            within_s=NOTICED_WITHIN_S,
            what=f"{sick} to be unreachable",
        )
        # while one device keeps its gateway waiting, a change of the other is seen as quickly as ever
        cluster.tamper(well, {"action": "flip-byte", "artefact": "settings", "offset": 100})
        wait_until(lambda: cluster.devices(member)[well]["state"] == "alarm", within_s=60, what=f"the alarm of {well}")
        cluster.restore()
        wait_until(lambda: cluster.devices(member)[well]["state"] == "match", within_s=60, what=f"{well} to match")
    finally:
        cluster.fault(sick, {"action": "clear"})
        cluster.restore()
    cluster.wait_matched()
    new = [alarm for alarm in cluster.alarms(member) if alarm not in alarms]
    assert {(alarm["device"], alarm["cause"], alarm["state"]) for alarm in new} == {(well, "mismatch", "returned")}
    assert int(cluster.devices(member)[well]["read_to_ms"]) > before_ms


# holds FH-4
def test_gateway_hears_of_the_newest_block_without_a_receipt(cluster: Cluster) -> None:
    gateway = cluster.layout.topology.substations[0].gateway
    wait_until(
        lambda: agent_metric(cluster, gateway, "down_total", {"result": "header"}) > 0,
        within_s=120,  # a heartbeat, half a one, and a busy machine
        what="a header to come down",
    )
    assert agent_metric(cluster, gateway, "head_stale") == 0
    assert agent_metric(cluster, gateway, "trust_expired") == 0
