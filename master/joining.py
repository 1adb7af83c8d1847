"""Joins the parts of state sync to a node's process: before it runs, while it runs, and what it tells of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kit.clock import Clock
from kit.logs import get_logger
from master.api.ports import PastStatus
from master.config import NodeConfig
from master.io.guard import GuardFile
from master.io.store import Store
from master.io.sync_disk import SyncDisk, adopt
from master.statesync import Around, StateSync
from wire.genesis import Genesis

_log = get_logger("app")


def adopt_snapshot(store_path: Path, genesis: Genesis, map_bytes: int, guard_file: GuardFile) -> None:
    """Put a store that was fetched as a snapshot in place, after the signer guard knows of its height.

    Raises:
        StorageError: The data directory cannot be read or written.
    """

    def raise_floor(height: int) -> None:
        # a guard that cannot be read stays so: the node will be in quarantine
        if guard_file.guard is not None:
            guard_file.save(replace(guard_file.guard, floor=max(height, guard_file.guard.floor)))

    height = adopt(store_path, genesis, map_bytes, raise_floor)
    if height is not None:
        _log.warning("this node goes on from a snapshot", height=height)


def build_state_sync(
    config: NodeConfig, disk: SyncDisk, around: Around, clock: Clock, snapshot_blocks: Callable[[], int]
) -> StateSync:
    """Return the state sync of a node."""
    return StateSync(
        disk,
        around,
        clock,
        snapshot_blocks=snapshot_blocks,
        lag_blocks=config.node.snapshot_lag_blocks,
    )


def past_of(store: Store, state_sync: StateSync) -> Callable[[], PastStatus]:
    """Return what tells how much of the ledger a node has."""
    return lambda: PastStatus(
        known_from=store.archive.known_from(),
        blocks_from=store.archive.first_whole(),
        snapshot=state_sync.fetch.phase.value,
        subtrees_missing=state_sync.fetch.missing,
    )
