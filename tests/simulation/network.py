"""Virtual time, and a network that loses, doubles, reorders, delays, replays, clogs, throttles, spoils and splits."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from master.consensus.message_codec import MESSAGE_BYTES_MAX
from master.io.frames import frame
from tests.simulation.plan import Plan

_REMEMBERED: Final = 300
_HEALED_DELAY_MS: Final = 15
_TAIL_MS: Final = 5_000
_READER_QUEUE: Final = 100
"""Messages that wait for a slow reader before its peers' queues are full, too."""

TWIN: Final = "+"
"""Ends the name of a second endpoint of one member."""
Link = tuple[str, str]
"""(sender endpoint, receiver endpoint)"""


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
    """Carries frames between endpoints (nodes; twins are two endpoints of one member)."""

    plan: Plan
    rng: Random
    agenda: Agenda
    deliver: Callable[[str, str, bytes, bool], None]
    """(sender endpoint, receiver endpoint, bytes of the stream, whether they were spoiled on the way)"""
    count: Callable[[str], None]
    is_healed: bool = False
    broken: frozenset[str] = frozenset()
    """Endpoints whose links stay as bad as they were when the others heal."""
    blocked: set[Link] = field(default_factory=set)
    closed: set[Link] = field(default_factory=set)
    """Connections that have ended; what is on its way there is lost."""
    slow: str = ""
    """Endpoint that reads slowly."""
    _clogged: dict[Link, list[bytes]] = field(default_factory=dict)
    _free_ms: dict[Link | str, int] = field(default_factory=dict)
    """When a link with little bandwidth, or a slow reader, is done with what it has."""
    _old: list[tuple[str, str, bytes]] = field(default_factory=list)
    _newest: dict[Link, int] = field(default_factory=dict)

    def send(self, sender: str, receiver: str, raw: bytes) -> None:
        """Carry one message, or not."""
        stream = frame(raw)
        if self.is_healed and not {sender, receiver} & self.broken:
            self._later(sender, receiver, stream, self.rng.randint(1, _HEALED_DELAY_MS))
            return
        rng, plan, link = self.rng, self.plan, (sender, receiver)
        if link in self.blocked:
            return
        if rng.random() < plan.loss:
            self.count("F1")
            return
        if plan.replayed:
            self._replay(sender, receiver, stream)
        if link in self._clogged:
            self._clogged[link].append(stream)
            return
        if plan.spoiled and rng.random() < plan.spoiled:
            self._later(sender, receiver, self._spoil(raw), self._delay_ms(), is_spoiled=True)
            return
        is_doubled = rng.random() < plan.doubled
        if is_doubled:
            self.count("F2")
        for _ in range(2 if is_doubled else 1):
            waiting_ms = self._queue_ms(link, len(stream))
            if waiting_ms is not None:
                self._later(sender, receiver, stream, waiting_ms + self._delay_ms())

    def send_strange(self, sender: str, receiver: str, raw: bytes) -> None:
        """Carry what newer software says, to those who need not understand it."""
        if (sender, receiver) not in self.blocked:
            self._later(sender, receiver, frame(raw), self._delay_ms(), is_spoiled=True)

    def split(self, endpoints: list[str]) -> None:
        """Block links in one of several shapes: two halves, one alone, one-way, a chain, or a few at random."""
        rng = self.rng
        shape = rng.choice(("halves", "alone", "deaf", "random", "chain"))
        self.count(f"F6 {shape}")
        pairs = [(a, b) for a in endpoints for b in endpoints]
        if shape == "random":
            self.blocked = {pair for pair in pairs if rng.random() < 0.3}
            return
        if shape == "chain":
            # A talks with B and B with C, but A never with C
            place = {endpoint: number for number, endpoint in enumerate(rng.sample(endpoints, len(endpoints)))}
            self.blocked = {(a, b) for a, b in pairs if abs(place[a] - place[b]) > 1}
            return
        size = 1 if shape == "alone" else rng.randint(1, max(1, len(endpoints) - 1))
        apart = set(rng.sample(endpoints, size))
        self.blocked = {(a, b) for a, b in pairs if a in apart and b not in apart}
        if shape != "deaf":
            self.blocked |= {(b, a) for a, b in self.blocked}

    def clog(self, link: Link) -> None:
        """Hold back what is sent on a link."""
        self.count("F5")
        self._clogged.setdefault(link, [])

    def unclog(self, link: Link) -> None:
        """Let everything that was held back arrive, in its order."""
        for stream in self._clogged.pop(link, []):
            self._later(*link, stream, 1)

    def heal(self) -> None:
        """Give every message its way."""
        self.is_healed = True
        self.blocked.clear()
        for link in list(self._clogged):
            self.unclog(link)

    def _later(self, sender: str, receiver: str, stream: bytes, delay_ms: int, *, is_spoiled: bool = False) -> None:
        at_ms, link = self.agenda.now_ms + delay_ms, (sender, receiver)
        if link in self.closed:
            return
        if at_ms < self._newest.get(link, 0):
            self.count("F3")  # it overtakes what was sent before it
        self._newest[link] = max(at_ms, self._newest.get(link, 0))
        self.agenda.after(delay_ms, lambda: self._arrive(link, stream, is_spoiled=is_spoiled))

    def _arrive(self, link: Link, stream: bytes, *, is_spoiled: bool) -> None:
        if link not in self.closed:
            self.deliver(*link, stream, is_spoiled)

    def _queue_ms(self, link: Link, size: int) -> int | None:
        """Return how long bytes wait for those before them; None when the queue is full and they are dropped."""
        plan, now_ms, waiting_ms = self.plan, self.agenda.now_ms, 0
        if plan.bytes_per_ms:
            waiting_ms = max(0, self._free_ms.get(link, 0) - now_ms)
            if waiting_ms * plan.bytes_per_ms > plan.queue_bytes:
                self.count("F14 sender")
                return None
            waiting_ms += size // plan.bytes_per_ms
            self._free_ms[link] = now_ms + waiting_ms
            self.count("F7")
        reader = link[1]
        if plan.slow_ms and reader == self.slow:
            behind_ms = max(0, self._free_ms.get(reader, 0) - now_ms)
            if behind_ms > plan.slow_ms * _READER_QUEUE:
                self.count("F14 sender")
                return None
            self._free_ms[reader] = now_ms + behind_ms + plan.slow_ms
            self.count("F9")
            waiting_ms = max(waiting_ms, behind_ms + plan.slow_ms)
        return waiting_ms

    def _spoil(self, raw: bytes) -> bytes:
        """Return what comes out of a connection on which something goes wrong."""
        rng = self.rng
        kind = rng.choice(("flipped", "truncated", "oversized", "not canonical", "nested", "trailing"))
        self.count(f"F8 {kind}")
        place = rng.randrange(len(raw))
        match kind:
            case "flipped":
                return frame(raw[:place] + bytes((raw[place] ^ (1 << rng.randrange(8)),)) + raw[place + 1 :])
            case "truncated":
                return frame(raw)[: 4 + place]
            case "oversized":
                return (MESSAGE_BYTES_MAX + 1 + rng.randrange(1 << 20)).to_bytes(4, "big") + raw[:place]
            case "not canonical":
                # the map's size in two bytes where one says it
                return frame(bytes((0xB8, raw[0] & 0x1F)) + raw[1:])
            case "nested":
                return frame(b"\x81" * rng.choice((9, 100, 50_000)) + b"\xf6")
            case _:
                return frame(raw + b"\xf6")

    def _delay_ms(self) -> int:
        if self.rng.random() < self.plan.tail:
            self.count("F4")
            return self.rng.randint(0, _TAIL_MS)
        return 1 + int(self.rng.expovariate(1 / self.plan.delay_ms))

    def _replay(self, sender: str, receiver: str, stream: bytes) -> None:
        rng = self.rng
        if self._old and rng.random() < self.plan.replayed:
            self.count("F2 replay")
            self._later(*rng.choice(self._old), self._delay_ms())
        if len(self._old) < _REMEMBERED:
            self._old.append((sender, receiver, stream))
        else:
            self._old[rng.randrange(_REMEMBERED)] = (sender, receiver, stream)
