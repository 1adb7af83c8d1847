"""Snapshots as they are taken and fetched."""

from __future__ import annotations

from master.io.snapshots import SnapshotFolder
from master.io.store import Store
from wire.snapshot import EMPTY_SUBTREE, SUBTREES, Manifest, Part, Place, verify_part

WHOLE = 1 << 20
BLOCKS = 11


def nothing() -> None:
    """Rest not at all."""


def write(folder: SnapshotFolder, store: Store) -> int:
    view = store.view()
    try:
        return folder.write(store, view, nothing)
    finally:
        view.close()


def wanted(manifest: Manifest) -> list[tuple[int, Place]]:
    return [(number, Place()) for number in range(SUBTREES) if manifest.roots[number] != EMPTY_SUBTREE]


def all_parts(folder: SnapshotFolder, manifest: Manifest, bytes_max: int = WHOLE) -> list[Part]:
    """Fetch a snapshot as a joiner does, in answers of about so many bytes."""
    found: list[Part] = []
    left = wanted(manifest)
    while left:
        parts = folder.parts(manifest.height, left[:64], bytes_max)
        assert parts
        for part in parts:
            verify_part(part, manifest.roots[part.subtree])
        found += parts
        left = left[len(parts) :] if parts[-1].end.is_end else [(parts[-1].subtree, parts[-1].end), *left[len(parts) :]]
    return found
