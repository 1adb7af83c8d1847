"""One simulated full node: the real replica, a disk that survives crashes, and a shell that dies at any effect."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from kit.exitcodes import StorageError
from master.complaints import OldestWatch
from master.consensus.blob_messages import BlobPart, GetBlob
from master.consensus.events import (
    Accuse,
    Applied,
    Apply,
    Broadcast,
    Build,
    Built,
    Connected,
    Disconnected,
    Diverged,
    Effect,
    Event,
    Execute,
    Executed,
    Flawed,
    Now,
    Persist,
    Received,
    Report,
    Seal,
    Send,
    Tick,
    Wake,
)
from master.consensus.guard import SignerGuard
from master.consensus.messages import Blocks, GetBlocks, GetBody, Gossip, Message, Propose, Standing, Status
from master.consensus.records import decode_record
from master.consensus.replica import Replica
from master.consensus.state import Settings
from tests.simulation.blobs import NodeBlobs
from tests.simulation.disk import Disk
from tests.simulation.judge import Judge
from tests.simulation.network import Agenda
from tests.simulation.plan import Plan
from tests.simulation.real import AnyLedger, RealLedger
from tests.simulation.toy import GENESIS
from tests.simulation.waiting import Post, Waiting
from wire.block import Block
from wire.errors import WireError
from wire.tx import SignedTx

TICK_MS: Final = 100
EVENTS_MAX: Final = 20_000
_BLOCKS_PER_ANSWER: Final = 6
_GOSSIPED: Final = 100


class Node:
    """Runs one replica over its lives."""

    def __init__(
        self, endpoint: str, settings: Settings, sign: Callable[[bytes], bytes], disk: Disk, judge: Judge
    ) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.disk = disk
        self.replica: Replica | None = None
        self.pending: dict[bytes, None] = {}
        self.reports: Counter[str] = Counter()
        self.clock_off_ms = 0
        self.start_ms = GENESIS.time_ms
        self.is_censor = False
        self.is_twin = False
        self.is_late_leader = False
        """Sends a proposal just before the others lose patience."""
        self.is_damaged = False
        """Its log cannot be read: it stays down until the others are past the height."""
        self.is_latecomer = False
        """Others were ahead at its first start: it cannot know that its key has never voted."""
        self.is_serving = False
        """It stopped signing, and still answers what others want to read."""
        self.view_max = 0
        self.has_dropped = False
        """More events came than may wait."""
        self.deposed: list[tuple[int, str]] = []
        """Height and leader of every view that was left."""
        self._sign = sign
        self._judge = judge
        self._life = 0
        self._events: deque[Event] = deque()
        self._effects: deque[Effect] = deque()
        self._is_busy = False
        self._is_stepping = False
        self._written: tuple[bytes, ...] = ()
        self._sealed: SignerGuard | None = None
        self._wakes: set[int] = set()
        self._heads: dict[str, tuple[int, int]] = {}
        self.blobs = NodeBlobs(disk.blobs, judge)
        self._watch: OldestWatch
        self._fuse = 0
        self._boot_ms = 0

    def join(self, post: Post, agenda: Agenda, plan: Plan, rng: Random) -> None:
        """Take the surroundings; done once."""
        self._post, self._agenda, self._plan, self._rng = post, agenda, plan, rng

    @property
    def is_up(self) -> bool:
        """Tell whether the process runs."""
        return self.replica is not None

    def start(self) -> None:
        """Boot from what is on disk."""
        if self.is_up:
            return
        try:
            records = self.disk.boot()
        except (StorageError, WireError):
            self.is_damaged = True
            self._judge.count("log found damaged")
            return
        self.is_damaged = self.is_serving = False
        self._life += 1
        self._boot_ms = self._rng.randint(0, 10_000)
        self._watch = OldestWatch(Waiting(self.pending), self._may_stand, self._gossip, self)
        self._draw_fuse()
        self._go_by(self.disk.ledger)
        head, guard, nonce = self.disk.ledger.head, self.disk.guard, self._rng.randbytes(32)
        self.replica = Replica(self.settings, head, self._sign, self._now(), guard=guard, nonce=nonce)
        self._judge.booted(self.settings.member, self.disk.ledger, records, guard)
        self._effects.extend(self.replica.restore(records, self._now()))
        life = self._life
        self._agenda.after(self._rng.randint(0, TICK_MS), lambda: self._tick(life))
        self._pump()

    def _go_by(self, ledger: AnyLedger) -> None:
        """Take the validators of now, and the key that they name, from the ledger."""
        self.settings = replace(self.settings, epoch=ledger.epoch, validators=ledger.validators)
        self.disk.turn()

    def crash(self) -> None:
        """Lose everything but the disk; what was being written is there, in part, or not."""
        if self.disk.fail(self._written, self._sealed):
            self._judge.count("F16")
        if self.disk.raw.lied:
            self._judge.count("F17")
        if self.is_up or self.is_serving:
            self._post.crashed(self.endpoint)
        self._forget()

    def _forget(self) -> None:
        self._life += 1
        self.replica, self._is_busy, self._written, self._sealed = None, False, (), None
        self._events.clear()
        self._effects.clear()
        self._wakes.clear()
        self._heads.clear()
        self.pending.clear()
        self.blobs = NodeBlobs(self.disk.blobs, self._judge)

    def calm(self) -> None:
        """Crash no more."""
        self._fuse = 0

    def pause(self, duration_ms: int) -> bool:
        """Stand still, then go on with stale timers; return whether it does."""
        if not self.is_up or self._is_busy:
            return False
        self._is_busy = True
        self._later(duration_ms, self._resume)
        return True

    def take_transaction(self, raw: bytes, sender: str | None = None) -> None:
        """Let a transaction wait."""
        if not self.is_up or raw in self.disk.ledger.done:
            return
        if self.blobs.has_all([raw]):
            self.pending[raw] = None
        else:
            self.blobs.wait(raw, sender)

    def take_blob(self, content: bytes) -> None:
        """Store a blob that a client brings; what waited for it goes on."""
        self.blobs.take(content)
        self._go_on_with_blobs([])

    def now_ms(self) -> int:
        """Return the wall clock; this and the next implement `kit.clock.Clock`."""
        return self._now().wall_ms

    def monotonic_ms(self) -> int:
        """Return the clock that never jumps."""
        return self._now().monotonic_ms

    def connected(self, member: str) -> None:
        """Tell of a new connection."""
        if self.is_up and self.pending:
            self._post.send(self.endpoint, member, Gossip(tuple(self.pending)[:_GOSSIPED]))
        self._take(Connected(member))

    def disconnected(self, member: str) -> None:
        """Tell that no connection of a member is left."""
        self._take(Disconnected(member))

    def receive(self, sender: str, message: Message | Flawed) -> None:
        """Take a decoded and verified message, as the engine does."""
        if not self.is_up and not (self.is_serving and isinstance(message, GetBlocks)):
            return
        if isinstance(message, Flawed):
            self._judge.count("F28 new view of forged view changes")
            self._take(message)
        elif isinstance(message, Gossip):
            for raw in message.transactions:
                self.take_transaction(raw, sender)
        elif isinstance(message, GetBlocks):
            first = message.first_height - 1
            blocks = tuple(self.disk.ledger.blocks[first : first + _BLOCKS_PER_ANSWER])
            self._post.send(self.endpoint, sender, Blocks(blocks))
        elif isinstance(message, GetBlob | BlobPart):
            self._go_on_with_blobs(self.blobs.hear(sender, message, self._now()))
            self._ask_for_blobs()
        else:
            if self.is_twin and isinstance(message, Standing):
                message = replace(message, spoken=None)  # it does not want to know of its other self
            self._take(Received(sender, message))

    # ---- inside -------------------------------------------------------------------------------

    def _now(self) -> Now:
        now_ms = self._agenda.now_ms
        return Now(self.start_ms + now_ms + self.clock_off_ms, now_ms + self._boot_ms)

    def _draw_fuse(self) -> None:
        mean = self._plan.fuse_effects
        self._fuse = 1 + int(self._rng.expovariate(1 / mean)) if mean else 0

    def _burns(self, where: str) -> bool:
        """Tell whether the node dies at this boundary between effects."""
        self._fuse -= 1
        if self._fuse != 0:
            return False
        self._judge.count("crash")
        self._judge.count(f"F10 {where}")
        self.crash()
        return True

    def _later(self, delay_ms: int, call: Callable[[], None]) -> None:
        life = self._life

        def in_this_life() -> None:
            if life == self._life:
                call()

        self._agenda.after(delay_ms, in_this_life)

    def _tick(self, life: int) -> None:
        if life == self._life:
            self._drop_stale()
            self._ask_for_blobs()
            self._take(Tick(bool(self.pending), self._waiting_ms()))
            self._agenda.after(TICK_MS, lambda: self._tick(life))

    def _ask_for_blobs(self) -> None:
        self._go_on_with_blobs(self.blobs.tick(self._post.others(self.endpoint), self._now()))

    def _go_on_with_blobs(self, sent: list[Send]) -> None:
        for effect in sent:
            self._post.send(self.endpoint, effect.member, effect.message)
        for raw in self.blobs.entered():
            self.take_transaction(raw)
        for digest in self.blobs.held.released():
            self._take(Executed(digest, accepted=True))

    def _drop_stale(self) -> None:
        """Forget transactions that no block can hold any more, as the mempool's owner does."""
        ledger = self.disk.ledger
        if isinstance(ledger, RealLedger):
            time_ms = self._now().wall_ms
            for raw in [raw for raw in self.pending if not ledger.may_stand(raw, time_ms)]:
                del self.pending[raw]

    def _take(self, event: Event) -> None:
        if not self.is_up:
            return
        if len(self._events) >= self._plan.events_max and isinstance(event, Received | Tick | Connected | Disconnected):
            self._judge.count("F14 receiver")  # as the engine does: peers repeat what matters
            self.has_dropped = True
            return
        self._events.append(event)
        self._judge.hold("I14", len(self._events) <= EVENTS_MAX, "too many events wait")
        self._pump()

    def _resume(self) -> None:
        self._is_busy = False
        self._pump()

    def _pump(self) -> None:
        if self._is_stepping:
            return
        self._is_stepping = True
        while self.is_up and not self._is_busy and (self._effects or self._events):
            if self._effects:
                if not self._burns(f"before {type(self._effects[0]).__name__}"):
                    self._perform(self._effects.popleft())
            else:
                self._step(self._events.popleft())
        self._is_stepping = False

    def _step(self, event: Event) -> None:
        assert self.replica is not None
        now = self._now()
        if isinstance(event, Received) and isinstance(event.message, Status):
            self._heads[event.sender] = event.message.height - 1, now.monotonic_ms
        elif isinstance(event, Disconnected):
            self._heads.pop(event.member, None)
        height, view, leader = self.replica.head.height + 1, self.replica.view, self.replica.leader
        effects = self.replica.step(event, now)
        if self.replica.view > view and self.replica.head.height + 1 == height:
            self.deposed.append((height, leader))
        if not isinstance(event, Applied):
            self._judge.spoke(self.settings, height, self._fresh_heads(now), effects)
        self._effects.extend(effects)
        self._judge.stepped(self.replica, self.settings)
        self._judge.remembered(self.settings.member, self.replica, self._heads)
        self.view_max = max(self.view_max, self.replica.view)

    def _fresh_heads(self, now: Now) -> list[int]:
        since_ms = now.monotonic_ms - 3 * self.settings.status_interval_ms
        validators = self.settings.validators
        return [
            height
            for member, (height, at_ms) in self._heads.items()
            if at_ms >= since_ms and validators.find(member) is not None
        ]

    def _waiting_ms(self) -> int:
        """Tell for how long the oldest transaction has been the oldest; the real watch tells it to the others again."""
        return self._watch.waiting_ms()

    def _gossip(self, transactions: Sequence[bytes]) -> None:
        for member in self._post.others(self.endpoint):
            self._post.send(self.endpoint, member, Gossip(tuple(transactions)))

    def _may_stand(self, waiting: SignedTx) -> bool:
        ledger = self.disk.ledger
        return not isinstance(ledger, RealLedger) or ledger.may_stand(waiting.raw, self._now().wall_ms)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Persist() | Seal():
                self._write(effect)
            case Send():
                self._send(effect.member, effect.message)
            case Broadcast():
                self._broadcast(effect)
            case Build() | Execute() | Apply():
                self._work(effect)
            case Wake():
                self._wake(effect.at_ms)
            case Accuse() | Report():
                self._tell(effect)

    def _tell(self, effect: Accuse | Report) -> None:
        if isinstance(effect, Accuse):
            self._judge.accused(effect.proof)
            return
        code = effect.code
        if code == "quarantine" and "guard is new" in effect.detail:
            code, self.is_latecomer = "quarantine of a new guard", True
        self.reports[code] += 1
        self._judge.reported(replace(effect, code=code))

    def _broadcast(self, effect: Broadcast) -> None:
        if self.is_late_leader and isinstance(effect.message, Propose):
            self._judge.count("F30 late leader")
            late_ms = self.settings.timeout_ms * 9 // 10
            for member in self._post.others(self.endpoint):
                self._later(late_ms, lambda member=member: self._send(member, effect.message))  # type: ignore[misc]
            return
        assert self.replica is not None
        self.blobs.says(effect.message, self.replica._height.bodies)
        for member in self._post.others(self.endpoint):
            self._send(member, effect.message)
            if self._burns("in mid-send"):
                return

    def _send(self, member: str, message: Message) -> None:
        self._judge.sent(self.settings.member, message)
        if isinstance(message, GetBody) and self.replica is not None and self.replica.view:
            self._judge.count("body fetched after NEW-VIEW")
        self._post.send(self.endpoint, member, message)

    def _write(self, effect: Persist | Seal) -> None:
        if isinstance(effect, Persist):
            self._written = effect.records
        else:
            self._sealed = effect.guard
        self._is_busy = True
        self._later(self._rng.randint(0, self._plan.disk_ms), self._on_disk)

    def _on_disk(self) -> None:
        if self._burns("while writing"):
            return
        try:
            self._keep()
        except StorageError:
            self._stop_signing()
            return
        self._resume()

    def _stop_signing(self) -> None:
        """Take no more part, for the disk is full; go on serving what is stored."""
        self._judge.count("F20")
        self._forget()
        self.is_serving = True

    def _keep(self) -> None:
        """Let what is being written reach the disk.

        Raises:
            StorageError: The disk did not take it.
        """
        if self._written:
            self.disk.append(self._written)
        for raw in self._written:
            self._judge.persisted(self.settings.member, decode_record(raw))
        self._written = ()
        if self._sealed is not None:
            self.disk.seal(self._sealed)
            self._judge.sealed(self.settings.member, self._sealed)
            self._sealed = None

    def _wake(self, at_ms: int) -> None:
        if at_ms not in self._wakes:
            self._wakes.add(at_ms)
            self._later(at_ms - self._now().monotonic_ms, lambda: self._woken(at_ms))

    def _woken(self, at_ms: int) -> None:
        self._wakes.discard(at_ms)
        self._take(Tick(bool(self.pending), self._waiting_ms()))

    def _work(self, effect: Build | Execute | Apply) -> None:
        """Do what the application has to do, at once or after a while, alone or beside messages."""
        delay_ms = self._rng.randint(0, self._plan.work_ms)
        if self._plan.overlaps:
            self._later(delay_ms, lambda: self._worked(effect))
        else:
            self._is_busy = True
            self._later(delay_ms, lambda: self._worked(effect))

    def _worked(self, effect: Build | Execute | Apply) -> None:
        ledger = self.disk.ledger
        answer: Event
        match effect:
            case Build():
                answer = Built(effect.height, effect.view, self._build(effect))
            case Execute():
                answer = Executed(effect.block.header.digest(), ledger.accepts(effect.block))
                if answer.accepted and self.blobs.holds_back(effect.block):
                    self._ask_for_blobs()
                    self._answered(None)
                    return
            case Apply() if self.disk.raw.is_full:
                self._stop_signing()
                return
            case Apply():
                if not ledger.accepts(effect.block):
                    answer = Diverged(effect.block.header.height, "the roots differ")
                else:
                    assert self.disk.guard is not None
                    self._judge.applied(self.settings.member, ledger, self.disk.guard, effect.block, effect.certificate)
                    head = ledger.apply(effect.block, effect.certificate)
                    self._go_by(ledger)
                    self.blobs.applied(effect.block)
                    for raw in effect.block.transactions:
                        self.pending.pop(raw, None)
                    self._drop_stale()
                    answer = Applied(head, self._waiting_ms())
                    if self._burns("after Apply, before the log is cleared"):
                        return
                    self.disk.wal.clear()
                    self._wakes.clear()
        self._answered(answer)

    def _answered(self, answer: Event | None) -> None:
        if answer is not None and self._plan.overlaps:
            self._take(answer)
        elif answer is not None:
            self._step(answer)
        if not self._plan.overlaps:
            self._resume()

    def _build(self, build: Build) -> Block | None:
        ledger = self.disk.ledger
        if build.height != ledger.head.height + 1:
            return None
        pending = [raw for raw in self.pending if not self.is_censor or raw[-1] % 2]
        if len(pending) < len(self.pending):
            self._judge.count("F31")
        return ledger.build(build, self.settings.member, self._now().wall_ms, pending)
