"""What a controlled station sends: points, confirmations, end of initialisation, files (docs/spec, clause IC-16).

Source: IEC 60870-5-101:2003, 7.3.1, 7.3.3 and 7.3.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, assert_never

from wire.iec104.apci import ASDU_BYTES_MAX
from wire.iec104.asdu import (
    ADDRESS_BYTES,
    HEAD_BYTES,
    Directory,
    EndOfInitialisation,
    FileReady,
    LastSection,
    SectionReady,
    Segment,
)
from wire.iec104.errors import AsduError, ParameterError
from wire.iec104.points import ADDRESS_MAX, Point, encode_points, point_bytes
from wire.iec104.time56 import encode_time
from wire.iec104.types import Cause, TypeId

Response = EndOfInitialisation | FileReady | SectionReady | LastSection | Segment | Directory

COUNT_MAX: Final = 127
SEGMENT_BYTES_MAX: Final = ASDU_BYTES_MAX - HEAD_BYTES - ADDRESS_BYTES - 4
DIRECTORY_ENTRIES_MAX: Final = (ASDU_BYTES_MAX - HEAD_BYTES - ADDRESS_BYTES) // 13
_HEAD: Final = struct.Struct("<BBBBH")
_NEGATIVE: Final = 0x40
_TEST: Final = 0x80
_SEQUENCE: Final = 0x80
_CAUSE_MAX: Final = 63
_CAUSE_AT: Final = 2
_CONFIRMATIONS: Final = frozenset(
    {
        Cause.ACTIVATION_CON,
        Cause.DEACTIVATION_CON,
        Cause.ACTIVATION_TERMINATION,
        Cause.UNKNOWN_TYPE,
        Cause.UNKNOWN_CAUSE,
        Cause.UNKNOWN_COMMON_ADDRESS,
        Cause.UNKNOWN_OBJECT_ADDRESS,
    }
)


def points_per_asdu(type_id: int, *, is_sequence: bool = False) -> int:
    """Return how many objects of a type of `POINT_TYPES` fit into one ASDU, 1..127."""
    room = ASDU_BYTES_MAX - HEAD_BYTES - (ADDRESS_BYTES if is_sequence else 0)
    return min(COUNT_MAX, room // point_bytes(type_id, is_sequence=is_sequence))


def encode_point_asdus(
    type_id: int,
    cause: int,
    common_address: int,
    points: Sequence[Point],
    *,
    is_sequence: bool = False,
    originator: int = 0,
) -> Iterator[bytes]:
    """Encode points of one type in as few ASDUs as hold them, each only when it is asked for.

    Args:
        type_id: One of `POINT_TYPES`.
        cause: 0..63.
        common_address: 1..65535.
        points: In a sequence their addresses count up by one.
        is_sequence: One address per ASDU, then elements alone.
        originator: Of the request that this answers, 0..255.

    Raises:
        ParameterError: A field is out of range.
    """
    size = points_per_asdu(type_id, is_sequence=is_sequence)
    for begin in range(0, len(points), size):
        part = points[begin : begin + size]
        count = len(part) | (_SEQUENCE if is_sequence else 0)
        body = encode_points(type_id, part, is_sequence=is_sequence)
        yield _head(type_id, count, cause, originator, common_address) + body


def encode_response(
    response: Response, common_address: int, address: int = 0, *, cause: int | None = None, originator: int = 0
) -> bytes:
    """Encode one ASDU.

    Args:
        response: What to say.
        common_address: 1..65535.
        address: Of the information object, 0..16777215; of a directory, the first file's.
        cause: Another one than initialised, file transfer, or (of a directory) request.
        originator: 0..255.

    Raises:
        ParameterError: A field is out of range, or the ASDU would be longer than 249 octets.
    """
    count = 1
    own_cause = Cause.FILE_TRANSFER
    type_id, body = _body(response)
    if isinstance(response, Directory):
        if [entry.address for entry in response.entries] != list(range(address, address + len(response.entries))):
            raise ParameterError(f"the files of a directory have the addresses from {address} on, without a gap")
        if address + len(response.entries) > ADDRESS_MAX + 1:
            raise ParameterError(f"a directory from address {address} on leaves the addresses")
        count, own_cause = len(response.entries) | _SEQUENCE, Cause.REQUEST
    elif isinstance(response, EndOfInitialisation):
        own_cause = Cause.INITIALISED
    head = _head(type_id, count, own_cause if cause is None else cause, originator, common_address)
    try:
        raw = head + address.to_bytes(ADDRESS_BYTES, "little") + body
    except OverflowError:
        raise ParameterError(f"there is no address {address}") from None
    if len(raw) > ASDU_BYTES_MAX:
        raise ParameterError(f"an ASDU has at most {ASDU_BYTES_MAX} octets, this one would have {len(raw)}")
    return raw


def mirror(raw: bytes, cause: Cause, *, is_negative: bool = False) -> bytes:
    """Return a request with another cause: how a controlled station confirms or refuses it.

    Args:
        raw: The ASDU that came.
        cause: A confirmation, the termination, or unknown type, cause or address.
        is_negative: P/N; a refusal always is.

    Raises:
        AsduError: Shorter than its head.
        ParameterError: The cause is none of a confirmation.
    """
    if len(raw) < HEAD_BYTES:
        raise AsduError(f"an ASDU begins with {HEAD_BYTES} octets, found {len(raw)}")
    if cause not in _CONFIRMATIONS:
        raise ParameterError(f"cause {cause} confirms nothing")
    negative = _NEGATIVE if is_negative or cause >= Cause.UNKNOWN_TYPE else 0
    octet = cause | negative | raw[_CAUSE_AT] & _TEST
    return raw[:_CAUSE_AT] + bytes((octet,)) + raw[_CAUSE_AT + 1 :]


def _head(type_id: int, count: int, cause: int, originator: int, common_address: int) -> bytes:
    try:
        if cause <= _CAUSE_MAX and common_address:
            return _HEAD.pack(type_id, count, cause, originator, common_address)
    except struct.error:
        pass
    raise ParameterError(f"there is no cause {cause} of an originator {originator} in a station {common_address}")


def _body(response: Response) -> tuple[TypeId, bytes]:
    try:
        match response:
            case EndOfInitialisation():
                return TypeId.M_EI_NA_1, bytes(
                    (struct.pack("<B", response.cause << 1)[0] >> 1 | response.is_changed << 7,)
                )
            case FileReady():
                return TypeId.F_FR_NA_1, struct.pack(
                    "<HHBB", response.name, response.length & 0xFFFF, response.length >> 16, response.is_refused << 7
                )
            case SectionReady():
                return TypeId.F_SR_NA_1, struct.pack(
                    "<HBHBB",
                    response.name,
                    response.section,
                    response.length & 0xFFFF,
                    response.length >> 16,
                    response.is_refused << 7,
                )
            case LastSection():
                return TypeId.F_LS_NA_1, struct.pack(
                    "<HBBB", response.name, response.section, response.qualifier, response.checksum
                )
            case Segment():
                data = response.data
                return TypeId.F_SG_NA_1, struct.pack("<HBB", response.name, response.section, len(data)) + data
            case Directory():
                return TypeId.F_DR_TA_1, b"".join(
                    struct.pack("<HHBB", entry.name, entry.length & 0xFFFF, entry.length >> 16, entry.status)
                    + encode_time(entry.time)
                    for entry in response.entries
                )
            case _:
                assert_never(response)
    except struct.error:
        raise ParameterError(f"{type(response).__name__} has a field out of range") from None
