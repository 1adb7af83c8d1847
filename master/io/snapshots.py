"""Snapshots of the state in files of a node's data folder: written beside the running node, served in parts.

A snapshot is a folder named after its height with three files. ``manifest`` is SN-1. ``entries`` holds all entries of
the state sorted by leaf key, each as (leaf key, value digest, lengths, namespace, key, value). ``index`` holds where in
it each subtree begins, and its end: 1,025 numbers of eight bytes. A folder gets its name last: what a crash leaves
behind is removed by the next start or snapshot.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from kit.exitcodes import StorageError
from kit.files import read_bounded, sync_folder
from master.io.store import Store
from master.io.store_records import StoreCorruptError
from master.io.store_view import StoreView
from master.ledger.history import frontier_at
from master.ledger.snapshot import Subtree
from wire.errors import WireError
from wire.finality import FinalHeader
from wire.snapshot import (
    MANIFEST_BYTES_MAX,
    SUBTREES,
    Entry,
    Manifest,
    Part,
    Place,
    decode_manifest,
    subtrees_root,
)
from wire.statetree import bucket_of, leaf_key
from wire.types import DIGEST_BYTES, Digest, sha256

KEPT: Final = 2
"""Newest snapshots that stay."""
RESERVE_BYTES: Final = 256 * 1024 * 1024
"""Room on the disk that a snapshot leaves to the node."""
REST_EVERY: Final = 512
"""Entries between two rests."""
_SYNC_BYTES: Final = 16 * 1024 * 1024
"""Brought to disk at once at most, so that the node's own writes do not wait behind it for long."""
_MANIFEST, _ENTRIES, _INDEX, _PART = "manifest", "entries", "index", ".part"
_PARTITION_BITS: Final = 6
_PARTITIONS: Final = 1 << _PARTITION_BITS
_PARTITION_SUBTREES: Final = SUBTREES // _PARTITIONS
_SUBTREE_SHIFT: Final = 10
_RECORD: Final = struct.Struct(f">{DIGEST_BYTES}s{DIGEST_BYTES}sBHI")
_PLACE: Final = struct.Struct(">Q")


class SnapshotSkippedError(StorageError):
    """A snapshot was not made, and the node goes on without it; the message says why."""


class SnapshotFolder:
    """The snapshots of one node.

    Args:
        path: Folder; made when missing. What a crash left unfinished is removed.
        reserve_bytes: Room on the disk below which nothing is written.
    """

    def __init__(self, path: Path, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._path = path
        self._reserve_bytes = reserve_bytes
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clear()

    def heights(self) -> list[int]:
        """Return the heights of all snapshots, newest first."""
        return sorted((int(entry.name) for entry in self._path.iterdir() if entry.name.isdigit()), reverse=True)

    def manifest(self) -> Manifest | None:
        """Return the newest manifest that can be read."""
        for height in self.heights():
            try:
                return decode_manifest(read_bounded(self._path / str(height) / _MANIFEST, bytes_max=MANIFEST_BYTES_MAX))
            except (OSError, WireError):
                continue
        return None

    def parts(self, height: int, wanted: Sequence[tuple[int, Place]], bytes_max: int) -> tuple[Part, ...]:
        """Return one part each of the first subtrees that are wanted, none when there is no such snapshot.

        Args:
            height: Of the snapshot.
            wanted: Subtrees and from where on each is wanted.
            bytes_max: The answer ends with the part that reaches about so many bytes of entries, or is not whole.

        Raises:
            OSError: The disk fails.
        """
        folder = self._path / str(height)
        found: list[Part] = []
        try:
            with (folder / _ENTRIES).open("rb") as entries, (folder / _INDEX).open("rb") as index:
                for number, place in wanted:
                    part, size = _cut(entries, index, number, place, bytes_max)
                    found.append(part)
                    bytes_max -= size
                    if bytes_max <= 0 or not part.end.is_end:
                        break
        except FileNotFoundError:
            return ()
        return tuple(found)

    def write(self, store: Store, view: StoreView, rest: Callable[[], None]) -> int:
        """Write the snapshot of a view; blocking, for a thread of its own. Returns its bytes.

        Args:
            store: From which the block's header and certificate come.
            view: The state after that block.
            rest: Called after every 512 entries; may sleep, so that the node is not slowed down.

        Raises:
            SnapshotSkippedError: No room on the disk, or the block ends an epoch.
            StoreCorruptError: The state is not the one that the header names.
        """
        height = view.head.height
        target = self._path / str(height)
        final = store.final_header(height)
        if final is None or final.header.next_validators_hash != final.header.validators_hash:
            raise SnapshotSkippedError(f"block {height} ends an epoch")
        if target.exists():
            raise SnapshotSkippedError(f"there is one of height {height} already")
        self._demand(2 * view.state_bytes)
        part = self._path / _PART
        self._clear()
        try:
            part.mkdir(mode=0o700)
            self._fill(part, view, final, rest, edge=frontier_at(height, store.history_node).edge)
            size = sum(entry.stat().st_size for entry in part.iterdir())
            sync_folder(part)
            part.rename(target)
            sync_folder(self._path)
        except OSError as error:
            raise SnapshotSkippedError(f"the disk refused it: {error.strerror}") from error
        finally:
            self._clear()
        for old in self.heights()[KEPT:]:
            shutil.rmtree(self._path / str(old), ignore_errors=True)
        return size

    def _fill(
        self, part: Path, view: StoreView, final: FinalHeader, rest: Callable[[], None], *, edge: tuple[Digest, ...]
    ) -> None:
        self._partition(part, view, rest)
        roots: list[Digest] = []
        starts, synced = [0], 0
        with (part / _ENTRIES).open("wb") as out:
            for number in range(_PARTITIONS):
                self._demand(0)
                source = part / f"{_PART}{number}"
                roots += _sort(source.read_bytes(), number, out, starts, rest)
                source.unlink()
                if out.tell() - synced >= _SYNC_BYTES:
                    _sync(out)
                    synced = out.tell()
            _sync(out)
        if subtrees_root(roots) != final.header.state_root:
            raise StoreCorruptError(f"snapshot: the state is not that of height {final.header.height}; run fsck")
        with (part / _INDEX).open("wb") as out:
            out.write(b"".join(map(_PLACE.pack, starts)))
            _sync(out)
        with (part / _MANIFEST).open("wb") as out:
            out.write(Manifest(final, edge, tuple(roots)).encode())
            _sync(out)

    def _partition(self, part: Path, view: StoreView, rest: Callable[[], None]) -> None:
        """Spread the entries over files by the first bits of their leaf keys, so that each is sorted in memory."""
        with ExitStack() as stack:
            files = [stack.enter_context((part / f"{_PART}{number}").open("wb")) for number in range(_PARTITIONS)]
            for count, (state_key, value) in enumerate(view.entries()):
                if count % REST_EVERY == REST_EVERY - 1:
                    self._demand(0)
                    rest()
                end = 1 + state_key[0]
                namespace, key = state_key[1:end], state_key[end:]
                leaf = leaf_key(namespace.decode("ascii"), key)
                head = _RECORD.pack(leaf, sha256(value), len(namespace), len(key), len(value))
                files[leaf[0] >> (8 - _PARTITION_BITS)].write(b"".join((head, namespace, key, value)))

    def _demand(self, size: int) -> None:
        """Refuse to go on without room for ``size`` bytes beside the node's reserve."""
        found = os.statvfs(self._path)
        free = found.f_bavail * found.f_frsize
        if free < size + self._reserve_bytes:
            raise SnapshotSkippedError(f"{free} bytes are free, {size + self._reserve_bytes} are needed")

    def _clear(self) -> None:
        shutil.rmtree(self._path / _PART, ignore_errors=True)


def _sort(data: bytes, partition: int, out: BinaryIO, starts: list[int], rest: Callable[[], None]) -> list[Digest]:
    """Write the records of one partition in the order of their leaf keys; return the roots of its subtrees."""
    pairs: list[list[tuple[Digest, Digest]]] = [[] for _ in range(_PARTITION_SUBTREES)]
    sizes = [0] * _PARTITION_SUBTREES
    first = partition * _PARTITION_SUBTREES
    for count, (leaf, digest, start, end) in enumerate(sorted(_records(data))):
        if count % REST_EVERY == REST_EVERY - 1:
            rest()
        subtree = (bucket_of(leaf) >> _SUBTREE_SHIFT) - first
        pairs[subtree].append((leaf, digest))
        sizes[subtree] += end - start
        out.write(data[start:end])
    for size in sizes:
        starts.append(starts[-1] + size)
    return [Subtree(first + number, found).root for number, found in enumerate(pairs)]


def _records(data: bytes) -> Iterator[tuple[Digest, Digest, int, int]]:
    """Yield leaf key, value digest, start and end of every record."""
    at = 0
    while at < len(data):
        leaf, digest, namespace, key, value = _RECORD.unpack_from(data, at)
        end = at + _RECORD.size + namespace + key + value
        yield leaf, digest, at, end
        at = end


def _cut(entries: BinaryIO, index: BinaryIO, number: int, place: Place, bytes_max: int) -> tuple[Part, int]:
    """Return the next part of one subtree and the bytes of what it holds."""
    index.seek(number * _PLACE.size)
    start, end = (_PLACE.unpack(index.read(_PLACE.size))[0] for _ in range(2))
    entries.seek(start)
    data = entries.read(end - start)
    records = list(_records(data))
    subtree = Subtree(number, [(leaf, digest) for leaf, digest, _, _ in records])

    def entry(place: int) -> Entry:
        _, _, start, _ = records[place]
        _, _, namespace, key, value = _RECORD.unpack_from(data, start)
        start += _RECORD.size
        named, keyed = start + namespace, start + namespace + key
        return Entry(data[start:named].decode("ascii"), data[named:keyed], data[keyed : keyed + value])

    part = subtree.part(place, entry, bytes_max)
    return part, sum(len(entry.key) + len(entry.value) for entry in part.entries) + len(part.before) + len(part.after)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
