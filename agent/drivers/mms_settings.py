"""The active setting group of an IEC 61850 device as one text, so that it has a digest (docs/spec/mms.md, MM-8).

The text is CSV with the heading ``number,name,value,type``: first the setting group control block's numbers, then
every value under functional constraint SG, in ascending order of names. Names begin with the logical device's
instance, not with the IED's name, so that two bays with equal settings have equal texts.
"""

from __future__ import annotations

import csv
import io
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from agent.drivers.text import device_text
from wire.cbor import Value
from wire.errors import FormatError
from wire.types import shown

HEADING: Final = ("number", "name", "value", "type")
_FORMATS: Final = {4: (">f", "float32", 9), 8: (">d", "float64", 17)}
"""By length in bytes: form, name, decimal digits that always suffice."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of the active group."""

    name: str
    """Such as ``LD0/PTUF1.StrVal.setMag.f``."""
    value: str
    type: str


def setting(name: str, kind: Value, value: Value) -> Setting:
    """Return one value as the child process gives it, as text.

    Args:
        name: Where it stands.
        kind: ``boolean``, ``integer``, ``float``, ``text``, ``bits``, ``octets`` or ``time``.
        value: As `agent.drivers.mms_reads` returns it.

    Raises:
        FormatError: Value and kind do not go together.
    """
    match kind, value:
        case "boolean", bool():
            return Setting(name, "true" if value else "false", "boolean")
        case (("integer" | "time"), int()) if not isinstance(value, bool):
            return Setting(name, str(value), kind)
        case "float", bytes() if len(value) in _FORMATS:
            return Setting(name, _decimal(value), _FORMATS[len(value)][1])
        case "text", bytes():
            return Setting(name, device_text(value), "text")
        case "bits", str() if set(value) <= {"0", "1"}:
            return Setting(name, value, "bits")
        case "octets", bytes():
            return Setting(name, value.hex(), "octets")
        case _:
            raise FormatError(f"{name}: {shown(value)} is no {shown(kind)}")


def setting_text(settings: Sequence[Setting]) -> bytes:
    """Return the text of a setting group.

    Args:
        settings: In the order in which they shall stand.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADING)
    writer.writerows((number, each.name, each.value, each.type) for number, each in enumerate(settings, start=1))
    return buffer.getvalue().encode()


def _decimal(raw: bytes) -> str:
    """Return the shortest decimal number that gives exactly these bytes of IEEE 754 again."""
    form, name, digits_max = _FORMATS[len(raw)]
    number: float = struct.unpack(form, raw)[0]
    if not math.isfinite(number):
        return f"{name}:{raw.hex()}"
    for digits in range(1, digits_max + 1):
        text = f"{number:.{digits}g}"
        if _gives(text, form, raw):
            break
    return format(Decimal(text), "f")


def _gives(text: str, form: str, raw: bytes) -> bool:
    try:
        return struct.pack(form, float(text)) == raw
    except OverflowError:
        return False  # a large number rounded up to more than there is
