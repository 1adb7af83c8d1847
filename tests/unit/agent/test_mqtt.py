from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from agent.io.mqtt import Broker, BrokerLink, Hooks, Topics
from agent.io.outbox import Pending
from kit.clock import FakeClock
from tests.unit.agent.bench import NOW_MS
from tests.unit.agent.broker import FakeBroker, broker

TOPICS = Topics("east", "station-1", "gw-1")
BASE = "gridwitness/v1/east/station-1/gw-1"


def pending(number: int) -> Pending:
    return Pending(number, bytes((number,)) * 32, b"tx %d" % number, number, NOW_MS + 1000, NOW_MS)


@dataclass
class Spool:
    waiting: list[Pending] = field(default_factory=list)
    stuck: list[int] = field(default_factory=list)
    slow: list[int] = field(default_factory=list)
    """What takes a while to wrap anew."""
    breaks: bool = False

    async def pending(self, limit: int) -> list[Pending]:
        if self.breaks:
            raise OSError("disk")
        return self.waiting[:limit]

    async def current(self, entry: Pending, *, is_stuck: bool) -> Pending | None:
        if is_stuck:
            self.stuck.append(entry.evidence)
        if entry not in self.waiting:
            return None
        for _ in range(10 if entry.evidence in self.slow else 0):
            await asyncio.sleep(0)
        return replace(entry, raw=entry.raw + b" now")


@dataclass
class Bench:
    fake: FakeBroker
    link: BrokerLink
    spool: Spool
    clock: FakeClock
    task: asyncio.Task[None]
    taken: list[bytes]


@contextlib.asynccontextmanager
async def linked(*waiting: Pending) -> AsyncIterator[Bench]:
    async with broker() as fake:
        taken: list[bytes] = []

        async def take(payload: bytes) -> None:
            taken.append(payload)

        spool, clock = Spool(list(waiting)), FakeClock(NOW_MS)
        hooks = Hooks(lambda: {"version": "1", "devices": []}, lambda: {"devices": {}}, take)
        link = BrokerLink(Broker("127.0.0.1", fake.port, None, "gw-1"), TOPICS, 9, spool, hooks, clock)
        task = asyncio.create_task(link.run())
        try:
            yield Bench(fake, link, spool, clock, task, taken)
        finally:
            link.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_will_is_death_and_birth_comes_before_the_first_report() -> None:
    async def work() -> None:
        async with linked(pending(1)) as bench:
            await bench.fake.until("tx")
            (will,) = bench.fake.wills
            assert (will.topic, will.qos, will.retain) == (f"{BASE}/death", 1, True)
            assert (will.value["boot"], will.value["session"], will.value["reason"]) == (9, 1, "lost")
            birth = bench.fake.messages[0]
            assert (birth.topic, birth.qos, birth.retain) == (f"{BASE}/birth", 1, True)
            assert (birth.value["boot"], birth.value["session"], birth.value["version"]) == (9, 1, "1")
            assert bench.fake.subscriptions == [f"{BASE}/down"]
            assert bench.fake.client_ids == ["gw-1"]
            assert bench.link.figures.is_connected

    asyncio.run(work())


def test_reports_go_out_oldest_first_at_qos_1_as_they_are_now() -> None:
    async def work() -> None:
        async with linked(*(pending(number) for number in range(1, 21))) as bench:
            sent = await bench.fake.until("tx", 20)
            assert [message.payload for message in sent] == [b"tx %d now" % number for number in range(1, 21)]
            assert {(message.qos, message.retain) for message in sent} == {(1, False)}
            assert (bench.link.figures.sent, bench.link.figures.resent) == (20, 0)

    asyncio.run(work())


def test_report_that_takes_a_while_to_wrap_anew_is_not_overtaken() -> None:
    async def work() -> None:
        async with linked() as bench:
            bench.spool.slow = [1]
            bench.spool.waiting += [pending(1), pending(2)]
            bench.link.wake()
            sent = await bench.fake.until("tx", 2)
            assert [message.payload for message in sent] == [b"tx 1 now", b"tx 2 now"]

    asyncio.run(work())


def test_new_report_is_sent_at_once_when_the_link_is_woken() -> None:
    async def work() -> None:
        async with linked() as bench:
            await bench.fake.until("birth")
            bench.spool.waiting.append(pending(1))
            bench.link.wake()
            assert len(await bench.fake.until("tx")) == 1

    asyncio.run(work())


def test_report_without_receipt_is_sent_again_after_5_s_though_the_broker_acknowledged_it() -> None:
    async def work() -> None:
        async with linked(pending(1)) as bench:
            await bench.fake.until("tx")
            bench.clock.advance(4999)
            bench.link.wake()
            await asyncio.sleep(0.02)
            assert len(bench.fake.of("tx")) == 1
            bench.clock.advance(1)
            bench.link.wake()
            await bench.fake.until("tx", 2)
            assert (bench.link.figures.sent, bench.link.figures.resent) == (1, 1)

    asyncio.run(work())


def test_report_with_receipt_is_not_sent_again() -> None:
    async def work() -> None:
        async with linked(pending(1)) as bench:
            await bench.fake.until("tx")
            bench.spool.waiting.clear()
            bench.link.settled(1)
            bench.clock.advance(60_000)
            bench.link.wake()
            await asyncio.sleep(0.02)
            assert len(bench.fake.of("tx")) == 1

    asyncio.run(work())


def test_broken_connection_is_made_again_and_everything_that_waits_sent_again() -> None:
    async def work() -> None:
        async with linked(pending(1), pending(2)) as bench:
            await bench.fake.until("tx", 2)
            bench.fake.cut()
            sent = await bench.fake.until("tx", 4)
            assert [message.payload for message in sent[2:]] == [b"tx 1 now", b"tx 2 now"]
            births = bench.fake.of("birth")
            assert [birth.value["session"] for birth in births] == [1, 2]
            assert bench.fake.wills[1].value["session"] == 2
            assert bench.link.figures.failures == 1

    asyncio.run(work())


def test_broker_that_is_away_is_tried_again_for_ever() -> None:
    async def work() -> None:
        async with broker() as gone:
            port = gone.port
        spool = Spool([pending(1)])
        hooks = Hooks(dict, dict, lambda payload: asyncio.sleep(0))
        link = BrokerLink(Broker("127.0.0.1", port, None, "gw-1"), TOPICS, 9, spool, hooks, FakeClock(NOW_MS))
        task = asyncio.create_task(link.run())
        while link.figures.failures < 2:  # noqa: ASYNC110 - the figures have no event
            await asyncio.sleep(0.01)
        assert not link.figures.is_connected
        async with broker(port=port) as back:
            await back.until("tx")
            link.stop()
            await task

    asyncio.run(work())


def test_items_that_come_down_are_handed_on_as_they_are() -> None:
    async def work() -> None:
        async with linked() as bench:
            await bench.fake.until("birth")
            await bench.fake.send(f"{BASE}/down", b"\x00 whatever it is")
            while not bench.taken:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.001)
            assert bench.taken == [b"\x00 whatever it is"]

    asyncio.run(work())


def test_stop_says_goodbye_with_a_retained_death_of_this_session() -> None:
    async def work() -> None:
        async with linked() as bench:
            await bench.fake.until("health")
            bench.link.stop()
            await bench.task
            (death,) = bench.fake.of("death")
            assert (death.qos, death.retain) == (1, True)
            assert (death.value["boot"], death.value["session"], death.value["reason"]) == (9, 1, "stopped")
            assert not bench.link.figures.is_connected

    asyncio.run(work())


def test_health_is_retained_and_says_what_it_was_told() -> None:
    async def work() -> None:
        async with linked() as bench:
            (health,) = await bench.fake.until("health")
            assert (health.topic, health.qos, health.retain) == (f"{BASE}/health", 0, True)
            assert health.value["devices"] == {}

    asyncio.run(work())


def test_outbox_that_fails_ends_the_session_with_its_error() -> None:
    async def work() -> None:
        async with linked() as bench:
            bench.spool.breaks = True
            bench.link.wake()
            while not bench.link.figures.failures:  # noqa: ASYNC110 - the figures have no event
                await asyncio.sleep(0.001)
            bench.spool.breaks = False
            bench.spool.waiting.append(pending(1))
            await bench.fake.until("tx")

    asyncio.run(work())


@pytest.mark.parametrize("verb", ["birth", "death", "tx", "health", "down"])
def test_topics_are_those_of_the_gateway(verb: str) -> None:
    assert TOPICS.of(verb) == f"{BASE}/{verb}"
