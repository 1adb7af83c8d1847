"""The points of a device, without a line."""

from __future__ import annotations

import struct

import pytest

from firmware_sim.contents import artefact
from firmware_sim.faults import LYING_CHECKSUM, WRONG_IDENTITY, Fault
from firmware_sim.iec104.points import (
    ARTEFACT_FIRST,
    COUNTER_FIRST,
    CRC_OFFSET,
    EXTRA_FIRST,
    GROUP_TEXTS,
    IDENTITY_FIRST,
    REVISION_OFFSET,
    SIZE_OFFSET,
    STRIDE,
    blocks,
    find,
    float_bits,
    text_bits,
    timed,
)
from tests.unit.firmware_sim.bench import IDENTITY, device
from tests.unit.firmware_sim.iec104.line import FIRMWARE, bay
from wire.iec104.points import INVALID
from wire.iec104.types import TypeId


def value_at(address: int, **about: object) -> int:
    found = find(bay(), address)
    assert found is not None
    return found.points[0].value


def text_at(target_address: int, count: int = 16) -> bytes:
    return b"".join(struct.pack("<I", value_at(target_address + index)) for index in range(count)).rstrip(b"\0")


def test_identity_texts_stand_in_bitstrings_in_the_order_of_the_line() -> None:
    texts = [text_at(IDENTITY_FIRST + STRIDE * index).decode() for index in range(6)]
    assert texts == [IDENTITY.vendor, IDENTITY.product, IDENTITY.product_name, IDENTITY.model, IDENTITY.serial, "2.4.0"]


def test_artefact_points_give_version_size_checksum_and_revision_counter() -> None:
    assert text_at(ARTEFACT_FIRST, 6) == b"2.4.0"
    assert value_at(ARTEFACT_FIRST + SIZE_OFFSET) == len(FIRMWARE)
    assert value_at(ARTEFACT_FIRST + CRC_OFFSET) == bay().checksum("firmware")
    assert value_at(ARTEFACT_FIRST + REVISION_OFFSET) == 1


def test_points_of_a_file_that_is_not_there_are_invalid() -> None:
    found = find(bay(), ARTEFACT_FIRST + STRIDE + CRC_OFFSET)
    assert found is not None
    assert (found.points[0].value, found.points[0].quality) == (0, INVALID)


def test_points_follow_the_conditions_of_the_device() -> None:
    target = bay()
    honest = [block for block in blocks(target) if block.group == GROUP_TEXTS]
    target.set_fault(Fault(WRONG_IDENTITY))
    assert [block for block in blocks(target) if block.group == GROUP_TEXTS] != honest
    target.set_fault(Fault(LYING_CHECKSUM))
    firmware = target.contents.artefacts["firmware"]
    before = target.checksum("firmware")
    target.load(target.contents.overwritten(firmware.with_content(b"x" + FIRMWARE[1:])), noticed=False)
    found = find(target, ARTEFACT_FIRST + CRC_OFFSET)
    assert found is not None
    assert found.points[0].value == before


def test_addresses_are_unique_and_every_point_is_found_at_its_own() -> None:
    target = bay()
    every = [point for block in blocks(target, 300) for point in block.points]
    assert len({point.address for point in every}) == len(every)
    for point in every[::7]:
        found = find(target, point.address, 300)
        assert found is not None
        assert found.points == (point,)


@pytest.mark.parametrize("address", [0, 33, 105, 5_999, 6_097, EXTRA_FIRST, 2**24 - 1])
def test_no_point_is_found_between_them(address: int) -> None:
    assert find(bay(), address) is None


def test_counters_count_revisions_and_restarts() -> None:
    target = bay()
    target.restart(10)
    counted = [find(target, COUNTER_FIRST + index) for index in range(2)]
    assert [block and block.points[0].value for block in counted] == [1, 1]


def test_long_text_is_cut_and_short_one_padded() -> None:
    assert text_bits("abcdefgh", 1) == (int.from_bytes(b"abcd", "little"),)
    assert text_bits("ab", 2) == (int.from_bytes(b"ab", "little"), 0)


def test_float_is_given_as_its_bits() -> None:
    assert float_bits(50.0) == 0x4248_0000


def test_every_type_has_one_with_a_time_tag() -> None:
    assert timed(TypeId.M_ME_NC_1) is TypeId.M_ME_TF_1
    types = {block.type_id for block in blocks(device(artefact("firmware", "1", b"x")))}
    assert all(timed(type_id) != type_id for type_id in types)
