"""Proposals, parameters, contract versions and corrections, as the contract `governance` tells of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.contracts import parameters
from master.contracts.membership_decisions import PARAMETERS as SET_PARAMETERS
from master.contracts.membership_decisions import UPGRADE
from master.ledger.rows import EventRow
from master.views.events import Data, to_json
from master.views.proposals import CLOSED, EXECUTED, PENDING, PROPOSALS, proposal_of, with_vote
from master.views.schema import Column, Json, Kind, Put, Row, Rows, Schema, Table, View
from wire import cbor

if TYPE_CHECKING:
    from wire.genesis import Genesis

CONTRACT: Final = "governance"
_ANY: Final[Schema] = {"type": ["integer", "string", "boolean", "array", "object", "null"]}

PARAMETERS: Final = Table(
    name="parameters",
    about="Parameter of the ledger.",
    key="name",
    order=("name",),
    columns=(
        Column("name", "Its name, with the unit."),
        Column("value", "Its value.", Kind.JSON, content={"type": ["integer", "string", "array"]}),
        Column("source", "Who set it.", filtered="source", choices=("default", "genesis", "vote")),
        Column("since_height", "First block that goes by it.", Kind.INTEGER),
        Column("proposal", "Proposal that set it.", nullable=True),
    ),
)
CODE: Final = Table(
    name="code",
    about="Contract version that the ledger has executed, executes or will execute.",
    key="code",
    order=("contract", "version"),
    columns=(
        Column("code", "Name and version of the contract."),
        Column("contract", "Name of the contract.", filtered="contract"),
        Column("version", "Version of the contract.", Kind.INTEGER),
        Column("digest", "SHA-256 over the source of the contract and the rules that it calls."),
        Column("from_height", "First block that it executes.", Kind.INTEGER),
        Column("proposal", "Proposal that brought it.", nullable=True),
    ),
)
CORRECTIONS: Final = Table(
    name="corrections",
    about="Correction of data that stands on the ledger and stays there as it was.",
    key="correction",
    order=("height", "index"),
    newest_first=True,
    columns=(
        Column("correction", "Id of the proposal that was accepted."),
        Column("tx", "Corrected transaction.", nullable=True, filtered="tx"),
        Column("namespace", "Namespace of the corrected entry.", nullable=True, filtered="namespace"),
        Column("key", "Key of the corrected entry.", nullable=True, filtered="key"),
        Column("old", "What counted before.", Kind.JSON, nullable=True, content=_ANY),
        Column("new", "What counts since.", Kind.JSON, nullable=True, content=_ANY),
        Column("reason", "Why it was wrong."),
        Column("number", "Which correction of this target it is, from 1.", Kind.INTEGER),
        Column("supersedes", "Correction that it takes the place of.", nullable=True),
        Column("superseded_by", "Correction that took its place.", nullable=True),
        Column("height", "Block that decided it.", Kind.INTEGER),
        Column("time_ms", "Time of that block.", Kind.INTEGER),
        Column("index", "Event of that block.", Kind.INTEGER, public=False),
    ),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    for name, default in sorted(parameters.defaults().items()):
        is_given = name in genesis.parameters
        value = genesis.parameters[name] if is_given else default
        yield Put(PARAMETERS.name, _parameter(name, to_json(value), "genesis" if is_given else "default", 1, None))
    for entry in genesis.code_table:
        yield Put(CODE.name, _code(entry.name, entry.version, entry.digest.hex(), 1, None))


def _parameter(name: str, value: Json, source: str, since_height: int, proposal: str | None) -> Row:
    return {"name": name, "value": value, "source": source, "since_height": since_height, "proposal": proposal}


def _code(name: str, version: int, digest: str, from_height: int, proposal: str | None) -> Row:
    return {
        "code": f"{name}-{version}",
        "contract": name,
        "version": version,
        "digest": digest,
        "from_height": from_height,
        "proposal": proposal,
    }


def _weights(data: Data) -> Row:
    return {
        "weight_in_favour": data.integer("weight_in_favour"),
        "weight_against": data.integer("weight_against"),
        "votes_due": data.integer("weight_due"),
    }


def _made(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    yield Put(
        PROPOSALS.name,
        {
            "proposal": data.hexadecimal("proposal"),
            "contract": CONTRACT,
            "kind": data.text("kind"),
            "subject": event.subject,
            "member": None,
            "state": PENDING,
            "by": data.text("by"),
            "body": data.json("body"),
            "in_favour": [data.text("by")],
            "against": [],
            **_weights(data),
            "deadline_ms": data.integer("deadline_ms"),
            "reason": None,
            "from_height": None,
            "proposed_height": event.height,
            "proposed_index": event.index,
        },
    )


def _voted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(PROPOSALS.name, {**with_vote(event, proposal_of(event, rows)), **_weights(Data(event))})


def _closed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield Put(PROPOSALS.name, {**proposal_of(event, rows), "state": CLOSED, "reason": Data(event).text("reason")})


def _accepted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    row, data = proposal_of(event, rows), Data(event)
    proposal, kind, body = data.hexadecimal("proposal"), data.text("kind"), data.json("body")
    assert isinstance(body, dict)
    from_height: Json = event.height + 1
    if kind == UPGRADE:
        from_height = body["height"]
        yield from (Put(CODE.name, entry) for entry in _codes(body, proposal))
    elif kind == SET_PARAMETERS:
        values = body["values"]
        assert isinstance(values, dict)
        for name, value in values.items():
            yield Put(PARAMETERS.name, _parameter(name, value, "vote", event.height + 1, proposal))
    yield Put(PROPOSALS.name, {**row, "state": EXECUTED, "from_height": from_height})


def _codes(body: dict[str, Json], proposal: str) -> Iterable[Row]:
    height, entries = body["height"], body["code"]
    assert isinstance(height, int)
    assert isinstance(entries, list)
    for entry in entries:
        assert isinstance(entry, dict)
        version = entry["version"]
        assert isinstance(version, int)
        yield _code(str(entry["name"]), version, str(entry["digest"]), height, proposal)


def _corrected(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    correction, supersedes = data.hexadecimal("proposal"), data.hexadecimal_or_none("supersedes")
    target = data.json("target")
    assert isinstance(target, dict)
    if supersedes is not None:
        before = rows.row(CORRECTIONS.name, supersedes)
        assert before is not None
        yield Put(CORRECTIONS.name, {**before, "superseded_by": correction})
    old, new = (to_json(cbor.decode(bytes.fromhex(data.hexadecimal(name)))) for name in ("old", "new"))
    yield Put(
        CORRECTIONS.name,
        {
            "correction": correction,
            **{name: target.get(name) for name in ("tx", "namespace", "key")},
            "old": old,
            "new": new,
            "reason": data.text("reason"),
            "number": data.integer("number"),
            "supersedes": supersedes,
            "superseded_by": None,
            "height": event.height,
            "time_ms": event.time_ms,
            "index": event.index,
        },
    )


VIEW: Final = View(
    contract=CONTRACT,
    tables=(PROPOSALS, PARAMETERS, CODE, CORRECTIONS),
    start=_start,
    folds={
        "proposal_made": _made,
        "proposal_voted": _voted,
        "proposal_accepted": _accepted,
        "proposal_closed": _closed,
        "data_corrected": _corrected,
    },
)
