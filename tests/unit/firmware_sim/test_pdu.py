from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from firmware_sim.modbus.pdu import answer


@dataclass
class FakeTarget:
    files: Mapping[int, bytes] = field(default_factory=dict)
    holding: bytes = b""
    identification: Mapping[int, bytes] = field(default_factory=dict)
    inputs: bytes = b""

    has_files: bool = True

    def file_part(self, number: int, offset: int, size: int) -> bytes | None:
        part = self.files.get(number, b"")[offset : offset + size]
        return part if len(part) == size else None

    def input_registers(self, address: int, count: int) -> bytes | None:
        part = self.inputs[2 * address : 2 * (address + count)]
        return part if len(part) == 2 * count else None


def sub(file_number: int, record: int, count: int, reference: int = 6) -> bytes:
    return struct.pack(">BHHH", reference, file_number, record, count)


def fc20(*subs: bytes) -> bytes:
    data = b"".join(subs)
    return bytes((20, len(data))) + data


FILE = bytes(index * 7 % 256 for index in range(20_000))
TARGET = FakeTarget(files={1: FILE, 2: FILE[:100]}, holding=bytes(200), inputs=bytes(250))


def test_fc20_example_of_the_specification_gives_its_answer() -> None:
    # Origin: MODBUS Application Protocol Specification V1.1b3, 6.14, example; two sub-requests are 14 bytes.
    files = {4: bytes.fromhex("0000 0dfe 0020"), 3: bytes(18) + bytes.fromhex("33cd 0040")}
    request = bytes.fromhex("14 0e 06 0004 0001 0002 06 0003 0009 0002")
    expected = bytes.fromhex("14 0c 05 06 0dfe 0020 05 06 33cd 0040")
    assert answer(FakeTarget(files=files), request) == expected


def test_fc3_example_of_the_specification_gives_its_answer() -> None:
    # Origin: V1.1b3, 6.3, example: registers 108 to 110.
    target = FakeTarget(holding=bytes(2 * 107) + bytes.fromhex("022b 0000 0064"))
    assert answer(target, bytes.fromhex("03 006b 0003")) == bytes.fromhex("03 06 022b 0000 0064")


def test_fc4_example_of_the_specification_gives_its_answer() -> None:
    # Origin: V1.1b3, 6.4, example: input register 9.
    target = FakeTarget(inputs=bytes(16) + bytes.fromhex("000a"))
    assert answer(target, bytes.fromhex("04 0008 0001")) == bytes.fromhex("04 02 000a")


@pytest.mark.parametrize("count", [1, 2, 3, 120, 121, 122, 123, 124])
@pytest.mark.parametrize("record", [0, 1, 777, 9_876])
def test_fc20_any_count_up_to_124_gives_exactly_these_registers(count: int, record: int) -> None:
    size = 2 * count
    heading = bytes((20, size + 2, size + 1, 6))
    assert answer(TARGET, fc20(sub(1, record, count))) == heading + FILE[2 * record : 2 * record + size]


def test_fc20_last_record_of_a_file_is_read() -> None:
    assert answer(TARGET, fc20(sub(1, 9_999, 1))) == bytes((20, 4, 3, 6)) + FILE[-2:]


def test_fc20_full_request_of_35_parts_is_answered_in_order() -> None:
    parts = [sub(1, index, 1) for index in range(35)]
    found = answer(TARGET, fc20(*parts))
    expected = b"".join(b"\x03\x06" + FILE[2 * index : 2 * index + 2] for index in range(35))
    assert found == bytes((20, 140)) + expected


@pytest.mark.parametrize(("counts", "size"), [((100, 23), 2 + 2 + 200 + 2 + 46), ((60, 61), 2 + 2 + 120 + 2 + 122)])
def test_fc20_two_parts_that_just_fit_are_answered(counts: tuple[int, int], size: int) -> None:
    assert len(answer(TARGET, fc20(*(sub(1, 0, count) for count in counts)))) == size


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (fc20(sub(1, 0, 125)), 3),
        (fc20(sub(1, 0, 0)), 3),
        (fc20(sub(1, 0, 65_535)), 3),
        (fc20(sub(1, 0, 100), sub(1, 0, 24)), 3),
        (fc20(sub(9, 0, 1)), 2),
        (fc20(sub(0, 0, 1)), 2),
        (fc20(sub(1, 10_000, 1)), 2),
        (fc20(sub(1, 9_999, 2)), 2),
        (fc20(sub(2, 49, 2)), 2),
        (fc20(sub(2, 50, 1)), 2),
        (fc20(sub(1, 0, 1, reference=5)), 2),
        (fc20(sub(1, 0, 1), sub(9, 0, 1)), 2),
        (b"\x14", 3),
        (b"\x14\x00", 3),
        (b"\x14\x06" + sub(1, 0, 1)[:6], 3),
        (b"\x14\x07" + sub(1, 0, 1)[:6], 3),
        (b"\x14\x08" + sub(1, 0, 1), 3),
        (b"\x14\x07" + sub(1, 0, 1) + b"\x00", 3),
        (b"\x14\xfb" + sub(1, 0, 1) * 35 + bytes(6), 3),
    ],
)
def test_fc20_bad_request_gets_its_exception(pdu: bytes, code: int) -> None:
    assert answer(TARGET, pdu) == bytes((0x94, code))


@pytest.mark.parametrize("function", [3, 4])
def test_registers_125_are_given_and_126_refused(function: int) -> None:
    target = FakeTarget(holding=bytes(252), inputs=bytes(252))
    assert answer(target, struct.pack(">BHH", function, 0, 125)) == bytes((function, 250)) + bytes(250)
    assert answer(target, struct.pack(">BHH", function, 0, 126)) == bytes((function | 0x80, 3))


@pytest.mark.parametrize("function", [3, 4])
@pytest.mark.parametrize(
    ("data", "code"),
    [("0000 0000", 3), ("0000 00", 3), ("0000 0001 00", 3), ("0000 007f", 3), ("ffff 0001", 2), ("0060 0064", 2)],
)
def test_registers_bad_request_gets_its_exception(function: int, data: str, code: int) -> None:
    assert answer(TARGET, bytes((function,)) + bytes.fromhex(data)) == bytes((function | 0x80, code))


@pytest.mark.parametrize("function", [1, 2, 5, 6, 7, 8, 15, 16, 17, 21, 22, 23, 24, 100, 0x80, 0xFF])
def test_function_that_only_others_have_gets_exception_1(function: int) -> None:
    assert answer(TARGET, bytes((function, 0, 0, 0, 1))) == bytes((function | 0x80, 1))


@pytest.mark.parametrize(
    ("data", "code"), [("0d 00 00", 1), ("0e 05 00", 3), ("0e 00 00", 3), ("0e 01", 3), ("", 3), ("0e 04 07", 2)]
)
def test_fc43_bad_request_gets_its_exception(data: str, code: int) -> None:
    target = FakeTarget(identification={0: b"v", 1: b"p", 2: b"r"})
    assert answer(target, b"\x2b" + bytes.fromhex(data)) == bytes((0xAB, code))
