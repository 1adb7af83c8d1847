"""What the agent's tests share: readings, drivers without a device, devices without a network cable."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from agent.attest import Confirmed, DeviceState, to_item
from agent.drivers.link import LinkCounters
from agent.drivers.modbus import ModbusDriver
from agent.drivers.modbus_profile import DirectoryTable, ModbusProfile
from agent.drivers.table import load_profiles
from agent.model import DeviceConfig, DeviceFile, ListedFile, Reading
from agent.profile import Profile
from firmware_sim.device import Device
from firmware_sim.modbus.server import ModbusServer
from firmware_sim.modbus.unit import Unit
from kit.clock import FakeClock
from rules.fingerprint import fingerprint
from tests.unit.wire.samples import public_of
from wire.cose import kid_of
from wire.evidence import Clock as EvidenceClock
from wire.evidence import Identity

PROFILES = load_profiles()
PACKAGED = PROFILES["stability-control-modbus"]
PROFILE = replace(PACKAGED, specifics=ModbusProfile(directory=DirectoryTable(address=100)))
"""The packaged profile without its revision counter, for devices whose answers a test makes up."""
NOW_MS = 1_790_000_000_000
KID = kid_of(public_of("gw-1"))
IDENTITY = Identity("Sample Vendor", "SC", "3.1.4", "SN-0001", "SC-9000")
EVIDENCE_CLOCK = EvidenceClock(NOW_MS, "system", None, "unknown")


def file(kind: str, content: bytes, *, at_ms: int = NOW_MS, size: int | None = None, **changes: object) -> DeviceFile:
    whole = DeviceFile(
        kind=kind,
        name=f"{kind}.bin",
        version="1",
        size=len(content) if size is None else size,
        digest=fingerprint(content),
        method="full-file",
        read_from_ms=at_ms,
        read_to_ms=at_ms + 10,
        errors=(),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def listed(part: DeviceFile) -> ListedFile:
    return ListedFile(part.kind, part.name, part.version, part.size)


def reading(*files: DeviceFile, device: str = "sps-1", at_ms: int = NOW_MS, identity: Identity = IDENTITY) -> Reading:
    parts = tuple(sorted(files, key=lambda part: part.kind))
    return Reading(device, identity, tuple(listed(part) for part in parts), parts, at_ms, at_ms + 20)


def plain(content: bytes = b"firmware", *, at_ms: int = NOW_MS, device: str = "sps-1") -> Reading:
    """One reading of two files, of which the firmware has ``content``."""
    return reading(
        file("firmware", content, at_ms=at_ms), file("settings", b"1,50", at_ms=at_ms), device=device, at_ms=at_ms
    )


def confirmed(found: Reading) -> Confirmed:
    return Confirmed(to_item(found), is_change=True, read_from_ms=found.read_from_ms, read_to_ms=found.read_to_ms)


def state(device: str = "sps-1", content: bytes = b"firmware", *, has_receipt: bool = False) -> DeviceState:
    item = to_item(plain(content, device=device))
    return DeviceState(device, "read", item, item.digest(), NOW_MS, NOW_MS + 20, has_receipt=has_receipt)


@dataclass(slots=True)
class FakeDriver:
    """Gives what it was told to give: readings, errors, or what a function says."""

    answers: list[Reading | Exception]
    asked: list[frozenset[str] | None] = field(default_factory=list)
    closed: int = 0
    counters: LinkCounters = field(default_factory=LinkCounters)

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        self.asked.append(kinds)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if kinds is None:
            return answer
        return replace(answer, files=tuple(part for part in answer.files if part.kind in kinds))

    async def close(self) -> None:
        self.closed += 1


class Turns:
    """Stands for asyncio.sleep: time passes at once, and after so many turns it is enough."""

    def __init__(self, clock: FakeClock, turns: int) -> None:
        self.clock = clock
        self.left = turns
        self.slept_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(round(seconds * 1000))
        self.left -= 1
        if self.left <= 0:
            raise asyncio.CancelledError
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def served(device: Unit | Device) -> AsyncIterator[int]:
    """Serve a simulated device and give its port."""
    server = ModbusServer(device)
    _, port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop()


Answer = Callable[[bytes], Sequence[bytes] | None]
"""Request frame in; the pieces to send, each with a little time after it, or None to close the connection."""


@contextlib.asynccontextmanager
async def lying(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve whatever ``answer`` says, also what no device may say, and give the port."""
    writers: list[asyncio.StreamWriter] = []
    talks: list[asyncio.Task[None]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        talks.append(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(6)
                pieces = answer(head + await reader.readexactly(int.from_bytes(head[4:6], "big")))
                if pieces is None:
                    break
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.002)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()
        await asyncio.gather(*talks)
        for writer in writers:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


def device_config(port: int, **changes: object) -> DeviceConfig:
    config = DeviceConfig(
        id="dev-a",
        protocol="modbus",
        profile="stability-control-modbus",
        host="127.0.0.1",
        port=port,
        timeout_ms=10_000,
        retries=0,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


async def with_driver(
    port: int, work: Callable[[ModbusDriver], Awaitable[None]], *, profile: Profile = PROFILE, **changes: object
) -> ModbusDriver:
    """Run ``work`` with a driver for ``port`` and close it."""
    driver = ModbusDriver(device_config(port, **changes), profile, FakeClock(NOW_MS))
    try:
        await work(driver)
    finally:
        await driver.close()
    return driver
