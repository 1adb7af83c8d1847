"""A controlling station for tests, without sockets: talks with one connection of a simulated device."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from typing import cast

from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.files.setting_list import setting_list
from firmware_sim.iec104.group import Group
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.server import Connection, Port
from kit.clock import FakeClock
from tests.unit.firmware_sim.bench import device
from wire.iec104.apci import FrameDecoder, IFrame, SFrame, UFunction, encode_i, encode_s, encode_u
from wire.iec104.asdu import Asdu, decode_asdu

STATION = 7
FIRMWARE = bytes(index * 31 % 253 for index in range(40_001))


def bay(firmware: bytes = FIRMWARE) -> Device:
    return device(artefact("firmware", "2.4.0", firmware), artefact("settings", "1.0", setting_list("x")))


def options_of(**options: object) -> Iec104Options:
    return replace(Iec104Options(common_address=STATION), **options)  # type: ignore[arg-type]


def asdu(type_id: int, cause: int, body: bytes, *, address: int = 0, station: int = STATION, count: int = 1) -> bytes:
    """Build a request by hand."""
    return struct.pack("<BBBBHHB", type_id, count, cause, 0, station, address & 0xFFFF, address >> 16) + body


class Wire(asyncio.Transport):
    """Keeps what the station writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True

    close = abort

    def is_closing(self) -> bool:
        return self.is_aborted

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take everything."""


class Line:
    """One connection."""

    def __init__(self, port: Port) -> None:
        self.wire = Wire()
        self.station = Connection(port)
        self.station.connection_made(self.wire)
        self._decoder = FrameDecoder()
        self._sent = 0
        self.taken = 0

    def frames(self) -> list[IFrame | SFrame | UFunction]:
        """Take the frames that were written since the last time."""
        data = bytes(self.wire.written)
        self.wire.written.clear()
        return self._decoder.receive(data)

    def say(self, function: UFunction) -> list[IFrame | SFrame | UFunction]:
        self.station.data_received(encode_u(function))
        return self.frames()

    def start(self) -> list[Asdu]:
        """Start data transfer and take what comes unasked."""
        first, *rest = self.say(UFunction.STARTDT_ACT)
        assert first is UFunction.STARTDT_CON
        return self._decoded(rest)

    def send(self, raw: bytes) -> None:
        self.station.data_received(encode_i(self._sent, self.taken, raw))
        self._sent += 1

    def ask(self, raw: bytes) -> list[Asdu]:
        """Send a request and take all that follows, acknowledging as often as it takes."""
        self.send(raw)
        return self.rest()

    def rest(self) -> list[Asdu]:
        """Take what comes until nothing comes any more."""
        found: list[Asdu] = []
        while frames := self.frames():
            found += self._decoded(frames)
            self.acknowledge()
        return found

    def acknowledge(self) -> None:
        self.station.data_received(encode_s(self.taken))

    def _decoded(self, frames: list[IFrame | SFrame | UFunction]) -> list[Asdu]:
        found = []
        for frame in frames:
            if isinstance(frame, IFrame):
                assert frame.send_number == self.taken
                self.taken = (self.taken + 1) % 32_768
                found.append(decode_asdu(frame.asdu))
        return found


def port_of(target: Device, **options: object) -> Port:
    return Port(Group(target, options_of(**options)), FakeClock())


def line_of(target: Device, **options: object) -> Line:
    return Line(port_of(target, **options))


def brief(found: list[Asdu]) -> list[tuple[int, int, bool]]:
    """Give type, cause and refusal of each ASDU."""
    return [(item.head.type_id, item.head.cause, item.head.is_negative) for item in found]


def elements(found: list[Asdu]) -> list[object]:
    return [cast("object", item.element) for item in found]
