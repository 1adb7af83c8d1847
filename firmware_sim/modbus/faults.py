"""Named ways in which a device answers wrongly on the line.

May live here: pure functions, answer frame in, disturbed delivery out. A fault
changes only what travels; the content of the device stays as it is. Each entry
of ``FAULTS`` is documented in docs/guides/simulator.md under the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from firmware_sim.modbus.framing import Request, encode_frame
from firmware_sim.modbus.pdu import SERVER_DEVICE_BUSY, SERVER_DEVICE_FAILURE, exception

DELAY_MS_DEFAULT = 5_000
DELAY_MS_MAX = 600_000
REQUESTS_MAX = 1_000_000_000
OFFLINE = "offline"

_EXTRA_BYTES = 1_024
_NOISE = bytes((index * 167 + 91) % 256 for index in range(64))


class Delivery(NamedTuple):
    """What the server does instead of sending the plain answer.

    Attributes:
        payload: Bytes to send, may be empty.
        delay_ms: How long the bytes are held back.
        close: The connection is closed after the bytes.
    """

    payload: bytes
    delay_ms: int = 0
    close: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as it was set on a device.

    Attributes:
        kind: A key of ``FAULTS``.
        delay_ms: How late the answer is, 1..600,000; used by ``late`` alone.
        functions: Function codes that are hit; empty means all.
        requests: How many requests are hit before the fault ends by itself, or None for all.
    """

    kind: str
    delay_ms: int = DELAY_MS_DEFAULT
    functions: frozenset[int] = frozenset()
    requests: int | None = None

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            ValueError: Unknown kind, or a number out of its range.
        """
        if self.kind not in FAULTS:
            raise ValueError(f"unknown fault {self.kind!r}, expected one of {', '.join(sorted(FAULTS))}")
        if not 1 <= self.delay_ms <= DELAY_MS_MAX:
            raise ValueError(f"delay_ms is {self.delay_ms}, expected 1..{DELAY_MS_MAX}")
        if any(not 1 <= function <= 127 for function in self.functions):  # noqa: PLR2004 - V1.1b3, 4.1
            raise ValueError("functions holds a number outside 1..127")
        if self.requests is not None and not 1 <= self.requests <= REQUESTS_MAX:
            raise ValueError(f"requests is {self.requests}, expected 1..{REQUESTS_MAX}")


Disturb = Callable[[Fault, Request, bytes], Delivery]


def disturb(fault: Fault, request: Request, pdu: bytes) -> Delivery:
    """Apply ``fault`` to the answer ``pdu`` of ``request``."""
    return FAULTS[fault.kind](fault, request, pdu)


def _frame(request: Request, pdu: bytes) -> bytes:
    return encode_frame(request.transaction, request.unit, pdu)


def _garbage(_fault: Fault, _request: Request, _pdu: bytes) -> Delivery:
    """Send 64 bytes that are no Modbus frame."""
    return Delivery(_NOISE)


def _too_long(_fault: Fault, request: Request, pdu: bytes) -> Delivery:
    """Send 1,024 bytes more than asked for, announced in the MBAP length."""
    return Delivery(_frame(request, pdu + bytes(_EXTRA_BYTES)))


def _too_short(_fault: Fault, request: Request, pdu: bytes) -> Delivery:
    """Send a whole frame with the last half of the data missing."""
    return Delivery(_frame(request, pdu[: max(1, len(pdu) // 2)]))


def _cut_frame(_fault: Fault, request: Request, pdu: bytes) -> Delivery:
    """Send the first half of the frame and then nothing."""
    frame = _frame(request, pdu)
    return Delivery(frame[: len(frame) // 2])


def _late(fault: Fault, request: Request, pdu: bytes) -> Delivery:
    """Send the right answer ``delay_ms`` later."""
    return Delivery(_frame(request, pdu), delay_ms=fault.delay_ms)


def _never(_fault: Fault, _request: Request, _pdu: bytes) -> Delivery:
    """Send nothing and keep the connection open."""
    return Delivery(b"")


def _wrong_transaction(_fault: Fault, request: Request, pdu: bytes) -> Delivery:
    """Answer under the next transaction id."""
    return Delivery(encode_frame((request.transaction + 1) & 0xFFFF, request.unit, pdu))


def _wrong_unit(_fault: Fault, request: Request, pdu: bytes) -> Delivery:
    """Answer under the next unit id."""
    return Delivery(encode_frame(request.transaction, (request.unit + 1) & 0xFF, pdu))


def _wrong_function(_fault: Fault, request: Request, pdu: bytes) -> Delivery:
    """Answer under another function code."""
    return Delivery(_frame(request, bytes((pdu[0] ^ 1,)) + pdu[1:]))


def _busy(_fault: Fault, request: Request, _pdu: bytes) -> Delivery:
    """Answer exception 6, server device busy."""
    return Delivery(_frame(request, exception(request.pdu[0], SERVER_DEVICE_BUSY)))


def _failure(_fault: Fault, request: Request, _pdu: bytes) -> Delivery:
    """Answer exception 4, server device failure."""
    return Delivery(_frame(request, exception(request.pdu[0], SERVER_DEVICE_FAILURE)))


def _close(_fault: Fault, _request: Request, _pdu: bytes) -> Delivery:
    """Close the connection instead of answering."""
    return Delivery(b"", close=True)


FAULTS: dict[str, Disturb] = {
    "garbage": _garbage,
    "too-long": _too_long,
    "too-short": _too_short,
    "cut-frame": _cut_frame,
    "late": _late,
    "never": _never,
    "wrong-transaction": _wrong_transaction,
    "wrong-unit": _wrong_unit,
    "wrong-function": _wrong_function,
    "busy": _busy,
    "failure": _failure,
    "close": _close,
    OFFLINE: _close,
}
"""``offline`` also closes every open and every new connection: see ``server``."""
