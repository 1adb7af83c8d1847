"""A full node that changes one value of every part of a snapshot that it is asked for; all else it does well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from master.cli import main
from master.io.sync_disk import SyncDisk
from wire.snapshot import Part, Place

_honest = SyncDisk.parts


def _lying(self: SyncDisk, height: int, wanted: Sequence[tuple[int, Place]], bytes_max: int) -> tuple[Part, ...]:
    first, *rest = _honest(self, height, wanted, bytes_max)
    entry = first.entries[0]
    changed = replace(entry, value=entry.value[:-1] + bytes((entry.value[-1] ^ 1,)))
    return (replace(first, entries=(changed, *first.entries[1:])), *rest)


if __name__ == "__main__":
    SyncDisk.parts = _lying  # type: ignore[method-assign]
    sys.exit(main())
