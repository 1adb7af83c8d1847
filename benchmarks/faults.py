"""Open load on four full nodes while one of them fails: dead all along, killed and started again, cut off for 5 s.

The node that fails leads when it is killed or cut off, which is the worst moment. Clients hand what a node does not
take to the next one. "Late" is a transaction that waited for more than a second; a fault is over when the last late one
is stored.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.load import LATE_S, Load, Offer, offer
from benchmarks.notary import Notes
from benchmarks.relay import Cuttable, relaying
from benchmarks.results import Result
from benchmarks.throughput import Run, bench_cluster, rows, run, warm_up
from benchmarks.times import shortened
from client.demo.cluster import Cluster
from client.demo.layout import Layout
from client.demo.ports import LOOPBACK, free_ports
from client.demo.processes import wait_until
from client.demo.topology import MEMBERS
from kit.http import NodeClient

RATE: Final = 1_000
"""Transactions per second that three of the nodes can commit, too."""
SECONDS: Final = 60
DEAD_RATE: Final = 1_600
DEAD_SECONDS: Final = 60
CUT_S: Final = 5.0
DOWN_S: Final = 5.0
"""From the kill to the start of the same node."""
_STRIKE_AT: Final = 0.2
"""Part of the load's time after which a node fails."""
_LEADS_WITHIN: Final = 0.6
"""Part of the load's time within which the node to cut off should lead; the lead moves on every hundred blocks."""
_POLL_S: Final = 0.05


@dataclass(slots=True)
class Fault:
    """What was done to which node, and when, by `time.perf_counter`."""

    member: str = ""
    led: bool = False
    began_s: float = 0.0
    ended_s: float = 0.0
    back_s: float = 0.0
    """When the node had the head of the others again."""


def measure(whole: Mapping[int, Run]) -> Sequence[Result]:
    """Measure all faults.

    Args:
        whole: Runs of a cluster without faults, by rate; the loss is told from them.
    """
    return (*measure_dead(whole), *measure_kill(), *measure_partition())


def measure_dead(whole: Mapping[int, Run]) -> Sequence[Result]:
    """Offer a rate to three nodes while the first, who would lead, is dead all along."""
    with _cluster() as (cluster, notes):
        cluster.nodes[MEMBERS[0]].kill()
        # the primary settles meanwhile
        warm_up(cluster, notes)
        done = run(cluster, notes, DEAD_RATE, shortened(DEAD_SECONDS))
    found = [replace(row, name=f"one node dead, {row.name}") for row in rows(done)]
    if DEAD_RATE in whole:
        loss = 100 * (1 - done.load.rate / whole[DEAD_RATE].load.rate)
        note = f"of the rate that four nodes commit at {DEAD_RATE}/s offered; once the primary has settled"
        found.append(Result("one node dead: loss", loss, "%", note))
    return found


def measure_kill() -> Sequence[Result]:
    """Kill the node that leads with SIGKILL under load, and start it again."""
    fault = Fault()

    def strike(cluster: Cluster, _until_s: float) -> None:
        fault.member, fault.led = str(cluster.status(MEMBERS[1])["leader"]), True
        program = cluster.nodes[fault.member]
        fault.began_s = time.perf_counter()
        program.kill()
        time.sleep(DOWN_S)
        fault.ended_s = time.perf_counter()
        program.start()
        program.wait_healthy()
        fault.back_s = _back(cluster, fault.member)

    with _cluster() as (cluster, notes):
        warm_up(cluster, notes)
        load = _struck(cluster, notes, strike)
    what = f"kill -9 of the leading node, started again after {DOWN_S:g} s"
    return _rows("kill -9 and restart", what, fault, load)


def measure_partition() -> Sequence[Result]:
    """Cut one node off from the others for five seconds under load, if it can be while it leads."""
    fault = Fault(member=MEMBERS[0])
    with _cut_off(fault.member) as (cluster, notes, relay):

        def strike(_: Cluster, until_s: float) -> None:
            with NodeClient([cluster.layout.api_url(MEMBERS[1])], CUT_S) as client:
                while not fault.led and time.perf_counter() < until_s:
                    fault.led = client.get_json("/v1/status")["leader"] == fault.member
                    time.sleep(_POLL_S)
            fault.began_s = time.perf_counter()
            relay.cut()
            time.sleep(CUT_S)
            relay.mend()
            fault.ended_s = time.perf_counter()
            fault.back_s = _back(cluster, fault.member)

        warm_up(cluster, notes)
        load = _struck(cluster, notes, strike)
    who = "the leading node" if fault.led else "a node that does not lead"
    what = f"{who} cut off from the others for {CUT_S:g} s by a relay; clients still reach it"
    return _rows("partition", what, fault, load)


@contextmanager
def _cluster() -> Iterator[tuple[Cluster, Notes]]:
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name, bench_cluster(Path(name)) as found:
        yield found


@contextmanager
def _cut_off(member: str) -> Iterator[tuple[Cluster, Notes, Cuttable]]:
    """Start a cluster in which all connections between one node and its peers go through a relay."""
    others = [other for other in MEMBERS if other != member]
    inward, *outward = free_ports(1 + len(others))
    relays: list[Cuttable] = []

    def divert(cluster: Cluster) -> None:
        layout = cluster.layout
        targets = {inward: layout.ports.peers[member]}
        for other, port in zip(others, outward, strict=True):
            targets[port] = layout.ports.peers[other]
            _replace_address(layout, other, member, inward)
            _replace_address(layout, member, other, port)
        relays.append(running.enter_context(relaying(targets)))

    with (
        ExitStack() as running,
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        bench_cluster(Path(name), prepare=divert) as (cluster, notes),
    ):
        yield cluster, notes, relays[0]


def _replace_address(layout: Layout, at: str, of: str, port: int) -> None:
    """Let a node's configuration say that another member listens on another port."""
    path = layout.node(at) / "node.toml"
    old, new = (f'{of} = "{LOOPBACK}:{number}"' for number in (layout.ports.peers[of], port))
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def _struck(cluster: Cluster, notes: Notes, strike: Callable[[Cluster, float], None]) -> Load:
    """Offer the load from another thread; the fault is this one's, since a child dies with its starter's thread."""
    seconds = shortened(SECONDS)
    transactions = notes.sign(RATE * seconds)
    urls = [cluster.layout.api_url(member) for member in MEMBERS]
    with ThreadPoolExecutor(1) as pool:
        began_s = time.perf_counter()
        offered = pool.submit(offer, Offer(transactions, RATE, urls, cluster.layout.api_url(MEMBERS[1])))
        time.sleep(seconds * _STRIKE_AT)
        strike(cluster, began_s + seconds * _LEADS_WITHIN)
        return offered.result()


def _back(cluster: Cluster, member: str) -> float:
    """Return when a node has stored what the others had stored at this moment."""
    others = [other for other in MEMBERS if other != member]
    due = max(int(cluster.status(other)["height"]) for other in others)
    wait_until(lambda: int(cluster.status(member)["height"]) >= due, within_s=60, what="the node to be back")
    return time.perf_counter()


def _rows(name: str, what: str, fault: Fault, load: Load) -> Sequence[Result]:
    lost = load.offered - load.committed
    problems = f"; clients met {dict(load.problems)}" if load.problems else ""
    note = f"{RATE}/s offered for {round(load.offered / RATE)} s, {what}; {lost} never stored{problems}"
    recovered_s = load.late_until_s(fault.began_s) - fault.began_s
    late = f"from the fault until the last transaction that waited longer than {LATE_S:g} s was stored"
    back = "from the end of the fault until the node had stored what the others had"
    return (
        Result(f"{name}: committed", load.rate, "tx/s", note),
        Result(f"{name}: latency p50", load.percentile_ms(0.5), "ms", note),
        Result(f"{name}: latency p95", load.percentile_ms(0.95), "ms", note),
        Result(f"{name}: latency worst", 1000 * max(wait_s for _, wait_s in load.waits), "ms", note),
        Result(f"{name}: time to recover", recovered_s, "s", late),
        Result(f"{name}: node back at the head", fault.back_s - fault.ended_s, "s", back),
    )
