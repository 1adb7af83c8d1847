"""The one table of proposals: changes of validators and whatever the contract `governance` decides."""

from __future__ import annotations

from typing import Final

from master.ledger.rows import EventRow
from master.views.events import Data, broken
from master.views.schema import (
    Column,
    Comparison,
    Condition,
    Derived,
    Kind,
    Reading,
    Row,
    Rows,
    Schema,
    Table,
    sequence,
    text,
)

PENDING: Final = "pending"
APPROVED: Final = "approved"
EXECUTED: Final = "executed"
CLOSED: Final = "closed"
EXPIRED: Final = "expired"
_OPEN: Final = (PENDING, APPROVED)
_BODY: Final[Schema] = {"type": "object"}


def _status(row: Row, reading: Reading) -> str:
    status, deadline_ms = str(row["state"]), row["deadline_ms"]
    assert isinstance(deadline_ms, int)
    return EXPIRED if status in _OPEN and deadline_ms < reading.head_time_ms else status


def _with_status(value: str, reading: Reading) -> tuple[Condition, ...]:
    if value == EXPIRED:
        states = Condition("state", Comparison.ONE_OF, _OPEN)
        return (states, Condition("deadline_ms", Comparison.LESS, reading.head_time_ms))
    state = Condition("state", Comparison.EQUAL, value)
    if value in _OPEN:
        return (state, Condition("deadline_ms", Comparison.AT_LEAST, reading.head_time_ms))
    return (state,)


PROPOSALS: Final = Table(
    name="proposals",
    about="Proposal that organisations vote on.",
    key="proposal",
    order=("proposed_height", "proposed_index"),
    newest_first=True,
    columns=(
        Column("proposal", "Id of the transaction that proposes it."),
        Column("contract", "Who counts the votes.", filtered="contract", choices=("governance", "validators")),
        Column(
            "kind",
            "What is to change: parameters, upgrade, correction; or of validators add, remove, rotate, urgent-removal.",
            filtered="kind",
        ),
        Column("subject", "What it is about: names of parameters, contract versions, what is corrected, a member."),
        Column("member", "Whose record a change of validators concerns.", filtered="member", nullable=True),
        Column("state", "As the contract told last.", public=False),
        Column("by", "Organisation that proposed it."),
        Column("body", "What exactly is to change.", Kind.JSON, content=_BODY),
        Column("in_favour", "Organisations in favour.", Kind.JSON, content=sequence(text())),
        Column("against", "Organisations against.", Kind.JSON, content=sequence(text())),
        Column("weight_in_favour", "What the votes in favour weighed when they were counted last.", Kind.INTEGER),
        Column("weight_against", "What the votes against weighed then.", Kind.INTEGER),
        Column("votes_due", "Weight that must be in favour; in changes of validators each counts 1.", Kind.INTEGER),
        Column("deadline_ms", "Last block time at which it can be decided.", Kind.INTEGER),
        Column("reason", "Why it was closed.", nullable=True),
        Column("from_height", "First block that goes by it, once it is decided.", Kind.INTEGER, nullable=True),
        Column("proposed_height", "Block in which it was proposed.", Kind.INTEGER),
        Column("proposed_index", "Event of that block.", Kind.INTEGER, public=False),
    ),
    derived=(
        Derived(
            Column(
                "status",
                "pending: being voted on; approved: waits for the READY of its joiner; expired: its deadline is past.",
                filtered="status",
                choices=(PENDING, APPROVED, EXECUTED, CLOSED, EXPIRED),
            ),
            _status,
            _with_status,
        ),
    ),
)


def proposal_of(event: EventRow, rows: Rows) -> Row:
    """Return the row of the proposal that an event names.

    Raises:
        ViewError: There is none.
    """
    proposal = Data(event).hexadecimal("proposal")
    row = rows.row(PROPOSALS.name, proposal)
    if row is None:
        raise broken(event, f"there is no proposal {proposal}")
    return row


def with_vote(event: EventRow, row: Row) -> Row:
    """Return a row with the vote that an event tells of."""
    data = Data(event)
    side = "in_favour" if data.json("in_favour") is True else "against"
    names = row[side]
    assert isinstance(names, list)
    return {**row, side: [*names, data.text("organisation")]}
