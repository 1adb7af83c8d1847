from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from kit.clock import FakeClock
from master.complaints import RESEND_MS, OldestWatch
from wire.types import sha256


def tx(raw: bytes) -> Any:  # noqa: ANN401 only id and raw are looked at
    return SimpleNamespace(id=sha256(raw), raw=raw)


class World:
    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.said: list[bytes] = []
        self.is_acceptable = True
        self.clock = FakeClock()
        self.watch = OldestWatch(self, lambda _: self.is_acceptable, self.said.extend, self.clock)

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


def test_oldest_transaction_that_no_block_can_hold_is_forgotten_and_costs_no_leader_its_view() -> None:
    world = World()
    world.waiting = [tx(b"one"), tx(b"two")]
    world.is_acceptable = False
    world.after(0)
    assert world.after(RESEND_MS) == 0
    assert (world.said, [entry.raw for entry in world.waiting]) == ([], [b"two"])
