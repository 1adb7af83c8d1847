from __future__ import annotations

import pytest

from rules.difference import byte_ranges, difference_of, difference_text, differing_chunks
from wire.difference import Difference
from wire.types import sha256

REFERENCE = sha256(b"reference")
A, B, C = (sha256(text) for text in (b"a", b"b", b"c"))


@pytest.mark.parametrize(
    ("expected", "read", "numbers"),
    [
        ([], [], ()),
        ([A, B, C], [A, B, C], ()),
        ([A, B, C], [A, C, C], (1,)),
        ([A, B, C], [B], (0, 1, 2)),
        ([A], [A, B, C], (1, 2)),
        ([], [A], (0,)),
    ],
)
def test_differing_chunks_are_named(expected: list[bytes], read: list[bytes], numbers: tuple[int, ...]) -> None:
    assert differing_chunks(expected, read) == numbers


def test_difference_names_16_and_counts_all() -> None:
    assert difference_of(REFERENCE, "items", range(1, 31)) == Difference(REFERENCE, "items", 30, tuple(range(1, 17)))
    assert difference_of(REFERENCE, "items", ()) == Difference(REFERENCE, "items", 0, ())


@pytest.mark.parametrize(
    ("chunks", "size", "ranges"),
    [
        ((1,), 1_048_576, ((65_536, 131_071),)),
        ((1,), 70_000, ((65_536, 69_999),)),
        ((0, 1, 3), 1_048_576, ((0, 131_071), (196_608, 262_143))),
        ((0,), 0, ((0, 0),)),
        ((), 10, ()),
    ],
)
def test_byte_ranges_join_neighbours_and_end_with_the_file(
    chunks: tuple[int, ...], size: int, ranges: tuple[tuple[int, int], ...]
) -> None:
    assert byte_ranges(chunks, size) == ranges


@pytest.mark.parametrize(
    ("kind", "unit", "count", "numbers", "text"),
    [
        ("settings", "items", 1, (17,), "setting 17 differs"),
        ("strategy", "items", 2, (3, 4), "rows 3, 4 differ"),
        ("firmware", "items", 1, (9,), "item 9 differs"),
        ("settings", "items", 0, (), "all settings are the same, the file is written otherwise"),
        ("settings", "items", 18, tuple(range(16)), f"settings {', '.join(map(str, range(16)))} and 2 more differ"),
        ("firmware", "chunks", 1, (1,), "bytes 65536..131071 differ"),
        (
            "firmware",
            "chunks",
            20,
            tuple(range(0, 32, 2))[:16],
            "bytes "
            + ", ".join(f"{chunk * 65_536}..{chunk * 65_536 + 65_535}" for chunk in range(0, 32, 2))
            + " and 4 more chunks of 65536 bytes differ",
        ),
    ],
)
def test_difference_text_names_places_and_no_values(
    kind: str, unit: str, count: int, numbers: tuple[int, ...], text: str
) -> None:
    assert difference_text(kind, Difference(REFERENCE, unit, count, numbers), 100 * 65_536) == text
