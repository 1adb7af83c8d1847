"""One device, read for ever: each has a task of its own, so that a sick one delays no other.

Whatever a read raises, the task goes on: a pause that grows with the failures, then the next read. Reads that fell due
while one was running or the device was away are dropped, not made up for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from agent.attest import Confirmation, Confirmed, DeviceState, Unsettled, after_failure, after_read
from agent.diagnosing import Diagnostics
from agent.drivers.errors import DeviceError, DeviceProtocolError
from agent.drivers.table import Driver
from agent.model import DeviceConfig
from agent.planned import PlannedReader
from kit.clock import Clock
from kit.logs import get_logger

BACKOFF_MS_MAX: Final = 10_000
"""Longest pause after failures, if the device's own interval is not longer."""
QUIET_SLICE_MS: Final = 60_000
"""In quiet hours the clock is looked at again after so long, since it may have been set."""
_BACKOFF_DOUBLINGS_MAX: Final = 16

_log = get_logger("agent.poll")


@dataclass(slots=True)
class PollFigures:
    """What the metrics and the status show of one device."""

    polls: int = 0
    changes: int = 0
    rereads: int = 0
    """Reads made to confirm a change."""
    missed: int = 0
    """Polls that fell due while one was running or the device was away."""
    failures: dict[str, int] = field(default_factory=dict)
    """Failed polls by reason."""
    last_duration_ms: int = 0
    last_error: str = ""


class DevicePoller:
    """Reads one device and keeps what is known of it.

    Args:
        config: The device.
        driver: Speaks its protocol.
        known: What was last reported of it, None if it never was.
        clock: For spans and intervals.
        on_change: Called when there is something to report.
        diagnostics: Names where files differ from release packages.
    """

    def __init__(
        self,
        config: DeviceConfig,
        driver: Driver,
        known: DeviceState | None,
        clock: Clock,
        on_change: Callable[[], None],
        diagnostics: Diagnostics | None = None,
    ) -> None:
        self.config = config
        self.driver = driver
        self.state = known
        """What is known of the device; of an earlier start until the first poll has ended."""
        self.was_polled = False
        self.figures = PollFigures()
        self._clock = clock
        self._on_change = on_change
        self._diagnostics = diagnostics or Diagnostics()
        self._failures_in_row = 0
        self._reader = PlannedReader(config, driver, clock)
        self._asked: list[asyncio.Future[None]] = []
        self._is_asked = asyncio.Event()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Poll until cancelled.

        Args:
            sleep: Waits for so many seconds.
        """
        try:
            due_ms = self._clock.monotonic_ms()
            while True:
                if quiet_ms := self.config.quiet.left_ms(self._clock.now_ms()):
                    await sleep(min(quiet_ms, QUIET_SLICE_MS) / 1000)
                    due_ms = self._clock.monotonic_ms()
                    continue
                is_early = self._is_asked.is_set() and self._clock.monotonic_ms() < due_ms
                await self.poll()
                now_ms = self._clock.monotonic_ms()
                if is_early and now_ms < due_ms:
                    await self._pause(sleep, (due_ms - now_ms) / 1000)
                    continue
                before_ms, due_ms = due_ms, next_due_ms(due_ms, now_ms, self.config.interval_ms, self._failures_in_row)
                self.figures.missed += (due_ms - before_ms) // self.config.interval_ms - 1
                await self._pause(sleep, (due_ms - now_ms) / 1000)
        finally:
            await self.driver.close()

    def read_now(self) -> asyncio.Future[None]:
        """Have all files read at once, whatever the plan says of them; quiet hours are kept all the same.

        Returns:
            Done after a poll that began after this call, however it ended.
        """
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._is_asked.set()
        return asked

    async def _pause(self, sleep: Callable[[float], Awaitable[None]], seconds: float) -> None:
        """Sleep, but not when a read is asked for."""
        pause, asked = asyncio.ensure_future(sleep(seconds)), asyncio.ensure_future(self._is_asked.wait())
        try:
            await asyncio.wait((pause, asked), return_when=asyncio.FIRST_COMPLETED)
            if pause.done():
                pause.result()
        finally:
            pause.cancel()
            asked.cancel()

    async def poll(self) -> None:
        """Read the device once, and again what has changed until two reads agree."""
        asked, self._asked = self._asked, []
        self._is_asked.clear()
        if asked:
            self._reader.keep(None)  # the plan may have spared files
        self.figures.polls += 1
        begin_ms = self._clock.monotonic_ms()
        try:
            confirmed = await self._read_confirmed()
        except DeviceError as error:
            self._failed(error.status, error.reason, error.detail)
        except Exception as error:  # noqa: BLE001 - a defect of ours with this device must not end its supervision
            _log.error("poll_defect", device=self.config.id, exc_info=error)
            self._failed("protocol-error", "defect", f"unexpected {type(error).__name__}: {error}")
            await self.driver.close()
        else:
            self._succeeded(confirmed)
        self.was_polled = True
        self.figures.last_duration_ms = self._clock.monotonic_ms() - begin_ms
        for one in asked:
            if not one.done():
                one.set_result(None)

    async def _read_confirmed(self) -> Confirmed:
        confirmation = Confirmation(None if self.state is None else self.state.item)
        verdict = confirmation.take(await self._diagnostics.look(await self._reader.read_due()))
        while not isinstance(verdict, Confirmed):
            if isinstance(verdict, Unsettled):
                raise DeviceProtocolError(self.config.id, "unsettled", verdict.detail)
            self.figures.rereads += 1
            verdict = confirmation.take(await self._diagnostics.look(await self._reader.read(verdict.kinds)))
        self._reader.keep(confirmation.reading)
        return verdict

    def _succeeded(self, confirmed: Confirmed) -> None:
        before = self.state
        if self._failures_in_row:
            _log.info("device_back", device=self.config.id, failures=self._failures_in_row)
        self._failures_in_row = 0
        self.figures.last_error = ""
        self.state = after_read(before, self.config.id, confirmed)
        if confirmed.is_change:
            self.figures.changes += 1
            shown = [f"{part.kind}:{part.sha256.hex()[:16]}" for part in confirmed.item.artefacts]
            _log.info("device_changed", device=self.config.id, artefacts=shown)
            for where in self.differences():
                _log.warning("device_differs", device=self.config.id, where=where)
        if confirmed.is_change or not self.was_polled or before is None or before.status != "read":
            self._on_change()

    def differences(self) -> tuple[str, ...]:
        """Return where the device's files differ from the gateway's release packages; no values."""
        return self._diagnostics.said(self.config.id)

    def _failed(self, status: str, reason: str, detail: str) -> None:
        before = self.state
        self._reader.keep(None)
        self.figures.failures[reason] = self.figures.failures.get(reason, 0) + 1
        if self._failures_in_row == 0 or self.figures.last_error != detail:
            _log.warning("device_failed", device=self.config.id, status=status, reason=reason, detail=detail)
        self._failures_in_row += 1
        self.figures.last_error = detail
        self.state = after_failure(before, self.config.id, status)
        if not self.was_polled or before is None or before.status != status:
            self._on_change()


def next_due_ms(due_ms: int, now_ms: int, interval_ms: int, failures: int) -> int:
    """Return when the next poll begins.

    Args:
        due_ms: When the last one was due.
        now_ms: When it ended.
        interval_ms: From one to the next.
        failures: Failed polls in a row; each doubles the pause.
    """
    if failures:
        pause_ms = interval_ms << min(failures - 1, _BACKOFF_DOUBLINGS_MAX)
        return now_ms + min(pause_ms, max(interval_ms, BACKOFF_MS_MAX))
    following_ms = due_ms + interval_ms
    if following_ms >= now_ms:
        return following_ms
    # Polls that were missed are not made up for: the next one is due at the next full interval from now.
    return now_ms + interval_ms - (now_ms - due_ms) % interval_ms
