"""One read of a simulated station by the driver."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.drivers.errors import DeviceError
from agent.drivers.iec104 import Iec104Driver
from agent.drivers.iec104_profile import (
    Iec104Profile,
)
from agent.model import MeasurementFrame, Reading
from agent.profile import Pacing, Profile
from tests.unit.agent.iec104_bench import (
    FILES,
    Station,
    with_station,
)
from wire.iec104.types import TypeId

EXTRA = 20_000
BITS = TypeId.M_BO_NA_1
QUICK = Pacing(busy_repeats=3, busy_pause_ms=1)


def read_once(
    station: Station, profile: Profile = FILES, kinds: frozenset[str] | None = None, **changes: object
) -> Reading:
    found: list[Reading] = []

    async def work(driver: Iec104Driver) -> None:
        found.append(await driver.read(kinds))

    asyncio.run(with_station(station, work, profile, pacing=QUICK, **changes))
    return found[0]


def measure_once(station: Station, profile: Profile, **changes: object) -> MeasurementFrame:
    found: list[MeasurementFrame] = []

    async def work(driver: Iec104Driver) -> None:
        found.append(await driver.measure())

    asyncio.run(with_station(station, work, profile, pacing=QUICK, **changes))
    return found[0]


def changed(profile: Profile, **changes: object) -> Profile:
    assert isinstance(profile.specifics, Iec104Profile)
    return replace(profile, specifics=replace(profile.specifics, **changes))  # type: ignore[arg-type]


def failure(station: Station, profile: Profile = FILES, **changes: object) -> DeviceError:
    with pytest.raises(DeviceError, match="device dev-a: ") as caught:
        read_once(station, profile, None, **changes)
    return caught.value
