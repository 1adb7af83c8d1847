"""Reads the write-ahead log at a start: a damaged one costs the node its voice for a while, not its work (CM-8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kit.exitcodes import StorageError
from master.consensus.guard import SignerGuard
from master.consensus.records import decode_record
from master.io.guard import GuardFile
from master.io.wal import WriteAheadLog
from wire.errors import WireError


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a node said about the height that was being decided when it ended."""

    records: Sequence[bytes]
    damage: str | None = None
    """Why nobody knows any more; None when it is known."""


def take_up(wal: WriteAheadLog, guard: GuardFile) -> LastWords:
    """Read the log; a damaged one is set aside once the signer guard is marked, so that the node begins in quarantine.

    Raises:
        DiskFullError: There is no room for the mark.
        StorageError: Log or guard cannot be read or written.
    """
    try:
        records = wal.read()
        for raw in records:
            decode_record(raw)
    except OSError as error:
        raise StorageError(f"the write-ahead log cannot be read: {error}") from error
    except (StorageError, WireError) as error:
        # first the mark: it outlives whatever happens before the quarantine is over
        guard.save(replace(guard.guard or SignerGuard(), is_restored=True))
        return LastWords((), f"the write-ahead log is damaged, see {wal.set_aside()}: {error}")
    return LastWords(records)
