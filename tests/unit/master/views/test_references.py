"""Releases and who stands behind them."""

from __future__ import annotations

import pytest

from master.views.events import ViewError
from master.views.ports import END, Position
from master.views.references import REFERENCES
from master.views.schema import Row
from tests.unit.master.views.memory import MemoryTables
from tests.unit.master.views.story import ARTEFACT, GENESIS, POLICY, Story
from wire.cbor import Value
from wire.genesis import Genesis
from wire.types import sha256

STEPS = (("lab", "laboratory"), ("maker", "manufacturer"), ("office", "regulator"))
REPORT = sha256(b"report")


class Ledger:
    def __init__(self, genesis: Genesis = GENESIS) -> None:
        self.story = Story()
        self.tables = MemoryTables(genesis)

    def tell(self, kind: str, digest: bytes, **data: Value) -> None:
        event = self.story.row("references", kind, digest.hex(), {"digest": digest, **data})
        self.tables.apply([event], Position(event.height, END))

    def submit(self, name: str, *kinds: str) -> bytes:
        digest = sha256(name.encode())
        missing = [counted(role) for _, role in STEPS]
        self.tell("release_submitted", digest, **fields(name, *kinds), policies=[POLICY], missing=missing)
        return digest

    def effective(self, name: str, *kinds: str, replaces: dict[bytes, list[Value]] | None = None) -> bytes:
        digest = self.submit(name, *kinds)
        told: list[Value] = [{"digest": old, "kinds": gone} for old, gone in (replaces or {}).items()]
        height = self.story.height + 1
        self.tell(
            "release_effective",
            digest,
            **fields(name, *kinds),
            kinds=list(kinds),
            effective_height=height,
            replaces=told,
        )
        return digest

    def row(self, digest: bytes) -> Row:
        row = self.tables.row("references", digest.hex())
        assert row is not None
        return row


def counted(role: str | None, count: int = 1) -> Value:
    return {"role": role, "count": count}


def fields(name: str, *kinds: str) -> dict[str, Value]:
    return {
        "release": name,
        "manufacturer": "maker",
        "target": {"device": None, "model": "SC-0"},
        "effective_from": None,
        "artefacts": [{**ARTEFACT, "kind": kind} for kind in kinds],
    }


def test_references_endorsements_take_roles_off_the_missing_ones() -> None:
    ledger = Ledger()
    digest = ledger.submit("r1", "firmware")
    assert ledger.row(digest)["missing_roles"] == ["laboratory", "manufacturer", "regulator"]
    missing: list[Value] = [counted(role) for _, role in STEPS]
    for organisation, role in STEPS[:2]:
        missing = missing[1:]
        told: dict[str, Value] = {"organisation": organisation, "role": role, "report": REPORT}
        ledger.tell("release_endorsed", digest, **told, missing=missing)
    row = ledger.row(digest)
    assert row["status"] == "pending"
    assert row["missing_roles"] == ["regulator"]
    assert row["missing"] == [{"role": "regulator", "count": 1}]
    assert row["endorsements"] == [
        {"organisation": "lab", "role": "laboratory", "height": 2, "report": REPORT.hex()},
        {"organisation": "maker", "role": "manufacturer", "height": 3, "report": REPORT.hex()},
    ]


def test_references_missing_of_any_role_is_no_missing_role() -> None:
    ledger = Ledger()
    digest = ledger.submit("r1", "firmware")
    told: dict[str, Value] = {"organisation": "lab", "role": "laboratory", "report": None}
    ledger.tell("release_endorsed", digest, **told, missing=[counted("regulator", 2), counted(None)])
    row = ledger.row(digest)
    assert row["missing_roles"] == ["regulator"]
    assert row["missing"] == [{"role": "regulator", "count": 2}, {"role": None, "count": 1}]
    assert row["policies"] == [POLICY]


@pytest.mark.parametrize(("verdict", "status"), [("pass", "pending"), ("fail", "failed")])
def test_references_test_is_listed_and_a_failure_ends_the_release(verdict: str, status: str) -> None:
    ledger = Ledger()
    digest = ledger.submit("r1", "firmware")
    ledger.tell("release_tested", digest, organisation="lab", report=REPORT, verdict=verdict)
    row = ledger.row(digest)
    assert row["status"] == status
    assert row["tests"] == [{"organisation": "lab", "report": REPORT.hex(), "verdict": verdict, "height": 2}]


def test_references_approved_waits_for_its_date() -> None:
    ledger = Ledger()
    digest = ledger.submit("r1", "firmware")
    ledger.tell("release_approved", digest, effective_from={"height": 9, "time_ms": None})
    assert (ledger.row(digest)["status"], ledger.row(digest)["effective_height"]) == ("approved", None)


@pytest.mark.parametrize("kind", ["release_revoked", "release_withdrawn"])
def test_references_revoked_shows_by_whom_and_why(kind: str) -> None:
    ledger = Ledger()
    digest = ledger.effective("r1", "firmware")
    ledger.tell(kind, digest, organisation="office", role="regulator", reason="a flaw")
    row = ledger.row(digest)
    assert (row["status"], row["effective_kinds"]) == ("revoked", [])
    assert row["revoked"] == {"organisation": "office", "role": "regulator", "reason": "a flaw", "height": 3}


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
