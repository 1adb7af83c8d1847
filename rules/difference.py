"""Where content differs, in words that hold no values: numbers of items, or offsets of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wire.difference import ITEMS, NUMBERS_MAX, Difference
from wire.types import CHUNK_BYTES, Digest

_WORDS = {"settings": ("setting", "settings"), "strategy": ("row", "rows")}


def differing_chunks(expected: Sequence[Digest], read: Sequence[Digest]) -> tuple[int, ...]:
    """Return the numbers of the chunks that differ, ascending; what only one side has differs.

    Args:
        expected: Leaf digests of the reference value's chunks.
        read: Those of the file that was read.
    """
    common = min(len(expected), len(read))
    changed = (number for number in range(common) if expected[number] != read[number])
    return (*changed, *range(common, max(len(expected), len(read))))


def difference_of(reference: Digest, unit: str, numbers: Sequence[int]) -> Difference:
    """Return what evidence says of a difference: the first 16 numbers, and how many there are.

    Args:
        reference: SHA-256 of the reference value.
        unit: ``items`` or ``chunks``.
        numbers: All of them, ascending.
    """
    return Difference(reference, unit, len(numbers), tuple(numbers[:NUMBERS_MAX]))


def byte_ranges(chunks: Iterable[int], size: int) -> tuple[tuple[int, int], ...]:
    """Return first and last byte of each run of chunks of 65,536 bytes.

    Args:
        chunks: Ascending.
        size: Bytes of the longer file, which ends its last chunk.
    """
    ranges: list[tuple[int, int]] = []
    for chunk in chunks:
        first = chunk * CHUNK_BYTES
        last = max(first, min(first + CHUNK_BYTES, size) - 1)
        if ranges and ranges[-1][1] + 1 == first:
            first = ranges.pop()[0]
        ranges.append((first, last))
    return tuple(ranges)


def difference_text(kind: str, difference: Difference, size: int) -> str:
    """Return in a few words where an artefact differs; it tells no value.

    Args:
        kind: Artefact kind.
        difference: As evidence has it.
        size: Bytes of the longer of the two files.
    """
    if difference.unit == ITEMS:
        return _items_text(kind, difference)
    shown = ", ".join(f"{first}..{last}" for first, last in byte_ranges(difference.numbers, size))
    more = difference.count - len(difference.numbers)
    return f"bytes {shown}{f' and {more} more chunks of {CHUNK_BYTES} bytes' if more else ''} differ"


def _items_text(kind: str, difference: Difference) -> str:
    one, many = _WORDS.get(kind, ("item", "items"))
    if difference.count == 0:
        return f"all {many} are the same, the file is written otherwise"
    numbers = ", ".join(map(str, difference.numbers))
    if difference.count == 1:
        return f"{one} {numbers} differs"
    more = difference.count - len(difference.numbers)
    return f"{many} {numbers}{f' and {more} more' if more else ''} differ"
