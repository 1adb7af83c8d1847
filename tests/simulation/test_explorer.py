from __future__ import annotations

import pytest

from tests.simulation.explorer import ROUNDS, explore, walk
from tests.simulation.judge import BrokenError

pytestmark = pytest.mark.simulation


# holds CM-27
def test_explorer_with_one_cut_sees_every_state_and_no_two_validators_disagree() -> None:
    rounds = list(explore(cuts=1))
    assert [number for number, _, _ in rounds] == list(range(1, ROUNDS + 1))
    assert rounds[0][1:] == (16, 16)
    assert all(seen > 1 for _, _, seen in rounds)


def test_explorer_without_cuts_decides_in_three_rounds() -> None:
    run = walk((0, 0, 0))
    assert len(run.final) >= 3


# holds CM-27
def test_explorer_reaches_decisions_above_view_zero() -> None:
    ends = [walk((split, 0, 0, 0, 0, 0, 0)) for split in range(1, 16)]
    assert any(len(end.final) >= 3 and "node-1" in end.proposers for end in ends)


# holds CM-27
def test_explorer_with_too_small_a_quorum_finds_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wire.certificate.quorum", lambda _: 2)
    with pytest.raises(BrokenError, match="fork"):
        list(explore(cuts=3))
