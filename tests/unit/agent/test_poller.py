from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.attest import DeviceState
from agent.drivers.errors import DeviceProtocolError, DeviceUnreachableError
from agent.model import Reading
from agent.poller import BACKOFF_MS_MAX, DevicePoller, next_due_ms
from agent.profile import Quiet, ReadPlan
from kit.clock import FakeClock
from tests.unit.agent.bench import NOW_MS, FakeDriver, Turns, device_config, plain, state

UNREACHABLE = DeviceUnreachableError("sps-1", "timeout", "no answer")


class Bench:
    def __init__(self, *answers: Reading | Exception, known: DeviceState | None = None, **changes: object) -> None:
        self.clock = FakeClock(NOW_MS)
        self.driver = FakeDriver(list(answers))
        self.changes = 0
        config = device_config(502, id="sps-1", **changes)
        self.poller = DevicePoller(config, self.driver, known, self.clock, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def poll(self, times: int = 1) -> None:
        for _ in range(times):
            asyncio.run(self.poller.poll())


def test_first_poll_reads_twice_and_is_reported() -> None:
    bench = Bench(plain())
    bench.poll()
    assert bench.driver.asked == [None, frozenset({"firmware", "settings"})]
    assert bench.changes == 1
    assert bench.poller.state is not None
    assert bench.poller.state.status == "read"


def test_unchanged_poll_reads_every_byte_once_and_reports_nothing() -> None:
    bench = Bench(plain())
    bench.poll()
    bench.driver.asked.clear()
    bench.poll(3)
    assert bench.driver.asked == [None, None, None]
    assert bench.changes == 1


def test_first_poll_after_a_restart_is_reported_though_nothing_changed() -> None:
    bench = Bench(plain(), known=state(has_receipt=True))
    bench.poll()
    assert bench.driver.asked == [None]
    assert bench.changes == 1
    assert bench.poller.state is not None
    assert bench.poller.state.has_receipt


def test_change_is_read_again_alone_and_reported() -> None:
    bench = Bench(plain(b"new"), known=state(content=b"old"))
    bench.poll()
    assert bench.driver.asked == [None, frozenset({"firmware"})]
    assert bench.poller.figures.changes == 1
    assert bench.poller.figures.rereads == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UNREACHABLE, "unreachable"),
        (DeviceProtocolError("sps-1", "garbage", "no Modbus"), "protocol-error"),
        (RuntimeError("a defect of ours"), "protocol-error"),
    ],
)
def test_failed_poll_keeps_the_last_item_and_is_reported_once(error: Exception, status: str) -> None:
    bench = Bench(plain(), plain(), error)
    bench.poll(2)
    assert bench.poller.state is not None
    item = bench.poller.state.item
    bench.poll(3)
    assert bench.poller.state.status == status
    assert bench.poller.state.item is item
    assert bench.changes == 2
    assert sum(bench.poller.figures.failures.values()) == 4


def test_device_that_comes_back_is_reported() -> None:
    bench = Bench(plain(), plain(), UNREACHABLE, plain())
    bench.poll(3)
    assert bench.changes == 3
    assert bench.poller.figures.last_error == ""
    assert bench.poller.state is not None
    assert bench.poller.state.status == "read"


def test_failure_while_a_change_is_confirmed_claims_nothing_and_next_poll_sees_it() -> None:
    bench = Bench(plain(b"new"), UNREACHABLE, plain(b"new"), known=state(content=b"old"))
    bench.poll()
    assert bench.poller.state is not None
    assert bench.poller.state.item == state(content=b"old").item
    assert bench.poller.state.status == "unreachable"
    bench.poll()
    assert bench.poller.state.item == state(content=b"new").item


def test_device_that_never_says_the_same_is_a_protocol_error() -> None:
    readings = [plain(content, device=f"x{number}") for number, content in enumerate((b"1", b"2", b"3"))]
    settled = [
        Reading(one.device, type(one.identity)("V", "P", "1", str(number), "M"), one.listed, one.files, 0, 0)
        for number, one in enumerate(readings)
    ]
    bench = Bench(*settled, plain())
    bench.poll()
    assert bench.poller.state is not None
    assert bench.poller.state.status == "protocol-error"
    assert bench.poller.figures.failures == {"unsettled": 1}


def test_run_polls_at_its_interval_until_cancelled_and_closes_the_driver() -> None:
    bench = Bench(plain())
    turns = Turns(bench.clock, 4)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(bench.poller.run(turns))
    assert turns.slept_s == [1.0, 1.0, 1.0, 1.0]
    assert bench.poller.figures.polls == 4
    assert bench.poller.figures.missed == 0
    assert bench.driver.closed == 1


def test_run_outlives_every_error_with_growing_pauses() -> None:
    bench = Bench(RuntimeError("defect"))
    turns = Turns(bench.clock, 7)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(bench.poller.run(turns))
    assert turns.slept_s == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert bench.poller.figures.missed == 1 + 3 + 7 + 9 + 9 + 9


# holds PF-2
def test_nothing_is_read_in_quiet_hours_and_the_clock_is_looked_at_each_minute() -> None:
    minute = NOW_MS // 60_000 % 1440
    begin, end = (f"{at // 60 % 24:02}:{at % 60:02}" for at in (minute - 5, minute + 2))
    bench = Bench(plain(), quiet=Quiet(hours=(f"{begin}-{end}",)))
    turns = Turns(bench.clock, 3)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(bench.poller.run(turns))
    left_s = 120 - NOW_MS % 60_000 / 1000
    assert turns.slept_s == [60.0, left_s - 60, 1.0]
    assert bench.poller.figures.polls == 1
    assert bench.poller.was_polled


PLAN = ReadPlan(firmware_s=60)


# holds PF-3
def test_kind_with_an_interval_of_its_own_is_read_when_it_is_due_and_kept_between() -> None:
    bench = Bench(plain(), plan=PLAN)
    bench.poll()
    bench.driver.asked.clear()
    for _ in range(3):
        bench.clock.advance(25_000)
        bench.driver.answers = [plain(at_ms=bench.clock.now_ms())]
        bench.poll()
    rest = frozenset({"settings", "strategy"})
    assert bench.driver.asked == [rest, rest, None]
    state = bench.poller.state
    assert state is not None
    assert state.item is not None
    assert [part.kind for part in state.item.artefacts] == ["firmware", "settings"]
    assert bench.changes == 1


# holds EV-6
def test_read_times_begin_with_the_oldest_read_that_counts() -> None:
    bench = Bench(plain(), plan=PLAN)
    bench.poll()
    bench.clock.advance(25_000)
    bench.driver.answers = [plain(at_ms=NOW_MS + 25_000)]
    bench.poll()
    state = bench.poller.state
    assert state is not None
    assert (state.read_from_ms, state.read_to_ms) == (NOW_MS, NOW_MS + 25_020)


# holds PF-3
def test_counter_that_moved_has_every_file_read_before_it_is_due() -> None:
    bench = Bench(replace(plain(), revision=7), plan=PLAN)
    bench.poll()
    bench.driver.asked.clear()
    bench.driver.answers = [replace(plain(), revision=9)]
    bench.poll()
    assert bench.driver.asked == [frozenset({"settings", "strategy"}), None, frozenset()]
    assert bench.poller.state is not None
    assert bench.poller.state.item is not None
    assert bench.poller.state.item.revision == 9


def test_counter_that_moves_with_every_read_is_a_protocol_error() -> None:
    bench = Bench(*(replace(plain(), revision=number) for number in range(4)))
    bench.poll()
    assert bench.poller.figures.failures == {"unsettled": 1}
    assert bench.poller.figures.last_error == "says each time of 3 that it changed once more"


def test_change_in_the_middle_of_a_poll_has_everything_read_again() -> None:
    before, after = replace(plain(b"old"), revision=7), replace(plain(b"new"), revision=8)
    bench = Bench(before, after, known=None)
    bench.poll()
    everything = frozenset({"firmware", "settings"})
    assert bench.driver.asked == [None, everything, everything]
    assert bench.poller.state is not None
    assert bench.poller.state.item is not None
    assert (bench.poller.state.item.revision, bench.poller.figures.changes) == (8, 1)


# holds PF-3
def test_file_that_is_listed_otherwise_is_read_before_it_is_due() -> None:
    bench = Bench(plain(), plan=PLAN)
    bench.poll()
    bench.driver.asked.clear()
    bench.driver.answers = [plain(b"longer firmware")]
    bench.poll()
    rest, firmware = frozenset({"settings", "strategy"}), frozenset({"firmware"})
    assert bench.driver.asked == [rest, firmware, firmware]
    assert bench.poller.figures.changes == 2


# holds PF-3
def test_after_a_failure_every_file_is_read_again() -> None:
    bench = Bench(plain(), plain(), UNREACHABLE, plain(), plan=PLAN)
    bench.poll(3)
    assert bench.driver.asked[-1] is None


class SlowDriver(FakeDriver):
    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        await asyncio.Event().wait()
        return await super().read(kinds)


# holds PF-4
def test_device_that_answers_for_ever_is_given_up_at_the_deadline() -> None:
    driver = SlowDriver([plain()])
    poller = DevicePoller(device_config(502, deadline_ms=1), driver, None, FakeClock(NOW_MS), lambda: None)
    asyncio.run(poller.poll())
    assert poller.state is not None
    assert poller.state.status == "unreachable"
    assert poller.figures.failures == {"deadline": 1}
    assert poller.figures.last_error == "a read was not complete within 1 ms"
    assert driver.closed == 1


def test_timeout_of_another_making_is_no_deadline() -> None:
    bench = Bench(TimeoutError("not ours"))
    bench.poll()
    assert bench.poller.figures.failures == {"defect": 1}


@pytest.mark.parametrize(
    ("now_ms", "failures", "due_ms"),
    [
        (1200, 0, 2000),  # a quick poll
        (2000, 0, 2000),  # as long as the interval
        (2300, 0, 3000),  # a missed one is not made up for
        (9_999, 0, 10_000),
        (10_000, 0, 11_000),
        (1200, 1, 2200),
        (1200, 3, 5200),
        (1200, 60, 1200 + BACKOFF_MS_MAX),
    ],
)
def test_next_poll_is_due_at_the_next_full_interval_or_after_a_pause(now_ms: int, failures: int, due_ms: int) -> None:
    assert next_due_ms(1000, now_ms, 1000, failures) == due_ms


def test_pause_after_failures_is_never_shorter_than_the_interval() -> None:
    assert next_due_ms(0, 5, 3_600_000, 4) == 5 + 3_600_000
