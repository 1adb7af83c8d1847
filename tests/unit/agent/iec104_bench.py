"""A controlled station for the driver's tests, which lies as it is told, and a tap on what the driver sends."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from agent.drivers.iec104 import Iec104Driver
from agent.drivers.iec104_profile import Iec104Options
from agent.profile import Pacing, Profile
from kit.clock import FakeClock
from tests.unit.agent.bench import NOW_MS, PROFILES, device_config
from tests.unit.wire.iec104.file_station import FileServer, StoredFile
from wire.iec104.apci import FrameDecoder, IFrame, SFrame, UFunction
from wire.iec104.asdu import CounterInterrogation, Interrogation, ReadCommand, decode_asdu
from wire.iec104.errors import Iec104Error
from wire.iec104.link import ControlledLink, LinkParameters, Received
from wire.iec104.points import INVALID, Point
from wire.iec104.requests import FileCall
from wire.iec104.responses import encode_point_asdus, mirror
from wire.iec104.time56 import time_of_epoch_ms
from wire.iec104.types import Cause, TypeId

FILES = PROFILES["stability-control-104"]
CHECKSUMS = PROFILES["relay-104-checksum"]
TIME = time_of_epoch_ms(NOW_MS)
GROUP_TEXTS = 23
IDENTITY_TEXTS = {6001: "Sample Vendor", 6017: "SC", 6049: "SC-9000", 6065: "SN-0001", 6081: "2.1.0"}
VERSION_AT = {"firmware": 6201, "strategy": 6217, "settings": 6233}
CONTENTS = {
    "firmware": bytes(range(256)) * 170 + b"odd",
    "strategy": b"fault,action\n" * 900,
    "settings": b"1,Frequency,50.00,Hz,49.00,51.00\n",
}
VERSIONS = {"firmware": "2.1.0", "strategy": "7", "settings": "2026-11"}


def text_points(address: int, text: str, count: int) -> list[Point]:
    octets = text.encode().ljust(4 * count, b"\0")
    return [Point(address + number, bits, 0) for number, bits in enumerate(struct.unpack(f"<{count}I", octets))]


Lie = Callable[[bytes], Iterable[bytes] | None]
"""ASDU to be sent -> those to be sent instead; None closes the connection."""


def truth(raw: bytes) -> Iterable[bytes] | None:
    """Send an ASDU as it is."""
    return [raw]


@dataclass(slots=True)
class Station:
    """What the station knows, and how it behaves."""

    contents: Mapping[str, bytes] = field(default_factory=lambda: dict(CONTENTS))
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Announced where it is not that of the content."""
    checksum: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(CONTENTS, 0xDEADBEEF))
    measured: Mapping[int, list[Point]] = field(default_factory=dict)
    """By type."""
    counters: list[Point] = field(default_factory=list)
    revision: int = 5
    lie: Lie = truth
    greeting: bytes = b""
    """Sent on connection, as it is."""
    instead: bytes = b""
    """Sent in answer to whatever comes, as it is."""
    is_deaf: bool = False
    """Says nothing at all."""
    section_bytes: int = 16_384
    parameters: LinkParameters = field(default_factory=LinkParameters)
    tap: list[bytes] = field(default_factory=list)
    """All that the driver sent, piece by piece, over all connections."""
    talks: list[Talk] = field(default_factory=list)

    def texts(self) -> list[Point]:
        found = [point for address, text in IDENTITY_TEXTS.items() for point in text_points(address, text, 16)]
        for kind, address in VERSION_AT.items():
            points = text_points(address, VERSIONS[kind], 6)
            size = self.lengths.get(kind, len(self.contents.get(kind, b"")))
            points += [Point(address + 6, size, 0), Point(address + 7, self.checksum[kind], 0)]
            points.append(Point(address + 8, self.revision, 0))
            is_there = kind in self.contents
            found += points if is_there else [point._replace(quality=INVALID) for point in points]
        return sorted(found)

    def files(self) -> list[StoredFile]:
        return [
            StoredFile(7001 + index, 1, content, TIME, self.lengths.get(kind), self.section_bytes)
            for index, kind in enumerate(VERSION_AT)
            if (content := self.contents.get(kind)) is not None
        ]

    def interrogated(self, qualifier: int) -> Iterator[bytes]:
        if qualifier in {20, GROUP_TEXTS}:
            yield from encode_point_asdus(TypeId.M_BO_NA_1, qualifier, 1, self.texts())
        if qualifier == 20:
            for type_id, points in self.measured.items():
                yield from encode_point_asdus(type_id, qualifier, 1, points, is_sequence=True)

    def answer(self, raw: bytes, server: FileServer) -> Iterator[bytes]:
        asdu = decode_asdu(raw)
        found: Iterator[bytes] | None = None
        if isinstance(asdu.element, Interrogation):
            found = self.interrogated(asdu.element.qualifier)
        elif isinstance(asdu.element, CounterInterrogation):
            found = encode_point_asdus(TypeId.M_IT_NA_1, 37, 1, self.counters)
        elif isinstance(asdu.element, ReadCommand):
            point = [point for point in self.texts() if point.address == asdu.address]
            yield from encode_point_asdus(TypeId.M_BO_NA_1, 5, 1, point)
            if not point:
                yield mirror(raw, Cause.UNKNOWN_OBJECT_ADDRESS)
        elif not server.take(asdu):
            yield mirror(raw, Cause.UNKNOWN_CAUSE)
        if found is not None:
            yield mirror(raw, Cause.ACTIVATION_CON)
            yield from found
            yield mirror(raw, Cause.ACTIVATION_TERMINATION)


class Talk(asyncio.Protocol):
    """One connection to the station."""

    def __init__(self, station: Station) -> None:
        self.station = station
        station.talks.append(self)
        self.link = ControlledLink(station.parameters, 0)
        self.server = FileServer(1, station.files)
        self.waiting: deque[bytes] = deque()
        self.answers: deque[Iterator[bytes]] = deque()
        self.transport: asyncio.Transport | None = None
        self.is_lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.station.greeting)

    def data_received(self, data: bytes) -> None:
        self.station.tap.append(data)
        assert self.transport is not None
        if self.station.instead:
            self.transport.write(self.station.instead)
        if self.station.is_deaf or self.station.instead:
            return
        for event in self.link.receive(data, 0):
            if isinstance(event, Received):
                self.answers.append(self.station.answer(event.asdu, self.server))
        self.pump()

    def pump(self) -> None:
        assert self.transport is not None
        while self.link.send_room:
            raw = self.next()
            if raw is None:
                break
            told = self.station.lie(raw)
            if told is None:
                self.transport.abort()
                return
            self.waiting.extend(told)
            while self.waiting and self.link.send_room:
                self.link.send(self.waiting.popleft(), 0)
        self.transport.write(self.link.take_output())

    def next(self) -> bytes | None:
        if self.waiting:
            return self.waiting.popleft()
        while self.answers:
            for raw in self.answers[0]:
                return raw
            self.answers.popleft()
        return self.server.next_asdu()

    def say(self, raw: bytes) -> None:
        """Send an ASDU that nobody asked for."""
        assert self.transport is not None
        self.link.send(raw, 0)
        self.transport.write(self.link.take_output())


@contextlib.asynccontextmanager
async def station_at(station: Station, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve a station and give its port."""
    server = await asyncio.get_running_loop().create_server(lambda: Talk(station), "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for talk in station.talks:
            if talk.transport is not None:
                talk.transport.abort()
        await server.wait_closed()


def driver_at(port: int, profile: Profile = FILES, *, pacing: Pacing | None = None, **changes: object) -> Iec104Driver:
    config = device_config(port, protocol="iec104", profile=profile.name, **changes)
    made = profile if pacing is None else replace(profile, pacing=pacing)
    return Iec104Driver(config, made, FakeClock(NOW_MS))


async def with_station(
    station: Station,
    work: Callable[[Iec104Driver], Awaitable[None]],
    profile: Profile = FILES,
    *,
    pacing: Pacing | None = None,
    **changes: object,
) -> None:
    """Run ``work`` with a driver of the station."""
    async with station_at(station) as port:
        driver = driver_at(port, profile, pacing=pacing, **changes)
        try:
            await work(driver)
        finally:
            await driver.close()


def second_at(port: int) -> Iec104Options:
    return Iec104Options(second_host="127.0.0.1", second_port=port)


ALLOWED_FUNCTIONS = {UFunction.STARTDT_ACT, UFunction.STOPDT_ACT, UFunction.TESTFR_ACT, UFunction.TESTFR_CON}
ALLOWED_CALLS = {FileCall.SELECT_FILE, FileCall.REQUEST_FILE, FileCall.SELECT_SECTION, FileCall.REQUEST_SECTION}


def forbidden(stream: bytes) -> list[str]:
    """Name everything in a controlling station's stream that could change anything, or that is not known to read."""
    try:
        frames = FrameDecoder().receive(stream)
    except Iec104Error as error:
        return [str(error)]
    found = []
    for frame in frames:
        if isinstance(frame, IFrame):
            found += _forbidden_asdu(frame.asdu)
        elif not isinstance(frame, SFrame) and frame not in ALLOWED_FUNCTIONS:
            found.append(frame.name)
    return found


def _forbidden_asdu(raw: bytes) -> list[str]:
    type_id, cause, body = raw[0], raw[2], raw[9:]
    is_read = {
        TypeId.C_IC_NA_1: cause == Cause.ACTIVATION,
        TypeId.C_CI_NA_1: cause == Cause.ACTIVATION and body[:1] < b"\x40",
        TypeId.C_RD_NA_1: cause == Cause.REQUEST,
        TypeId.F_AF_NA_1: cause == Cause.FILE_TRANSFER,
        TypeId.F_SC_NA_1: (cause == Cause.REQUEST and body[3:] == b"\0")
        or (cause == Cause.FILE_TRANSFER and body[3] in ALLOWED_CALLS),
    }
    return [] if is_read.get(TypeId(type_id), False) else [f"{TypeId(type_id).name} {raw.hex()}"]
