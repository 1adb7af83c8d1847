"""Objects of the monitor direction: address, value, quality, perhaps a time (docs/spec, clauses IC-11 to IC-13).

A value is an integer: a short float stays its 32 bits, since no float is computed here. Whole columns are converted at
once, because an interrogation brings points by the ten thousand.

Source: IEC 60870-5-101:2003, 7.2.6 and 7.3.1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from wire.iec104.errors import AsduError, ParameterError
from wire.iec104.time56 import TIME_BYTES, Time56, decode_time, encode_time
from wire.iec104.types import TypeId

ADDRESS_MAX: Final = 0xFF_FFFF
OVERFLOW: Final = 0x01
"""OV: the value lies beyond its range."""
BLOCKED: Final = 0x10
SUBSTITUTED: Final = 0x20
NOT_TOPICAL: Final = 0x40
INVALID: Final = 0x80
TRANSIENT: Final = 0x100
"""Of a step position: it is moving. A bit of ours; on the wire it stands beside the value."""
CARRY: Final = 0x20
"""Of a counter: it overflowed since its last freeze."""
ADJUSTED: Final = 0x40
"""Of a counter: it was set since its last freeze."""
COUNTER_SEQUENCE: Final = 0x1F
"""Of a counter: number of the freeze."""
_ONE_OCTET_QUALITY: Final = BLOCKED | SUBSTITUTED | NOT_TOPICAL | INVALID
_QDS: Final = OVERFLOW | _ONE_OCTET_QUALITY
_STEP_MAX: Final = 63
_ADDRESS_LAYOUT: Final = "HB"
_ADDRESS_BYTES: Final = 3


class Point(NamedTuple):
    """One information object."""

    address: int
    """0..16777215."""
    value: int
    """Single 0..1; double 0..3 (1 off, 2 on); step -64..63; bitstring 0..2^32-1; normalised and scaled -32768..32767
    (normalised: divide by 32768); float: its 32 bits, 0..2^32-1; counter -2^31..2^31-1."""
    quality: int
    """Flags of this module; those of a counter are its own. 0 is good."""
    time: Time56 | None = None
    """The device's time tag, where the type has one."""


Column = Sequence[int]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the element of a type is laid out."""

    layout: str
    split: Callable[..., tuple[Column, Column]]
    """Columns of the layout -> values and qualities."""
    join: Callable[[int, int], tuple[int, ...]]
    """Value and quality -> fields of the layout."""
    values: range
    quality: int
    """Flags that there are."""


def _plain(layout: str, values: range, quality: int) -> _Shape:
    """Return the shape of a value that is followed by its quality."""
    return _Shape(
        layout,
        lambda values, octets: (values, [octet & quality for octet in octets]),
        lambda value, flags: (value, flags),
        values,
        quality,
    )


def _one_octet(mask: int) -> _Shape:
    """Return the shape of a value that shares its octet with its quality."""
    return _Shape(
        "B",
        lambda octets: ([octet & mask for octet in octets], [octet & _ONE_OCTET_QUALITY for octet in octets]),
        lambda value, flags: (value | flags,),
        range(mask + 1),
        _ONE_OCTET_QUALITY,
    )


def _split_steps(octets: Column, qualities: Column) -> tuple[Column, Column]:
    return (
        [((octet & 0x7F) ^ 0x40) - 0x40 for octet in octets],
        [quality & _QDS | (octet & 0x80) << 1 for octet, quality in zip(octets, qualities, strict=True)],
    )


_SINGLE: Final = _one_octet(1)
_DOUBLE: Final = _one_octet(3)
_STEP: Final = _Shape(
    "BB",
    _split_steps,
    lambda value, flags: (value & 0x7F | (flags & TRANSIENT) >> 1, flags & _QDS),
    range(-_STEP_MAX - 1, _STEP_MAX + 1),
    _QDS | TRANSIENT,
)
_BITS: Final = _plain("IB", range(2**32), _QDS)
_INTEGER: Final = _plain("hB", range(-(2**15), 2**15), _QDS)
_COUNTER: Final = _plain("iB", range(-(2**31), 2**31), 0xFF)
_BARE: Final = _Shape(
    "h", lambda values: (values, [0] * len(values)), lambda value, _: (value,), range(-(2**15), 2**15), 0
)

POINT_TYPES: Final[dict[int, tuple[_Shape, bool]]] = {
    TypeId.M_SP_NA_1: (_SINGLE, False),
    TypeId.M_DP_NA_1: (_DOUBLE, False),
    TypeId.M_ST_NA_1: (_STEP, False),
    TypeId.M_BO_NA_1: (_BITS, False),
    TypeId.M_ME_NA_1: (_INTEGER, False),
    TypeId.M_ME_NB_1: (_INTEGER, False),
    TypeId.M_ME_NC_1: (_BITS, False),
    TypeId.M_IT_NA_1: (_COUNTER, False),
    TypeId.M_ME_ND_1: (_BARE, False),
    TypeId.M_SP_TB_1: (_SINGLE, True),
    TypeId.M_DP_TB_1: (_DOUBLE, True),
    TypeId.M_ST_TB_1: (_STEP, True),
    TypeId.M_BO_TB_1: (_BITS, True),
    TypeId.M_ME_TD_1: (_INTEGER, True),
    TypeId.M_ME_TE_1: (_INTEGER, True),
    TypeId.M_ME_TF_1: (_BITS, True),
    TypeId.M_IT_TB_1: (_COUNTER, True),
}
"""Types that carry points: the shape of the element, and whether a time tag follows it."""
_UNTAGGED: Final = {
    int(TypeId.M_SP_TB_1): TypeId.M_SP_NA_1,
    int(TypeId.M_DP_TB_1): TypeId.M_DP_NA_1,
    int(TypeId.M_ST_TB_1): TypeId.M_ST_NA_1,
    int(TypeId.M_BO_TB_1): TypeId.M_BO_NA_1,
    int(TypeId.M_ME_TD_1): TypeId.M_ME_NA_1,
    int(TypeId.M_ME_TE_1): TypeId.M_ME_NB_1,
    int(TypeId.M_ME_TF_1): TypeId.M_ME_NC_1,
    int(TypeId.M_IT_TB_1): TypeId.M_IT_NA_1,
}
FLOAT_TYPES: Final = frozenset({int(TypeId.M_ME_NC_1), int(TypeId.M_ME_TF_1)})
"""Types whose value is the bits of a short float."""


def _struct(shape: _Shape, *, has_time: bool, is_sequence: bool) -> struct.Struct:
    head = "" if is_sequence else _ADDRESS_LAYOUT
    return struct.Struct(f"<{head}{shape.layout}{f'{TIME_BYTES}s' if has_time else ''}")


_STRUCTS: Final = {
    (int(type_id), is_sequence): _struct(shape, has_time=has_time, is_sequence=is_sequence)
    for type_id, (shape, has_time) in POINT_TYPES.items()
    for is_sequence in (False, True)
}


def untagged(type_id: int) -> TypeId:
    """Return the type without a time tag that carries the same values, for a type of `POINT_TYPES`."""
    return _UNTAGGED.get(type_id) or TypeId(type_id)


def point_bytes(type_id: int, *, is_sequence: bool = False) -> int:
    """Return the octets of one object of a type of `POINT_TYPES`, in a sequence without its address."""
    return _STRUCTS[type_id, is_sequence].size


def decode_points(type_id: int, raw: bytes, at: int, count: int, *, is_sequence: bool) -> tuple[Point, ...]:
    """Decode the objects of an ASDU.

    Args:
        type_id: One of `POINT_TYPES`.
        raw: The whole ASDU.
        at: Where the objects begin.
        count: As the head says, 0..127.
        is_sequence: One address, then elements alone.

    Raises:
        AsduError: Other octets than ``count`` objects have, no object, or addresses beyond the last one.
    """
    layout = _STRUCTS[type_id, is_sequence]
    due = count * layout.size + (_ADDRESS_BYTES if is_sequence else 0)
    if count == 0 or len(raw) - at != due:
        raise AsduError(
            f"type identification {type_id} with {count} objects has {due} octets behind its head, "
            f"found {len(raw) - at}"
        )
    addresses: Iterable[int]
    if is_sequence:
        first = int.from_bytes(raw[at : at + _ADDRESS_BYTES], "little")
        if first + count > ADDRESS_MAX + 1:
            raise AsduError(f"a sequence of {count} objects from address {first} on leaves the addresses")
        addresses = range(first, first + count)
        columns = list(zip(*layout.iter_unpack(memoryview(raw)[at + _ADDRESS_BYTES :]), strict=True))
    else:
        lows, highs, *columns = zip(*layout.iter_unpack(memoryview(raw)[at:]), strict=True)
        addresses = [low | high << 16 for low, high in zip(lows, highs, strict=True)]
    shape, has_time = POINT_TYPES[type_id]
    times = map(decode_time, columns.pop()) if has_time else (None,) * count
    values, qualities = shape.split(*columns)
    return tuple(map(Point._make, zip(addresses, values, qualities, times, strict=True)))


def encode_points(type_id: int, points: Sequence[Point], *, is_sequence: bool) -> bytes:
    """Encode the objects of an ASDU; reserved bits are 0.

    Args:
        type_id: One of `POINT_TYPES`.
        points: At least one; in a sequence their addresses count up by one.
        is_sequence: One address, then elements alone.

    Raises:
        ParameterError: A value, quality, time or address that the type does not have.
    """
    shape, has_time = POINT_TYPES[type_id]
    layout = _STRUCTS[type_id, is_sequence]
    first = points[0].address
    parts = [first.to_bytes(_ADDRESS_BYTES, "little")] if is_sequence and 0 <= first <= ADDRESS_MAX else []
    for number, (address, value, quality, time) in enumerate(points):
        if not 0 <= address <= ADDRESS_MAX or (is_sequence and address != first + number):
            raise ParameterError(f"address {address} is none, or not the next one of a sequence from {first} on")
        if value not in shape.values or quality & ~shape.quality:
            raise ParameterError(f"type identification {type_id} has no value {value} with quality {quality:#x}")
        if (time is not None) != has_time:
            raise ParameterError(f"type identification {type_id} has {'a' if has_time else 'no'} time tag")
        place = () if is_sequence else (address & 0xFFFF, address >> 16)
        tag = () if time is None else (encode_time(time),)
        parts.append(layout.pack(*place, *shape.join(value, quality), *tag))
    return b"".join(parts)


def scaled_float(bits: int, per_unit: int) -> int | None:
    """Return a short float as a whole number of parts of its unit, the half to the even one.

    Args:
        bits: IEEE 754 single, 0..2^32-1.
        per_unit: Parts that a unit has, such as 1,000,000.

    Returns:
        None where the bits are no number or infinite.
    """
    exponent, fraction = bits >> 23 & 0xFF, bits & 0x7F_FFFF
    if exponent == _NO_NUMBER:
        return None
    magnitude = (fraction | 0x80_0000 if exponent else fraction) * per_unit
    shift = max(exponent, 1) - _FLOAT_BIAS
    if shift >= 0:
        magnitude <<= shift
    else:
        half, rest = 1 << -shift - 1, magnitude & (1 << -shift) - 1
        magnitude >>= -shift
        magnitude += rest > half or (rest == half and magnitude & 1)
    return -magnitude if bits >> 31 else magnitude


_NO_NUMBER: Final = 0xFF
_FLOAT_BIAS: Final = 150
