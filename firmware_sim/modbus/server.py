"""Serve one device, or the units behind a serial gateway, on one TCP port.

May touch the network. Requests of a connection are answered in their order,
however many arrive at once; what a client does not take is never held beyond
a bound, because reading stops until it is taken.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, cast

from firmware_sim.device import CONNECTIONS_MAX, DOWN, Device
from firmware_sim.modbus.faults import Delivery, Exchange, applies, disturb
from firmware_sim.modbus.framing import Framer, FramingError, Request, encode_frame
from firmware_sim.modbus.pdu import GATEWAY_TARGET_FAILED, answer, exception
from firmware_sim.modbus.unit import Unit
from kit.logs import get_logger

LATE_ANSWERS_MAX = 64
"""Held back answers of a connection; reading stops until one of them went out."""
WRITE_BYTES_MAX = 256 * 1024
"""Unsent bytes of a connection at which reading stops."""
_BATCH_BYTES = 64 * 1024
_EXCEPTION_BIT = 0x80

_log = get_logger("firmware_sim.modbus")


class _Port:
    """The units behind one port, and who is connected to it."""

    __slots__ = ("connections", "devices", "units")

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self.units: Final = units
        self.devices: Final = tuple(unit.device for unit in units.values())
        self.connections: Final[set[_Connection]] = set()

    @property
    def alone(self) -> Device | None:
        """The device, where the port is its own; a gateway answers for devices that are away."""
        return self.devices[0] if len(self.devices) == 1 else None

    def refuses(self) -> bool:
        """Whether one more connection is closed at once."""
        device = self.alone
        if device is None:
            return len(self.connections) >= CONNECTIONS_MAX
        return not device.reachable or len(self.connections) >= device.connections_max

    def drop(self) -> None:
        """Close every open connection at once."""
        for connection in list(self.connections):
            connection.abort()


class _Connection(asyncio.Protocol):
    """One client of one port."""

    __slots__ = ("_blocked", "_dead", "_framer", "_free_s", "_late", "_loop", "_port", "_previous", "_transport")

    def __init__(self, port: _Port) -> None:
        self._port: Final = port
        self._framer: Final = Framer()
        self._previous = b""
        self._dead = False
        self._free_s = 0.0
        self._late: Final[list[asyncio.TimerHandle]] = []
        self._loop: Final = asyncio.get_running_loop()
        self._blocked = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it when the device is away or full."""
        link = cast("asyncio.Transport", transport)
        refused = self._port.refuses()
        for device in self._port.devices:
            if refused:
                device.counters.refused += 1
            else:
                device.counters.connections += 1
        if refused:
            link.abort()
            return
        link.set_write_buffer_limits(high=WRITE_BYTES_MAX)
        self._transport = link
        self._port.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Forget the connection and what was held back for it."""
        self._transport = None
        self._port.connections.discard(self)
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
        if self._dead:
            return
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
        for device in self._port.devices:
            device.counters.framing_errors += 1
        _log.info("modbus_stream_refused", device=self._port.devices[0].name, reason=str(error))
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
        return self._blocked or self._dead or len(self._late) >= LATE_ANSWERS_MAX

    def _answer(self, request: Request) -> bytes | None:
        """Give the bytes to send now, or None where a fault closes the connection."""
        unit = self._port.units.get(request.unit)
        device = self._port.devices[0] if unit is None else unit.device
        counters = device.counters
        counters.requests += 1
        if unit is None or not device.reachable:
            pdu = exception(request.pdu[0], GATEWAY_TARGET_FAILED)
        else:
            pdu = answer(unit, request.pdu)
        if pdu[0] & _EXCEPTION_BIT:
            counters.exceptions += 1
        fault = device.fault
        if fault is not None and applies(fault, request):
            fault = device.hit(request.pdu[0])
            if fault is not None:
                delivery = disturb(fault, Exchange(request, pdu, self._previous))
                self._previous = encode_frame(request.transaction, request.unit, pdu)
                return self._delivered(delivery, device)
        frame = encode_frame(request.transaction, request.unit, pdu)
        self._previous = frame
        return frame

    def _delivered(self, delivery: Delivery, device: Device) -> bytes | None:
        """Do what a fault asks for; the result is that of ``_answer``."""
        if delivery.restart_ms:
            device.restart(delivery.restart_ms)
        if delivery.close:
            return None if self._port.alone is not None else b""
        self._dead = delivery.dead
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

        begin_s = max(self._loop.time(), self._free_s) if delivery.queued else self._loop.time()
        due_s = begin_s + delivery.delay_ms / 1_000
        self._free_s = max(self._free_s, due_s)
        handle = self._loop.call_at(due_s, send)
        self._late.append(handle)


class ModbusServer:
    """A listening port with one device behind it, or with several units as a serial gateway has them."""

    def __init__(self, *units: Unit | Device, tls: ssl.SSLContext | None = None) -> None:
        """Prepare the server; nothing listens yet.

        Args:
            units: At least one; each answers the requests to its unit id, which differ.
            tls: For Modbus/TCP Security; the context asks for a client certificate.

        Raises:
            ValueError: Two units have one unit id.
        """
        views = [unit if isinstance(unit, Unit) else Unit(unit) for unit in units]
        by_id = {view.device.unit_id: view for view in views}
        if not views or len(by_id) != len(views):
            raise ValueError("the units behind one port need unit ids of their own")
        self._port = _Port(by_id)
        self._tls = tls
        self._server: asyncio.Server | None = None
        if self._port.alone is not None:
            self._port.alone.listen(self._hear)

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
        self._server = await loop.create_server(self._connect, host, port, ssl=self._tls)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    def _connect(self) -> _Connection:
        return _Connection(self._port)

    def _hear(self, what: str) -> None:
        if what == DOWN:
            self._port.drop()

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        if self._server is None:
            return
        self._server.close()
        self._port.drop()
        await self._server.wait_closed()
        self._server = None
