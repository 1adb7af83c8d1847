from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agent.attest import DeviceState
from agent.poller import DevicePoller
from agent.reports import BOOT_WAIT_S, COALESCE_S, RETRY_S, ReportLoop
from kit.clock import FakeClock
from kit.exitcodes import StorageError
from tests.unit.agent.bench import NOW_MS, FakeDriver, Turns, device_config, plain


class Store:
    def __init__(self, fails: int = 0) -> None:
        self.reports: list[tuple[list[str], bool]] = []
        self.fails = fails

    async def store(self, states: Sequence[DeviceState], *, droppable: bool) -> None:
        if self.fails:
            self.fails -= 1
            raise StorageError("the disk is full")
        self.reports.append(([state.device for state in states], droppable))


def poller(name: str, clock: FakeClock, *, polled: bool = True) -> DevicePoller:
    made = DevicePoller(device_config(502, id=name), FakeDriver([plain(device=name)]), None, clock, lambda: None)
    if polled:
        asyncio.run(made.poll())
    return made


def run(loop: ReportLoop, turns: Turns) -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_run(loop, turns))


async def rounds(count: int = 300) -> None:
    """Let the event loop go round so often: what needs no real time is then done, however busy the machine is."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _run(loop: ReportLoop, turns: Turns) -> None:
    await loop.run(turns)


def test_first_report_goes_out_as_soon_as_all_devices_were_read() -> None:
    clock = FakeClock(NOW_MS)
    store = Store()

    async def work() -> None:
        task = asyncio.create_task(loop.run(Turns(clock, 100)))
        await rounds()
        task.cancel()

    loop = ReportLoop([poller("sps-1", clock), poller("sps-2", clock)], store, clock, 900_000)
    asyncio.run(work())
    assert store.reports == [(["sps-1", "sps-2"], False)]
    assert loop.figures.by_cause == {"boot": 1}


def test_first_report_does_not_wait_for_a_device_that_hangs() -> None:
    clock = FakeClock(NOW_MS)
    store = Store()
    turns = Turns(clock, 1000)

    async def work() -> None:
        task = asyncio.create_task(loop.run(turns))
        await rounds(3000)
        task.cancel()

    loop = ReportLoop([poller("sps-1", clock), poller("sps-2", clock, polled=False)], store, clock, 900_000)
    asyncio.run(work())
    assert store.reports == [(["sps-1"], False)]
    assert round(sum(turns.slept_s), 2) == BOOT_WAIT_S


def test_nothing_is_reported_before_any_device_was_polled() -> None:
    clock = FakeClock(NOW_MS)
    store = Store()
    run(ReportLoop([poller("sps-1", clock, polled=False)], store, clock, 900_000), Turns(clock, 200))
    assert store.reports == []


def test_change_is_reported_after_a_short_wait_for_others() -> None:
    clock = FakeClock(NOW_MS)
    store = Store()
    turns = Turns(clock, 100)

    async def work() -> None:
        task = asyncio.create_task(loop.run(turns))
        await rounds()
        loop.note_change()
        loop.note_change()
        await rounds()
        task.cancel()

    loop = ReportLoop([poller("sps-1", clock)], store, clock, 900_000)
    asyncio.run(work())
    assert [droppable for _, droppable in store.reports] == [False, False]
    assert loop.figures.by_cause == {"boot": 1, "change": 1}
    assert turns.slept_s == [COALESCE_S]


def test_without_a_change_a_report_that_may_be_dropped_goes_out_at_the_interval() -> None:
    clock = FakeClock(NOW_MS)
    store = Store()

    async def work() -> None:
        task = asyncio.create_task(loop.run(Turns(clock, 100)))
        await rounds()
        clock.advance(20)  # what the loop waits for in real time has also passed on its clock
        while len(store.reports) < 2:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.001)
        task.cancel()

    loop = ReportLoop([poller("sps-1", clock)], store, clock, 20)
    asyncio.run(work())
    assert store.reports[0] == (["sps-1"], False)
    assert store.reports[1] == (["sps-1"], True)


def test_report_that_could_not_be_stored_is_tried_again_under_its_cause() -> None:
    clock = FakeClock(NOW_MS)
    store = Store(fails=2)
    turns = Turns(clock, 100)

    async def work() -> None:
        task = asyncio.create_task(loop.run(turns))
        await rounds()
        task.cancel()

    loop = ReportLoop([poller("sps-1", clock)], store, clock, 900_000)
    asyncio.run(work())
    assert store.reports == [(["sps-1"], False)]
    assert (loop.figures.refused, loop.figures.by_cause) == (2, {"boot": 1})
    assert turns.slept_s == [RETRY_S, RETRY_S]
