"""Which items differ, and how: by their numbers, for people (IT-9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rules.items.model import Cell, ItemList, NumberedItem, lower

NAME_COLUMN: Final = "name"
"""Stands for the label among the cells that differ."""
_VALUE_COLUMNS: Final = ("value", "val", "setpoint")
_UNIT_COLUMNS: Final = ("unit", "units")
_WORDS: Final = {"settings": "setting", "strategy": "row"}
_NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class CellChange:
    """One cell that differs."""

    column: str
    expected: str | None
    """None where no such cell is expected."""
    read: str | None
    """None where there was no such cell."""
    is_same_number: bool
    """Both are the same number, written with more or fewer zeros."""


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One item that differs."""

    number: int
    label: str
    """As expected, or as read where no such item is expected."""
    unit: str
    """Unit of its value where both sides say the same, else empty."""
    is_expected: bool
    is_read: bool
    cells: tuple[CellChange, ...]
    """What differs; none for an item that only one side has."""


def compare(expected: ItemList, read: ItemList) -> tuple[ItemChange, ...]:
    """Return the items that differ, ascending by number.

    Items are the same when number, label and all cells are, in their order. If two files differ and their items do
    not, the same items are written otherwise.
    """
    left = {item.number: item for item in expected.items}
    right = {item.number: item for item in read.items}
    numbers = sorted(left.keys() | right.keys())
    return tuple(
        _change(left.get(number), right.get(number)) for number in numbers if left.get(number) != right.get(number)
    )


def _change(expected: NumberedItem | None, read: NumberedItem | None) -> ItemChange:
    if expected is None or read is None:
        item = expected or read
        assert item is not None
        return ItemChange(item.number, item.label, "", expected is not None, read is not None, ())
    left, right = _cells(expected), _cells(read)
    columns = list(dict.fromkeys((*left, *right)))
    changed = tuple(
        _cell_change(column, left.get(column), right.get(column))
        for column in columns
        if left.get(column) != right.get(column)
    )
    unit = _unit(expected)
    return ItemChange(
        expected.number,
        expected.label,
        unit if unit == _unit(read) else "",
        is_expected=True,
        is_read=True,
        cells=changed,
    )


def _cells(item: NumberedItem) -> dict[str, Cell]:
    cells = {cell.column: cell for cell in item.cells}
    return {**({NAME_COLUMN: Cell(NAME_COLUMN, item.label)} if NAME_COLUMN not in cells else {}), **cells}


def _cell_change(column: str, expected: Cell | None, read: Cell | None) -> CellChange:
    is_same_number = False
    if expected is not None and read is not None:
        left, right = expected.scaled(), read.scaled()
        is_same_number = left is not None and right is not None and left.equals(right)
    return CellChange(
        column,
        None if expected is None else expected.text,
        None if read is None else read.text,
        is_same_number,
    )


def _unit(item: NumberedItem) -> str:
    return next((cell.text for cell in item.cells if lower(cell.column) in _UNIT_COLUMNS), "")


def item_name(kind: str, change: ItemChange) -> str:
    """Return what people call an item, such as ``setting 17 UFLS stage 1 frequency``; it tells no value."""
    if change.number == 0:
        return "head of the file"
    return f"{_WORDS.get(kind, 'item')} {change.number}{f' {change.label}' if change.label else ''}"


def item_sentence(kind: str, change: ItemChange) -> str:
    """Return how an item differs, with its values: not for the public."""
    name = item_name(kind, change)
    if not change.is_read:
        return f"{name}: is missing"
    if not change.is_expected:
        return f"{name}: is not expected"
    if not change.cells:
        return f"{name}: its cells stand in another order"
    return f"{name}: {'; '.join(_cell_sentence(cell, change.unit) for cell in change.cells)}"


def _cell_sentence(cell: CellChange, unit: str) -> str:
    is_value = lower(cell.column) in _VALUE_COLUMNS
    expected, read = (_shown(text, unit if is_value else "") for text in (cell.expected, cell.read))
    same = " (the same number)" if cell.is_same_number else ""
    return f"{'' if is_value else f'{cell.column} '}{expected} expected, {read} read{same}"


def _shown(text: str | None, unit: str) -> str:
    if not text:
        return _NOTHING
    return f"{text} {unit}" if unit else text
