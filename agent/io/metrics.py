"""The figures of the gateway for Prometheus, all named ``gridwitness_agent_*``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.snapshot import DeviceSnapshot, Snapshot

PREFIX: Final = "gridwitness_agent_"
STATES: Final = ("not-yet-read", "protocol-error", "read", "unreachable")

_DEVICE_COUNTERS: Final = {
    "device_polls": ("Polls that ended.", "polls"),
    "device_rereads": ("Reads made to confirm a change.", "rereads"),
    "device_missed_polls": ("Polls that fell due while one was running or the device was away.", "missed"),
    "device_changes": ("Confirmed changes of content.", "changes"),
    "device_requests": ("Requests sent to the device.", "requests"),
    "device_read_bytes": ("Bytes of files read.", "bytes_read"),
    "device_busy": ("Busy answers.", "busy"),
    "device_connections": ("Connections made to the device.", "connections"),
}


class AgentCollector(Collector):
    """Shows the newest snapshot; it is frozen, so that the thread that serves it disturbs nothing.

    Args:
        newest: Gives the snapshot, None before the first.
    """

    def __init__(self, newest: Callable[[], Snapshot | None]) -> None:
        self._newest = newest

    def collect(self) -> Iterator[Metric]:
        """Give all metrics."""
        snapshot = self._newest()
        if snapshot is None:
            return
        yield from _devices(snapshot.devices)
        yield from _counters(snapshot)
        yield _gauge("outbox_items", "Reports without a receipt.", snapshot.outbox.items)
        yield _gauge("outbox_bytes", "Bytes of reports without a receipt.", snapshot.outbox.bytes)
        oldest_s = snapshot.outbox.oldest_age_ms / 1000
        yield _gauge("outbox_oldest_age_seconds", "Age of the oldest report without a receipt.", oldest_s)
        yield _gauge("broker_connected", "1 while the broker is connected.", int(snapshot.broker.is_connected))
        yield _gauge("block_height", "Height of the newest verified block.", snapshot.block.height)
        trust = snapshot.trust
        yield _gauge(
            "head_age_seconds", "Age of the newest verified block; 0 before it.", (trust.head_age_ms or 0) / 1000
        )
        yield _gauge("head_stale", "1 while the newest verified block is older than it may be.", int(trust.is_stale))
        yield _gauge("trust_expired", "1 while nothing is believed before an anchor is given.", int(trust.is_expired))
        yield _gauge("conflicts", "Pieces of evidence that validators signed contradictions.", trust.conflicts)
        offset_s = (snapshot.clock_offset_ms or 0) / 1000
        yield _gauge("clock_offset_seconds", "Own clock minus the ledger's time, where they disagree.", offset_s)
        yield _gauge("boot", "Number of this start of the gateway.", snapshot.boot)
        is_synchronised = int(snapshot.clock_grade == "synchronised")
        yield _gauge("clock_synchronised", "1 while the clock is known to be right.", is_synchronised)
        yield _gauge("warnings", "Warnings that `gridwitness-agent status` lists.", len(snapshot.warnings))


def _devices(devices: tuple[DeviceSnapshot, ...]) -> Iterator[Metric]:
    last_read = GaugeMetricFamily(
        f"{PREFIX}device_last_read_timestamp_seconds", "End of the last completed read.", labels=["device"]
    )
    oldest_read = GaugeMetricFamily(
        f"{PREFIX}device_oldest_read_timestamp_seconds",
        "Start of the oldest read that what is known of the device stands on.",
        labels=["device"],
    )
    duration = GaugeMetricFamily(f"{PREFIX}device_poll_seconds", "Length of the last poll.", labels=["device"])
    state = GaugeMetricFamily(f"{PREFIX}device_state", "1 for the device's state.", labels=["device", "state"])
    failures = CounterMetricFamily(f"{PREFIX}device_failures", "Failed polls.", labels=["device", "reason"])
    for device in devices:
        if device.last_read_ms is not None:
            last_read.add_metric([device.device], device.last_read_ms / 1000)
        if device.oldest_read_ms is not None:
            oldest_read.add_metric([device.device], device.oldest_read_ms / 1000)
        duration.add_metric([device.device], device.last_duration_ms / 1000)
        for name in STATES:
            state.add_metric([device.device, name], int(device.status == name))
        for reason, count in device.failures.items():
            failures.add_metric([device.device, reason], count)
    yield from (last_read, oldest_read, duration, state, failures)
    for name, (text, attribute) in _DEVICE_COUNTERS.items():
        counter = CounterMetricFamily(f"{PREFIX}{name}", text, labels=["device"])
        for device in devices:
            counter.add_metric([device.device], getattr(device, attribute))
        yield counter


def _counters(snapshot: Snapshot) -> Iterator[Metric]:
    reports = CounterMetricFamily(f"{PREFIX}reports", "Reports stored in the outbox.", labels=["cause"])
    for cause, count in snapshot.reports.items():
        reports.add_metric([cause], count)
    yield reports
    down = CounterMetricFamily(f"{PREFIX}down", "Items that came from the full nodes.", labels=["result"])
    for result, count in snapshot.down.items():
        down.add_metric([result], count)
    yield down
    published = CounterMetricFamily(f"{PREFIX}published", "Transactions sent.", labels=["kind"])
    published.add_metric(["first"], snapshot.broker.sent)
    published.add_metric(["resend"], snapshot.broker.resent)
    yield published
    for name, text, value in (
        ("reports_refused", "Reports that found no room or no disk.", snapshot.reports_refused),
        ("reports_left_out", "Unchanged reports that found no room in the outbox.", snapshot.left_out),
        ("broker_connects", "Connections to the broker.", snapshot.broker.connects),
        ("broker_failures", "Failed or lost connections to the broker.", snapshot.broker.failures),
    ):
        yield CounterMetricFamily(f"{PREFIX}{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, value=value)
