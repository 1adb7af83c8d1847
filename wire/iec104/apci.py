"""APCI: the six octets before each ASDU, and the frames of a byte stream (docs/spec, clauses IC-1 and IC-2).

Source: IEC 60870-5-104:2006, 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wire.iec104.errors import BAD_CONTROL, ApciError

START: Final = 0x68
APDU_LENGTH_MIN: Final = 4
APDU_LENGTH_MAX: Final = 253
"""Largest value of the length octet: what follows it."""
ASDU_BYTES_MAX: Final = APDU_LENGTH_MAX - APDU_LENGTH_MIN
SEQUENCE_MODULUS: Final = 32_768
_HEAD_BYTES: Final = 2
_APCI_BYTES: Final = 6
_FORMAT_S: Final = 0x01


class UFunction(IntEnum):
    """Functions of unnumbered frames: the whole first control octet."""

    STARTDT_ACT = 0x07
    STARTDT_CON = 0x0B
    STOPDT_ACT = 0x13
    STOPDT_CON = 0x23
    TESTFR_ACT = 0x43
    TESTFR_CON = 0x83


@dataclass(frozen=True, slots=True)
class IFrame:
    """Numbered transfer of one ASDU."""

    send_number: int
    """N(S), 0..32767."""
    receive_number: int
    """N(R), 0..32767."""
    asdu: bytes
    """At most 249 octets; its content is judged elsewhere."""


@dataclass(frozen=True, slots=True)
class SFrame:
    """Acknowledgement alone."""

    receive_number: int
    """N(R), 0..32767."""


Frame = IFrame | SFrame | UFunction


def encode_i(send_number: int, receive_number: int, asdu: bytes) -> bytes:
    """Return an I frame around an ASDU of at most 249 octets; numbers are 0..32767."""
    assert len(asdu) <= ASDU_BYTES_MAX, "whoever encodes an ASDU keeps its length"
    control = (send_number << 1) | (receive_number << 17)
    return bytes((START, len(asdu) + APDU_LENGTH_MIN)) + control.to_bytes(4, "little") + asdu


def encode_s(receive_number: int) -> bytes:
    """Return an S frame; the number is 0..32767."""
    return bytes((START, APDU_LENGTH_MIN)) + (_FORMAT_S | (receive_number << 17)).to_bytes(4, "little")


def encode_u(function: UFunction) -> bytes:
    """Return a U frame."""
    return bytes((START, APDU_LENGTH_MIN, function, 0, 0, 0))


class FrameDecoder:
    """Cuts a byte stream into frames; holds back at most one unfinished frame."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    @property
    def held_bytes(self) -> int:
        """Octets of the frame that is not complete yet, 0..254."""
        return len(self._held)

    def receive(self, data: bytes) -> list[Frame]:
        """Take what came and return the frames that are complete.

        Raises:
            ApciError: The stream is none of APDUs; frames before the fault are not returned.
        """
        if self._held:
            data = self._held + data
        frames: list[Frame] = []
        at, end = 0, len(data)
        while at < end:
            if data[at] != START:
                raise ApciError(f"an APDU begins with 68, found {data[at]:02x}")
            if at + 1 == end:
                break
            length = data[at + 1]
            if not APDU_LENGTH_MIN <= length <= APDU_LENGTH_MAX:
                raise ApciError(f"the length of an APDU is 4 to 253, found {length}")
            following = at + _HEAD_BYTES + length
            if following > end:
                break
            frames.append(_frame(data, at, following))
            at = following
        self._held = data[at:]
        return frames


def _frame(data: bytes, at: int, following: int) -> Frame:
    """Return the frame in ``data[at:following]``."""
    control = int.from_bytes(data[at + _HEAD_BYTES : at + _APCI_BYTES], "little")
    if control & 0x1_0000:
        raise ApciError(f"control octets {control.to_bytes(4, 'little').hex(' ')} are of no format", code=BAD_CONTROL)
    if not control & 1:
        return IFrame((control >> 1) & 0x7FFF, control >> 17, data[at + _APCI_BYTES : following])
    if following - at != _APCI_BYTES:
        raise ApciError(f"a frame of {following - at} octets carries an ASDU and is none of format I", code=BAD_CONTROL)
    if control & 0xFFFF == _FORMAT_S:
        return SFrame(control >> 17)
    function = _U_FUNCTIONS.get(control)
    if function is None:
        raise ApciError(f"control octets {control.to_bytes(4, 'little').hex(' ')} are of no format", code=BAD_CONTROL)
    return function


_U_FUNCTIONS: Final = {int(function): function for function in UFunction}
