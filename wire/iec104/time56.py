"""CP56Time2a: a time tag of seven octets and what it says of its own quality (docs/spec, clause IC-14).

Source: IEC 60870-5-101:2003, 7.2.6.18.
"""

from __future__ import annotations

from datetime import date
from typing import Final, NamedTuple

from wire.iec104.errors import AsduError, ParameterError

TIME_BYTES: Final = 7
_CENTURY: Final = 2000
_EPOCH_DAYS: Final = date(1970, 1, 1).toordinal()
_RANGES: Final = (
    ("millisecond", 59_999),
    ("minute", 59),
    ("hour", 23),
    ("day", 31),
    ("weekday", 7),
    ("month", 12),
    ("year", 99),
)
_LIMITS: Final = (0xFFFF, 0x3F, 0x1F, 0x1F, 0x07, 0x0F, 0x7F)
"""Of the numbers in a time tag, in their order."""


class Time56(NamedTuple):
    """A time tag as the device wrote it, whether there is such a date or not."""

    millisecond: int
    """Of the minute, 0..65535; above 59,999 there is no such time."""
    minute: int
    """0..63."""
    hour: int
    """0..31."""
    day: int
    """Of the month, 0..31."""
    weekday: int
    """1 is Monday, 7 Sunday; 0 where the device does not say."""
    month: int
    """0..15."""
    year: int
    """Of the century, 0..127."""
    is_invalid: bool = False
    """IV: the device itself does not believe its clock."""
    is_substituted: bool = False
    """The time was added on the way, not by the device."""
    is_summer: bool = False
    """SU: summer time of the place."""

    def epoch_ms(self) -> int | None:
        """Return milliseconds since 1970, read as UTC from 2000 to 2099, or None where there is no such time."""
        if any(getattr(self, name) > limit for name, limit in _RANGES):
            return None
        try:
            days = date(_CENTURY + self.year, self.month, self.day).toordinal() - _EPOCH_DAYS
        except ValueError:
            return None
        return ((days * 24 + self.hour) * 60 + self.minute) * 60_000 + self.millisecond


def decode_time(raw: bytes) -> Time56:
    """Decode a time tag; reserved bits are not looked at.

    Raises:
        AsduError: Not seven octets.
    """
    if len(raw) != TIME_BYTES:
        raise AsduError(f"a time tag has {TIME_BYTES} octets, found {len(raw)}")
    low, high, minute, hour, day, month, year = raw
    return Time56(
        low | high << 8,
        minute & 0x3F,
        hour & 0x1F,
        day & 0x1F,
        day >> 5,
        month & 0x0F,
        year & 0x7F,
        bool(minute & 0x80),
        bool(minute & 0x40),
        bool(hour & 0x80),
    )


def encode_time(time: Time56) -> bytes:
    """Encode a time tag; reserved bits are 0.

    Raises:
        ParameterError: A field does not fit into its bits.
    """
    if not all(0 <= number <= limit for number, limit in zip(time, _LIMITS, strict=False)):
        raise ParameterError(f"{time} does not fit into a time tag")
    return bytes(
        (
            time.millisecond & 0xFF,
            time.millisecond >> 8,
            time.minute | time.is_invalid << 7 | time.is_substituted << 6,
            time.hour | time.is_summer << 7,
            time.day | time.weekday << 5,
            time.month,
            time.year,
        )
    )


def time_of_epoch_ms(epoch_ms: int, *, is_invalid: bool = False) -> Time56:
    """Return the time tag of a UTC time from 2000 to 2099.

    Raises:
        ParameterError: The time lies in another century.
    """
    minutes, millisecond = divmod(epoch_ms, 60_000)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if not _FIRST_DAY <= days <= _LAST_DAY:
        raise ParameterError(f"{epoch_ms} ms since 1970 lies outside of the years 2000 to 2099")
    day = date.fromordinal(days + _EPOCH_DAYS)
    return Time56(
        millisecond, minute, hour, day.day, day.isoweekday(), day.month, day.year - _CENTURY, is_invalid=is_invalid
    )


_FIRST_DAY: Final = date(_CENTURY, 1, 1).toordinal() - _EPOCH_DAYS
_LAST_DAY: Final = date(_CENTURY + 99, 12, 31).toordinal() - _EPOCH_DAYS
