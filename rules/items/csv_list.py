"""Setting lists and strategy tables as CSV, one item a line (IT-5)."""

from __future__ import annotations

import csv
import io
from typing import Final

from rules.items.model import CELLS_MAX, Cell, Found, ItemList, ItemsError, number_items
from rules.items.text import utf8
from wire.release import ITEMS_MAX

NAME: Final = "csv"
_DELIMITERS: Final = (",", ";", "\t")
_COLUMNS_MIN: Final = 2


def recognise(content: bytes) -> bool:
    """Take every file that no other format takes."""
    del content
    return True


def parse(content: bytes) -> ItemList:
    """Return the lines below the heading as items.

    The delimiter is that of comma, semicolon and tab which the heading has most often. Empty lines count for nothing.

    Args:
        content: At most 256 KiB.

    Raises:
        ItemsError: No UTF-8, no heading of at least two different names, or a line that does not fit it.
    """
    text = utf8(content)
    heading = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    found: list[Found] = []
    try:
        for texts in reader:
            if not columns:
                columns = _heading(texts)
            elif texts:
                found.append(_line(columns, texts, reader.line_num))
            if len(found) > ITEMS_MAX:
                break
    except csv.Error as error:
        raise ItemsError(f"line {reader.line_num}: {error}") from error
    return number_items(NAME, found)


def _heading(texts: list[str]) -> list[str]:
    if len(texts) < _COLUMNS_MIN or len(texts) > CELLS_MAX or not all(texts):
        raise ItemsError(f"line 1 is no heading of {_COLUMNS_MIN}..{CELLS_MAX} names")
    if len(set(texts)) < len(texts):
        raise ItemsError("line 1 names a column twice")
    return texts


def _line(columns: list[str], texts: list[str], line: int) -> Found:
    if len(texts) != len(columns):
        raise ItemsError(f"line {line} has {len(texts)} fields where {len(columns)} are due")
    return Found(tuple(map(Cell, columns, texts)))
