"""Numbered items: what a setting list or a strategy table says, whatever its file looks like (IT-4).

Values stay the exact text of the file. A decimal number has its scaled integer beside it; there are no floats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wire import cbor
from wire.cbor import Value
from wire.difference import NUMBER_MAX
from wire.errors import CborError, FormatError
from wire.fields import Fields, is_plain
from wire.release import ITEMS_MAX
from wire.types import check_ascending

CONTENT_BYTES_MAX: Final = 256 * 1024
"""Longest file that is looked into."""
CELLS_MAX: Final = 64
"""Cells of one item."""
TEXT_CHARACTERS_MAX: Final = 256
"""Characters of a label, of a column's name and of one cell."""
LIST_CELLS_MAX: Final = 65_536
"""Cells of all items of a file."""
LIST_BYTES_MAX: Final = 1024 * 1024
"""Bytes of all texts of a file, each column's name counted with every cell of it."""
NUMBER_COLUMNS: Final = ("number", "no", "no.", "nr", "row", "index", "id")
"""Columns that may hold an item's own number, in whatever case."""
LABEL_COLUMNS: Final = ("name", "label", "setting", "parameter", "description")
"""Columns that may hold its name, in whatever case."""
_DECIMAL: Final = re.compile(r"([+-]?)([0-9]{1,18})(?:\.([0-9]{1,18}))?", re.ASCII)
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_NAMES: Final = ("number", "label", "cells")


class ItemsError(FormatError):
    """The content is no list of this format; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """A decimal number without its point: 49.00 is 4900 with 2 decimals."""

    unscaled: int
    decimals: int
    """0..18."""

    def equals(self, other: Scaled) -> bool:
        """Tell whether it is the same number, however many zeros stand behind it."""
        places = max(self.decimals, other.decimals)
        return self._at(places) == other._at(places)

    def _at(self, places: int) -> int:
        return self.unscaled * int("1" + "0" * (places - self.decimals))


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing that is said of an item, such as its value or its unit."""

    column: str
    """Heading, attribute or element name."""
    text: str
    """Exactly as it stands in the file."""

    def scaled(self) -> Scaled | None:
        """Return the text as a decimal number, or None if it is none, or has more than 18 digits on a side."""
        match = _DECIMAL.fullmatch(self.text)
        if match is None:
            return None
        sign, whole, decimals = match[1], match[2], match[3] or ""
        return Scaled(int(sign + whole + decimals), len(decimals))


@dataclass(frozen=True, slots=True)
class NumberedItem:
    """One setting of a list, or one row of a strategy table."""

    number: int
    """0..2^32-1: the file's own number if it numbers its items, else their place, from 1."""
    label: str
    """Name for people, empty if the file gives none."""
    cells: tuple[Cell, ...]
    """At most 64, in the order of the file, no column twice."""

    def to_value(self) -> dict[str, Value]:
        """Return the item as a CBOR map."""
        cells: list[Value] = [[cell.column, cell.text] for cell in self.cells]
        return {"number": self.number, "label": self.label, "cells": cells}

    def encode(self) -> bytes:
        """Return the canonical bytes: what a leaf of the items' tree stands for."""
        return cbor.encode(self.to_value())


@dataclass(frozen=True, slots=True)
class ItemList:
    """What was understood of one file."""

    format: str
    """Key of `rules.items.table.FORMATS`."""
    items: tuple[NumberedItem, ...]
    """1..4,096, ascending by number, no number twice."""


@dataclass(frozen=True, slots=True)
class Found:
    """One item as a parser finds it, before the items are numbered."""

    cells: tuple[Cell, ...]
    is_head: bool = False
    """It speaks of the whole file, and gets the number 0."""


def number_items(format_name: str, found: Sequence[Found]) -> ItemList:
    """Number and check what a parser found.

    The file's own numbers count if every item has one, none twice; else the items are numbered from 1 in their
    order, and the text that was no number stays a cell.

    Args:
        format_name: Key of `rules.items.table.FORMATS`.
        found: In the order of the file; at most the first is the head.

    Raises:
        ItemsError: No items or more than 4,096, or a text that is too long or cannot be shown.
    """
    if len(found) > ITEMS_MAX:
        raise ItemsError(f"there are more than {ITEMS_MAX} items")
    rows = [entry for entry in found if not entry.is_head]
    if not rows:
        raise ItemsError("there are no items")
    items = [_named(0, list(entry.cells)) for entry in found if entry.is_head]
    taken = [_take(list(entry.cells), NUMBER_COLUMNS) for entry in rows]
    numbers = {_own_number(text) for text, _ in taken}
    if 0 in numbers or len(numbers) < len(rows):
        items += [_named(place, list(entry.cells)) for place, entry in enumerate(rows, start=1)]
    else:
        items += [_named(_own_number(text), rest) for text, rest in taken]
    items.sort(key=lambda item: item.number)
    _check(items)
    return ItemList(format_name, tuple(items))


def decode_items(format_name: str, values: Sequence[object]) -> ItemList:
    """Check items that came as CBOR values.

    Raises:
        FormatError: A field is missing, unknown, out of range or out of order.
    """
    items = [_decode_item(value) for value in values]
    if not 1 <= len(items) <= ITEMS_MAX:
        raise FormatError(f"items: 1..{ITEMS_MAX} are due, found {len(items)}")
    check_ascending((item.number for item in items), "items")
    _check(items)
    return ItemList(format_name, tuple(items))


def _decode_item(value: object) -> NumberedItem:
    fields = Fields(value, _NAMES, "items")
    cells = tuple(_decode_cell(entry) for entry in fields.sequence("cells", CELLS_MAX))
    label = fields.text("label", TEXT_CHARACTERS_MAX)
    return NumberedItem(fields.integer("number", 0, NUMBER_MAX), label, cells)


def _decode_cell(value: object) -> Cell:
    match value:
        case [str(column), str(text)]:
            return Cell(column, text)
        case _:
            raise FormatError("items.cells: a column and a text are due")


def _own_number(text: str) -> int:
    """Return an item's own number, 1..2^32-1 without leading zeros, or 0 if the text is none."""
    if not text.isascii() or not text.isdecimal() or text[0] == "0" or len(text) > len(str(NUMBER_MAX)):
        return 0
    number = int(text)
    return number if number <= NUMBER_MAX else 0


def lower(text: str) -> str:
    """Return a text with A to Z in lower case and all else as it is, whatever Python's version holds for a letter."""
    return text.translate(_LOWER)


def _take(cells: list[Cell], columns: Sequence[str]) -> tuple[str, list[Cell]]:
    """Return the text of the first of these columns, empty if there is none, and the other cells."""
    for place, cell in enumerate(cells):
        if lower(cell.column.strip(" ")) in columns:
            return cell.text, cells[:place] + cells[place + 1 :]
    return "", cells


def _named(number: int, cells: list[Cell]) -> NumberedItem:
    label, rest = _take(cells, LABEL_COLUMNS)
    return NumberedItem(number, label, tuple(rest))


def _check(items: Sequence[NumberedItem]) -> None:
    """Refuse what is too much, or cannot be shown or encoded.

    Raises:
        ItemsError: Names the item.
    """
    if sum(len(item.cells) for item in items) > LIST_CELLS_MAX:
        raise ItemsError(f"the items have more than {LIST_CELLS_MAX} cells")
    room = LIST_BYTES_MAX
    for item in items:
        where = f"item {item.number}"
        if len(item.cells) > CELLS_MAX:
            raise ItemsError(f"{where} has more than {CELLS_MAX} cells")
        columns = [cell.column for cell in item.cells]
        if len(set(columns)) < len(columns):
            raise ItemsError(f"{where} has a column twice")
        for text in (item.label, *columns, *(cell.text for cell in item.cells)):
            _check_text(text, where)
            room -= len(text.encode())
        if room < 0:
            raise ItemsError(f"the texts of all items have more than {LIST_BYTES_MAX} bytes")


def _check_text(text: str, where: str) -> None:
    if len(text) > TEXT_CHARACTERS_MAX:
        raise ItemsError(f"{where} holds a text of more than {TEXT_CHARACTERS_MAX} characters")
    if not is_plain(text):
        raise ItemsError(f"{where} holds a control character or one that is not seen")
    try:
        cbor.check_text(text)
    except CborError as error:
        raise ItemsError(f"{where}: {error}") from error
