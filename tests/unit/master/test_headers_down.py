"""The newest header goes down to gateways, from its proposer and not too often."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from kit.clock import FakeClock
from master.down_topics import DownTopics
from master.headers_down import BATCH, HeaderStream, header_stream
from tests.unit.wire.samples import CERTIFICATE, GENESIS, HEADER
from wire.finality import FinalHeader, decode_header_item
from wire.header import Header

FINAL = FinalHeader(HEADER, CERTIFICATE, ())
TOPICS = DownTopics(lambda: ((GENESIS.gateways[0], GENESIS.stations[0]),))


class Ledger:
    def __init__(self, *topics: str) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.asked: list[int] = []
        self.clock = FakeClock()
        self.final: FinalHeader | None = FINAL
        self.stream = HeaderStream(
            HEADER.proposer,
            {topic: topic for topic in topics},
            self.read,
            lambda topic, raw: self.published.append((topic, raw)),
            self.clock,
            lambda: 1000,
        )

    def read(self, height: int) -> FinalHeader | None:
        self.asked.append(height)
        return self.final

    async def applied(self, header: Header = HEADER) -> None:
        self.stream.applied(header)
        if self.stream._sending is not None:
            await self.stream._sending


# holds FH-4
def test_node_sends_its_newest_header_to_every_gateway_at_a_bounded_rate() -> None:
    ledger = Ledger("one/down", "two/down")

    async def work() -> None:
        await ledger.applied(replace(HEADER, proposer="sub-west"))
        assert ledger.published == []
        await ledger.applied()
        assert [topic for topic, _ in ledger.published] == ["one/down", "two/down"]
        assert all(decode_header_item(raw) == FINAL for _, raw in ledger.published)
        ledger.clock.advance(999)
        await ledger.applied()
        assert len(ledger.published) == 2
        ledger.clock.advance(1)
        await ledger.applied(replace(HEADER, height=77))
        assert len(ledger.published) == 4

    asyncio.run(work())
    assert ledger.asked == [HEADER.height, 77]


def test_node_without_gateways_or_without_the_header_sends_nothing() -> None:
    nobody, missing = Ledger(), Ledger("one/down")
    missing.final = None

    async def work() -> None:
        await nobody.applied()
        await missing.applied()

    asyncio.run(work())
    assert (nobody.asked, nobody.published, missing.published) == ([], [], [])


# holds FH-4
def test_node_pauses_between_gateways_and_sends_one_header_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []
    ledger = Ledger(*(f"{number}/down" for number in range(2 * BATCH)))
    real_sleep = asyncio.sleep

    async def sleep(_: float) -> None:
        pauses.append(len(ledger.published))
        ledger.clock.advance(10_000)
        ledger.stream.applied(HEADER)  # still busy with the last one
        await real_sleep(0)

    monkeypatch.setattr("master.headers_down.asyncio.sleep", sleep)
    asyncio.run(ledger.applied())
    assert pauses == [BATCH, 2 * BATCH]
    assert len(ledger.published) == 2 * BATCH


@pytest.mark.parametrize("has_broker", [True, False])
def test_stream_of_a_ledger_goes_to_the_gateways_of_its_genesis_file(*, has_broker: bool) -> None:
    sent: list[str] = []

    class Broker:
        def publish(self, topic: str, payload: bytes) -> None:
            sent.append(topic)

    clock = FakeClock()
    stream = header_stream(
        TOPICS, HEADER.proposer, lambda _: FINAL, Broker() if has_broker else None, clock, lambda: 1000
    )

    async def work() -> None:
        for _ in range(2):
            stream.applied(HEADER)
            if stream._sending is not None:
                await stream._sending

    asyncio.run(work())
    assert sent == (["gridwitness/v1/east/station-1/gw-1/down"] if has_broker else [])
    clock.advance(15_000)
    asyncio.run(work())
    assert len(sent) == (2 if has_broker else 0)
