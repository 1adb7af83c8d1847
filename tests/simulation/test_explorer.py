from __future__ import annotations

import pytest

from tests.simulation.explorer import CHOICES, ENDPOINTS, ROUNDS, TIMEOUT_AFTER, Path, explore, walk
from tests.simulation.judge import BrokenError

pytestmark = pytest.mark.simulation


# holds CM-27
def test_explorer_with_one_cut_sees_every_state_and_no_two_validators_disagree() -> None:
    rounds = list(explore(cuts=1))
    assert [number for number, _, _ in rounds] == list(range(1, ROUNDS + 1))
    assert rounds[0][1:] == (2 * CHOICES, 68)
    assert all(seen > 1 for _, _, seen in rounds)


def test_explorer_without_cuts_decides_in_three_rounds() -> None:
    run = walk((0, 0, 0))
    assert len(run.final) >= 3


# holds CM-27
def test_explorer_reaches_decisions_above_view_zero() -> None:
    ends = [walk((split, 0, 0, 0, 0, 0, 0)) for split in range(1, 16)]
    assert any(len(end.final) >= 3 and "node-1" in end.proposers for end in ends)


# holds CM-27
def test_explorer_deliveries_to_different_validators_commute() -> None:
    for path in ((0, 0, 0, 0, 0), (5, 0, 3, 0, 0), (0, 9, 0, 0, 1), (20, 0, 46, 0, 0)):
        runs = [Path(), Path(), Path()]
        orders = (ENDPOINTS, tuple(reversed(ENDPOINTS)), (*ENDPOINTS[2:], *ENDPOINTS[:2]))
        for run, receivers in zip(runs, orders, strict=True):
            for place, choice in enumerate(path):
                if place == TIMEOUT_AFTER:
                    run.expire()
                run.play(choice, receivers=receivers)
        assert len({run.state() for run in runs}) == 1


# holds CM-27
def test_explorer_follows_both_orders_of_two_proposals() -> None:
    run = Path()
    assert run.orders == 2
    first, second = (walk((order,)).state() for order in (0, CHOICES))
    assert first != second


# holds CM-27
def test_explorer_that_drops_certificates_on_a_view_change_finds_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("replica", "checks"):
        monkeypatch.setattr(f"master.consensus.{module}.highest_prepared", lambda _: None)
    with pytest.raises(BrokenError, match="fork"):
        list(explore(cuts=1))


# holds CM-27
def test_explorer_with_too_small_a_quorum_finds_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wire.certificate.quorum", lambda _: 2)
    with pytest.raises(BrokenError, match="fork"):
        list(explore(cuts=3))
