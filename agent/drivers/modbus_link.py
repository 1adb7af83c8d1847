"""One Modbus TCP connection with one request in flight, and nothing taken on trust.

Every answer must come whole, in time, once, under the transaction id, the unit and the function that were asked for,
with the length that follows from the request. Anything else ends the connection, so that a late or mixed answer cannot
be taken for the answer to a later request. A whole file is read from the callback that receives its answers: no task
is switched and no timer is set per request (docs/adr/0008).

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1; Application Protocol Specification V1.1b3, 6.14.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from dataclasses import dataclass
from typing import Final, Protocol, cast

from agent.drivers.link import LinkCounters, LinkError

READ_FILE_RECORD: Final = 20
PDU_BYTES_MAX: Final = 253
SERVER_DEVICE_BUSY: Final = 6
BUSY_PAUSE_MS_MAX: Final = 60_000

_HEADER: Final = struct.Struct(">HHHB")
_FILE_REQUEST: Final = struct.Struct(">HHHBBBBHHH")
_FILE_ANSWER: Final = struct.Struct(">HHHBBBBB")
_FILE_ANSWER_BYTES: Final = _FILE_ANSWER.size
_LENGTH_END: Final = 6
_LENGTH_MIN: Final = 2
_EXCEPTION: Final = 0x80
_EXCEPTION_BYTES: Final = 2
_TRANSACTION_MASK: Final = 0xFFFF
_REFERENCE_TYPE: Final = 6

EXCEPTION_NAMES: Final = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}


class FileTransfer(Protocol):
    """Decides what is read next; knows nothing of connections."""

    def wanted(self) -> tuple[int, int, int] | None:
        """Return file number, record number and count of registers (1..121), or None at the end."""
        ...

    def took(self, data: bytes) -> None:
        """Take the bytes that were asked for."""
        ...

    def refused(self, code: int) -> bool:
        """Take an exception code; tell whether `wanted` still has an answer worth asking."""
        ...


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """How a connection treats its device."""

    unit_id: int
    timeout_ms: int
    pacing_ms: int
    busy_repeats: int = 8
    busy_pause_ms: int = 20
    """Pause before the first repeat; each further one is twice as long."""


def exception_text(code: int) -> str:
    """Name an exception code."""
    return f"exception {code} ({EXCEPTION_NAMES.get(code, 'unknown code')})"


class Link(asyncio.Protocol):
    """A connection to one device; see the module."""

    __slots__ = (
        "_answers_left",
        "_buffer",
        "_busy_repeats",
        "_counters",
        "_frame_bytes",
        "_function",
        "_head",
        "_limits",
        "_loop",
        "_lost",
        "_pause",
        "_request",
        "_sent_s",
        "_span",
        "_timeout_s",
        "_transaction",
        "_transfer",
        "_transport",
        "_waiter",
        "_watchdog",
        "ended_s",
    )

    def __init__(self, limits: LinkLimits, counters: LinkCounters) -> None:
        self._limits = limits
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._timeout_s = limits.timeout_ms / 1000
        self._transport: asyncio.Transport | None = None
        self._lost = ""
        self._waiter: asyncio.Future[bytes] | None = None
        self._transfer: FileTransfer | None = None
        self._request = b""
        self._span = (0, 0, 0)
        self._function = 0
        self._transaction = 0
        self._buffer = b""
        self._head = b""
        self._frame_bytes = 0
        self._sent_s = 0.0
        self._busy_repeats = 0
        self._answers_left = 0
        self.ended_s = 0.0
        """When the connection ended, by the loop's clock."""
        self._watchdog: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None

    # --- for the driver -----------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Tell whether the connection can take a request."""
        return self._transport is not None

    def serve(self, limits: LinkLimits, counters: LinkCounters) -> None:
        """Ask for this device from now on; nothing may be in flight."""
        assert self._waiter is None, "one request in flight"
        self._limits = limits
        self._counters = counters
        self._timeout_s = limits.timeout_ms / 1000

    async def ask(self, pdu: bytes) -> bytes:
        """Send one request and return its answer, which may be an exception answer.

        Args:
            pdu: Function code and data, 1..253 bytes.

        Returns:
            A PDU of the same function, or its exception answer of two bytes. Busy answers are repeated here.

        Raises:
            LinkError: Timeout, a closed connection, an odd answer, or a device that stays busy.
        """
        self._transfer = None
        self._request = pdu
        return await self._run()

    async def read_file(self, transfer: FileTransfer, requests_max: int = 0) -> None:
        """Ask with FC20 for all that ``transfer`` wants, one request at a time.

        Args:
            transfer: Says what to ask for, and takes it.
            requests_max: Return after so many requests, though more is wanted; 0 for no such limit.

        Raises:
            LinkError: Timeout, a closed connection, an odd answer, or a device that stays busy.
        """
        if transfer.wanted() is None:
            return
        self._transfer = transfer
        self._answers_left = requests_max or -1
        try:
            await self._run()
        finally:
            self._transfer = None

    def abort(self) -> None:
        """Close the connection at once, without waiting for anything."""
        self._fail(LinkError("closed", "the connection was closed on this side"))

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._counters.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits for an answer."""
        detail = "the device closed the connection" if exc is None else f"the connection broke: {exc}"
        if self._transport is not None:
            self._fail(LinkError("tls" if isinstance(exc, ssl.SSLError) else "closed", detail))

    def data_received(self, data: bytes) -> None:
        """Take an answer; the usual one, a whole answer to FC20, takes the shortest way."""
        transfer = self._transfer
        is_whole = transfer is not None and len(data) == self._frame_bytes and not self._buffer
        if is_whole and data.startswith(self._head):
            assert transfer is not None, "a frame length is only known while a file is read"
            content = data[_FILE_ANSWER_BYTES:]
            self._counters.bytes_read += len(content)
            self._busy_repeats = 0
            self._frame_bytes = 0
            transfer.took(content)
            self._next_of_file(transfer)
            return
        self._collect(data)

    # --- sending ------------------------------------------------------------------------------------------------

    async def _run(self) -> bytes:
        assert self._waiter is None, "one request in flight"
        if self._transport is None:
            raise LinkError("closed", self._lost or "the connection is closed")
        waiter: asyncio.Future[bytes] = self._loop.create_future()
        self._waiter = waiter
        self._busy_repeats = 0
        self._sent_s = self._loop.time()
        self._watchdog = self._loop.call_later(self._timeout_s, self._watch)
        try:
            if self._transfer is None:
                self._schedule(self._limits.pacing_ms)
            else:
                self._next_of_file(self._transfer)
            return await waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None
            self._watchdog.cancel()
            if self._pause is not None:
                self._pause.cancel()
                self._pause = None

    def _schedule(self, pause_ms: int) -> None:
        """Send the request now or after a pause, which does not count as the device's time."""
        if pause_ms == 0:
            self._sent_s = self._loop.time()
            self._send()
        else:
            self._sent_s = self._loop.time() + pause_ms / 1000
            self._pause = self._loop.call_later(pause_ms / 1000, self._send)

    def _send(self) -> None:
        transport = self._transport
        if transport is None:
            return
        self._counters.requests += 1
        self._transaction = transaction = (self._transaction + 1) & _TRANSACTION_MASK
        unit = self._limits.unit_id
        if self._transfer is None:
            self._function = self._request[0]
            transport.write(_HEADER.pack(transaction, 0, len(self._request) + 1, unit) + self._request)
            return
        number, record, count = self._span
        size = count * 2
        self._frame_bytes = _FILE_ANSWER_BYTES + size
        self._head = _FILE_ANSWER.pack(
            transaction, 0, size + 5, unit, READ_FILE_RECORD, size + 2, size + 1, _REFERENCE_TYPE
        )
        transport.write(
            _FILE_REQUEST.pack(transaction, 0, 10, unit, READ_FILE_RECORD, 7, _REFERENCE_TYPE, number, record, count)
        )

    def _next_of_file(self, transfer: FileTransfer) -> None:
        span = transfer.wanted()
        if span is None or self._answers_left == 0:
            self._finish(b"")
            return
        self._answers_left -= 1
        self._function = READ_FILE_RECORD
        self._span = span
        self._schedule(self._limits.pacing_ms)

    # --- receiving ----------------------------------------------------------------------------------------------

    def _collect(self, data: bytes) -> None:
        """Put parts of a frame together and judge it as early as it can be judged."""
        if self._waiter is None or self._waiter.done() or self._pause_runs():
            self._fail(LinkError("unasked", f"{len(data)} bytes came that nobody asked for"))
            return
        buffer = self._buffer + data
        problem = self._header_problem(buffer)
        if problem is not None:
            self._fail(problem)
            return
        if len(buffer) < _LENGTH_END:
            self._buffer = buffer
            return
        end = _LENGTH_END + int.from_bytes(buffer[4:6], "big")
        if len(buffer) < end:
            self._buffer = buffer
            return
        self._buffer = b""
        if len(buffer) > end:
            self._fail(LinkError("unasked", f"{len(buffer) - end} bytes follow the answer"))
            return
        self._frame_bytes = 0
        self._judge(buffer[_HEADER.size :])

    def _header_problem(self, buffer: bytes) -> LinkError | None:
        """Say what is wrong with as much of the header as is there."""
        if any(buffer[2:4]):
            return LinkError("garbage", "sends bytes that are no Modbus TCP (protocol id is not 0)")
        found = int.from_bytes(buffer[:2], "big")
        if len(buffer) >= 2 and found != self._transaction:  # noqa: PLR2004 - the width of the field
            return LinkError("wrong-transaction", f"answers transaction {found}, {self._transaction} was asked")
        if len(buffer) >= _LENGTH_END:
            length = int.from_bytes(buffer[4:6], "big")
            if not _LENGTH_MIN <= length <= PDU_BYTES_MAX + 1:
                return LinkError("wrong-length", f"announces a frame of {length} bytes, 2..254 are allowed")
        if len(buffer) >= _HEADER.size and buffer[6] != self._limits.unit_id:
            return LinkError("wrong-unit", f"answers as unit {buffer[6]}, unit {self._limits.unit_id} was asked")
        return None

    def _judge(self, pdu: bytes) -> None:
        """Take a whole answer in its right frame."""
        if pdu[0] == self._function | _EXCEPTION:
            self._take_exception(pdu)
        elif pdu[0] != self._function:
            self._fail(LinkError("wrong-function", f"answers function {pdu[0]}, function {self._function} was asked"))
        elif self._transfer is None:
            self._finish(pdu)
        else:
            self._take_records(self._transfer, pdu)

    def _take_records(self, transfer: FileTransfer, pdu: bytes) -> None:
        """Take an answer to FC20 that came in parts, or refuse it."""
        expected = self._head[_HEADER.size :]
        size = expected[1] - 2
        if len(pdu) != len(expected) + size or not pdu.startswith(expected):
            due = len(expected) + size
            detail = f"answers {len(pdu)} bytes to FC20, {due} were asked"
            if len(pdu) == due:
                detail = f"answers FC20 with the headings {pdu[1:4].hex()}, {expected[1:4].hex()} was asked"
            self._fail(LinkError("wrong-length", detail))
            return
        content = pdu[len(expected) :]
        self._counters.bytes_read += len(content)
        self._busy_repeats = 0
        transfer.took(content)
        self._next_of_file(transfer)

    def _take_exception(self, pdu: bytes) -> None:
        if len(pdu) != _EXCEPTION_BYTES:
            self._fail(LinkError("wrong-length", f"answers an exception of {len(pdu)} bytes, 2 are due"))
        elif pdu[1] == SERVER_DEVICE_BUSY:
            self._repeat_later()
        elif self._transfer is None:
            self._finish(pdu)
        elif self._transfer.refused(pdu[1]):
            self._busy_repeats = 0
            self._next_of_file(self._transfer)
        else:
            self._finish(pdu)

    def _repeat_later(self) -> None:
        self._counters.busy += 1
        limits = self._limits
        if self._busy_repeats >= limits.busy_repeats:
            self._fail(LinkError("busy", f"is still busy after {limits.busy_repeats} repeats"))
            return
        self._schedule(min(limits.busy_pause_ms << self._busy_repeats, BUSY_PAUSE_MS_MAX) + limits.pacing_ms)
        self._busy_repeats += 1

    # --- the end of a request -----------------------------------------------------------------------------------

    def _pause_runs(self) -> bool:
        """Tell whether a pause before a request is running, in which no answer is due."""
        return self._pause is not None and self._loop.time() < self._sent_s

    def _watch(self) -> None:
        """End a request that took too long, or look again when its time is up."""
        left_s = self._sent_s + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._watchdog = self._loop.call_later(left_s, self._watch)
        elif self._buffer:
            detail = f"an answer broke off after {len(self._buffer)} bytes for {self._limits.timeout_ms} ms"
            self._fail(LinkError("broken-off", detail))
        else:
            detail = f"no answer to function {self._function} within {self._limits.timeout_ms} ms"
            self._fail(LinkError("timeout", detail))

    def _finish(self, pdu: bytes) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(pdu)

    def _fail(self, error: LinkError) -> None:
        """Close the connection and end what waits for it."""
        transport, self._transport = self._transport, None
        self.ended_s = self._loop.time()
        self._lost = error.detail
        self._buffer = b""
        self._frame_bytes = 0
        if transport is not None:
            transport.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
