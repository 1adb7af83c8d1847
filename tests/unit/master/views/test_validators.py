"""Validators and proposals as the contract really tells of them."""

from __future__ import annotations

import pytest

from master.ledger.rows import event_rows
from master.views.events import ViewError
from master.views.ports import END, Position
from master.views.schema import Reading, Row
from master.views.table import TABLES
from tests.unit.contracts.consortium import Consortium, certificate, consortium, vote_key
from tests.unit.master.api.schemas import problems
from tests.unit.master.views.memory import MemoryTables
from tests.unit.master.views.story import GENESIS, Story
from wire.types import sha256


class Shown:
    """A consortium whose events go into tables."""

    def __init__(self) -> None:
        self.at: Consortium = consortium()
        self.tables = MemoryTables(self.at.world.genesis)
        commit = self.at.world.commit

        def commit_and_show(execution):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            commit(execution)
            header = execution.block.header
            rows = list(event_rows(header.height, header.time_ms, execution.outcomes))
            self.tables.apply(rows, Position(header.height, END))

        self.at.world.commit = commit_and_show  # type: ignore[method-assign]

    def rows(self, table: str) -> list[Row]:
        declared = TABLES[table]
        found = self.tables.page(declared, (), None, 100).rows
        shown = [declared.present(row, Reading(0, 0)) for row in found]
        for row in shown:
            assert problems(row, declared.item_schema(), {}) == []
        return shown

    def validator(self, member: str) -> Row:
        return next(row for row in self.rows("validators") if row["member"] == member)


def test_joiner_goes_from_proposal_to_validator_and_away_again() -> None:
    shown = Shown()
    at = shown.at
    assert [row["member"] for row in shown.rows("validators")] == ["dispatch", "grid", "maker-a", "regulator"]
    proposal = at.add()
    (row,) = shown.rows("proposals")
    assert (row["kind"], row["status"], row["by"], row["in_favour"]) == ("add", "pending", "grid", ["grid"])
    at.vote(proposal, "maker-a", in_favour=False)
    at.vote(proposal, "dispatch", "regulator")
    (row,) = shown.rows("proposals")
    assert (row["status"], row["against"]) == ("approved", ["maker-a"])
    at.ready(proposal)
    (row,) = shown.rows("proposals")
    assert (row["status"], row["from_height"]) == ("executed", at.world.head.height + 2)
    added = shown.validator("lab")
    assert added["status"] == "validator"
    assert added["vote_key"] == vote_key("lab").verify_key.encode().hex()
    assert added["tls_digest"] == sha256(certificate("lab")).hex()
    since = added["since_height"]
    at.pass_blocks(1)
    at.vote(at.remove("lab"), "dispatch", "regulator", "maker-a")
    gone = shown.validator("lab")
    assert (gone["status"], gone["since_height"], gone["until_height"]) == (
        "removed",
        since,
        at.world.head.height + 2,
    )


def test_proposal_that_is_displaced_is_closed_with_its_reason() -> None:
    shown = Shown()
    shown.at.add()
    shown.at.remove(urgent=True)
    newest, oldest = shown.rows("proposals")
    assert (newest["kind"], newest["status"]) == ("urgent-removal", "pending")
    assert (oldest["kind"], oldest["status"], oldest["reason"]) == ("add", "closed", "displaced")


def test_event_about_an_unknown_proposal_is_refused() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    event = story.row("validators", "change_approved", "grid", {"proposal": sha256(b"nothing")})
    with pytest.raises(ViewError, match="there is no proposal"):
        tables.apply([event], Position(event.height, END))
