from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.joiner import JoinOutcome, run_join

pytestmark = pytest.mark.simulation

SEEDS: Final = 8
BATCH: Final = 4
SOMETIMES: Final = ("adopted", "archive-rejected", "chunk-rejected", "crash", "pruned", "resumed", "snapshot-abandoned")


def run(seed: int, folder: Path) -> JoinOutcome:
    outcome = run_join(seed, folder)
    assert outcome.failure is None, f"{outcome.failure} | again: python -m tests.simulation.joiner {seed}"
    return outcome


# holds SN-8 SN-9 SN-11
@pytest.mark.parametrize("batch", range(SEEDS // BATCH))
def test_joiner_among_liars_and_pruning_nodes_gets_state_and_past(batch: int, tmp_path: Path) -> None:
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        run(seed, tmp_path)


# holds SN-8 SN-11
def test_joiner_over_some_seeds_meets_the_rare_situations(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for seed in range(100, 112):
        counts.update(run(seed, tmp_path).counts)
        if all(counts[what] for what in SOMETIMES):
            break
    assert not [what for what in SOMETIMES if not counts[what]]


# holds SN-11
def test_joiner_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    assert run(3, tmp_path / "once").counts == run(3, tmp_path / "again").counts
