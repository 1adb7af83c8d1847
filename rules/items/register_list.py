"""Settings as the registers of a device hold them: 16 bits each, nothing between them (IT-7).

So a driver hands them out that reads a setting list from registers. Nothing in the bytes says so: a release names the
format.
"""

from __future__ import annotations

from typing import Final

from rules.items.model import Cell, Found, ItemList, ItemsError, number_items
from wire.release import ITEMS_MAX

NAME: Final = "registers"
REGISTER_BYTES: Final = 2


def recognise(content: bytes) -> bool:
    """Take no file that does not name the format."""
    del content
    return False


def parse(content: bytes) -> ItemList:
    """Return the registers as items, numbered from 1, each with its value as a decimal number 0..65535.

    Args:
        content: The registers in the order in which they were read, high byte first.

    Raises:
        ItemsError: An odd number of bytes, none, or more than 4,096 registers.
    """
    if len(content) % REGISTER_BYTES:
        raise ItemsError(f"{len(content)} bytes are no whole registers")
    if len(content) > REGISTER_BYTES * ITEMS_MAX:
        raise ItemsError(f"there are more than {ITEMS_MAX} registers")
    words = (content[at : at + REGISTER_BYTES] for at in range(0, len(content), REGISTER_BYTES))
    found = [Found((Cell("value", str(int.from_bytes(word, "big"))),)) for word in words]
    return number_items(NAME, found)
