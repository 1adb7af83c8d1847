"""One simulated full node: the real replica, a disk that survives crashes, and a shell that dies at any effect."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, Protocol

from master.consensus.events import (
    Accuse,
    Applied,
    Apply,
    Broadcast,
    Build,
    Built,
    Connected,
    Diverged,
    Effect,
    Event,
    Execute,
    Executed,
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
from master.consensus.messages import Blocks, GetBlocks, Gossip, Message, Standing, Status
from master.consensus.records import decode_record
from master.consensus.replica import Replica
from master.consensus.state import Settings
from tests.simulation.judge import Judge
from tests.simulation.network import Agenda
from tests.simulation.plan import Plan
from tests.simulation.toy import GENESIS, Ledger
from wire.block import Block

TICK_MS: Final = 100
EVENTS_MAX: Final = 20_000
_BLOCKS_PER_ANSWER: Final = 6


class Post(Protocol):
    """What a node sees of the cluster."""

    def send(self, endpoint: str, member: str, message: Message) -> None:
        """Send to one member."""

    def others(self, endpoint: str) -> list[str]:
        """Return the other members."""


@dataclass
class Disk:
    """What is left after a crash."""

    ledger: Ledger
    guard: SignerGuard | None = field(default_factory=SignerGuard)
    records: list[bytes] = field(default_factory=list)


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
        self.is_censor = False
        self.is_twin = False
        self.view_max = 0
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
        self._oldest: tuple[bytes | None, int] = None, 0
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
        self._life += 1
        self._boot_ms = self._rng.randint(0, 10_000)
        self._draw_fuse()
        self._go_by(self.disk.ledger)
        head, guard, nonce = self.disk.ledger.head, self.disk.guard, self._rng.randbytes(32)
        self.replica = Replica(self.settings, head, self._sign, self._now(), guard=guard, nonce=nonce)
        records = [decode_record(raw) for raw in self.disk.records]
        self._effects.extend(self.replica.restore(records, self._now()))
        life = self._life
        self._agenda.after(self._rng.randint(0, TICK_MS), lambda: self._tick(life))
        self._pump()

    def _go_by(self, ledger: Ledger) -> None:
        self.settings = replace(self.settings, epoch=ledger.epoch, validators=ledger.validators)

    def crash(self) -> None:
        """Lose everything but the disk; what was being written is there or is not."""
        if self._is_busy and self._rng.random() < 0.5:
            self._keep()
        self._life += 1
        self.replica, self._is_busy, self._written, self._sealed = None, False, (), None
        self._events.clear()
        self._effects.clear()
        self._wakes.clear()
        self._heads.clear()
        self.pending.clear()

    def calm(self) -> None:
        """Crash no more."""
        self._fuse = 0

    def pause(self, duration_ms: int) -> None:
        """Stand still, then go on with stale timers."""
        if self.is_up and not self._is_busy:
            self._is_busy = True
            self._later(duration_ms, self._resume)

    def take_transaction(self, raw: bytes) -> None:
        """Let a transaction wait."""
        if self.is_up and raw not in self.disk.ledger.done:
            self.pending[raw] = None

    def connected(self, member: str) -> None:
        """Tell of a new connection."""
        self._take(Connected(member))

    def receive(self, sender: str, message: Message) -> None:
        """Take a decoded and verified message, as the engine does."""
        if not self.is_up:
            return
        if isinstance(message, Gossip):
            for raw in message.transactions:
                self.take_transaction(raw)
        elif isinstance(message, GetBlocks):
            first = message.first_height - 1
            blocks = tuple(self.disk.ledger.blocks[first : first + _BLOCKS_PER_ANSWER])
            self._post.send(self.endpoint, sender, Blocks(blocks))
        else:
            if self.is_twin and isinstance(message, Standing):
                message = replace(message, spoken=None)  # it does not want to know of its other self
            self._take(Received(sender, message))

    # ---- inside -------------------------------------------------------------------------------

    def _now(self) -> Now:
        now_ms = self._agenda.now_ms
        return Now(GENESIS.time_ms + now_ms + self.clock_off_ms, now_ms + self._boot_ms)

    def _draw_fuse(self) -> None:
        mean = self._plan.fuse_effects
        self._fuse = 1 + int(self._rng.expovariate(1 / mean)) if mean else 0

    def _burns(self) -> bool:
        """Tell whether the node dies at this boundary between effects."""
        self._fuse -= 1
        if self._fuse != 0:
            return False
        self._judge.count("crash")
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
            self._take(Tick(bool(self.pending), self._waiting_ms()))
            self._agenda.after(TICK_MS, lambda: self._tick(life))

    def _take(self, event: Event) -> None:
        if self.is_up and len(self._events) < EVENTS_MAX:
            self._events.append(event)
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
                if not self._burns():
                    self._perform(self._effects.popleft())
            else:
                self._step(self._events.popleft())
        self._is_stepping = False

    def _step(self, event: Event) -> None:
        assert self.replica is not None
        now = self._now()
        if isinstance(event, Received) and isinstance(event.message, Status):
            self._heads[event.sender] = event.message.height - 1, now.monotonic_ms
        height = self.replica.head.height + 1
        effects = self.replica.step(event, now)
        if not isinstance(event, Applied):
            self._judge.spoke(self.settings, height, self._fresh_heads(now), effects)
        self._effects.extend(effects)
        self._judge.stepped(self.replica, self.settings)
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
        """Tell for how long the oldest transaction has been the oldest, as the real node does."""
        oldest = next(iter(self.pending), None)
        if oldest != self._oldest[0]:
            self._oldest = oldest, self._agenda.now_ms
        return 0 if oldest is None else self._agenda.now_ms - self._oldest[1]

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Persist() | Seal():
                self._write(effect)
            case Send():
                self._send(effect.member, effect.message)
            case Broadcast():
                for member in self._post.others(self.endpoint):
                    self._send(member, effect.message)
                    if self._burns():
                        return
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
        self.reports[effect.code] += 1
        if effect.code.startswith("quarantine"):
            self._judge.count(effect.code)

    def _send(self, member: str, message: Message) -> None:
        self._judge.sent(self.settings.member, message)
        self._post.send(self.endpoint, member, message)

    def _write(self, effect: Persist | Seal) -> None:
        if isinstance(effect, Persist):
            self._written = effect.records
        else:
            self._sealed = effect.guard
        self._is_busy = True
        self._later(self._rng.randint(0, self._plan.disk_ms), self._on_disk)

    def _on_disk(self) -> None:
        self._keep()
        self._resume()

    def _keep(self) -> None:
        """Let what is being written reach the disk."""
        for raw in self._written:
            self._judge.persisted(self.settings.member, decode_record(raw))
        self.disk.records.extend(self._written)
        self._written = ()
        if self._sealed is not None:
            self._judge.sealed(self.settings.member, self._sealed)
            self.disk.guard, self._sealed = self._sealed, None

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
            case Apply():
                if not ledger.accepts(effect.block):
                    answer = Diverged(effect.block.header.height, "the roots differ")
                else:
                    assert self.disk.guard is not None
                    self._judge.applied(ledger, self.disk.guard, effect.block, effect.certificate)
                    head = ledger.apply(effect.block, effect.certificate)
                    self._go_by(ledger)
                    for raw in effect.block.transactions:
                        self.pending.pop(raw, None)
                    answer = Applied(head, self._waiting_ms())
                    if self._burns():
                        return
                    self.disk.records.clear()
                    self._wakes.clear()
        if self._plan.overlaps:
            self._take(answer)
        else:
            self._step(answer)
            self._resume()

    def _build(self, build: Build) -> Block | None:
        ledger = self.disk.ledger
        if build.height != ledger.head.height + 1:
            return None
        pending = [raw for raw in self.pending if not self.is_censor or raw[-1] % 2]
        return ledger.build(build, self.settings.member, self._now().wall_ms, pending)
