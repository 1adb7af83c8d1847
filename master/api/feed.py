"""Events on their way to open streams: a wake-up, and the newest events encoded once for all.

A stream is a place in the ledger, not a queue: a slow client is behind and nothing more, and a
client that comes back names its place. So there is nothing to lose and nothing to bound but the
size of one page and the tail that is kept here.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from master.ledger.rows import EventRow
from master.views.events import to_json
from master.views.ports import END, START, Position

PAGE_EVENTS: Final = 256
"""Events that a stream sends at once."""
TAIL_EVENTS: Final = 4096
"""Newest events that are kept in memory."""

Read: TypeAlias = Callable[[Position, int], Awaitable[Sequence[EventRow]]]
"""Reads at most so many events behind a place from the ledger."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as it goes over the wire."""

    at: Position
    text: bytes


class Notifier:
    """Wakes whoever waits for events. Belongs to the event loop: call it from there alone."""

    def __init__(self) -> None:
        self.generation = 0
        """Number of wake-ups so far."""
        self.closed = False
        """True once the node stops: streams end."""
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Say that a block was committed and its events can be read."""
        self.generation += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def close(self) -> None:
        """Say that the node stops; every open stream ends."""
        self.closed = True
        self.notify()

    async def wait(self, generation: int, timeout_s: float) -> bool:
        """Return True once there was a wake-up after ``generation``, False after ``timeout_s``."""
        if self.generation != generation or self.closed:
            return True
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        return True


class Feed:
    """The ledger's events as frames; the newest ones are read and encoded once for all streams.

    Args:
        read: Reads events from the ledger.
        head: Tells the height of the newest block.
    """

    def __init__(self, read: Read, head: Callable[[], int]) -> None:
        self.notifier = Notifier()
        self._read = read
        self._head = head
        self._reading = asyncio.Lock()
        self._generation = -1
        # the tail holds every event behind _from and up to _to
        self._tail: deque[Frame] = deque()
        self._from = self._to = START
        self._reset()

    async def page(self, after: Position) -> Sequence[Frame]:
        """Return the next frames behind ``after``, at most 256; none when there are none yet."""
        await self._extend()
        if after < self._from:
            return [frame(event) for event in await self._read(after, PAGE_EVENTS)]
        return self._behind(after)

    async def _extend(self) -> None:
        """Bring the tail up to the newest wake-up; one caller reads for all."""
        async with self._reading:
            generation = self.notifier.generation
            if self._generation == generation:
                return
            for _ in range(TAIL_EVENTS // PAGE_EVENTS):
                head = Position(self._head(), END)
                events = await self._read(self._to, PAGE_EVENTS)
                self._append(events)
                if len(events) < PAGE_EVENTS:
                    self._to = max(self._to, head)
                    self._generation = generation
                    return
            self._reset()

    def _append(self, events: Sequence[EventRow]) -> None:
        for event in events:
            self._tail.append(frame(event))
            self._to = self._tail[-1].at
            if len(self._tail) > TAIL_EVENTS:
                self._from = self._tail.popleft().at

    def _reset(self) -> None:
        """Start anew at the head: nobody listened for so long that reading it all is no use."""
        self._tail.clear()
        self._from = self._to = Position(self._head(), END)

    def _behind(self, after: Position) -> Sequence[Frame]:
        found: list[Frame] = []
        for entry in reversed(self._tail):
            if entry.at <= after:
                break
            found.append(entry)
        found.reverse()
        return found[:PAGE_EVENTS]


def frame(event: EventRow) -> Frame:
    """Return the event's frame for ``text/event-stream``."""
    at = Position(event.height, event.index)
    body = json.dumps(
        {
            "contract": event.contract,
            "type": event.type,
            "height": event.height,
            "index": event.index,
            "time_ms": event.time_ms,
            "tx": event.tx.hex(),
            "subject": event.subject,
            "data": to_json(dict(event.data)),
        },
        sort_keys=True,
        separators=(",", ":"),
    )
    text = f"id: {event_id(at)}\nevent: {event.type}\ndata: {body}\n\n"
    return Frame(at, text.encode("utf-8"))


def event_id(at: Position) -> str:
    """Return the place as streams name it."""
    return str(at.height) if at.index == END else f"{at.height}-{at.index}"
