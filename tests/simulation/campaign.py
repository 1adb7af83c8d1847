"""The short campaign: the runs of `make test`, each done once however many tests look at it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Final

from tests.simulation.cluster import Outcome, run_plan
from tests.simulation.plan import DISK_FAULTS, PROFILES, draw_plan

SWARM_SEEDS: Final = range(40)
PROFILE_SEEDS: Final = range(500, 502)
DISK_SEEDS: Final = range(500, 500 + len(DISK_FAULTS))


def _suffering(fault: str) -> range:
    """Return seeds under which one disk suffers this."""
    return range(200 * len(DISK_FAULTS) + DISK_FAULTS.index(fault), 240 * len(DISK_FAULTS), len(DISK_FAULTS))


RARE: Final = (
    ("F27 body or block withheld", "liar", range(2000, 2040)),
    ("F29 stale certificate", "liar", range(2000, 2040)),
    ("log found damaged", "disks", _suffering("rot")),
    ("commit in two views", "six", range(2000, 2040)),
    ("F28 another block", "liar", range(2000, 2040)),
    ("F28 new view of forged view changes", "liar", range(2000, 2040)),
    ("F35", "members", range(2000, 2040)),
    ("F36", "leader", range(2000, 2040)),
    ("F22 and its store", "reformat", range(2000, 2040)),
    ("quarantine of a new guard", "reformat", range(2000, 2040)),
    ("epoch ended on the real store", "turnover", range(2000, 2040)),
    ("I12 old set", "turnover", range(2000, 2040)),
    ("I12 epochs left out", "turnover", range(2000, 2040)),
    ("I12 another next set", "turnover", range(2000, 2040)),
    ("connection ended in a partition", "twins", range(2000, 2040)),
    ("only a quorum heals", "swarm", range(2000, 2040)),
    ("F21 with its guard", "disks", _suffering("snapshot")),
)
"""What few runs meet, and where to look for it until it is met."""


@cache
def outcome(seed: int, profile: str | None = None) -> Outcome:
    """Return what a seed came to."""
    return run_plan(draw_plan(seed, profile))


def check(found: Outcome, profile: str | None = None) -> Outcome:
    """Return a run that did not fail, and say how to repeat one that did."""
    again = f"make simulate SEEDS=1 FIRST={found.seed}" + (f" PROFILE={profile}" if profile else "")
    assert found.failure is None, f"{found.failure} | again: {again}"
    return found


def campaign() -> Counter[str]:
    """Return what all runs together counted."""
    counts: Counter[str] = Counter()
    for seed in SWARM_SEEDS:
        counts.update(outcome(seed).counts)
    for profile in PROFILES:
        for seed in DISK_SEEDS if profile == "disks" else PROFILE_SEEDS:
            counts.update(outcome(seed, profile).counts)
    for name, profile, seeds in RARE:
        for seed in seeds:
            if counts[name]:
                break
            counts.update(check(outcome(seed, profile), profile).counts)
    return counts
