"""Sends read orders to their gateways, each with the receipt that proves it (docs/spec RO-4).

The node that proposed the block with an order sends it, and whoever proposes a block with a report of a gateway sends
it the orders that are open, so that one that was away gets them when it is back. Blocking work is done in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from kit.clock import Clock
from kit.logs import get_logger
from master.contracts import read_orders
from master.headers_down import Publisher
from master.ledger.call import StateReads
from master.ledger.state import Entries
from wire.block import Block
from wire.readorder import ReadOrder
from wire.receipt import Receipt
from wire.tx import open_tx
from wire.types import Digest

AGAIN_MS: Final = 5_000
"""An open order is sent to its gateway at most so often."""
_METHOD: Final = b"\x67inspect"
"""How the method stands in a transaction: a text of seven bytes. Other transactions are not looked into for orders."""

_log = get_logger("orders")


class OrderSource(Entries, Protocol):
    """The newest state, and committed transactions; blocking."""

    def find_tx(self, tx_id: bytes) -> tuple[int, int] | None:
        """Return (height, index in the block) of a committed transaction."""

    def block(self, height: int) -> Block | None:
        """Return a block."""

    def receipt(self, tx_id: bytes) -> Receipt | None:
        """Return the receipt of a committed transaction."""


class OrderStream:
    """One of a node; lives on the event loop."""

    def __init__(
        self,
        member: str,
        topics: Mapping[str, str],
        source: OrderSource,
        publish: Callable[[str, bytes], None],
        clock: Clock,
    ) -> None:
        """Find the orders that are open now.

        Args:
            member: Who this node is.
            topics: Where each gateway listens.
            source: The node's store.
            publish: Hands a message to the broker.
            clock: For the interval.
        """
        self._member = member
        self._topics = topics
        self._source = source
        self._publish = publish
        self._clock = clock
        self._open: set[str] = set(read_orders.gateways_with_orders(StateReads(source)))
        """Gateways that may have open orders."""
        self._sent_ms: dict[Digest, int] = {}
        self._work: set[asyncio.Task[None]] = set()

    def applied(self, block: Block) -> None:
        """Look for orders in an applied block; send what is open if this node proposed it."""
        fresh = set(_ordered(block))
        self._open |= fresh
        if self._open and block.header.proposer == self._member and self._topics:
            work = asyncio.create_task(self._send(block, fresh))
            self._work.add(work)
            work.add_done_callback(self._work.discard)

    async def _send(self, block: Block, fresh: set[str]) -> None:
        """Send the open orders of the gateways that the block is about."""
        now_ms = self._clock.monotonic_ms()
        about = fresh | (await asyncio.to_thread(_senders, block) & self._open)
        for gateway in sorted(about):
            listed = await asyncio.to_thread(self._listed, gateway, block.header.time_ms)
            if not listed:
                self._open.discard(gateway)
            topic = self._topics.get(gateway)
            for order in listed if topic is not None else ():
                if now_ms - self._sent_ms.get(order, -AGAIN_MS) < AGAIN_MS:
                    continue
                self._sent_ms[order] = now_ms
                item = await asyncio.to_thread(self._item, order)
                if topic is not None and item is not None:
                    self._publish(topic, item)
                    _log.info("sent a read order", gateway=gateway, order=order.hex())
        self._sent_ms = {order: at_ms for order, at_ms in self._sent_ms.items() if now_ms - at_ms < AGAIN_MS}

    def _listed(self, gateway: str, time_ms: int) -> tuple[Digest, ...]:
        return read_orders.open_inspections(StateReads(self._source), gateway, time_ms)

    def _item(self, order: Digest) -> bytes | None:
        place, receipt = self._source.find_tx(order), self._source.receipt(order)
        block = None if place is None else self._source.block(place[0])
        if place is None or receipt is None or block is None:
            return None
        return ReadOrder(block.transactions[place[1]], receipt).encode()


def order_stream(
    topics: Mapping[str, str], member: str, source: OrderSource, broker: Publisher | None, clock: Clock
) -> OrderStream:
    """Return the stream to all gateways of a ledger; without a broker it sends nothing."""
    if broker is None:
        return OrderStream(member, {}, source, lambda _topic, _item: None, clock)
    return OrderStream(member, topics, source, broker.publish, clock)


def _ordered(block: Block) -> Iterable[str]:
    """Yield the gateways of the read orders in a block, refused ones included."""
    for raw in block.transactions:
        if _METHOD in raw:
            call = open_tx(raw).tx
            gateway = call.args.get("gateway")
            if (call.contract, call.method) == (read_orders.NAME, "inspect") and isinstance(gateway, str):
                yield gateway


def _senders(block: Block) -> set[str]:
    return {open_tx(raw).tx.sender for raw in block.transactions}
