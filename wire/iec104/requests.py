"""All that a controlling station of ours can ask for: none of it changes anything (docs/spec, clause IC-15).

There is no command, set point, parameter, clock synchronisation, freeze, reset or deletion here, and
`wire.iec104.link.ControllingLink` sends nothing else: reading only is how it is built, not how it behaves.

Source: IEC 60870-5-101:2003, 7.3.4 and 7.3.6.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, assert_never

from wire.iec104.errors import ParameterError
from wire.iec104.types import Cause, TypeId

STATION: Final = 20
"""Qualifier of the interrogation of a whole station."""
_GROUP_MAX: Final = 36
_COUNTERS_ALL: Final = 5
_STATION_MAX: Final = 0xFFFF
_ADDRESS_MAX: Final = 0xFF_FFFF
_HEAD: Final = struct.Struct("<BBBBHHB")
_NAMED: Final = struct.Struct("<HBB")


class FileCall(IntEnum):
    """SCQ, without the codes that deactivate or delete; DIRECTORY is the cause 5 (request) with SCQ 0."""

    DIRECTORY = 0
    SELECT_FILE = 1
    REQUEST_FILE = 2
    SELECT_SECTION = 5
    REQUEST_SECTION = 6


class FileVerdict(IntEnum):
    """AFQ, with what kept the file or section from being taken."""

    FILE_TAKEN = 0x01
    FILE_NOT_TAKEN = 0x22
    """Checksum failed."""
    SECTION_TAKEN = 0x03
    SECTION_NOT_TAKEN = 0x24
    """Checksum failed."""


@dataclass(frozen=True, slots=True)
class Interrogate:
    """C_IC_NA_1, activation."""

    common_address: int
    """1..65535."""
    qualifier: int = STATION
    """20 the whole station, 21 to 36 group 1 to 16."""

    def __post_init__(self) -> None:
        """Refuse what is no group."""
        if not STATION <= self.qualifier <= _GROUP_MAX:
            raise ParameterError(f"an interrogation has the qualifier 20 to 36, found {self.qualifier}")


@dataclass(frozen=True, slots=True)
class InterrogateCounters:
    """C_CI_NA_1, activation: reads counters as they are; there is no field to freeze or reset them."""

    common_address: int
    """1..65535."""
    group: int = _COUNTERS_ALL
    """1 to 4, or 5 for all."""

    def __post_init__(self) -> None:
        """Refuse what is no group, so that no bit of it can reach the freeze field."""
        if not 1 <= self.group <= _COUNTERS_ALL:
            raise ParameterError(f"a counter interrogation has the group 1 to 5, found {self.group}")


@dataclass(frozen=True, slots=True)
class ReadPoint:
    """C_RD_NA_1, request."""

    common_address: int
    """1..65535."""
    address: int
    """0..16777215."""


@dataclass(frozen=True, slots=True)
class RequestFile:
    """F_SC_NA_1."""

    common_address: int
    """1..65535."""
    address: int
    """0..16777215."""
    call: FileCall
    name: int = 0
    """0..65535."""
    section: int = 0
    """0..255."""


@dataclass(frozen=True, slots=True)
class AcknowledgeFile:
    """F_AF_NA_1."""

    common_address: int
    """1..65535."""
    address: int
    """0..16777215."""
    verdict: FileVerdict
    name: int
    """0..65535."""
    section: int = 0
    """0..255."""


Request = Interrogate | InterrogateCounters | ReadPoint | RequestFile | AcknowledgeFile


def encode_request(request: Request) -> bytes:
    """Encode what a controlling station asks for.

    Raises:
        ParameterError: A field is out of range.
    """
    match request:
        case Interrogate():
            return _asdu(request, TypeId.C_IC_NA_1, Cause.ACTIVATION, 0, bytes((request.qualifier,)))
        case InterrogateCounters():
            return _asdu(request, TypeId.C_CI_NA_1, Cause.ACTIVATION, 0, bytes((request.group,)))
        case ReadPoint():
            return _asdu(request, TypeId.C_RD_NA_1, Cause.REQUEST, request.address, b"")
        case RequestFile():
            cause = Cause.REQUEST if request.call is FileCall.DIRECTORY else Cause.FILE_TRANSFER
            body = _named(request.name, request.section, FileCall(request.call))
            return _asdu(request, TypeId.F_SC_NA_1, cause, request.address, body)
        case AcknowledgeFile():
            body = _named(request.name, request.section, FileVerdict(request.verdict))
            return _asdu(request, TypeId.F_AF_NA_1, Cause.FILE_TRANSFER, request.address, body)
        case _:
            assert_never(request)


def _named(name: int, section: int, qualifier: int) -> bytes:
    try:
        return _NAMED.pack(name, section, qualifier)
    except struct.error:
        raise ParameterError(f"there is no section {section} of a file {name}") from None


def _asdu(request: Request, type_id: TypeId, cause: Cause, address: int, body: bytes) -> bytes:
    station = request.common_address
    if not 1 <= station <= _STATION_MAX or not 0 <= address <= _ADDRESS_MAX:
        raise ParameterError(f"there is no address {address} in a station {station}")
    return _HEAD.pack(type_id, 1, cause, 0, station, address & 0xFFFF, address >> 16) + body
