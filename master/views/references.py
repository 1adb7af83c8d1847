"""Releases and who stands behind them, as the contract `references` tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.contracts.parameters import ENDORSER_ROLES_DEFAULT
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
            "effective: appraisals use it; superseded: a newer release took its place.",
            filtered="status",
            choices=("pending", "effective", "superseded"),
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


def _start(genesis: Genesis) -> Iterable[Put]:
    del genesis
    return ()


def _required(genesis: Genesis) -> list[Json]:
    roles = genesis.parameters.get("endorser_roles", list(ENDORSER_ROLES_DEFAULT))
    assert isinstance(roles, list)  # the ledger refuses a genesis file with anything else
    return [str(role) for role in roles]


def _release(event: EventRow, rows: Rows) -> Row:
    digest = Data(event).hexadecimal("digest")
    row = rows.row(REFERENCES.name, digest)
    if row is None:
        raise broken(event, f"there is no release {digest}")
    return row


def _submitted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows
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
            "status": "pending",
            "endorsements": [],
            "missing_roles": _required(genesis),
            "artefacts": data.json("artefacts"),
            "effective_kinds": [],
            "submitted_height": event.height,
            "submitted_index": event.index,
            "effective_height": None,
        },
    )


def _endorsed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = _release(event, rows), Data(event)
    endorsements, missing = row["endorsements"], row["missing_roles"]
    assert isinstance(endorsements, list)
    assert isinstance(missing, list)
    role = data.text("role")
    entry: Row = {
        "organisation": data.text("organisation"),
        "role": role,
        "height": event.height,
        "report": data.hexadecimal_or_none("report"),
    }
    yield Put(
        REFERENCES.name,
        {
            **row,
            "endorsements": [*endorsements, entry],
            "missing_roles": [other for other in missing if other != role],
        },
    )


def _effective(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = _release(event, rows), Data(event)
    for entry in data.entries("replaces"):
        older, kinds = rows.row(REFERENCES.name, str(entry["digest"])), entry["kinds"]
        if older is None:
            raise broken(event, f"there is no release {entry['digest']}")
        held = older["effective_kinds"]
        assert isinstance(held, list)
        assert isinstance(kinds, list)
        kept = [kind for kind in held if kind not in kinds]
        yield Put(REFERENCES.name, {**older, "effective_kinds": kept})
    kinds = [entry["kind"] for entry in data.entries("artefacts")]
    yield Put(
        REFERENCES.name,
        {**row, "status": "effective", "effective_height": event.height, "effective_kinds": kinds},
    )


def _superseded(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(REFERENCES.name, {**_release(event, rows), "status": "superseded"})


VIEW: Final = View(
    contract=CONTRACT,
    tables=(REFERENCES,),
    start=_start,
    folds={
        "release_submitted": _submitted,
        "release_endorsed": _endorsed,
        "release_effective": _effective,
        "release_superseded": _superseded,
    },
)
