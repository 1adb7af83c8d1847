from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from agent.io.metrics import AgentCollector
from agent.snapshot import BlockSnapshot, BrokerSnapshot, DeviceSnapshot, OutboxSnapshot, Snapshot, TrustSnapshot
from tests.unit.agent.bench import NOW_MS

DEVICE = DeviceSnapshot(
    device="sps-1",
    status="read",
    last_read_ms=NOW_MS,
    oldest_read_ms=NOW_MS - 3_600_000,
    item="00",
    has_receipt=True,
    last_error="",
    last_duration_ms=250,
    polls=7,
    rereads=2,
    missed=6,
    changes=1,
    failures={"timeout": 3},
    requests=4000,
    bytes_read=300_000,
    busy=5,
    connections=2,
)
SNAPSHOT = Snapshot(
    gateway="gw-1",
    chain="sample-00000000",
    version="1",
    pid=1,
    boot=3,
    time_ms=NOW_MS,
    clock_grade="synchronised",
    clock_source="system",
    clock_offset_ms=-1500,
    is_running=True,
    devices=(DEVICE, replace(DEVICE, device="sps-2", status="not-yet-read", last_read_ms=None, oldest_read_ms=None)),
    outbox=OutboxSnapshot(items=4, bytes=5000, oldest_age_ms=1500),
    broker=BrokerSnapshot("b:1", is_connected=True, connects=2, failures=1, sent=9, resent=6, last_error=""),
    block=BlockSnapshot(42, "00"),
    trust=TrustSnapshot(is_expired=True, head_age_ms=95_000, is_stale=True, head_age_ms_max=90_000, conflicts=2),
    reports={"boot": 1, "change": 3},
    reports_refused=1,
    left_out=2,
    down={"settled": 8, "malformed": 1},
    warnings=("look here",),
)


def shown(snapshot: Snapshot | None) -> list[str]:
    registry = CollectorRegistry()
    registry.register(AgentCollector(lambda: snapshot))
    return generate_latest(registry).decode().splitlines()


def test_metrics_show_what_the_snapshot_holds() -> None:
    lines = shown(SNAPSHOT)
    for line in (
        'gridwitness_agent_device_last_read_timestamp_seconds{device="sps-1"} 1.79e+09',
        'gridwitness_agent_device_oldest_read_timestamp_seconds{device="sps-1"} 1.7899964e+09',
        'gridwitness_agent_device_poll_seconds{device="sps-1"} 0.25',
        'gridwitness_agent_device_state{device="sps-1",state="read"} 1.0',
        'gridwitness_agent_device_state{device="sps-1",state="unreachable"} 0.0',
        'gridwitness_agent_device_state{device="sps-2",state="not-yet-read"} 1.0',
        'gridwitness_agent_device_failures_total{device="sps-1",reason="timeout"} 3.0',
        'gridwitness_agent_device_polls_total{device="sps-1"} 7.0',
        "gridwitness_agent_head_age_seconds 95.0",
        "gridwitness_agent_head_stale 1.0",
        "gridwitness_agent_trust_expired 1.0",
        "gridwitness_agent_conflicts 2.0",
        "gridwitness_agent_clock_offset_seconds -1.5",
        'gridwitness_agent_device_rereads_total{device="sps-1"} 2.0',
        'gridwitness_agent_device_missed_polls_total{device="sps-1"} 6.0',
        'gridwitness_agent_device_changes_total{device="sps-1"} 1.0',
        'gridwitness_agent_device_requests_total{device="sps-1"} 4000.0',
        'gridwitness_agent_device_read_bytes_total{device="sps-1"} 300000.0',
        'gridwitness_agent_device_busy_total{device="sps-1"} 5.0',
        'gridwitness_agent_device_connections_total{device="sps-1"} 2.0',
        'gridwitness_agent_reports_total{cause="change"} 3.0',
        'gridwitness_agent_down_total{result="malformed"} 1.0',
        'gridwitness_agent_published_total{kind="first"} 9.0',
        'gridwitness_agent_published_total{kind="resend"} 6.0',
        "gridwitness_agent_reports_refused_total 1.0",
        "gridwitness_agent_reports_left_out_total 2.0",
        "gridwitness_agent_broker_connects_total 2.0",
        "gridwitness_agent_broker_failures_total 1.0",
        "gridwitness_agent_outbox_items 4.0",
        "gridwitness_agent_outbox_bytes 5000.0",
        "gridwitness_agent_outbox_oldest_age_seconds 1.5",
        "gridwitness_agent_broker_connected 1.0",
        "gridwitness_agent_block_height 42.0",
        "gridwitness_agent_boot 3.0",
        "gridwitness_agent_clock_synchronised 1.0",
        "gridwitness_agent_warnings 1.0",
    ):
        assert line in lines


def test_device_that_was_never_read_has_no_time_of_its_last_read() -> None:
    assert not any("last_read" in line and "sps-2" in line for line in shown(SNAPSHOT))


def test_metrics_before_the_first_snapshot_show_nothing() -> None:
    assert shown(None) == []
