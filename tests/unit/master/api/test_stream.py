"""The event stream: nothing lost, nothing doubled, in time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from master.api import feed
from master.api.app import notifier
from master.api.context import Limits
from master.ledger.rows import EventRow
from master.views.events import to_json
from tests.unit.master.api.fakes import World
from tests.unit.master.api.http import Stream, Told, fetch
from wire.receipt import Event

BIG = [[Event("market", "told", "x", {"n": number, "raw": b"\x01"})] for number in range(300)]


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def ids(told: list[Told]) -> list[str]:
    return [entry.id for entry in told]


def ids_of(events: list[EventRow]) -> list[str]:
    return [f"{event.height}-{event.index}" for event in events]


def everything(world: World) -> list[str]:
    return ids_of(world.ledger.events(0, -1, 10**6))


def test_stream_from_the_start_tells_all_that_was() -> None:
    async def scene() -> None:
        world = World(seed=1)
        for _ in range(10):
            world.block(4)
        async with Stream(world.api, "/v1/events?after=0") as stream:
            told = await stream.events(len(everything(world)))
        assert ids(told) == everything(world)
        first = world.ledger.events(0, -1, 1)[0]
        assert told[0].event == first.type
        assert told[0].data == {
            "contract": first.contract,
            "type": first.type,
            "height": 1,
            "index": 0,
            "time_ms": first.time_ms,
            "tx": first.tx.hex(),
            "subject": first.subject,
            "data": to_json(first.data),
        }

    run(scene())


def test_stream_without_a_place_tells_only_what_comes() -> None:
    async def scene() -> None:
        world = World()
        world.block()
        async with Stream(world.api, "/v1/events") as stream:
            await stream.until(lambda: "id: 1\n\n" in stream.text)
            new = world.block()
            told = await stream.events(len(new))
        assert ids(told) == ids_of(new)

    run(scene())


def test_stream_first_bytes_give_a_place_to_resume_from() -> None:
    async def scene() -> None:
        world = World()
        world.block()
        async with Stream(world.api, "/v1/events") as stream:
            await stream.until(lambda: stream.told() == [] and stream.last_id == "1")
            place = stream.last_id
        missed = world.block()
        async with Stream(world.api, "/v1/events", {"last-event-id": place}) as stream:
            assert ids(await stream.events(len(missed))) == ids_of(missed)

    run(scene())


def test_stream_is_told_at_once_after_the_wake_up() -> None:
    async def scene() -> None:
        world = World()
        async with Stream(world.api, "/v1/events?after=0") as stream:
            await stream.until(lambda: "id: 0\n\n" in stream.text)
            loop, delays = asyncio.get_running_loop(), []
            for number in range(1, 21):
                started = loop.time()
                world.commit(BIG[:1])
                await stream.events(number)
                delays.append(loop.time() - started)
        assert sorted(delays)[10] < 0.5  # far below the heartbeat: it was the wake-up

    run(scene())


def test_stream_broken_off_at_any_event_resumes_without_loss_or_double() -> None:
    async def scene() -> None:
        world = World(seed=3)
        for _ in range(4):
            world.block(3)
        whole = everything(world)
        for cut in range(1, len(whole)):
            async with Stream(world.api, "/v1/events", {"last-event-id": "0"}) as stream:
                first = (await stream.events(cut))[:cut]
            async with Stream(world.api, "/v1/events", {"last-event-id": first[-1].id}) as stream:
                rest = await stream.events(len(whole) - cut)
            assert ids(first) + ids(rest) == whole

    run(scene())


def test_stream_header_wins_over_the_query() -> None:
    async def scene() -> None:
        world = World()
        world.commit(BIG[:5])
        async with Stream(world.api, "/v1/events?after=0", {"last-event-id": "1-2"}) as stream:
            assert ids(await stream.events(2)) == ["1-3", "1-4"]

    run(scene())


def test_stream_many_clients_hear_the_same_while_blocks_come() -> None:
    async def scene() -> None:
        world = World(seed=4)
        world.block()
        starts = ["0", "1-0", "1", "0", "3"]
        async with asyncio.TaskGroup() as group:
            found = [group.create_task(follow(world, start)) for start in starts]
            for _ in range(30):
                world.block(3)
                await asyncio.sleep(0)
            world.commit([[Event("market", "end", "x", {})]])
        whole = everything(world)
        for start, task in zip(starts, found, strict=True):
            height, _, index = start.partition("-")
            place = (int(height), int(index) if index else 10**9)
            assert ids(task.result()) == [
                one for one in whole if (int(one.partition("-")[0]), int(one.partition("-")[2])) > place
            ]

    async def follow(world: World, start: str) -> list[Told]:
        async with Stream(world.api, "/v1/events", {"last-event-id": start}) as stream:
            await stream.until(lambda: "event: end" in stream.text)
            return stream.told()

    run(scene())


def test_stream_clients_share_one_reading_of_the_ledger() -> None:
    async def scene() -> None:
        world = World()
        streams = [Stream(world.api, "/v1/events") for _ in range(20)]
        for stream in streams:
            await stream.__aenter__()
            await stream.until(lambda: "id: 0\n\n" in stream.text)  # noqa: B023 - awaited at once
        before = world.ledger.reads
        world.commit(BIG[:2])
        for stream in streams:
            await stream.events(2)
        # one by the tables, one for all streams
        assert world.ledger.reads - before <= 3
        for stream in streams:
            await stream.__aexit__()

    run(scene())


def test_stream_long_history_and_a_tail_that_overflows_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "TAIL_EVENTS", 64)
    monkeypatch.setattr(feed, "PAGE_EVENTS", 16)

    async def scene() -> None:
        world = World()
        async with Stream(world.api, "/v1/events?after=0") as stream:
            await stream.until(lambda: stream.text != "")
            stream.reading.clear()
            while len(everything(world)) <= 400:
                world.commit(BIG[:30])
                await asyncio.sleep(0)
            stream.reading.set()
            total = len(everything(world))
            assert ids(await stream.events(total)) == everything(world)
        async with Stream(world.api, "/v1/events?after=0") as stream:
            assert ids(await stream.events(total)) == everything(world)

    run(scene())


def test_stream_place_ahead_of_this_node_waits_until_it_is_reached() -> None:
    async def scene() -> None:
        world = World()
        world.commit(BIG[:1])
        ahead = Stream(world.api, "/v1/events", {"last-event-id": "3-0"})
        other = Stream(world.api, "/v1/events", {"last-event-id": "0"})
        async with ahead, other:
            for _ in range(3):
                world.commit(BIG[:2])
            assert ids(await ahead.events(3)) == ["3-1", "4-0", "4-1"]
            assert ids(await other.events(7)) == everything(world)

    run(scene())


def test_stream_silence_is_filled_with_heartbeats() -> None:
    async def scene() -> None:
        world = World(limits=Limits(heartbeat_s=0.01))
        async with Stream(world.api, "/v1/events") as stream:
            await stream.until(lambda: stream.text.count(": still here\n\n") >= 3)
            assert stream.told() == []
            world.commit(BIG[:1])
            assert ids(await stream.events(1)) == ["1-0"]

    run(scene())


def test_stream_client_that_does_not_read_is_dropped() -> None:
    async def scene() -> None:
        world = World(limits=Limits(stall_s=0.02))
        async with Stream(world.api, "/v1/events") as stream:
            await stream.until(lambda: stream.text != "")
            stream.reading.clear()
            world.commit(BIG[:1])
            await stream.until(lambda: stream.ended)
        assert world.registry.get_sample_value("gridwitness_node_http_streams_stalled_total") == 1
        assert world.registry.get_sample_value("gridwitness_node_http_streams") == 0

    run(scene())


def test_stream_beyond_the_most_allowed_is_refused_until_one_ends() -> None:
    async def scene() -> None:
        world = World(limits=Limits(streams_max=2))
        async with Stream(world.api, "/v1/events"):
            async with Stream(world.api, "/v1/events"), Stream(world.api, "/v1/events") as third:
                assert third.status == 429
            async with Stream(world.api, "/v1/events") as again:
                assert again.status == 200
        assert world.registry.get_sample_value("gridwitness_node_http_streams") == 0

    run(scene())


def test_stream_ends_when_the_node_stops() -> None:
    async def scene() -> None:
        world = World()
        async with Stream(world.api, "/v1/events") as stream:
            notifier(world.api).close()
            await stream.until(lambda: stream.ended)
        async with Stream(world.api, "/v1/events") as late:
            assert late.status == 503

    run(scene())


def test_stream_ledger_that_fails_ends_the_stream_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        world = World()
        async with Stream(world.api, "/v1/events?after=0") as stream:
            await stream.until(lambda: stream.text != "")

            def fail(*_: object) -> None:
                raise OSError("disk")

            with monkeypatch.context() as patch:
                patch.setattr(world.ledger, "events", fail)
                notifier(world.api).notify()
                await stream.until(lambda: stream.ended)
        world.commit(BIG[:1])
        async with Stream(world.api, "/v1/events?after=0") as stream:
            assert ids(await stream.events(1)) == ["1-0"]

    run(scene())


@pytest.mark.parametrize("place", ["x", "-", "1-", "-1", "1-2-3", "01", str(2**63), "1-9999999999", "1 "])
def test_stream_place_that_is_none_is_refused(place: str) -> None:
    world = World()
    assert fetch(world.api, "/v1/events", headers={"last-event-id": place}).status == 400
    assert fetch(world.api, f"/v1/events?after={place.replace(' ', '%20')}").status == 400
