"""Deterministic CBOR, RFC 8949 section 4.2.1, in the small profile of docs/spec (clauses CBOR-1 to CBOR-12).

Integers -2^63..2^63-1, byte strings, text (NFC, Unicode 14), arrays, maps with text keys, true, false and null; at
most 8 containers deep. Decoding = strict decode, check, re-encode, compare: one value has one form, and every
other form is refused with an error that names it.
"""

from __future__ import annotations

import unicodedata
from typing import Final, TypeAlias

import cbor2

from wire.errors import CborError
from wire.types import INT_MAX, INT_MIN
from wire.unicode14 import is_assigned

Value: TypeAlias = "int | bytes | str | bool | list[Value] | tuple[Value, ...] | dict[str, Value] | None"

DEPTH_MAX: Final = 8
BYTES_MAX: Final = 16 * 1024 * 1024

_MAJOR_NAMES: Final = (
    "unsigned integer",
    "negative integer",
    "byte string",
    "text",
    "array",
    "map",
    "tag",
    "simple value",
)
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE: Final = 31


def encode(value: Value) -> bytes:
    """Return the one canonical encoding of ``value``.

    Raises:
        CborError: The value is outside the profile: a float, a tag, an integer past 64 bits, a key that is no text,
            text that is not NFC or not assigned in Unicode 14, or more than 8 containers deep.

    Source: RFC 8949, 4.2.1; docs/spec CBOR-1 to CBOR-9.
    """
    _check(value, 0)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, bytes_max: int = BYTES_MAX) -> Value:
    """Return the value whose canonical encoding is exactly ``data``.

    Args:
        data: The whole encoding, nothing before and nothing behind it.
        bytes_max: Longest input in bytes that is looked at.

    Raises:
        CborError: Not canonical, not of the profile, or longer than ``bytes_max``; the message names the form and
            the byte at which it stands.

    Source: RFC 8949, 4.2.1; docs/spec CBOR-10 to CBOR-12.
    """
    if len(data) > bytes_max:
        message = f"CBOR of {len(data)} bytes is longer than the {bytes_max} allowed here"
        raise CborError(message)
    try:
        value: Value = cbor2.loads(
            data,
            max_depth=DEPTH_MAX + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        if encode(value) == data:
            return value
    except (cbor2.CBORError, CborError, ValueError, OverflowError, TypeError, RecursionError):
        pass
    _Scanner(data).scan_all()
    message = "CBOR is not in its one canonical form"
    raise CborError(message)


def decode_map(data: bytes, *, bytes_max: int = BYTES_MAX) -> dict[str, Value]:
    """Decode ``data`` as `decode` does and insist on a map.

    Raises:
        CborError: As for `decode`, or the value is no map.
    """
    value = decode(data, bytes_max=bytes_max)
    if not isinstance(value, dict):
        message = f"CBOR holds a {type(value).__name__} where a map is due"
        raise CborError(message)
    return value


def check_text(text: str) -> None:
    """Refuse text that is not NFC or holds a code point that Unicode 14 does not assign.

    Raises:
        CborError: Names the first offending code point, or says that the text is not in NFC.
    """
    if text.isascii():
        return
    for character in text:
        if not is_assigned(ord(character)):
            message = f"text holds the code point U+{ord(character):04X}, which Unicode 14 does not assign"
            raise CborError(message)
    if not unicodedata.is_normalized("NFC", text):
        message = "text is not in Unicode normal form NFC"
        raise CborError(message)


def _check(value: Value, depth: int) -> None:
    kind = type(value)
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:  # type: ignore[operator]
            message = f"integer {value!r} is outside -2^63..2^63-1"
            raise CborError(message)
    elif kind is str:
        check_text(value)  # type: ignore[arg-type]
    elif kind is dict:
        _check_depth(depth)
        for key, entry in value.items():  # type: ignore[union-attr]
            if type(key) is not str:
                message = f"map key {key!r} is no text"
                raise CborError(message)
            check_text(key)
            _check(entry, depth + 1)
    elif kind is list or kind is tuple:
        _check_depth(depth)
        for entry in value:  # type: ignore[union-attr]
            _check(entry, depth + 1)
    elif kind is not bytes and kind is not bool and value is not None:
        message = f"a {kind.__name__} has no place in the CBOR profile"
        raise CborError(message)


def _check_depth(depth: int) -> None:
    if depth >= DEPTH_MAX:
        message = f"more than {DEPTH_MAX} arrays and maps stand inside one another"
        raise CborError(message)


class _Scanner:
    """Walks bytes that were refused and finds the first reason, in the order in which it stands."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def scan_all(self) -> None:
        self._scan(0)
        if self._at != len(self._data):
            self._refuse(self._at, f"{len(self._data) - self._at} trailing bytes after the value")

    def _refuse(self, at: int, reason: str) -> None:
        message = f"{reason} (at byte {at})"
        raise CborError(message)

    def _take(self, count: int, what: str) -> bytes:
        if len(self._data) - self._at < count:
            self._refuse(
                self._at,
                f"truncated: {count} bytes of {what} are due, {len(self._data) - self._at} are left",
            )
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def _head(self) -> tuple[int, int, int]:
        start = self._at
        first = self._take(1, "the next value")[0]
        major, additional = first >> 5, first & 31
        if major == _SIMPLE:
            return major, additional, start
        if additional == _INDEFINITE:
            self._refuse(start, f"indefinite length of a {_MAJOR_NAMES[major]}")
        if additional > max(_ARGUMENT_BYTES):
            self._refuse(start, f"reserved additional information {additional}")
        if additional < min(_ARGUMENT_BYTES):
            return major, additional, start
        width = _ARGUMENT_BYTES[additional]
        argument = int.from_bytes(self._take(width, "an integer or length"), "big")
        shortest = 24 if width == 1 else 1 << (4 * width)
        if argument < shortest:
            self._refuse(
                start,
                f"{_MAJOR_NAMES[major]} with an integer or length that is not in its shortest form",
            )
        return major, argument, start

    def _scan(self, depth: int) -> None:
        major, argument, start = self._head()
        if major in (_UINT, _NEGATIVE):
            if argument > INT_MAX:
                self._refuse(start, "integer outside -2^63..2^63-1")
        elif major == _BYTES:
            self._take(argument, "a byte string")
        elif major == _TEXT:
            self._text(argument, start)
        elif major in (_ARRAY, _MAP):
            if depth >= DEPTH_MAX:
                self._refuse(start, f"more than {DEPTH_MAX} arrays and maps inside one another")
            if major == _ARRAY:
                for _ in range(argument):
                    self._scan(depth + 1)
            else:
                self._map(argument, depth)
        elif major == _TAG:
            self._refuse(start, f"tag {argument} where none is allowed")
        else:
            self._simple(argument, start)

    def _text(self, length: int, start: int) -> None:
        raw = self._take(length, "text")
        try:
            check_text(raw.decode("utf-8"))
        except UnicodeDecodeError:
            self._refuse(start, "text is no valid UTF-8")
        except CborError as error:
            self._refuse(start, str(error))

    def _map(self, pairs: int, depth: int) -> None:
        last = b""
        for index in range(pairs):
            start = self._at
            if start < len(self._data) and self._data[start] >> 5 != _TEXT:
                self._refuse(start, "map key that is no text")
            self._scan(depth + 1)
            key = self._data[start : self._at]
            if index and key == last:
                self._refuse(start, "duplicate map key")
            if index and key < last:
                self._refuse(start, "map keys are not in bytewise order")
            last = key
            self._scan(depth + 1)

    def _simple(self, additional: int, start: int) -> None:
        if additional in (20, 21, 22):
            return
        if additional in (25, 26, 27):
            self._refuse(start, "floating-point number")
        if additional == 23:
            self._refuse(start, "undefined")
        if additional == _INDEFINITE:
            self._refuse(start, "break code outside an indefinite length")
        self._refuse(start, "simple value other than true, false and null")
