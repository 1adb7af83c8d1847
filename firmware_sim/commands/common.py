"""What the commands of ``gridwitness-sim`` share: options, tables, the way to the control port."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from firmware_sim.contents import FILE_NAMES
from firmware_sim.control import CONTROL_VARIABLE, Control, find_control
from kit.terminal import Terminal

ControlOption = Annotated[
    str | None,
    typer.Option("--control", metavar="URL", help=f"Control port; else {CONTROL_VARIABLE}."),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state-file", metavar="FILE", help="File that 'up --state-file' wrote."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ArtefactOption = Annotated[str, typer.Option("--artefact", metavar="KIND", help=f"One of {', '.join(FILE_NAMES)}.")]


def emit(answer: Mapping[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print the answer for a program or for a person."""
    Terminal(as_json=as_json).show(answer, lambda: lines)


def table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Align cells in columns; the first row is the heading."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in texts) for index in range(len(texts[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]


def control_of(url: str | None, state_file: Path | None) -> Control:
    """Find the running simulator that is meant."""
    return Control(find_control(url, state_file, os.environ))
