"""Grants, reading keys and sealed contents, from signed call to row."""

from __future__ import annotations

import pytest

from master.ledger.rows import EventRow
from master.views.access import GRANTS, STATES, VIEW
from master.views.events import ViewError
from master.views.schema import Reading
from tests.unit.contracts.test_access import BLOB, CONTENT, grant, public, register, revoke, seal
from tests.unit.master.views.test_contract_events import STALE_MS, Consortium
from wire.cose import kid_of
from wire.types import sha256


def test_grant_shows_its_state_by_the_time_of_the_newest_block() -> None:
    world = Consortium()
    now_ms = world.head.time_ms
    given = grant(world, from_ms=now_ms + 10_000, until_ms=now_ms + 20_000)
    (row,) = world.shown("grants")
    assert (row["id"], row["reader"], row["by"], row["given_height"]) == (
        given.tx.id.hex(),
        "organisation/lab",
        "grid",
        1,
    )
    offset = now_ms - world.head.time_ms
    states = [world.shown("grants", offset + after)[0]["state"] for after in (9_999, 10_000, 19_999, 20_000)]
    assert states == ["waiting", "in-force", "in-force", "over"]
    revoke(world, given.tx.id)
    (row,) = world.shown("grants", 20_000)
    assert (row["state"], row["ended_height"], row["ended_by"]) == ("revoked", 2, "grid")
    grant(world)
    assert world.shown("grants")[0]["state"] == "in-force"


def test_filter_by_state_finds_exactly_what_shows_it() -> None:
    world = Consortium()
    now_ms = world.head.time_ms
    for period in ((None, None), (now_ms + 9_000, None), (None, now_ms + 9_000), (None, None)):
        last = grant(world, from_ms=period[0], until_ms=period[1])
    revoke(world, last.tx.id)
    for ahead_ms in (0, 3_000, 4_000, 9_000):
        reading = Reading(world.head.time_ms + ahead_ms, STALE_MS)
        found = {
            state: world.tables.page(GRANTS, GRANTS.condition("state", state, reading), None, 9) for state in STATES
        }
        for state, page in found.items():
            assert [GRANTS.present(row, reading)["state"] for row in page.rows] == [state] * len(page.rows)
        assert sum(len(page.rows) for page in found.values()) == 4


def test_reading_keys_and_sealed_contents_show_the_newest() -> None:
    world = Consortium()
    register(world, "maker-a", "maker")
    seal(world)
    register(world, "maker-a", "rotated")
    seal(world, wrapped=["rotated"], blob=sha256(b"rewrapped"))
    (key,) = world.shown("reading_keys")
    assert (key["account"], key["key"], key["height"]) == ("maker-a", public("rotated").hex(), 3)
    (row,) = world.shown("sealed")
    assert (row["content"], row["blob"]) == (CONTENT.hex(), sha256(b"rewrapped").hex())
    assert row["blob"] != BLOB.hex()
    assert (row["keys"], row["sealed_height"], row["wrapped_height"]) == ([kid_of(public("rotated")).hex()], 2, 4)


def test_revocation_of_a_grant_that_no_event_told_of_is_a_mistake_of_ours() -> None:
    event = EventRow(1, 0, 5, bytes(32), "access", "access_revoked", "all", {"grant": bytes(32), "by": "grid"})
    with pytest.raises(ViewError, match="there is no grant"):
        list(VIEW.folds["access_revoked"](event, Consortium().tables, Consortium().genesis))
