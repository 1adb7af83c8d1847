"""The release packages of a gateway: files in ``state_dir/packages``, the newest of a target counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kit.exitcodes import DataError, GridwitnessError, StorageError
from kit.files import MODE_PRIVATE, read_bounded, write_new
from kit.logs import get_logger
from rules.package import PACKAGE_BYTES_MAX, Package, decode_package
from wire.errors import WireError
from wire.release import Release
from wire.types import Digest

FOLDER: Final = "packages"
PACKAGES_MAX: Final = 2000
_NAME: Final = re.compile(r"([0-9]{6})-([0-9a-f]{64})\.cbor", re.ASCII)
_NUMBER_MAX: Final = 999_999

_log = get_logger("agent.packages")


@dataclass(frozen=True, slots=True)
class Kept:
    """One package in the folder; its content stays on the disk."""

    number: int
    """The higher one was added later."""
    path: Path
    digest: Digest
    """Of the release."""
    release: Release


@dataclass(frozen=True, slots=True)
class Place:
    """Where the reference value of an artefact is to be found."""

    kept: Kept
    sha256: Digest


class PackageStore:
    """Finds and keeps packages; nothing is read before `refresh`.

    Args:
        state_dir: The agent's; another process may add packages while the agent runs.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER
        self._kept: Mapping[str, Kept] = {}
        self._places: Mapping[tuple[str | None, str | None, str], Place] = {}
        """By device, model and artefact kind: every file of every poll is looked up."""
        self._damaged: frozenset[str] = frozenset()

    def refresh(self) -> None:
        """Take in what was added and forget what was removed; a damaged package is logged once and left aside."""
        names = self._names()
        if names == self._kept.keys() | self._damaged:
            return
        kept: dict[str, Kept] = {}
        damaged: set[str] = set()
        for name in sorted(names):
            known = self._kept.get(name)
            if known is not None:
                kept[name] = known
            elif name in self._damaged:
                damaged.add(name)
            else:
                try:
                    kept[name] = self._take(name)
                except (GridwitnessError, OSError) as error:
                    damaged.add(name)
                    _log.error("package_refused", package=name, detail=str(error))
        places = {
            (entry.release.device, entry.release.model, artefact.kind): Place(entry, artefact.sha256)
            for entry in kept.values()
            for artefact in entry.release.artefacts
        }
        self._kept, self._places, self._damaged = kept, places, frozenset(damaged)

    def kept(self) -> tuple[Kept, ...]:
        """Return what there is, oldest first."""
        return tuple(self._kept.values())

    def find(self, device: str, model: str, kind: str) -> Place | None:
        """Return the newest reference value for one artefact, one for the device before one for its model."""
        places = self._places
        return places.get((device, None, kind)) or places.get((None, model, kind))

    def load(self, kept: Kept) -> Package:
        """Return a package whole.

        Raises:
            DataError: It is damaged.
            StorageError: It is longer than a package can be.
            OSError: It cannot be read.
        """
        return decode_file(kept.path)

    def add(self, package: Package) -> Kept:
        """Keep a package; the same one that was added before becomes the newest.

        Raises:
            StorageError: There are 2,000 packages already.
            OSError: The folder cannot be written.
        """
        self.refresh()
        digest = package.release.digest()
        older = [kept for kept in self.kept() if kept.digest == digest]
        number = 1 + max((kept.number for kept in self.kept()), default=0)
        if len(self._kept) - len(older) >= PACKAGES_MAX or number > _NUMBER_MAX:
            raise StorageError(f"{self._folder} holds {len(self._kept)} packages already; remove those of old releases")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{number:06}-{digest.hex()}.cbor"
        write_new(path, package.encode(), mode=MODE_PRIVATE)
        for kept in older:
            kept.path.unlink(missing_ok=True)
        return Kept(number, path, digest, package.release)

    def remove(self, kept: Kept) -> None:
        """Forget a package."""
        kept.path.unlink(missing_ok=True)

    def _names(self) -> set[str]:
        if not self._folder.is_dir():
            return set()
        return {path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name)}

    def _take(self, name: str) -> Kept:
        path = self._folder / name
        release = decode_file(path).release
        match = _NAME.fullmatch(name)
        assert match is not None
        if release.digest().hex() != match[2]:
            raise DataError(f"{path} holds another release than its name says")
        return Kept(int(match[1]), path, release.digest(), release)


def decode_file(path: Path) -> Package:
    """Read a package and prove that it belongs together.

    Raises:
        DataError: It is no release package, or one that was changed.
        StorageError: It is longer than a package can be.
        OSError: It cannot be read.
    """
    try:
        return decode_package(read_bounded(path, bytes_max=PACKAGE_BYTES_MAX))
    except WireError as error:
        raise DataError(f"{path} is no release package: {error}") from error
