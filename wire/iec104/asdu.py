"""ASDUs: their head, and what each type carries (docs/spec, clauses IC-10 to IC-13).

Reading only. What a controlling station of ours can send is in `wire.iec104.requests`, what a controlled one sends in
`wire.iec104.responses`.

Source: IEC 60870-5-101:2003, 7.2 and 7.3; IEC 60870-5-104:2006, 6 and 7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wire.iec104.errors import AsduError, UnknownTypeError
from wire.iec104.points import POINT_TYPES, Point, decode_points
from wire.iec104.time56 import TIME_BYTES, Time56, decode_time
from wire.iec104.types import TypeId

HEAD_BYTES: Final = 6
ADDRESS_BYTES: Final = 3
NAME_MAX: Final = 0xFFFF
LENGTH_MAX: Final = 0xFF_FFFF
_HEAD: Final = struct.Struct("<BBBBH")
_SEQUENCE: Final = 0x80
_COUNT: Final = 0x7F
_CAUSE: Final = 0x3F
_NEGATIVE: Final = 0x40
_TEST: Final = 0x80


@dataclass(frozen=True, slots=True)
class Head:
    """The data unit identifier."""

    type_id: int
    """0..255; a `TypeId` where the standard has a name for it."""
    is_sequence: bool
    """SQ: one address, whose successors belong to the elements that follow."""
    count: int
    """Objects or elements, 0..127."""
    cause: int
    """0..63, a `Cause` where the standard has a name for it."""
    is_negative: bool
    is_test: bool
    originator: int
    """0..255; 0 where originators are not told apart."""
    common_address: int
    """Station, 0..65535; 65535 is all of them."""


@dataclass(frozen=True, slots=True)
class EndOfInitialisation:
    """M_EI_NA_1."""

    cause: int
    """0 power on, 1 local reset, 2 remote reset; 0..127."""
    is_changed: bool
    """Local parameters were changed."""


@dataclass(frozen=True, slots=True)
class Interrogation:
    """C_IC_NA_1."""

    qualifier: int
    """20 the whole station, 21 to 36 group 1 to 16."""


@dataclass(frozen=True, slots=True)
class CounterInterrogation:
    """C_CI_NA_1."""

    request: int
    """1 to 4 counter group, 5 all of them; 0..63."""
    freeze: int
    """0 read, 1 freeze, 2 freeze and reset, 3 reset."""


@dataclass(frozen=True, slots=True)
class ReadCommand:
    """C_RD_NA_1; the address says what is asked for."""


@dataclass(frozen=True, slots=True)
class ClockSynchronisation:
    """C_CS_NA_1."""

    time: Time56


@dataclass(frozen=True, slots=True)
class FileReady:
    """F_FR_NA_1."""

    name: int
    length: int
    """Octets of the file, 0..16777215."""
    is_refused: bool
    """The file cannot be had."""


@dataclass(frozen=True, slots=True)
class SectionReady:
    """F_SR_NA_1."""

    name: int
    section: int
    """1..255."""
    length: int
    """Octets of the section, 0..16777215."""
    is_refused: bool


@dataclass(frozen=True, slots=True)
class CallFile:
    """F_SC_NA_1: directory, select, call or delete, of a file or a section."""

    name: int
    section: int
    action: int
    """SCQ, 0..255: the low half says what, the high half why not."""


@dataclass(frozen=True, slots=True)
class LastSection:
    """F_LS_NA_1: the end of a file or of a section."""

    name: int
    section: int
    qualifier: int
    """LSQ: 1 file without deactivation, 2 file with it, 3 section without it, 4 section with it."""
    checksum: int
    """Sum of all octets modulo 256."""


@dataclass(frozen=True, slots=True)
class FileAck:
    """F_AF_NA_1."""

    name: int
    section: int
    qualifier: int
    """AFQ, 0..255: the low half 1 and 2 file taken and not, 3 and 4 section taken and not; the high half why not."""


@dataclass(frozen=True, slots=True)
class Segment:
    """F_SG_NA_1."""

    name: int
    section: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One file of F_DR_TA_1."""

    address: int
    name: int
    length: int
    status: int
    """SOF: bits 1 to 5 status, 6 last file of the directory, 7 this is a directory, 8 the file is being sent."""
    time: Time56
    """Creation."""


@dataclass(frozen=True, slots=True)
class Directory:
    """F_DR_TA_1."""

    entries: tuple[DirectoryEntry, ...]


Element = (
    EndOfInitialisation
    | Interrogation
    | CounterInterrogation
    | ReadCommand
    | ClockSynchronisation
    | FileReady
    | SectionReady
    | CallFile
    | LastSection
    | FileAck
    | Segment
    | Directory
)


@dataclass(frozen=True, slots=True)
class Asdu:
    """A decoded ASDU: points, or one information object of another kind."""

    head: Head
    points: tuple[Point, ...]
    """Empty unless the type is one of `wire.iec104.points.POINT_TYPES`."""
    address: int
    """Of the one object, 0..16777215; of the first point."""
    element: Element | None
    """None where the ASDU carries points."""


def decode_head(raw: bytes) -> Head:
    """Decode the data unit identifier; what follows is not looked at.

    Raises:
        AsduError: Fewer than six octets.
    """
    if len(raw) < HEAD_BYTES:
        raise AsduError(f"an ASDU begins with {HEAD_BYTES} octets, found {len(raw)}")
    type_id, qualifier, cause, originator, common_address = _HEAD.unpack_from(raw)
    return Head(
        type_id=type_id,
        is_sequence=bool(qualifier & _SEQUENCE),
        count=qualifier & _COUNT,
        cause=cause & _CAUSE,
        is_negative=bool(cause & _NEGATIVE),
        is_test=bool(cause & _TEST),
        originator=originator,
        common_address=common_address,
    )


def decode_asdu(raw: bytes) -> Asdu:
    """Decode an ASDU whole; its length has to be exactly that of its objects.

    Raises:
        UnknownTypeError: The type is not decoded here; `decode_head` still reads its head.
        AsduError: Too short, too long, or an object out of range.
    """
    head = decode_head(raw)
    if head.type_id in POINT_TYPES:
        points = decode_points(head.type_id, raw, HEAD_BYTES, head.count, is_sequence=head.is_sequence)
        return Asdu(head, points, points[0].address, None)
    if head.type_id == TypeId.F_DR_TA_1:
        address, directory = _directory(raw, head)
        return Asdu(head, (), address, directory)
    entry = _ELEMENTS.get(head.type_id)
    if entry is None:
        raise UnknownTypeError(head.type_id)
    if head.is_sequence or head.count != 1:
        raise AsduError(f"type identification {head.type_id} carries one object, found {head.count}")
    size, decode = entry
    address, body = _object(raw)
    if size not in {len(body), _ANY_SIZE}:
        raise AsduError(f"type identification {head.type_id} has {size} octets behind its address, found {len(body)}")
    return Asdu(head, (), address, decode(body))


_ENTRY: Final = struct.Struct("<HHBB7s")
_FILE_READY: Final = struct.Struct("<HHBB")
_SECTION_READY: Final = struct.Struct("<HBHBB")
_LAST_SECTION: Final = struct.Struct("<HBBB")
_SEGMENT: Final = struct.Struct("<HBB")
_BIT_8: Final = 0x80
_ANY_SIZE: Final = -1


def _object(raw: bytes) -> tuple[int, bytes]:
    """Return the address of the one object, and what follows."""
    begin = HEAD_BYTES + ADDRESS_BYTES
    if len(raw) < begin:
        raise AsduError(f"an ASDU with an address has at least {begin} octets, found {len(raw)}")
    return int.from_bytes(raw[HEAD_BYTES:begin], "little"), raw[begin:]


def _directory(raw: bytes, head: Head) -> tuple[int, Directory]:
    if not head.is_sequence:
        raise AsduError("a directory is a sequence of files with one address")
    first, body = _object(raw)
    if len(body) != head.count * _ENTRY.size:
        raise AsduError(f"a directory of {head.count} files has {head.count * _ENTRY.size} octets, found {len(body)}")
    if first + head.count > LENGTH_MAX + 1:
        raise AsduError(f"a directory from address {first} on has no {head.count} addresses")
    return first, Directory(
        tuple(
            DirectoryEntry(address, name, low | high << 16, status, decode_time(time))
            for address, (name, low, high, status, time) in enumerate(_ENTRY.iter_unpack(body), first)
        )
    )


def _file_ready(body: bytes) -> FileReady:
    name, low, high, qualifier = _FILE_READY.unpack(body)
    return FileReady(name, low | high << 16, bool(qualifier & _BIT_8))


def _section_ready(body: bytes) -> SectionReady:
    name, section, low, high, qualifier = _SECTION_READY.unpack(body)
    return SectionReady(name, section, low | high << 16, bool(qualifier & _BIT_8))


def _segment(body: bytes) -> Segment:
    if len(body) < _SEGMENT.size:
        raise AsduError(f"a segment has at least {_SEGMENT.size} octets behind its address, found {len(body)}")
    name, section, length = _SEGMENT.unpack_from(body)
    data = body[_SEGMENT.size :]
    if len(data) != length:
        raise AsduError(f"a segment of {length} octets carries {len(data)}")
    return Segment(name, section, data)


_NAMED: Final = struct.Struct("<HBB")
_ELEMENTS: Final[dict[int, tuple[int, Callable[[bytes], Element]]]] = {
    TypeId.M_EI_NA_1: (1, lambda body: EndOfInitialisation(body[0] & 0x7F, bool(body[0] & _BIT_8))),
    TypeId.C_IC_NA_1: (1, lambda body: Interrogation(body[0])),
    TypeId.C_CI_NA_1: (1, lambda body: CounterInterrogation(body[0] & 0x3F, body[0] >> 6)),
    TypeId.C_RD_NA_1: (0, lambda _: ReadCommand()),
    TypeId.C_CS_NA_1: (TIME_BYTES, lambda body: ClockSynchronisation(decode_time(body))),
    TypeId.F_FR_NA_1: (_FILE_READY.size, _file_ready),
    TypeId.F_SR_NA_1: (_SECTION_READY.size, _section_ready),
    TypeId.F_SC_NA_1: (_NAMED.size, lambda body: CallFile(*_NAMED.unpack(body))),
    TypeId.F_LS_NA_1: (_LAST_SECTION.size, lambda body: LastSection(*_LAST_SECTION.unpack(body))),
    TypeId.F_AF_NA_1: (_NAMED.size, lambda body: FileAck(*_NAMED.unpack(body))),
    TypeId.F_SG_NA_1: (_ANY_SIZE, _segment),
}
