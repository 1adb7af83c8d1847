"""The formats of models that are understood. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from client.grid import cgmes, pandapower
from client.grid.model import GridModel

UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Format:
    """How one format is recognised and read."""

    recognise: Callable[[bytes], bool]
    parse: Callable[[bytes], GridModel]


FORMATS: Final[Mapping[str, Format]] = {
    cgmes.NAME: Format(cgmes.recognise, cgmes.parse),
    pandapower.NAME: Format(pandapower.recognise, pandapower.parse),
}


def format_of(content: bytes) -> str:
    """Return the name of the format that the bytes seem to have, `UNKNOWN` if none."""
    return next((name for name, entry in FORMATS.items() if entry.recognise(content)), UNKNOWN)


def read_model(content: bytes) -> GridModel | None:
    """Return what the bytes say, None for a format that is not understood.

    Raises:
        ModelError: They are damaged.
    """
    entry = FORMATS.get(format_of(content))
    return None if entry is None else entry.parse(content)
