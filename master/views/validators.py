"""Who votes, and the changes that were proposed, as the contract `validators` tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.contracts.validators import ADD, REMOVE, ROTATE, URGENT
from master.ledger.rows import EventRow
from master.views.events import Data, broken
from master.views.schema import Column, Kind, Put, Row, Rows, Table, View, sequence, text
from wire.types import sha256

if TYPE_CHECKING:
    from wire.genesis import Genesis

CONTRACT: Final = "validators"
_RECORD: Final = (
    Column("vote_key", "Ed25519 public key with which it votes."),
    Column("tls_digest", "SHA-256 of the certificate of its peer port."),
    Column("address", "Where its peer port listens, empty when it is not in the ledger."),
)
VALIDATORS: Final = Table(
    name="validators",
    about="Full node that votes, or that did.",
    key="member",
    order=("member",),
    columns=(
        Column("member", "Organisation that runs it."),
        Column("status", "Whether it is in the newest set.", filtered="status", choices=("validator", "removed")),
        *_RECORD,
        Column("since_height", "Block from which it decides with this record.", Kind.INTEGER),
        Column("until_height", "Block from which it does not decide any more.", Kind.INTEGER, nullable=True),
    ),
)
PROPOSALS: Final = Table(
    name="proposals",
    about="Proposed change of the validators.",
    key="proposal",
    order=("proposed_height", "proposed_index"),
    newest_first=True,
    columns=(
        Column("proposal", "Id of the transaction that proposes it."),
        Column("kind", "What is to change.", choices=(ADD, REMOVE, ROTATE, URGENT)),
        Column("member", "Whose record it concerns.", filtered="member"),
        Column(
            "status",
            "pending: being voted on; approved: waits for the READY of its joiner.",
            filtered="status",
            choices=("pending", "approved", "executed", "closed"),
        ),
        Column("by", "Organisation that proposed it."),
        Column("votes_due", "Organisations that must be in favour.", Kind.INTEGER),
        Column("in_favour", "Organisations in favour.", Kind.JSON, content=sequence(text())),
        Column("against", "Organisations against.", Kind.JSON, content=sequence(text())),
        Column("deadline_ms", "Block time after which it is void.", Kind.INTEGER),
        *_RECORD,
        Column("reason", "Why it was closed.", nullable=True),
        Column("from_height", "First block that the changed set decides.", Kind.INTEGER, nullable=True),
        Column("proposed_height", "Block in which it was proposed.", Kind.INTEGER),
        Column("proposed_index", "Event of that block.", Kind.INTEGER, public=False),
    ),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    for entry in genesis.validators:
        yield Put(
            VALIDATORS.name,
            {
                "member": entry.member,
                "status": "validator",
                "vote_key": entry.vote_key.hex(),
                "tls_digest": sha256(entry.tls_certificate).hex(),
                "address": "",
                "since_height": 1,
                "until_height": None,
            },
        )


def _record(data: Data) -> Row:
    return {
        "vote_key": data.hexadecimal("vote_key"),
        "tls_digest": data.hexadecimal("tls_digest"),
        "address": data.text("address"),
    }


def _proposal(event: EventRow, rows: Rows) -> Row:
    proposal = Data(event).hexadecimal("proposal")
    row = rows.row(PROPOSALS.name, proposal)
    if row is None:
        raise broken(event, f"there is no proposal {proposal}")
    return row


def _proposed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    yield Put(
        PROPOSALS.name,
        {
            "proposal": data.hexadecimal("proposal"),
            "kind": data.text("kind"),
            "member": event.subject,
            "status": "pending",
            "by": data.text("by"),
            "votes_due": data.integer("votes_due"),
            "in_favour": [data.text("by")],
            "against": [],
            "deadline_ms": data.integer("deadline_ms"),
            **_record(data),
            "reason": None,
            "from_height": None,
            "proposed_height": event.height,
            "proposed_index": event.index,
        },
    )


def _voted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = _proposal(event, rows), Data(event)
    side = "in_favour" if data.json("in_favour") is True else "against"
    names = row[side]
    assert isinstance(names, list)
    yield Put(PROPOSALS.name, {**row, side: [*names, data.text("organisation")]})


def _approved(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(PROPOSALS.name, {**_proposal(event, rows), "status": "approved"})


def _closed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(PROPOSALS.name, {**_proposal(event, rows), "status": "closed", "reason": Data(event).text("reason")})


def _changed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = _proposal(event, rows), Data(event)
    height = data.integer("from_height")
    yield Put(PROPOSALS.name, {**row, "status": "executed", "from_height": height})
    is_gone = data.text("kind") in (REMOVE, URGENT)
    before = rows.row(VALIDATORS.name, event.subject)
    since: Row = {"since_height": height} if before is None or not is_gone else {"since_height": before["since_height"]}
    yield Put(
        VALIDATORS.name,
        {
            "member": event.subject,
            "status": "removed" if is_gone else "validator",
            **_record(data),
            **since,
            "until_height": height if is_gone else None,
        },
    )


VIEW: Final = View(
    contract=CONTRACT,
    tables=(VALIDATORS, PROPOSALS),
    start=_start,
    folds={
        "change_proposed": _proposed,
        "change_voted": _voted,
        "change_approved": _approved,
        "change_closed": _closed,
        "validators_changed": _changed,
    },
)
