from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.campaign import PROFILE_SEEDS, SWARM_SEEDS, campaign, check, outcome
from tests.simulation.cluster import run_plan
from tests.simulation.coverage import MECHANISMS, missing
from tests.simulation.kept import KEPT, read_kept
from tests.simulation.plan import BLOB_PROFILES, PROFILES, draw_plan

pytestmark = pytest.mark.simulation

BATCH: Final = 8


# holds CM-7 CM-8 CM-13 CM-25
@pytest.mark.parametrize("first", SWARM_SEEDS[::BATCH])
def test_cluster_under_drawn_faults_agrees_and_comes_to_an_end(first: int) -> None:
    for seed in range(first, first + BATCH):
        assert check(outcome(seed)).height > 0


@pytest.mark.parametrize("profile", PROFILES)
def test_cluster_under_one_kind_of_faults_agrees_and_comes_to_an_end(profile: str) -> None:
    for seed in PROFILE_SEEDS:
        check(outcome(seed, profile), profile)


# holds CM-25
@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_cluster_in_a_run_that_failed_once_agrees_and_comes_to_an_end(path: Path) -> None:
    kept = read_kept(path)
    found = run_plan(kept.plan)
    assert found.failure is None, f"{kept.why}: {found.failure} | again: {kept.again}"


def test_cluster_under_drawn_faults_has_every_size() -> None:
    assert {draw_plan(seed).size for seed in range(1_000)} == set(range(1, 17))
    assert len({draw_plan(seed).size for seed in SWARM_SEEDS}) > 5


# holds CM-25
def test_cluster_with_a_damaged_disk_uses_quarantine_and_leaves_it() -> None:
    counts: Counter[str] = Counter()
    for seed in range(800, 808):
        counts.update(check(run_plan(draw_plan(seed, "erased")), "erased").counts)
    assert counts["F22 and its log"]
    assert counts["quarantine"] >= counts["quarantine-over"] > 0


# holds CM-25
def test_cluster_with_a_censor_leaves_it_by_complaint() -> None:
    found = check(run_plan(draw_plan(900, "censor")), "censor")
    assert found.counts["view change: complaint"] > 0


# holds BL-7
@pytest.mark.parametrize("profile", BLOB_PROFILES)
def test_cluster_whose_transactions_name_blobs_comes_to_an_end(profile: str) -> None:
    counts: Counter[str] = Counter()
    for seed in range(6):
        counts.update(check(run_plan(draw_plan(seed, profile)), profile).counts)
    assert counts["blob missing for a vote"]
    assert counts["votes hold blobs"]
    assert bool(counts["blob named that nobody has"]) is (profile == "blobs")


def test_cluster_without_faults_stays_in_view_zero() -> None:
    for seed in range(700, 703):
        found = check(run_plan(draw_plan(seed, "calm")), "calm")
        assert "view change" not in found.counts
        assert found.height > 10


# holds CM-25
@pytest.mark.parametrize("profile", ["swarm", "real"])
@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_cluster_same_seed_under_another_hash_seed_gives_the_same_run(hash_seed: str, profile: str) -> None:
    expected = run_plan(draw_plan(3, profile)).trace
    command = [sys.executable, "-m", "tests.simulation", "--trace", "--first", "3", "--profile", profile]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=200)
    assert answer.stdout.strip() == expected


def test_cluster_another_seed_gives_another_run() -> None:
    assert run_plan(draw_plan(3)).trace != run_plan(draw_plan(4)).trace


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
