"""Read device identification (FC43, interface 14): categories, paging, single objects.

May live here: one pure function over a table of objects.

Source: MODBUS Application Protocol Specification V1.1b3, 6.21.
"""

from __future__ import annotations

from collections.abc import Mapping

BASIC = 1
REGULAR = 2
EXTENDED = 3
INDIVIDUAL = 4

OBJECT_BYTES_MAX = 244
"""Longest object that fits in one answer of 253 bytes."""

_LAST_OBJECT = {BASIC: 0x02, REGULAR: 0x7F, EXTENDED: 0xFF}
_CONFORMITY = 0x80
"""Set in the conformity level: single objects can be asked for, too."""
_OBJECTS_BYTES_MAX = 246
_ILLEGAL_DATA_ADDRESS = 2
_ILLEGAL_DATA_VALUE = 3


def conformity_level(objects: Mapping[int, bytes]) -> int:
    """Name the highest category the device fills: 0x81, 0x82 or 0x83."""
    last = max(objects)
    category = next(code for code, end in _LAST_OBJECT.items() if last <= end)
    return _CONFORMITY | category


def read_device_identification(objects: Mapping[int, bytes], code: int, object_id: int) -> bytes | int:
    """Answer one identification request.

    A category above what the device fills is answered with what it has. A
    stream that starts at an unknown object starts at object 0.

    Args:
        objects: Value by object id, each at most 244 bytes; 0, 1 and 2 exist.
        code: 1 basic, 2 regular, 3 extended, 4 one object.
        object_id: First object of the stream, or the one asked for; 0..255.

    Returns:
        The answer after the interface byte, or the exception code.
    """
    level = conformity_level(objects)
    if code == INDIVIDUAL:
        value = objects.get(object_id)
        if value is None:
            return _ILLEGAL_DATA_ADDRESS
        return bytes((code, level, 0, 0, 1, object_id, len(value))) + value
    if code not in _LAST_OBJECT:
        return _ILLEGAL_DATA_VALUE
    wanted = sorted(key for key in objects if key <= _LAST_OBJECT[code])
    start = wanted.index(object_id) if object_id in wanted else 0
    parts: list[bytes] = []
    room = _OBJECTS_BYTES_MAX
    more, following = 0x00, 0
    for key in wanted[start:]:
        part = bytes((key, len(objects[key]))) + objects[key]
        if len(part) > room:
            more, following = 0xFF, key
            break
        room -= len(part)
        parts.append(part)
    return bytes((code, level, more, following, len(parts))) + b"".join(parts)
