"""Settings that a device keeps in registers, one register a line (IT-7).

The one form: a driver that reads registers writes it, and so does whoever makes the reference value::

    registers
    input 30 7
    holding 1000 4900
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rules.items.model import Cell, Found, ItemList, ItemsError, number_items
from rules.items.text import utf8
from wire.release import ITEMS_MAX

NAME: Final = "registers"
HOLDING: Final = "holding"
INPUT: Final = "input"
REGISTER_MAX: Final = 65_535
"""Highest address, and highest value."""
_HEADING: Final = "registers"
_BASES: Final = {INPUT: 300_001, HOLDING: 400_001}
"""Number of the register with address 0, as Modbus reference numbers of six digits have it."""
_LINE: Final = re.compile(r"(input|holding) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})", re.ASCII)


def recognise(content: bytes) -> bool:
    """Take a file whose first line is the word ``registers``."""
    return content == _HEADING.encode() or content.startswith(_HEADING.encode() + b"\n")


def write(registers: Mapping[tuple[str, int], int]) -> bytes:
    """Return the file of some registers.

    Args:
        registers: Value 0..65535 by table (``input`` or ``holding``) and address 0..65535.
    """
    ordered = sorted(registers.items(), key=lambda entry: _BASES[entry[0][0]] + entry[0][1])
    lines = (f"{table} {address} {value}\n" for (table, address), value in ordered)
    return f"{_HEADING}\n{''.join(lines)}".encode("ascii")


def parse(content: bytes) -> ItemList:
    """Return the registers as items, numbered 300001 + address or 400001 + address.

    Args:
        content: At most 256 KiB.

    Raises:
        ItemsError: A line is no register, or stands before one of a lower number.
    """
    lines = utf8(content).split("\n")
    if lines.pop() or len(lines) > ITEMS_MAX + 1:
        raise ItemsError(f"the last line does not end, or there are more than {ITEMS_MAX} registers")
    found, last = [], 0
    for place, line in enumerate(lines[1:], start=2):
        number, label, value = _register(line, place)
        if number <= last:
            raise ItemsError(f"line {place}: {label} is out of order")
        last = number
        found.append(Found((Cell("number", str(number)), Cell("name", label), Cell("value", value))))
    return number_items(NAME, found)


def _register(line: str, place: int) -> tuple[int, str, str]:
    match = _LINE.fullmatch(line)
    if match is None or int(match[2]) > REGISTER_MAX or int(match[3]) > REGISTER_MAX:
        raise ItemsError(f"line {place} is no register: a table, an address and a value are due")
    return _BASES[match[1]] + int(match[2]), f"{match[1]} {match[2]}", match[3]
