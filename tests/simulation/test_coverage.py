"""Every fault, invariant and rare event has its place, and the short campaign reaches all of them."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.simulation.campaign import PROFILE_SEEDS, campaign, outcome
from tests.simulation.coverage import FAULTS, INVARIANTS, LIVENESS, MECHANISMS, TABLES, Entry, missing, summary
from tests.simulation.plan import PROFILES

# both files look at the same runs
pytestmark = [pytest.mark.simulation, pytest.mark.xdist_group("campaign")]

_ENTRIES = [entry for table in TABLES for entry in table]


# holds CM-25
@pytest.mark.timeout(480)
def test_campaign_short_meets_every_fault_and_every_rare_event() -> None:
    assert missing(campaign()) == []


# holds CM-25
@pytest.mark.parametrize("profile", MECHANISMS)
def test_campaign_repairs_each_fault_by_its_own_mechanism(profile: str) -> None:
    assert profile in PROFILES
    expected, forbidden = MECHANISMS[profile]
    counts = [outcome(seed, profile).counts for seed in PROFILE_SEEDS]
    assert [name for name in expected if not any(found.get(name) for found in counts)] == []
    assert [name for name in forbidden if any(found.get(name) for found in counts)] == []


@pytest.mark.parametrize("entry", _ENTRIES, ids=lambda entry: entry.name)
def test_coverage_entry_names_what_does_it(entry: Entry) -> None:
    assert entry.place or entry.elsewhere
    assert entry.counted or entry.elsewhere
    if entry.place:
        module, _, path = entry.place.partition(":")
        found: object = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
        assert callable(found)


def test_coverage_table_is_whole() -> None:
    assert [entry.name for entry in FAULTS] == [f"F{number}" for number in range(1, 40)]
    assert [entry.name for entry in INVARIANTS] == [f"I{number}" for number in range(1, 20)]
    assert [entry.name for entry in LIVENESS] == [f"L{number}" for number in range(1, 6)]


def test_coverage_of_a_campaign_that_did_nothing_lacks_everything() -> None:
    assert set(missing({})) == {name for entry in _ENTRIES for name in entry.counted}
    assert len(summary({})) == len(_ENTRIES)
