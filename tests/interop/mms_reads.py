"""Reads of a served IED by the real library."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.drivers.mms import MmsDriver
from agent.drivers.mms_link import Child
from agent.drivers.mms_profile import MmsProfile
from agent.drivers.table import load_profiles
from agent.model import DeviceConfig, Reading
from agent.profile import Profile
from kit.clock import SystemClock
from tests.interop.ied import HOST

RELAY = load_profiles()["relay-61850"]
MIB = 1024 * 1024
pytestmark = pytest.mark.interop


def profile(**changes: object) -> Profile:
    specifics = RELAY.specifics
    assert isinstance(specifics, MmsProfile)
    pacing = dataclasses.replace(RELAY.pacing, connect_pause_ms=0)
    changed = dataclasses.replace(specifics, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(RELAY, pacing=pacing, specifics=changed)


@contextlib.asynccontextmanager
async def driver_of(
    port: int, *, retries: int = 0, timeout_ms: int = 3000, kept: Profile | None = None
) -> AsyncIterator[MmsDriver]:
    device = DeviceConfig("dev-a", "mms", "relay-61850", HOST, port, timeout_ms=timeout_ms, retries=retries)
    driver = MmsDriver(device, profile() if kept is None else kept, SystemClock())
    try:
        yield driver
    finally:
        await driver.close()


def read(port: int, kept: Profile | None = None) -> Reading:
    async def once() -> Reading:
        async with driver_of(port, kept=kept) as driver:
            return await driver.read()

    return asyncio.run(once())


def child_of(driver: MmsDriver) -> Child:
    assert driver._child is not None
    return driver._child


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def digests(found: Reading) -> dict[str, bytes]:
    return {part.kind: part.digest.sha256 for part in found.files}
