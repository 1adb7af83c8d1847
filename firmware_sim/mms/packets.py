"""What travels between an MMS client and the served IED, packet by packet (RFC 1006), and what faults do to it.

May live here: pure functions over bytes. A fault changes only what travels; the content of the device stays as it is.
The names are those of ``firmware_sim.faults.CATALOGUE``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firmware_sim.faults import HALF_OPEN, OFFLINE, RESTART_IN_TRANSFER, SINGLE_CONNECTION, Fault

VERSION: Final = 3
HEAD_BYTES: Final = 4
PIECE_BYTES_MIN: Final = 1024
"""A packet of at least so many bytes is taken for a piece of a file."""
FILE_BYTES_MIN: Final = 16 * 1024
"""So much must have come in such packets in a row before the device is in the middle of a file."""
_COTP_TYPE_AT = 5
_DATA_TPDU = 0xF0
_LENGTH = slice(2, 4)
_NOISE = bytes((index * 167 + 91) % 256 for index in range(64))


class PacketError(ValueError):
    """The stream holds something that is no packet."""


class Packets:
    """Cuts a stream into packets."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the packets that are whole now, their heads with them.

        Raises:
            PacketError: Another version than 3, or a length below its own head.
        """
        self._held += data
        found = []
        while len(self._held) >= HEAD_BYTES:
            length = int.from_bytes(self._held[_LENGTH], "big")
            if self._held[0] != VERSION or length < HEAD_BYTES:
                raise PacketError(f"version {self._held[0]}, length {length}")
            if len(self._held) < length:
                break
            found.append(self._held[:length])
            self._held = self._held[length:]
        return found


def is_data(packet: bytes) -> bool:
    """Tell whether a packet carries data, not the set-up or the end of a connection."""
    return len(packet) > _COTP_TYPE_AT and packet[_COTP_TYPE_AT] & _DATA_TPDU == _DATA_TPDU


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is sent to the client instead of the plain packet.

    Attributes:
        payload: May be empty.
        delay_ms: How long it is held back, and all behind it.
        close: The connection is closed after it.
        dead: The connection carries nothing any more, and is not closed.
        restart_ms: The device restarts and is away for so long, or 0.
    """

    payload: bytes
    delay_ms: int = 0
    close: bool = False
    dead: bool = False
    restart_ms: int = 0


@dataclass(frozen=True, slots=True)
class Passing:
    """One packet from the device on its way.

    Attributes:
        packet: As the device sent it.
        previous: The data packet before it on this connection, empty for the first.
        file_bytes: What came in pieces of a file just before.
    """

    packet: bytes
    previous: bytes = b""
    file_bytes: int = 0


def applies(fault: Fault, passing: Passing) -> bool:
    """Whether ``fault`` can hit this packet: a restart in mid-transfer waits for the middle of a file."""
    if fault.kind == RESTART_IN_TRANSFER:
        return passing.file_bytes >= FILE_BYTES_MIN
    return fault.kind in FAULTS and is_data(passing.packet)


def disturb(fault: Fault, passing: Passing) -> Delivery:
    """Apply ``fault``, one of ``FAULTS``, to a packet."""
    return FAULTS[fault.kind](fault, passing)


def _plain(_fault: Fault, passing: Passing) -> Delivery:
    """Answer as ever: the fault shows when connections are made."""
    return Delivery(passing.packet)


def _held_back(fault: Fault, passing: Passing) -> Delivery:
    """Send the right packet ``delay_ms`` later."""
    return Delivery(passing.packet, delay_ms=fault.hold_ms)


def _never(_fault: Fault, _passing: Passing) -> Delivery:
    """Send nothing and keep the connection open."""
    return Delivery(b"")


def _half_open(_fault: Fault, _passing: Passing) -> Delivery:
    """Send nothing on this connection any more, as if its other end were gone."""
    return Delivery(b"", dead=True)


def _restart(fault: Fault, _passing: Passing) -> Delivery:
    """Go away in the middle of the file."""
    return Delivery(b"", close=True, restart_ms=fault.hold_ms)


def _mixed(_fault: Fault, passing: Passing) -> Delivery:
    """Send the answer to the request before."""
    return Delivery(passing.previous)


def _oversize_length(_fault: Fault, passing: Passing) -> Delivery:
    """Send the right packet under a length of 65,535."""
    return Delivery(passing.packet[:2] + b"\xff\xff" + passing.packet[HEAD_BYTES:])


def _too_short(_fault: Fault, passing: Passing) -> Delivery:
    """Send a whole packet whose last half is missing."""
    kept = passing.packet[: max(HEAD_BYTES + 3, len(passing.packet) // 2)]
    return Delivery(kept[:2] + len(kept).to_bytes(2, "big") + kept[HEAD_BYTES:])


def _cut_frame(_fault: Fault, passing: Passing) -> Delivery:
    """Send the first half of the packet and then nothing."""
    return Delivery(passing.packet[: len(passing.packet) // 2])


def _garbage(_fault: Fault, _passing: Passing) -> Delivery:
    """Send 64 bytes that are no packet."""
    return Delivery(_NOISE)


def _close(_fault: Fault, _passing: Passing) -> Delivery:
    """Close the connection."""
    return Delivery(b"", close=True)


FAULTS: Final[dict[str, Callable[[Fault, Passing], Delivery]]] = {
    "slow": _held_back,
    "late": _held_back,
    "never": _never,
    SINGLE_CONNECTION: _plain,
    "mixed-transactions": _mixed,
    HALF_OPEN: _half_open,
    RESTART_IN_TRANSFER: _restart,
    "oversize-length": _oversize_length,
    "too-short": _too_short,
    "cut-frame": _cut_frame,
    "garbage": _garbage,
    "close": _close,
    OFFLINE: _plain,
}
