"""The points of a device: which addresses it has, and what stands there now.

May live here: pure functions of a device. Groups of points have addresses that follow one another, so that an
interrogation can send them as sequences.

    1..32            measured values, scaled; from 10,001 on as many further ones as the scenario asks for
    101..104         single points: in service, maintenance, time is synchronised, setting group 1 is active
    201..202         double points: trip circuit, breaker
    301              step position: active setting group
    401, 501         frequency, normalised and as short float
    601              bitstring: revision counter of files and settings
    701..702         counters: revision counter, restarts
    6,001 + 16 i     identity texts: vendor, product, product name, model, serial, firmware version
    6,201 + 16 i     firmware, strategy, settings: 6 bitstrings of version text, declared size, CRC-32, revision counter

A text is cut into bitstrings of four ASCII octets, which go over the line in their order, padded with NUL. Numbers in a
bitstring are the codec's: lowest octet first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from firmware_sim.contents import FILE_NAMES
from firmware_sim.device import Device
from wire.iec104.points import INVALID, POINT_TYPES, Point
from wire.iec104.time56 import Time56
from wire.iec104.types import TypeId

MEASURED_FIRST: Final = 1
SINGLE_FIRST: Final = 101
DOUBLE_FIRST: Final = 201
STEP_FIRST: Final = 301
NORMALISED_FIRST: Final = 401
FLOAT_FIRST: Final = 501
BITS_FIRST: Final = 601
COUNTER_FIRST: Final = 701
IDENTITY_FIRST: Final = 6_001
ARTEFACT_FIRST: Final = 6_201
EXTRA_FIRST: Final = 10_001
STRIDE: Final = 16
TEXTS: Final = ("vendor", "product", "product_name", "model", "serial")
"""Identity texts in their order; the firmware version follows."""
VERSION_POINTS: Final = 6
SIZE_OFFSET: Final = 6
CRC_OFFSET: Final = 7
REVISION_OFFSET: Final = 8

GROUP_MEASURED: Final = 1
GROUP_STATUS: Final = 2
GROUP_TEXTS: Final = 3
GROUP_EXTRA: Final = 4

_BITS_OCTETS: Final = 4
_TEXT_POINTS: Final = 16
_COUNTER_MASK: Final = 0x7FFF_FFFF
_SCALE: Final = 32_768
_HUNDREDTHS: Final = 100
_BREAKER_ON: Final = 2
_TIMED: Final = {
    int(TypeId.M_SP_NA_1): TypeId.M_SP_TB_1,
    int(TypeId.M_DP_NA_1): TypeId.M_DP_TB_1,
    int(TypeId.M_ST_NA_1): TypeId.M_ST_TB_1,
    int(TypeId.M_BO_NA_1): TypeId.M_BO_TB_1,
    int(TypeId.M_ME_NA_1): TypeId.M_ME_TD_1,
    int(TypeId.M_ME_NB_1): TypeId.M_ME_TE_1,
    int(TypeId.M_ME_NC_1): TypeId.M_ME_TF_1,
    int(TypeId.M_IT_NA_1): TypeId.M_IT_TB_1,
}


class Block(NamedTuple):
    """Points of one type at addresses that follow one another."""

    group: int
    """Interrogation group, 1..16; every group belongs to the station interrogation."""
    type_id: int
    points: tuple[Point, ...]


def timed(type_id: int) -> TypeId:
    """Return the type with a time tag that belongs to one without."""
    return _TIMED[type_id]


def blocks(device: Device, extra_points: int = 0) -> Iterator[Block]:
    """Yield all points but the counters, as they stand now.

    Args:
        device: Whose points they are.
        extra_points: Measured values from ``EXTRA_FIRST`` on.
    """
    values = device.measurements()
    contents = device.contents
    yield _block(GROUP_MEASURED, TypeId.M_ME_NB_1, MEASURED_FIRST, values)
    is_group_1 = contents.active_group == 1
    yield _block(GROUP_STATUS, TypeId.M_SP_NA_1, SINGLE_FIRST, (1, 0, 1, int(is_group_1)))
    yield _block(GROUP_STATUS, TypeId.M_DP_NA_1, DOUBLE_FIRST, (_BREAKER_ON, _BREAKER_ON))
    yield _block(GROUP_STATUS, TypeId.M_ST_NA_1, STEP_FIRST, (contents.active_group,))
    frequency = values[0]
    yield _block(GROUP_MEASURED, TypeId.M_ME_NA_1, NORMALISED_FIRST, (frequency,))
    yield _block(GROUP_MEASURED, TypeId.M_ME_NC_1, FLOAT_FIRST, (float_bits(frequency / _HUNDREDTHS),))
    yield _block(GROUP_STATUS, TypeId.M_BO_NA_1, BITS_FIRST, (device.revision_counter,))
    for index, text in enumerate((*(getattr(device.shown_identity, name) for name in TEXTS), device.revision)):
        yield _block(GROUP_TEXTS, TypeId.M_BO_NA_1, IDENTITY_FIRST + STRIDE * index, text_bits(text, _TEXT_POINTS))
    for index, kind in enumerate(FILE_NAMES):
        yield _artefact_block(device, kind, ARTEFACT_FIRST + STRIDE * index)
    if extra_points:
        extra = tuple((index * 7 + values[index % len(values)]) % _SCALE for index in range(extra_points))
        yield _block(GROUP_EXTRA, TypeId.M_ME_NB_1, EXTRA_FIRST, extra)


def _artefact_block(device: Device, kind: str, first: int) -> Block:
    """Describe one file; all of it is invalid where the device has none of this kind."""
    held = device.contents.artefacts.get(kind)
    if held is None:
        nothing = tuple(Point(first + index, 0, INVALID) for index in range(REVISION_OFFSET + 1))
        return Block(GROUP_TEXTS, TypeId.M_BO_NA_1, nothing)
    figures = (held.declared_bytes, device.checksum(kind), device.revision_counter)
    return _block(GROUP_TEXTS, TypeId.M_BO_NA_1, first, (*text_bits(held.version, VERSION_POINTS), *figures))


def counters(device: Device) -> Block:
    """Give the counters, which an interrogation of the station leaves out."""
    values = (device.revision_counter & _COUNTER_MASK, device.counters.restarts & _COUNTER_MASK)
    return _block(1, TypeId.M_IT_NA_1, COUNTER_FIRST, values)


def find(device: Device, address: int, extra_points: int = 0) -> Block | None:
    """Find the point at one address."""
    for block in (*blocks(device, extra_points), counters(device)):
        at = address - block.points[0].address
        if 0 <= at < len(block.points):
            return Block(block.group, block.type_id, (block.points[at],))
    return None


def text_bits(text: str, count: int) -> tuple[int, ...]:
    """Cut a text of printable ASCII into bitstrings of four octets, which go over the line in their order.

    Args:
        text: At most ``4 * count`` characters; what is longer is cut off.
        count: Bitstrings.
    """
    octets = text.encode("ascii")[: _BITS_OCTETS * count].ljust(_BITS_OCTETS * count, b"\0")
    return struct.unpack(f"<{count}I", octets)


def float_bits(number: float) -> int:
    """Return the 32 bits of a short float."""
    bits: int = struct.unpack("<I", struct.pack("<f", number))[0]
    return bits


def with_time(points: tuple[Point, ...], time: Time56) -> tuple[Point, ...]:
    """Put a time tag on points."""
    return tuple(point._replace(time=time) for point in points)


def _block(group: int, type_id: TypeId, first: int, values: tuple[int, ...]) -> Block:
    assert type_id in POINT_TYPES, "points only"
    return Block(group, type_id, tuple(Point(first + index, value, 0) for index, value in enumerate(values)))
