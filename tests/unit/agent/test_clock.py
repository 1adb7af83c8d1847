from __future__ import annotations

import pytest

from agent.io.clock import SUSPECT_MS, GradedClock, kernel_is_synchronised
from kit.clock import FakeClock


@pytest.mark.parametrize(("answer", "grade"), [(True, "synchronised"), (False, "unknown"), (None, "unknown")])
def test_grade_says_what_the_kernel_says(answer: bool | None, grade: str) -> None:  # noqa: FBT001
    clock = FakeClock()
    graded = GradedClock(clock, lambda: answer).graded()
    assert (graded.grade, graded.time_ms, graded.source, graded.offset_ms) == (grade, clock.now_ms(), "system", None)


@pytest.mark.parametrize("jump_ms", [-5000, 5000])
def test_clock_that_was_set_is_suspect_for_a_while(jump_ms: int) -> None:
    inner = FakeClock()
    clock = GradedClock(inner, lambda: True)
    inner.advance(10_000)
    assert clock.graded().grade == "synchronised"
    inner.set_now(inner.now_ms() + jump_ms)
    assert clock.graded().grade == "suspect"
    inner.advance(SUSPECT_MS - 1)
    assert clock.graded().grade == "suspect"
    inner.advance(1)
    assert clock.graded().grade == "synchronised"


def test_clock_that_is_corrected_by_little_is_not_suspect() -> None:
    inner = FakeClock()
    clock = GradedClock(inner, lambda: True)
    inner.advance(10_000)
    inner.set_now(inner.now_ms() - 900)
    assert clock.graded().grade == "synchronised"


def test_kernel_gives_an_answer() -> None:
    assert kernel_is_synchronised() in {True, False, None}
