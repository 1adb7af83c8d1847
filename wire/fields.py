"""Reads the fields of a decoded map and refuses what is missing, unknown or out of range."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wire.errors import FormatError
from wire.types import DIGEST_BYTES, INT_MAX, check_identifier

if TYPE_CHECKING:
    from collections.abc import Collection

    from wire.cbor import Value

TEXT_CHARACTERS_MAX = 4096


class Fields:
    """One map of a known set of keys, read field by field.

    Raises:
        FormatError: From the constructor when the value is no map of exactly ``names``; from each reader when the
            field has another type, length or range. The message starts with the name of the format and the field.
    """

    def __init__(self, value: object, names: Collection[str], what: str) -> None:
        if not isinstance(value, dict):
            message = f"{what}: a {type(value).__name__} stands where a map is due"
            raise FormatError(message)
        missing, unknown = sorted(set(names) - value.keys()), sorted(value.keys() - set(names))
        if missing:
            message = f"{what}: field {missing[0]!r} is missing"
            raise FormatError(message)
        if unknown:
            message = f"{what}: field {unknown[0]!r} is unknown"
            raise FormatError(message)
        self._value: dict[str, Value] = value
        self._what = what

    def where(self, name: str) -> str:
        """Return the path of a field for an error message."""
        return f"{self._what}.{name}"

    def raw(self, name: str) -> Value:
        """Return the field as it is."""
        return self._value[name]

    def integer(self, name: str, low: int = 0, high: int = INT_MAX) -> int:
        """Return an integer of ``low..high``."""
        value = self._value[name]
        if type(value) is not int or not low <= value <= high:
            message = f"{self.where(name)}: an integer {low}..{high} is due, found {_show(value)}"
            raise FormatError(message)
        return value

    def octets(self, name: str, low: int, high: int) -> bytes:
        """Return a byte string of ``low..high`` bytes."""
        value = self._value[name]
        if type(value) is not bytes or not low <= len(value) <= high:
            message = f"{self.where(name)}: {low}..{high} bytes are due, found {_show(value)}"
            raise FormatError(message)
        return value

    def digest(self, name: str) -> bytes:
        """Return a digest of 32 bytes."""
        return self.octets(name, DIGEST_BYTES, DIGEST_BYTES)

    def text(self, name: str, characters_max: int = 256) -> str:
        """Return free text of at most ``characters_max`` characters, without control characters."""
        value = self._value[name]
        if type(value) is not str or len(value) > characters_max:
            message = f"{self.where(name)}: text of at most {characters_max} characters is due, found {_show(value)}"
            raise FormatError(message)
        if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in value):  # noqa: PLR2004 - C0 and C1
            message = f"{self.where(name)}: the text holds a control character"
            raise FormatError(message)
        return value

    def identifier(self, name: str) -> str:
        """Return an identifier, ``[a-z0-9-]{1,64}``."""
        return check_identifier(self._value[name], self.where(name))

    def choice(self, name: str, choices: Collection[str]) -> str:
        """Return one of a closed set of words."""
        value = self._value[name]
        if not isinstance(value, str) or value not in choices:
            message = f"{self.where(name)}: one of {', '.join(sorted(choices))} is due, found {_show(value)}"
            raise FormatError(message)
        return value

    def sequence(self, name: str, length_max: int) -> list[Value]:
        """Return an array of at most ``length_max`` entries."""
        value = self._value[name]
        if not isinstance(value, list) or len(value) > length_max:
            message = f"{self.where(name)}: an array of at most {length_max} entries is due, found {_show(value)}"
            raise FormatError(message)
        return value

    def is_null(self, name: str) -> bool:
        """Tell whether the field is null."""
        return self._value[name] is None


def _show(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, dict | list):
        return f"a {type(value).__name__} of {len(value)} entries"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - one line
