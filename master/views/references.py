"""Releases and who stands behind them, as the contract `references` tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.contracts.parameters import RELATIONS
from master.contracts.references_records import APPROVED, EFFECTIVE, FAIL, FAILED, PASS, PENDING, REVOKED, SUPERSEDED
from master.ledger.rows import EventRow
from master.views.events import Data, broken
from master.views.schema import (
    Column,
    Json,
    Kind,
    Put,
    Row,
    Rows,
    Table,
    View,
    hexadecimal,
    integer,
    nullable,
    record,
    sequence,
    text,
)
from wire.evidence import KINDS
from wire.genesis import ROLES

if TYPE_CHECKING:
    from wire.genesis import Genesis

CONTRACT: Final = "references"
_COUNTED: Final = {"role": nullable(text(choices=ROLES)), "count": integer("Organisations of it.", 0)}
_POLICY: Final = {
    "roles": sequence(record({**_COUNTED, "role": text(choices=ROLES)}), "Least number of endorsements by role."),
    "endorsements_due": integer("Endorsements by these roles in all.", 1),
    "excluded": sequence(text(choices=RELATIONS), "Relations to the release in which a party does not count."),
}
REFERENCES: Final = Table(
    name="references",
    about="Reference values of one release.",
    key="digest",
    order=("submitted_height", "submitted_index"),
    newest_first=True,
    columns=(
        Column("release", "Name of the release.", filtered="release"),
        Column("digest", "SHA-256 of the release's canonical bytes: what endorsers sign."),
        Column("manufacturer", "Organisation that submitted it.", filtered="manufacturer"),
        Column(
            "target",
            "What it is for: one device or every device of a model.",
            Kind.JSON,
            content=record({"device": nullable(text()), "model": nullable(text())}),
        ),
        Column("target_name", "Device or model.", public=False, filtered="target"),
        Column(
            "status",
            "approved: its policy is fulfilled, its date is awaited; effective: appraisals use it; superseded: a newer "
            "one took its place; failed: a laboratory's test ended it; revoked: it was taken back.",
            filtered="status",
            choices=(PENDING, APPROVED, EFFECTIVE, SUPERSEDED, FAILED, REVOKED),
        ),
        Column(
            "policies",
            "Who must stand behind it, by artefact kind, as the ledger had it when it was submitted.",
            Kind.JSON,
            content=sequence(record({"kinds": sequence(text(choices=KINDS)), **_POLICY})),
        ),
        Column(
            "endorsements",
            "Who stands behind it, in the order of the ledger.",
            Kind.JSON,
            content=sequence(
                record(
                    {
                        "organisation": text(),
                        "role": text("Role of the organisation.", ROLES),
                        "height": integer("Block of the endorsement.", 1),
                        "report": nullable(hexadecimal("Digest of the test report.", 32)),
                    }
                )
            ),
        ),
        Column(
            "missing_roles",
            "Roles that must still endorse it.",
            Kind.JSON,
            content=sequence(text()),
        ),
        Column(
            "missing",
            "How many endorsements are missing by role; of a null role, any that its policies name will do.",
            Kind.JSON,
            content=sequence(record(_COUNTED)),
        ),
        Column(
            "tests",
            "What laboratories found, in the order of the ledger.",
            Kind.JSON,
            content=sequence(
                record(
                    {
                        "organisation": text(),
                        "report": hexadecimal("Digest of the test report.", 32),
                        "verdict": text(choices=(PASS, FAIL)),
                        "height": integer("Block of the record.", 1),
                    }
                )
            ),
        ),
        Column(
            "artefacts",
            "The reference values.",
            Kind.JSON,
            content=sequence(
                record(
                    {
                        "kind": text("Which artefact.", KINDS),
                        "name": text(),
                        "version": text(),
                        "size": integer("Bytes.", 0),
                        "sha256": hexadecimal("Digest of the whole.", 32),
                        "chunk_root": hexadecimal("Tree head over chunks of 65,536 bytes.", 32),
                    }
                )
            ),
        ),
        Column(
            "effective_kinds",
            "Artefact kinds whose reference value it is now.",
            Kind.JSON,
            content=sequence(text(choices=KINDS)),
        ),
        Column(
            "effective_from",
            "The block, or the time in ms since 1970 UTC, from which it is to count; null: once it is approved.",
            Kind.JSON,
            nullable=True,
            content=record({"height": nullable(integer()), "time_ms": nullable(integer())}),
        ),
        Column(
            "revoked",
            "Who took it back, and why; null when nobody did.",
            Kind.JSON,
            nullable=True,
            content=record(
                {
                    "organisation": text(),
                    "role": text(choices=ROLES),
                    "reason": text(),
                    "height": integer("Block of the revocation.", 1),
                }
            ),
        ),
        Column("submitted_height", "Block in which it was submitted.", Kind.INTEGER),
        Column("submitted_index", "Event of that block.", Kind.INTEGER, public=False),
        Column(
            "effective_height",
            "Block from which on it counts, null before.",
            Kind.INTEGER,
            nullable=True,
        ),
    ),
)


POLICIES: Final = Table(
    name="endorsement_policies",
    about="Policy by which releases are endorsed, as it was decided by vote. Without one, the parameters go.",
    key="subject",
    order=("subject",),
    columns=(
        Column("subject", "Which artefact kind of which device or model it is for."),
        Column("device", "The one device that it is for.", nullable=True, filtered="device"),
        Column("model", "The model that it is for.", nullable=True, filtered="model"),
        Column("kind", "The artefact kind that it is for; null: all.", nullable=True),
        Column("policy", "Null: it was removed.", Kind.JSON, nullable=True, content=record(_POLICY)),
        Column("proposal", "The proposal that decided it."),
        Column("height", "Block in which it was decided; it holds for releases submitted later.", Kind.INTEGER),
    ),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    del genesis
    return ()


def _missing(data: Data) -> Row:
    """Return both columns about who is missing."""
    missing = data.entries("missing")
    return {
        "missing": [dict(entry) for entry in missing],
        "missing_roles": [entry["role"] for entry in missing if entry["role"] is not None],
    }


def _release(event: EventRow, rows: Rows) -> Row:
    digest = Data(event).hexadecimal("digest")
    row = rows.row(REFERENCES.name, digest)
    if row is None:
        raise broken(event, f"there is no release {digest}")
    return row


def _submitted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    target = data.json("target")
    assert isinstance(target, dict)
    yield Put(
        REFERENCES.name,
        {
            "release": data.text("release"),
            "digest": data.hexadecimal("digest"),
            "manufacturer": data.text("manufacturer"),
            "target": target,
            "target_name": target["device"] or target["model"],
            "status": PENDING,
            "policies": data.json("policies"),
            "endorsements": [],
            **_missing(data),
            "tests": [],
            "artefacts": data.json("artefacts"),
            "effective_kinds": [],
            "effective_from": data.json("effective_from"),
            "revoked": None,
            "submitted_height": event.height,
            "submitted_index": event.index,
            "effective_height": None,
        },
    )


def _tested(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = _release(event, rows), Data(event)
    entry: Row = {
        "organisation": data.text("organisation"),
        "report": data.hexadecimal("report"),
        "verdict": data.text("verdict"),
        "height": event.height,
    }
    status = FAILED if entry["verdict"] == FAIL else row["status"]
    yield Put(REFERENCES.name, {**row, "tests": [*_list(row, "tests"), entry], "status": status})


def _endorsed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = _release(event, rows), Data(event)
    entry: Row = {
        "organisation": data.text("organisation"),
        "role": data.text("role"),
        "height": event.height,
        "report": data.hexadecimal_or_none("report"),
    }
    yield Put(REFERENCES.name, {**row, "endorsements": [*_list(row, "endorsements"), entry], **_missing(data)})


def _approved(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(REFERENCES.name, {**_release(event, rows), "status": APPROVED})


def _effective(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = _release(event, rows), Data(event)
    for entry in data.entries("replaces"):
        older, kinds = rows.row(REFERENCES.name, str(entry["digest"])), entry["kinds"]
        if older is None:
            raise broken(event, f"there is no release {entry['digest']}")
        assert isinstance(kinds, list)
        kept = [kind for kind in _list(older, "effective_kinds") if kind not in kinds]
        yield Put(REFERENCES.name, {**older, "effective_kinds": kept})
    height = data.integer("effective_height")
    yield Put(
        REFERENCES.name,
        {**row, "status": EFFECTIVE, "effective_height": height, "effective_kinds": data.json("kinds")},
    )


def _superseded(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(REFERENCES.name, {**_release(event, rows), "status": SUPERSEDED})


def _revoked(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = _release(event, rows), Data(event)
    revoked: Row = {name: data.text(name) for name in ("organisation", "role", "reason")}
    yield Put(
        REFERENCES.name,
        {**row, "status": REVOKED, "effective_kinds": [], "revoked": {**revoked, "height": event.height}},
    )


def _policy_changed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    told = {name: data.json(name) for name in ("device", "model", "kind", "policy")}
    target = (
        f"device {told['device']}" if told["device"] else f"model {told['model']}" if told["model"] else "all devices"
    )
    yield Put(
        POLICIES.name,
        {
            "subject": f"{told['kind'] or 'all kinds'} of {target}",
            **told,
            "proposal": data.hexadecimal("proposal"),
            "height": event.height,
        },
    )


def _list(row: Row, name: str) -> list[Json]:
    value = row[name]
    assert isinstance(value, list)  # a column of arrays
    return value


VIEW: Final = View(
    contract=CONTRACT,
    tables=(REFERENCES, POLICIES),
    start=_start,
    folds={
        "release_submitted": _submitted,
        "release_tested": _tested,
        "release_endorsed": _endorsed,
        "release_approved": _approved,
        "release_effective": _effective,
        "release_superseded": _superseded,
        "release_revoked": _revoked,
        "release_withdrawn": _revoked,
        "policy_changed": _policy_changed,
    },
)
