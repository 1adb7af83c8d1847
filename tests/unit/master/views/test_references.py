"""Releases and who stands behind them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from master.views.events import ViewError
from master.views.ports import END, Position
from master.views.references import REFERENCES
from master.views.schema import Row
from tests.unit.master.views.memory import MemoryTables
from tests.unit.master.views.story import ARTEFACT, GENESIS, Story
from wire.cbor import Value
from wire.genesis import Genesis
from wire.types import sha256

STEPS = (("maker", "manufacturer"), ("lab", "laboratory"), ("office", "regulator"))


class Ledger:
    def __init__(self, genesis: Genesis = GENESIS) -> None:
        self.story = Story()
        self.tables = MemoryTables(genesis)

    def tell(self, kind: str, digest: bytes, **data: Value) -> None:
        event = self.story.row("references", kind, digest.hex(), {"digest": digest, **data})
        self.tables.apply([event], Position(event.height, END))

    def submit(self, name: str, *kinds: str) -> bytes:
        digest = sha256(name.encode())
        self.tell("release_submitted", digest, **fields(name, *kinds))
        return digest

    def effective(self, name: str, *kinds: str, replaces: dict[bytes, list[Value]] | None = None) -> bytes:
        digest = self.submit(name, *kinds)
        told: list[Value] = [{"digest": old, "kinds": gone} for old, gone in (replaces or {}).items()]
        self.tell("release_effective", digest, **fields(name, *kinds), replaces=told)
        return digest

    def row(self, digest: bytes) -> Row:
        row = self.tables.row("references", digest.hex())
        assert row is not None
        return row


def fields(name: str, *kinds: str) -> dict[str, Value]:
    return {
        "release": name,
        "manufacturer": "maker",
        "target": {"device": None, "model": "SC-0"},
        "artefacts": [{**ARTEFACT, "kind": kind} for kind in kinds],
    }


def test_references_endorsements_take_roles_off_the_missing_ones() -> None:
    ledger = Ledger()
    digest = ledger.submit("r1", "firmware")
    assert ledger.row(digest)["missing_roles"] == ["laboratory", "manufacturer", "regulator"]
    for organisation, role in STEPS[:2]:
        ledger.tell("release_endorsed", digest, organisation=organisation, role=role, report=sha256(b"report"))
    row = ledger.row(digest)
    assert row["status"] == "pending"
    assert row["missing_roles"] == ["regulator"]
    assert row["endorsements"] == [
        {"organisation": "maker", "role": "manufacturer", "height": 2, "report": sha256(b"report").hex()},
        {"organisation": "lab", "role": "laboratory", "height": 3, "report": sha256(b"report").hex()},
    ]


def test_references_genesis_names_fewer_roles_and_fewer_are_missing() -> None:
    ledger = Ledger(replace(GENESIS, parameters={"endorser_roles": ["manufacturer"]}))
    assert ledger.row(ledger.submit("r1", "firmware"))["missing_roles"] == ["manufacturer"]
    ledger = Ledger(replace(GENESIS, parameters={}))
    assert len(str(ledger.row(ledger.submit("r1", "firmware"))["missing_roles"]).split(",")) == 3


def test_references_effective_shows_height_and_kinds() -> None:
    ledger = Ledger()
    row = ledger.row(ledger.effective("r1", "firmware", "settings"))
    assert (row["status"], row["effective_height"]) == ("effective", 2)
    assert row["effective_kinds"] == ["firmware", "settings"]


def test_references_newer_release_of_one_kind_leaves_the_other_kind() -> None:
    ledger = Ledger()
    older = ledger.effective("r1", "firmware", "settings")
    ledger.effective("r2", "settings", replaces={older: ["settings"]})
    assert (ledger.row(older)["status"], ledger.row(older)["effective_kinds"]) == ("effective", ["firmware"])


def test_references_superseded_shows_so() -> None:
    ledger = Ledger()
    older = ledger.effective("r1", "firmware")
    newer = ledger.effective("r2", "firmware", replaces={older: ["firmware"]})
    ledger.tell("release_superseded", older, by=newer)
    assert (ledger.row(older)["status"], ledger.row(older)["effective_kinds"]) == ("superseded", [])
    assert [row["release"] for row in ledger.tables.page(REFERENCES, (), None, 9).rows] == ["r2", "r1"]


@pytest.mark.parametrize("kind", ["release_endorsed", "release_superseded"])
def test_references_event_of_a_release_never_submitted_is_refused(kind: str) -> None:
    ledger = Ledger()
    with pytest.raises(ViewError, match="no release"):
        ledger.tell(kind, bytes(32), organisation="lab", role="laboratory", report=None, by=bytes(32))


def test_references_effective_that_replaces_an_unknown_one_is_refused() -> None:
    with pytest.raises(ViewError, match="no release"):
        Ledger().effective("r1", "firmware", replaces={bytes(32): ["firmware"]})
