"""A fake disk under the real write-ahead log and the real signer guard: it tears, forgets, rots, misses, fills up."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from master.consensus.guard import SignerGuard
from master.consensus.records import Record, decode_record
from master.io.guard import SLOT_BYTES, GuardFile, create_guard, owner_of
from master.io.wal import WriteAheadLog
from master.seat import VoteKeys
from tests.simulation.real import AnyLedger
from tests.simulation.toy import CHAIN

WAL: Final = Path("consensus.wal")
GUARD: Final = Path("signer.guard")
SECTOR_BYTES: Final = 512
NEW: Final = SignerGuard(is_new=True)
"""With which a store begins."""


class PowerError(Exception):
    """The power fails while something is being written."""


@dataclass
class FakeFile:
    """What is durable, and what was written or cut since."""

    disk: FakeDisk
    durable: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    waiting: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(place, bytes written there, or None for a cut)"""

    def read(self, size: int, at: int) -> bytes:
        """Return bytes; a rotten disk flips one bit of them."""
        data = bytes(self.seen[at : at + size])
        if self.disk.rots and data and self.disk.rng.random() < 0.5:
            self.disk.rots -= 1
            place = self.disk.rng.randrange(len(data))
            data = data[:place] + bytes((data[place] ^ (1 << self.disk.rng.randrange(8)),)) + data[place + 1 :]
        return data

    def write(self, data: bytes, at: int) -> int:
        """Take bytes; a disk that misses puts them elsewhere.

        Raises:
            OSError: It is full.
        """
        if self.disk.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.disk.misses:
            self.disk.misses -= 1
            at = self.disk.rng.randrange(len(self.seen) // SECTOR_BYTES + 1) * SECTOR_BYTES
        self._do(self.seen, at, data)
        self.waiting.append((at, data))
        return len(data)

    def sync(self) -> None:
        """Make everything durable, or say so and do not.

        Raises:
            PowerError: The power fails now.
        """
        if self.disk.fails_power:
            raise PowerError
        if self.disk.lies:
            self.disk.lied += 1
            return
        for at, data in self.waiting:
            self._do(self.durable, at, data)
        self.waiting.clear()

    def cut(self, size: int) -> None:
        """Drop what is behind ``size`` bytes."""
        self._do(self.seen, size, None)
        self.waiting.append((size, None))

    def close(self) -> None:
        """Do nothing: what was not synchronised is not lost before the power fails."""

    def crash(self) -> bool:
        """Lose what was not synchronised, but for some of it; return whether a write was torn."""
        rng, kept = self.disk.rng, 0
        is_torn = False
        if self.waiting:
            kept = rng.randint(0, len(self.waiting))
        for at, data in self.waiting[:kept]:
            self._do(self.durable, at, data)
        if kept < len(self.waiting):
            at, data = self.waiting[kept]
            if data is not None and rng.random() < 0.8:
                is_torn = True
                for start in range(0, len(data), SECTOR_BYTES):
                    if rng.random() < 0.5:
                        self._do(self.durable, at + start, data[start : start + rng.choice((7, SECTOR_BYTES))])
        self.waiting.clear()
        self.seen[:] = self.durable
        return is_torn

    @staticmethod
    def _do(content: bytearray, at: int, data: bytes | None) -> None:
        if data is None:
            del content[at:]
            return
        if len(content) < at:
            content.extend(bytes(at - len(content)))
        content[at : at + len(data)] = data


@dataclass
class FakeDisk:
    """All files of one node; implements `kit.files.Files`."""

    rng: Random
    files: dict[Path, FakeFile] = field(default_factory=dict)
    fails_power: bool = False
    is_full: bool = False
    lies: bool = False
    """Says that bytes are durable when they are not."""
    lied: int = 0
    rots: int = 0
    """So many reads give a wrong bit."""
    misses: int = 0
    """So many writes go to a wrong place."""

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file."""
        return path in self.files

    def create(self, path: Path, data: bytes) -> None:
        """Make a file, durable at once."""
        self.files[path] = FakeFile(self, bytearray(data), bytearray(data))

    def open(self, path: Path) -> FakeFile:
        """Open a file."""
        return self.files[path]

    def fill(self, *, is_full: bool) -> None:
        """Be full from now on, or have room again."""
        self.is_full = is_full

    def crash(self) -> bool:
        """Fail the power; return whether a write was torn."""
        self.fails_power = False
        torn = [file.crash() for file in self.files.values()]
        return any(torn)


class Disk:
    """What is left of a node after a crash: its ledger, its log and its guard."""

    def __init__(self, ledger: AnyLedger, member: str, rng: Random) -> None:
        self.ledger = ledger
        self.raw = FakeDisk(rng)
        self.blobs: dict[bytes, bytes] = {}
        """Durable, by digest."""
        self.keys: VoteKeys | None = None
        """Of a node whose vote key may change."""
        self._owners: tuple[bytes, ...] = (owner_of(CHAIN, member, member.encode()),)
        self._begin_guard()
        self.wal: WriteAheadLog
        self._guard: GuardFile

    @property
    def guard(self) -> SignerGuard | None:
        """The guard that was read or written last; None when there was none."""
        return self._guard.guard

    def boot(self) -> list[Record]:
        """Open log and guard as a starting node does, and return what the log holds.

        Raises:
            StorageError: The log is damaged.
            WireError: A record is.
        """
        self.ledger.reopen()
        if self.keys is not None:
            self.keys.choose(self.ledger.validators)
            self._owners = self.keys.owners(CHAIN)
        self._guard = GuardFile(GUARD, self._owners[0], self.raw, also=self._owners[1:])
        self.wal = WriteAheadLog(WAL, self.raw)
        return [decode_record(raw) for raw in self.wal.read()]

    def hold(self, keys: VoteKeys) -> None:
        """Belong to a member with these keys from the beginning."""
        owners = keys.owners(CHAIN)
        if not set(owners) & set(self._owners):
            self.lose_guard()
            self._owners = owners
            self._begin_guard()
        self.keys = keys

    def turn(self) -> None:
        """Sign with the key that the ledger names now, and seal the guard for it, as a node's process does."""
        if self.keys is not None and self.keys.choose(self.ledger.validators):
            self._guard.own(self.keys.owners(CHAIN)[0])

    def _begin_guard(self, guard: SignerGuard = NEW) -> None:
        create_guard(GUARD, self._owners[0], guard, self.raw)

    def append(self, records: tuple[bytes, ...]) -> None:
        """Write to the log."""
        self.wal.append(records)

    def seal(self, guard: SignerGuard) -> None:
        """Write the guard."""
        self._guard.save(guard)

    def fail(self, records: tuple[bytes, ...], guard: SignerGuard | None) -> bool:
        """Fail the power while this is being written; return whether a write was torn."""
        self.raw.fails_power = True
        try:
            if records:
                self.append(records)
            elif guard is not None:
                self.seal(guard)
        except PowerError:
            pass
        return self.raw.crash()

    # ---- what an operator, a thief or time does to it -----------------------------------------

    def copy(self) -> Disk:
        """Return all that is durable, once more."""
        other = Disk(self.ledger.copy(self.ledger.head.height), "", self.raw.rng)
        other._owners = self._owners
        other.raw.files = {
            path: FakeFile(other.raw, bytearray(file.durable), bytearray(file.durable))
            for path, file in self.raw.files.items()
        }
        return other

    def lose_log_end(self) -> None:
        """Forget the log from some place on."""
        self._shorten(self.raw.rng.choice((0, self.raw.rng.randint(0, self._size()))))

    def lose_log(self) -> None:
        """Forget the whole log."""
        self._shorten(0)

    def lose_guard(self) -> None:
        """Delete the guard's file."""
        self.raw.files.pop(GUARD, None)

    def restore(self, height: int) -> None:
        """Put a backup of an older height in place; its guard says that it is one."""
        self.ledger = self.ledger.copy(height)
        self.lose_log()
        self.lose_guard()
        self._begin_guard(SignerGuard(is_restored=True))

    def reformat(self) -> None:
        """Lose everything, and make a store and a guard as for a new ledger."""
        self.ledger = self.ledger.copy(0)
        self.lose_log()
        self.lose_guard()
        self._begin_guard()

    def rot_guard(self) -> None:
        """Spoil one slot of the guard."""
        file = self.raw.files.get(GUARD)
        if file is not None:
            place = self.raw.rng.randrange(2) * SLOT_BYTES
            for content in (file.durable, file.seen):
                content[place] ^= 1

    def _size(self) -> int:
        return len(self.raw.files[WAL].durable) if WAL in self.raw.files else 0

    def _shorten(self, size: int) -> None:
        if WAL in self.raw.files:
            for content in (self.raw.files[WAL].durable, self.raw.files[WAL].seen):
                del content[size:]
