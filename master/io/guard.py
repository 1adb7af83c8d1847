"""The signer guard on disk: two slots in one file, written in turn, each whole before a signature leaves the node.

A slot is (SHA-256 of the rest, number, length, owner, guard). A torn slot is the trace of a crash before the
signature was released; the other slot then holds, and the write-ahead log, which is written first, raises it again.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from kit.exitcodes import StorageError
from kit.files import LOCAL_FILES, Files, storage_error, write_at
from master.consensus.guard import GUARD_BYTES_MAX, SignerGuard, decode_guard
from wire.errors import WireError
from wire.types import DIGEST_BYTES, Digest, sha256

SLOT_BYTES: Final = 4096
_HEAD: Final = struct.Struct(">QI")


def owner_of(chain: str, member: str, vote_key: bytes) -> Digest:
    """Return what ties a guard to one key on one ledger."""
    return sha256(b"\0".join((b"gridwitness/guard/1", chain.encode(), member.encode(), vote_key)))


def create_guard(path: Path, owner: Digest, guard: SignerGuard, files: Files = LOCAL_FILES) -> None:
    """Write a first guard; one that exists is left as it is, for it knows what the key has signed.

    Args:
        path: The guard's own file.
        owner: As of `owner_of`.
        guard: To begin with.
        files: Where it is.

    Raises:
        StorageError: The folder cannot be written.
    """
    if files.exists(path):
        return
    try:
        files.create(path, _slot(1, owner, guard) + bytes(SLOT_BYTES))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


class GuardFile:
    """One file, one writer."""

    def __init__(self, path: Path, owner: Digest, files: Files = LOCAL_FILES, *, also: Sequence[Digest] = ()) -> None:
        """Open the file, or make an unreadable one.

        Args:
            path: The guard's own file; never part of a backup.
            owner: As of `owner_of`.
            files: Where it is.
            also: Owners whose guard is taken, too: other keys of the same node, between which it is rotated.

        Raises:
            StorageError: The file cannot be opened or made.
        """
        self._path, self._owner = path, owner
        self._owners = (owner, *also)
        self.guard: SignerGuard | None = None
        """What was found; None when there is no readable guard of this owner."""
        try:
            if not files.exists(path):
                files.create(path, bytes(2 * SLOT_BYTES))
            self._file = files.open(path)
        except OSError as error:
            raise storage_error(path, error) from error
        self._found = self._tried = 0
        self.read()
        self._place = self._found
        """Of the slot that is known to be on disk; the other one is written next."""

    def __enter__(self) -> Self:
        """Use it in a with statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def own(self, owner: Digest) -> None:
        """Write for another key from now on: the node's key has been rotated."""
        self._owner, self._owners = owner, (owner, *self._owners)

    def read(self) -> None:
        """Take up what stands in the file, which need not be on disk.

        Raises:
            StorageError: It cannot be read.
        """
        try:
            slots = [self._file.read(SLOT_BYTES, place * SLOT_BYTES) for place in (0, 1)]
        except OSError as error:
            raise storage_error(self._path, error) from error
        self.guard, self._found, newest = None, 1, 0
        for place, found in enumerate(_read(slot, self._owners) for slot in slots):
            if found is not None and found[0] > newest:
                self._found, (newest, self.guard) = place, found
        self._tried = max(self._tried, newest)

    def save(self, guard: SignerGuard) -> None:
        """Return when ``guard`` is on disk.

        Raises:
            DiskFullError: There is no room for it; nothing may be signed.
            StorageError: The disk did not take it for another reason.
        """
        self._tried += 1
        place = 1 - self._place
        slot = _slot(self._tried, self._owner, guard)
        write_at(self._file, self._path, slot, place * SLOT_BYTES)
        self._place, self.guard = place, guard

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _slot(number: int, owner: Digest, guard: SignerGuard) -> bytes:
    body = guard.encode()
    rest = (_HEAD.pack(number, len(body)) + owner + body).ljust(SLOT_BYTES - DIGEST_BYTES, b"\0")
    return sha256(rest) + rest


def _read(slot: bytes, owners: Sequence[Digest]) -> tuple[int, SignerGuard] | None:
    rest = slot[DIGEST_BYTES:]
    if len(slot) != SLOT_BYTES or sha256(rest) != slot[:DIGEST_BYTES]:
        return None
    number, length = _HEAD.unpack_from(rest)
    start = _HEAD.size + DIGEST_BYTES
    if rest[_HEAD.size : start] not in owners or length > GUARD_BYTES_MAX:
        return None
    try:
        return number, decode_guard(rest[start : start + length])
    except WireError:
        return None
