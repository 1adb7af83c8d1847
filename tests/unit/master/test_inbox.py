"""What waits for the replica: bounded, and every member in turn."""

from __future__ import annotations

import asyncio

import pytest

from master import inbox, node
from master.consensus.events import Connected, Event, Tick
from master.consensus.message_codec import GOSSIP_TRANSACTIONS_MAX, MESSAGE_BYTES_MAX
from master.inbox import MEMBER_BYTES_MAX, MEMBER_EVENTS_MAX, OWN_EVENTS_MAX, Errands, Inbox
from wire.certificate import VALIDATORS_MAX, faults


def event(name: str) -> Event:
    return Connected(name)


async def drain(box: Inbox, number: int) -> list[Event]:
    return [await box.get() for _ in range(number)]


def test_inbox_gives_what_one_member_sent_in_its_order() -> None:
    async def main() -> None:
        box = Inbox()
        events = [event(str(number)) for number in range(5)]
        assert all(box.put(entry, 1, "b") for entry in events)
        assert await drain(box, 5) == events

    asyncio.run(main())


# holds TP-6
def test_inbox_flood_of_one_member_delays_another_by_one_event() -> None:
    async def main() -> None:
        box = Inbox()
        for number in range(100):
            assert box.put(event(f"b{number}"), 1, "b")
        assert box.put(event("c"), 1, "c")
        assert box.put(Tick(pending=False))
        assert await drain(box, 4) == [event("b0"), event("c"), Tick(pending=False), event("b1")]

    asyncio.run(main())


# holds TP-6
def test_inbox_share_of_a_member_is_bounded_and_others_still_have_room() -> None:
    box = Inbox()
    assert all(box.put(event("b"), 1, "b") for _ in range(MEMBER_EVENTS_MAX))
    assert not box.put(event("b"), 1, "b")
    assert box.put(event("c"), MEMBER_BYTES_MAX + 1, "c")  # one alone always has room
    assert not box.put(event("c"), 1, "c")
    assert box.put(event("d"), 1, "d")


# holds TP-6
@pytest.mark.parametrize("size_bytes", [1, MESSAGE_BYTES_MAX], ids=["many", "long"])
def test_inbox_whatever_others_let_wait_a_member_has_its_whole_share(size_bytes: int) -> None:
    box = Inbox()
    for number in range(15):
        while box.put(event("x"), size_bytes, f"liar-{number}"):
            pass
    while box.put(Tick(pending=False)):
        pass
    assert box.put(event("b"), MEMBER_BYTES_MAX, "b")
    box.clear()
    assert all(box.put(event("b"), 1, "b") for _ in range(MEMBER_EVENTS_MAX))


def test_inbox_own_events_are_bounded_and_take_no_room_from_members() -> None:
    box = Inbox()
    for _ in range(OWN_EVENTS_MAX):
        assert box.put(Tick(pending=False))
    assert not box.put(Tick(pending=False))
    assert box.put(event("b"), 1, "b")


# holds TP-6
def test_inbox_room_comes_when_an_event_of_the_member_is_taken() -> None:
    async def main() -> None:
        box = Inbox()
        for _ in range(MEMBER_EVENTS_MAX):
            box.put(event("b"), 1, "b")
        await box.room("c", 1)
        waiting = asyncio.create_task(box.room("b", 1))
        await asyncio.sleep(0)
        assert not waiting.done()
        await box.get()
        await waiting
        assert box.put(event("b"), 1, "b")

    asyncio.run(main())


def test_inbox_of_a_replica_that_stopped_holds_nobody_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "_ROOM_S", 0)

    async def main() -> None:
        box = Inbox()
        box.put(event("b"), MEMBER_BYTES_MAX, "b")
        await box.room("b", 1)
        assert not box.put(event("b"), 1, "b")

    asyncio.run(main())


def test_inbox_get_waits_for_the_first_event() -> None:
    async def main() -> None:
        box = Inbox()
        waiting = asyncio.create_task(box.get())
        await asyncio.sleep(0)
        assert not waiting.done()
        box.put(event("b"), 1, "b")
        assert await waiting == event("b")

    asyncio.run(main())


# holds EL-7
def test_inbox_cleared_has_room_again_for_everybody() -> None:
    async def main() -> None:
        box = Inbox()
        while box.put(event("full"), 1, "b"):
            pass
        waiting = asyncio.create_task(box.room("b", 1))
        await asyncio.sleep(0)
        box.clear()
        await waiting
        assert box.put(event("fresh"), 1, "b")
        assert await drain(box, 1) == [event("fresh")]

    asyncio.run(main())


# holds TP-6
@pytest.mark.parametrize("size", range(1, VALIDATORS_MAX + 1))
def test_gossip_of_as_many_as_may_lie_leaves_room_for_a_message_of_another(size: int) -> None:
    # a member has two connections (TP-3), and on each a message is let in as long as there is any room
    one_member_max = inbox.MEMBER_GOSSIP_MAX - 1 + 2 * GOSSIP_TRANSACTIONS_MAX
    assert faults(size) * one_member_max + GOSSIP_TRANSACTIONS_MAX <= node._GOSSIP_WAITING_MAX


# holds TP-6
def test_errands_of_one_member_hold_up_nobody_else() -> None:
    async def main() -> None:
        errands = Errands(10)
        works = [asyncio.get_running_loop().create_future() for _ in range(2)]
        errands.add("b", 100, None)
        await errands.room("b")
        for work in works:
            errands.add("b", 9, work)
        await errands.room("c")
        waiting = asyncio.create_task(errands.room("b"))
        await asyncio.sleep(0)
        assert not waiting.done()
        works[0].set_result(None)
        await waiting
        works[1].cancel()
        await asyncio.sleep(0)
        await errands.room("b")

    asyncio.run(main())
