"""What the faults of the link do on a Modbus TCP connection.

May live here: pure functions, answer frame in, disturbed delivery out. A fault changes only what travels; the content
of the device stays as it is. The names are those of ``firmware_sim.faults.CATALOGUE``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from firmware_sim.faults import HALF_OPEN, OFFLINE, RESTART_IN_TRANSFER, SINGLE_CONNECTION, Fault
from firmware_sim.modbus.framing import Request, encode_frame
from firmware_sim.modbus.pdu import READ_FILE_RECORD, SERVER_DEVICE_BUSY, SERVER_DEVICE_FAILURE, exception

_EXTRA_BYTES = 1_024
_NOISE = bytes((index * 167 + 91) % 256 for index in range(64))
_LENGTH_AT = 4
_RECORD_AT = 5


class Delivery(NamedTuple):
    """What the server does instead of sending the plain answer.

    Attributes:
        payload: Bytes to send, may be empty.
        delay_ms: How long the bytes are held back.
        close: The connection is closed after the bytes.
        queued: Held back answers wait for each other.
        dead: The connection answers nothing any more, and is not closed.
        restart_ms: The device restarts and is away for so long, or 0.
    """

    payload: bytes
    delay_ms: int = 0
    close: bool = False
    queued: bool = False
    dead: bool = False
    restart_ms: int = 0


class Exchange(NamedTuple):
    """One request with its right answer.

    Attributes:
        request: As it came.
        pdu: The right answer, 2..253 bytes.
        previous: The frame that answered the request before on this connection, empty for the first.
    """

    request: Request
    pdu: bytes
    previous: bytes = b""


Disturb = Callable[[Fault, Exchange], Delivery]


def applies(fault: Fault, request: Request) -> bool:
    """Whether ``fault`` can hit this request: a restart in mid-transfer waits for the middle of a file."""
    if fault.kind != RESTART_IN_TRANSFER:
        return fault.kind in FAULTS
    record = request.pdu[_RECORD_AT : _RECORD_AT + 2]
    return request.pdu[0] == READ_FILE_RECORD and int.from_bytes(record, "big") > 0


def disturb(fault: Fault, exchange: Exchange) -> Delivery:
    """Apply ``fault``, one of ``FAULTS``, to an answer."""
    return FAULTS[fault.kind](fault, exchange)


def _frame(exchange: Exchange, pdu: bytes) -> bytes:
    return encode_frame(exchange.request.transaction, exchange.request.unit, pdu)


def _plain(_fault: Fault, exchange: Exchange) -> Delivery:
    """Answer as ever: the fault shows when connections are made."""
    return Delivery(_frame(exchange, exchange.pdu))


def _garbage(_fault: Fault, _exchange: Exchange) -> Delivery:
    """Send 64 bytes that are no Modbus frame."""
    return Delivery(_NOISE)


def _too_long(_fault: Fault, exchange: Exchange) -> Delivery:
    """Send 1,024 bytes more than asked for, announced in the MBAP length."""
    return Delivery(_frame(exchange, exchange.pdu + bytes(_EXTRA_BYTES)))


def _too_short(_fault: Fault, exchange: Exchange) -> Delivery:
    """Send a whole frame with the last half of the data missing."""
    return Delivery(_frame(exchange, exchange.pdu[: max(1, len(exchange.pdu) // 2)]))


def _cut_frame(_fault: Fault, exchange: Exchange) -> Delivery:
    """Send the first half of the frame and then nothing."""
    frame = _frame(exchange, exchange.pdu)
    return Delivery(frame[: len(frame) // 2])


def _oversize_length(_fault: Fault, exchange: Exchange) -> Delivery:
    """Send the right answer under an MBAP length of 65,535."""
    frame = bytearray(_frame(exchange, exchange.pdu))
    struct.pack_into(">H", frame, _LENGTH_AT, 0xFFFF)
    return Delivery(bytes(frame))


def _late(fault: Fault, exchange: Exchange) -> Delivery:
    """Send the right answer ``delay_ms`` later."""
    return Delivery(_frame(exchange, exchange.pdu), delay_ms=fault.hold_ms)


def _slow(fault: Fault, exchange: Exchange) -> Delivery:
    """Work ``delay_ms`` on each answer, one after the other."""
    return Delivery(_frame(exchange, exchange.pdu), delay_ms=fault.hold_ms, queued=True)


def _never(_fault: Fault, _exchange: Exchange) -> Delivery:
    """Send nothing and keep the connection open."""
    return Delivery(b"")


def _half_open(_fault: Fault, _exchange: Exchange) -> Delivery:
    """Send nothing on this connection any more, as if its other end were gone."""
    return Delivery(b"", dead=True)


def _restart(fault: Fault, _exchange: Exchange) -> Delivery:
    """Go away in the middle of the file."""
    return Delivery(b"", close=True, restart_ms=fault.hold_ms)


def _mixed_transactions(_fault: Fault, exchange: Exchange) -> Delivery:
    """Send the answer to the request before, under its id; to the first request, the right answer under another id."""
    return Delivery(exchange.previous) if exchange.previous else _wrong_transaction(_fault, exchange)


def _wrong_transaction(_fault: Fault, exchange: Exchange) -> Delivery:
    """Answer under the next transaction id."""
    request = exchange.request
    return Delivery(encode_frame((request.transaction + 1) & 0xFFFF, request.unit, exchange.pdu))


def _wrong_unit(_fault: Fault, exchange: Exchange) -> Delivery:
    """Answer under the next unit id."""
    request = exchange.request
    return Delivery(encode_frame(request.transaction, (request.unit + 1) & 0xFF, exchange.pdu))


def _wrong_function(_fault: Fault, exchange: Exchange) -> Delivery:
    """Answer under another function code."""
    return Delivery(_frame(exchange, bytes((exchange.pdu[0] ^ 1,)) + exchange.pdu[1:]))


def _busy(_fault: Fault, exchange: Exchange) -> Delivery:
    """Answer exception 6, server device busy."""
    return Delivery(_frame(exchange, exception(exchange.request.pdu[0], SERVER_DEVICE_BUSY)))


def _failure(_fault: Fault, exchange: Exchange) -> Delivery:
    """Answer exception 4, server device failure."""
    return Delivery(_frame(exchange, exception(exchange.request.pdu[0], SERVER_DEVICE_FAILURE)))


def _close(_fault: Fault, _exchange: Exchange) -> Delivery:
    """Close the connection instead of answering."""
    return Delivery(b"", close=True)


FAULTS: Final[dict[str, Disturb]] = {
    "slow": _slow,
    "late": _late,
    "never": _never,
    "busy": _busy,
    "failure": _failure,
    SINGLE_CONNECTION: _plain,
    "mixed-transactions": _mixed_transactions,
    "wrong-transaction": _wrong_transaction,
    "wrong-unit": _wrong_unit,
    "wrong-function": _wrong_function,
    HALF_OPEN: _half_open,
    RESTART_IN_TRANSFER: _restart,
    "oversize-length": _oversize_length,
    "too-long": _too_long,
    "too-short": _too_short,
    "cut-frame": _cut_frame,
    "garbage": _garbage,
    "close": _close,
    OFFLINE: _close,
}
"""A test holds this against the catalogue."""
