"""A whole cluster in one thread: faults for a while, then healing, then everything must come to an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from random import Random
from typing import Final

from master.consensus.events import Flawed
from master.consensus.message_checks import FlawedProposalError, verify_message
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import Gossip, Message
from master.consensus.state import Settings
from master.io.frames import FrameDecoder, FrameError
from tests.simulation.blobs import NAMING, content_of
from tests.simulation.disk import Disk
from tests.simulation.judge import BrokenError, Judge, demand
from tests.simulation.keys import KeyRing
from tests.simulation.liar import Liar
from tests.simulation.links import Connections
from tests.simulation.network import TWIN, Agenda, Network
from tests.simulation.node import Node
from tests.simulation.plan import UNDETECTED, Plan
from tests.simulation.real import AnyLedger, Members, RealLedger, close_ledgers, genesis_of
from tests.simulation.toy import Ledger
from tests.simulation.troubles import Troubles
from tests.simulation.verdicts import judge_ledgers
from wire.errors import WireError
from wire.genesis import Genesis

_CHECK_MS: Final = 100
_TAIL_MS: Final = 3_000
_JUMP_MS: Final = 6_000
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
        self._genesis: Genesis | None = None
        if plan.is_real:
            self._genesis = genesis_of(self._keys)
            self._keys.adopt(self._genesis)
            self._callers = Members(self._genesis, self._rng)
        members = [validator.member for validator in self._keys.validators.validators]
        self._rng.shuffle(members)
        silent, rest = members[: plan.silent], members[plan.silent :]
        evil = rest.pop(0) if plan.liar or plan.twins else None
        self.odd = min(rest) if plan.disk or plan.censor or plan.late else ""
        """Runs the real code, but its disk fails, or it leaves transactions out, or proposes late."""
        self._honest = sorted(rest)
        self._silent = frozenset(silent)
        self.lost: frozenset[str] = frozenset()
        # a machine that is rolled back with its guard may contradict itself; all else may not
        watched = frozenset(rest) - {self.odd if plan.disk in UNDETECTED else ""}
        self._judge = Judge(self._keys, watched, self._replayed())
        self._network = Network(plan, self._rng, self._agenda, self._deliver, self._judge.count)
        self.nodes: dict[str, Node] = {}
        self.links = Connections(self._rng, self._agenda, self._network, self.nodes, self._judge.count)
        for member in self._honest:
            self.add_node(member, member)
        self._liar: Liar | None = None
        self._liar_member = ""
        if evil is not None and plan.twins:
            self.add_node(evil, evil)
            self.add_node(evil, evil + TWIN)
        elif evil is not None:
            self._liar_member = evil
            honest = [self.nodes[member] for member in self._honest]
            self._liar = Liar(evil, self._keys, honest, self._judge, self._rng)
            self._liar.names_ghosts = plan.blobs > 0
        self._members = sorted(set(members) - self._silent)
        self._given: list[bytes] = []
        self._decoded: dict[bytes, Message | Flawed | None] = {}
        self._trace = sha256()
        self.is_healed = False
        self._healing: tuple[str, ...] = tuple(self._honest)
        """Honest members that must come to an end after the faults."""
        self._troubles = Troubles(plan, self._rng, self._agenda, self._network, self._judge, self)

    def run(self) -> Outcome:
        """Live through the plan."""
        failure = None
        healed_ms = 0
        try:
            self._begin()
            self._agenda.run(self._plan.faults_ms + self._plan.outage_ms)
            self._heal()
            healed_ms = self._finish(self._plan.deadline_ms)
            if not self._is_locked():
                self._settle()
        except BrokenError as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 whatever the core dies of, its seed must be told
            failure = f"{type(error).__name__}: {error}"
        heights = [node.disk.ledger.head.height for node in self.nodes.values()]
        counts = dict(self._judge.counts)
        return Outcome(self._plan.seed, failure, self._trace.hexdigest(), max(heights), healed_ms, counts)

    # ---- what nodes see -----------------------------------------------------------------------

    def send(self, endpoint: str, member: str, message: Message) -> None:
        """Send to one member, to both of its twins."""
        if member == self._liar_member and self._liar is not None:
            answer = self._liar.hear(message)
            if answer is not None:
                self._network.send(member, endpoint, encode_message(answer))
            return
        raw = encode_message(message)
        for receiver in (member, member + TWIN):
            if receiver in self.nodes and receiver != endpoint:
                self._network.send(endpoint, receiver, raw)

    def others(self, endpoint: str) -> list[str]:
        """Return all other members that are not silent for ever."""
        return [member for member in self._members if member != endpoint.rstrip(TWIN)]

    def crashed(self, endpoint: str) -> None:
        """Let the others hear that a process is dead."""
        self.links.crashed(endpoint)

    # ---- inside -------------------------------------------------------------------------------

    def endpoints(self) -> list[str]:
        """Return all that the network reaches."""
        return sorted([*self.nodes, *filter(None, (self._liar_member,))])

    def add_node(self, member: str, endpoint: str, disk: Disk | None = None) -> None:
        """Take one more node in."""
        plan, rng = self._plan, self._rng
        settings = Settings(
            member=member,
            chain=self._keys.chain,
            epoch=self._keys.epoch,
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
        if disk is None:
            disk = Disk(self._new_ledger(member), member, rng)
        node = Node(endpoint, *self._seat(settings, disk), disk, self._judge)
        node.start_ms = self._keys.start_ms
        node.is_twin = plan.twins and member not in self._honest
        node.is_censor = plan.censor and member == self.odd
        node.is_late_leader = plan.late and member == self.odd
        if node.is_twin:
            self._judge.count("F26")
        node.join(self, self._agenda, plan, rng)
        self.nodes[endpoint] = node

    def _new_ledger(self, member: str) -> AnyLedger:
        return Ledger(self._keys.validators) if self._genesis is None else RealLedger(self._genesis, member)

    def _replayed(self) -> AnyLedger | None:
        """Return a ledger in which the judge replays who decides, None when that never changes."""
        return None

    def _seat(self, settings: Settings, disk: Disk) -> tuple[Settings, Callable[[bytes], bytes]]:
        """Return a node's settings and its way to sign."""
        del disk
        return settings, self._keys.signer(settings.member)

    def _deliver(self, sender: str, receiver: str, stream: bytes, is_spoiled: bool) -> None:  # noqa: FBT001
        node = self.nodes[receiver]
        self._trace.update(f"{self._agenda.now_ms} {sender} {receiver} ".encode() + sha256(stream).digest())
        try:
            frames = FrameDecoder().receive(stream)
        except FrameError:
            demand(is_spoiled, "an honest node's frame was refused")
            self.links.refused((sender, receiver))
            return
        for raw in frames:
            message = self._heard(node, raw, is_lie=is_spoiled or sender == self._liar_member)
            if message is not None:
                node.receive(sender.rstrip(TWIN), message)

    def _heard(self, node: Node, raw: bytes, *, is_lie: bool) -> Message | Flawed | None:
        """Return a message as a node's engine hands it on, None when it is refused."""
        del node
        return self._decode(raw, is_lie=is_lie)

    def _decode(self, raw: bytes, *, is_lie: bool) -> Message | Flawed | None:
        """Decode and verify; decoding is pure, so its results may be remembered."""
        if raw not in self._decoded:
            if len(self._decoded) > _CACHED:
                self._decoded.clear()
            try:
                message = decode_message(raw)
                verify_message(message, self._keys.chain, self._keys.validators, self._keys.verify)
                self._decoded[raw] = message
            except FlawedProposalError as error:
                self._decoded[raw] = Flawed(error.proposal, str(error))
            except WireError:
                self._decoded[raw] = None
        found = self._decoded[raw]
        demand(is_lie or not (found is None or isinstance(found, Flawed)), "an honest node's message was refused")
        return found

    def _begin(self) -> None:
        plan, rng = self._plan, self._rng
        for node in self.nodes.values():
            self._agenda.after(rng.randint(0, 300), node.start)
        self._every(plan.transaction_every_ms, self._client)
        self._every(_RESTART_MS // 2, self._restart)
        self._every(120, self._lie)
        self._troubles.begin()
        self.links.begin()

    def _every(self, mean_ms: int, call: Callable[[], None]) -> None:
        def again() -> None:
            call()
            self._agenda.after(self._rng.randint(1, 2 * mean_ms), again)

        self._agenda.after(self._rng.randint(1, 2 * mean_ms), again)

    def _client(self) -> None:
        up = [node for node in self.nodes.values() if node.is_up]
        if not up:
            return
        is_brief = self._plan.is_real and self._rng.random() < 0.3
        if self._plan.is_real:
            raw = self._callers.call(self._agenda.now_ms, is_brief=is_brief)
        else:
            raw = f"transaction {len(self._given)} {self._rng.random()}".encode()
            if self._plan.blobs and self._rng.random() < self._plan.blobs:
                raw = NAMING + raw
        if not is_brief:
            self._given.append(raw)
        if self._plan.reach_all and not raw.startswith(NAMING):
            self._judge.given(raw)
            for node in up:
                node.take_transaction(raw)
            return
        node = self._rng.choice(up)
        if raw.startswith(NAMING):
            node.take_blob(content_of(raw))
        node.take_transaction(raw)
        for member in self.others(node.endpoint):
            self.send(node.endpoint, member, Gossip((raw,)))

    def _restart(self) -> None:
        for endpoint, node in self.nodes.items():
            if not node.is_up and (self.is_healed or self._rng.random() < 0.5):
                self.boot(endpoint)

    def boot(self, endpoint: str) -> None:
        """Start a node, if it is down and comes back at all."""
        node = self.nodes[endpoint]
        if endpoint in self.lost or (self.is_healed and endpoint in self._network.broken):
            return
        if endpoint == self.odd and not node.is_up and not self.is_healed and self._rng.random() < 0.6:
            self._troubles.damage(node)
        if node.is_damaged and self._is_passed(node):
            node.disk.lose_log()  # as its refusal tells the operator: the others are past that height
        node.start()
        if self.is_healed:
            node.calm()
        for other in self.nodes.values():
            if other is not node and other.is_up:
                other.connected(node.settings.member)
                node.connected(other.settings.member)

    def _is_passed(self, node: Node) -> bool:
        heads = [other.disk.ledger.head.height for other in self.nodes.values() if other is not node]
        return max(heads, default=0) > node.disk.ledger.head.height

    def _lie(self) -> None:
        if self._liar is not None:
            for receiver, message in self._liar.lie():
                self._network.send(self._liar_member, receiver, encode_message(message))

    def _heal(self) -> None:
        self.is_healed = True
        self._choose_core()
        self._network.heal()
        for node in self.nodes.values():
            node.disk.raw.is_full = False
            node.disk.raw.misses = node.disk.raw.rots = 0
            if node.endpoint in self._network.broken:
                continue
            node.calm()
            node.clock_off_ms = self._rng.randint(-self._plan.clock_ms, self._plan.clock_ms)
            self._agenda.after(self._rng.randint(0, 1_000), partial(self.boot, node.endpoint))
        self._every(1_000, self._insist)

    def _choose_core(self) -> None:
        """Choose who heals: everybody, or a quorum of those who may vote, and the rest stays as it is or is gone."""
        self._healing = tuple(member for member in self._honest if member not in self.lost)
        quorum = self._keys.validators.quorum
        able = [node for node in map(self.nodes.__getitem__, self._healing) if node.endpoint != self.odd]
        able = [node for node in able if not (node.replica and (node.replica.quarantine or node.replica.is_halted))]
        if not self._plan.core or len(able) < quorum:
            return
        self._judge.count("only a quorum heals")
        chosen = self._rng.sample([node.endpoint for node in able], quorum)
        self._healing = tuple(sorted(chosen))
        self._network.broken = frozenset(self._honest) - frozenset(chosen)
        for endpoint in sorted(self._network.broken):
            if self.nodes[endpoint].is_up and self._rng.random() < 0.5:
                self.nodes[endpoint].crash()

    def _insist(self) -> None:
        """Clients repeat what is not final."""
        for node in self.core():
            for raw in self._given:
                node.take_transaction(raw)
        if self._plan.blobs:
            # to one node alone, and only if nobody has it any more: the others must fetch it
            held = {digest for node in self.core() for digest in node.disk.blobs}
            for content in (content_of(raw) for raw in self._given if raw.startswith(NAMING)):
                if sha256(content).digest() not in held:
                    self._rng.choice(self.core()).take_blob(content)

    def core(self) -> list[Node]:
        """Return those that must come to an end."""
        return [self.nodes[member] for member in self._healing if member not in self.lost]

    def _finish(self, deadline_ms: int) -> int:
        """Wait until every given transaction is final at every honest node.

        Raises:
            BrokenError: It takes too long.
        """
        start_ms = self._agenda.now_ms
        wanted = frozenset(self._given)
        while not all(node.is_up and wanted <= node.disk.ledger.done for node in self.core()):
            is_late = self._agenda.now_ms - start_ms >= deadline_ms
            if is_late and self._is_locked():
                self._judge.count("too few may vote")
                break
            self._judge.hold("L1", not is_late, f"stuck: {self._standing()}")
            self._agenda.run(self._agenda.now_ms + _CHECK_MS)
        return self._agenda.now_ms - start_ms

    def _is_locked(self) -> bool:
        """Tell whether a node that came late waits for others that are too few: organisations must unlock it."""
        locked = [node for node in self.core() if node.replica is None or node.replica.quarantine]
        quorum = max(self.core(), key=lambda node: node.disk.ledger.head.height).settings.validators.quorum
        return any(node.is_latecomer for node in locked) and len(self.core()) - len(locked) < quorum

    def _settle(self) -> None:
        """Views must not grow any more, and new work is done soon.

        Raises:
            BrokenError: They do, or it is not.
        """
        if self._plan.jumps:
            # a quorum of clocks was ahead: nothing is fresh before the others' clocks have passed the head's time
            self._agenda.run(self._agenda.now_ms + _JUMP_MS)
        begun = max(node.disk.ledger.head.height for node in self.core()) + 1
        able = {
            node.settings.member
            for node in self.core()
            if node.replica and not node.replica.quarantine and node.endpoint != self.odd
        }
        for node in self.core():
            node.view_max = 0
            node.has_dropped = False
            node.deposed.clear()
        known = {node.settings.member for node in self.core() if node.is_latecomer}
        self._agenda.run(self._agenda.now_ms + _TAIL_MS)
        # who came late and hears only now how far the others are is silent for a while
        able -= {node.settings.member for node in self.core() if node.is_latecomer} - known
        if any(node.has_dropped for node in self.core()):
            able.clear()  # a leader whose messages somebody dropped, or who dropped them itself, may be late
        for node in self.core():
            left = sorted({member for height, member in node.deposed if height > begun and member in able})
            self._judge.hold("L4 leaders", not left, f"{node.endpoint} leaves leaders that nothing ails: {left}")
        self._finish(self._plan.deadline_ms // 2)
        views = [node.view_max for node in self.core()]
        broken = self._plan.silent + len(self.lost) + self._plan.liar + self._plan.twins + bool(self.odd)
        broken += len(self._network.broken)
        self._judge.hold("L4", max(views) <= broken + 1, f"views keep growing: {views}")
        heights = {node.disk.ledger.head.height for node in self.core()}
        self._compare([node.disk.ledger for node in self.core()])
        self._judge.hold("L2", max(heights) - min(heights) <= 1 + _TAIL_MS // 1_000, f"nodes stay behind: {heights}")
        if self._plan.censors_alone:
            most = self._judge.censored_max
            self._judge.hold("L3", most <= self._plan.faults_max + 1, f"a transaction waited for {most} view changes")
        for node in self.core():
            is_odd = node.endpoint == self.odd
            demand(is_odd or not node.reports["vote-refused"], f"{node.endpoint} was refused: {node.reports}")
            is_sure = not (is_odd or node.is_latecomer)
            demand(not (is_sure and node.reports["quarantine"]), f"{node.endpoint} in quarantine: {node.reports}")
            demand(not node.reports["divergence"], f"{node.endpoint} diverged: {node.reports}")

    def _compare(self, ledgers: list[AnyLedger]) -> None:
        if self._genesis is None:
            self._judge.ended([ledger for ledger in ledgers if isinstance(ledger, Ledger)])
        else:
            real = [ledger for ledger in ledgers if isinstance(ledger, RealLedger)]
            judge_ledgers(self._judge, self._keys, self._genesis, real, self._rng)

    def _standing(self) -> str:
        return ", ".join(
            f"{node.endpoint} "
            + (
                f"head {node.replica.head.height} view {node.replica.view} pending {len(node.pending)}"
                if node.replica
                else "down"
            )
            for node in self.nodes.values()
        )


def run_plan(plan: Plan) -> Outcome:
    """Run one plan; what breaks is in the outcome."""
    try:
        if plan.members:
            from tests.simulation.reconfiguration import ChangingCluster  # noqa: PLC0415 it stands on this module

            return ChangingCluster(plan).run()
        return Cluster(plan).run()
    finally:
        close_ledgers()
