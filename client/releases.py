"""A release folder becomes reference values: fingerprinted from files, never from devices.

A folder holds the files of a release and ``release.toml``::

    [release]
    release = "linden-sc-1-r24"
    device = "linden-sc-1"  # or: model = "SCD-220"

    [[artefact]]
    kind = "firmware"  # firmware, settings or strategy
    name = "firmware.bin"  # a file in this folder
    version = "2.4.0"

Of a device that gives no file, what it must say instead of its content is named, and no file is there::

    [[artefact]]
    kind = "settings"
    name = "setting list"
    version = "7"
    checksum = "9f8a6c01"  # the device's own checksum; or: version_only = true
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kit.config import load, rule
from kit.exitcodes import DataError
from rules.fingerprint import FileDigest, Fingerprint, fingerprint_word
from wire.evidence import KINDS
from wire.release import Reference, Release
from wire.types import IDENTIFIER_PATTERN

MANIFEST: Final = "release.toml"
_READ_BYTES: Final = 1024 * 1024
_CHECKSUM: Final = re.compile("(?:[0-9a-f]{2}){1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    release: str = field(metadata=rule(pattern=IDENTIFIER_PATTERN))
    device: str | None = field(default=None, metadata=rule(pattern=IDENTIFIER_PATTERN))
    model: str | None = field(default=None, metadata=rule(maximum=256))

    def __post_init__(self) -> None:
        if (self.device is None) == (self.model is None):
            raise ValueError("a release is for one device or for one model; name exactly one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Artefact:
    kind: str = field(metadata=rule(choices=KINDS))
    name: str = field(metadata=rule(maximum=256))
    version: str = field(metadata=rule(maximum=256))
    checksum: str | None = field(default=None, metadata=rule(pattern=_CHECKSUM))
    version_only: bool = False

    def __post_init__(self) -> None:
        if self.checksum is not None and self.version_only:
            raise ValueError("what a device says is its checksum or its version; name one of them")
        if not self.is_file():
            return
        if Path(self.name).name != self.name:
            raise ValueError(f"name {self.name!r} leads out of the folder")

    def is_file(self) -> bool:
        """Tell whether the reference value is the content of a file."""
        return self.checksum is None and not self.version_only


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    release: _Head
    artefacts: tuple[_Artefact, ...] = field(
        metadata=rule(key="artefact", minimum=1, maximum=len(KINDS), unique="kind")
    )


def read_release(
    folder: Path,
    manufacturer: str,
    progress: Callable[[int], None] = lambda _: None,
) -> Release:
    """Fingerprint every file of a release folder.

    Args:
        folder: Holds release.toml and the files that it names.
        manufacturer: The organisation that will submit it.
        progress: Told the bytes of each piece that was read.

    Raises:
        ConfigProblemsError: release.toml is wrong; the message names the line.
        DataError: A file is missing.
        FormatError: A text that the ledger does not take.
    """
    manifest = load(folder / MANIFEST, _Manifest, env_prefix="GRIDWITNESS_RELEASE", environ={})
    references = []
    for entry in sorted(manifest.artefacts, key=lambda artefact: artefact.kind):
        digest = _digest_of(entry, folder, progress)
        references.append(
            Reference(
                kind=entry.kind,
                name=entry.name,
                version=entry.version,
                size=digest.size,
                sha256=digest.sha256,
                chunk_root=digest.chunk_root,
            )
        )
    head = manifest.release
    return Release(head.release, manufacturer, head.device, head.model, tuple(references))


def _digest_of(entry: _Artefact, folder: Path, progress: Callable[[int], None]) -> FileDigest:
    if entry.checksum is not None:
        return fingerprint_word("vendor-checksum", bytes.fromhex(entry.checksum))
    if entry.version_only:
        return fingerprint_word("version-string", entry.version.encode())
    return fingerprint_file(folder / entry.name, progress)


def bytes_in(folder: Path) -> int:
    """Add up the sizes of the folder's files, for a progress bar."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def fingerprint_file(path: Path, progress: Callable[[int], None] = lambda _: None) -> FileDigest:
    """Fingerprint one file in pieces, so that memory stays bounded whatever its size.

    Raises:
        DataError: There is no such file.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing, but {MANIFEST} names it")
    fingerprint = Fingerprint()
    with path.open("rb") as stream:
        while piece := stream.read(_READ_BYTES):
            fingerprint.update(piece)
            progress(len(piece))
    return fingerprint.result()
