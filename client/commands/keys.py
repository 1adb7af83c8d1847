"""gridwitness keys: make and show signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.options import JsonOption
from client.output import lines_of
from kit.exitcodes import UsageError
from kit.keystore import create_key, load_public_key, load_signing_key
from kit.terminal import Terminal
from wire.errors import FormatError
from wire.types import check_identifier

app = typer.Typer(no_args_is_help=True, help="Make and show signing keys.")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the key: 1 to 64 of a-z, 0-9 and '-'.")],
    folder: Annotated[Path, typer.Option("--dir", help="Folder for the files.")] = Path(),
    *,
    json: JsonOption = False,
) -> None:
    """Make an Ed25519 key: NAME.key (secret), NAME.pub (to hand out) and NAME.seq (its counter).

    Nothing is overwritten. Give NAME.pub to whoever writes the genesis file; keep NAME.key and NAME.seq together, since
    the counter says what the key has signed.

    Example: gridwitness keys new relay-laboratory --dir keys
    """
    try:
        check_identifier(name, "NAME")
    except FormatError as error:
        raise UsageError(f"{error}; choose another name") from error
    key = create_key(folder, name)
    shown = {
        "name": key.name,
        "public": key.public.hex(),
        "kid": key.kid.hex(),
        "key_file": str(folder / f"{name}.key"),
        "public_file": str(folder / f"{name}.pub"),
    }
    Terminal(as_json=json).show(shown, lambda: lines_of(shown))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="NAME.pub or NAME.key.")],
    *,
    json: JsonOption = False,
) -> None:
    """Show the public part of a key, never the secret.

    Example: gridwitness keys show keys/relay-laboratory.pub
    """
    if file.suffix == ".pub":
        public = load_public_key(file)
        shown = {"name": public.name, "public": public.public.hex(), "kid": public.kid.hex()}
    elif file.suffix == ".key":
        key = load_signing_key(file)
        shown = {"name": key.name, "public": key.public.hex(), "kid": key.kid.hex()}
    else:
        raise UsageError(f"{file} is neither NAME.pub nor NAME.key")
    Terminal(as_json=json).show(shown, lambda: lines_of(shown))
