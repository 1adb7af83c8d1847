"""A tap on the line between agent and device: it carries, keeps every byte of the agent, and judges what was asked.

The judges share no code with our drivers and codecs: what a driver encodes wrongly, they would still see. Each has a
list of what reading needs; whatever is not on it is an offence, be it known to do harm or not known at all.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.interop import ied

HOST: Final = "127.0.0.1"


@dataclass(slots=True)
class Record:
    """What one agent sent to one device.

    Attributes:
        streams: Bytes by connection, in the order of connecting.
    """

    streams: list[bytearray] = field(default_factory=list)

    def judged(self, protocol: str) -> Judgement:
        """Judge all connections."""
        found = Judgement()
        for stream in self.streams:
            JUDGES[protocol](bytes(stream), found)
        return found


@dataclass(slots=True)
class Judgement:
    """What was asked, how often, and what no reader may ask."""

    asked: Counter[str] = field(default_factory=Counter)
    offences: list[str] = field(default_factory=list)

    def take(self, name: str, *, is_reading: bool) -> None:
        """Count a request, or blame it."""
        if is_reading:
            self.asked[name] += 1
        else:
            self.offences.append(name)


@asynccontextmanager
async def tapped(target: int) -> AsyncIterator[tuple[int, Record]]:
    """Carry connections to a port of this machine; give the port to use instead, and the record."""
    record = Record()
    tasks: set[asyncio.Task[None]] = set()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray | None) -> None:
        with suppress(ConnectionError):
            while piece := await source.read(65_536):
                if kept is not None:
                    kept += piece
                sink.write(piece)
                await sink.drain()
        sink.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        kept = bytearray()
        record.streams.append(kept)
        writers = [writer]
        try:
            there_reader, there = await asyncio.open_connection(HOST, target)
            writers.append(there)
            await asyncio.gather(copy(reader, there, kept), copy(there_reader, writer, None))
        except (OSError, asyncio.CancelledError):
            pass  # the device is away, or the test is over: the agent finds its connection closed
        finally:
            for each in writers:
                each.transport.abort()

    server = await asyncio.start_server(carry, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1], record
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


# --- Modbus -------------------------------------------------------------------------------------------------------

_MODBUS_READING: Final = {3: "read-holding", 4: "read-input", 20: "read-file"}
_IDENTIFICATION: Final = b"\x2b\x0e"


def judge_modbus(stream: bytes, found: Judgement) -> None:
    """MBAP header, then the function code: MODBUS Application Protocol Specification V1.1b3, 6."""
    at = 0
    while at < len(stream):
        if len(stream) - at < 8 or stream[at + 2 : at + 4] != b"\0\0":
            found.take(f"no Modbus: {stream[at : at + 8].hex()}", is_reading=False)
            return
        end = at + 6 + int.from_bytes(stream[at + 4 : at + 6], "big")
        pdu = stream[at + 7 : end]
        if end > len(stream) or not pdu:
            found.take("a frame that is not whole", is_reading=False)
            return
        if pdu[:2] == _IDENTIFICATION:
            found.take("identify", is_reading=True)
        else:
            name = _MODBUS_READING.get(pdu[0], f"function {pdu[0]}")
            found.take(name, is_reading=pdu[0] in _MODBUS_READING)
        at = end


# --- IEC 60870-5-104 ----------------------------------------------------------------------------------------------

_U_FRAMES: Final = {
    0x07: "STARTDT act",
    0x0B: "STARTDT con",
    0x13: "STOPDT act",
    0x23: "STOPDT con",
    0x43: "TESTFR act",
    0x83: "TESTFR con",
}
_INTERROGATION, _COUNTERS, _READ, _CALL, _ACKNOWLEDGE = 100, 101, 102, 122, 124
_ACTIVATION, _DEACTIVATION, _REQUEST, _FILE = 6, 8, 5, 13
_CALLS: Final = {0: "directory", 1: "select file", 2: "call file", 5: "select section", 6: "call section"}


def judge_iec104(stream: bytes, found: Judgement) -> None:
    """APCI, then the type, cause and qualifier: IEC 60870-5-104, 5 and IEC 60870-5-101, 7.3."""
    at = 0
    while at < len(stream):
        if len(stream) - at < 6 or stream[at] != 0x68 or stream[at + 1] < 4 or at + 2 + stream[at + 1] > len(stream):
            found.take(f"no APDU: {stream[at : at + 8].hex()}", is_reading=False)
            return
        end = at + 2 + stream[at + 1]
        control = stream[at + 2]
        if control & 1 == 0:
            _judge_asdu(stream[at + 6 : end], found)
        elif control == 1 and end - at == 6:
            found.take("S", is_reading=True)
        else:
            name = _U_FRAMES.get(control, f"control octet {control:#04x}")
            found.take(name, is_reading=control in _U_FRAMES and end - at == 6)
        at = end


def _judge_asdu(asdu: bytes, found: Judgement) -> None:
    """Judge one object of a request; a reader's requests have one object and no more."""
    if len(asdu) < 9 or asdu[1] != 1:
        found.take(f"an ASDU of no reader: {asdu.hex()}", is_reading=False)
        return
    type_id, cause, body = asdu[0], asdu[2], asdu[9:]
    if type_id == _INTERROGATION and len(body) == 1:
        found.take("interrogation", is_reading=cause in {_ACTIVATION, _DEACTIVATION} and 20 <= body[0] <= 36)
    elif type_id == _COUNTERS and len(body) == 1:
        is_reading = cause in {_ACTIVATION, _DEACTIVATION} and body[0] >> 6 == 0 and 1 <= body[0] <= 5
        found.take("counters" if is_reading else f"counter interrogation {body[0]:#04x}", is_reading=is_reading)
    elif type_id == _READ and not body:
        found.take("read", is_reading=cause == _REQUEST)
    elif type_id == _CALL and len(body) == 4:
        action = body[3]
        is_reading = action in _CALLS and cause == (_REQUEST if action == 0 else _FILE)
        found.take(_CALLS.get(action, f"file call {action}"), is_reading=is_reading)
    elif type_id == _ACKNOWLEDGE and len(body) == 4:
        found.take("acknowledge", is_reading=cause == _FILE and 1 <= body[3] & 0x0F <= 4)
    else:
        found.take(f"type {type_id}", is_reading=False)


# --- IEC 61850 ----------------------------------------------------------------------------------------------------


def judge_mms(stream: bytes, found: Judgement) -> None:
    """Confirmed services, as `tests.interop.ied.Tap` names them."""
    for service in ied.Tap().take(stream):
        found.take(service, is_reading=service in ied.READING.values())


JUDGES: Final[dict[str, Callable[[bytes, Judgement], None]]] = {
    "iec104": judge_iec104,
    "mms": judge_mms,
    "modbus": judge_modbus,
}
"""By protocol; every protocol with a network address must have one."""

# --- folders ------------------------------------------------------------------------------------------------------

_CHANGES: Final = frozenset(
    f"os.{what}"
    for what in ("remove", "rename", "truncate", "chmod", "chown", "utime", "mkdir", "rmdir", "link", "symlink")
) | {"os.setxattr", "os.removexattr"}
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watched: list[tuple[str, Judgement]] = []


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched or (event != "open" and event not in _CHANGES):
        return
    folder, found = _watched[-1]
    if not any(
        isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(folder) for path in arguments
    ):
        return
    if event != "open":
        found.take(event, is_reading=False)
        return
    flags = arguments[2] if len(arguments) > 2 else 0
    found.take("open", is_reading=not (isinstance(flags, int) and flags & _WRITING))


@contextmanager
def watched(folder: Path) -> Iterator[Judgement]:
    """Judge what this process asks of the operating system below a folder; every thread of it counts."""
    if not getattr(sys, "_gridwitness_tap", False):  # a hook cannot be removed: one is enough
        sys.addaudithook(_audit)
        sys._gridwitness_tap = True  # type: ignore[attr-defined]
    found = Judgement()
    _watched.append((str(folder), found))
    try:
        yield found
    finally:
        _watched.pop()


# --- what no reader may send --------------------------------------------------------------------------------------


def modbus_frame(pdu: bytes) -> bytes:
    """Put a header before a PDU."""
    return struct.pack(">HHHB", 7, 0, len(pdu) + 1, 1) + pdu


def iec104_frame(type_id: int, cause: int, body: bytes, count: int = 1) -> bytes:
    """Build an I frame with one object."""
    asdu = struct.pack("<BBBBH", type_id, count, cause, 0, 7) + b"\1\0\0" + body
    return bytes((0x68, 4 + len(asdu), 0, 0, 0, 0)) + asdu


FORBIDDEN: Final[dict[str, dict[str, bytes]]] = {
    "modbus": {
        "write coil": modbus_frame(b"\x05\0\1\xff\0"),
        "write register": modbus_frame(b"\x06\0\1\0\1"),
        "restart communications": modbus_frame(b"\x08\0\1\0\0"),
        "write coils": modbus_frame(b"\x0f\0\1\0\1\1\1"),
        "write registers": modbus_frame(b"\x10\0\1\0\1\2\0\1"),
        "write file": modbus_frame(b"\x15\x09\6\0\1\0\0\0\1\0\0"),
        "mask register": modbus_frame(b"\x16\0\1\0\0\0\0"),
        "read and write registers": modbus_frame(b"\x17\0\0\0\1\0\0\0\1\2\0\1"),
        "another interface": modbus_frame(b"\x2b\x0d\0\0"),
        "half a frame": modbus_frame(b"\x03\0\0\0\1")[:-1],
    },
    "iec104": {
        "single command": iec104_frame(45, 6, b"\x01"),
        "double command": iec104_frame(46, 6, b"\x02"),
        "regulating step": iec104_frame(47, 6, b"\x02"),
        "set point": iec104_frame(50, 6, bytes(5)),
        "bitstring": iec104_frame(51, 6, bytes(4)),
        "command with time": iec104_frame(58, 6, bytes(8)),
        "clock synchronisation": iec104_frame(103, 6, bytes(7)),
        "reset": iec104_frame(105, 6, b"\1"),
        "parameter": iec104_frame(110, 6, bytes(3)),
        "parameter activation": iec104_frame(113, 6, b"\1"),
        "counters frozen": iec104_frame(101, 6, b"\x45"),
        "counters frozen and reset": iec104_frame(101, 6, b"\x85"),
        "counters reset": iec104_frame(101, 6, b"\xc5"),
        "file deleted": iec104_frame(122, 13, b"\1\0\0\4"),
        "file offered": iec104_frame(120, 13, b"\1\0\1\0\0\0"),
        "section offered": iec104_frame(121, 13, b"\1\0\1\1\0\0\0"),
        "segment": iec104_frame(125, 13, b"\1\0\1\1x"),
        "two objects": iec104_frame(100, 6, b"\x14", count=2),
        "unknown control": b"\x68\x04\x03\0\0\0",
        "no APDU": b"\x00",
    },
}
"""By protocol and name: each must be an offence to its judge."""
