"""Four full nodes under open load of notary transactions: rates, latencies, CPU, memory, and where the time goes.

python -m benchmarks.throughput [--rates N ...] [--seconds N] [--dead N] [--profile FOLDER] is for a quick look.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.load import Load, Offer, offer
from benchmarks.notary import SENDERS, Notes, key_of, with_senders
from benchmarks.results import Result, median
from benchmarks.times import shortened
from client.demo.cluster import Cluster, open_cluster
from client.demo.processes import wait_until
from client.demo.topology import MEMBERS, build_topology
from kit.files import read_bounded
from wire.genesis import GENESIS_BYTES_MAX, decode_genesis
from wire.tx import open_tx

SECONDS: Final = {200: 30, 1_000: 30, 1_600: 60, 2_000: 20, 3_000: 20}
"""How long each rate is offered; the last one is more than the nodes can take."""
WARM_UP: Final = (300, 3)
"""Rate and seconds of what is sent before anything is measured."""

_FLOOR_SIGNATURES: Final = 1_000
PROFILED: Final = (1_000, 20)
"""Rate and seconds of the load under which the nodes count."""

STEPS: Final = ("receive", "decode", "verify", "mempool", "propose", "vote", "execute", "store", "answer", "other")
"""As `benchmarks.profiled` books them, in the way of a transaction."""


@dataclass(frozen=True, slots=True)
class Run:
    """One rate on one cluster."""

    rate: int
    seconds: int
    load: Load
    cpu_us: float
    """CPU of all nodes together per committed transaction and node."""
    resident_mib: float
    """Of the largest node afterwards."""


@contextlib.contextmanager
def bench_cluster(
    folder: Path, profile: Path | None = None, prepare: Callable[[Cluster], None] = lambda _: None
) -> Iterator[tuple[Cluster, Notes]]:
    """Start four nodes whose genesis file has the senders' keys.

    Args:
        folder: For their files.
        profile: Where they write what their steps cost, if anywhere.
        prepare: Called once their files are written, before they start.
    """
    topology = build_topology((("place", "north"),), 1, "bench")
    with open_cluster(folder / "d", topology, devices=False) as cluster:
        path = cluster.layout.genesis
        genesis = with_senders(decode_genesis(read_bounded(path, bytes_max=GENESIS_BYTES_MAX)))
        path.write_bytes(genesis.encode())
        prepare(cluster)
        if profile is not None:
            profile.mkdir(parents=True, exist_ok=True)
            for member, program in cluster.nodes.items():
                module = (sys.executable, "-m", "benchmarks.profiled", str(profile / f"{member}.json"))
                program.command = (*module, *program.command[1:])
        cluster.start_broker()
        cluster.start_nodes()
        yield cluster, Notes(genesis.chain())


def run(cluster: Cluster, notes: Notes, rate: int, seconds: int) -> Run:
    """Offer one rate for so many seconds to all nodes that run."""
    return put(cluster, notes.sign(rate * seconds), rate)


def put(cluster: Cluster, transactions: Sequence[bytes], rate: int) -> Run:
    """Offer transactions at one rate to all nodes that run."""
    running = [member for member, program in cluster.nodes.items() if program.is_running()]
    urls = [cluster.layout.api_url(member) for member in running]
    before = _cpu_s(cluster, running)
    load = offer(Offer(transactions, rate, urls, urls[-1]))
    used_s = _cpu_s(cluster, running) - before
    resident = max(psutil.Process(cluster.nodes[member].pid).memory_info().rss for member in running)
    cpu_us = used_s / max(1, load.committed) / len(running) * 1e6
    return Run(rate, len(transactions) // rate, load, cpu_us, resident / 2**20)


def _cpu_s(cluster: Cluster, members: Sequence[str]) -> float:
    times = [psutil.Process(cluster.nodes[member].pid).cpu_times() for member in members]
    return sum(time.user + time.system for time in times)


def warm_up(cluster: Cluster, notes: Notes) -> None:
    """Let every code path run once and every sender have its entry."""
    rate, seconds = WARM_UP
    run(cluster, notes, rate, seconds)
    wait_until(lambda: cluster.wait_same_height() > 0, within_s=60, what="the warm-up")


def start_profile(folder: Path) -> None:
    """Let the nodes of a cluster that was started for it count from now on."""
    for member in MEMBERS:
        (folder / f"{member}.json.start").touch()
    time.sleep(0.5)


def rows(done: Run) -> Sequence[Result]:
    """Return the rows of one run."""
    load = done.load
    problems = f"; {dict(load.problems)}" if load.problems else ""
    lost = f"; {load.offered - load.committed} never stored" if load.committed < load.offered else ""
    note = (
        f"open load for {done.seconds} s, 500-byte transactions of {SENDERS} keys over HTTP to all nodes in turn, "
        f"new ledger, from due time to stored at one node, fsync on{lost}{problems}"
    )
    name = f"{done.rate}/s offered"
    return (
        Result(f"{name}: committed", load.rate, "tx/s", note),
        Result(f"{name}: latency p50", load.percentile_ms(0.5), "ms", note),
        Result(f"{name}: latency p95", load.percentile_ms(0.95), "ms", note),
        Result(f"{name}: latency worst", load.percentile_ms(1), "ms", note),
        Result(f"{name}: blocks", load.blocks / load.elapsed_s, "1/s", note),
        Result(f"{name}: CPU per transaction and node", done.cpu_us, "us", note),
        Result(f"{name}: largest node", done.resident_mib, "MiB", note),
    )


def measure(seconds: Mapping[int, int] = SECONDS) -> Mapping[int, Run]:
    """Offer each rate to a cluster of its own, whose ledger is new: what a block costs grows with the ledger.

    Args:
        seconds: How long, by rate; a test passes one short rate.
    """
    found: dict[int, Run] = {}
    for rate, duration in seconds.items():
        with (
            tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
            bench_cluster(Path(name)) as (cluster, notes),
        ):
            warm_up(cluster, notes)
            found[rate] = run(cluster, notes, rate, shortened(duration))
    return found


def saturation_rows(runs: Mapping[int, Run]) -> Sequence[Result]:
    """Say how much the nodes commit when they are offered more than they can take."""
    done = runs[max(runs)]
    note = f"committed while {done.rate}/s were offered and until all of it was stored; latency is what queues up"
    return (Result("saturation", done.load.rate, "tx/s", note),)


def floor_rows() -> Sequence[Result]:
    """Say what one signature costs, which every node must check for every transaction."""
    notes = Notes("bench-00000000")
    signed = [open_tx(raw) for raw in notes.sign(_FLOOR_SIGNATURES)]
    keys = [key_of(number).verify_key.encode() for number in range(_FLOOR_SIGNATURES)]
    used_us = []
    for entry, key in zip(signed, keys, strict=True):
        began_s = time.perf_counter()
        entry.verify(key)
        used_us.append((time.perf_counter() - began_s) * 1e6)
    check_us, cores = median(used_us), os.cpu_count() or 1
    note = f"median of {_FLOOR_SIGNATURES} signatures of 500-byte transactions, one thread"
    each = f"were checking signatures, {len(MEMBERS)} times each, all that {cores} cores did"
    return (
        Result("floor: one signature check", check_us, "us", note),
        Result("floor: signature checks alone", cores / len(MEMBERS) / check_us * 1e6, "tx/s", each),
    )


def measure_profile() -> Sequence[Result]:
    """Say where the nodes spend their CPU."""
    rate, seconds = PROFILED
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name:
        clocks = Path(name) / "clocks"
        with bench_cluster(Path(name), clocks) as (cluster, notes):
            warm_up(cluster, notes)
            start_profile(clocks)
            done = run(cluster, notes, rate, shortened(seconds))
        return profile_rows(clocks, done.load.committed)


def profile_rows(folder: Path, committed: int) -> Sequence[Result]:
    """Return microseconds per transaction and node by step, from what the nodes wrote to ``folder``."""
    spent: Counter[str] = Counter()
    files = sorted(folder.glob("*.json"))
    for path in files:
        spent.update(json.loads(path.read_text(encoding="utf-8")))
    note = f"where the CPU of a node goes, by clocks around its functions, {committed} transactions at {PROFILED[0]}/s"
    costs_us = {step: spent[step] / committed / len(files) / 1e3 for step in STEPS}
    found = [Result(f"profile: {step}", cost_us, "us/tx", note) for step, cost_us in costs_us.items()]
    return [*found, Result("profile: sum", sum(costs_us.values()), "us/tx", note)]


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=[1_500])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--dead", type=int, default=0)
    parser.add_argument("--profile", type=Path)
    chosen = parser.parse_args()
    committed = 0
    with (
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        bench_cluster(Path(name), chosen.profile) as (cluster, notes),
    ):
        for member in MEMBERS[: chosen.dead]:
            cluster.nodes[member].kill()
        warm_up(cluster, notes)
        if chosen.profile is not None:
            start_profile(chosen.profile)
        for rate in chosen.rates:
            done = run(cluster, notes, rate, chosen.seconds)
            committed += done.load.committed
            load = done.load
            print(
                f"{rate}/s: {load.rate:.0f} tx/s, "
                f"p50 {load.percentile_ms(0.5):.0f}, p95 {load.percentile_ms(0.95):.0f} ms, "
                f"{load.blocks / load.elapsed_s:.1f} blocks/s, {done.cpu_us:.0f} us/tx/node, "
                f"{done.resident_mib:.0f} MiB, "
                f"lost {load.offered - load.committed} "
                f"{dict(load.problems)}",
                flush=True,
            )
    if chosen.profile is not None:
        for row in profile_rows(chosen.profile, committed):
            print(f"{row.name:20} {row.value:8.1f} {row.unit}")


if __name__ == "__main__":
    main()
