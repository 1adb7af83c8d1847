"""What state sync needs of a node's data folder, and the change from one store to the next."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kit.files import sync_folder
from master.consensus.backfill import Due
from master.consensus.snapshot_messages import Archive
from master.io import store_past
from master.io.snapshots import SnapshotFolder, SnapshotSkippedError
from master.io.store import Store
from master.io.store_join import JoiningStore, whole_height
from wire.genesis import Genesis
from wire.snapshot import Manifest, OldBlock, Part, Place, verify_manifest

SNAPSHOTS_FOLDER: Final = "snapshots"
JOINING_SUFFIX: Final = ".joining"
BEFORE_SUFFIX: Final = ".before-"
REST_SHARE: Final = 3
"""While a snapshot is written, its thread rests three times as long as it works."""


class SyncDisk:
    """Implements `master.statesync.Disk` in a node's data folder.

    Args:
        store: Of the running node.
        store_path: Its folder.
        genesis: Of the ledger.
        map_bytes: Most bytes that a store may ever take.
    """

    def __init__(self, store: Store, store_path: Path, genesis: Genesis, map_bytes: int) -> None:
        self._store = store
        self._genesis = genesis
        self._map_bytes = map_bytes
        self._path = store_path.with_name(store_path.name + JOINING_SUFFIX)
        self._joining: JoiningStore | None = None
        self._snapshots = SnapshotFolder(store_path.with_name(SNAPSHOTS_FOLDER))

    def close(self) -> None:
        """Give the store in the making back."""
        if self._joining is not None:
            self._joining.close()
            self._joining = None

    def joined(self) -> tuple[Manifest, dict[int, Place]] | None:
        """Return the snapshot of which an earlier start has stored parts, if it is still of use."""
        if not self._path.exists():
            return None
        joining = self._open()
        if joining.manifest is not None and joining.manifest.height > self._store.head().height:
            return joining.manifest, dict(joining.places)
        self.close()
        shutil.rmtree(self._path)
        return None

    def begin(self, manifest: Manifest) -> None:
        """Make room for a snapshot."""
        self._open().begin(manifest)

    def keep(self, parts: Sequence[Part]) -> None:
        """Store proven parts."""
        self._open().keep(parts)

    def finish(self) -> None:
        """Make a store of what was fetched; `adopt` puts it in its place."""
        self._open().finish()
        self.close()

    def prove(self, manifest: Manifest) -> None:
        """Check a manifest; raises WireError."""
        verify_manifest(manifest, self._genesis)

    def due(self) -> Due | None:
        """Return the newest old block that is missing."""
        return store_past.due_of(self._store)

    def fill(self, due: Due, archive: Archive) -> Due | None:
        """Check and store old blocks; return what is missing then."""
        return store_past.fill(self._store, self._genesis, due, archive)

    def manifest(self) -> Manifest | None:
        """Return the newest snapshot's manifest."""
        return self._snapshots.manifest()

    def parts(self, height: int, wanted: Sequence[tuple[int, Place]], bytes_max: int) -> tuple[Part, ...]:
        """Return parts of a snapshot."""
        return self._snapshots.parts(height, wanted, bytes_max)

    def old_blocks(self, height: int, known: int) -> tuple[OldBlock, ...]:
        """Return old blocks downwards."""
        return store_past.old_blocks(self._store, height, known)

    def open_moment(self, is_stopped: Callable[[], bool]) -> Callable[[], int]:
        """Hold the state as of now; return what writes its snapshot in a thread, and ends when the node stops."""
        view = self._store.view()

        def write() -> int:
            try:
                return self._snapshots.write(self._store, view, _resting(is_stopped))
            finally:
                view.close()

        return write

    def _open(self) -> JoiningStore:
        if self._joining is None:
            self._joining = JoiningStore(self._path, self._genesis, self._map_bytes)
        return self._joining


def _resting(is_stopped: Callable[[], bool]) -> Callable[[], None]:
    """Return what lets a thread rest in proportion to its work, so that the node beside it is not slowed down."""
    worked_s = time.thread_time()

    def rest() -> None:
        nonlocal worked_s
        if is_stopped():
            raise SnapshotSkippedError("the node stops")
        time.sleep(REST_SHARE * (time.thread_time() - worked_s))
        worked_s = time.thread_time()

    return rest


def adopt(store_path: Path, genesis: Genesis, map_bytes: int, raise_floor: Callable[[int], None]) -> int | None:
    """Put a store that was made of a snapshot in the place of the node's store; return its height, None without one.

    May be cut off anywhere and called again. A store that had blocks is kept aside, since others may have pruned them.

    Args:
        store_path: Folder of the node's store; nobody has it open.
        genesis: Of the ledger.
        map_bytes: Most bytes that a store may ever take.
        raise_floor: Brings the signer guard's floor to a height, on disk.
    """
    joining = store_path.with_name(store_path.name + JOINING_SUFFIX)
    height = whole_height(joining, genesis, map_bytes)
    if height is None:
        return None
    raise_floor(height)
    if store_path.exists():
        with Store.open(store_path, genesis, map_bytes=map_bytes) as store:
            old = store.head().height
        if old >= height:
            shutil.rmtree(joining)
            return None
        if old:
            store_path.rename(store_path.with_name(f"{store_path.name}{BEFORE_SUFFIX}{height}"))
        else:
            shutil.rmtree(store_path)
    joining.rename(store_path)
    sync_folder(store_path.parent)
    return height
