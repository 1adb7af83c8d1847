"""Proposals, parameters, code and corrections as the contract really tells of them."""

from __future__ import annotations

import pytest

from master.ledger.rows import event_rows
from master.views.events import ViewError
from master.views.ports import END, Position
from master.views.schema import Reading, Row
from master.views.table import TABLES
from tests.unit.contracts.test_governance import (
    DEADLINE_MS,
    ENTRY,
    Assembly,
    assembly,
    correction,
    data_centres,
    standing,
)
from tests.unit.ledger.test_upgrades import HEIGHT, NOTARY_2_ENTRY, body
from tests.unit.ledger.worlds import GENESIS_MS
from tests.unit.master.api.schemas import problems
from tests.unit.master.views.memory import MemoryTables
from tests.unit.master.views.story import GENESIS, Story
from wire.types import sha256


class Shown:
    """An assembly whose events go into tables."""

    def __init__(self, at: Assembly) -> None:
        self.at = at
        self.tables = MemoryTables(at.world.genesis)
        commit = at.world.commit

        def commit_and_show(execution):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            commit(execution)
            header = execution.block.header
            rows = list(event_rows(header.height, header.time_ms, execution.outcomes))
            self.tables.apply(rows, Position(header.height, END))

        at.world.commit = commit_and_show  # type: ignore[method-assign]

    def rows(self, table: str, time_ms: int = GENESIS_MS, **conditions: str) -> list[Row]:
        declared, reading = TABLES[table], Reading(time_ms, 0)
        wanted = [one for name, value in conditions.items() for one in declared.condition(name, value, reading)]
        shown = [declared.present(row, reading) for row in self.tables.page(declared, wanted, None, 100).rows]
        for row in shown:
            assert problems(row, declared.item_schema(), {}) == []
        return shown

    def named(self, table: str, key: str, name: str) -> Row:
        return next(row for row in self.rows(table) if row[key] == name)


def test_proposal_of_parameters_is_shown_from_the_first_vote_to_its_effect() -> None:
    shown = Shown(assembly(evidence_window=64))
    assert shown.named("parameters", "name", "evidence_window")["source"] == "genesis"
    assert shown.named("parameters", "name", "stale_ms")["source"] == "default"
    made = shown.at.set(stale_ms=60_000)
    (row,) = shown.rows("proposals")
    assert (row["contract"], row["kind"], row["subject"], row["status"]) == (
        "governance",
        "parameters",
        "stale_ms",
        "pending",
    )
    assert (row["body"], row["in_favour"], row["weight_in_favour"], row["votes_due"]) == (
        {"values": {"stale_ms": 60_000}},
        ["dispatch"],
        4,
        8,
    )
    shown.at.vote(made, "maker-a", in_favour=False)
    shown.at.vote(made, "regulator", "lab", "lab-b")
    (row,) = shown.rows("proposals")
    height = shown.at.world.head.height + 1
    assert (row["status"], row["from_height"], row["against"], row["weight_against"]) == (
        "executed",
        height,
        ["maker-a"],
        1,
    )
    parameter = shown.named("parameters", "name", "stale_ms")
    assert (parameter["value"], parameter["source"], parameter["since_height"]) == (60_000, "vote", height)
    assert parameter["proposal"] == made.tx.id.hex()


def test_proposal_past_its_deadline_shows_as_expired_before_anybody_closes_it() -> None:
    shown = Shown(assembly())
    made = shown.at.set(stale_ms=60_000)
    for time_ms, status in ((DEADLINE_MS, "pending"), (DEADLINE_MS + 1, "expired")):
        assert [row["status"] for row in shown.rows("proposals", time_ms)] == [status]
        for asked in ("pending", "approved", "executed", "closed", "expired"):
            assert len(shown.rows("proposals", time_ms, status=asked)) == (asked == status)
    shown.at.call("dispatch", "withdraw", proposal=made.tx.id)
    (row,) = shown.rows("proposals", DEADLINE_MS + 1)
    assert (row["status"], row["reason"]) == ("closed", "withdrawn")


def test_upgrade_stands_in_the_list_of_code_with_the_height_at_which_it_begins() -> None:
    shown = Shown(assembly(upgrade_blocks_min=2))
    made = shown.at.accept("upgrade", body())
    assert made.event_types[-1] == "proposal_accepted"
    found = [row for row in shown.rows("code") if row["contract"] == "notary"]
    assert [(row["version"], row["from_height"]) for row in found] == [(1, 1), (2, HEIGHT)]
    assert found[1]["digest"] == NOTARY_2_ENTRY.digest.hex()
    (row,) = shown.rows("proposals")
    assert (row["subject"], row["from_height"]) == ("notary 2", HEIGHT)


def test_corrections_are_found_by_what_they_correct_and_name_each_other() -> None:
    shown = Shown(data_centres("dispatch"))
    before = standing(shown.at)
    first = shown.at.propose("correction", correction(ENTRY, before, "better"))
    second = shown.at.propose("correction", correction(ENTRY, "better", 480))
    other = shown.at.propose("correction", correction({"tx": sha256(b"tx")}, 1, 2))
    newest, oldest = shown.rows("corrections", key=b"lab/k".hex())
    assert (oldest["new"], oldest["superseded_by"]) == ("better", second.tx.id.hex())
    assert isinstance(oldest["old"], dict)
    assert (newest["old"], newest["new"], newest["supersedes"]) == ("better", 480, first.tx.id.hex())
    (row,) = shown.rows("corrections", tx=sha256(b"tx").hex())
    assert (row["correction"], row["key"], row["reason"]) == (other.tx.id.hex(), None, "typing error")


def test_vote_on_an_unknown_proposal_is_refused() -> None:
    story, tables = Story(), MemoryTables(GENESIS)
    event = story.row("governance", "proposal_voted", "x", {"proposal": sha256(b"nothing")})
    with pytest.raises(ViewError, match="there is no proposal"):
        tables.apply([event], Position(event.height, END))
