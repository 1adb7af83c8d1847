"""One read of a fake IED by the driver."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from agent.drivers.errors import DeviceError
from agent.drivers.mms import MmsDriver
from agent.drivers.mms_profile import MmsOptions, MmsProfile
from agent.model import Reading
from agent.profile import Pacing, Profile
from kit.clock import FakeClock
from tests.unit.agent.bench import NOW_MS, PROFILES, device_config

RELAY = PROFILES["relay-61850"]
SETTINGS = (
    b"number,name,value,type\n"
    b"1,LD0/LLN0.SGCB.NumOfSG,2,integer\n"
    b"2,LD0/LLN0.SGCB.ActSG,1,integer\n"
    b"3,LD0/LLN0.NamPlt.configRev,17,text\n"
    b"4,LD0/GAPC1.Ena.setVal,true,boolean\n"
    b"5,LD0/PTUF1.OpDlTmms.setVal,150,integer\n"
    b"6,LD0/PTUF1.StrVal.setMag.f,49,float32\n"
)


def relay(pacing: Pacing | None = None, **changes: object) -> Profile:
    specifics = RELAY.specifics
    assert isinstance(specifics, MmsProfile)
    quick = Pacing(busy_repeats=2, busy_pause_ms=1) if pacing is None else pacing
    return dataclasses.replace(RELAY, pacing=quick, specifics=dataclasses.replace(specifics, **changes))  # type: ignore[arg-type]


def read(
    profile: Profile | None = None, kinds: frozenset[str] | None = None, *, retries: int = 0, told: Path | None = None
) -> Reading:
    config = device_config(1, protocol="mms", profile="relay-61850", retries=retries)
    config = dataclasses.replace(config, host="127.0.0.1", options=MmsOptions(scl=told))
    driver = MmsDriver(config, relay() if profile is None else profile, FakeClock(NOW_MS))

    async def once() -> Reading:
        try:
            return await driver.read(kinds)
        finally:
            await driver.close()

    return asyncio.run(once())


def refusal(kind: type[DeviceError], match: str, profile: Profile | None = None, **options: object) -> DeviceError:
    with pytest.raises(kind, match=f"^device dev-a: .*{match}") as caught:
        read(profile, **options)  # type: ignore[arg-type]
    return caught.value
