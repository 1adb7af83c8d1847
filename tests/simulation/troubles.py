"""What goes wrong around the network while a run lasts: processes, clocks, power, disks and operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final, Protocol

from tests.simulation.disk import Disk
from tests.simulation.judge import Judge
from tests.simulation.links import Connections
from tests.simulation.network import TWIN, Agenda, Network
from tests.simulation.node import Node
from tests.simulation.plan import Plan
from wire import cbor

_DRIFT_MS: Final = 500
_STRANGE_MS: Final = 400
_FULL_MS: Final = 4_000
_WORTH_BLOCKS: Final = 2
"""Below this height a ledger has hardly begun: what a key signed in a store that was made anew nobody can know."""


class Stage(Protocol):
    """What troubles need of a cluster."""

    nodes: dict[str, Node]
    odd: str
    is_healed: bool
    lost: frozenset[str]
    links: Connections

    def boot(self, endpoint: str) -> None:
        """Start a node, if it is down."""

    def add_node(self, member: str, endpoint: str, disk: Disk | None = None) -> None:
        """Take one more node in."""

    def endpoints(self) -> list[str]:
        """Return all that the network reaches."""

    def core(self) -> list[Node]:
        """Return those that must come to an end."""


class Troubles:
    """Draws troubles until the cluster is healed."""

    def __init__(self, plan: Plan, rng: Random, agenda: Agenda, network: Network, judge: Judge, stage: Stage) -> None:
        self._plan, self._rng, self._agenda = plan, rng, agenda
        self._network, self._judge, self._stage = network, judge, stage
        self._snapshot: Disk | None = None
        self._drifts: dict[str, int] = {}
        self._newer: list[str] = []

    def begin(self) -> None:
        """Start what the plan asks for."""
        plan, rng = self._plan, self._rng
        mean = (
            (plan.partition_every_ms, self._split),
            (plan.pause_every_ms, self._pause),
            (plan.clog_every_ms, self._clog),
            (2_000 if plan.jumps else 0, self._jump),
            (_DRIFT_MS if plan.drift_ppm else 0, self._drift),
            (_FULL_MS if plan.disk == "full" else 0, self._fill),
            (1_500 if plan.disk == "missed" else 0, self._miss),
            (3_000 if plan.disk == "snapshot" else 0, self._keep),
        )
        for interval_ms, trouble in mean:
            if interval_ms:
                self.every(interval_ms, trouble)
        for node in self._stage.nodes.values():
            node.clock_off_ms = rng.randint(-plan.clock_ms, plan.clock_ms)
            self._drifts[node.endpoint] = rng.randint(-plan.drift_ppm, plan.drift_ppm)
            if node.clock_off_ms:
                self._judge.count("F13 skew")
        if plan.disk == "fsync":
            self._stage.nodes[self._stage.odd].disk.raw.lies = True
        if plan.disk == "clone":
            self._agenda.after(rng.randint(1_000, plan.faults_ms), self._clone)
        if plan.slow_ms:
            self._network.slow = rng.choice(sorted(self._stage.nodes))
        if plan.upgrade:
            self._upgrade()
        if plan.outage_ms:
            self._agenda.after(rng.randint(1_000, plan.faults_ms // 2), self._outage)

    def every(self, mean_ms: int, call: Callable[[], None]) -> None:
        """Do something again and again, until the cluster is healed."""

        def again() -> None:
            if not self._stage.is_healed:
                call()
                self._agenda.after(self._rng.randint(1, 2 * mean_ms), again)

        self._agenda.after(self._rng.randint(1, 2 * mean_ms), again)

    # ---- network ------------------------------------------------------------------------------

    def _split(self) -> None:
        self._network.split(self._stage.endpoints())
        self._stage.links.split()
        if not self._plan.flaps or self._rng.random() < 0.5:
            self._agenda.after(self._rng.randint(100, 4_000), self._network.blocked.clear)
            return
        self._judge.count("F6 flapping")
        links = set(self._network.blocked)
        for turn in range(self._rng.randint(2, 12)):
            self._agenda.after(turn * self._rng.randint(20, 400), partial(self._flap, links, turn))

    def _flap(self, links: set[tuple[str, str]], turn: int) -> None:
        self._network.blocked = links.copy() if turn % 2 and not self._stage.is_healed else set()

    def _clog(self) -> None:
        """Clog a random choice of links one after the other, and unclog them in another order."""
        rng, endpoints = self._rng, self._stage.endpoints()
        victims = rng.sample(endpoints, rng.randint(1, len(endpoints)))
        links = [(a, b) for a in victims for b in endpoints if a != b and rng.random() < 0.5]
        for link in rng.sample(links, len(links)):
            if not self._stage.is_healed:
                self._agenda.after(rng.randint(0, 300), partial(self._clog_one, link))
                self._agenda.after(rng.randint(400, 3_000), partial(self._network.unclog, link))

    def _clog_one(self, link: tuple[str, str]) -> None:
        if not self._stage.is_healed:
            self._network.clog(link)

    # ---- processes and clocks -----------------------------------------------------------------

    def _any(self) -> Node:
        return self._rng.choice(list(self._stage.nodes.values()))

    def _pause(self) -> None:
        if self._any().pause(self._rng.randint(100, 5_000)):
            self._judge.count("F12")

    def _jump(self) -> None:
        node, before_ms = self._any(), 0
        before_ms, node.clock_off_ms = node.clock_off_ms, self._rng.randint(-5_000, 5_000)
        self._judge.count("F13 jump back" if node.clock_off_ms < before_ms else "F13 jump")

    def _drift(self) -> None:
        self._judge.count("F13 drift")
        for node in self._stage.nodes.values():
            node.clock_off_ms += self._drifts.get(node.endpoint, 0) * _DRIFT_MS // 1_000_000

    def _upgrade(self) -> None:
        """Restart all, one after the other; whoever is newer says what the old ones do not know."""
        at_ms = self._rng.randint(500, 2_000)
        for endpoint in self._rng.sample(sorted(self._stage.nodes), len(self._stage.nodes)):
            self._agenda.after(at_ms, partial(self._replace, endpoint))
            at_ms += self._rng.randint(200, 1_500)
        self.every(_STRANGE_MS, self._speak_newer)

    def _replace(self, endpoint: str) -> None:
        if self._stage.is_healed:
            return
        self._judge.count("F11")
        self._stage.nodes[endpoint].crash()
        self._stage.boot(endpoint)
        self._newer.append(endpoint)

    def _speak_newer(self) -> None:
        strange: Sequence[bytes] = (
            cbor.encode({"type": "status-2", "height": 1, "load": 7}),
            cbor.encode({"type": "status", "height": 1, "view": 0, "phase": "new", "load": 7}),
        )
        for sender in self._newer:
            for receiver in self._stage.nodes:
                if receiver != sender:
                    self._network.send_strange(sender, receiver, self._rng.choice(strange))

    # ---- power and disks ----------------------------------------------------------------------

    def _outage(self) -> None:
        """Fail the power everywhere, best when a block is prepared and not final; some never come back."""
        plan, stage = self._plan, self._stage
        holders = [node for node in stage.core() if node.replica and node.replica._height.prepared]
        if not holders and self._agenda.now_ms < plan.faults_ms - 2_000:
            self._agenda.after(2, self._outage)
            return
        self._judge.count("outage")
        self._judge.count("F15")
        if plan.lost:
            leaders = [node.replica.leader for node in holders if node.replica]
            honest = sorted((node.endpoint for node in stage.core()), key=lambda member: member not in leaders)
            stage.lost = frozenset(honest[: plan.lost])
        for node in stage.nodes.values():
            if node.is_up:
                node.crash()
        # what is on its way is lost with the power; time leaps, then all boot together
        self._agenda.now_ms += plan.outage_ms
        for endpoint in stage.nodes:
            self._agenda.after(self._rng.randint(1, 500), partial(stage.boot, endpoint))

    def _fill(self) -> None:
        disk = self._stage.nodes[self._stage.odd].disk.raw
        disk.fill(is_full=True)
        self._agenda.after(self._rng.randint(500, 3_000), partial(disk.fill, is_full=False))

    def _miss(self) -> None:
        self._judge.count("F19")
        self._stage.nodes[self._stage.odd].disk.raw.misses = 1

    def _keep(self) -> None:
        self._snapshot = self._stage.nodes[self._stage.odd].disk.copy()

    def _clone(self) -> None:
        """Run all that is on one disk a second time, with the same key."""
        odd = self._stage.odd
        if self._stage.is_healed or odd + TWIN in self._stage.nodes:
            return
        self._judge.count("F23")
        self._stage.add_node(odd, odd + TWIN, self._stage.nodes[odd].disk.copy())
        self._stage.boot(odd + TWIN)

    def damage(self, node: Node) -> None:
        """Do to the disk of a node that is down what the plan says."""
        disk = node.disk
        kind, rng = self._plan.disk, self._rng
        if kind == "reformat" and disk.ledger.head.height < _WORTH_BLOCKS:
            return
        names = {
            "torn": "F17 log",
            "guard": "F22",
            "erased": "F22 and its log",
            "backup": "F21",
            "rot": "F18",
            "reformat": "F22 and its store",
        }
        match kind:
            case "torn":
                disk.lose_log_end()
            case "guard":
                disk.lose_guard()
            case "erased":
                disk.lose_guard()
                disk.lose_log()
            case "backup":
                disk.restore(rng.randint(0, disk.ledger.head.height))
            case "reformat":
                disk.reformat()
                self._judge.emptied(node.settings.member)
            case "rot":
                disk.raw.rots = rng.randint(1, 3)
            case "snapshot":
                self._roll_back(disk)
            case _:
                pass  # it happens while the node runs
        if kind in names:
            self._judge.count(names[kind])

    def _roll_back(self, disk: Disk) -> None:
        """Put back what was kept, guard and all."""
        if self._snapshot is None:
            return
        self._judge.count("F21 with its guard")
        older = self._snapshot.copy()
        disk.ledger, disk.raw.files = older.ledger, older.raw.files
        for file in disk.raw.files.values():
            file.disk = disk.raw
