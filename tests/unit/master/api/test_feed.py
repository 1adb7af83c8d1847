"""The wake-up, and the tail of newest events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from master.api import feed as module
from master.api.feed import Feed, Notifier, event_id
from master.ledger.rows import EventRow
from master.views.ports import END, Position


class Source:
    """Events of which so many are committed; blocks of three."""

    def __init__(self, count: int) -> None:
        self.rows = [EventRow(n // 3 + 1, n % 3, 0, bytes(32), "market", "told", "x", {}) for n in range(count)]
        self.committed = 0
        self.calls = 0

    async def read(self, after: Position, limit: int) -> Sequence[EventRow]:
        self.calls += 1
        await asyncio.sleep(0)
        known = self.rows[: self.committed * 3]
        return [row for row in known if Position(row.height, row.index) > after][:limit]

    def head(self) -> int:
        return self.committed


def test_notifier_wake_up_before_the_wait_is_not_missed() -> None:
    async def scene() -> None:
        notifier = Notifier()
        seen = notifier.generation
        notifier.notify()
        assert await notifier.wait(seen, 10.0)

    asyncio.run(scene())


def test_notifier_no_wake_up_ends_with_the_time() -> None:
    async def scene() -> None:
        notifier = Notifier()
        assert not await notifier.wait(notifier.generation, 0.001)
        assert notifier._waiting == set()

    asyncio.run(scene())


def test_notifier_given_up_waiter_does_not_disturb_others() -> None:
    async def scene() -> None:
        notifier = Notifier()
        waiting = [asyncio.create_task(notifier.wait(0, 10.0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        notifier.notify()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [True, True]

    asyncio.run(scene())


def test_notifier_closed_never_waits() -> None:
    async def scene() -> None:
        notifier = Notifier()
        notifier.close()
        assert await notifier.wait(notifier.generation, 10.0)

    asyncio.run(scene())


@pytest.mark.parametrize("start", [Position(0, END), Position(2, 1), Position(7, END), Position(40, END)])
def test_feed_every_start_is_told_everything_behind_it_once(start: Position, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_EVENTS", 4)
    monkeypatch.setattr(module, "TAIL_EVENTS", 8)

    async def scene() -> None:
        source = Source(150)
        source.committed = 5
        feed = Feed(source.read, source.head)
        after, found = start, []
        for step in range(200):
            if step % 4 == 0 and source.committed < 50:
                source.committed += 1 + step % 3
                feed.notifier.notify()
            frames = await feed.page(after)
            assert len(frames) <= 4
            found += [frame.at for frame in frames]
            after = found[-1] if frames else after
        whole = [Position(row.height, row.index) for row in source.rows]
        assert found == [place for place in whole if place > start]

    asyncio.run(scene())


def test_feed_nobody_listened_for_long_starts_anew_at_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_EVENTS", 4)
    monkeypatch.setattr(module, "TAIL_EVENTS", 8)

    async def scene() -> None:
        source = Source(300)
        feed = Feed(source.read, source.head)
        await feed.page(Position(0, END))
        source.committed = 100
        feed.notifier.notify()
        before = source.calls
        frames = await feed.page(Position(99, END))
        assert [event_id(frame.at) for frame in frames] == ["100-0", "100-1", "100-2"]
        assert source.calls - before <= 4

    asyncio.run(scene())


def test_event_id_names_an_event_or_the_end_of_a_block() -> None:
    assert (event_id(Position(7, 3)), event_id(Position(7, END))) == ("7-3", "7")
