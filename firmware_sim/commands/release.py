"""``gridwitness-sim release``: release folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from firmware_sim.commands.common import (
    JsonOption,
    emit,
    table,
)
from firmware_sim.contents import FILE_NAMES
from firmware_sim.release import ReleaseSpec, make_release

_KIB = 1_024

release_app = typer.Typer(
    help="Make release folders, as a manufacturer hands them out.",
    epilog="Example: gridwitness-sim release make releases/lakeside-1-2.4.0 --device sc-lakeside-1",
    rich_markup_mode=None,
)


@release_app.callback()
def release() -> None:
    """Group the release commands."""


@release_app.command("make")
def release_make(
    folder: Annotated[Path, typer.Argument(help="Folder to write; made when missing.")],
    device: Annotated[str | None, typer.Option(help="The one device it is for.")] = None,
    model: Annotated[str | None, typer.Option(help="Or the model it is for.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Identifier; else from the folder.")] = None,
    version: Annotated[str, typer.Option(help="Version of all its files.")] = "1.0.0",
    product: Annotated[str, typer.Option(help="Product in the firmware header.")] = "SCD-220",
    build_date: Annotated[str, typer.Option(help="Date in the firmware header.")] = "2026-03-17",
    seed: Annotated[str, typer.Option(help="Other seeds give other files.")] = "gridwitness",
    size_kib: Annotated[int, typer.Option(help="Firmware size, 64..2048 KiB.")] = 280,
    kind: Annotated[list[str] | None, typer.Option(help="Only this artefact; repeatable.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write a release folder from nothing but these arguments.

    Example: gridwitness-sim release make releases/lakeside-1-2.4.0 --device sc-lakeside-1 --version 2.4.0
    """
    spec = ReleaseSpec(
        release=name or folder.name.lower().replace(".", "-"),
        version=version,
        device=device,
        model=model,
        product=product,
        build_date=build_date,
        seed=seed,
        size_bytes=size_kib * _KIB,
        kinds=tuple(kind or FILE_NAMES),
    )
    made = make_release(folder, spec)
    answer = {
        "release": made.release,
        "folder": str(folder),
        "artefacts": [
            {"kind": item.kind, "version": item.version, "size_bytes": len(item.content)} for item in made.artefacts
        ],
    }
    rows: list[Sequence[object]] = [("ARTEFACT", "VERSION", "BYTES")]
    rows += [(item.kind, item.version, len(item.content)) for item in made.artefacts]
    emit(answer, [f"{made.release} in {folder}", *table(rows)], as_json=as_json)
