"""ASDUs octet by octet: heads, points, times, requests, responses."""

from __future__ import annotations

import struct

import pytest

from tests.unit.wire.iec104.test_asdu_requests import REQUESTS, RESPONSES
from tests.unit.wire.iec104.times import TIME, TIME_MS, TIME_OCTETS
from wire.iec104 import points as flags
from wire.iec104.asdu import (
    Asdu,
    Head,
    decode_asdu,
    decode_head,
)
from wire.iec104.errors import AsduError, Iec104Error, ParameterError, UnknownTypeError
from wire.iec104.points import POINT_TYPES, Point, encode_points, scaled_float, untagged
from wire.iec104.requests import (
    Interrogate,
    encode_request,
)
from wire.iec104.responses import (
    encode_point_asdus,
    points_per_asdu,
)
from wire.iec104.time56 import Time56, decode_time, encode_time, time_of_epoch_ms
from wire.iec104.types import Cause, TypeId

POINTS = [
    (TypeId.M_SP_NA_1, Point(1, 1, 0), "01"),
    (TypeId.M_SP_NA_1, Point(1, 0, flags.INVALID | flags.NOT_TOPICAL), "c0"),
    (TypeId.M_DP_NA_1, Point(1, 2, flags.BLOCKED | flags.SUBSTITUTED), "32"),
    (TypeId.M_ST_NA_1, Point(1, -64, flags.TRANSIENT), "c0 00"),
    (TypeId.M_ST_NA_1, Point(1, 63, flags.OVERFLOW), "3f 01"),
    (TypeId.M_BO_NA_1, Point(1, 0xDEADBEEF, 0), "ef be ad de 00"),
    (TypeId.M_ME_NA_1, Point(1, -32_768, flags.OVERFLOW | flags.INVALID), "00 80 81"),
    (TypeId.M_ME_NB_1, Point(1, 4_900, 0), "24 13 00"),
    (TypeId.M_ME_NC_1, Point(1, 0x4244_0000, 0), "00 00 44 42 00"),  # 49.0
    (TypeId.M_IT_NA_1, Point(1, -2, flags.CARRY | 5), "fe ff ff ff 25"),
    (TypeId.M_ME_ND_1, Point(1, 32_767, 0), "ff 7f"),
    (TypeId.M_SP_TB_1, Point(1, 1, 0, TIME), f"01 {TIME_OCTETS}"),
    (TypeId.M_DP_TB_1, Point(1, 3, 0, TIME), f"03 {TIME_OCTETS}"),
    (TypeId.M_ST_TB_1, Point(1, -1, 0, TIME), f"7f 00 {TIME_OCTETS}"),
    (TypeId.M_BO_TB_1, Point(1, 1, 0, TIME), f"01 00 00 00 00 {TIME_OCTETS}"),
    (TypeId.M_ME_TD_1, Point(1, 1, 0, TIME), f"01 00 00 {TIME_OCTETS}"),
    (TypeId.M_ME_TE_1, Point(1, -1, 0, TIME), f"ff ff 00 {TIME_OCTETS}"),
    (TypeId.M_ME_TF_1, Point(1, 1, 0, TIME), f"01 00 00 00 00 {TIME_OCTETS}"),
    (TypeId.M_IT_TB_1, Point(1, 1, flags.ADJUSTED, TIME), f"01 00 00 00 40 {TIME_OCTETS}"),
]


def one(type_id: int, point: Point, **options: bool) -> bytes:
    (raw,) = encode_point_asdus(type_id, Cause.SPONTANEOUS, 1, [point], **options)
    return raw


# holds IC-10
def test_head_has_its_six_octets() -> None:
    raw = bytes.fromhex("0d 82 d4 07 34 12")
    assert decode_head(raw) == Head(
        type_id=13,
        is_sequence=True,
        count=2,
        cause=20,
        is_negative=True,
        is_test=True,
        originator=7,
        common_address=0x1234,
    )
    with pytest.raises(AsduError, match="begins with 6 octets, found 5"):
        decode_head(raw[:5])


# holds IC-11 IC-13
@pytest.mark.parametrize(("type_id", "point", "octets"), POINTS)
def test_point_of_every_type_has_the_octets_of_the_standard(type_id: int, point: Point, octets: str) -> None:
    raw = one(type_id, point)
    assert raw == bytes((type_id, 1, 3, 0, 1, 0, 1, 0, 0)) + bytes.fromhex(octets)
    found = decode_asdu(raw)
    assert found.points == (point,)
    assert (found.element, found.address, found.head.cause) == (None, 1, 3)


def test_table_of_points_has_every_type() -> None:
    assert {type_id for type_id, _, _ in POINTS} == POINT_TYPES.keys()


@pytest.mark.parametrize("type_id", sorted(POINT_TYPES))
def test_type_without_a_time_tag_has_the_same_values(type_id: int) -> None:
    tagged = {30: 1, 31: 3, 32: 5, 33: 7, 34: 9, 35: 11, 36: 13, 37: 15}
    assert untagged(type_id) == tagged.get(type_id, type_id)
    assert POINT_TYPES[untagged(type_id)] == (POINT_TYPES[type_id][0], False)


# holds IC-12
@pytest.mark.parametrize("type_id", sorted(POINT_TYPES))
def test_points_of_a_sequence_count_up_from_its_one_address(type_id: int) -> None:
    example = next(point for found, point, _ in POINTS if found == type_id)
    points = tuple(example._replace(address=address) for address in range(0xFFFF, 0x1_0002))
    (raw,) = encode_point_asdus(type_id, Cause.INTERROGATED, 1, points, is_sequence=True)
    assert raw[1] == 0x83
    assert raw[6:9] == b"\xff\xff\x00"
    assert decode_asdu(raw).points == points
    (apart,) = encode_point_asdus(type_id, Cause.INTERROGATED, 1, points)
    assert len(apart) == len(raw) + 6
    assert decode_asdu(apart).points == points


# holds IC-12
def test_sequence_that_leaves_the_addresses_is_refused() -> None:
    raw = bytearray(one(TypeId.M_SP_NA_1, Point(0xFF_FFFE, 1, 0), is_sequence=True))
    raw[1] = 0x82
    raw += b"\x01"
    assert [point.address for point in decode_asdu(bytes(raw)).points] == [0xFF_FFFE, 0xFF_FFFF]
    raw[1] = 0x83
    raw += b"\x01"
    with pytest.raises(AsduError, match="leaves the addresses"):
        decode_asdu(bytes(raw))


# holds IC-11
@pytest.mark.parametrize("type_id", sorted(POINT_TYPES))
def test_points_with_an_octet_too_few_or_too_many_are_refused(type_id: int) -> None:
    example = next(point for found, point, _ in POINTS if found == type_id)
    for is_sequence in (False, True):
        raw = one(type_id, example, is_sequence=is_sequence)
        for wrong in (raw[:-1], raw + b"\x00", raw[:6], bytes((type_id, raw[1] & 0x80)) + raw[2:]):
            with pytest.raises(AsduError, match="octets behind its head"):
                decode_asdu(wrong)
    with pytest.raises(AsduError, match="0 objects"):
        decode_asdu(bytes((type_id, 0, 3, 0, 1, 0)))


# holds IC-13
@pytest.mark.parametrize(
    ("octets", "point"),
    [
        ("01 01 03 00 01 00 010000 0f", Point(1, 1, 0)),
        ("03 01 03 00 01 00 010000 0e", Point(1, 2, 0)),
        ("0b 01 03 00 01 00 010000 0100 8e", Point(1, 1, flags.INVALID)),
    ],
)
def test_reserved_bits_are_not_looked_at(octets: str, point: Point) -> None:
    assert decode_asdu(bytes.fromhex(octets)).points == (point,)


# holds IC-13 IC-16
@pytest.mark.parametrize(
    ("type_id", "point"),
    [
        (TypeId.M_SP_NA_1, Point(1, 2, 0)),
        (TypeId.M_SP_NA_1, Point(1, -1, 0)),
        (TypeId.M_SP_NA_1, Point(1, 1, flags.OVERFLOW)),
        (TypeId.M_DP_NA_1, Point(1, 4, 0)),
        (TypeId.M_ST_NA_1, Point(1, 64, 0)),
        (TypeId.M_BO_NA_1, Point(1, 2**32, 0)),
        (TypeId.M_ME_NB_1, Point(1, 32_768, 0)),
        (TypeId.M_ME_NB_1, Point(1, 0, flags.TRANSIENT)),
        (TypeId.M_ME_ND_1, Point(1, 0, flags.INVALID)),
        (TypeId.M_ME_NB_1, Point(2**24, 0, 0)),
        (TypeId.M_ME_NB_1, Point(-1, 0, 0)),
        (TypeId.M_ME_NB_1, Point(1, 0, 0, TIME)),
        (TypeId.M_ME_TE_1, Point(1, 0, 0)),
        (TypeId.M_ME_TE_1, Point(1, 0, 0, TIME._replace(month=16))),
    ],
)
def test_point_that_its_type_cannot_carry_is_not_encoded(type_id: int, point: Point) -> None:
    for is_sequence in (False, True):
        with pytest.raises(ParameterError):
            one(type_id, point, is_sequence=is_sequence)


# holds IC-12 IC-16
def test_points_with_a_gap_are_no_sequence() -> None:
    with pytest.raises(ParameterError, match="not the next one of a sequence from 1 on"):
        encode_points(TypeId.M_ME_NB_1, [Point(1, 0, 0), Point(3, 0, 0)], is_sequence=True)


# holds IC-16
@pytest.mark.parametrize("type_id", sorted(POINT_TYPES))
def test_points_are_spread_over_asdus_that_hold_as_many_as_fit(type_id: int) -> None:
    example = next(point for found, point, _ in POINTS if found == type_id)
    for is_sequence in (False, True):
        size = points_per_asdu(type_id, is_sequence=is_sequence)
        points = [example._replace(address=number) for number in range(2 * size + 1)]
        raws = list(encode_point_asdus(type_id, Cause.INTERROGATED, 9, points, is_sequence=is_sequence, originator=3))
        assert [decode_head(raw).count for raw in raws] == [size, size, 1]
        assert [point for raw in raws for point in decode_asdu(raw).points] == points
        one_more = len(raws[0]) + (len(raws[0]) - (9 if is_sequence else 6)) // size
        assert len(raws[0]) <= 249
        assert size == 127 or one_more > 249
        assert decode_head(raws[0]).originator == 3


# holds IC-14
def test_time_has_its_seven_octets() -> None:
    assert encode_time(TIME) == bytes.fromhex(TIME_OCTETS)
    assert decode_time(bytes.fromhex(TIME_OCTETS)) == TIME
    assert TIME.epoch_ms() == TIME_MS
    assert time_of_epoch_ms(TIME_MS) == TIME
    for wrong in (bytes(6), bytes(8)):
        with pytest.raises(AsduError, match="7 octets"):
            decode_time(wrong)


# holds IC-14
def test_time_says_what_it_thinks_of_itself() -> None:
    doubtful = TIME._replace(is_invalid=True, is_substituted=True, is_summer=True)
    assert encode_time(doubtful) == bytes.fromhex("8b a4 e5 8d 37 0b 1a")
    assert decode_time(encode_time(doubtful)) == doubtful
    assert decode_time(bytes.fromhex("8b a4 25 6d 37 fb 9a")) == TIME
    assert time_of_epoch_ms(TIME_MS, is_invalid=True).is_invalid


# holds IC-14
@pytest.mark.parametrize(
    "change",
    [
        {"millisecond": 60_000},
        {"minute": 60},
        {"hour": 24},
        {"day": 0},
        {"day": 31},
        {"month": 0},
        {"month": 13},
        {"year": 100},
    ],
)
def test_time_that_there_is_not_is_carried_but_is_no_time(change: dict[str, int]) -> None:
    time = TIME._replace(**change)  # type: ignore[arg-type]
    assert decode_time(encode_time(time)) == time
    assert time.epoch_ms() is None


# holds IC-14
@pytest.mark.parametrize("name", ["millisecond", "minute", "hour", "day", "weekday", "month", "year"])
def test_time_that_does_not_fit_is_not_encoded(name: str) -> None:
    for number in (-1, 65_536):
        with pytest.raises(ParameterError, match="does not fit"):
            encode_time(TIME._replace(**{name: number}))  # type: ignore[arg-type]


# holds IC-14
def test_time_of_another_century_is_not_encoded() -> None:
    first, last = 946_684_800_000, 4_102_444_799_999
    assert time_of_epoch_ms(first) == Time56(0, 0, 0, 1, 6, 1, 0)
    assert time_of_epoch_ms(last) == Time56(59_999, 59, 23, 31, 4, 12, 99)
    for outside in (first - 1, last + 1):
        with pytest.raises(ParameterError, match="2000 to 2099"):
            time_of_epoch_ms(outside)


# holds IC-11
@pytest.mark.parametrize("value", [0.0, 49.0, -0.5, 1e-45, 3.4e38, 50.015625, 0.0000005, 0.0000015, -2.5e-6, 1 / 3])
def test_short_float_becomes_the_nearest_whole_number_of_parts(value: float) -> None:
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    (exact,) = struct.unpack("<f", struct.pack("<I", bits))
    numerator, denominator = exact.as_integer_ratio()
    assert scaled_float(bits, 1_000_000) == round_half_even(numerator * 1_000_000, denominator)


def round_half_even(numerator: int, denominator: int) -> int:
    whole, rest = divmod(abs(numerator), denominator)
    whole += 2 * rest > denominator or (2 * rest == denominator and whole % 2)
    return -whole if numerator < 0 else whole


# holds IC-11
def test_short_float_takes_the_even_one_of_two_that_are_as_near() -> None:
    half, three_halves = 0x3F00_0000, 0x3FC0_0000
    assert (scaled_float(half, 1), scaled_float(three_halves, 1)) == (0, 2)


# holds IC-11
@pytest.mark.parametrize("bits", [0x7F80_0000, 0xFF80_0000, 0x7FC0_0000])
def test_short_float_that_is_no_number_has_no_parts(bits: int) -> None:
    assert scaled_float(bits, 1000) is None


# holds IC-11
@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("64 01 06 00 01 00 000000", "1 octets behind its address, found 0"),
        ("64 01 06 00 01 00 000000 1400", "found 2"),
        ("64 01 06 00 01 00 0000", "at least 9 octets, found 8"),
        ("64 02 06 00 01 00 000000 14", "carries one object, found 2"),
        ("64 00 06 00 01 00 000000 14", "carries one object, found 0"),
        ("64 81 06 00 01 00 000000 14", "carries one object"),
        ("7d 01 0d 00 01 00 100000 030001", "a segment has at least 4 octets"),
        ("7d 01 0d 00 01 00 100000 0300 01 04 616263", "a segment of 4 octets carries 3"),
        ("7d 01 0d 00 01 00 100000 0300 01 02 616263", "a segment of 2 octets carries 3"),
        ("7d 01 0d 00 01 00 1000", "at least 9 octets"),
        ("7e 01 05 00 01 00 100000 0300 563412 20" + TIME_OCTETS, "one address"),
        ("7e 82 05 00 01 00 100000 0300 563412 20" + TIME_OCTETS, "a directory of 2 files has 26 octets, found 13"),
        ("7e 80 05 00 01 00 1000", "at least 9 octets"),
    ],
)
def test_asdu_of_another_length_than_its_objects_is_refused(octets: str, message: str) -> None:
    with pytest.raises(AsduError, match=message):
        decode_asdu(bytes.fromhex(octets))


# holds IC-12
def test_directory_that_leaves_the_addresses_is_refused() -> None:
    entry = "0300 563412 20" + TIME_OCTETS
    assert decode_asdu(bytes.fromhex("7e 81 05 00 01 00 ffffff" + entry)).address == 0xFF_FFFF
    with pytest.raises(AsduError, match="no 2 addresses"):
        decode_asdu(bytes.fromhex("7e 82 05 00 01 00 ffffff" + entry + entry))


# holds IC-11
@pytest.mark.parametrize("type_id", [0, 2, 45, 50, 64, 110, 127, 128, 255])
def test_asdu_of_another_type_is_refused_and_its_head_still_read(type_id: int) -> None:
    raw = bytes((type_id, 1, 6, 0, 1, 0, 0, 0, 0, 1))
    with pytest.raises(UnknownTypeError) as caught:
        decode_asdu(raw)
    assert caught.value.type_id == type_id
    assert decode_head(raw).type_id == type_id


def test_asdu_is_a_value() -> None:
    raw = encode_request(Interrogate(1))
    assert decode_asdu(raw) == decode_asdu(raw)
    assert isinstance(decode_asdu(raw), Asdu)
    assert issubclass(AsduError, Iec104Error)


def examples() -> list[bytes]:
    """Return one ASDU of every kind, for other tests."""
    return [
        *(one(type_id, point) for type_id, point, _ in POINTS),
        *(bytes.fromhex(octets) for _, octets, _ in REQUESTS),
        *(bytes.fromhex(octets) for _, _, octets in RESPONSES),
    ]
