from __future__ import annotations

from dataclasses import dataclass

from agent.resend import ATTEMPTS_COUNTED_MAX, ATTEMPTS_REWRAP, RESEND_MS, RESEND_MS_MAX, WINDOW, ResendPlan


@dataclass(frozen=True)
class Waiting:
    evidence: int


def waiting(count: int, first: int = 1) -> list[Waiting]:
    return [Waiting(number) for number in range(first, first + count)]


def test_new_reports_are_due_at_once_oldest_first() -> None:
    assert ResendPlan().due(waiting(3), 0) == waiting(3)


def test_sent_report_is_due_again_after_5_s_and_not_before() -> None:
    plan = ResendPlan()
    assert plan.sent(1, 0) is False
    assert plan.due(waiting(1), RESEND_MS - 1) == []
    assert plan.due(waiting(1), RESEND_MS) == waiting(1)
    assert plan.sent(1, RESEND_MS) is True


def test_pauses_double_up_to_a_minute() -> None:
    plan, now_ms, pauses = ResendPlan(), 0, []
    for _ in range(6):
        plan.sent(1, now_ms)
        pause_ms = next(step for step in range(0, 70_000, 1000) if plan.due(waiting(1), now_ms + step))
        pauses.append(pause_ms)
        now_ms += pause_ms
    assert pauses == [5000, 10_000, 20_000, 40_000, RESEND_MS_MAX, RESEND_MS_MAX]


def test_reset_makes_everything_due_again() -> None:
    plan = ResendPlan()
    plan.sent(1, 0)
    plan.reset()
    assert plan.due(waiting(1), 1) == waiting(1)


def test_window_bounds_what_waits_for_first_receipts() -> None:
    assert ResendPlan().due(waiting(WINDOW + 5), 0) == waiting(WINDOW)


def test_reports_that_no_node_takes_do_not_hold_back_the_others() -> None:
    plan = ResendPlan()
    for entry in waiting(WINDOW):
        for _ in range(ATTEMPTS_COUNTED_MAX):
            plan.sent(entry.evidence, 0)
    assert plan.due(waiting(WINDOW + 5), 1) == waiting(5, WINDOW + 1)


def test_wait_ends_with_the_first_resend_and_never_exceeds_5_s() -> None:
    plan = ResendPlan()
    assert plan.wait_ms([], 0) == RESEND_MS
    plan.sent(1, 0)
    assert plan.wait_ms(waiting(1), 2000) == RESEND_MS - 2000
    assert plan.wait_ms(waiting(1), 9000) == 0


def test_report_sent_often_is_stuck_only_if_others_got_receipts() -> None:
    plan = ResendPlan()
    for _ in range(ATTEMPTS_REWRAP):
        plan.sent(1, 0)
    assert not plan.is_stuck(1)
    plan.sent(2, 0)
    plan.settled(2)
    assert plan.is_stuck(1)
    assert not plan.is_stuck(3)


def test_report_that_no_longer_waits_is_forgotten() -> None:
    plan = ResendPlan()
    plan.sent(1, 0)
    plan.sent(2, 0)
    plan.keep_only(waiting(1, 2))
    assert plan.due(waiting(2), 1) == waiting(1)
