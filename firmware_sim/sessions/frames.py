"""How each protocol's byte stream is cut into frames, and which request a recorded answer belongs to.

May live here: pure functions over bytes and the table ``RULES``; nothing is understood beyond what a replay needs.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3; IEC 60870-5-104, 5 (APCI); RFC 1006, 6 (TPKT).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firmware_sim.faults import IEC104, MMS, MODBUS

FRAME_BYTES_MAX: Final = 65_542
"""The longest frame that any header can announce."""

_MBAP_BYTES = 6
_APCI_START = 0x68
_APCI_BYTES = 6
_APCI_HEADING_BYTES = 2
_TPKT_START = b"\x03\x00"
_TPKT_BYTES = 4


class NoFrameError(ValueError):
    """The stream is not the protocol's; what follows cannot be cut."""


@dataclass(frozen=True, slots=True)
class FrameRules:
    """What a session of one protocol needs.

    Attributes:
        size: Length of the first frame of a buffer, 0 while its header is not whole; raises ``NoFrameError``.
        key: What of a client's frame must be equal for it to be the same request; None for one that asks nothing.
        fitted: The recorded answer, fitted to a request that differs from the recorded one in its counters alone:
            request, recorded request, recorded answer.
        belongs: Whether an answer is to this request, where several are asked before one is answered.
        ordered: Requests must come in the recorded order; else each is looked up by its key.
        unknown: The answer to a request that was never recorded; empty closes the connection.
    """

    size: Callable[[bytes], int]
    key: Callable[[bytes], bytes | None]
    fitted: Callable[[bytes, bytes, bytes], bytes]
    belongs: Callable[[bytes, bytes], bool]
    ordered: bool
    unknown: Callable[[bytes], bytes]


class Cutter:
    """Cuts a stream into frames; from the first byte that is none on, it gives whatever comes, uncut."""

    __slots__ = ("_buffer", "_rules", "raw")

    def __init__(self, rules: FrameRules) -> None:
        """Begin with an empty buffer."""
        self._rules = rules
        self._buffer = b""
        self.raw = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and give the frames that are whole now."""
        self._buffer += data
        found = []
        while self._buffer:
            if self.raw:
                size = len(self._buffer)
            else:
                try:
                    size = self._rules.size(self._buffer)
                except NoFrameError:
                    self.raw = True
                    continue
            if not 0 < size <= len(self._buffer):
                break
            found.append(self._buffer[:size])
            self._buffer = self._buffer[size:]
        return found

    def rest(self) -> bytes:
        """Take what never became a frame."""
        rest, self._buffer = self._buffer, b""
        return rest


def _modbus_size(buffer: bytes) -> int:
    if len(buffer) < _MBAP_BYTES:
        return 0
    length = int.from_bytes(buffer[4:6], "big")
    if buffer[2:4] != b"\0\0" or length < 2:  # noqa: PLR2004 - unit id and function code
        raise NoFrameError
    return _MBAP_BYTES + length


def _modbus_key(frame: bytes) -> bytes:
    """Unit and PDU."""
    return frame[_MBAP_BYTES:]


def _modbus_fitted(request: bytes, recorded: bytes, answer: bytes) -> bytes:
    """Put the request's transaction id in; an answer that was recorded under a wrong id is as wrong again."""
    shift = int.from_bytes(answer[:2], "big") - int.from_bytes(recorded[:2], "big")
    transaction = (int.from_bytes(request[:2], "big") + shift) & 0xFFFF
    return transaction.to_bytes(2, "big") + answer[2:]


def _modbus_belongs(request: bytes, answer: bytes) -> bool:
    return request[:2] == answer[:2]


def _modbus_unknown(request: bytes) -> bytes:
    """Exception 11, gateway target device failed to respond."""
    return request[:4] + b"\0\3" + request[6:7] + bytes((request[7] | 0x80, 0x0B))


def _iec104_size(buffer: bytes) -> int:
    if buffer[0] != _APCI_START:
        raise NoFrameError
    return 0 if len(buffer) < _APCI_HEADING_BYTES else _APCI_HEADING_BYTES + buffer[1]


def _iec104_key(frame: bytes) -> bytes | None:
    """The ASDU of an I frame, the whole of a U frame; an S frame only acknowledges."""
    control = frame[2] if len(frame) > _APCI_HEADING_BYTES else 0
    if control & 0x01 == 0:
        return frame[_APCI_BYTES:]
    return None if control & 0x02 == 0 else frame


def _mms_size(buffer: bytes) -> int:
    if not buffer.startswith(_TPKT_START[: len(buffer)]):
        raise NoFrameError
    if len(buffer) < _TPKT_BYTES:
        return 0
    size = int.from_bytes(buffer[2:4], "big")
    if size < _TPKT_BYTES:
        raise NoFrameError
    return size


def _whole(frame: bytes) -> bytes:
    return frame


def _as_recorded(_request: bytes, _recorded: bytes, answer: bytes) -> bytes:
    return answer


def _to_the_last(_request: bytes, _answer: bytes) -> bool:
    return True


def _nothing(_request: bytes) -> bytes:
    return b""


RULES: Final[dict[str, FrameRules]] = {
    MODBUS: FrameRules(
        _modbus_size, _modbus_key, _modbus_fitted, _modbus_belongs, ordered=False, unknown=_modbus_unknown
    ),
    IEC104: FrameRules(_iec104_size, _iec104_key, _as_recorded, _to_the_last, ordered=True, unknown=_nothing),
    MMS: FrameRules(_mms_size, _whole, _as_recorded, _to_the_last, ordered=True, unknown=_nothing),
}
