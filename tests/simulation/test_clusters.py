from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import Final

import pytest

from tests.simulation.cluster import Outcome, run_plan
from tests.simulation.plan import PROFILES, draw_plan

pytestmark = pytest.mark.simulation

BATCH: Final = 8
BATCHES: Final = 12
SOMETIMES: Final = (
    "committed above view 0",
    "crash",
    "outage",
    "value carried over",
    "view change",
    "view led freely",
)


def check(outcome: Outcome, profile: str | None = None) -> Outcome:
    again = f"make simulate SEEDS=1 FIRST={outcome.seed} PROFILE={profile or ''}"
    assert outcome.failure is None, f"{outcome.failure} | again: {again}"
    return outcome


# holds CM-7 CM-8 CM-13 CM-25
@pytest.mark.parametrize("batch", range(BATCHES))
def test_cluster_under_drawn_faults_agrees_and_comes_to_an_end(batch: int) -> None:
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        assert check(run_plan(draw_plan(seed))).height > 0


@pytest.mark.parametrize("profile", PROFILES)
def test_cluster_under_one_kind_of_faults_agrees_and_comes_to_an_end(profile: str) -> None:
    for seed in range(500, 502):
        check(run_plan(draw_plan(seed, profile)), profile)


def test_cluster_over_some_seeds_reaches_the_rare_situations() -> None:
    counts: Counter[str] = Counter()
    for seed in range(600, 606):
        counts.update(check(run_plan(draw_plan(seed, "outage" if seed % 2 else "swarm"))).counts)
    assert not [what for what in SOMETIMES if not counts[what]]


# holds CM-25
def test_cluster_with_a_damaged_disk_uses_quarantine_and_leaves_it() -> None:
    counts: Counter[str] = Counter()
    for seed in range(800, 808):
        counts.update(check(run_plan(draw_plan(seed, "erased")), "erased").counts)
    assert counts["disk: erased"]
    assert counts["quarantine"] >= counts["quarantine-over"] > 0


# holds CM-25
def test_cluster_with_a_censor_leaves_it_by_complaint() -> None:
    outcome = check(run_plan(draw_plan(900, "censor")), "censor")
    assert outcome.counts["view change"] > 0


def test_cluster_without_faults_stays_in_view_zero() -> None:
    for seed in range(700, 703):
        outcome = check(run_plan(draw_plan(seed, "calm")), "calm")
        assert "view change" not in outcome.counts
        assert outcome.height > 10


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_cluster_same_seed_under_another_hash_seed_gives_the_same_run(hash_seed: str) -> None:
    expected = run_plan(draw_plan(3)).trace
    code = (
        "from tests.simulation.cluster import run_plan\n"
        "from tests.simulation.plan import draw_plan\n"
        "print(run_plan(draw_plan(3)).trace)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=50
    )
    assert answer.stdout.strip() == expected


def test_cluster_another_seed_gives_another_run() -> None:
    assert run_plan(draw_plan(3)).trace != run_plan(draw_plan(4)).trace
