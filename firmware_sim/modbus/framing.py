"""Cut a TCP byte stream into Modbus requests, and put the header before an answer.

May live here: bytes in, values out. No socket, no clock, no device.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3 (MBAP header).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

PROTOCOL_ID = 0
PDU_BYTES_MAX = 253
LENGTH_MIN = 2
"""Smallest legal MBAP length: the unit id and one function code."""
LENGTH_MAX = 1 + PDU_BYTES_MAX
BUFFER_BYTES_MAX = 512 * 1024
"""Most unanswered bytes a connection may hold before it is closed."""

_LENGTH_END = 6
_HEADER = struct.Struct(">HHHB")
_HEADER_BYTES = _HEADER.size


class FramingError(ValueError):
    """The stream is not Modbus TCP; nothing after this point can be trusted."""


class Request(NamedTuple):
    """One request as it came from the wire.

    Attributes:
        transaction: 0..65535, echoed in the answer.
        unit: 0..255, the addressed unit.
        pdu: Function code and data, 1..253 bytes.
    """

    transaction: int
    unit: int
    pdu: bytes


def encode_frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    """Put the MBAP header before ``pdu``.

    Args:
        transaction: 0..65535.
        unit: 0..255.
        pdu: 1..65534 bytes; the faults send more than the 253 that are legal.
    """
    return _HEADER.pack(transaction, PROTOCOL_ID, len(pdu) + 1, unit) + pdu


class Framer:
    """Collect bytes and give out whole requests in the order of arrival."""

    __slots__ = ("_buffer", "_start")

    def __init__(self) -> None:
        """Start with an empty buffer."""
        self._buffer = b""
        self._start = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes held that were not given out yet."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Append received bytes.

        Raises:
            FramingError: More than ``BUFFER_BYTES_MAX`` unanswered bytes.
        """
        if self.pending_bytes + len(data) > BUFFER_BYTES_MAX:
            raise FramingError(f"more than {BUFFER_BYTES_MAX} unanswered bytes")
        held = self._buffer[self._start :]
        self._buffer = held + data if held else data
        self._start = 0

    def take(self) -> Request | None:
        """Give out the next whole request, or None until more bytes come.

        The header is judged as soon as it is whole, so a hopeless frame is
        refused without waiting for its body.

        Raises:
            FramingError: Wrong protocol id, or a length outside 2..254.
        """
        buffer, start = self._buffer, self._start
        available = len(buffer) - start
        if available < _HEADER_BYTES:
            if available >= _LENGTH_END:
                _check_header(*struct.unpack_from(">HH", buffer, start + 2))
            return None
        transaction, protocol, length, unit = _HEADER.unpack_from(buffer, start)
        if protocol != PROTOCOL_ID or not LENGTH_MIN <= length <= LENGTH_MAX:
            _check_header(protocol, length)
        end = start + _LENGTH_END + length
        if end > len(buffer):
            return None
        self._start = end
        return Request(transaction, unit, buffer[start + _HEADER_BYTES : end])


def _check_header(protocol: int, length: int) -> None:
    """Refuse a header that no Modbus client sends.

    Raises:
        FramingError: Wrong protocol id, or a length outside 2..254.
    """
    if protocol != PROTOCOL_ID:
        raise FramingError(f"MBAP protocol id is {protocol}, expected 0")
    if not LENGTH_MIN <= length <= LENGTH_MAX:
        raise FramingError(f"MBAP length is {length}, expected {LENGTH_MIN}..{LENGTH_MAX}")
