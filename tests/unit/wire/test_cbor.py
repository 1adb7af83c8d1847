from __future__ import annotations

import enum
import re
from typing import Any

import pytest

from tests.unit.wire.samples import Json, vectors
from wire import cbor
from wire.errors import CborError

RFC = vectors("cbor_rfc8949.json")
REFUSED = [(case["hex"], case["reason"]) for case in vectors("cbor_refused.json")["refused"]]
RFC_REFUSED = [(case["hex"], case["reason"]) for case in RFC["refused"]]
HEAD_ARRAY, HEAD_BYTES, HEAD_TAG = 4, 2, 6


def head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    width = next(width for width in (1, 2, 4, 8) if argument < 1 << (8 * width))
    return bytes((major << 5 | 23 + width.bit_length(),)) + argument.to_bytes(width, "big")


def plain(value: Json) -> Json:
    return bytes.fromhex(value["bytes"]) if isinstance(value, dict) and "bytes" in value else value


def nested(depth: int) -> cbor.Value:
    value: cbor.Value = 0
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


# holds CBOR-1 CBOR-13
@pytest.mark.parametrize("case", RFC["accepted"], ids=lambda case: case["hex"])
def test_cbor_rfc8949_example_inside_the_profile_round_trips(case: dict[str, Any]) -> None:
    raw, value = bytes.fromhex(case["hex"]), plain(case["value"])
    decoded = cbor.decode(raw)
    assert decoded == value
    assert type(decoded) is type(value)
    assert cbor.encode(value) == raw


# holds CBOR-1
@pytest.mark.parametrize(("raw", "reason"), RFC_REFUSED)
def test_cbor_rfc8949_example_outside_the_profile_is_refused_by_name(raw: str, reason: str) -> None:
    with pytest.raises(CborError, match=re.escape(reason)):
        cbor.decode(bytes.fromhex(raw))


# holds CBOR-2 CBOR-3 CBOR-4 CBOR-5 CBOR-6 CBOR-7 CBOR-8 CBOR-9 CBOR-10 CBOR-11 CBOR-14
@pytest.mark.parametrize(("raw", "reason"), REFUSED)
def test_cbor_non_canonical_form_is_refused_by_name(raw: str, reason: str) -> None:
    with pytest.raises(CborError, match=re.escape(reason)):
        cbor.decode(bytes.fromhex(raw))


# holds CBOR-14
@pytest.mark.parametrize(("raw", "reason"), REFUSED)
def test_cbor_non_canonical_form_inside_others_is_refused_by_name_and_byte(raw: str, reason: str) -> None:
    if "trailing" in reason or "more than" in reason:
        wrapped = bytes.fromhex(raw)
    else:
        wrapped = bytes.fromhex("82a161618101") + bytes.fromhex(raw)
    with pytest.raises(CborError, match=re.escape(reason) + r".*\(at byte \d+\)$"):
        cbor.decode(wrapped)


# holds CBOR-2
@pytest.mark.parametrize(
    ("value", "raw"),
    [(2**63 - 1, "1b7fffffffffffffff"), (-(2**63), "3b7fffffffffffffff"), (-1, "20"), (23, "17"), (24, "1818")],
)
def test_cbor_integer_at_the_end_of_its_range_round_trips(value: int, raw: str) -> None:
    assert cbor.encode(value).hex() == raw
    assert cbor.decode(bytes.fromhex(raw)) == value


# holds CBOR-2
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64, 10**5000, -(10**5000)], ids=type)
def test_cbor_integer_past_its_range_is_not_encoded(value: int) -> None:
    with pytest.raises(CborError, match="integer outside"):
        cbor.encode(value)


# holds CBOR-6
def test_cbor_map_keys_are_sorted_by_their_encoded_bytes() -> None:
    keys = ["b", "a", "aa", "B", "", "z" * 24, "\u00e4", "ab"]
    value: cbor.Value = dict.fromkeys(keys, 0)
    expected = b"".join(sorted(cbor.encode(key) + b"\x00" for key in keys))
    assert cbor.encode(value) == bytes((0xA0 | len(keys),)) + expected
    assert cbor.decode(cbor.encode(value)) == value


# holds CBOR-9
def test_cbor_depth_of_8_round_trips() -> None:
    assert cbor.decode(cbor.encode(nested(8))) == nested(8)


# holds CBOR-9
def test_cbor_depth_of_9_is_refused_both_ways() -> None:
    with pytest.raises(CborError, match="more than 8"):
        cbor.encode(nested(9))
    with pytest.raises(CborError, match="more than 8"):
        cbor.decode(b"\x81" + cbor.encode(nested(8)))


# holds CBOR-12
def test_cbor_length_at_its_bound_is_accepted_and_past_it_refused_unread() -> None:
    assert cbor.decode(b"\x43abc", bytes_max=4) == b"abc"
    with pytest.raises(CborError, match="5 bytes is longer than the 4 allowed"):
        cbor.decode(b"\xff" * 5, bytes_max=4)


# holds CBOR-20
@pytest.mark.parametrize("entry", [b"\x80", b"\xa0", b"\x00", b"\x60", b"\xf6", b"\x41a", b"\x18\x20", b"\x79\x00\x00"])
def test_cbor_more_values_than_allowed_are_refused_before_one_is_built(entry: bytes) -> None:
    with pytest.raises(CborError, match=r"more than 4 values \(at byte"):
        cbor.decode(b"\x85" + entry * 5, values_max=4)


# holds CBOR-20
def test_cbor_as_many_values_as_allowed_are_accepted_however_long() -> None:
    value: cbor.Value = [b"a" * 300, "b" * 30, {"c": 1}]
    assert cbor.decode(cbor.encode(value), values_max=6) == value
    with pytest.raises(CborError, match="more than 5 values"):
        cbor.decode(cbor.encode(value), values_max=5)


# holds CBOR-20
def test_cbor_malformed_input_longer_than_the_values_allowed_is_refused_by_its_form() -> None:
    with pytest.raises(CborError, match="truncated"):
        cbor.decode(b"\x5b" + b"\x7f" * 8 + b"more", values_max=4)


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


# holds CBOR-1 CBOR-5 CBOR-8
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.5, "a float has no place"),
        (float("nan"), "a float has no place"),
        (bytearray(b"a"), "a bytearray has no place"),
        ({1, 2}, "a set has no place"),
        (Colour.RED, "integer outside"),
        (Text("a"), "a Text has no place"),
        ({1: 2}, "a map key of type int, which is no text"),
        ({True: 2}, "a map key of type bool, which is no text"),
        pytest.param({10**5000: 1}, "a map key of type int, which is no text", id="long key"),
        ({b"a": 2}, "a map key of type bytes, which is no text"),
        (["\ud800"], r"U\+D800"),
        ({"\u0378": 1}, r"U\+0378"),
        ("e\u0301", "not in Unicode normal form NFC"),
    ],
)
def test_cbor_value_outside_the_profile_is_not_encoded(value: Json, reason: str) -> None:
    with pytest.raises(CborError, match=reason):
        cbor.encode(value)


# holds CBOR-1
def test_cbor_tuple_is_written_as_an_array() -> None:
    assert cbor.encode((1, ("a",), b"")) == cbor.encode([1, ["a"], b""])


# holds CBOR-6
def test_cbor_order_of_keys_is_the_same_however_many_maps_were_seen_before() -> None:
    straight: Json = {"a": 1, "b": 2}
    crooked: Json = {"b": 2, "a": 1}
    raw = cbor.encode(straight)
    swapped = raw[:1] + raw[4:] + raw[1:4]
    wide: Json = {f"{number:03}": 0 for number in range(cbor.KEYS_MAX + 1)}
    long: Json = {"b" * cbor.KEYS_BYTES_MAX: 0, "a": 1}
    for seen in range(cbor.KEY_SETS_MAX + 2):
        if seen % 512 < 2:  # remembered or not
            assert cbor.encode(straight) == cbor.encode(crooked) == cbor.encode({Text("b"): 2, "a": 1}) == raw
            with pytest.raises(CborError, match="bytewise order"):
                cbor.decode(swapped)
            assert cbor.decode(cbor.encode(wide)) == wide
            assert list(cbor.decode_map(cbor.encode(long))) == ["a", "b" * cbor.KEYS_BYTES_MAX]
        cbor.encode({f"key {seen}": 0})


# holds CBOR-11
@pytest.mark.timeout(20)
def test_cbor_tags_that_stand_for_gigantic_values_are_refused_before_they_are_built() -> None:
    shared = head(HEAD_ARRAY, 7) + head(HEAD_TAG, 28) + head(HEAD_ARRAY, 30) + b"\x01" * 30
    for level in range(6):  # each level holds 30 references to the one before: 30^7 values from 600 bytes
        shared += head(HEAD_TAG, 28) + head(HEAD_ARRAY, 30) + (head(HEAD_TAG, 29) + head(0, level)) * 30
    big = head(HEAD_TAG, 2) + head(HEAD_BYTES, 400_000) + b"\xa7" * 400_000
    rational = head(HEAD_TAG, 30) + b"\x82" + big + big[:-1] + b"\x01"
    for raw, tag in ((shared, "tag 28"), (rational, "tag 30")):
        with pytest.raises(CborError, match=tag):
            cbor.decode(raw)


# holds CBOR-14
def test_cbor_reason_far_behind_is_not_searched_for_ever() -> None:
    values = cbor.EXPLAINED_VALUES_MAX
    near = head(HEAD_ARRAY, values - 1) + b"\x00" * (values - 2) + b"\xf7"
    far = head(HEAD_ARRAY, values) + b"\x00" * (values - 1) + b"\xf7"
    with pytest.raises(CborError, match="undefined"):
        cbor.decode(near)
    with pytest.raises(CborError, match="for a reason further on"):
        cbor.decode(far)


# holds CBOR-18
def test_cbor_decode_map_takes_a_map() -> None:
    assert cbor.decode_map(b"\xa1\x61a\x01") == {"a": 1}


# holds CBOR-18
@pytest.mark.parametrize("raw", ["80", "00", "f6", "6161"])
def test_cbor_decode_map_of_anything_else_is_refused(raw: str) -> None:
    with pytest.raises(CborError, match="where a map is due"):
        cbor.decode_map(bytes.fromhex(raw))
