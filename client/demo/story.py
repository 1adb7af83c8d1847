"""The demo's story: references, matching devices, tampering, the same alarms on four nodes, a restart, a proof."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from client.demo.cluster import Cluster
from client.demo.narrator import Narrator
from client.demo.processes import wait_until
from client.demo.references import register
from client.demo.tampering import Expected, Tampering, differences
from client.demo.topology import LABORATORY, MANUFACTURER, MEMBERS, REGULATOR
from client.demo.watch import AlarmWatch, Sighting
from client.node import Item
from client.proof import Proof, prove
from kit.exitcodes import DataError, TryAgainError
from kit.files import read_bounded, write_atomic
from wire.genesis import GENESIS_BYTES_MAX, decode_genesis

DETECTED_WITHIN_S: Final = 30.0
SETTLED_WITHIN_S: Final = 20.0
_MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Detection:
    """How long one alarm took to reach each node."""

    expected: Expected
    by_member_ms: dict[str, int]
    """From the tamper call to the event's arrival, by this machine's monotonic clock."""

    @property
    def last_ms(self) -> int:
        """Until the last node."""
        return max(self.by_member_ms.values())


@dataclass(slots=True)
class Result:
    """What a run of the story found."""

    detections: list[Detection] = field(default_factory=list)
    alarms: int = 0
    false_alarms: int = 0
    nodes: int = 0

    def summary(self) -> dict[str, int]:
        """Return the figures of the last line."""
        last_ms = [detection.last_ms for detection in self.detections]
        return {
            "alarms": self.alarms,
            "false_alarms": self.false_alarms,
            "nodes": self.nodes,
            "detect_ms_p50": round(statistics.median(last_ms)) if last_ms else 0,
            "detect_ms_max": max(last_ms, default=0),
        }


class Story:
    """Runs the demo step by step and tells it.

    Args:
        cluster: Nothing of it runs yet.
        narrator: Tells it.
    """

    def __init__(self, cluster: Cluster, narrator: Narrator) -> None:
        self.cluster = cluster
        self.result = Result()
        self._narrator = narrator

    def tell(self, plan: Sequence[Tampering]) -> None:
        """Run the whole story.

        Raises:
            GridwitnessError: Something is not as it must be.
        """
        self.prepare()
        self.tamper(plan)
        self._narrator.title("The same alarms everywhere")
        self.check(plan, "after the tampering")
        self.restart(plan)
        self.prove()
        self.finish()

    def prepare(self) -> None:
        """Start everything and wait until every node says that every device matches."""
        cluster, topology = self.cluster, self.cluster.layout.topology
        self._narrator.title("The consortium")
        self._narrator.say(
            f"{len(topology.substations)} substations of 220 kV with {len(topology.devices)} stability control "
            f"devices and {len(topology.substations)} gateways; {len(MEMBERS)} full nodes: {', '.join(MEMBERS)}"
        )
        self._narrator.say(f"{MANUFACTURER} makes the devices, {LABORATORY} tests them, {REGULATOR} approves")
        self._narrator.say(f"keys, certificates, configurations and logs are in {_relative(cluster.layout.folder)}")
        self._narrator.title("Programs start")
        with self._narrator.busy("starting the devices, the broker and the full nodes"):
            cluster.start_simulator()
            cluster.start_broker()
            cluster.start_nodes()
        status = cluster.status(MEMBERS[0])
        self._narrator.say(
            f"ledger {status['chain']}: {len(MEMBERS)} nodes are connected by TLS, the broker asks certificates"
        )
        self._narrator.title("Reference values, from the manufacturer's files")
        with self._narrator.busy("submitting and endorsing"):
            old = register(cluster, cluster.layout.old_releases())
            new = register(cluster, cluster.layout.new_releases())
        self._narrator.say(
            f"{len(old)} old and {len(new)} current releases submitted by {MANUFACTURER}, each endorsed by "
            f"{LABORATORY} and {REGULATOR}"
        )
        self._narrator.title("Gateways read their devices")
        with self._narrator.busy("reading every file of every device"):
            cluster.start_agents()
            cluster.wait_matched()
        self._narrator.say(
            f"all {len(topology.devices)} devices match, say all {len(MEMBERS)} nodes; each is read every second"
        )

    def tamper(self, plan: Sequence[Tampering]) -> None:
        """Do everything of the plan, one after the other, and wait for the alarms of each.

        Raises:
            TryAgainError: An alarm did not reach all nodes.
        """
        cluster = self.cluster
        height = cluster.wait_same_height()
        urls = {member: cluster.layout.api_url(member) for member in MEMBERS}
        # behind every event of the blocks so far
        with AlarmWatch(urls, str(height)) as watch:
            for step in plan:
                self._narrator.title(step.title)
                began_s = time.monotonic()
                changes = cluster.disturb(step.device, dict(step.action))
                self._narrator.say(step.describe(changes))
                for expected in step.expected:
                    found = watch.wait_raised(
                        expected.device, expected.cause, began_s, DETECTED_WITHIN_S, cluster.check
                    )
                    self._note(expected, found, began_s)

    def check(self, plan: Sequence[Tampering], when: str) -> None:
        """Ask each node's API: exactly the alarms that are due, and no others.

        Raises:
            DataError: A node says something else; the message says what.
        """
        expected = [due for step in plan for due in step.expected]
        for member in MEMBERS:
            self._check_member(member, expected, when)
        self.result.nodes = len(MEMBERS)
        untouched = len(self.cluster.layout.topology.devices) - len({due.device for due in expected})
        self._narrator.say(
            f"{when}, asked one by one: each of {len(MEMBERS)} nodes has exactly {len(expected)} alarms with the right "
            f"causes, and {untouched} device{'' if untouched == 1 else 's'} that match{'es' if untouched == 1 else ''}"
        )

    def restart(self, plan: Sequence[Tampering]) -> None:
        """Stop all full nodes, start them again and ask once more."""
        self._narrator.title("All full nodes restart")
        with self._narrator.busy("restarting"):
            self.cluster.restart_nodes()
        self.check(plan, "after the restart")

    def prove(self) -> Proof:
        """Fetch the report behind the first alarm and verify it offline, with the genesis file alone.

        Raises:
            WireError: It does not verify.
        """
        self._narrator.title("A proof for somebody who trusts nobody")
        member = MEMBERS[-1]
        alarm = min(self.cluster.alarms(member), key=lambda item: int(item["raised_height"]))
        with self.cluster.client(member) as client:
            raw = client.get_bytes(f"/v1/bundles/{alarm['opening_tx']}")
        path = self.cluster.layout.folder / "alarm.bundle"
        write_atomic(path, raw)
        genesis = decode_genesis(read_bounded(self.cluster.layout.genesis, bytes_max=GENESIS_BYTES_MAX))
        proof = prove(raw, genesis)
        raised = [event.subject for event in proof.receipt.outcome.events if event.type == "alarm_raised"]
        if not raised or proof.evidence is None:
            raise DataError(f"the report {alarm['opening_tx']} is proven, but raises no alarm")
        signers = proof.receipt.certificate.signers
        self._narrator.say(
            f"the report of {proof.evidence.gateway} that raised alarm {alarm['alarm_id']} is in block "
            f"{proof.receipt.header.height}, signed by {', '.join(signers)}"
        )
        command = f"{called('gridwitness')} verify {_relative(path)}"
        self._narrator.say(f"again by hand: {command} --genesis {_relative(self.cluster.layout.genesis)}")
        return proof

    def finish(self) -> None:
        """Show all detections in one table."""
        title = "Milliseconds from the tamper call to each node's alarm"
        look: dict[str, Any] = {"box": None, "pad_edge": False, "collapse_padding": True}
        table = Table(title=title, title_justify="left", header_style="bold", **look)
        for heading in ("device", "cause", *MEMBERS):
            table.add_column(heading, justify="right" if heading in MEMBERS else "left", no_wrap=True)
        for detection in self.result.detections:
            times = (str(detection.by_member_ms[member]) for member in MEMBERS)
            table.add_row(detection.expected.device, detection.expected.cause, *times)
        self._narrator.console.print()
        self._narrator.console.print(table)
        self._narrator.console.print()

    def _check_member(self, member: str, expected: Sequence[Expected], when: str) -> None:
        """Poll one node until it says what is due: an alarm may still be gaining an artefact."""
        wrong: list[str] = []
        alarms: list[Item] = []
        unexpected = 0

        def settled() -> bool:
            nonlocal unexpected
            self.cluster.check()
            alarms[:] = self.cluster.alarms(member)
            wrong[:], unexpected = differences(alarms, expected)
            devices = self.cluster.devices(member)
            due = dict.fromkeys(devices, "match") | {item.device: "alarm" for item in expected}
            wrong.extend(
                f"{name} is {devices[name]['state']}, {state} is due"
                for name, state in due.items()
                if devices[name]["state"] != state
            )
            return not wrong

        try:
            wait_until(settled, within_s=SETTLED_WITHIN_S, what=f"the right alarms at {member}")
        except TryAgainError as error:
            self.result.false_alarms = max(self.result.false_alarms, unexpected)
            raise DataError(f"{when} {member} is wrong: {'; '.join(wrong)}") from error
        self.result.alarms = len(alarms)

    def _note(self, expected: Expected, found: dict[str, Sighting], began_s: float) -> None:
        by_member_ms = {member: round((seen.at_s - began_s) * _MS_PER_S) for member, seen in found.items()}
        detection = Detection(expected, by_member_ms)
        self.result.detections.append(detection)
        times = ", ".join(f"{member} {by_member_ms[member]}" for member in MEMBERS)
        self._narrator.console.print(
            f"  [bold red]alarm[/] {expected.device}: [red]{expected.cause}[/] on all {len(found)} nodes after "
            f"[bold]{detection.last_ms} ms[/] [dim]({times})[/]",
            highlight=False,
            soft_wrap=True,
        )


def called(name: str) -> str:
    """Write how to call one of our programs from the working directory."""
    return str(_relative(Path(sys.executable).with_name(name)))


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
