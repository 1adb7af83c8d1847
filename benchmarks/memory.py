"""Resident memory of the programs, children included, after the demo's story has run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.results import Result
from client.demo.cluster import open_cluster
from client.demo.narrator import Narrator
from client.demo.story import Story
from client.demo.tampering import DEMO_TAMPERING
from client.demo.topology import DEMO

SETTLE_S = 30


def measure() -> Sequence[Result]:
    """Run the demo's story, let everything go on for half a minute, then look."""
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name, open_cluster(Path(name) / "d", DEMO) as made:
        story = Story(made, Narrator(Console(quiet=True)))
        story.prepare()
        story.tamper(DEMO_TAMPERING)
        time.sleep(SETTLE_S)
        agents = [resident_mib(program.pid) for program in made.agents.values()]
        nodes = [resident_mib(program.pid) for program in made.nodes.values()]
    note = f"RSS with all children, largest of {{}}, {SETTLE_S} s after the demo's tampering"
    return (
        Result("agent", max(agents), "MiB", f"{note.format(len(agents))}; three devices each"),
        Result("full node", max(nodes), "MiB", note.format(len(nodes))),
    )


def resident_mib(pid: int) -> float:
    """Add up the resident memory of a process and all its descendants."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(float(member.memory_info().rss) for member in family) / 2**20
