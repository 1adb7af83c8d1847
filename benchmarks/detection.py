"""From the tamper call to the last node's alarm, with the demo's nine devices read every second."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.results import Result, median, percentile
from client.demo.cluster import open_cluster
from client.demo.narrator import Narrator
from client.demo.story import Story
from client.demo.tampering import DEMO_TAMPERING
from client.demo.topology import DEMO, MEMBERS

ROUNDS = 4


def measure() -> Sequence[Result]:
    """Tamper with five devices, restore them, and again; every alarm must reach all four nodes."""
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name, open_cluster(Path(name) / "d", DEMO) as made:
        story = Story(made, Narrator(Console(quiet=True)))
        story.prepare()
        phase = random.Random(1)
        for _ in range(ROUNDS):
            for step in DEMO_TAMPERING:
                # else each step would begin at the same point of the polls, just after the alarm before it
                time.sleep(phase.random())
                story.tamper([step])
            made.restore()
            made.wait_matched()
    last_ms = [float(detection.last_ms) for detection in story.result.detections]
    note = (
        f"{len(last_ms)} alarms, {len(DEMO.devices)} devices polled every second, from the tamper call to the last "
        f"of {len(MEMBERS)} nodes, one clock"
    )
    return (
        Result("detection p50", median(last_ms), "ms", note),
        Result("detection p95", percentile(last_ms, 0.95), "ms", note),
        Result("detection max", max(last_ms), "ms", note),
    )
