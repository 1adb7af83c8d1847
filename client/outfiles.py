"""The files that commands write for people: one that is there already is left as it is unless ``--force`` is given.

A command calls ``check_out`` before it asks or signs anything, and ``write_out`` at its end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kit.exitcodes import StorageError
from kit.files import MODE_PUBLIC, write_atomic, write_new

ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")]


def check_out(*paths: Path | None, force: bool = False, can_force: bool = True) -> None:
    """Return if every file can be written, as far as that shows before.

    Args:
        paths: None is no file.
        force: One that exists may be overwritten.
        can_force: The command has ``--force``; files of some commands, such as keys, are never overwritten.

    Raises:
        StorageError: One exists, is a folder, or its folder is missing.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise StorageError(f"{path} is a folder; name the file to write")
        if not path.parent.is_dir():
            raise StorageError(f"{path}: there is no folder {path.parent}; make it or name another file")
        if path.exists() and not force:
            remedy = "give --force to overwrite it, or name another file" if can_force else "move it away"
            raise StorageError(f"{path} exists and was left as it is; {remedy}")


def write_out(path: Path, data: bytes, *, force: bool, mode: int = MODE_PUBLIC) -> None:
    """Write a file, whole or not at all.

    Raises:
        StorageError: It exists, and ``force`` was not given.
        OSError: The folder cannot be written.
    """
    check_out(path, force=force)
    if force:
        write_atomic(path, data, mode=mode)
    else:
        write_new(path, data, mode=mode)  # refuses one that came meanwhile, too
