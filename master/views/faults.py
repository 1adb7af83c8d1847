"""Validators that were proven to have broken the protocol, as the ledger's fault proofs tell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.ledger.faults import FAULT_PROVEN, NAMESPACE
from master.ledger.rows import EventRow
from master.views.events import Data
from master.views.schema import Column, Kind, Put, Rows, Table, View
from wire.faultproof import KINDS

if TYPE_CHECKING:
    from wire.genesis import Genesis

FAULTS: Final = Table(
    name="faults",
    about="Proof that a validator signed two statements that exclude each other.",
    key="digest",
    order=("recorded_height", "recorded_index"),
    newest_first=True,
    columns=(
        Column("digest", "SHA-256 of the proof's canonical bytes."),
        Column("member", "Validator that broke the protocol.", filtered="member"),
        Column(
            "kind",
            "What it signed twice; amnesia: a view change that hides what it committed to.",
            filtered="kind",
            choices=KINDS,
        ),
        Column("epoch", "Number of the validator set.", Kind.INTEGER),
        Column("height", "Height that was being decided.", Kind.INTEGER),
        Column("view", "View of the first statement.", Kind.INTEGER),
        Column("recorded_height", "Block that holds the proof.", Kind.INTEGER),
        Column("recorded_index", "Event of that block.", Kind.INTEGER, public=False),
        Column("recorded_ms", "Block time, ms since 1970 UTC.", Kind.INTEGER),
        Column("proof", "Canonical bytes of the proof, lower-case hex."),
    ),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    del genesis
    return ()


def _proven(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    yield Put(
        FAULTS.name,
        {
            "digest": event.tx.hex(),
            "member": data.text("member"),
            "kind": data.text("kind"),
            "epoch": data.integer("epoch"),
            "height": data.integer("height"),
            "view": data.integer("view"),
            "recorded_height": event.height,
            "recorded_index": event.index,
            "recorded_ms": event.time_ms,
            "proof": data.hexadecimal("proof"),
        },
    )


VIEW: Final = View(contract=NAMESPACE, tables=(FAULTS,), start=_start, folds={FAULT_PROVEN: _proven})
