"""Looks at a disk again that was full: does it take writes, and what is on it? (docs/spec EL-7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kit.files import prove_room
from master.io.guard import GuardFile
from master.io.store import Store
from master.io.wal import WriteAheadLog
from wire.block import BLOCK_BYTES_MAX

ROOM_BYTES: Final = 2 * BLOCK_BYTES_MAX
"""Room for the largest block in the write-ahead log and in the store; with less a node would stop at once again."""


def recheck(data_dir: Path, store: Store, wal: WriteAheadLog, guard: GuardFile) -> Sequence[bytes]:
    """Prove that everything can be written, take up what is there, and return the log's records.

    Raises:
        DiskFullError: There is no room yet.
        StorageError: What is on disk is damaged, or not what this process believes to be there.
    """
    prove_room(data_dir, ROOM_BYTES)
    store.recheck()
    records = wal.read()
    guard.read()
    if guard.guard is not None:
        guard.save(guard.guard)
    return records
