"""ASDUs octet by octet: heads, points, times, requests, responses."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from wire.iec104 import points as flags
from wire.iec104.asdu import (
    Asdu,
    CallFile,
    ClockSynchronisation,
    CounterInterrogation,
    Directory,
    DirectoryEntry,
    Element,
    EndOfInitialisation,
    FileAck,
    FileReady,
    Head,
    Interrogation,
    LastSection,
    ReadCommand,
    SectionReady,
    Segment,
    decode_asdu,
    decode_head,
)
from wire.iec104.errors import AsduError, Iec104Error, ParameterError, UnknownTypeError
from wire.iec104.points import POINT_TYPES, Point, encode_points, scaled_float, untagged
from wire.iec104.requests import (
    AcknowledgeFile,
    FileCall,
    FileVerdict,
    Interrogate,
    InterrogateCounters,
    ReadPoint,
    Request,
    RequestFile,
    encode_request,
)
from wire.iec104.responses import (
    DIRECTORY_ENTRIES_MAX,
    SEGMENT_BYTES_MAX,
    Response,
    encode_point_asdus,
    encode_response,
    mirror,
    points_per_asdu,
)
from wire.iec104.time56 import Time56, decode_time, encode_time, time_of_epoch_ms
from wire.iec104.types import Cause, TypeId

# 23 November 2026, a Monday, 13:37:42.123
TIME = Time56(42_123, 37, 13, 23, 1, 11, 26)
TIME_OCTETS = "8b a4 25 0d 37 0b 1a"
TIME_MS = 1_795_441_062_123

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


REQUESTS: list[tuple[Request, str, Element]] = [
    (Interrogate(1), "64 01 06 00 01 00 000000 14", Interrogation(20)),
    (Interrogate(0xFFFF, 36), "64 01 06 00 ff ff 000000 24", Interrogation(36)),
    (InterrogateCounters(1), "65 01 06 00 01 00 000000 05", CounterInterrogation(5, 0)),
    (InterrogateCounters(1, 1), "65 01 06 00 01 00 000000 01", CounterInterrogation(1, 0)),
    (ReadPoint(1, 0x012345), "66 01 05 00 01 00 452301", ReadCommand()),
    (RequestFile(1, 5, FileCall.DIRECTORY), "7a 01 05 00 01 00 050000 0000 00 00", CallFile(0, 0, 0)),
    (RequestFile(1, 5, FileCall.SELECT_FILE, 0x102), "7a 01 0d 00 01 00 050000 0201 00 01", CallFile(0x102, 0, 1)),
    (RequestFile(1, 5, FileCall.REQUEST_FILE, 2), "7a 01 0d 00 01 00 050000 0200 00 02", CallFile(2, 0, 2)),
    (RequestFile(1, 5, FileCall.SELECT_SECTION, 2, 3), "7a 01 0d 00 01 00 050000 0200 03 05", CallFile(2, 3, 5)),
    (RequestFile(1, 5, FileCall.REQUEST_SECTION, 2, 3), "7a 01 0d 00 01 00 050000 0200 03 06", CallFile(2, 3, 6)),
    (AcknowledgeFile(1, 5, FileVerdict.FILE_TAKEN, 2), "7c 01 0d 00 01 00 050000 0200 00 01", FileAck(2, 0, 1)),
    (AcknowledgeFile(1, 5, FileVerdict.FILE_NOT_TAKEN, 2), "7c 01 0d 00 01 00 050000 0200 00 22", FileAck(2, 0, 0x22)),
    (AcknowledgeFile(1, 5, FileVerdict.SECTION_TAKEN, 2, 3), "7c 01 0d 00 01 00 050000 0200 03 03", FileAck(2, 3, 3)),
    (
        AcknowledgeFile(1, 5, FileVerdict.SECTION_NOT_TAKEN, 2, 3),
        "7c 01 0d 00 01 00 050000 0200 03 24",
        FileAck(2, 3, 0x24),
    ),
]


# holds IC-15
@pytest.mark.parametrize(("request_", "octets", "element"), REQUESTS)
def test_request_has_the_octets_of_the_standard(request_: Request, octets: str, element: Element) -> None:
    raw = encode_request(request_)
    assert raw == bytes.fromhex(octets)
    assert decode_asdu(raw).element == element


# holds IC-15
def test_requests_are_a_closed_list_in_which_nothing_changes_anything() -> None:
    assert {type(request) for request, _, _ in REQUESTS} == set(Request.__args__)
    assert {call for request, _, _ in REQUESTS if isinstance(request, RequestFile) for call in [request.call]} == set(
        FileCall
    )
    assert {request.verdict for request, _, _ in REQUESTS if isinstance(request, AcknowledgeFile)} == set(FileVerdict)
    sent = {encode_request(request)[0] for request, _, _ in REQUESTS}
    assert sent == {TypeId.C_IC_NA_1, TypeId.C_CI_NA_1, TypeId.C_RD_NA_1, TypeId.F_SC_NA_1, TypeId.F_AF_NA_1}
    forbidden = {3, 4, 7}  # SCQ: deactivate file, delete file, deactivate section
    assert not {int(call) & 0x0F for call in FileCall} & forbidden


# holds IC-15
@pytest.mark.parametrize(
    "make",
    [
        lambda: Interrogate(1, 19),
        lambda: Interrogate(1, 37),
        lambda: InterrogateCounters(1, 0),
        lambda: InterrogateCounters(1, 6),
        lambda: InterrogateCounters(1, 0x45),  # would freeze
        lambda: InterrogateCounters(1, 0x85),  # would freeze and reset
        lambda: encode_request(Interrogate(0)),
        lambda: encode_request(Interrogate(65_536)),
        lambda: encode_request(ReadPoint(1, 2**24)),
        lambda: encode_request(ReadPoint(1, -1)),
        lambda: encode_request(RequestFile(1, 1, FileCall.SELECT_FILE, 65_536)),
        lambda: encode_request(RequestFile(1, 1, FileCall.SELECT_FILE, 1, 256)),
    ],
)
def test_request_out_of_range_is_not_encoded(make: Callable[[], object]) -> None:
    with pytest.raises(ParameterError):
        make()


# holds IC-15
@pytest.mark.parametrize("action", [3, 4, 7, 0x14])
def test_file_call_that_is_none_of_ours_is_not_encoded_even_as_a_number(action: int) -> None:
    with pytest.raises(ValueError, match="is not a valid FileCall"):
        encode_request(RequestFile(1, 1, action, 1))  # type: ignore[arg-type]


# holds IC-15 IC-16
def test_station_encodes_nothing_that_is_not_in_its_list() -> None:
    with pytest.raises(AssertionError):
        encode_request(ClockSynchronisation(TIME))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        encode_response(ClockSynchronisation(TIME), 1)  # type: ignore[arg-type]


ENTRY = DirectoryEntry(0x10, 3, 0x12_3456, 0x20, TIME)
RESPONSES: list[tuple[Response, int, str]] = [
    (EndOfInitialisation(2, is_changed=True), 0, "46 01 04 00 01 00 000000 82"),
    (FileReady(3, 0x12_3456, is_refused=False), 0x10, "78 01 0d 00 01 00 100000 0300 563412 00"),
    (FileReady(3, 0, is_refused=True), 0x10, "78 01 0d 00 01 00 100000 0300 000000 80"),
    (SectionReady(3, 1, 0x12_3456, is_refused=False), 0x10, "79 01 0d 00 01 00 100000 0300 01 563412 00"),
    (SectionReady(3, 1, 0, is_refused=True), 0x10, "79 01 0d 00 01 00 100000 0300 01 000000 80"),
    (LastSection(3, 1, 3, 0xAB), 0x10, "7b 01 0d 00 01 00 100000 0300 01 03 ab"),
    (Segment(3, 1, b"abc"), 0x10, "7d 01 0d 00 01 00 100000 0300 01 03 616263"),
    (Directory((ENTRY,)), 0x10, f"7e 81 05 00 01 00 100000 0300 563412 20 {TIME_OCTETS}"),
    (Directory(()), 0x10, "7e 80 05 00 01 00 100000"),
]


# holds IC-16
@pytest.mark.parametrize(("response", "address", "octets"), RESPONSES)
def test_response_has_the_octets_of_the_standard(response: Response, address: int, octets: str) -> None:
    raw = encode_response(response, 1, address)
    assert raw == bytes.fromhex(octets)
    found = decode_asdu(raw)
    assert (found.element, found.address, found.points) == (response, address, ())


# holds IC-16
def test_response_may_have_another_cause_and_an_originator() -> None:
    raw = encode_response(Directory(()), 1, 0, cause=Cause.SPONTANEOUS, originator=9)
    head = decode_head(raw)
    assert (head.cause, head.originator) == (3, 9)


# holds IC-16
@pytest.mark.parametrize(
    "make",
    [
        lambda: encode_response(EndOfInitialisation(128, is_changed=False), 1),
        lambda: encode_response(EndOfInitialisation(-1, is_changed=False), 1),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 0),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 65_536),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 1, 2**24),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 1, -1),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 1, cause=64),
        lambda: encode_response(EndOfInitialisation(0, is_changed=False), 1, originator=256),
        lambda: encode_response(FileReady(1, 2**24, is_refused=False), 1),
        lambda: encode_response(FileReady(1, -1, is_refused=False), 1),
        lambda: encode_response(SectionReady(1, 256, 1, is_refused=False), 1),
        lambda: encode_response(LastSection(1, 1, 1, 256), 1),
        lambda: encode_response(Segment(1, 1, bytes(SEGMENT_BYTES_MAX + 1)), 1),
        lambda: encode_response(Segment(1, 1, bytes(256)), 1),
        lambda: encode_response(Directory((ENTRY,)), 1, 0x11),
        lambda: encode_response(Directory((DirectoryEntry(2**24, 1, 1, 0, TIME),)), 1, 2**24),
        lambda: list(encode_point_asdus(TypeId.M_SP_NA_1, 64, 1, [Point(1, 1, 0)])),
    ],
)
def test_response_out_of_range_is_not_encoded(make: Callable[[], object]) -> None:
    with pytest.raises(ParameterError):
        make()


# holds IC-16
def test_segment_and_directory_of_the_greatest_length_fit() -> None:
    assert len(encode_response(Segment(1, 1, bytes(SEGMENT_BYTES_MAX)), 1)) == 249
    entries = tuple(DirectoryEntry(address, 1, 1, 0, TIME) for address in range(DIRECTORY_ENTRIES_MAX))
    raw = encode_response(Directory(entries), 1, 0)
    assert len(raw) <= 249 < len(raw) + 13
    assert decode_asdu(raw).element == Directory(entries)


# holds IC-16
@pytest.mark.parametrize(
    ("cause", "is_negative", "octet"),
    [
        (Cause.ACTIVATION_CON, False, 0x07),
        (Cause.ACTIVATION_CON, True, 0x47),
        (Cause.DEACTIVATION_CON, False, 0x09),
        (Cause.ACTIVATION_TERMINATION, False, 0x0A),
        (Cause.UNKNOWN_TYPE, False, 0x6C),
        (Cause.UNKNOWN_CAUSE, False, 0x6D),
        (Cause.UNKNOWN_COMMON_ADDRESS, False, 0x6E),
        (Cause.UNKNOWN_OBJECT_ADDRESS, False, 0x6F),
    ],
)
def test_confirmation_is_the_request_with_another_cause(cause: Cause, is_negative: bool, octet: int) -> None:  # noqa: FBT001 a column
    asked = bytes.fromhex("67 01 06 05 01 00 000000") + bytes.fromhex(TIME_OCTETS)
    answer = mirror(asked, cause, is_negative=is_negative)
    assert answer == asked[:2] + bytes((octet,)) + asked[3:]
    assert decode_asdu(answer).element == ClockSynchronisation(TIME)
    assert mirror(asked[:2] + b"\x86" + asked[3:], cause)[2] & 0x80


# holds IC-16
def test_confirmation_of_nothing_or_with_an_active_cause_is_not_made() -> None:
    with pytest.raises(AsduError, match="6 octets, found 5"):
        mirror(bytes(5), Cause.ACTIVATION_CON)
    for cause in (Cause.ACTIVATION, Cause.DEACTIVATION, Cause.REQUEST, Cause.SPONTANEOUS):
        with pytest.raises(ParameterError, match="confirms nothing"):
            mirror(encode_request(Interrogate(1)), cause)


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
