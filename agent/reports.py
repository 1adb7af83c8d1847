"""Decides when a report is due and has it stored: on any change at once, at the start, and every report interval."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.attest import DeviceState
from agent.poller import DevicePoller
from kit.clock import Clock
from kit.exitcodes import StorageError
from kit.logs import get_logger

COALESCE_S: Final = 0.05
"""How long a change waits for others of the same moment."""
BOOT_WAIT_S: Final = 1.0
"""How long the first report waits for devices that were not read yet."""
RETRY_S: Final = 5.0
"""Pause after a report that could not be stored."""

_log = get_logger("agent.report")


class ReportStore(Protocol):
    """Numbers, signs and keeps a report."""

    async def store(self, states: Sequence[DeviceState], *, droppable: bool) -> None:
        """Put a report into the outbox.

        Raises:
            StorageError: It could not be stored.
        """


@dataclass(slots=True)
class ReportFigures:
    """What the metrics show of reports."""

    by_cause: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    """Reports that found no room, or no disk."""


class ReportLoop:
    """One per gateway.

    Args:
        pollers: All devices.
        store: Takes the reports.
        clock: For the interval.
        interval_ms: From one report to the next without a change.
    """

    def __init__(self, pollers: Sequence[DevicePoller], store: ReportStore, clock: Clock, interval_ms: int) -> None:
        self._pollers = pollers
        self._store = store
        self._clock = clock
        self._interval_ms = interval_ms
        self._changed = asyncio.Event()
        self.figures = ReportFigures()

    def note_change(self) -> None:
        """Say that there is something to report."""
        self._changed.set()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Report until cancelled.

        Args:
            sleep: Waits for so many seconds.
        """
        await self._wait_for_first_polls(sleep)
        cause = "boot"
        while True:
            while not await self._report(cause):
                await sleep(RETRY_S)
            cause = await self._next_cause(sleep)

    async def _wait_for_first_polls(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait until all devices were polled, or a second, and in any case until one was."""
        waited_s = 0.0
        while not all(poller.was_polled for poller in self._pollers) and waited_s < BOOT_WAIT_S:
            await sleep(COALESCE_S)
            waited_s += COALESCE_S
        while not any(poller.was_polled for poller in self._pollers):
            await sleep(COALESCE_S)

    async def _next_cause(self, sleep: Callable[[float], Awaitable[None]]) -> str:
        deadline_ms = self._clock.monotonic_ms() + self._interval_ms
        while (left_ms := deadline_ms - self._clock.monotonic_ms()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_ms / 1000):
                    await self._changed.wait()
            if self._changed.is_set():
                await sleep(COALESCE_S)
                return "change"
        return "interval"

    async def _report(self, cause: str) -> bool:
        """Store a report; tell whether it was stored."""
        self._changed.clear()
        states = [poller.state for poller in self._pollers if poller.was_polled and poller.state is not None]
        try:
            await self._store.store(states, droppable=cause == "interval")
        except StorageError as error:
            self.figures.refused += 1
            _log.error("report_not_stored", error=str(error))
            return False
        self.figures.by_cause[cause] = self.figures.by_cause.get(cause, 0) + 1
        return True
