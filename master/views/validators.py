"""Who votes, and the changes that were proposed, as the contract `validators` tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.contracts.validators import REMOVE, URGENT
from master.ledger.rows import EventRow
from master.views.events import Data
from master.views.proposals import APPROVED, CLOSED, EXECUTED, PENDING, PROPOSALS, proposal_of, with_vote
from master.views.schema import Column, Json, Kind, Put, Row, Rows, Table, View
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


def _proposed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    yield Put(
        PROPOSALS.name,
        {
            "proposal": data.hexadecimal("proposal"),
            "contract": CONTRACT,
            "kind": data.text("kind"),
            "subject": event.subject,
            "member": event.subject,
            "state": PENDING,
            "by": data.text("by"),
            "body": _record(data),
            "in_favour": [data.text("by")],
            "against": [],
            "weight_in_favour": 1,
            "weight_against": 0,
            "votes_due": data.integer("votes_due"),
            "deadline_ms": data.integer("deadline_ms"),
            "reason": None,
            "from_height": None,
            "proposed_height": event.height,
            "proposed_index": event.index,
        },
    )


def _voted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row = with_vote(event, proposal_of(event, rows))
    yield Put(
        PROPOSALS.name, {**row, "weight_in_favour": _count(row["in_favour"]), "weight_against": _count(row["against"])}
    )


def _count(names: Json) -> int:
    assert isinstance(names, list)
    return len(names)


def _approved(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(PROPOSALS.name, {**proposal_of(event, rows), "state": APPROVED})


def _closed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(PROPOSALS.name, {**proposal_of(event, rows), "state": CLOSED, "reason": Data(event).text("reason")})


def _changed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = proposal_of(event, rows), Data(event)
    height = data.integer("from_height")
    yield Put(PROPOSALS.name, {**row, "state": EXECUTED, "from_height": height})
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
    tables=(VALIDATORS,),
    start=_start,
    folds={
        "change_proposed": _proposed,
        "change_voted": _voted,
        "change_approved": _approved,
        "change_closed": _closed,
        "validators_changed": _changed,
    },
)
