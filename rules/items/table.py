"""Which file formats are understood, and the choice among them (IT-8). A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rules.items import csv_list, register_list, xml_list
from rules.items.model import CONTENT_BYTES_MAX, ItemList, ItemsError


@dataclass(frozen=True, slots=True)
class Format:
    """One file format."""

    recognise: Callable[[bytes], bool]
    """Tells from its first bytes whether a file is meant to be of this format."""
    parse: Callable[[bytes], ItemList]
    """Raises `ItemsError`, and nothing else, whatever the bytes."""


FORMATS: Final[Mapping[str, Format]] = {
    register_list.NAME: Format(register_list.recognise, register_list.parse),
    xml_list.NAME: Format(xml_list.recognise, xml_list.parse),
    csv_list.NAME: Format(csv_list.recognise, csv_list.parse),
}
"""In the order in which they are tried; the last takes what no other does."""


def read_items(content: bytes) -> ItemList:
    """Return the items of a file by the first format that recognises it.

    Raises:
        ItemsError: The file is longer than 256 KiB, or not what it seems to be.
    """
    name = next(name for name, entry in FORMATS.items() if entry.recognise(content))
    return read_items_as(name, content)


def read_items_as(name: str, content: bytes) -> ItemList:
    """Return the items of a file by the format of this name.

    Raises:
        ItemsError: The file is longer than 256 KiB or not of this format, or there is no such format here.
    """
    if name not in FORMATS:
        raise ItemsError(f"the format {name} is not known here")
    if len(content) > CONTENT_BYTES_MAX:
        raise ItemsError(f"files of more than {CONTENT_BYTES_MAX} bytes are not looked into")
    return FORMATS[name].parse(content)
