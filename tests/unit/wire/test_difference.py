from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import ARTEFACT, ITEM
from wire.difference import NUMBER_MAX, Difference, decode_difference
from wire.errors import FormatError
from wire.evidence import Artefact, decode_item
from wire.types import sha256

CHUNKS = Difference(sha256(b"reference"), "chunks", 2, (1, 3))


def of_firmware(difference: Difference, **changes: object) -> Artefact:
    return replace(ARTEFACT, difference=difference, **changes)  # type: ignore[arg-type]


# holds IT-1
@pytest.mark.parametrize(
    "difference",
    [
        CHUNKS,
        replace(CHUNKS, unit="items"),
        Difference(sha256(b"reference"), "items", 0, ()),
        Difference(sha256(b"reference"), "items", 384, tuple(range(16))),
        Difference(sha256(b"reference"), "chunks", NUMBER_MAX + 1, tuple(range(NUMBER_MAX - 15, NUMBER_MAX + 1))),
    ],
)
def test_difference_round_trips(difference: Difference) -> None:
    item = replace(ITEM, artefacts=(of_firmware(difference),))
    assert decode_item(item.to_value()) == item
    assert item.digest() != ITEM.digest()


# holds IT-1
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"reference": bytes(31)}, "difference.reference"),
        ({"unit": "bytes"}, "difference.unit"),
        ({"count": 0, "numbers": []}, "difference.count"),
        ({"count": -1, "numbers": []}, "difference.count"),
        ({"count": NUMBER_MAX + 2, "numbers": list(range(16))}, "difference.count"),
        ({"count": 3}, "2 numbers where 3 differ"),
        ({"count": 1}, "2 numbers where 1 differ"),
        ({"count": 17, "numbers": list(range(17))}, "at most 16 entries"),
        ({"count": 17, "numbers": list(range(15))}, "15 numbers where 17 differ"),
        ({"numbers": [3, 1]}, "not sorted or not unique"),
        ({"numbers": [3, 3]}, "not sorted or not unique"),
        ({"numbers": [True, 3]}, "an integer 0..4294967295 is due"),
        ({"numbers": [-1, 3]}, "an integer 0..4294967295 is due"),
        ({"numbers": [3, NUMBER_MAX + 1]}, "an integer 0..4294967295 is due"),
        ({"numbers": None}, "difference.numbers"),
        ({"values": []}, "field 'values' is unknown"),
    ],
)
def test_difference_field_out_of_range_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_difference({**CHUNKS.to_value(), **changes}, "difference")


# holds IT-1
@pytest.mark.parametrize(
    ("artefact", "reason"),
    [
        (of_firmware(CHUNKS, errors=("unstable",)), "only a whole file, and one with another digest, differs"),
        (of_firmware(CHUNKS, read_size=7, errors=("short-read",)), "only a whole file"),
        (of_firmware(replace(CHUNKS, reference=ARTEFACT.sha256)), "only a whole file"),
        (of_firmware(CHUNKS, method="vendor-checksum", word=b"1"), "field 'difference' is unknown"),
    ],
)
def test_difference_of_what_was_not_read_whole_is_refused(artefact: Artefact, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_item(replace(ITEM, artefacts=(artefact,)).to_value())
