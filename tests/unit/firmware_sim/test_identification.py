from __future__ import annotations

import pytest

from firmware_sim.modbus.identification import conformity_level, read_device_identification

OBJECTS = {0: b"Company identification", 1: b"Product code XX", 2: b"V2.11"}
FULL = {**OBJECTS, 4: b"name", 5: b"model", 0x80: b"serial"}


def parse(found: bytes | int) -> tuple[tuple[int, ...], dict[int, bytes]]:
    assert isinstance(found, bytes)
    code, level, more, following, count = found[:5]
    objects = {}
    rest = found[5:]
    while rest:
        objects[rest[0]] = rest[2 : 2 + rest[1]]
        rest = rest[2 + rest[1] :]
    assert len(objects) == count
    return (code, level, more, following), objects


def test_basic_stream_example_of_the_specification_gives_its_objects() -> None:
    # Origin: V1.1b3, 6.21, example. The conformity level there is 01; ours is 81, single objects work too.
    expected = b"\x01\x81\x00\x00\x03\x00\x16Company identification\x01\x0fProduct code XX\x02\x05V2.11"
    assert read_device_identification(OBJECTS, 1, 0) == expected


@pytest.mark.parametrize(
    ("code", "first", "keys"),
    [
        (1, 0, [0, 1, 2]),
        (1, 2, [2]),
        (1, 4, [0, 1, 2]),
        (2, 0, [0, 1, 2, 4, 5]),
        (2, 0x80, [0, 1, 2, 4, 5]),
        (3, 0, [0, 1, 2, 4, 5, 0x80]),
        (3, 0x80, [0x80]),
        (3, 0x90, [0, 1, 2, 4, 5, 0x80]),
    ],
)
def test_stream_from_an_object_gives_the_rest_of_its_category(code: int, first: int, keys: list[int]) -> None:
    head, objects = parse(read_device_identification(FULL, code, first))
    assert head == (code, 0x83, 0, 0)
    assert objects == {key: FULL[key] for key in keys}


def test_stream_of_a_category_above_the_device_gives_what_it_has() -> None:
    head, objects = parse(read_device_identification(OBJECTS, 3, 0))
    assert head == (3, 0x81, 0, 0)
    assert objects == OBJECTS


def test_stream_longer_than_an_answer_is_paged_and_complete() -> None:
    objects = {key: bytes((65 + key % 26,)) * 100 for key in (0, 1, 2, 4, 5, 0x80, 0x81)}
    found: dict[int, bytes] = {}
    following, pages = 0, 0
    while True:
        answer = read_device_identification(objects, 3, following)
        (_, _, more, following), page = parse(answer)
        assert isinstance(answer, bytes)
        assert len(answer) <= 251
        assert not found.keys() & page.keys()
        found |= page
        pages += 1
        if not more:
            break
        assert more == 0xFF
    assert found == objects
    assert following == 0
    assert pages == 4


def test_longest_object_fits_one_answer() -> None:
    head, objects = parse(read_device_identification({**OBJECTS, 3: b"u" * 244}, 2, 3))
    assert head[2:] == (0, 0)
    assert objects == {3: b"u" * 244}


def test_single_object_is_given_alone() -> None:
    assert parse(read_device_identification(FULL, 4, 0x80)) == ((4, 0x83, 0, 0), {0x80: b"serial"})


def test_single_object_unknown_gets_exception_2() -> None:
    assert read_device_identification(FULL, 4, 3) == 2


@pytest.mark.parametrize("code", [0, 5, 255])
def test_unknown_code_gets_exception_3(code: int) -> None:
    assert read_device_identification(FULL, code, 0) == 3


@pytest.mark.parametrize(("last", "level"), [(2, 0x81), (3, 0x82), (0x7F, 0x82), (0x80, 0x83), (0xFF, 0x83)])
def test_conformity_level_follows_the_highest_object(last: int, level: int) -> None:
    assert conformity_level({0: b"", last: b""}) == level
