from __future__ import annotations

import time

import pytest

from kit.clock import Clock, FakeClock, SystemClock


def test_system_clock_follows_the_machine() -> None:
    clock: Clock = SystemClock()
    before = time.time_ns() // 1_000_000
    assert before <= clock.now_ms() <= time.time_ns() // 1_000_000
    assert clock.monotonic_ms() <= clock.monotonic_ms()


def test_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(now_ms=1000)
    seen: Clock = clock
    assert (seen.now_ms(), seen.monotonic_ms()) == (1000, 0)
    clock.advance(5)
    assert (seen.now_ms(), seen.monotonic_ms()) == (1005, 5)


def test_fake_clock_set_back_keeps_monotonic_time() -> None:
    clock = FakeClock(now_ms=1000)
    clock.advance(5)
    clock.set_now(10)
    assert (clock.now_ms(), clock.monotonic_ms()) == (10, 5)


def test_fake_clock_advanced_backwards_is_refused() -> None:
    with pytest.raises(AssertionError, match="run backwards"):
        FakeClock().advance(-1)
