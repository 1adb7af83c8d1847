"""The mutation gate: plants each bug in a copy of the source and demands that the simulator finds it within 40 seeds.

A bug counts as found when the invariant that it breaks is named, and the same seed finds nothing in the source as it
is.

``python -m tests.simulation.gate [--only WORD] [--short]``; the source itself has no switch for any of them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.simulation.__main__ import say
from tests.simulation.cluster import run_plan
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.plan import draw_plan
from tests.simulation.scripts import run_script

ROOT: Final = Path(__file__).parents[2]
SEEDS: Final = 40
_TESTS: Final = ("interop", "simulation", "unit/contracts", "unit/ledger")
_COPIED: Final = ("kit", "master", "rules", "wire", *(f"tests/{name}" for name in _TESTS))
_BROKEN_EDIT: Final = re.compile(r"\b(NameError|SyntaxError|ImportError|AttributeError|TypeError|UnboundLocalError)\b")
_WITHIN_S: Final = 300


class GateError(Exception):
    """A mutant cannot be planted or was not found; the message says which."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where and how a mutant showed itself."""

    seed: int
    failure: str


def plant(mutant: Mutant, folder: Path) -> None:
    """Copy the source to ``folder`` and plant a bug there.

    Raises:
        GateError: The text to be replaced does not stand exactly once in its file.
    """
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "tests/unit"):
        shutil.copy(ROOT / name / "__init__.py", folder / name / "__init__.py")
    for edit in mutant.edits:
        text = (folder / edit.path).read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            raise GateError(f"{mutant.name}: {edit.old!r} stands {text.count(edit.old)} times in {edit.path}")
        (folder / edit.path).write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def find(mutant: Mutant, folder: Path, seeds: int = SEEDS) -> Found | None:
    """Run the simulator in ``folder`` until it finds the bug."""
    kind, _, what = mutant.profile.partition(":")
    if kind == "script":
        answer = _simulate(folder, "--script", what)
        return _found(mutant, answer)
    order = [mutant.seed, *(seed for seed in range(seeds) if seed != mutant.seed)]
    if kind == "hash-seeds":
        for seed in order:
            if len(_traces(folder, what, seed)) > 1:
                return Found(seed, "another trace under another hash seed")
        return None
    first = _simulate(folder, "--stop", "--profile", kind, "--first", str(mutant.seed), "--seeds", "1")
    if "FAILED" in first:
        return _found(mutant, first)
    return _found(mutant, _simulate(folder, "--stop", "--profile", kind, "--first", "0", "--seeds", str(seeds)))


def _traces(folder: Path, profile: str, seed: int) -> set[str]:
    arguments = ("--trace", "--profile", profile, "--first", str(seed))
    return {_simulate(folder, *arguments, hash_seed=hash_seed) for hash_seed in "01"}


def _simulate(folder: Path, *arguments: str, hash_seed: str = "0") -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("COVERAGE_PROCESS_START", None)
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    answer = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_WITHIN_S
    )
    if answer.returncode not in (0, 1) or answer.stderr:
        raise GateError(f"the simulator died: {answer.stderr[-500:]}")
    return answer.stdout


def _found(mutant: Mutant, output: str) -> Found | None:
    lines = [line for line in output.splitlines() if line.startswith("FAILED")]
    if not lines:
        return None
    if _BROKEN_EDIT.search(lines[0]):
        raise GateError(f"{mutant.name}: the edit does not even run: {lines[0]}")
    seed = re.search(r"--first (\d+)", lines[0])
    return Found(int(seed[1]) if seed else 0, lines[0].removeprefix("FAILED ").split(" | ")[0])


def check(mutant: Mutant, seeds: int = SEEDS) -> Found:
    """Plant a bug and find it.

    Raises:
        GateError: It was not found.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        plant(mutant, Path(name))
        found = find(mutant, Path(name), seeds)
    if found is None:
        raise GateError(f"{mutant.name}: not found in {seeds} seeds of {mutant.profile}")
    if not found.failure.startswith(mutant.breaks):
        raise GateError(f"{mutant.name}: seed {found.seed} shows {found.failure!r}, {mutant.breaks!r} is due")
    if not is_sound(mutant, found.seed):
        raise GateError(f"{mutant.name}: the source as it is fails with seed {found.seed} of {mutant.profile}, too")
    return found


@cache
def _is_sound(profile: str, seed: int) -> bool:
    kind, _, what = profile.partition(":")
    if kind == "script":
        return run_script(what) is None
    if kind == "hash-seeds":
        return len(_traces(ROOT, what, seed)) == 1
    return run_plan(draw_plan(seed, kind)).failure is None


def is_sound(mutant: Mutant, seed: int) -> bool:
    """Run a seed of a mutant's profile on the source as it is, once for all that are found by it."""
    return _is_sound(mutant.profile, seed)


def main() -> int:
    """Try all mutants; print a line for each."""
    parser = argparse.ArgumentParser(prog="mutation-gate")
    parser.add_argument("--only", default="", help="a word of the names")
    arguments = parser.parse_args()
    missed = 0
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.name]
    for mutant in chosen:
        start_s = time.monotonic()
        try:
            found = check(mutant)
        except GateError as error:
            missed += 1
            say(f"MISSED {error}")
            continue
        took_s = time.monotonic() - start_s
        say(f"found  {mutant.name} ({mutant.profile}, seed {found.seed}, {took_s:.1f} s): {found.failure[:110]}")
    say(f"{len(chosen)} bugs planted, {len(chosen) - missed} found, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
