from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from kit.clock import FakeClock
from master.complaints import CHECK_MS, DROPPED_MAX, RESEND_MS, OldestWatch
from wire.types import sha256


def tx(raw: bytes) -> Any:  # noqa: ANN401 only id and raw are looked at
    return SimpleNamespace(id=sha256(raw), raw=raw)


class World:
    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.said: list[bytes] = []
        self.refused: set[bytes] = set()
        self.clock = FakeClock()
        self.watch = OldestWatch(self, lambda entry: entry.raw not in self.refused, self.said.extend, self.clock)

    def oldest(self) -> Any:  # noqa: ANN401
        return self.waiting[0] if self.waiting else None

    def remove(self, tx_ids: Sequence[bytes]) -> None:
        self.waiting = [entry for entry in self.waiting if entry.id not in tx_ids]

    def after(self, by_ms: int) -> int:
        self.clock.advance(by_ms)
        return self.watch.waiting_ms()


def test_oldest_transaction_counts_from_the_moment_it_is_the_oldest() -> None:
    world = World()
    assert world.after(0) == 0
    world.waiting = [tx(b"one"), tx(b"two")]
    assert [world.after(0), world.after(500)] == [0, 500]
    world.remove([sha256(b"one")])
    assert [world.after(700), world.after(10)] == [0, 10]
    world.waiting = []
    assert world.after(10_000) == 0
    world.waiting = [tx(b"two")]
    assert world.after(0) == 0


# holds CM-24
def test_oldest_transaction_is_said_again_once_per_interval() -> None:
    world = World()
    world.waiting = [tx(b"one")]
    assert world.after(0) == 0
    for _ in range(20):
        world.after(RESEND_MS // 10)
    assert world.said == [b"one", b"one"]


# holds CM-24
def test_oldest_transactions_that_no_block_can_hold_are_forgotten_before_anybody_waits_for_them() -> None:
    world = World()
    world.waiting = [tx(b"one"), tx(b"two"), tx(b"good")]
    world.refused = {b"one", b"two"}
    assert world.after(0) == 0
    assert [entry.raw for entry in world.waiting] == [b"good"]
    assert world.after(300) == 300


# holds CM-24
def test_oldest_transaction_that_a_block_made_impossible_is_forgotten_soon() -> None:
    world = World()
    world.waiting = [tx(b"one")]
    assert world.after(0) == 0
    world.refused = {b"one"}
    assert world.after(CHECK_MS - 1) == CHECK_MS - 1
    assert (world.after(1), world.waiting, world.said) == (0, [], [])


def test_oldest_transactions_are_forgotten_in_bounded_numbers_at_once() -> None:
    world = World()
    world.waiting = [tx(bytes((number >> 8, number & 255))) for number in range(DROPPED_MAX + 2)]
    world.refused = {entry.raw for entry in world.waiting}
    assert world.after(0) == 0
    assert len(world.waiting) == 2
