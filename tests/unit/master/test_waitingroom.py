from __future__ import annotations

import pytest

from master import waitingroom
from master.waitingroom import WaitingRoom
from tests.unit.contracts.model_calls import MIB, arguments
from tests.unit.ledger.worlds import World
from wire.blob import BlobRef
from wire.types import sha256

NOW_MS = 1_800_000_000_000
OFFICE, FIELD = ("dispatch", False), ("dispatch", True)


def nobody(_: BlobRef) -> bool:
    return False


# holds BL-9
def test_room_keeps_a_transaction_until_its_blobs_are_here() -> None:
    world, room = World(), WaitingRoom()
    signed = world.sign("dispatch", "models", "store", arguments())
    assert room.enter(signed, OFFICE, "http", NOW_MS)
    assert room.enter(signed, OFFICE, "gossip", NOW_MS)
    assert (len(room), room.find(signed.id), room.named()) == (1, signed, {sha256(b"case 1"): 6})
    assert room.leave(nobody) == []
    (guest,) = room.leave(lambda blob: blob == BlobRef(sha256(b"case 1"), 6))
    assert (guest.signed, guest.party, guest.way) == (signed, OFFICE, "http")
    assert (len(room), room.find(signed.id), room.named()) == (0, None, {})


# holds BL-9
def test_room_forgets_what_has_expired() -> None:
    world, room = World(), WaitingRoom()
    signed = world.sign("dispatch", "models", "store", arguments())
    room.enter(signed, OFFICE, "http", NOW_MS)
    room.expire(signed.tx.valid_until_ms - 1)
    assert len(room) == 1
    room.expire(signed.tx.valid_until_ms)
    assert len(room) == 0
    room.remove([signed.id])


# holds BL-9
@pytest.mark.parametrize("bound", ["TRANSACTIONS_MAX", "PER_PARTY_MAX"])
def test_room_takes_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(waitingroom, bound, 2)
    world, room = World(), WaitingRoom()
    calls = [world.sign("dispatch", "models", "store", arguments(bytes([n]))) for n in range(3)]
    assert [room.enter(call, OFFICE, "http", NOW_MS) for call in calls] == [True, True, False]
    other = world.sign("lab", "models", "store", arguments(b"another"))
    operator = world.sign("maker-a", "models", "store", arguments(b"an operator's"))
    assert not room.enter(operator, OFFICE, "http", NOW_MS)
    assert room.enter(operator, FIELD, "http", NOW_MS) is (bound == "PER_PARTY_MAX")
    assert room.enter(other, ("lab", False), "http", NOW_MS) is (bound == "PER_PARTY_MAX")


# holds BL-9
def test_room_takes_so_many_bytes_of_one_organisation_and_no_more() -> None:
    world, room = World(), WaitingRoom()
    calls = [world.sign("dispatch", "models", "store", arguments(bytes([n]), size=32 * MIB)) for n in range(5)]
    assert [room.enter(call, OFFICE, "http", NOW_MS) for call in calls] == [True] * 4 + [False]


# holds BL-9
def test_room_takes_so_many_bytes_of_one_organisation_on_a_day_whatever_becomes_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waitingroom, "PER_PARTY_DAY_BYTES_MAX", 12)
    world, room = World(), WaitingRoom()
    calls = [world.sign("dispatch", "models", "store", arguments(bytes([n]), size=6)) for n in range(4)]
    for call in calls[:2]:
        assert room.enter(call, OFFICE, "http", NOW_MS)
        room.remove([call.id])
    assert not room.enter(calls[2], OFFICE, "http", NOW_MS)
    assert room.enter(world.sign("lab", "models", "store", arguments()), ("lab", False), "http", NOW_MS)
    assert room.enter(calls[3], OFFICE, "http", NOW_MS + 86_400_000)
