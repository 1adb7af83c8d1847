from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from wire.errors import FormatError
from wire.fields import Fields, is_plain
from wire.types import check_ascending, check_identifier, shown

Reader = Callable[[Fields], Any]


def one(value: object) -> Fields:
    return Fields({"a": value}, ("a",), "thing")


# holds CBOR-18
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": 1}, "^thing: field 'b' is missing$"),
        ({"a": 1, "b": 2, "c": 3}, "^thing: field 'c' is unknown$"),
        ({"a": 1, "b": 2, "c" * 100_000: 3}, "^thing: field 'c{60}.{3} is unknown$"),
        ([], "^thing: a list stands where a map is due$"),
        (None, "^thing: a NoneType stands where a map is due$"),
    ],
    ids=["missing", "unknown", "long", "list", "null"],
)
def test_fields_of_another_set_of_names_are_refused(value: object, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        Fields(value, ("a", "b"), "thing")


# holds CBOR-17
def test_text_holds_what_people_see_by_a_list_of_our_own() -> None:
    """The list is written out a second time, by ranges as the clause has them."""
    refused = (
        "0-1f 7f-9f 2028-2029 61c 200e-200f 202a-202e 2066-2069 ad 34f 200b 2060-2065 206a-206f feff fff9-fffb "
        "115f-1160 17b4-17b5 3164 ffa0 180b-180f fe00-fe0f e0100-e01ef 1bca0-1bca3 1d173-1d17a d800-dfff e0000-e007f"
    )
    expected: set[int] = set()
    for part in refused.split():
        first, _, last = part.partition("-")
        expected |= set(range(int(first, 16), int(last or first, 16) + 1))
    assert {point for point in range(sys.maxunicode + 1) if not is_plain(chr(point))} == expected
    # what Python's tables call printable depends on its version; joiners and wide blanks are part of people's writing
    assert is_plain("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u3000\u00a0\U0001f469\u200d\U0001f692")


# holds CBOR-15 CBOR-16 CBOR-17
@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda fields: fields.raw("a"), 1.5),
        (lambda fields: fields.integer("a"), 0),
        (lambda fields: fields.integer("a"), 2**63 - 1),
        (lambda fields: fields.integer("a", -5, 5), -5),
        (lambda fields: fields.octets("a", 0, 3), b""),
        (lambda fields: fields.octets("a", 0, 3), b"abc"),
        (lambda fields: fields.digest("a"), bytes(32)),
        (lambda fields: fields.text("a"), ""),
        (lambda fields: fields.text("a"), "\u00e4" * 256),
        (lambda fields: fields.text("a", 300, characters_min=300), "x" * 300),
        (lambda fields: fields.identifier("a"), "a-0"),
        (lambda fields: fields.identifier("a"), "z" * 64),
        (lambda fields: fields.choice("a", ("x", "y")), "y"),
        (lambda fields: fields.sequence("a", 2), [1, 2]),
        (lambda fields: fields.mapping("a"), {"x": 1}),
    ],
)
def test_fields_value_in_range_is_returned(read: Reader, value: object) -> None:
    assert read(one(value)) == value


# holds CBOR-15 CBOR-16 CBOR-17
@pytest.mark.parametrize(
    ("read", "value", "reason"),
    [
        (lambda fields: fields.integer("a"), True, "an integer 0..9223372036854775807 is due, found True"),
        (lambda fields: fields.integer("a"), -1, "found -1"),
        (lambda fields: fields.integer("a", 1, 5), 6, "an integer 1..5 is due, found 6"),
        (lambda fields: fields.integer("a"), "1", "found '1'"),
        (lambda fields: fields.integer("a"), None, "found None"),
        (lambda fields: fields.octets("a", 1, 3), b"", "1..3 bytes are due, found 0 bytes"),
        (lambda fields: fields.octets("a", 1, 3), b"abcd", "found 4 bytes"),
        (lambda fields: fields.octets("a", 1, 3), "abc", "found 'abc'"),
        (lambda fields: fields.digest("a"), bytes(31), "32..32 bytes are due"),
        (lambda fields: fields.digest("a"), bytes(33), "32..32 bytes are due"),
        (lambda fields: fields.text("a"), "x" * 257, r"0..256 characters is due, found 'x{60}\.\.\.$"),
        (lambda fields: fields.text("a", characters_min=1), "", "1..256 characters is due"),
        (lambda fields: fields.text("a"), b"x", "found 1 bytes"),
        (lambda fields: fields.text("a"), "a\nb", "control character"),
        (lambda fields: fields.text("a"), "a\u202eb", "not seen"),
        (lambda fields: fields.text("a"), "a\x00", "control character"),
        (lambda fields: fields.text("a"), "\x7f", "control character"),
        (lambda fields: fields.text("a"), "\x9f", "control character"),
        (lambda fields: fields.identifier("a"), "", "no identifier"),
        (lambda fields: fields.identifier("a"), "z" * 65, "no identifier"),
        (lambda fields: fields.identifier("a"), "A", "no identifier"),
        (lambda fields: fields.identifier("a"), "a_b", "no identifier"),
        (lambda fields: fields.identifier("a"), "a\n", "no identifier"),
        (lambda fields: fields.identifier("a"), "\u0661", "no identifier"),
        (lambda fields: fields.identifier("a"), b"a", "no identifier"),
        (lambda fields: fields.choice("a", ("y", "x")), "z", "one of x, y is due, found 'z'"),
        (lambda fields: fields.choice("a", ("y", "x")), ["x"], "found a list of 1 entries"),
        (lambda fields: fields.sequence("a", 2), [1, 2, 3], "at most 2 entries is due, found a list of 3"),
        (lambda fields: fields.sequence("a", 2), {}, "found a dict of 0 entries"),
        (lambda fields: fields.mapping("a"), [], "a map is due, found a list of 0 entries"),
    ],
)
def test_fields_value_of_another_type_or_range_is_refused(read: Reader, value: object, reason: str) -> None:
    with pytest.raises(FormatError, match=f"^thing.a: .*{reason}"):
        read(one(value))


def test_fields_null_is_told_from_other_values() -> None:
    assert one(None).is_null("a")
    assert not one(0).is_null("a")
    assert not one(False).is_null("a")  # noqa: FBT003 - a false value that is not null


# holds CBOR-16
def test_identifier_is_returned_and_a_long_refusal_stays_short() -> None:
    assert check_identifier("gw-1", "x") == "gw-1"
    with pytest.raises(FormatError) as caught:
        check_identifier("X" * 1_000_000, "x")
    assert len(str(caught.value)) < 200


# holds CBOR-19
def test_ascending_keys_are_accepted() -> None:
    check_ascending([], "table")
    check_ascending(["a"], "table")
    check_ascending([("a", 1), ("a", 2), ("b", 1)], "table")


# holds CBOR-19
@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"], ["a", "c", "b"]])
def test_keys_out_of_order_or_twice_are_refused(keys: list[str]) -> None:
    with pytest.raises(FormatError, match=r"^table: not sorted or not unique$"):
        check_ascending(keys, "table")


@pytest.mark.parametrize(
    ("value", "text"), [(b"abc", "3 bytes"), ([1], "a list of 1 entries"), ({}, "a dict of 0 entries"), (7, "7")]
)
def test_shown_value_is_short(value: object, text: str) -> None:
    assert shown(value) == text
