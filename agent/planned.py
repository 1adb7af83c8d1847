"""Reads of one device by its plan: which kinds are due, how long one read may take, and when nothing is read."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from agent.attest import merged
from agent.drivers.errors import DeviceUnreachableError
from agent.drivers.table import Driver
from agent.model import DeviceConfig, Reading
from kit.clock import Clock
from wire.evidence import KINDS


async def read_within(driver: Driver, config: DeviceConfig, kinds: frozenset[str] | None = None) -> Reading:
    """Read a device, but not for longer than ``config.deadline_ms``.

    A device that answers each request just in time could otherwise make a read of a large file last for days.

    Raises:
        DeviceUnreachableError: With the reason ``deadline``; the driver is closed.
        DeviceError: As the driver says.
    """
    try:
        async with asyncio.timeout(config.deadline_ms / 1000) as limit:
            return await driver.read(kinds)
    except TimeoutError:
        if not limit.expired():
            raise
    await driver.close()
    detail = f"a read was not complete within {config.deadline_ms} ms"
    raise DeviceUnreachableError(config.id, "deadline", detail)


class PlannedReader:
    """Reads a device as often as its profile's plan says for each kind, and keeps what is not due.

    Args:
        config: The device.
        driver: Speaks its protocol.
        clock: For intervals.
    """

    def __init__(self, config: DeviceConfig, driver: Driver, clock: Clock) -> None:
        self._config = config
        self._driver = driver
        self._clock = clock
        self._kept: Reading | None = None
        self._read_at_ms: dict[str, int] = {}

    async def read_due(self) -> Reading:
        """Return a reading of all files, of which only those are read that are due.

        A file that the device lists otherwise than before is due at once, and every file when its revision counter
        moved. The reading begins with the oldest read that it stands on.

        Raises:
            DeviceError: The read did not come to its end.
        """
        kept, due = self._kept, self._due()
        if kept is None or len(due) == len(KINDS):
            return await self.read(None)
        reading = merged(kept, await self.read(due))
        if reading.revision != kept.revision:
            return await self.read(None)
        unread = frozenset(entry.kind for entry in reading.listed) - {file.kind for file in reading.files}
        if unread:
            reading = merged(reading, await self.read(unread))
        begin_ms = min((file.read_from_ms for file in reading.files), default=reading.read_from_ms)
        return replace(reading, read_from_ms=min(begin_ms, reading.read_to_ms))

    async def read(self, kinds: frozenset[str] | None) -> Reading:
        """Read the files of some kinds, or all, now.

        Raises:
            DeviceError: The read did not come to its end.
        """
        begin_ms = self._clock.monotonic_ms()
        reading = await read_within(self._driver, self._config, kinds)
        self._read_at_ms |= dict.fromkeys((file.kind for file in reading.files), begin_ms)
        return reading

    def keep(self, reading: Reading | None) -> None:
        """Keep a confirmed reading, or forget what is kept, so that the next read is one of all files."""
        self._kept = reading if self._config.plan.is_any() else None

    def _due(self) -> frozenset[str]:
        now_ms = self._clock.monotonic_ms()
        plan = self._config.plan
        return frozenset(
            kind
            for kind in KINDS
            if kind not in self._read_at_ms or now_ms - self._read_at_ms[kind] >= plan.interval_ms(kind)
        )
