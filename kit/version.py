"""The option ``--version`` of every program."""

from __future__ import annotations

from importlib.metadata import version

import typer

DISTRIBUTION = "gridwitness"


def offer_version(app: typer.Typer, program: str) -> None:
    """Let a program tell its version.

    Args:
        app: The program's commands; it has no callback of its own.
        program: The program's name.
    """

    def show(wanted: bool) -> None:  # noqa: FBT001 - a switch of a command line
        if wanted:
            typer.echo(f"{program} {version(DISTRIBUTION)}")
            raise typer.Exit

    option = typer.Option(False, "--version", help="Print the version and end.", callback=show, is_eager=True)  # noqa: FBT003

    def options(_: bool = option) -> None:  # noqa: FBT001 - the callback has dealt with it
        pass

    app.callback()(options)
