"""An entry that every transaction looks at is parsed again only when it says something else."""

from __future__ import annotations

from master.contracts.context import Reads
from master.ledger.parsed import ParsedEntry
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import MemoryState
from wire import cbor


def test_entry_is_parsed_when_it_says_something_else_and_not_before() -> None:
    asked: list[cbor.Value] = []

    def parse(state: Reads) -> cbor.Value:
        asked.append(state.namespace("membership").get(b"k"))
        return asked[-1]

    entry, before = ParsedEntry("membership", b"k", parse), Overlay(MemoryState())
    after = Overlay(before)
    after.put("membership", b"k", cbor.encode(7))
    assert [entry.of(before), entry.of(before), entry.of(after), entry.of(after)] == [None, None, 7, 7]
    assert asked == [None, 7]
    assert entry.of(before) is None
