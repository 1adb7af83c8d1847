"""What came of a block's transactions, and the execution that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from master.ledger.rows import Execution, Head, Leaf, head_after
from master.ledger.state import Write
from master.ledger.tree import TreeUpdate
from wire.block import Block
from wire.merkle import leaf_digest
from wire.types import Digest

FAULT_RESULT: Final = bytes(32)
"""Stands for the outcome of a transaction whose contract failed."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What one transaction came to."""

    tx: Digest
    outcome: bytes
    """Canonical."""
    events: int


def execution_of(
    head: Head, block: Block, done: Sequence[Ran], effect: tuple[tuple[Write, ...], tuple[Leaf, ...], TreeUpdate]
) -> Execution:
    """Return the execution of a block on ``head``."""
    return Execution(
        block,
        tuple(ran.outcome for ran in done),
        tuple(ran.tx for ran in done),
        sum(ran.events for ran in done) + len(block.fault_proofs),
        *effect,
        head_after(head, block),
    )


def results_of(done: Sequence[Ran]) -> tuple[Digest, ...]:
    """Return the leaf digests of outcomes."""
    return tuple(leaf_digest(ran.outcome) for ran in done)
