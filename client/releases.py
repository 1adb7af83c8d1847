"""A release folder (`kit.releasefolder`) becomes reference values: fingerprinted from files, never from devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kit.exitcodes import DataError
from kit.releasefolder import MANIFEST, SALT_BYTES, ReleaseArtefact, file_of, load_manifest, read_salt
from rules.content import FileBytes
from rules.fingerprint import FileDigest, fingerprint_word
from rules.items.model import CONTENT_BYTES_MAX, ItemList, ItemsError
from rules.items.root import items_of
from rules.items.table import read_items, read_items_as
from rules.package import Package, Part
from wire.release import FIRMWARE, Reference, Release

_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReleaseFolder:
    """What a release folder holds."""

    package: Package
    """The reference values, and what they stand for."""
    notes: tuple[str, ...]
    """What a person should know, such as a list that is not understood."""


def read_folder(
    folder: Path,
    manufacturer: str,
    progress: Callable[[int], None] = lambda _: None,
) -> ReleaseFolder:
    """Fingerprint every file of a release folder, and read the items of its lists.

    Without ``release.salt`` in the folder the release has no items.

    Args:
        folder: Holds release.toml and the files that it names.
        manufacturer: The organisation that will submit it.
        progress: Told the bytes of each piece that was read.

    Raises:
        ConfigProblemsError: release.toml is wrong; the message names the line.
        DataError: A file is missing or not of the format that release.toml names, or the salt is none.
        FormatError: A text that the ledger does not take.
    """
    manifest, salt = load_manifest(folder), read_salt(folder)
    references, parts, notes = [], [], []
    for entry in sorted(manifest.artefacts, key=lambda artefact: artefact.kind):
        taken = FileBytes(entry.kind)
        digest = _digest_of(entry, folder, taken, progress)
        items: ItemList | None = None
        if entry.is_file() and entry.kind != FIRMWARE and salt is not None:
            try:
                items = _items(taken.content(), entry.format)
            except ItemsError as error:
                if entry.format is not None:
                    raise DataError(f"{folder / entry.name} is not what {MANIFEST} says: {error}") from error
                notes.append(f"{entry.name} has no items: {error}; it is fingerprinted as a whole and by chunks")
        references.append(
            Reference(
                kind=entry.kind,
                name=entry.name,
                version=entry.version,
                size=digest.size,
                sha256=digest.sha256,
                chunk_root=digest.chunk_root,
                items=None if items is None or salt is None else items_of(items, salt),
            )
        )
        is_counted = entry.is_file() and (bool(digest.leaves) or digest.size == 0)
        parts.append(Part(entry.kind, digest.leaves if is_counted else None, items))
    head = manifest.release
    start = head.effective_from()
    release = Release(head.release, manufacturer, head.device, head.model, tuple(references), start)
    return ReleaseFolder(Package(release, salt or bytes(SALT_BYTES), tuple(parts)), tuple(notes))


def read_release(folder: Path, manufacturer: str, progress: Callable[[int], None] = lambda _: None) -> Release:
    """Return the reference values of a release folder; see `read_folder`."""
    return read_folder(folder, manufacturer, progress).package.release


def folders_in(folders: Sequence[Path]) -> list[Path]:
    """Return the release folders that are meant: each itself, or the release folders right inside it, by name."""
    found: list[Path] = []
    for folder in folders:
        inside = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
        found += [folder] if (folder / MANIFEST).is_file() or not inside else inside
    return found


def bytes_in(folder: Path) -> int:
    """Add up the sizes of the folder's files, for a progress bar."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _digest_of(entry: ReleaseArtefact, folder: Path, taken: FileBytes, progress: Callable[[int], None]) -> FileDigest:
    """Fingerprint one artefact; a file in pieces, so that memory stays bounded whatever its size."""
    if entry.checksum is not None:
        return fingerprint_word("vendor-checksum", bytes.fromhex(entry.checksum))
    if entry.version_only:
        return fingerprint_word("version-string", entry.version.encode())
    with file_of(folder, entry).open("rb") as stream:
        while piece := stream.read(_READ_BYTES):
            taken.update(piece)
            progress(len(piece))
    return taken.result()


def _items(content: bytes | None, name: str | None) -> ItemList:
    if content is None:
        raise ItemsError(f"files of more than {CONTENT_BYTES_MAX} bytes are not looked into")
    return read_items(content) if name is None else read_items_as(name, content)
