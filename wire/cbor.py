"""Deterministic CBOR, RFC 8949 section 4.2.1, in the small profile of docs/spec (clauses CBOR-1 to CBOR-14).

Integers -2^63..2^63-1, byte strings, text (NFC, Unicode 14), arrays, maps with text keys, true, false and null; at
most 8 containers deep. Decoding = strict decode, check, re-encode, compare: one value has one form, and every
other form is refused with an error that names it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, TypeAlias

import cbor2

from wire.errors import TOO_LARGE, TOO_MANY_VALUES, CborError
from wire.types import INT_MAX, INT_MIN
from wire.unicode14 import is_assigned

Value: TypeAlias = "int | bytes | str | bool | list[Value] | tuple[Value, ...] | dict[str, Value] | None"

DEPTH_MAX: Final = 8
BYTES_MAX: Final = 16 * 1024 * 1024
VALUES_MAX: Final = 1_048_576
"""Values in one input: an array of empty arrays takes one byte for each of 64 in memory."""
EXPLAINED_VALUES_MAX: Final = 131_072
"""Values that are looked at to name why bytes were refused; more than any transaction of 64 KiB can hold."""

KEY_SETS_MAX: Final = 1024
KEYS_MAX: Final = 32
KEYS_BYTES_MAX: Final = 512
"""Sets of so many keys and bytes that were found in order, or not, are remembered: formats have few of them."""
_key_sets: dict[tuple[object, ...], bool] = {}

_MAJOR_NAMES: Final = (
    "an unsigned integer",
    "a negative integer",
    "a byte string",
    "text",
    "an array",
    "a map",
    "a tag",
    "a simple value",
)
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_RESERVED: Final = range(28, 31)
_INDEFINITE: Final = 31
_ALLOWED_SIMPLE: Final = (20, 21, 22)
_UNDEFINED: Final = 23
_FLOATS: Final = (25, 26, 27)


def encode(value: Value) -> bytes:
    """Return the one canonical encoding of ``value``.

    Raises:
        CborError: The value is outside the profile: a float, a tag, an integer past 64 bits, a key that is no text,
            text that is not NFC or not assigned in Unicode 14, or more than 8 containers deep.

    Source: RFC 8949, 4.2.1; docs/spec CBOR-1 to CBOR-9.
    """
    # sorting takes the library twice as long as writing what stands in order already
    return cbor2.dumps(value) if _check(value, 0) else cbor2.dumps(value, canonical=True)


def encode_part(value: Value) -> bytes:
    """Return the one canonical encoding of a value that `decode` returned, or of a part of one; nothing is checked."""
    return cbor2.dumps(value)


def decode(data: bytes, *, bytes_max: int = BYTES_MAX, values_max: int = VALUES_MAX) -> Value:
    """Return the value whose canonical encoding is exactly ``data``.

    Args:
        data: The whole encoding, nothing before and nothing behind it.
        bytes_max: Longest input in bytes that is looked at.
        values_max: Most values that are built, containers, keys and what is in them alike.

    Raises:
        CborError: Not canonical, not of the profile, longer than ``bytes_max`` or of more values than ``values_max``;
            the message names the form and the byte at which it stands.

    Source: RFC 8949, 4.2.1; docs/spec CBOR-10 to CBOR-14 and CBOR-20.
    """
    if len(data) > bytes_max:
        raise CborError(f"CBOR of {len(data)} bytes is longer than the {bytes_max} allowed here", code=TOO_LARGE)
    if len(data) > values_max:  # else it cannot hold more: every value takes a byte
        _check_count(data, values_max)
    try:
        value: Value = cbor2.loads(
            data,
            semantic_decoders=_NO_TAGS,
            max_depth=DEPTH_MAX + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        if _check(value, 0) and cbor2.dumps(value) == data:
            return value
    except (cbor2.CBORError, ValueError):  # CborError is a ValueError, too
        pass
    raise _Scanner(data).explain()


def decode_map(data: bytes, *, bytes_max: int = BYTES_MAX, values_max: int = VALUES_MAX) -> dict[str, Value]:
    """Decode ``data`` as `decode` does and insist on a map.

    Raises:
        CborError: As for `decode`, or the value is no map.
    """
    value = decode(data, bytes_max=bytes_max, values_max=values_max)
    if not isinstance(value, dict):
        raise CborError(f"CBOR holds a {type(value).__name__} where a map is due")
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
            raise CborError(f"text holds the code point U+{ord(character):04X}, which Unicode 14 does not assign")
    if not unicodedata.is_normalized("NFC", text):
        raise CborError("text is not in Unicode normal form NFC")


def _refuse_tag(_content: object, _immutable: object) -> NoReturn:
    raise CborError("a tag where none is allowed")


class _NoTags(dict[int, Callable[[object, object], NoReturn]]):
    """Refuses every tag, the innermost first, before the library makes anything of it.

    Else 28 and 29 (shared values) and 25 (shared strings) let a short input stand for a gigantic value, and
    30 (rationals) reduces fractions for minutes.
    """

    def __missing__(self, _tag: int) -> Callable[[object, object], NoReturn]:
        return _refuse_tag


_NO_TAGS: Final = _NoTags()


def _check_count(data: bytes, values_max: int) -> None:
    """Refuse more than so many values before one of them is built; what is malformed is left to `decode`."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > values_max:
            raise CborError(f"more than {values_max} values (at byte {at})", code=TOO_MANY_VALUES)
        major, argument = data[at] >> 5, data[at] & 31
        at += 1
        if argument in _ARGUMENT_BYTES:
            end = at + _ARGUMENT_BYTES[argument]
            argument, at = int.from_bytes(data[at:end], "big"), end
        if major in (_BYTES, _TEXT):
            at += argument


def _check(value: object, depth: int) -> bool:
    """Tell whether the keys of every map stand in canonical order; refuse what is outside the profile."""
    # exact types: a bool is no int here, and a subclass could encode as something else
    kind = type(value)
    if isinstance(value, str) and kind is str:
        if not value.isascii():
            check_text(value)
    elif isinstance(value, int):
        if kind is not bool and not (kind is int and INT_MIN <= value <= INT_MAX):
            raise CborError("an integer outside -2^63..2^63-1, or of a class of its own")
    elif isinstance(value, dict) and kind is dict:
        _check_depth(depth)
        is_sorted = _check_keys(tuple(value))
        return _check_entries(value.values(), depth + 1) and is_sorted
    elif isinstance(value, list | tuple) and kind in (list, tuple):
        _check_depth(depth)
        return _check_entries(value, depth + 1)
    elif kind is not bytes and value is not None:
        raise CborError(f"a {kind.__name__} has no place in the CBOR profile")
    return True


def _check_entries(entries: Iterable[Any], depth: int) -> bool:
    is_sorted = True
    for entry in entries:
        # most of what there is, without a call: a block is a few thousand byte strings, a report names and numbers
        kind = type(entry)
        if kind is bytes or entry is None or (kind is str and entry.isascii()):
            continue
        if kind is int and INT_MIN <= entry <= INT_MAX:
            continue
        is_sorted = _check(entry, depth) and is_sorted
    return is_sorted


def _check_keys(keys: tuple[object, ...]) -> bool:
    """Tell whether keys ascend as their encodings do: the shorter first, those of one length by their bytes."""
    known = _key_sets.get(keys)
    if known is not None:
        return known
    is_sorted, last_bytes, last, sum_bytes = True, -1, "", 0
    for key in keys:
        if not isinstance(key, str):
            raise CborError(f"a map key of type {type(key).__name__}, which is no text")
        key_bytes = len(key)
        if not key.isascii():
            check_text(key)
            key_bytes = len(key.encode())
        if key_bytes < last_bytes or (key_bytes == last_bytes and key <= last):
            is_sorted = False
        last_bytes, last = key_bytes, key
        sum_bytes += key_bytes
    if len(keys) <= KEYS_MAX and sum_bytes <= KEYS_BYTES_MAX:
        if len(_key_sets) >= KEY_SETS_MAX:
            _key_sets.clear()
        _key_sets[keys] = is_sorted
    return is_sorted


def _check_depth(depth: int) -> None:
    if depth >= DEPTH_MAX:
        raise CborError(f"more than {DEPTH_MAX} arrays and maps stand inside one another")


class _Scanner:
    """Walks bytes that were refused and finds the first reason, in the order in which it stands."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._values_left = EXPLAINED_VALUES_MAX

    def explain(self) -> CborError:
        """Return the error that names the first form that is not canonical, or what follows the value."""
        try:
            self._scan(0)
        except CborError as error:
            return error
        return CborError(f"{len(self._data) - self._at} trailing bytes after the value (at byte {self._at})")

    def _refuse(self, at: int, reason: str) -> NoReturn:
        raise CborError(f"{reason} (at byte {at})")

    def _take(self, count: int, what: str) -> bytes:
        left = len(self._data) - self._at
        if left < count:
            self._refuse(self._at, f"truncated: {count} bytes of {what} are due, {left} are left")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def _head(self) -> tuple[int, int, int]:
        start = self._at
        first = self._take(1, "the next value")[0]
        major, additional = first >> 5, first & 31
        if additional in _RESERVED:
            self._refuse(start, f"reserved additional information {additional}")
        if major == _SIMPLE:
            return major, additional, start
        if additional == _INDEFINITE:
            self._refuse(start, f"indefinite length of {_MAJOR_NAMES[major]}")
        if additional < min(_ARGUMENT_BYTES):
            return major, additional, start
        width = _ARGUMENT_BYTES[additional]
        argument = int.from_bytes(self._take(width, "an integer or length"), "big")
        shortest = 24 if width == 1 else 1 << (4 * width)
        if argument < shortest:
            what = "" if major in (_UINT, _NEGATIVE) else " whose number" if major == _TAG else " whose length"
            self._refuse(start, f"{_MAJOR_NAMES[major]}{what} is not in its shortest form")
        return major, argument, start

    def _scan(self, depth: int) -> None:
        self._values_left -= 1
        if self._values_left < 0:
            self._refuse(self._at, "not canonical, for a reason further on")
        major, argument, start = self._head()
        if major in (_UINT, _NEGATIVE):
            if argument > INT_MAX:
                self._refuse(start, "an integer outside -2^63..2^63-1")
        elif major == _BYTES:
            self._take(argument, "a byte string")
        elif major == _TEXT:
            self._text(argument, start)
        elif major == _TAG:
            self._refuse(start, f"tag {argument} where none is allowed")
        elif major == _SIMPLE:
            self._simple(argument, start)
        elif depth >= DEPTH_MAX:
            self._refuse(start, f"more than {DEPTH_MAX} arrays and maps stand inside one another")
        elif major == _MAP:
            self._map(argument, depth)
        else:
            self._array(argument, depth)

    def _text(self, length: int, start: int) -> None:
        raw = self._take(length, "text")
        try:
            check_text(raw.decode("utf-8"))
        except UnicodeDecodeError:
            self._refuse(start, "text is no valid UTF-8")
        except CborError as error:
            self._refuse(start, str(error))

    def _array(self, entries: int, depth: int) -> None:
        for _ in range(entries):
            self._scan(depth + 1)

    def _map(self, pairs: int, depth: int) -> None:
        last = b""
        for _ in range(pairs):
            start = self._at
            if start < len(self._data) and self._data[start] >> 5 not in (_TEXT, _TAG):
                self._refuse(start, "a map key that is no text")
            self._scan(depth + 1)
            key = self._data[start : self._at]
            if key == last:
                self._refuse(start, "duplicate map key")
            if key < last:
                self._refuse(start, "map keys are not in bytewise order")
            last = key
            self._scan(depth + 1)

    def _simple(self, additional: int, start: int) -> None:
        if additional in _ALLOWED_SIMPLE:
            return
        if additional in _FLOATS:
            self._refuse(start, "a floating-point number")
        if additional == _UNDEFINED:
            self._refuse(start, "undefined")
        if additional == _INDEFINITE:
            self._refuse(start, "break code outside an indefinite length")
        self._refuse(start, "a simple value other than true, false and null")
