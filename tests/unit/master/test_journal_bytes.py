"""Hostile records of an event log are refused in one short sentence."""

from __future__ import annotations

import pytest

from master.journal.graph import JournalError
from master.journal.records import SegmentDecoder
from wire import cbor

LONG = "x" * 100_000


@pytest.mark.parametrize(
    "value",
    [
        [0, 1, "s", [[LONG]], []],
        [0, 1, "s", [[f"wire.tx:{LONG}"]], []],
        [0, 1, "s", [], [[9, bytes(100_000)]]],
        [2, 7, 8, 9, [], [[2, [LONG]]], b"", [], None],
        [7, LONG],
        {"a": LONG},
    ],
)
def test_record_that_is_hostile_is_refused_in_a_short_sentence(value: cbor.Value) -> None:
    with pytest.raises(JournalError) as caught:
        SegmentDecoder(len).decode(cbor.encode(value))
    assert len(str(caught.value)) < 200
