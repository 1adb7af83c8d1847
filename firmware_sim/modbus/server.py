"""Serve one device on one TCP port.

May touch the network. Requests of a connection are answered in their order,
however many arrive at once; what a client does not take is never held beyond
a bound, because reading stops until it is taken.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from firmware_sim.device import Device
from firmware_sim.modbus.faults import OFFLINE, Delivery, disturb
from firmware_sim.modbus.framing import Framer, FramingError, Request, encode_frame
from firmware_sim.modbus.pdu import GATEWAY_TARGET_FAILED, answer, exception
from kit.logs import get_logger

CONNECTIONS_MAX = 16
"""Connections a device keeps open; one more is closed at once."""
LATE_ANSWERS_MAX = 64
"""Held back answers of a connection; reading stops until one of them went out."""
WRITE_BYTES_MAX = 256 * 1024
"""Unsent bytes of a connection at which reading stops."""
_BATCH_BYTES = 64 * 1024
_EXCEPTION_BIT = 0x80

_log = get_logger("firmware_sim.modbus")


class _Connection(asyncio.Protocol):
    """One client of one device."""

    __slots__ = ("_blocked", "_device", "_framer", "_late", "_loop", "_open", "_transport")

    def __init__(self, device: Device, open_connections: set[_Connection]) -> None:
        self._device: Final = device
        self._open: Final = open_connections
        self._framer: Final = Framer()
        self._late: Final[list[asyncio.TimerHandle]] = []
        self._loop: Final = asyncio.get_running_loop()
        self._blocked = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it when the device is offline or full."""
        link = cast("asyncio.Transport", transport)
        fault = self._device.fault
        offline = fault is not None and fault.kind == OFFLINE
        if offline or len(self._open) >= CONNECTIONS_MAX:
            self._device.counters.refused += 1
            link.abort()
            return
        link.set_write_buffer_limits(high=WRITE_BYTES_MAX)
        self._transport = link
        self._open.add(self)
        self._device.counters.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Forget the connection and what was held back for it."""
        self._transport = None
        self._open.discard(self)
        for handle in self._late:
            handle.cancel()
        self._late.clear()

    def pause_writing(self) -> None:
        """Stop answering: the client does not take what it asked for."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Go on with the requests that wait."""
        self._blocked = False
        self._serve()

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are whole now."""
        try:
            self._framer.feed(data)
        except FramingError as error:
            if self._transport is not None:
                self._give_up(self._transport, error)
            return
        self._serve()

    def abort(self) -> None:
        """Close the connection without sending what is left."""
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, transport: asyncio.Transport, error: FramingError) -> None:
        """Close after bytes that are no Modbus TCP; answers on their way still go out."""
        self._device.counters.framing_errors += 1
        _log.info("modbus_stream_refused", device=self._device.name, reason=str(error))
        transport.close()

    def _serve(self) -> None:
        """Answer in order until the requests, or the room for answers, run out."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            self._drain(transport)
        except FramingError as error:
            self._give_up(transport, error)
            return
        if self._full():
            transport.pause_reading()
        elif not transport.is_reading() and not transport.is_closing():
            transport.resume_reading()

    def _drain(self, transport: asyncio.Transport) -> None:
        """Answer what is whole, several answers in one write.

        Raises:
            FramingError: The stream is broken; what was answered before it went out.
        """
        ready = bytearray()
        try:
            while not self._full() and (request := self._framer.take()) is not None:
                frame = self._answer(request)
                if frame is None:
                    transport.close()
                    return
                ready += frame
                if len(ready) >= _BATCH_BYTES:
                    transport.write(bytes(ready))
                    ready.clear()
        finally:
            if ready:
                transport.write(bytes(ready))

    def _full(self) -> bool:
        """Whether answers wait in such a number that no further request is taken."""
        return self._blocked or len(self._late) >= LATE_ANSWERS_MAX

    def _answer(self, request: Request) -> bytes | None:
        """Give the bytes to send now, or None where a fault closes the connection."""
        device = self._device
        counters = device.counters
        counters.requests += 1
        if request.unit != device.unit_id:
            pdu = exception(request.pdu[0], GATEWAY_TARGET_FAILED)
        else:
            pdu = answer(device, request.pdu)
        if pdu[0] & _EXCEPTION_BIT:
            counters.exceptions += 1
        fault = None if device.fault is None else device.hit(request.pdu[0])
        if fault is None:
            return encode_frame(request.transaction, request.unit, pdu)
        delivery = disturb(fault, request, pdu)
        if delivery.close:
            return None
        if delivery.delay_ms:
            self._hold_back(delivery)
            return b""
        return delivery.payload

    def _hold_back(self, delivery: Delivery) -> None:
        """Send the answer later; the connection may be gone by then."""

        def send() -> None:
            self._late.remove(handle)
            if self._transport is not None:
                self._transport.write(delivery.payload)
                self._serve()

        handle = self._loop.call_later(delivery.delay_ms / 1_000, send)
        self._late.append(handle)


class ModbusServer:
    """A listening port with one device behind it."""

    def __init__(self, device: Device) -> None:
        """Prepare the server; nothing listens yet.

        Args:
            device: Answers every request to its unit id.
        """
        self._device = device
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen.

        Args:
            host: Address to bind.
            port: 0..65535; 0 takes a free one.

        Returns:
            The address and port that are bound.

        Raises:
            OSError: The address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, host, port)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    def _connect(self) -> _Connection:
        return _Connection(self._device, self._connections)

    def drop_connections(self) -> None:
        """Close every open connection at once."""
        for connection in list(self._connections):
            connection.abort()

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        if self._server is None:
            return
        self._server.close()
        self.drop_connections()
        await self._server.wait_closed()
        self._server = None
