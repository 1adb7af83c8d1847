"""Runs that failed once, each with its whole plan, so that they stay the same when plans are drawn otherwise."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.simulation.plan import Plan

FOLDER: Final = Path(__file__).parent
KEPT: Final = sorted(FOLDER.glob("*.json"))


@dataclass(frozen=True, slots=True)
class Kept:
    """One run to be repeated for ever."""

    why: str
    """What went wrong."""
    plan: Plan
    again: str
    """The command that repeats it."""


def read_kept(path: Path) -> Kept:
    """Read one file of the folder."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Kept(content["why"], Plan(**content["plan"]), f"python -m tests.simulation --kept {path.stem}")


def write_kept(name: str, why: str, plan: Plan, folder: Path = FOLDER) -> Path:
    """Keep a run; what a plan leaves at its default is left out."""
    plain = asdict(Plan(plan.seed, plan.size, plan.is_keyed))
    chosen = {key: value for key, value in asdict(plan).items() if value != plain[key]}
    content = {"why": why, "plan": {"seed": plan.seed, "size": plan.size, "is_keyed": plan.is_keyed, **chosen}}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
