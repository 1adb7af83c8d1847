"""What the engine answers, gossips, bounds and drops."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from master import answers
from master.consensus.events import (
    Connected,
    Received,
    Send,
    Tick,
)
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import (
    Blocks,
    GetBlocks,
    Gossip,
    Status,
)
from master.engine import DECODED_INLINE_BYTES, Engine
from master.inbox import MEMBER_BYTES_MAX
from tests.unit.master.engine_world import World, vote_of_b


def test_engine_messages_beyond_the_bytes_that_may_wait_are_dropped_and_reported() -> None:
    world = World("abcd")
    vote = vote_of_b()
    message = encode_message(vote)
    size = len(message)
    world.engine.post(Received("b", vote), MEMBER_BYTES_MAX - size, "b")
    world.engine.on_message("b", message)
    assert world.reports == []
    world.engine.on_message("b", message)
    assert world.reports == ["event-dropped"]
    world.engine.post(Connected("b"))
    assert world.reports == ["event-dropped"]


def test_engine_answers_get_blocks_with_what_is_stored() -> None:
    world = World("a")

    async def run() -> None:
        await world.run_until(lambda: len(world.stored) == 3)
        world.engine.on_message("b", encode_message(GetBlocks(2)))
        world.engine.on_message("b", encode_message(GetBlocks(1)))
        while not [to for to, _ in world.sent if to == "b"]:  # noqa: ASYNC110 the answer comes from a thread
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.05)

    asyncio.run(run())
    answers = [decode_message(raw) for to, raw in world.sent if to == "b"]
    assert len(answers) == 1, "one answer to a member at a time"
    assert isinstance(answers[0], Blocks)
    assert [entry.header.height for entry, _ in answers[0].blocks] == [2, 3]


def test_engine_hears_heights_and_gossip() -> None:
    world = World("abcd")
    world.engine.on_message("b", encode_message(Status(8, 0, "new")))
    world.engine.on_message("b", encode_message(Gossip((b"tx",))))
    assert world.engine.heights == {"b": 7}
    assert world.gossiped == [b"tx"]


# holds TP-6
def test_engine_opens_long_messages_on_another_thread_and_short_ones_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    opened = Engine._opened

    def watched(engine: Engine, raw: bytes) -> object:
        threads.append(threading.current_thread().name)
        return opened(engine, raw)

    monkeypatch.setattr(Engine, "_opened", watched)
    world = World("abcd")
    long_one = encode_message(Gossip((bytes(DECODED_INLINE_BYTES),)))

    async def run() -> None:
        assert await world.engine.receive("b", encode_message(Gossip((b"tx",))))
        assert await world.engine.receive("b", long_one)
        assert not await world.engine.receive("b", long_one + b"\x00")

    asyncio.run(run())
    assert threads[0] == threading.main_thread().name
    assert [name.startswith("decode") for name in threads] == [False, True, True]
    assert world.gossiped == [b"tx", bytes(DECODED_INLINE_BYTES)]
    assert [member for member, _ in world.refused] == ["b"]


# holds TP-5
def test_engine_gossip_costs_by_its_transactions_and_lets_others_have_their_turn() -> None:
    world = World("abcd")
    transactions = tuple(number.to_bytes(2, "big") * 40 for number in range(1000))
    turns: list[int] = []

    async def run() -> None:
        receiving = asyncio.create_task(world.engine.receive("b", encode_message(Gossip(transactions))))
        while not receiving.done():
            turns.append(len(world.gossiped))
            await asyncio.sleep(0)
        assert await receiving == 1 + 1000 // 8

    asyncio.run(run())
    assert world.gossiped == list(transactions)
    assert {256, 512, 768} <= set(turns)


# holds TP-8
def test_engine_asked_for_a_body_without_end_sends_what_its_budget_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LONG_BYTES", 0)
    monkeypatch.setattr(answers, "BURST_BYTES", 50)
    monkeypatch.setattr(answers, "BYTES_PER_S", 50)
    world = World("abcd")
    size = len(encode_message(Gossip((b"tx",))))
    assert size <= 50 < 2 * size

    async def run() -> None:
        for _ in range(2):
            await world.engine._perform(Send("b", Gossip((b"tx",))))
        await world.engine._perform(Send("c", Gossip((b"tx",))))
        world.clock.advance(1000)
        await world.engine._perform(Send("b", Gossip((b"tx",))))

    asyncio.run(run())
    assert [member for member, _ in world.sent] == ["b", "c", "b"]
    assert world.reports == ["answer-refused"]


# holds SN-8
def test_engine_asks_for_no_blocks_while_a_state_is_fetched() -> None:
    world = World("abcd")
    is_fetching = [True, False]
    hooks = replace(world.engine._hooks, withholds=lambda message: isinstance(message, GetBlocks) and is_fetching[0])
    world.engine._hooks = hooks

    async def run() -> None:
        await world.engine._perform(Send("b", GetBlocks(1)))
        await world.engine._perform(Send("b", Gossip((b"tx",))))
        del is_fetching[0]
        await world.engine._perform(Send("c", GetBlocks(1)))

    asyncio.run(run())
    assert [(member, decode_message(raw)) for member, raw in world.sent] == [
        ("b", Gossip((b"tx",))),
        ("c", GetBlocks(1)),
    ]


# holds TP-8
def test_engine_asked_for_blocks_without_end_answers_as_fast_as_its_budget_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("a")
    waits: list[str] = []

    def wait_s(_: object, member: str, size_bytes: int, now_ms: int) -> float:
        # three blocks without transactions are short, but no answer with blocks is free
        assert (size_bytes > answers.LONG_BYTES, now_ms) == (True, world.clock.monotonic_ms())
        waits.append(member)
        return 0.01 if len(waits) % 2 else 0

    monkeypatch.setattr(answers.AnswerBudget, "wait_s", wait_s)

    async def run() -> None:
        await world.run_until(lambda: len(world.stored) == 3)
        world.engine.on_message("b", encode_message(GetBlocks(1)))
        async with asyncio.timeout(60):
            while not [to for to, _ in world.sent if to == "b"]:  # noqa: ASYNC110 the answer comes from a thread
                await asyncio.sleep(0.002)

    asyncio.run(run())
    assert waits == ["b", "b"]


def test_engine_gossips_to_all_or_to_one_and_never_nothing() -> None:
    world = World("abcd")
    world.engine.gossip([])
    world.engine.gossip([b"tx"])
    world.engine.gossip([b"tx"], "c")
    assert [(member, decode_message(raw)) for member, raw in world.sent] == [
        ("*", Gossip((b"tx",))),
        ("c", Gossip((b"tx",))),
    ]


def test_engine_full_event_queue_drops_and_reports() -> None:
    world = World("abcd")
    for _ in range(20_000):
        world.engine.post(Tick(pending=False))
    world.engine.wake()
    world.engine.wake()
    assert world.reports == ["event-dropped", "event-dropped"]


def test_engine_is_woken_once_however_many_transactions_come() -> None:
    world = World("abcd")
    for _ in range(20_001):
        world.engine.wake()
    assert world.reports == []
