"""Faults of the link, as a controlled station shows them.

May live here: pure functions, the steps of an honest reply in, those of a disturbed one out. The files and points of
the device stay as they are. Each entry of ``FAULTS`` is in ``firmware_sim.faults.CATALOGUE`` under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from firmware_sim.faults import HALF_OPEN, OFFLINE, RESTART_IN_TRANSFER, SINGLE_CONNECTION, Fault
from firmware_sim.iec104.steps import Altered, Close, Deaf, Raw, Reply, Step, Wait
from wire.iec104.asdu import CallFile, FileReady, decode_asdu
from wire.iec104.requests import FileCall
from wire.iec104.responses import encode_response, mirror
from wire.iec104.types import Cause, TypeId

WRONG_SEQUENCE: Final = "wrong-sequence"
WRONG_SECTION_CHECKSUM: Final = "wrong-section-checksum"
SEGMENTS_BEFORE_RESTART: Final = 3

_NOISE: Final = bytes((index * 167 + 91) % 256 for index in range(64))
_HEAD_BYTES: Final = 6
_COMMON_ADDRESS_AT: Final = 4
_SEND_NUMBER_AT: Final = 2
_SEQUENCE_MODULUS: Final = 32_768
_EXTRA_BYTES: Final = 20


@dataclass(frozen=True, slots=True)
class Disturbed:
    """One request that a fault hits.

    Attributes:
        fault: The fault in force.
        request: The ASDU that came.
        before: The one that came before it on this connection; the same one where it is the first.
        plain: The honest reply to a request.
        restart: Takes the device down for so many milliseconds.
    """

    fault: Fault
    request: bytes
    before: bytes
    plain: Callable[[bytes], Reply]
    restart: Callable[[int], None]

    def honest(self) -> Reply:
        """Give the reply that would have been due."""
        return self.plain(self.request)


def concerns(fault: Fault, request: bytes) -> bool:
    """Tell whether a fault can show itself on this request; some exist in the middle of a file alone."""
    if fault.kind in {SINGLE_CONNECTION, OFFLINE}:
        return False
    if fault.kind not in {RESTART_IN_TRANSFER, WRONG_SECTION_CHECKSUM}:
        return fault.kind in FAULTS
    if request[0] != TypeId.F_SC_NA_1:
        return False
    element = decode_asdu(request).element
    return isinstance(element, CallFile) and element.action & 0x0F == FileCall.REQUEST_SECTION


def disturb(case: Disturbed) -> Reply:
    """Give the disturbed reply to a request."""
    return FAULTS[case.fault.kind](case)


def _each(case: Disturbed, change: Callable[[bytes], Step]) -> Reply:
    """Change every ASDU of the honest reply."""
    for step in case.honest():
        yield change(step) if isinstance(step, bytes) else step


def _slow(case: Disturbed) -> Reply:
    """Send each ASDU ``delay_ms`` after the one before."""
    for step in case.honest():
        yield Wait(case.fault.hold_ms)
        yield step


def _late(case: Disturbed) -> Reply:
    """Send the right reply ``delay_ms`` later."""
    yield Wait(case.fault.hold_ms)
    yield from case.honest()


def _never(_case: Disturbed) -> Reply:
    """Acknowledge the request and say nothing to it."""
    return iter(())


def _busy(case: Disturbed) -> Reply:
    """Refuse: a negative confirmation, or a file that is not ready."""
    request = case.request
    if request[0] != TypeId.F_SC_NA_1:
        yield mirror(request, Cause.ACTIVATION_CON, is_negative=True)
        return
    asdu = decode_asdu(request)
    assert isinstance(asdu.element, CallFile), "its type says so"
    refused = FileReady(asdu.element.name, 0, is_refused=True)
    yield encode_response(refused, asdu.head.common_address, asdu.address, originator=asdu.head.originator)


def _mixed(case: Disturbed) -> Reply:
    """Reply to the request before."""
    return case.plain(case.before)


def _wrong_unit(case: Disturbed) -> Reply:
    """Reply as the next station."""

    def change(asdu: bytes) -> bytes:
        other = (asdu[_COMMON_ADDRESS_AT] + 1) % 256
        return asdu[:_COMMON_ADDRESS_AT] + bytes((other,)) + asdu[_COMMON_ADDRESS_AT + 1 :]

    return _each(case, change)


def _wrong_function(case: Disturbed) -> Reply:
    """Reply with other type identifications."""
    return _each(case, lambda asdu: bytes((asdu[0] ^ 0x02,)) + asdu[1:])


def _too_short(case: Disturbed) -> Reply:
    """Leave out the last half of what stands behind each head."""
    return _each(case, lambda asdu: asdu[: _HEAD_BYTES + (len(asdu) - _HEAD_BYTES) // 2])


def _too_long(case: Disturbed) -> Reply:
    """Put octets behind each ASDU that its head does not count."""
    return _each(case, lambda asdu: (asdu + bytes(_EXTRA_BYTES))[:249])


def _wrong_sequence(case: Disturbed) -> Reply:
    """Skip a send number in every frame."""

    def alter(frame: bytes) -> bytes:
        number = int.from_bytes(frame[_SEND_NUMBER_AT : _SEND_NUMBER_AT + 2], "little") >> 1
        skipped = ((number + 1) % _SEQUENCE_MODULUS) << 1
        return frame[:_SEND_NUMBER_AT] + skipped.to_bytes(2, "little") + frame[_SEND_NUMBER_AT + 2 :]

    return _each(case, lambda asdu: Altered(asdu, alter))


def _oversize(_case: Disturbed) -> Reply:
    """Announce an APDU of 255 octets, more than there can be, and let half of them follow."""
    yield Raw(b"\x68\xff" + bytes(128))


def _cut_frame(case: Disturbed) -> Reply:
    """Send the first half of a frame, then nothing."""
    for step in case.honest():
        if isinstance(step, bytes):
            yield Altered(step, lambda frame: frame[: len(frame) // 2])
            break
    yield Deaf()


def _garbage(_case: Disturbed) -> Reply:
    """Send bytes that are no APDU."""
    yield Raw(_NOISE)


def _close(_case: Disturbed) -> Reply:
    """Close the connection instead of replying."""
    yield Close()


def _half_open(_case: Disturbed) -> Reply:
    """Go dead without closing."""
    yield Deaf()


def _restart(case: Disturbed) -> Reply:
    """Restart in the middle of a section."""
    left = SEGMENTS_BEFORE_RESTART
    for step in case.honest():
        yield step
        if isinstance(step, bytes) and step[0] == TypeId.F_SG_NA_1:
            left -= 1
        if left == 0:
            break
    case.restart(case.fault.hold_ms)


def _wrong_section_checksum(case: Disturbed) -> Reply:
    """Close sections with a checksum that their octets do not have."""

    def change(asdu: bytes) -> bytes:
        return asdu[:-1] + bytes((asdu[-1] ^ 1,)) if asdu[0] == TypeId.F_LS_NA_1 else asdu

    return _each(case, change)


FAULTS: Final[dict[str, Callable[[Disturbed], Iterator[Step]]]] = {
    "slow": _slow,
    "late": _late,
    "never": _never,
    "busy": _busy,
    SINGLE_CONNECTION: lambda case: case.honest(),
    "mixed-transactions": _mixed,
    "wrong-unit": _wrong_unit,
    "wrong-function": _wrong_function,
    WRONG_SEQUENCE: _wrong_sequence,
    WRONG_SECTION_CHECKSUM: _wrong_section_checksum,
    HALF_OPEN: _half_open,
    RESTART_IN_TRANSFER: _restart,
    "oversize-length": _oversize,
    "too-long": _too_long,
    "too-short": _too_short,
    "cut-frame": _cut_frame,
    "garbage": _garbage,
    "close": _close,
    OFFLINE: lambda case: case.honest(),
}
"""``single-connection`` and ``offline`` are seen where connections are taken: see ``server``."""
