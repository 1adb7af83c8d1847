"""The load benchmark in its shortest form: what it offers is committed, on four nodes as processes."""

from __future__ import annotations

from benchmarks import throughput
from benchmarks.load import DRAIN_S


def test_load_of_a_low_rate_is_committed_whole() -> None:
    runs = throughput.measure({50: 2})
    rows = {row.name: row for row in throughput.rows(runs[50])}
    assert rows["50/s offered: latency p95"].value < DRAIN_S * 1000, "what is lost counts as the longest wait"
    committed = rows["50/s offered: committed"]
    assert committed.unit == "tx/s"
    assert 10 < committed.value <= 50
    assert "{" not in committed.note, "nothing was refused"
