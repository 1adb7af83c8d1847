"""Lying devices as targets: the bytes of an input are a script of lies, and a whole read by a driver is its decoding.

Here the campaign is guided by coverage, too: an input that reaches a line of the driver that none reached before is
kept and mutated further (`tests.fuzz.engine`). There is no second try: the first lie that is seen ends the read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from agent.drivers.errors import DeviceError
from agent.model import Reading
from tests.fuzz import lying_iec104, lying_mms, lying_modbus
from tests.fuzz.hostile import Outcome
from tests.fuzz.lies import Lie
from tests.fuzz.targets import Target
from tests.property import test_hostile_iec104, test_hostile_mms, test_hostile_modbus

LIES_MAX: Final = 80
_HONEST: Final = 128
_DATA_MAX: Final = 41


class Session(NamedTuple):
    """One read of a lying device that came to its end."""

    reading: Reading
    is_link: bool
    """Whether nothing was done but lies of the link."""


def lies_of(raw: bytes, kinds: Sequence[str]) -> list[tuple[str, int, bytes]]:
    """Read a script: kind (from 128 on an honest answer), number, length of data, data, and so on."""
    found: list[tuple[str, int, bytes]] = []
    at = 0
    while at < len(raw) and len(found) < LIES_MAX:
        kind, number, size = raw[at], raw[at + 1 : at + 2], raw[at + 2 : at + 3]
        length = size[0] % _DATA_MAX if size else 0
        name = "honest" if kind >= _HONEST else kinds[kind % len(kinds)]
        found.append((name, number[0] if number else 0, raw[at + 3 : at + 3 + length]))
        at += 3 + length
    return found


def _read(
    raw: bytes, kinds: Sequence[str], link: Sequence[str], read: Callable[[list[tuple[str, int, bytes]]], Outcome]
) -> Session:
    """Read a device that lies by this script.

    Raises:
        DeviceError: As drivers do.
    """
    script = lies_of(raw, kinds)
    outcome = read(script)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.reading is not None, "a read ends with a reading or an error"
    return Session(outcome.reading, all(kind in link for kind, _, _ in script))


def _modbus(raw: bytes) -> Session:
    kinds, link = sorted(lying_modbus.LIES), sorted(lying_modbus.LINK_LIES)
    return _read(
        raw,
        kinds,
        link,
        lambda script: test_hostile_modbus.outcome_of([Lie(*lie) for lie in script], [], 0),
    )


def _iec104(raw: bytes) -> Session:
    kinds, link = sorted(lying_iec104.LIES), sorted(lying_iec104.LINK_LIES)
    return _read(
        raw,
        kinds,
        link,
        lambda script: test_hostile_iec104.outcome_of([Lie(*lie) for lie in script], [], 0),
    )


def _mms(raw: bytes) -> Session:
    kinds, link = sorted(lying_mms.LIES), sorted(lying_mms.LINK_LIES)
    return _read(raw, kinds, link, lambda script: test_hostile_mms.outcome_of([Lie(*lie) for lie in script], 0))


def _prove(is_the_device: Callable[[Reading], None]) -> Callable[[Session], None]:
    """Under lies of the link alone, what was read is the device."""

    def prove(session: Session) -> None:
        if session.is_link:
            is_the_device(session.reading)

    return prove


def _seeds(kinds: Sequence[str]) -> tuple[bytes, ...]:
    """Give each lie once, at several places of a read."""
    honest = bytes((255, 0, 0))
    return tuple(
        honest * before + bytes((index, 3, 4)) + b"\0\1\7\xff" for index in range(len(kinds)) for before in (0, 4, 12)
    )


DEVICES: Final = (
    Target(
        "modbusdevice",
        _modbus,
        prove=_prove(test_hostile_modbus.assert_is_the_device),
        refusals=(DeviceError,),
        seeds=_seeds(sorted(lying_modbus.LIES)),
        covers=("agent/drivers/modbus",),
    ),
    Target(
        "iec104device",
        _iec104,
        prove=_prove(test_hostile_iec104.assert_is_the_device),
        refusals=(DeviceError,),
        seeds=_seeds(sorted(lying_iec104.LIES)),
        covers=("agent/drivers/iec104", "wire/iec104"),
    ),
    Target(
        "mmsdevice",
        _mms,
        prove=_prove(test_hostile_mms.assert_is_the_device),
        refusals=(DeviceError,),
        seeds=_seeds(sorted(lying_mms.LIES)),
        covers=("agent/drivers/mms",),
    ),
)
