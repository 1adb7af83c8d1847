"""Sends the newest final header to gateways, so that each knows that the ledger lives and what time it is there.

The node that proposed a block sends it, at most once in an interval, and to so many gateways per second that the
broker has room for receipts in between (docs/spec FH-4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from kit.clock import Clock
from kit.logs import get_logger
from wire.finality import FinalHeader, encode_header_item
from wire.header import Header

BATCH: Final = 50
PAUSE_S: Final = 0.1

_log = get_logger("headers")


class Publisher(Protocol):
    """The way to the broker."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Queue a message."""
        ...


class HeaderStream:
    """One of a node; lives on the event loop."""

    def __init__(
        self,
        member: str,
        topics: Mapping[str, str],
        final: Callable[[int], FinalHeader | None],
        publish: Callable[[str, bytes], None],
        clock: Clock,
        interval_ms: Callable[[], int],
    ) -> None:
        """Prepare the stream.

        Args:
            member: Who this node is.
            topics: Where each gateway listens.
            final: Reads a final header of the ledger; blocking.
            publish: Hands a message to the broker.
            clock: For the interval.
            interval_ms: Tells how long it takes from one header to the next, at least.
        """
        self._member = member
        self._topics = topics
        self._final = final
        self._publish = publish
        self._clock = clock
        self._interval_ms = interval_ms
        self._next_ms = 0
        self._sending: asyncio.Task[None] | None = None

    def applied(self, header: Header) -> None:
        """Send the header of an applied block if this node proposed it, when it is time for one."""
        now_ms = self._clock.monotonic_ms()
        is_busy = self._sending is not None and not self._sending.done()
        if now_ms < self._next_ms or is_busy or not self._topics or header.proposer != self._member:
            return
        self._next_ms = now_ms + self._interval_ms()
        self._sending = asyncio.create_task(self._send(header.height))

    async def _send(self, height: int) -> None:
        final = await asyncio.to_thread(self._final, height)
        if final is None:
            _log.error("a block that was applied has no header", height=height)
            return
        item = encode_header_item(final)
        for number, topic in enumerate(tuple(self._topics.values()), start=1):
            self._publish(topic, item)
            if number % BATCH == 0:
                await asyncio.sleep(PAUSE_S)


def header_stream(
    topics: Mapping[str, str],
    member: str,
    final: Callable[[int], FinalHeader | None],
    broker: Publisher | None,
    clock: Clock,
    heartbeat_ms: Callable[[], int],
) -> HeaderStream:
    """Return the stream to all gateways of a ledger, every half heartbeat; without a broker it sends nothing.

    ``topics`` says where each gateway listens; it may change.
    """
    publish = _nowhere if broker is None else broker.publish
    return HeaderStream(member, {} if broker is None else topics, final, publish, clock, lambda: heartbeat_ms() // 2)


def _nowhere(_topic: str, _item: bytes) -> None:
    """Send to no broker."""
