"""A folder of collected files, and the driver over it with a clock that stands still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError
from agent.drivers.folder import FolderDriver, FolderFile, FolderOptions, FolderProfile
from agent.model import Reading
from agent.profile import Profile
from kit.clock import FakeClock
from tests.unit.agent.bench import PROFILES, device_config

PROFILE = PROFILES["folder"]
FIRMWARE = bytes(range(256)) * 3000


def profile_of(*files: FolderFile, settle_s: int = 5) -> Profile:
    return replace(PROFILE, specifics=FolderProfile(settle_s=settle_s, files=files))


class Bench:
    """A folder, and a clock that stands ``ahead_s`` after the files' own times."""

    def __init__(self, path: Path, profile: Profile = PROFILE, *, ahead_s: int = 60, retries: int = 0) -> None:
        self.path = path
        self.clock = FakeClock(time.time_ns() // 1_000_000 + 1000 * ahead_s)
        self.slept_s: list[float] = []
        self.at_sleep: Callable[[], None] = lambda: None
        options = FolderOptions(path=path, vendor="V", model="M", serial="S\x07")
        self.config = device_config(0, protocol="folder", profile="folder", host="", options=options, retries=retries)
        self.driver = FolderDriver(self.config, profile, self.clock, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(round(1000 * seconds))
        self.at_sleep()

    def read(self, kinds: frozenset[str] | None = None) -> Reading:
        async def once() -> Reading:
            try:
                return await self.driver.read(kinds)
            finally:
                await self.driver.close()

        return asyncio.run(once())

    def failure(self) -> DeviceError:
        with pytest.raises(DeviceError) as caught:
            self.read()
        assert str(caught.value).startswith("device dev-a: ")
        return caught.value


def collect(folder: Path) -> Path:
    """Put into a folder what the packaged profile names, and something else."""
    (folder / "relay.bin").write_bytes(FIRMWARE)
    (folder / "settings-7.csv").write_bytes(b"1,Frequency,50.00\n")
    (folder / "notes.txt").write_bytes(b"not of the device")
    return folder


def grow(path: Path) -> None:
    """Write on at the end of a file."""
    with path.open("ab") as stream:
        stream.write(b"more")


def open_files() -> int:
    """Return how many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))
