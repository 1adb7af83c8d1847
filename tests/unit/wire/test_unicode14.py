from __future__ import annotations

import sys
import unicodedata

import pytest

from wire.types import sha256
from wire.unicode14 import is_assigned

ASSIGNED = bytes(map(is_assigned, range(sys.maxunicode + 1)))


# holds CBOR-8
def test_unicode14_table_is_the_frozen_one() -> None:
    assert sum(ASSIGNED) == 282_230
    assert sha256(ASSIGNED).hex() == "e71a708757656759901767c3f92c1e29f51894bb546fea439e4367e32f62615d"


# holds CBOR-8
def test_unicode14_table_agrees_with_the_interpreters_own() -> None:
    """Later versions of Unicode assign more and take nothing back; Python 3.11 knows exactly version 14."""
    here = bytes(unicodedata.category(chr(point)) not in {"Cn", "Cs"} for point in range(sys.maxunicode + 1))
    missing = [point for point in range(sys.maxunicode + 1) if ASSIGNED[point] > here[point]]
    assert missing == []
    assert unicodedata.unidata_version != "14.0.0" or here == ASSIGNED


# holds CBOR-8
@pytest.mark.parametrize(
    ("point", "assigned"),
    [
        (0x00, True),
        (0x377, True),
        (0x378, False),
        (0xD7FF, False),
        (0xD800, False),
        (0xDFFF, False),
        (0xE000, True),
        (0xFFFD, True),
        (0xFFFE, False),
        (0x1FAE7, True),
        (0x1FAE8, False),
        (0x10FFFD, True),
        (0x10FFFF, False),
    ],
)
def test_unicode14_border_of_a_run_is_told_apart(point: int, assigned: bool) -> None:  # noqa: FBT001 - expected value
    assert is_assigned(point) is assigned
