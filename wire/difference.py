"""Where content differs from a reference value: numbers of items or of chunks, never what they hold.

docs/spec, clause IT-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire.errors import FormatError
from wire.fields import Fields
from wire.types import Digest, check_ascending

if TYPE_CHECKING:
    from wire.cbor import Value

ITEMS: Final = "items"
CHUNKS: Final = "chunks"
UNITS: Final = (CHUNKS, ITEMS)
NUMBERS_MAX: Final = 16
"""Numbers that are named; how many there are beyond them, only the count says."""
NUMBER_MAX: Final = 2**32 - 1
_NAMES: Final = ("reference", "unit", "count", "numbers")


@dataclass(frozen=True, slots=True)
class Difference:
    """What a gateway that holds a release package saw of a file that is not the reference value."""

    reference: Digest
    """SHA-256 of the reference value that it was compared with."""
    unit: str
    """``items``: numbers of settings or rows; ``chunks``: of chunks of 65,536 bytes, the first is 0."""
    count: int
    """Items or chunks that differ; 0 items when the same items are only written otherwise."""
    numbers: tuple[int, ...]
    """The first 16 of them, ascending."""

    def to_value(self) -> dict[str, Value]:
        """Return the difference as a CBOR map."""
        return {
            "reference": self.reference,
            "unit": self.unit,
            "count": self.count,
            "numbers": list(self.numbers),
        }


def decode_difference(value: object, what: str) -> Difference:
    """Check one difference.

    Args:
        value: Decoded CBOR.
        what: Path of the field for an error message.

    Raises:
        FormatError: A field is missing, unknown, out of range or out of order.
    """
    fields = Fields(value, _NAMES, what)
    unit = fields.choice("unit", UNITS)
    count = fields.integer("count", 0 if unit == ITEMS else 1, NUMBER_MAX + 1)
    numbers = tuple(_number(number, fields.where("numbers")) for number in fields.sequence("numbers", NUMBERS_MAX))
    check_ascending(numbers, fields.where("numbers"))
    if len(numbers) != min(count, NUMBERS_MAX):
        raise FormatError(f"{fields.where('numbers')}: {len(numbers)} numbers where {count} differ")
    return Difference(fields.digest("reference"), unit, count, numbers)


def _number(value: Value, what: str) -> int:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise FormatError(f"{what}: an integer 0..{NUMBER_MAX} is due")
    return value
