"""Points in time as people write them on the command line."""

from __future__ import annotations

import datetime as dt
from typing import Final

from kit.exitcodes import UsageError

_MS_PER_S: Final = 1000
_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999, UTC."""


def moment_ms(text: str) -> int:
    """Return milliseconds since 1970 UTC of an option: a time as ``time_ms`` takes it, or the milliseconds themselves.

    Raises:
        UsageError: It is neither.
    """
    if not (text.isascii() and text.isdecimal()):
        return time_ms(text, "the time")
    if len(text) > len(str(_MS_MAX)) or int(text) > _MS_MAX:
        raise UsageError(f"the time {text} lies behind the year 9999; milliseconds since 1970 are due")
    return int(text)


def time_ms(text: str, what: str) -> int:
    """Return milliseconds since 1970 UTC of a time such as ``2026-11-23T16:00Z``; without a zone it is UTC.

    Args:
        text: ISO 8601.
        what: Name of the option, for the error.

    Raises:
        UsageError: It is no time.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{what} {text!r} is no time; expected such as 2026-11-23T16:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * _MS_PER_S)
