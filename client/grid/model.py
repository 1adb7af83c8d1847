"""A model of a grid, whatever its format: pieces of equipment with their parameters; and what differs between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

PIECES_MAX: Final = 1_000_000
WORDS_MAX: Final = 256
WORD_CHARACTERS_MAX: Final = 64
VOLTAGES_MAX: Final = 64
_DIGITS_MAX: Final = 40

Piece = Mapping[str, str]
"""Parameters of one piece of equipment by name, each as text."""


class ModelError(ValueError):
    """The bytes are no model of the format that they seem to have; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class GridModel:
    """What one file, or one set of files, says."""

    format: str
    """Name of the format, an identifier."""
    pieces: Mapping[tuple[str, str], Piece]
    """By kind and name: lines, transformers, loads, and whatever else the format knows."""
    voltages_v: frozenset[int]
    """Nominal voltage levels, V."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one piece of equipment."""

    kind: str
    name: str
    what: Literal["added", "changed", "removed"]
    parameters: tuple[tuple[str, str | None, str | None], ...]
    """(name, before, after) of those that differ; None where there is none."""


def difference(before: GridModel, after: GridModel) -> tuple[Change, ...]:
    """Return what changed from one model to another, sorted by kind and name."""
    changes = []
    for key in sorted(before.pieces.keys() | after.pieces.keys()):
        old, new = before.pieces.get(key), after.pieces.get(key)
        was, now = old or {}, new or {}
        pairs = [(name, was.get(name), now.get(name)) for name in sorted({*was, *now})]
        differing = tuple(pair for pair in pairs if pair[1] != pair[2])
        if old is None:
            changes.append(Change(*key, "added", differing))
        elif new is None:
            changes.append(Change(*key, "removed", differing))
        elif differing:
            changes.append(Change(*key, "changed", differing))
    return tuple(changes)


def equipment_of(model: GridModel, before: GridModel | None) -> list[str]:
    """Return the words by which a version is found: all kinds, and each changed piece as KIND/NAME while there is room.

    Args:
        model: The version.
        before: The one before, if it is at hand and of the same format.

    Returns:
        At most 256 texts of at most 64 characters, ascending.
    """
    kinds = {kind[:WORD_CHARACTERS_MAX] for kind, _ in model.pieces}
    changed = set()
    if before is not None and before.format == model.format:
        changed = {f"{change.kind}/{change.name}" for change in difference(before, model)}
    pieces = sorted(word for word in changed if len(word) <= WORD_CHARACTERS_MAX)
    return sorted({*sorted(kinds)[:WORDS_MAX], *pieces[: max(0, WORDS_MAX - len(kinds))]})


def voltages_of(model: GridModel) -> list[int]:
    """Return the voltage levels by which a version is found, the highest 64 of them, ascending."""
    return sorted(model.voltages_v)[-VOLTAGES_MAX:]


def volts(kilovolts: str) -> int | None:
    """Return a nominal voltage in V, None when the text is no voltage of 1 V to 2,000,000 V."""
    try:
        found = Decimal(kilovolts) * 1000
    except InvalidOperation:
        return None
    return int(found) if found.is_finite() and 1 <= found <= 2_000_000 else None  # noqa: PLR2004 - as the ledger has it


def plain(text: str) -> str:
    """Return one text for one number however it is written: 12, 12.0 and 1.2E1 are the same."""
    text = text.strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite():
        return text
    number = number.normalize()
    digits, exponent = len(number.as_tuple().digits), number.adjusted()
    is_short = digits <= _DIGITS_MAX and -_DIGITS_MAX < exponent < _DIGITS_MAX
    return f"{number:f}" if is_short else str(number)
