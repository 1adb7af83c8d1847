"""The node's link to the broker: transactions in, receipts out, and no failure that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from master.io.ingest import Broker, BrokerLink
from tests.unit.agent.broker import FakeBroker, broker
from tests.unit.agent.test_asyncapi import DOCUMENT, check, operation_of, schema_of
from wire.types import TX_BYTES_MAX

TX_TOPIC = "gridwitness/v1/east/station-1/gw-1/tx"
DOWN_TOPIC = "gridwitness/v1/east/station-1/gw-1/down"
HOST_TOPIC = "gridwitness/v1/host/a"


@dataclass
class Bench:
    fake: FakeBroker
    taken: list[bytes] = field(default_factory=list)
    breaks_once: bool = False

    def __post_init__(self) -> None:
        self.link = BrokerLink(Broker("127.0.0.1", self.fake.port, None, "node-a", HOST_TOPIC), self.take)

    async def take(self, payload: bytes) -> None:
        if self.breaks_once:
            self.breaks_once = False
            raise KeyError(payload)
        self.taken.append(payload)

    async def until_taken(self, count: int) -> None:
        await until(lambda: len(self.taken) >= count)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 any condition
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[Bench]:
    async with broker() as fake:
        bench = Bench(fake)
        bench.link.start()
        await fake.until("a")
        await until(lambda: bench.link.is_connected)
        try:
            yield bench
        finally:
            await bench.link.stop()


def test_link_says_that_it_is_there_and_its_will_says_that_it_is_not() -> None:
    async def work() -> None:
        async with linked() as bench:
            (will,), (said,) = bench.fake.wills, bench.fake.of("a")
            assert (will.topic, will.retain, will.value) == (HOST_TOPIC, True, {"online": False})
            assert (said.topic, said.retain, said.value) == (HOST_TOPIC, True, {"online": True})
            assert bench.fake.client_ids == ["node-a"]
            assert bench.fake.subscriptions == ["gridwitness/v1/+/+/+/tx"]
        assert bench.fake.of("a")[1].value == {"online": False}

    asyncio.run(work())


def test_link_says_what_the_document_has_of_it() -> None:
    async def work() -> None:
        async with linked() as bench:
            pass
        binding = operation_of("host")
        for said in (*bench.fake.of("a"), *bench.fake.wills):
            assert (said.qos, said.retain) == (binding["qos"], binding["retain"])
            check(said.value, schema_of("host"), "host")
        assert re.fullmatch(DOCUMENT["channels"]["host"]["address"].replace("{node}", "[a-z0-9-]+"), said.topic)

    asyncio.run(work())


def test_link_brings_what_gateways_publish_and_of_too_long_messages_enough_to_refuse_them() -> None:
    async def work() -> None:
        async with linked() as bench:
            await bench.fake.send(TX_TOPIC, b"one")
            await bench.fake.send(TX_TOPIC, bytes(TX_BYTES_MAX + 10))
            await bench.until_taken(2)
            assert bench.taken == [b"one", bytes(TX_BYTES_MAX + 1)]

    asyncio.run(work())


# holds MQ-4
def test_link_hears_others_while_a_gateway_sends_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.io.ingest._BURST", 2)
    monkeypatch.setattr("master.io.ingest._PER_S", 0.001)

    async def work() -> None:
        async with linked() as bench:
            for number in range(5):
                await bench.fake.send(TX_TOPIC, bytes([number]))
            await bench.fake.send(TX_TOPIC.replace("gw-1", "gw-2"), b"other")
            await bench.until_taken(3)
            assert (bench.taken, bench.link.unheard) == ([b"\0", b"\1", b"other"], 3)

    asyncio.run(work())


def test_link_sends_receipts_while_it_is_connected_and_counts_what_it_drops() -> None:
    async def work() -> None:
        async with linked() as bench:
            assert bench.link.is_connected
            bench.link.publish(DOWN_TOPIC, b"receipt")
            (sent,) = await bench.fake.until("down")
            assert (sent.topic, sent.payload, sent.qos, sent.retain) == (DOWN_TOPIC, b"receipt", 1, False)
            assert bench.link.dropped == 0
        bench.link.publish(DOWN_TOPIC, b"receipt")
        assert (bench.link.is_connected, bench.link.dropped) == (False, 1)

    asyncio.run(work())


def test_link_connects_again_after_a_mistake_of_ours_and_hears_what_comes_then() -> None:
    async def work() -> None:
        async with linked() as bench:
            bench.breaks_once = True
            await bench.fake.send(TX_TOPIC, b"bad luck")
            await bench.fake.until("a", 2)
            await bench.fake.send(TX_TOPIC, b"next")
            await bench.until_taken(1)
            assert bench.taken == [b"next"]

    asyncio.run(work())


def test_link_connects_again_when_the_broker_cuts_it_off() -> None:
    async def work() -> None:
        async with linked() as bench:
            bench.fake.cut()
            await bench.fake.until("a", 2)
            assert bench.fake.client_ids == ["node-a", "node-a"]

    asyncio.run(work())


def test_link_says_once_why_there_is_no_broker_and_once_that_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []
    levels = {
        level: lambda text, level=level, **more: said.append((level, f"{text} {more['host']}"))
        for level in ("debug", "warning", "info")
    }
    monkeypatch.setattr("master.io.ingest._log", SimpleNamespace(**levels))

    async def work() -> None:
        async with linked() as bench:
            assert bench.link.state() == "connected"
            bench.link._note_failure("refused")
            bench.link._note_failure("refused")
            bench.link._note_failure("revoked")
        assert bench.link.state() == "not connected"

    asyncio.run(work())
    assert said == [
        ("info", "connected to the broker 127.0.0.1"),
        ("warning", "no connection to the broker 127.0.0.1"),
        ("debug", "no connection to the broker 127.0.0.1"),
        ("warning", "no connection to the broker 127.0.0.1"),
    ]


def test_link_whose_sending_fails_connects_again_though_nothing_comes_in() -> None:
    async def work() -> None:
        async with linked() as bench:
            bench.link.publish("a/topic/with/+", b"no topic to publish on")
            await bench.fake.until("a", 2)
            assert len(bench.fake.client_ids) == 2

    asyncio.run(work())
