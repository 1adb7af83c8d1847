"""Reads a decoded map field by field, refuses what is missing, unknown or out of range.

docs/spec, clauses CBOR-15 to CBOR-18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wire.errors import FormatError
from wire.types import DIGEST_BYTES, INT_MAX, check_identifier, shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from wire.cbor import Value

TEXT_CHARACTERS_MAX: Final = 256
_UNSEEN: Final = frozenset(
    map(
        chr,
        (
            *(*range(0x20), *range(0x7F, 0xA0)),  # C0, DEL and C1
            *(0x2028, 0x2029),  # line and paragraph separator
            *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # direction of writing
            *(0x00AD, 0x034F, 0x200B, *range(0x2060, 0x2066), *range(0x206A, 0x2070), 0xFEFF),  # nothing is shown
            *(0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),  # letters and vowels that are not shown
            *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),  # forms of the one before
            *(*range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)),  # shorthand and music: nothing is shown
            *range(0xFFF9, 0xFFFC),  # interlinear annotation
            *range(0xD800, 0xE000),  # surrogates
            *range(0xE0000, 0xE0080),  # tags
        ),
    )
)
"""Code points that no text holds: people would not see what they sign. A table of ours, since those of Python change
with its version."""


def is_plain(text: str) -> bool:
    """Tell whether people see all that a text holds: no control, and nothing that hides or turns around (CBOR-17)."""
    return _UNSEEN.isdisjoint(text)


class Fields:
    """One map of a known set of keys, read field by field.

    Raises:
        FormatError: From the constructor when the value is no map of exactly ``names``; from each reader when the
            field has another type, length or range. The message starts with the name of the format and the field.
    """

    def __init__(self, value: object, names: Collection[str], what: str) -> None:
        if not isinstance(value, dict):
            raise FormatError(f"{what}: a {type(value).__name__} stands where a map is due")
        if len(value) != len(names) or not all(map(value.__contains__, names)):
            raise FormatError(f"{what}: {_difference(value, names)}")
        self._value: dict[str, Value] = value
        self._what = what

    def where(self, name: str) -> str:
        """Return the path of a field for an error message."""
        return f"{self._what}.{name}"

    def raw(self, name: str) -> Value:
        """Return the field as it is."""
        return self._value[name]

    def integer(self, name: str, low: int = 0, high: int = INT_MAX) -> int:
        """Return an integer of ``low..high``.

        Raises:
            FormatError: It is something else; the field is named.
        """
        value = self._value[name]
        if type(value) is not int or not low <= value <= high:
            raise FormatError(f"{self.where(name)}: an integer {low}..{high} is due, found {shown(value)}")
        return value

    def octets(self, name: str, low: int, high: int) -> bytes:
        """Return a byte string of ``low..high`` bytes.

        Raises:
            FormatError: It is something else; the field is named.
        """
        value = self._value[name]
        if type(value) is not bytes or not low <= len(value) <= high:
            raise FormatError(f"{self.where(name)}: {low}..{high} bytes are due, found {shown(value)}")
        return value

    def digest(self, name: str) -> bytes:
        """Return a digest of 32 bytes."""
        return self.octets(name, DIGEST_BYTES, DIGEST_BYTES)

    def text(self, name: str, characters_max: int = TEXT_CHARACTERS_MAX, *, characters_min: int = 0) -> str:
        """Return free text of ``characters_min``..``characters_max`` characters, all of them seen (`is_plain`).

        Raises:
            FormatError: It is something else; the field is named.
        """
        value = self._value[name]
        if type(value) is not str or not characters_min <= len(value) <= characters_max:
            bounds = f"{characters_min}..{characters_max}"
            raise FormatError(f"{self.where(name)}: text of {bounds} characters is due, found {shown(value)}")
        if not is_plain(value):
            raise FormatError(f"{self.where(name)}: the text holds a control character or one that is not seen")
        return value

    def identifier(self, name: str) -> str:
        """Return an identifier, ``[a-z0-9-]{1,64}``."""
        return check_identifier(self._value[name], self.where(name))

    def choice(self, name: str, choices: Collection[str]) -> str:
        """Return one of a closed set of words.

        Raises:
            FormatError: It is something else; the field is named.
        """
        value = self._value[name]
        if not isinstance(value, str) or value not in choices:
            raise FormatError(f"{self.where(name)}: one of {', '.join(sorted(choices))} is due, found {shown(value)}")
        return value

    def sequence(self, name: str, length_max: int) -> list[Value]:
        """Return an array of at most ``length_max`` entries.

        Raises:
            FormatError: It is something else; the field is named.
        """
        value = self._value[name]
        if not isinstance(value, list) or len(value) > length_max:
            raise FormatError(
                f"{self.where(name)}: an array of at most {length_max} entries is due, found {shown(value)}"
            )
        return value

    def mapping(self, name: str) -> dict[str, Value]:
        """Return a map of whatever the CBOR profile allows.

        Raises:
            FormatError: It is something else; the field is named.
        """
        value = self._value[name]
        if not isinstance(value, dict):
            raise FormatError(f"{self.where(name)}: a map is due, found {shown(value)}")
        return value

    def is_null(self, name: str) -> bool:
        """Tell whether the field is null."""
        return self._value[name] is None


def _difference(value: dict[str, Value], names: Collection[str]) -> str:
    missing, unknown = sorted(set(names) - value.keys()), sorted(value.keys() - set(names))
    return f"field {missing[0]!r} is missing" if missing else f"field {shown(unknown[0])} is unknown"
