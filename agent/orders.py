"""Answers read orders: has the devices read at once and reports what was read with the order's nonce.

What comes in is proven already (`agent.io.trust`). One order is answered at a time, and a pause lies between two, so
that orders cannot keep the devices of a station busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from agent.attest import DeviceState
from agent.poller import DevicePoller
from kit.exitcodes import StorageError
from kit.logs import get_logger
from wire.readorder import Demand
from wire.types import Digest

WAITING_MAX: Final = 8
"""Orders that may wait; the ledger lets no more of one gateway be open, and the nodes send an open one again."""
PAUSE_S: Final = 5.0
MARGIN_MS: Final = 5_000
"""So long before the deadline an answer is on its way, with whatever was read by then."""
WAIT_S_MIN: Final = 1.0
"""Shortest wait for the reads of an order whose deadline is near."""

_log = get_logger("agent.orders")


class AnswerStore(Protocol):
    """Numbers, signs and keeps an answer."""

    async def answer(self, states: Sequence[DeviceState], demand: Demand) -> None:
        """Put the evidence into the outbox, and that the order is answered.

        Raises:
            StorageError: It could not be stored.
        """


class OrderDesk:
    """One per gateway.

    Args:
        pollers: All devices.
        store: Takes the answers.
        now_ms: The ledger's time, as far as it is known here.
    """

    def __init__(self, pollers: Sequence[DevicePoller], store: AnswerStore, now_ms: Callable[[], int]) -> None:
        self._pollers = {poller.config.id: poller for poller in pollers}
        self._store = store
        self._now_ms = now_ms
        self._waiting: dict[Digest, Demand] = {}
        self._arrived = asyncio.Event()

    def take(self, demand: Demand) -> str:
        """Let a proven order wait for its turn; return what becomes of it: taken, known or busy."""
        if demand.order in self._waiting:
            return "known"
        if len(self._waiting) >= WAITING_MAX:
            return "busy"
        self._waiting[demand.order] = demand
        self._arrived.set()
        return "taken"

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Answer until cancelled."""
        while True:
            await self._arrived.wait()
            demand = next(iter(self._waiting.values()))
            try:
                await self._answer(demand)
            finally:
                del self._waiting[demand.order]
                if not self._waiting:
                    self._arrived.clear()
            await sleep(PAUSE_S)

    async def _answer(self, demand: Demand) -> None:
        pollers = [self._pollers[name] for name in demand.devices if name in self._pollers]
        unknown = [name for name in demand.devices if name not in self._pollers]
        if unknown:
            _log.warning("order_for_unknown_devices", order=demand.order.hex(), devices=unknown)
        if not pollers:
            return
        reads = {poller: poller.read_now() for poller in pollers}
        left_s = (demand.deadline_ms - MARGIN_MS - self._now_ms()) / 1000
        await asyncio.wait(reads.values(), timeout=max(WAIT_S_MIN, left_s))
        read = [poller for poller in pollers if reads[poller].done()]
        states = [poller.state for poller in read if poller.state is not None]
        for late in reads.values():
            late.cancel()
        _log.info("order_answered", order=demand.order.hex(), read=len(states), devices=len(demand.devices))
        if not states:
            return
        try:
            await self._store.answer(states, demand)
        except StorageError as error:
            _log.error("answer_not_stored", order=demand.order.hex(), error=str(error))
