"""The gate's short form: every planted bug, beginning at the seed where it was found last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.gate import GateError, check, find, plant
from tests.simulation.mutants import MUTANTS, NAMED, Edit, Mutant
from tests.simulation.scripts import SCRIPTS, run_script

pytestmark = pytest.mark.simulation

SEEDS = 10


# holds CM-26
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_gate_planted_bug_is_found(mutant: Mutant) -> None:
    assert check(mutant, SEEDS).failure


# holds CM-26
def test_gate_holds_the_fifteen_named_bugs_and_more() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(NAMED)) == 15
    assert set(NAMED) <= set(names)
    assert len(names) == len(set(names)) > 15


# holds CM-26
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_with_the_source_as_it_is_forks_nothing(name: str) -> None:
    assert run_script(name) is None


# holds CM-26
def test_gate_source_as_it_is_gives_nothing_to_find(tmp_path: Path) -> None:
    harmless = Mutant(
        "nothing",
        "lossy",
        0,
        (Edit("wire/certificate.py", "VALIDATORS_MAX: Final = 16", "VALIDATORS_MAX: Final = 15"),),
    )
    plant(harmless, tmp_path)
    assert find(harmless, tmp_path, seeds=2) is None


def test_gate_edit_that_fits_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="stands 0 times"):
        plant(Mutant("nowhere", "calm", 0, (Edit("wire/certificate.py", "no such text", ""),)), tmp_path)


def test_gate_edit_that_does_not_run_is_no_find(tmp_path: Path) -> None:
    broken = Mutant(
        "broken", "calm", 0, (Edit("master/consensus/votes.py", "return max(prepared", "return missing(prepared"),)
    )
    plant(broken, tmp_path)
    broken_lossy = Mutant("broken", "lossy", 0, broken.edits)
    with pytest.raises(GateError, match="does not even run"):
        find(broken_lossy, tmp_path, seeds=3)
