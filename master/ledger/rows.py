"""Plain rows and values that cross the seam between the ledger and everything around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from master.ledger.state import Write
from master.ledger.tree import TreeUpdate
from wire.block import Block
from wire.cbor import Value
from wire.genesis import Genesis
from wire.merkle import Frontier, leaf_digest
from wire.receipt import decode_outcome
from wire.types import Digest


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block of a ledger."""

    height: int
    """0 for the genesis state."""
    digest: Digest
    """Of the header; at height 0, of the genesis file."""
    time_ms: int
    """Block time, milliseconds since 1970 UTC."""
    state_root: Digest
    history: Frontier
    """Over the digests of blocks 0..height; treat it as frozen."""


def genesis_head(genesis: Genesis, state_root: Digest) -> Head:
    """Return the head at height 0."""
    history = Frontier()
    history.append(leaf_digest(genesis.digest()))
    return Head(0, genesis.digest(), genesis.time_ms, state_root, history)


def head_after(head: Head, block: Block) -> Head:
    """Return the head once ``block`` stands on ``head``."""
    digest = block.header.digest()
    history = head.history.copy()
    history.append(leaf_digest(digest))
    return Head(block.header.height, digest, block.header.time_ms, block.header.state_root, history)


Leaf = tuple[Digest, Digest | None]
"""Leaf key and value digest; None removes the leaf."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What a block makes of the state it was executed on."""

    block: Block
    outcomes: tuple[bytes, ...]
    """Canonical `wire.receipt.Outcome` of every transaction, in their order."""
    ids: tuple[Digest, ...]
    """Of the transactions, in their order."""
    events: int
    """How many all outcomes hold together."""
    writes: tuple[Write, ...]
    """Sorted by namespace and key."""
    leaves: tuple[Leaf, ...]
    """Sorted by leaf key."""
    tree_update: TreeUpdate
    head: Head
    """The head after the block."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event with its place in the ledger; ``height-index`` is its id."""

    height: int
    index: int
    """Place among all events of the block, from 0."""
    time_ms: int
    """Block time, milliseconds since 1970 UTC."""
    tx: Digest
    """Id of the transaction that caused it."""
    contract: str
    type: str
    subject: str
    data: dict[str, Value]


FIRST_EVENT: Final = (0, -1)
"""Stands before all events."""


def event_rows(height: int, time_ms: int, outcomes: Sequence[bytes]) -> Iterator[EventRow]:
    """Yield the events of a block in their order.

    Args:
        height: Of the block.
        time_ms: Block time.
        outcomes: Canonical outcomes of the block's transactions.
    """
    index = 0
    for raw in outcomes:
        outcome = decode_outcome(raw)
        for event in outcome.events:
            yield EventRow(height, index, time_ms, outcome.tx, event.contract, event.type, event.subject, event.data)
            index += 1
