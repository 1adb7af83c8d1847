"""Virtual time, and a network that loses, doubles, reorders, delays, replays and splits."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.simulation.plan import Plan

_REMEMBERED: Final = 300
_HEALED_DELAY_MS: Final = 15
_TAIL_MS: Final = 5_000


class Agenda:
    """Virtual time: what happens next."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._entries: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Do ``call`` after at least 0 ms."""
        self._count += 1
        heapq.heappush(self._entries, (self.now_ms + max(0, delay_ms), self._count, call))

    def run(self, until_ms: int) -> None:
        """Let time pass up to and including ``until_ms``."""
        while self._entries and self._entries[0][0] <= until_ms:
            # after a leap of time what is overdue happens now
            time_ms, _, call = heapq.heappop(self._entries)
            self.now_ms = max(self.now_ms, time_ms)
            call()
        self.now_ms = max(self.now_ms, until_ms)


@dataclass
class Network:
    """Carries bytes between endpoints (nodes; twins are two endpoints of one member)."""

    plan: Plan
    rng: Random
    agenda: Agenda
    deliver: Callable[[str, str, bytes], None]
    """(sender endpoint, receiver endpoint, bytes)"""
    is_healed: bool = False
    blocked: set[tuple[str, str]] = field(default_factory=set)
    _old: list[tuple[str, str, bytes]] = field(default_factory=list)

    def send(self, sender: str, receiver: str, raw: bytes) -> None:
        """Carry one message, or not."""
        if self.is_healed:
            delay_ms = self.rng.randint(1, _HEALED_DELAY_MS)
            self.agenda.after(delay_ms, lambda: self.deliver(sender, receiver, raw))
            return
        rng, plan = self.rng, self.plan
        if (sender, receiver) in self.blocked or rng.random() < plan.loss:
            return
        if plan.replayed:
            self._replay(sender, receiver, raw)
        if rng.random() < plan.corrupted:
            place = rng.randrange(len(raw))
            raw = raw[:place] + bytes((raw[place] ^ (1 << rng.randrange(8)),)) + raw[place + 1 :]
        for _ in range(2 if rng.random() < plan.doubled else 1):
            self.agenda.after(self._delay_ms(), lambda: self.deliver(sender, receiver, raw))

    def split(self, endpoints: list[str]) -> None:
        """Block links in one of several shapes: two halves, one alone, one-way, or a few at random."""
        rng = self.rng
        shape = rng.choice(("halves", "alone", "deaf", "random"))
        if shape == "random":
            self.blocked = {(a, b) for a in endpoints for b in endpoints if rng.random() < 0.3}
            return
        size = 1 if shape == "alone" else rng.randint(1, max(1, len(endpoints) - 1))
        apart = set(rng.sample(endpoints, size))
        self.blocked = {(a, b) for a in endpoints for b in endpoints if a in apart and b not in apart}
        if shape != "deaf":
            self.blocked |= {(b, a) for a, b in self.blocked}

    def _delay_ms(self) -> int:
        if self.rng.random() < self.plan.tail:
            return self.rng.randint(0, _TAIL_MS)
        return 1 + int(self.rng.expovariate(1 / self.plan.delay_ms))

    def _replay(self, sender: str, receiver: str, raw: bytes) -> None:
        rng = self.rng
        if self._old and rng.random() < self.plan.replayed:
            old = rng.choice(self._old)
            self.agenda.after(self._delay_ms(), lambda: self.deliver(*old))
        if len(self._old) < _REMEMBERED:
            self._old.append((sender, receiver, raw))
        else:
            self._old[rng.randrange(_REMEMBERED)] = (sender, receiver, raw)
