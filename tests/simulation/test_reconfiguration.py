from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.campaign import check
from tests.simulation.cluster import run_plan
from tests.simulation.plan import draw_plan

pytestmark = pytest.mark.simulation


def counts(profile: str, *seeds: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        found.update(check(run_plan(draw_plan(seed, profile)), profile).counts)
    return found


# holds VM-12
def test_validators_join_leave_and_rotate_while_views_change() -> None:
    assert any(counts("members", seed)["F35"] for seed in range(500, 540))


# holds VM-12
def test_leader_that_is_removed_takes_nothing_with_it() -> None:
    assert counts("leader", 0)["F36"] > 1


# holds VM-12
def test_joiner_that_never_comes_is_never_counted() -> None:
    found = counts("ghost", 0, 1)
    assert found["F37"]
    assert not found["epoch ended"]


# holds VM-12
def test_validators_change_on_the_real_store() -> None:
    # the runs of a seed change with the code of the contracts, whose digests name the ledger
    found = counts("turnover", 0, 2, 6)
    assert found["epoch ended on the real store"]
    assert found["I12 old set"]
