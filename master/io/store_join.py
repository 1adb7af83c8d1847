"""A store in the making: parts of a snapshot come in, proven, in any order of subtrees; a crash loses none that is in.

It lies in a folder of its own beside the node's store and takes its place when it is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kit.files import sync_folder
from master.io.store_env import Reading, Writing, environment, height_key, node_key, own
from master.io.store_records import (
    FORMAT,
    ArchiveMark,
    StoreCorruptError,
    decode_head,
    encode_head,
    encode_mark,
    unseal,
)
from master.ledger.rows import Head
from master.ledger.state import Write
from master.ledger.tree import StateTree
from wire import cbor
from wire.errors import WireError
from wire.fields import Fields
from wire.genesis import Genesis
from wire.merkle import leaf_digest
from wire.snapshot import SUBTREE_BUCKETS, Manifest, Part, Place, decode_manifest
from wire.types import sha256

_JOINING: Final = b"joining"
_PLACE: Final = b"place"
_PLACE_FIELDS: Final = ("bucket", "entries")


class JoiningStore:
    """Implements what the fetching of a state needs of a disk; one owner, one thread at a time.

    Args:
        path: Folder; made when missing. What is there of another ledger, or cannot be read, is removed.
        genesis: Of the ledger.
        map_bytes: Most bytes that the store may ever take.

    Raises:
        StoreError: Another process owns it, or there is no room.
    """

    def __init__(self, path: Path, genesis: Genesis, map_bytes: int) -> None:
        self._path = path
        self._genesis = genesis
        self._map_bytes = map_bytes
        self._owner = -1
        self._open()
        self.manifest: Manifest | None = None
        """Of the snapshot whose parts are here."""
        self.places: dict[int, Place] = {}
        """How far each subtree is stored."""
        self.finished: int | None = None
        """Height of the store that `finish` has made of it."""
        try:
            self._resume()
        except (StoreCorruptError, WireError):
            self._wipe()

    def close(self) -> None:
        """Give the folder back; a second call does nothing."""
        if self._owner >= 0:
            self._env.close()
            os.close(self._owner)
            self._owner = -1

    def begin(self, manifest: Manifest) -> None:
        """Make room for a snapshot; what was there of another goes.

        Raises:
            StoreError: There is no room.
        """
        self._wipe()
        with self._writing() as put:
            put.put("meta", b"format", cbor.encode(FORMAT))
            put.put("meta", b"genesis", self._genesis.digest())
            put.put("meta", _JOINING, manifest.encode())
        sync_folder(self._path)
        self.manifest, self.places = manifest, {}

    def keep(self, parts: Iterable[Part]) -> None:
        """Store parts that are proven; return once they are on disk, all or none.

        Raises:
            StoreError: There is no room.
        """
        places: dict[int, Place] = {}
        with self._writing() as put:
            for part in parts:
                writes = [Write(entry.namespace, entry.key, entry.value) for entry in part.entries]
                put.state(writes, [(entry.leaf, sha256(entry.value)) for entry in part.entries])
                places[part.subtree] = part.end
                value: dict[str, cbor.Value] = {"bucket": part.end.bucket, "entries": part.end.entries}
                put.put("meta", _PLACE + part.subtree.to_bytes(2, "big"), cbor.encode(value))
        self.places.update(places)

    def finish(self) -> Head:
        """Make it a store whose newest block is the snapshot's; return that head.

        Raises:
            StoreCorruptError: What is stored does not lead to the state root.
            StoreError: There is no room.
        """
        manifest = self.manifest
        assert manifest is not None  # begun, and its parts are in
        header, certificate, height = manifest.final.header, manifest.final.certificate, manifest.height
        if StateTree.rebuild(self._walk("leaves")).root != header.state_root:
            raise StoreCorruptError(f"store {self._path}: what was fetched is not the state of height {height}")
        history = manifest.history
        history.append(leaf_digest(header.digest()))
        head = Head(height, header.digest(), header.time_ms, header.state_root, history)
        with self._writing() as put:
            put.put("headers", height_key(height), header.encode())
            put.put("certificates", height_key(height), certificate.encode())
            for end in manifest.final.epochs:
                put.put("epochs", height_key(end.header.epoch), cbor.encode(end.to_value()))
            levels = [level for level in reversed(range(height.bit_length())) if height >> level & 1]
            for level, node in zip(levels, manifest.edge, strict=True):
                put.put("history", node_key(level, (height >> level) - 1), node)
            put.history(manifest.history, header.digest())
            put.put("meta", b"archive", encode_mark(ArchiveMark(height, height + 1)))
            put.put("meta", b"head", encode_head(head))
            put.delete("meta", _JOINING)
            for subtree in self.places:
                put.delete("meta", _PLACE + subtree.to_bytes(2, "big"))
        self.finished = height
        return head

    def _open(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._owner = own(self._path)
        try:
            self._env, self._tables = environment(self._path, self._map_bytes)
        except BaseException:
            os.close(self._owner)
            self._owner = -1
            raise

    def _wipe(self) -> None:
        self.close()
        shutil.rmtree(self._path)
        self._open()
        self.manifest, self.places, self.finished = None, {}, None

    def _resume(self) -> None:
        found = dict(self._walk("meta"))
        if found.get(b"genesis") != self._genesis.digest():
            return
        if b"head" in found:
            self.finished = decode_head(found[b"head"]).height
        if _JOINING not in found:
            return
        self.manifest = decode_manifest(found[_JOINING])
        for key, raw in found.items():
            if key.startswith(_PLACE):
                self.places[int.from_bytes(key[len(_PLACE) :], "big")] = _decode_place(raw)

    def _walk(self, table: str) -> Iterable[tuple[bytes, bytes]]:
        with Reading(self._env, self._tables[table]) as txn, txn.cursor() as cursor:
            for key, record in cursor:
                yield key, unseal(table, key, record)

    def _writing(self) -> Writing:
        return Writing(self._env, self._tables)


def _decode_place(raw: bytes) -> Place:
    fields = Fields(cbor.decode(raw), _PLACE_FIELDS, "place")
    return Place(fields.integer("bucket", 0, SUBTREE_BUCKETS), fields.integer("entries"))


def whole_height(path: Path, genesis: Genesis, map_bytes: int) -> int | None:
    """Return the height of the store that `JoiningStore.finish` has made in a folder, None when it has not."""
    if not (path / "data.mdb").exists():
        return None
    joining = JoiningStore(path, genesis, map_bytes)
    try:
        return joining.finished
    finally:
        joining.close()
