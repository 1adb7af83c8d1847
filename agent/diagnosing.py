"""Looks at every reading beside the release packages of the gateway, before it becomes evidence.

What was looked at is small: content and leaf digests are let go, the difference stays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

from agent.diagnosis import Diagnosis, diagnose, expected_of, where
from agent.io.packages import Kept, Place
from agent.model import DeviceFile, Reading
from kit.exitcodes import GridwitnessError
from kit.logs import get_logger
from rules.package import Package
from wire.evidence import METHODS_READING
from wire.types import Digest

_log = get_logger("agent.diagnosis")


class Packages(Protocol):
    """Finds reference values, as `agent.io.packages.PackageStore` does."""

    def find(self, device: str, model: str, kind: str) -> Place | None:
        """Return the reference value of one artefact; quick."""

    def load(self, kept: Kept) -> Package:
        """Return a package from the disk.

        Raises:
            GridwitnessError: It is damaged.
            OSError: It cannot be read.
        """


@dataclass(frozen=True, slots=True)
class _Known:
    """A diagnosis, and of what."""

    place: Place
    read: Digest
    diagnosis: Diagnosis | None
    """None where the package could not be read."""


class Diagnostics:
    """Names what differs; one for all devices of a gateway.

    Args:
        packages: What is expected. Without any, only that a file differs can be reported, not where.
    """

    def __init__(self, packages: Packages | None = None) -> None:
        self._packages = packages
        self._known: dict[str, dict[str, _Known]] = {}

    async def look(self, reading: Reading) -> Reading:
        """Return the reading with the differences of its files, without their content and leaf digests.

        A file that comes without both, since it was looked at before, keeps its difference.
        """
        files = tuple([await self._look(reading, file) for file in reading.files])
        known = self._known.get(reading.device, {})
        for kind in known.keys() - {entry.kind for entry in reading.listed}:
            del known[kind]
        return replace(reading, files=files)

    def said(self, device: str) -> tuple[str, ...]:
        """Return where the files of a device differ, without values, sorted by kind."""
        known = self._known.get(device, {})
        return tuple(where(entry.diagnosis) for _, entry in sorted(known.items()) if entry.diagnosis is not None)

    async def _look(self, reading: Reading, file: DeviceFile) -> DeviceFile:
        if file.content is None and file.digest.size and not file.digest.leaves:
            return file
        plain = replace(file, content=None, digest=replace(file.digest, leaves=()))
        known = self._known.setdefault(reading.device, {})
        place = self._find(reading, file.kind)
        if place is None or place.sha256 == file.digest.sha256 or file.errors or file.method not in METHODS_READING:
            known.pop(file.kind, None)
            return replace(plain, difference=None)
        entry = known.get(file.kind)
        if entry is None or (entry.place, entry.read) != (place, file.digest.sha256):
            entry = known[file.kind] = _Known(place, file.digest.sha256, await self._diagnose(place, file))
        return replace(plain, difference=None if entry.diagnosis is None else entry.diagnosis.difference)

    def _find(self, reading: Reading, kind: str) -> Place | None:
        return None if self._packages is None else self._packages.find(reading.device, reading.identity.model, kind)

    async def _diagnose(self, place: Place, file: DeviceFile) -> Diagnosis | None:
        try:
            return await asyncio.to_thread(self._compare, place, file)
        except (GridwitnessError, OSError) as error:
            _log.error("package_unreadable", package=place.kept.path.name, detail=str(error))
            return None

    def _compare(self, place: Place, file: DeviceFile) -> Diagnosis:
        assert self._packages is not None, "the place is in one of them"
        return diagnose(file, expected_of(self._packages.load(place.kept))[file.kind])
