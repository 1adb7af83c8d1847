"""Turn one request PDU into one answer PDU.

May live here: pure functions over a ``Target``. The table ``FUNCTIONS`` says
what the server understands; whatever is not in it gets exception 1.

Source: MODBUS Application Protocol Specification V1.1b3, 6.3, 6.4, 6.14, 6.21 and 7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Protocol

from firmware_sim.modbus.identification import read_device_identification

READ_HOLDING_REGISTERS = 3
READ_INPUT_REGISTERS = 4
READ_FILE_RECORD = 20
ENCAPSULATED_INTERFACE = 43

ILLEGAL_FUNCTION = 1
ILLEGAL_DATA_ADDRESS = 2
ILLEGAL_DATA_VALUE = 3
SERVER_DEVICE_FAILURE = 4
SERVER_DEVICE_BUSY = 6
GATEWAY_TARGET_FAILED = 0x0B

REGISTERS_MAX = 125
"""Most registers one FC3 or FC4 answer can carry."""
FILE_REGISTERS_MAX = 124
"""Most registers one FC20 answer can carry: 253 bytes less 4 of headings, in pairs."""
RECORDS_PER_FILE = 10_000
REGISTER_BYTES = 2
FILE_BYTES_MAX = RECORDS_PER_FILE * REGISTER_BYTES

_REFERENCE_TYPE = 6
_BYTE_COUNT_MIN = 0x07
_BYTE_COUNT_MAX = 0xF5
_SUB_REQUEST = struct.Struct(">BHHH")
_SUB_REQUEST_BYTES = _SUB_REQUEST.size
_FILE_HEADING_BYTES = 2
_FILE_DATA_BYTES_MAX = 251
_SINGLE_PDU_BYTES = _FILE_HEADING_BYTES + _SUB_REQUEST_BYTES
_REGISTER_REQUEST = struct.Struct(">BHH")
_MEI_DEVICE_IDENTIFICATION = 14
_MEI_REQUEST_BYTES = 4


class Target(Protocol):
    """What the server has to know of a device."""

    @property
    def has_files(self) -> bool:
        """Whether it understands FC20."""

    @property
    def holding(self) -> bytes:
        """Holding registers from address 0, two bytes each, at most 65,536."""

    @property
    def identification(self) -> Mapping[int, bytes]:
        """Identification objects by object id, each at most 244 bytes."""

    def input_registers(self, address: int, count: int) -> bytes | None:
        """Read ``count`` input registers, or None where one of them is not there."""

    def file_part(self, number: int, offset: int, size: int) -> bytes | None:
        """Read ``size`` bytes of a file, or None where one of them is not there.

        Args:
            number: File number, 0..65535.
            offset: First byte, even.
            size: Even.
        """


Handler = Callable[[Target, bytes], bytes]


def exception(function: int, code: int) -> bytes:
    """Build an exception answer.

    Args:
        function: Function code of the request, 0..255.
        code: Exception code, 1..255.

    Source: V1.1b3, 7.
    """
    return bytes((function | 0x80, code))


def answer(target: Target, pdu: bytes) -> bytes:
    """Answer one request.

    Args:
        target: The device that was addressed.
        pdu: 1..253 bytes, as the framer gave it.

    Returns:
        The answer, 2..253 bytes; an exception answer when the request is refused.
    """
    handler = FUNCTIONS.get(pdu[0])
    if handler is None:
        return exception(pdu[0], ILLEGAL_FUNCTION)
    return handler(target, pdu)


def read_file_record(target: Target, pdu: bytes) -> bytes:
    """Answer FC20, all sub-requests or none.

    Source: V1.1b3, 6.14.
    """
    if not target.has_files:
        return exception(READ_FILE_RECORD, ILLEGAL_FUNCTION)
    if len(pdu) == _SINGLE_PDU_BYTES and pdu[1] == _SUB_REQUEST_BYTES:
        part = _read_records(target, pdu, _FILE_HEADING_BYTES)
        if isinstance(part, int):
            return exception(READ_FILE_RECORD, part)
        size = len(part)
        return bytes((READ_FILE_RECORD, size + 2, size + 1, _REFERENCE_TYPE)) + part
    return _read_many(target, pdu)


def _read_many(target: Target, pdu: bytes) -> bytes:
    """Answer FC20 with any number of sub-requests."""
    size = len(pdu) - _FILE_HEADING_BYTES
    whole = size % _SUB_REQUEST_BYTES == 0 and _BYTE_COUNT_MIN <= size <= _BYTE_COUNT_MAX
    if not whole or pdu[1] != size:
        return exception(READ_FILE_RECORD, ILLEGAL_DATA_VALUE)
    parts = []
    total = 0
    for offset in range(_FILE_HEADING_BYTES, len(pdu), _SUB_REQUEST_BYTES):
        part = _read_records(target, pdu, offset)
        if isinstance(part, int):
            return exception(READ_FILE_RECORD, part)
        total += len(part) + _FILE_HEADING_BYTES
        if total > _FILE_DATA_BYTES_MAX:
            return exception(READ_FILE_RECORD, ILLEGAL_DATA_VALUE)
        parts.append(bytes((len(part) + 1, _REFERENCE_TYPE)) + part)
    return bytes((READ_FILE_RECORD, total)) + b"".join(parts)


def _read_records(target: Target, pdu: bytes, offset: int) -> bytes | int:
    """Read what one sub-request asks for; an int is the exception code.

    A read may not leave its file: record numbers end at 9,999, and the bytes
    past the end of the last file of an artefact do not exist.
    """
    reference, file_number, record, count = _SUB_REQUEST.unpack_from(pdu, offset)
    if not 1 <= count <= FILE_REGISTERS_MAX:
        return ILLEGAL_DATA_VALUE
    if reference != _REFERENCE_TYPE:
        return ILLEGAL_DATA_ADDRESS
    part = target.file_part(file_number, record * REGISTER_BYTES, count * REGISTER_BYTES)
    return ILLEGAL_DATA_ADDRESS if part is None else part


def read_holding_registers(target: Target, pdu: bytes) -> bytes:
    """Answer FC3.

    Source: V1.1b3, 6.3.
    """

    def read(address: int, count: int) -> bytes | None:
        part = target.holding[address * REGISTER_BYTES : (address + count) * REGISTER_BYTES]
        return part if len(part) == count * REGISTER_BYTES else None

    return _read_registers(read, pdu)


def read_input_registers(target: Target, pdu: bytes) -> bytes:
    """Answer FC4.

    Source: V1.1b3, 6.4.
    """
    return _read_registers(target.input_registers, pdu)


def _read_registers(read: Callable[[int, int], bytes | None], pdu: bytes) -> bytes:
    """Answer FC3 or FC4 with the registers that ``read`` gives."""
    function = pdu[0]
    if len(pdu) != _REGISTER_REQUEST.size:
        return exception(function, ILLEGAL_DATA_VALUE)
    _, address, count = _REGISTER_REQUEST.unpack(pdu)
    if not 1 <= count <= REGISTERS_MAX:
        return exception(function, ILLEGAL_DATA_VALUE)
    part = read(address, count)
    if part is None:
        return exception(function, ILLEGAL_DATA_ADDRESS)
    return bytes((function, len(part))) + part


def encapsulated_interface(target: Target, pdu: bytes) -> bytes:
    """Answer FC43; of its interfaces only 14, read device identification, exists.

    Source: V1.1b3, 6.19 and 6.21.
    """
    if len(pdu) > 1 and pdu[1] != _MEI_DEVICE_IDENTIFICATION:
        return exception(ENCAPSULATED_INTERFACE, ILLEGAL_FUNCTION)
    if len(pdu) != _MEI_REQUEST_BYTES:
        return exception(ENCAPSULATED_INTERFACE, ILLEGAL_DATA_VALUE)
    found = read_device_identification(target.identification, pdu[2], pdu[3])
    if isinstance(found, int):
        return exception(ENCAPSULATED_INTERFACE, found)
    return bytes((ENCAPSULATED_INTERFACE, _MEI_DEVICE_IDENTIFICATION)) + found


FUNCTIONS: dict[int, Handler] = {
    READ_HOLDING_REGISTERS: read_holding_registers,
    READ_INPUT_REGISTERS: read_input_registers,
    READ_FILE_RECORD: read_file_record,
    ENCAPSULATED_INTERFACE: encapsulated_interface,
}
