"""What a benchmark found, on which machine, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path("build/bench")
FEW_DIGITS = 100
"""From here on a table shows no decimals."""


@dataclass(frozen=True, slots=True)
class Result:
    """One figure."""

    name: str
    value: float
    unit: str
    note: str = ""


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least ``part`` (0..1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def machine() -> dict[str, object]:
    """Describe the machine, so that figures of two of them are not compared unawares."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "python": platform.python_version(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def write(group: str, results: Sequence[Result]) -> Path:
    """Write build/bench/GROUP.json and return its path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{group}.json"
    document = {"machine": machine(), "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def show(group: str, results: Sequence[Result]) -> None:
    """Print the group's table, and below it each note once."""
    table = Table(title=group, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("what", "value", "unit", "note"):
        table.add_column(heading, justify="right" if heading == "value" else "left", no_wrap=True)
    notes = list(dict.fromkeys(result.note for result in results if result.note))
    for result in results:
        digits = 0 if abs(result.value) >= FEW_DIGITS else 2
        mark = f"({notes.index(result.note) + 1})" if result.note else ""
        table.add_row(result.name, f"{result.value:,.{digits}f}", result.unit, mark)
    console = Console(highlight=False)
    console.print(table)
    for number, note in enumerate(notes, start=1):
        console.print(f"  ({number}) {note}", style="dim", soft_wrap=True)
