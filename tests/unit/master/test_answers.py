"""What this node answers has a price."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from master.answers import BURST_BYTES, BYTES_PER_S, LONG_BYTES, AnswerBudget


# holds TP-8
def test_answers_short_ones_are_free() -> None:
    budget = AnswerBudget()
    assert all(budget.wait_s("b", LONG_BYTES, 0) == 0 for _ in range(10_000))


# holds TP-8
def test_answers_beyond_the_burst_wait_and_others_do_not() -> None:
    budget = AnswerBudget()
    assert budget.wait_s("b", BURST_BYTES, 5) == 0
    assert budget.wait_s("b", BYTES_PER_S, 5) == 1
    assert budget.wait_s("c", BYTES_PER_S, 5) == 0
    assert budget.wait_s("b", BYTES_PER_S, 1004) == 0.001
    assert budget.wait_s("b", BYTES_PER_S, 1005) == 0
    assert budget.wait_s("b", BYTES_PER_S, 1005) == 1


# holds TP-8
@given(st.lists(st.tuples(st.integers(1, 8_000_000), st.integers(0, 1000)), max_size=60))
def test_answers_of_any_questions_stay_within_burst_and_rate(asked: list[tuple[int, int]]) -> None:
    budget, now_ms, sent = AnswerBudget(), 0, 0
    for size_bytes, pause_ms in asked:
        now_ms += pause_ms
        if budget.wait_s("b", size_bytes, now_ms) == 0:
            sent += size_bytes if size_bytes > LONG_BYTES else 0
    assert sent <= BURST_BYTES + now_ms * BYTES_PER_S // 1000
