"""Backups of a node's store, and the way back. The signer guard is never in one: it must know what was signed since.

A backup is a folder: data.mdb, a compacted copy of the LMDB file as of one moment, and manifest.json with its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import lmdb

from kit.exitcodes import DataError, StorageError
from kit.files import read_bounded, sync_folder, write_atomic, write_new
from master.io.store import Store
from master.io.store_env import TABLES
from master.io.store_records import StoreError, StoreFullError
from wire.genesis import Genesis

DATA_FILE: Final = "data.mdb"
MANIFEST_FILE: Final = "manifest.json"
FORMAT: Final = 1
_MANIFEST_BYTES_MAX: Final = 64 * 1024
_CHUNK_BYTES: Final = 1 << 20
_LOCKS: Final = ("lock.mdb", "owner.lock")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    format: int
    chain: str
    height: int
    head: str
    """Digest of the newest block, hex."""
    bytes: int
    """Size of data.mdb."""
    sha256: str
    """Of data.mdb, hex."""


def back_up(store_path: Path, genesis: Genesis, out: Path) -> Manifest:
    """Copy a store as of this moment, also while its node runs.

    Args:
        store_path: Folder of the store.
        genesis: Of its ledger.
        out: New folder.

    Raises:
        StoreError: ``out`` is there already, there is no store of this ledger, or it cannot be read.
        StoreFullError: No room for the copy.
    """
    if out.exists():
        raise StoreError(f"{out} is there already; a backup gets a folder of its own")
    if not (store_path / DATA_FILE).exists():
        raise StoreError(f"store {store_path}: there is none")
    out.mkdir(parents=True, mode=0o700)
    copy_store(store_path, out)
    height, head = _head_of(out, genesis)
    digest, size = _digest(out / DATA_FILE)
    manifest = Manifest(FORMAT, genesis.chain(), height, head.hex(), size, digest)
    write_new(out / MANIFEST_FILE, json.dumps(asdict(manifest), indent=1).encode() + b"\n")
    sync_folder(out)
    return manifest


def read_manifest(backup: Path) -> Manifest:
    """Read a backup's manifest.

    Raises:
        DataError: There is none, or it is of another form.
    """
    path = backup / MANIFEST_FILE
    if not path.is_file():
        raise DataError(f"{backup} is no backup: it has no {MANIFEST_FILE}")
    try:
        manifest = Manifest(**json.loads(read_bounded(path, bytes_max=_MANIFEST_BYTES_MAX)))
    except (ValueError, TypeError, RecursionError, StorageError) as error:
        raise DataError(f"{path} is no manifest of a backup: {error}") from error
    if manifest.format != FORMAT:
        raise DataError(f"{path}: format {manifest.format} is not {FORMAT}, which this software reads")
    return manifest


def restore(backup: Path, genesis: Genesis, store_path: Path, marker: Path) -> Manifest:
    """Put a backup in place of a store that is gone, and mark the node as restored before anything else.

    Args:
        backup: Folder that `back_up` made.
        genesis: Of the ledger, from this node's own disk.
        store_path: Folder of the store; nothing may be there.
        marker: File that sends the signer guard into quarantine when the node starts: votes that this node cast after
            the backup are not in it.

    Raises:
        DataError: The backup is damaged or of another ledger.
        StoreError: There is a store already.
    """
    manifest = read_manifest(backup)
    if manifest.chain != genesis.chain():
        raise DataError(f"{backup} is of {manifest.chain}, not of {genesis.chain()}")
    if store_path.exists():
        raise StoreError(f"store {store_path}: it exists; move it away first")
    if _digest(backup / DATA_FILE) != (manifest.sha256, manifest.bytes):
        raise DataError(f"{backup / DATA_FILE} is not the file that its manifest names")
    write_atomic(marker, json.dumps({"height": manifest.height, "head": manifest.head}).encode() + b"\n", mode=0o600)
    placed = store_path.with_name(f"{store_path.name}.restoring")
    placed.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy_store(backup, placed)
    height, head = _head_of(placed, genesis)
    if (height, head.hex()) != (manifest.height, manifest.head):
        raise DataError(f"{backup}: its newest block is not the one that its manifest names")
    placed.rename(store_path)
    sync_folder(store_path.parent)
    return manifest


def compact(store_path: Path) -> tuple[int, int]:
    """Give the room of removed records back to the disk; return the size in bytes before and after.

    Raises:
        StoreFullError: No room for the copy; nothing was changed.
    """
    temporary = store_path / "compacting"
    temporary.mkdir(exist_ok=True)
    before = (store_path / DATA_FILE).stat().st_size
    try:
        copy_store(store_path, temporary)
        (temporary / DATA_FILE).replace(store_path / DATA_FILE)
        sync_folder(store_path)
    finally:
        for path in temporary.iterdir():
            path.unlink()
        temporary.rmdir()
    return before, (store_path / DATA_FILE).stat().st_size


def copy_store(source: Path, target: Path) -> None:
    """Write a compacted copy of ``source``'s LMDB file into ``target``, replacing one that is there.

    Raises:
        StoreFullError: No room.
        StoreError: The source cannot be read.
    """
    (target / DATA_FILE).unlink(missing_ok=True)
    try:
        # one more reader: the node that owns the store may go on writing; a backup has no lock file
        has_lock = (source / "lock.mdb").exists()
        with lmdb.open(str(source), readonly=True, max_dbs=len(TABLES), lock=has_lock) as env:
            env.copy(str(target), compact=True)
    except lmdb.DiskError as error:
        raise StoreFullError(f"no room for a copy of {source} in {target}: {error}") from error
    except lmdb.Error as error:
        raise StoreError(f"store {source} cannot be copied: {error}") from error
    with (target / DATA_FILE).open("rb+") as file:
        os.fsync(file.fileno())
    sync_folder(target)


def _head_of(folder: Path, genesis: Genesis) -> tuple[int, bytes]:
    """Return the head of a copied store after its state was found whole; leave no lock files."""
    size = (folder / DATA_FILE).stat().st_size
    try:
        with Store.open(folder, genesis, map_bytes=max(2 * size, 1 << 24)) as store:
            head = store.head()
            store.state_tree()
            return head.height, head.digest
    finally:
        for name in _LOCKS:
            (folder / name).unlink(missing_ok=True)


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        raise DataError(f"there is no {path}") from None
    return digest.hexdigest(), size
