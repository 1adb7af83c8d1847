"""Validators that were proven to have broken the protocol."""

from __future__ import annotations

import pytest

from master.views.events import ViewError
from master.views.faults import FAULTS
from master.views.ports import END, Position
from tests.unit.master.views.memory import MemoryTables
from tests.unit.master.views.story import GENESIS, Story
from tests.unit.wire.test_faultproof import PROOF
from wire.cbor import Value

DATA: dict[str, Value] = {
    "member": PROOF.member,
    "epoch": 0,
    "height": PROOF.height,
    "kind": PROOF.kind,
    "view": 2,
    "proof": PROOF.encode(),
}


def test_faults_show_who_signed_what_twice() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    event = story.row("faults", "fault_proven", PROOF.member, DATA)
    tables.apply([event], Position(event.height, END))
    (row,) = tables.page(FAULTS, (), None, 9).rows
    assert row == {
        **DATA,
        "digest": event.tx.hex(),
        "proof": PROOF.encode().hex(),
        "recorded_height": event.height,
        "recorded_index": 0,
        "recorded_ms": event.time_ms,
    }


def test_faults_event_without_its_proof_is_refused() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    event = story.row("faults", "fault_proven", PROOF.member, {**DATA, "proof": None})
    with pytest.raises(ViewError, match="proof"):
        tables.apply([event], Position(event.height, END))
