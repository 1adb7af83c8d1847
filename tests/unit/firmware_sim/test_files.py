from __future__ import annotations

import csv
import io
import struct
import zlib

import pytest

from firmware_sim.files.firmware import MAGIC, TRAILER_MAGIC, FirmwareSpec, firmware_image
from firmware_sim.files.setting_list import setting_list
from firmware_sim.files.strategy import COLUMNS, MODES, strategy_table
from firmware_sim.files.stream import Stream


def spec(version: str = "2.4.0", size: int = 256 * 1024) -> FirmwareSpec:
    return FirmwareSpec("seed", "SCD-220", version, "2026-03-17", size)


@pytest.mark.parametrize("size", [64 * 1024, 256 * 1024, 300_001, 2 * 1024 * 1024])
def test_firmware_has_the_size_and_sums_that_it_states(size: int) -> None:
    image = firmware_image(spec(size=size))
    assert len(image) == size
    assert image.startswith(MAGIC)
    magic, crc, total = struct.unpack("<8sII", image[-16:])
    assert magic == TRAILER_MAGIC
    assert crc == zlib.crc32(image[:-16])
    assert total == sum(image[:-16]) & 0xFFFF_FFFF
    assert struct.unpack_from("<I", image, 124) == (zlib.crc32(image[:124]),)
    assert struct.unpack_from("<I", image, 84) == (size,)


def test_firmware_sections_lie_where_the_table_says() -> None:
    image = firmware_image(spec())
    names = []
    for index in range(5):
        name, offset, size, _, crc = struct.unpack_from("<8sIIII", image, 128 + 24 * index)
        names.append(name.rstrip(b"\x00").decode())
        assert zlib.crc32(image[offset : offset + size]) == crc
    assert names == [".vectors", ".text", ".rodata", ".data", ".strings"]
    assert b"SCD-220 2.4.0 built 2026-03-17\x00" in image


def test_firmware_is_the_same_for_the_same_arguments() -> None:
    assert firmware_image(spec()) == firmware_image(spec())


def test_firmware_of_another_version_differs_in_part() -> None:
    old, new = firmware_image(spec("2.3.1")), firmware_image(spec("2.4.0"))
    differing = sum(a != b for a, b in zip(old, new, strict=True))
    assert 0 < differing < len(old) // 4


@pytest.mark.parametrize(
    "values",
    [
        ("s", "", "1", "d", 65_536),
        ("s", "p" * 32, "1", "d", 65_536),
        ("s", "p", "é", "d", 65_536),
        ("s", "p", "1", "d", 65_535),
        ("s", "p", "1", "d", 2 * 1024 * 1024 + 1),
    ],
)
def test_firmware_out_of_bounds_is_refused(values: tuple[str, str, str, str, int]) -> None:
    with pytest.raises(ValueError, match=r"expected|ASCII"):
        FirmwareSpec(*values)


def test_strategy_has_a_row_for_every_fault_and_mode() -> None:
    rows = list(csv.reader(io.StringIO(strategy_table("a").decode())))
    assert tuple(rows[0]) == COLUMNS
    body = rows[1:]
    assert [row[0] for row in body] == [str(number) for number in range(1, len(body) + 1)]
    pairs = {(row[1], row[4]) for row in body}
    assert len(pairs) == len(body) == 12 * 4 * len(MODES)
    assert any(row[7] for row in body)
    assert any(row[8] for row in body)
    assert any(int(row[9]) for row in body)


@pytest.mark.parametrize("make", [strategy_table, setting_list])
def test_table_version_changes_some_lines_and_station_most(make: object) -> None:
    assert callable(make)
    first, second, other = make("a", "1"), make("a", "2"), make("b", "1")
    assert make("a", "1") == first
    revised = sum(x != y for x, y in zip(first.splitlines(), second.splitlines(), strict=True))
    foreign = sum(x != y for x, y in zip(first.splitlines(), other.splitlines(), strict=True))
    assert 0 < revised < foreign


def test_stream_gives_the_same_bytes_in_any_portions() -> None:
    whole = Stream("a", "b").take(200_000)
    parts = Stream("a", "b")
    assert b"".join(parts.take(size) for size in (1, 65_535, 65_537, 68_927)) == whole
    assert Stream("a\x1fb").take(9) == whole[:9]
    assert Stream("ab").take(9) != whole[:9]
    numbers = [Stream(str(seed)).between(3, 5) for seed in range(40)]
    assert set(numbers) == {3, 4, 5}
