from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.unit.wire.samples import Json
from wire import cbor
from wire.errors import CborError
from wire.unicode14 import is_assigned

TEXT = st.text(max_size=12).map(lambda text: unicodedata.normalize("NFC", text))
TEXT_OF_PROFILE = TEXT.filter(lambda text: all(is_assigned(ord(character)) for character in text))
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40) | TEXT_OF_PROFILE


def containers(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.lists(inner, max_size=5) | st.dictionaries(TEXT_OF_PROFILE, inner, max_size=5)


VALUES: st.SearchStrategy[Json] = st.recursive(SCALARS, containers, max_leaves=25).filter(
    lambda value: depth(value) <= 8
)


def depth(value: Json) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def naive_head(major: int, argument: int, width: int | None = None) -> bytes:
    """Write a head as RFC 8949, 3 says; ``width`` in bytes asks for a longer one than needed."""
    if width is None:
        width = 0 if argument < 24 else next(width for width in (1, 2, 4, 8) if argument < 1 << (8 * width))
    if width == 0:
        return bytes(((major << 5) | argument,))
    return bytes(((major << 5) | {1: 24, 2: 25, 4: 26, 8: 27}[width],)) + argument.to_bytes(width, "big")


def naive_encode(value: Json) -> bytes:
    """Encode by RFC 8949, 4.2.1 read literally, without the library that wire uses."""
    match value:
        case None | True | False:
            return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
        case int():
            return naive_head(0, value) if value >= 0 else naive_head(1, -1 - value)
        case bytes():
            return naive_head(2, len(value)) + value
        case str():
            return naive_head(3, len(value.encode())) + value.encode()
        case list():
            return naive_head(4, len(value)) + b"".join(map(naive_encode, value))
        case _:
            pairs = sorted(naive_encode(key) + naive_encode(entry) for key, entry in value.items())
            return naive_head(5, len(pairs)) + b"".join(pairs)


class Lax:
    """Encodes a value in any of its forms, as the drawn choices say."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def head(self, major: int, argument: int) -> bytes:
        widths = [None, *(width for width in (1, 2, 4, 8) if argument < 1 << (8 * width))]
        return naive_head(major, argument, self._data.draw(st.sampled_from(widths)))

    def encode(self, value: Json) -> bytes:
        match value:
            case None | True | False:
                return naive_encode(value)
            case int():
                return self.head(0, value) if value >= 0 else self.head(1, -1 - value)
            case bytes() | str():
                raw = value.encode() if isinstance(value, str) else value
                major = 3 if isinstance(value, str) else 2
                if self._data.draw(st.booleans()):
                    return bytes(((major << 5) | 31,)) + self.head(major, len(raw)) + raw + b"\xff"
                return self.head(major, len(raw)) + raw
            case list():
                return self.container(4, len(value), [self.encode(entry) for entry in value])
            case _:
                pairs = [self.encode(key) + self.encode(entry) for key, entry in value.items()]
                return self.container(5, len(pairs), self._data.draw(st.permutations(pairs)))

    def container(self, major: int, count: int, parts: list[bytes]) -> bytes:
        if self._data.draw(st.booleans()):
            return bytes(((major << 5) | 31,)) + b"".join(parts) + b"\xff"
        return self.head(major, count) + b"".join(parts)


# holds CBOR-1 CBOR-13
@given(VALUES)
def test_cbor_every_value_of_the_profile_round_trips(value: Json) -> None:
    raw = cbor.encode(value)
    assert raw == naive_encode(value)
    decoded = cbor.decode(raw)
    assert decoded == value
    assert cbor.encode(decoded) == raw


# holds CBOR-13
@given(VALUES, st.data())
def test_cbor_any_other_form_of_a_value_is_refused_by_name(value: Json, data: st.DataObject) -> None:
    other = Lax(data).encode(value)
    assume(other != cbor.encode(value))
    with pytest.raises(
        CborError, match=r"(not in its shortest form|indefinite length|not in bytewise order|more than 8) ?.*\(at byte"
    ):
        cbor.decode(other)


# holds CBOR-10 CBOR-13
@settings(max_examples=400)
@given(VALUES, st.data())
def test_cbor_one_changed_byte_is_refused_or_is_another_canonical_value(value: Json, data: st.DataObject) -> None:
    raw = bytearray(cbor.encode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    refused_or_canonical(bytes(raw))


# holds CBOR-10 CBOR-13
@settings(max_examples=1000)
@given(st.binary(max_size=60))
def test_cbor_any_bytes_are_refused_or_canonical(raw: bytes) -> None:
    refused_or_canonical(raw)


def refused_or_canonical(raw: bytes) -> None:
    try:
        value = cbor.decode(raw)
    except CborError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert cbor.encode(value) == raw
        assert naive_encode(value) == raw
    # a reason was found, and it is not the one that is left when all reasons are exhausted
    assert not refusal.startswith("0 trailing")
    assert refusal.endswith(")") or not refusal


# holds CBOR-10
@given(VALUES, st.binary(min_size=1, max_size=5))
def test_cbor_bytes_behind_or_cut_off_are_refused(value: Json, behind: bytes) -> None:
    raw = cbor.encode(value)
    with pytest.raises(CborError, match=f"{len(behind)} trailing bytes"):
        cbor.decode(raw + behind)
    for length in range(len(raw)):
        with pytest.raises(CborError, match=r"truncated|UTF-8"):
            cbor.decode(raw[:length])


# holds CBOR-7 CBOR-8
@settings(max_examples=400)
@given(st.text(max_size=6))
def test_cbor_text_is_accepted_exactly_when_nfc_and_assigned(text: str) -> None:
    allowed = unicodedata.is_normalized("NFC", text) and all(is_assigned(ord(character)) for character in text)
    raw = naive_encode(text)
    if allowed:
        assert cbor.encode(text) == raw
        assert cbor.decode(raw) == text
    else:
        with pytest.raises(CborError, match=r"NFC|does not assign"):
            cbor.encode(text)
        with pytest.raises(CborError, match=r"NFC|does not assign"):
            cbor.decode(raw)
