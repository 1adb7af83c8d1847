"""The past of a store, as others ask for it and as it is filled in after a snapshot."""

from __future__ import annotations

from typing import Final

from master.consensus.backfill import Due, check_archive
from master.consensus.snapshot_messages import ARCHIVE_BLOCKS_MAX, ARCHIVE_BYTES, Archive
from master.io.store import Store
from wire.certificate import ValidatorSet
from wire.epochs import EPOCHS_MAX
from wire.genesis import Genesis
from wire.snapshot import OldBlock

OUTCOMES_BYTES_MAX: Final = 1 << 30
"""Of one block: what a record of the store may hold."""


def old_blocks(store: Store, height: int, known: int, bytes_max: int = ARCHIVE_BYTES) -> tuple[OldBlock, ...]:
    """Return what is kept of blocks from a height downwards, as much as goes into one answer.

    Args:
        store: Open.
        height: Of the first.
        known: How many outcomes of that block are not wanted.
        bytes_max: The answer ends with the outcome that reaches so many bytes.
    """
    found: list[OldBlock] = []
    for at in range(height, max(height - ARCHIVE_BLOCKS_MAX, store.archive.known_from() - 1, 0), -1):
        header, certificate = store.header(at), store.certificate(at)
        if header is None or certificate is None:
            break
        outcomes = store.outcomes(at)[known:]
        known = 0
        taken: list[bytes] = []
        for outcome in outcomes:
            if bytes_max <= 0:
                break
            taken.append(outcome)
            bytes_max -= len(outcome)
        proofs = store.fault_proofs(at)
        bytes_max -= sum(map(len, proofs))
        found.append(OldBlock(header, certificate, tuple(taken), proofs))
        if bytes_max <= 0:
            break
    return tuple(found)


def due_of(store: Store) -> Due | None:
    """Return the newest old block that a store lacks; None when its past is complete."""
    known_from = store.archive.known_from()
    if known_from == 1:
        return None
    mark = store.archive.mark()
    above = store.header(known_from)
    if mark is not None and known_from > mark.snapshot:
        snapshot = store.header(mark.snapshot)
        assert snapshot is not None  # it came with the snapshot
        return Due(mark.snapshot, snapshot.digest())
    assert above is not None  # known_from says so
    return Due(known_from - 1, above.parent)


def fill(store: Store, genesis: Genesis, due: Due, archive: Archive) -> Due | None:
    """Prove an answer and store what it proves; return what is missing then.

    Raises:
        WireError: It proves nothing; nothing was stored.
        StoreError: No room; nothing was stored.
    """
    sets: dict[int, ValidatorSet] = {0: genesis.validator_set()}
    for end in store.epoch_ends(EPOCHS_MAX):
        sets[end.header.epoch + 1] = end.validators
    blocks, following = check_archive(due, archive, genesis.chain(), sets.get, OUTCOMES_BYTES_MAX)
    if blocks:
        store.archive.fill(blocks)
    return following if following.height else None
