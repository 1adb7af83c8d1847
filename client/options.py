"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

URL_VARIABLE: Final = "GRIDWITNESS_URL"
TIMEOUT_S_DEFAULT: Final = 30.0

NodeOption = Annotated[
    str,
    typer.Option(
        "--node",
        metavar="URL",
        envvar=URL_VARIABLE,
        help="Full node to ask, such as http://dispatch.example:8080.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
KeyOption = Annotated[
    Path,
    typer.Option("--key", metavar="FILE", help="NAME.key as 'gridwitness keys new' wrote it."),
]
NewKeyOption = Annotated[
    Path,
    typer.Option(
        "--new-key", metavar="FILE", help="NAME.word that its holder handed over, or NAME.key where that is at hand."
    ),
]
SenderOption = Annotated[
    str | None,
    typer.Option("--sender", metavar="ID", help="Account that the key signs for; the name of the key if not told."),
]
GenesisOption = Annotated[
    Path,
    typer.Option("--genesis", metavar="FILE", help="Genesis file of the ledger, from your own disk."),
]
NoWaitOption = Annotated[
    bool,
    typer.Option("--no-wait", help="Return when the node has taken the transaction, before its outcome is known."),
]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.1, max=3600.0, help="How long to wait."),
]
