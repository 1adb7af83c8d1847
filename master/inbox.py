"""Events that wait for the replica: bounded for every member, and served in turn.

There is no bound in common that some members could use up for the others: all that waits is bounded by the shares,
since only who is trusted has one. A member that floods fills its own share and then waits; its messages delay another's
by one at a time. What this node says to itself (timers, transactions that wait) has a turn of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from master.consensus.events import Event

OWN_EVENTS_MAX: Final = 20_000
"""What this node may say to itself."""
MEMBER_EVENTS_MAX: Final = 1_024
MEMBER_GOSSIP_MAX: Final = 1_536
"""Transactions of one member's gossip that are being checked, before nothing more is read from it; so few that the f
members of the largest set that may lie do not fill what the node checks at once."""
MEMBER_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of the messages of one member; a longer one waits alone."""
_ROOM_S: Final = 5.0
_OWN: Final = ""


@dataclass(slots=True)
class _Share:
    """What waits of one member, or of this node itself."""

    events_max: int = MEMBER_EVENTS_MAX
    events: deque[tuple[Event, int]] = field(default_factory=deque)
    size_bytes: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether one more message fits; a single one always does."""
        is_full = len(self.events) >= self.events_max or self.size_bytes + size_bytes > MEMBER_BYTES_MAX
        return not self.events or not is_full


class Errands:
    """Work that was begun for members and goes on; whoever has too much of it is not read meanwhile."""

    def __init__(self, size_max: int) -> None:
        """Begin without any.

        Args:
            size_max: What may go on for one member, in the unit of the caller.
        """
        self._size_max = size_max
        self._sizes: dict[str, int] = {}
        self._ended: dict[str, asyncio.Event] = {}

    def add(self, member: str, size: int, work: asyncio.Future[None] | None) -> None:
        """Count work until it ends; None has ended already."""
        if work is not None:
            self._sizes[member] = self._sizes.get(member, 0) + size
            work.add_done_callback(lambda _: self._end(member, size))

    def _end(self, member: str, size: int) -> None:
        self._sizes[member] -= size
        self._ended.setdefault(member, asyncio.Event()).set()

    async def room(self, member: str) -> None:
        """Wait until a member may have more."""
        while self._sizes.get(member, 0) >= self._size_max:
            ended = self._ended.setdefault(member, asyncio.Event())
            ended.clear()
            await ended.wait()


class Inbox:
    """A queue with many mouths."""

    def __init__(self) -> None:
        """Begin empty."""
        self._shares: dict[str, _Share] = {_OWN: _Share(OWN_EVENTS_MAX)}
        self._turns: deque[str] = deque()
        """Whose events wait; the first is served next."""
        self._filled = asyncio.Event()

    def put(self, event: Event, size_bytes: int = 0, member: str = _OWN) -> bool:
        """Let an event wait; False when there is no room for it.

        Args:
            event: What happened.
            size_bytes: Bytes of the message that it brings.
            member: Who sent it; nobody: this node itself.
        """
        share = self._shares.setdefault(member, _Share())
        if not share.has_room(size_bytes):
            return False
        if not share.events:
            self._turns.append(member)
        share.events.append((event, size_bytes))
        share.size_bytes += size_bytes
        self._filled.set()
        return True

    def clear(self) -> None:
        """Forget everything that waits."""
        for share in self._shares.values():
            share.events.clear()
            share.size_bytes = 0
            share.room.set()
        self._turns.clear()

    async def room(self, member: str, size_bytes: int) -> None:
        """Wait until a member's share has room for one more message, or for five seconds.

        A replica that has stopped empties no queue; what then arrives is dropped, so that peers are not held up.
        """
        share = self._shares.setdefault(member, _Share())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ROOM_S):
                while not share.has_room(size_bytes):
                    share.room.clear()
                    await share.room.wait()

    async def get(self) -> Event:
        """Return the next event, of every member in turn."""
        while not self._turns:
            self._filled.clear()
            await self._filled.wait()
        member = self._turns.popleft()
        share = self._shares[member]
        event, size_bytes = share.events.popleft()
        if share.events:
            self._turns.append(member)
        share.size_bytes -= size_bytes
        share.room.set()
        return event
