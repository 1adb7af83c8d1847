"""The state at height 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from master.contracts import membership
from master.ledger.rows import Leaf
from master.ledger.state import Write
from master.ledger.tree import StateTree, leaf_key
from wire.genesis import Genesis
from wire.types import Digest, sha256


def genesis_writes(genesis: Genesis) -> tuple[Write, ...]:
    """Return the writes of height 0, sorted by namespace and key.

    Raises:
        FormatError: A parameter is unknown or out of range.
    """
    return tuple(sorted(Write(membership.NAMESPACE, key, value) for key, value in membership.genesis_entries(genesis)))


def leaves_of(writes: Iterable[Write]) -> tuple[Leaf, ...]:
    """Return the changed leaves of the state tree, sorted by leaf key."""
    return tuple(
        sorted(
            (leaf_key(write.namespace, write.key), None if write.value is None else sha256(write.value))
            for write in writes
        )
    )


def genesis_root(writes: Sequence[Write]) -> Digest:
    """Return the state root over the writes of height 0."""
    return StateTree.rebuild((key, value) for key, value in leaves_of(writes) if value is not None).root
