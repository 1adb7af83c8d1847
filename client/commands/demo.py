"""gridwitness demo: the main job, end to end, on this machine."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from client.demo.cluster import Cluster, open_cluster
from client.demo.narrator import Narrator
from client.demo.pilot import Pilot
from client.demo.story import Story, called
from client.demo.tampering import DEMO_TAMPERING
from client.demo.topology import DEMO, MEMBERS
from client.demo.watch import AlarmWatch, Sighting
from kit.terminal import print_json

FOLDER: Final = Path("build/demo")
_CHECK_S: Final = 0.5


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="FOLDER", help="Where its files go; replaced if a demo made it.")
    ] = FOLDER,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Check everything, print a JSON summary as the last line, and end.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print nothing but the summary; implies --once.")] = False,
) -> None:
    """Tamper with simulated devices and watch four full nodes raise the same alarms.

    Starts nine devices in three substations, three gateways, a broker and four full nodes on this machine, all on free
    ports of the loopback address, and stops them at the end. With --once the exit code is 0 if each of the five devices
    that were tampered with has exactly one alarm with the right cause at each node, and no other device has one, also
    after a restart of all nodes; and if in chapter two, a pilot with the life of a release and ten errors of filling
    devices, none is missed and none invented.

    Example: gridwitness demo --once
    """
    console = Console(quiet=json)
    console.print("making the manufacturer's releases, keys, certificates and configurations", highlight=False)
    with open_cluster(folder, DEMO) as cluster:
        narrator = Narrator(console)
        story = Story(cluster, narrator)
        narrator.chapter("Chapter one: five devices are tampered with")
        story.tell(DEMO_TAMPERING)
        pilot = Pilot(cluster, narrator).tell()
        if not (once or json):
            stay(cluster, console)
    if once or json:
        print_json({**story.result.summary(), "pilot": pilot})


def stay(cluster: Cluster, console: Console) -> None:
    """Keep everything running, and show what the nodes raise, until Ctrl-C."""
    url = cluster.layout.api_url(MEMBERS[0])
    control = f"--control {cluster.layout.simulator_url}"
    healthy = cluster.layout.topology.devices[-1].id  # of all its files
    console.print(f"\n[bold]Everything keeps running until Ctrl-C. The API is at {url}[/]", highlight=False)
    for command in (
        f"{called('gridwitness-sim')} tamper {healthy} flip-byte {control}",
        f"{called('gridwitness-sim')} tamper {healthy} restore {control}",
        f"{called('gridwitness')} alarms list --node {url}",
        f"{called('gridwitness')} devices list --node {url}",
        f"curl {url}/v1/status",
    ):
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)
    console.print()
    with AlarmWatch(_urls(cluster), str(cluster.wait_same_height()), _Teller(console).tell):
        try:
            while True:
                cluster.check()
                time.sleep(_CHECK_S)
        except KeyboardInterrupt:
            console.print("stopping all programs", highlight=False)


def _urls(cluster: Cluster) -> dict[str, str]:
    return {member: cluster.layout.api_url(member) for member in MEMBERS}


class _Teller:
    """Prints an event once all nodes have shown it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._first_s: dict[str, float] = {}
        self._members: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def tell(self, seen: Sighting) -> None:
        """Take one sighting; called from several threads."""
        with self._lock:
            members = self._members.setdefault(seen.event_id, set())
            members.add(seen.member)
            first_s = self._first_s.setdefault(seen.event_id, seen.at_s)
            if members < set(MEMBERS):
                return
            del self._members[seen.event_id], self._first_s[seen.event_id]
        spread_ms = round((seen.at_s - first_s) * 1000)
        what = seen.type.replace("_", " ")
        self._console.print(
            f"  [bold red]{what}[/] {seen.device}: {seen.cause}, on all {len(MEMBERS)} nodes within {spread_ms} ms",
            highlight=False,
        )
