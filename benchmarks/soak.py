"""Memory of four full nodes under steady load: how it grows. Takes the minutes that it is told, and one more."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from benchmarks import throughput
from benchmarks.load import Load
from benchmarks.notary import Notes
from benchmarks.results import Result
from client.demo.cluster import Cluster
from client.demo.topology import MEMBERS

MINUTES: Final = 30
RATE: Final = 200
SLICE_S: Final = 30
"""Transactions are signed and offered for so long at a time."""
SAMPLE_S: Final = 5.0
NOTES_EACH: Final = 8
"""Entries of the state that each sender writes over and over: what people store is no leak."""
SETTLED_PART: Final = 0.5
"""The first part of the run is left out of the slope: caches fill up to their bounds in it."""
MARKS: Final = 6
"""So often the largest node's memory is shown, so that one sees when it stops to grow."""


@dataclass(slots=True)
class Samples:
    """Private resident memory of one node over time."""

    at_s: list[float] = field(default_factory=list)
    kib: list[float] = field(default_factory=list)

    def settled(self) -> Samples:
        """Return the samples behind the first half."""
        start = int(len(self.at_s) * SETTLED_PART)
        return Samples(self.at_s[start:], self.kib[start:])

    def slope(self) -> float:
        """Return the growth in KiB a minute, by least squares; 0 for less than two samples."""
        count = len(self.at_s)
        if count < 2:
            return 0.0
        mean_s, mean_kib = sum(self.at_s) / count, sum(self.kib) / count
        spread = sum((at_s - mean_s) ** 2 for at_s in self.at_s)
        shared = sum((at_s - mean_s) * (kib - mean_kib) for at_s, kib in zip(self.at_s, self.kib, strict=True))
        return 60 * shared / spread

    def at_mark(self, mark: int) -> float:
        """Return the memory in MiB when ``mark`` of `MARKS` equal parts of the run were over."""
        return self.kib[max(0, len(self.kib) * mark // MARKS - 1)] / 1024


def measure(minutes: float = MINUTES, rate: int = RATE) -> Sequence[Result]:
    """Offer a steady load to four nodes and watch their memory.

    Args:
        minutes: How long.
        rate: Transactions per second.
    """
    print(f"soak: takes {minutes + 1:g} minutes", flush=True)
    committed = offered = 0
    with (
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        throughput.bench_cluster(Path(name)) as (cluster, notes),
    ):
        notes.notes_max = NOTES_EACH
        throughput.warm_up(cluster, notes)
        with _watched(cluster) as watched:
            for load in _offer(cluster, notes, minutes, rate):
                committed, offered = committed + load.committed, offered + load.offered
    note = (
        f"{minutes:g} minutes of {rate}/s offered to a state that does not grow, "
        f"{committed:,} of {offered:,} transactions committed; "
        f"private memory every {SAMPLE_S:g} s (pages of the store's file are the system's to keep or drop), "
        "least squares over the second half"
    )
    slopes = {member: samples.settled().slope() for member, samples in watched.items()}
    found = [Result(f"memory of {member} grows by", slope, "KiB/min", note) for member, slope in slopes.items()]
    largest = max(max(samples.kib) for samples in watched.values())
    marks = []
    for mark in range(1, MARKS + 1):
        mib = max(samples.at_mark(mark) for samples in watched.values())
        marks.append(Result(f"largest node after {mark * minutes / MARKS:g} minutes", mib, "MiB", note))
    return (
        Result("memory grows by, worst node", max(slopes.values()), "KiB/min", note),
        *found,
        *marks,
        Result("largest node", largest / 1024, "MiB", note),
        Result("committed", 100 * committed / offered, "%", note),
    )


def _offer(cluster: Cluster, notes: Notes, minutes: float, rate: int) -> Iterator[Load]:
    ends_s = time.perf_counter() + 60 * minutes
    while (left_s := ends_s - time.perf_counter()) > 1:
        yield throughput.run(cluster, notes, rate, max(1, round(min(SLICE_S, left_s)))).load


@contextlib.contextmanager
def _watched(cluster: Cluster) -> Iterator[dict[str, Samples]]:
    """Sample the memory of all nodes until the block of code ends."""
    done, watched = threading.Event(), {member: Samples() for member in MEMBERS}
    processes = {member: psutil.Process(cluster.nodes[member].pid) for member in MEMBERS}

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            for member, process in processes.items():
                watched[member].at_s.append(time.perf_counter())
                seen = process.memory_info()
                watched[member].kib.append((seen.rss - seen.shared) / 1024)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        done.set()
        thread.join()
