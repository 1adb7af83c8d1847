"""A whole cluster in one thread: faults for a while, then healing, then everything must come to an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from random import Random
from typing import Final

from master.consensus.guard import SignerGuard
from master.consensus.message_checks import verify_message
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import Gossip, Message
from master.consensus.state import Settings
from tests.simulation.judge import BrokenError, Judge, demand
from tests.simulation.keys import KeyRing
from tests.simulation.liar import Liar
from tests.simulation.network import Agenda, Network
from tests.simulation.node import Disk, Node
from tests.simulation.plan import Plan
from tests.simulation.toy import CHAIN, EPOCH, Ledger
from wire.errors import WireError

_TWIN: Final = "+"
_CHECK_MS: Final = 100
_TAIL_MS: Final = 3_000
_CACHED: Final = 4_000
_RESTART_MS: Final = 2_500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    failure: str | None
    trace: str
    """Digest of all that was delivered, when and where to."""
    height: int
    healed_ms: int
    """Virtual time from healing to the end of all work."""
    counts: dict[str, int]


class Cluster:
    """One run of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = Random(f"run {plan.seed}")
        self._agenda = Agenda()
        self._keys = KeyRing(plan.size, is_keyed=plan.is_keyed)
        members = [validator.member for validator in self._keys.validators.validators]
        self._rng.shuffle(members)
        silent, rest = members[: plan.silent], members[plan.silent :]
        evil = rest.pop(0) if plan.liar or plan.twins else None
        self._odd = min(rest) if plan.disk or plan.censor else ""
        """Runs the real code, but its disk forgets, or it leaves transactions out."""
        self._honest = sorted(rest)
        self._silent = frozenset(silent)
        self._lost: frozenset[str] = frozenset()
        # a machine that is rolled back with its guard may contradict itself; all else may not
        watched = frozenset(rest) - {self._odd if plan.disk == "snapshot" else ""}
        self._judge = Judge(self._keys, watched, self._new_ledger())
        self._network = Network(plan, self._rng, self._agenda, self._deliver)
        self._nodes: dict[str, Node] = {}
        for member in self._honest:
            self._add_node(member, member)
        self._liar: Liar | None = None
        self._liar_member = ""
        if evil is not None and plan.twins:
            self._add_node(evil, evil)
            self._add_node(evil, evil + _TWIN)
        elif evil is not None:
            self._liar_member = evil
            honest = [self._nodes[member] for member in self._honest]
            self._liar = Liar(evil, self._keys.signer(evil), honest, self._judge, self._rng)
        self._members = sorted(set(members) - self._silent)
        self._given: list[bytes] = []
        self._decoded: dict[bytes, Message | None] = {}
        self._trace = sha256()
        self._is_healed = False
        self._snapshot: Disk | None = None

    def run(self) -> Outcome:
        """Live through the plan."""
        failure = None
        healed_ms = 0
        try:
            self._begin()
            self._agenda.run(self._plan.faults_ms + self._plan.outage_ms)
            self._heal()
            healed_ms = self._finish(self._plan.deadline_ms)
            self._settle()
        except BrokenError as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 whatever the core dies of, its seed must be told
            failure = f"{type(error).__name__}: {error}"
        heights = [node.disk.ledger.head.height for node in self._nodes.values()]
        counts = dict(self._judge.counts)
        return Outcome(self._plan.seed, failure, self._trace.hexdigest(), max(heights), healed_ms, counts)

    # ---- what nodes see -----------------------------------------------------------------------

    def send(self, endpoint: str, member: str, message: Message) -> None:
        """Send to one member, to both of its twins."""
        if member == self._liar_member and self._liar is not None:
            self._liar.hear(message)
            return
        raw = encode_message(message)
        for receiver in (member, member + _TWIN):
            if receiver in self._nodes and receiver != endpoint:
                self._network.send(endpoint, receiver, raw)

    def others(self, endpoint: str) -> list[str]:
        """Return all other members that are not silent for ever."""
        return [member for member in self._members if member != endpoint.rstrip(_TWIN)]

    # ---- inside -------------------------------------------------------------------------------

    def _add_node(self, member: str, endpoint: str) -> None:
        plan, rng = self._plan, self._rng
        settings = Settings(
            member=member,
            chain=CHAIN,
            epoch=EPOCH,
            validators=self._keys.validators,
            rotation_blocks=plan.rotation_blocks,
            block_interval_ms=30,
            heartbeat_ms=plan.heartbeat_ms,
            complain_ms=4_000,
            skew_ms=1_000,
            timeout_ms=plan.timeout_ms,
            timeout_max_ms=plan.timeout_max_ms,
            status_interval_ms=250,
            pull_after_ms=80,
            bodies_max=8,
        )
        disk = Disk(self._new_ledger())
        node = Node(endpoint, *self._seat(settings, disk), disk, self._judge)
        node.clock_off_ms = rng.randint(-plan.clock_ms, plan.clock_ms)
        node.is_twin = plan.twins and member not in self._honest
        node.is_censor = plan.censor and member == self._odd
        node.join(self, self._agenda, plan, rng)
        self._nodes[endpoint] = node

    def _new_ledger(self) -> Ledger:
        return Ledger(self._keys.validators)

    def _seat(self, settings: Settings, disk: Disk) -> tuple[Settings, Callable[[bytes], bytes]]:
        """Return a node's settings and its way to sign."""
        del disk
        return settings, self._keys.signer(settings.member)

    def _deliver(self, sender: str, receiver: str, raw: bytes) -> None:
        node = self._nodes[receiver]
        message = self._heard(node, raw, is_lie=sender == self._liar_member)
        self._trace.update(f"{self._agenda.now_ms} {sender} {receiver} ".encode() + sha256(raw).digest())
        if message is not None:
            node.receive(sender.rstrip(_TWIN), message)

    def _heard(self, node: Node, raw: bytes, *, is_lie: bool) -> Message | None:
        """Return a message as a node's engine hands it on, None when it is refused."""
        del node
        return self._decode(raw, is_lie=is_lie)

    def _decode(self, raw: bytes, *, is_lie: bool) -> Message | None:
        """Decode and verify; decoding is pure, so its results may be remembered."""
        if raw not in self._decoded:
            if len(self._decoded) > _CACHED:
                self._decoded.clear()
            try:
                message: Message | None = decode_message(raw)
                assert message is not None
                verify_message(message, CHAIN, self._keys.validators, self._keys.verify)
            except WireError:
                demand(self._plan.corrupted or is_lie, "an honest node's message was refused")
                message = None
            self._decoded[raw] = message
        return self._decoded[raw]

    def _begin(self) -> None:
        plan, rng = self._plan, self._rng
        for node in self._nodes.values():
            self._agenda.after(rng.randint(0, 300), node.start)
        self._every(plan.transaction_every_ms, self._client)
        self._every(_RESTART_MS // 2, self._restart)
        self._every(120, self._lie)
        for interval_ms, fault in ((plan.partition_every_ms, self._split), (plan.pause_every_ms, self._pause)):
            if interval_ms:
                self._every(interval_ms, fault)
        if plan.jumps:
            self._every(2_000, self._jump)
        if plan.outage_ms:
            self._agenda.after(rng.randint(1_000, plan.faults_ms // 2), self._outage)

    def _every(self, mean_ms: int, call: Callable[[], None]) -> None:
        def again() -> None:
            call()
            self._agenda.after(self._rng.randint(1, 2 * mean_ms), again)

        self._agenda.after(self._rng.randint(1, 2 * mean_ms), again)

    def _client(self) -> None:
        raw = f"transaction {len(self._given)} {self._rng.random()}".encode()
        up = [node for node in self._nodes.values() if node.is_up]
        if not up:
            return
        self._given.append(raw)
        if self._plan.reach_all:
            for node in up:
                node.take_transaction(raw)
            return
        node = self._rng.choice(up)
        node.take_transaction(raw)
        for member in self.others(node.endpoint):
            self.send(node.endpoint, member, Gossip((raw,)))

    def _restart(self) -> None:
        for endpoint, node in self._nodes.items():
            if not node.is_up and (self._is_healed or self._rng.random() < 0.5):
                self._boot(endpoint)

    def _boot(self, endpoint: str) -> None:
        node = self._nodes[endpoint]
        if endpoint in self._lost:
            return
        if endpoint == self._odd and not node.is_up and not self._is_healed and self._rng.random() < 0.6:
            self._damage(node.disk)
        node.start()
        if self._is_healed:
            node.calm()
        for other in self._nodes.values():
            if other is not node and other.is_up:
                other.connected(node.settings.member)
                node.connected(other.settings.member)

    def _damage(self, disk: Disk) -> None:
        kind, rng = self._plan.disk, self._rng
        if not kind:
            return
        self._judge.count(f"disk: {kind}")
        if kind == "torn":
            del disk.records[rng.choice((0, rng.randint(0, len(disk.records)))) :]
        elif kind == "guard":
            disk.guard = None
        elif kind == "erased":
            disk.guard = None
            disk.records.clear()
        elif kind == "backup":
            disk.ledger = disk.ledger.copy(rng.randint(0, disk.ledger.head.height))
            disk.records.clear()
            disk.guard = SignerGuard(is_restored=True)
        elif self._snapshot is None or rng.random() < 0.3:
            height = disk.ledger.head.height
            self._snapshot = Disk(disk.ledger.copy(height), disk.guard, list(disk.records))
        else:
            disk.ledger = self._snapshot.ledger.copy(self._snapshot.ledger.head.height)
            disk.guard, disk.records = self._snapshot.guard, list(self._snapshot.records)

    def _lie(self) -> None:
        if self._liar is not None:
            for receiver, message in self._liar.lie():
                self._network.send(self._liar_member, receiver, encode_message(message))

    def _split(self) -> None:
        if not self._is_healed:
            self._network.split(sorted([*self._nodes, *filter(None, (self._liar_member,))]))
            self._agenda.after(self._rng.randint(100, 4_000), self._network.blocked.clear)

    def _pause(self) -> None:
        if not self._is_healed:
            self._rng.choice(list(self._nodes.values())).pause(self._rng.randint(100, 5_000))

    def _jump(self) -> None:
        if not self._is_healed:
            node = self._rng.choice(list(self._nodes.values()))
            node.clock_off_ms = self._rng.randint(-5_000, 5_000)

    def _outage(self) -> None:
        """Fail the power everywhere, best when a block is prepared and not final; some never come back."""
        holders = [node for node in self._core() if node.replica and node.replica._height.prepared]
        if not holders and self._agenda.now_ms < self._plan.faults_ms - 2_000:
            self._agenda.after(2, self._outage)
            return
        self._judge.count("outage")
        if self._plan.lost:
            leaders = [node.replica.leader for node in holders if node.replica]
            honest = sorted(self._honest, key=lambda member: member not in leaders)
            self._lost = frozenset(honest[: self._plan.lost])
        for node in self._nodes.values():
            if node.is_up:
                node.crash()
        # what is on its way is lost with the power; time leaps, then all boot together
        self._agenda.now_ms += self._plan.outage_ms
        for endpoint in self._nodes:
            self._agenda.after(self._rng.randint(1, 500), partial(self._boot, endpoint))

    def _heal(self) -> None:
        self._is_healed = True
        self._network.is_healed = True
        self._network.blocked.clear()
        for node in self._nodes.values():
            node.calm()
            node.clock_off_ms = self._rng.randint(-self._plan.clock_ms, self._plan.clock_ms)
            self._agenda.after(self._rng.randint(0, 1_000), partial(self._boot, node.endpoint))
        self._every(1_000, self._insist)

    def _insist(self) -> None:
        """Clients repeat what is not final."""
        for node in self._core():
            for raw in self._given:
                node.take_transaction(raw)

    def _core(self) -> list[Node]:
        return [self._nodes[member] for member in self._honest if member not in self._lost]

    def _finish(self, deadline_ms: int) -> int:
        """Wait until every given transaction is final at every honest node.

        Raises:
            BrokenError: It takes too long.
        """
        start_ms = self._agenda.now_ms
        wanted = frozenset(self._given)
        while not all(node.is_up and wanted <= node.disk.ledger.done for node in self._core()):
            demand(self._agenda.now_ms - start_ms < deadline_ms, f"stuck: {self._standing()}")
            self._agenda.run(self._agenda.now_ms + _CHECK_MS)
        return self._agenda.now_ms - start_ms

    def _settle(self) -> None:
        """Views must not grow any more, and new work is done soon.

        Raises:
            BrokenError: They do, or it is not.
        """
        for node in self._core():
            node.view_max = 0
        self._agenda.run(self._agenda.now_ms + _TAIL_MS)
        self._finish(self._plan.deadline_ms // 2)
        views = [node.view_max for node in self._core()]
        broken = self._plan.silent + len(self._lost) + self._plan.liar + self._plan.twins + bool(self._odd)
        demand(max(views) <= broken + 1, f"views keep growing: {views}")
        heights = {node.disk.ledger.head.height for node in self._core()}
        demand(max(heights) - min(heights) <= 1 + _TAIL_MS // 1_000, f"nodes stay behind: {heights}")
        for node in self._core():
            is_odd = node.endpoint == self._odd
            demand(is_odd or not node.reports["vote-refused"], f"{node.endpoint} was refused: {node.reports}")
            demand(is_odd or not node.reports["quarantine"], f"{node.endpoint} in quarantine: {node.reports}")
            demand(not node.reports["divergence"], f"{node.endpoint} diverged: {node.reports}")

    def _standing(self) -> str:
        return ", ".join(
            f"{node.endpoint} "
            + (
                f"head {node.replica.head.height} view {node.replica.view} pending {len(node.pending)}"
                if node.replica
                else "down"
            )
            for node in self._nodes.values()
        )


def run_plan(plan: Plan) -> Outcome:
    """Run one plan; what breaks is in the outcome."""
    if plan.members:
        from tests.simulation.reconfiguration import ChangingCluster  # noqa: PLC0415 it stands on this module

        return ChangingCluster(plan).run()
    return Cluster(plan).run()
