"""Serve one device as a controlled station on one TCP port.

May touch the network and the clock. A connection takes the steps of its replies only while the window of unacknowledged
frames and the socket have room, so that an interrogation of any size needs no queue; events go before replies.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Final, cast

from firmware_sim.device import DOWN, Device
from firmware_sim.iec104.group import Group
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.station import Station
from firmware_sim.iec104.steps import Altered, Close, Deaf, Raw, Reply, Step, Wait
from kit.clock import Clock, SystemClock
from kit.logs import get_logger
from wire.iec104.errors import Iec104Error
from wire.iec104.link import ControlledLink, LinkState, Received, Started, Stopped
from wire.iec104.types import Cause, TypeId

REPLIES_MAX: Final = 64
"""Requests of a connection that wait for their replies; whoever sends more is closed out."""
WRITE_BYTES_MAX: Final = 256 * 1024
"""Unsent bytes of a connection at which no more steps are taken."""
BATCH_STEPS: Final = 64
"""Steps after which bytes are written."""
_INTERROGATIONS: Final = frozenset({int(TypeId.C_IC_NA_1), int(TypeId.C_CI_NA_1)})
_CAUSE: Final = 0x3F

_log = get_logger("firmware_sim.iec104")


class Port:
    """The device behind a port, and who is connected to it."""

    def __init__(self, group: Group, clock: Clock) -> None:
        """Begin without connections."""
        self.group: Final = group
        self.clock: Final = clock
        self.connections: Final[set[Connection]] = set()


class Connection(asyncio.Protocol):
    """One controlling station, connected."""

    def __init__(self, port: Port) -> None:
        """Prepare for a connection."""
        self._port: Final = port
        self._group: Final = port.group
        self._loop: Final = asyncio.get_running_loop()
        self._clock: Final = port.clock
        options = self._group.options
        self._link: Final = ControlledLink(options.link_parameters(), self._clock.monotonic_ms())
        files = self._group.files()
        self._station: Final = Station(self._group.device, options, self._group.clock, files)
        self._replies: Final[deque[tuple[int, Reply]]] = deque()
        self._sent: Final[deque[bytes | None]] = deque()
        """What waits to be acknowledged: events, and None for what is no event."""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._pause: asyncio.TimerHandle | None = None
        self._is_blocked = False
        self._is_deaf = False

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it when the device is away or full."""
        link = cast("asyncio.Transport", transport)
        device = self._group.device
        if not device.reachable or len(self._port.connections) >= device.connections_max:
            device.counters.refused += 1
            link.abort()
            return
        device.counters.connections += 1
        link.set_write_buffer_limits(high=WRITE_BYTES_MAX)
        self._transport = link
        self._port.connections.add(self)
        self._plan()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Forget the connection; events that nobody acknowledged go back to the group."""
        self._transport = None
        self._port.connections.discard(self)
        for handle in (self._timer, self._pause):
            if handle is not None:
                handle.cancel()
        self._leave()

    def pause_writing(self) -> None:
        """Stop taking steps: the other station does not read."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """Go on with the steps that wait."""
        self._is_blocked = False
        self.wake()

    def data_received(self, data: bytes) -> None:
        """Take frames, and answer what they ask."""
        if self._transport is None or self._is_deaf:
            return
        try:
            for event in self._link.receive(data, self._clock.monotonic_ms()):
                if isinstance(event, Received):
                    self._take(event.asdu)
                elif isinstance(event, Started):
                    self._group.activate(self)
                elif isinstance(event, Stopped):
                    self._leave()
        except Iec104Error as error:
            self._give_up(error)
            return
        self.wake()

    # --- for the group and the port -----------------------------------------------------------------------------

    def deactivate(self) -> None:
        """Stop transferring data: another connection of the group has begun."""
        self._settle()
        self._leave()
        if self._link.state is not LinkState.CLOSED:
            self._link.state = LinkState.STOPPED

    def wake(self) -> None:
        """Send what waits, as far as there is room."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._settle()
        try:
            left = BATCH_STEPS
            while self._pause is None and not self._is_blocked and self._link.send_room and self._step():
                left -= 1
                if left == 0:  # so that a wide window is felt by the socket before it is used up
                    self._flush()
                    left = BATCH_STEPS
        except Iec104Error as error:
            self._give_up(error)
            return
        self._flush()
        self._plan()

    def abort(self) -> None:
        """Close the connection without sending what is left."""
        if self._transport is not None:
            self._transport.abort()

    # --- requests and steps -------------------------------------------------------------------------------------

    def _take(self, asdu: bytes) -> None:
        """Put the reply to a request behind those that wait.

        Raises:
            Iec104Error: The request is malformed.
        """
        type_id = asdu[0] if asdu else 0
        reply = self._station.answer(asdu)
        if type_id in _INTERROGATIONS and asdu[2] & _CAUSE == Cause.DEACTIVATION:
            kept = [entry for entry in self._replies if entry[0] != type_id]
            self._replies.clear()
            self._replies.extend(kept)
        if len(self._replies) >= REPLIES_MAX:
            _log.info("iec104_too_many_requests", device=self._group.device.name)
            self.abort()
            return
        self._replies.append((type_id, reply))

    def _step(self) -> bool:
        """Take one step; false when there is none to take now."""
        event = self._group.take_event() if self in self._group.active else None
        if event is not None:
            self._send(event, event)
            return True
        while self._replies:
            step = next(self._replies[0][1], None)
            if step is None:
                self._replies.popleft()
                continue
            return self._do(step)
        return False

    def _do(self, step: Step) -> bool:
        if isinstance(step, bytes):
            self._send(step, None)
        elif isinstance(step, Altered):
            self._flush()
            self._send(step.asdu, None)
            self._write(step.alter(self._link.take_output()))
        elif isinstance(step, Raw):
            self._flush()
            self._write(step.data)
        elif isinstance(step, Wait):
            self._pause = self._loop.call_later(step.ms / 1000, self._go_on)
            return False
        elif isinstance(step, Deaf):
            self._flush()
            self._is_deaf = True
            return False
        else:
            assert isinstance(step, Close), "there is no other step"
            self._flush()
            self.abort()
            return False
        return True

    def _go_on(self) -> None:
        self._pause = None
        self.wake()

    def _send(self, asdu: bytes, event: bytes | None) -> None:
        self._link.send(asdu, self._clock.monotonic_ms())
        self._sent.append(event)

    # --- housekeeping -------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Forget what was acknowledged."""
        while len(self._sent) > self._link.outstanding:
            self._sent.popleft()

    def _leave(self) -> None:
        """Give events that were sent in vain back to the group, and drop the replies."""
        unconfirmed = [event for event in self._sent if event is not None]
        self._sent.clear()
        self._replies.clear()
        self._group.leave(self, unconfirmed)

    def _flush(self) -> None:
        if not self._is_deaf:
            self._write(self._link.take_output())

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _plan(self) -> None:
        """Have the timers of the link looked at when the first of them is due."""
        due_ms = self._link.deadline_ms
        if self._timer is not None and self._timer_ms <= due_ms:
            return  # it looks again when it wakes up too early
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        left_ms = max(0, due_ms - self._clock.monotonic_ms())
        self._timer = self._loop.call_later(left_ms / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._transport is None or self._is_deaf:
            return
        try:
            self._link.tick(self._clock.monotonic_ms())
        except Iec104Error as error:
            self._give_up(error)
            return
        self.wake()

    def _give_up(self, error: Iec104Error) -> None:
        """Close after what is not IEC 104; what was due before it still goes out."""
        device = self._group.device
        device.counters.framing_errors += 1
        _log.info("iec104_connection_refused", device=device.name, code=error.code, reason=str(error))
        self._flush()
        if self._transport is not None:
            self._transport.close()


class Iec104Server:
    """A listening port with one device behind it."""

    def __init__(
        self, device: Device, options: Iec104Options, tls: ssl.SSLContext | None, clock: Clock | None = None
    ) -> None:
        """Prepare the server; nothing listens yet.

        Args:
            device: Answers under one common address.
            options: What the scenario says of it.
            tls: None for plain TCP.
            clock: For the link's timers.
        """
        self._group = Group(device, options)
        self._port = Port(self._group, SystemClock() if clock is None else clock)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._watch: asyncio.TimerHandle | None = None
        device.listen(self._told)

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
        self._server = await loop.create_server(lambda: Connection(self._port), host, port, ssl=self._tls)
        self._plan()
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        if self._server is None:
            return
        if self._watch is not None:
            self._watch.cancel()
        self._server.close()
        self._drop()
        await self._server.wait_closed()
        self._server = None

    def _drop(self) -> None:
        for connection in list(self._port.connections):
            connection.abort()

    def _told(self, what: str) -> None:
        """Close connections of a device that goes down, report what changed in one that stays."""
        if what == DOWN:
            self._drop()
            self._group.restarted()
        else:
            self._group.look(measured=False)

    def _plan(self) -> None:
        """Look at the measured values again after a while."""
        pause_ms = self._group.options.measured_ms
        if pause_ms:
            self._watch = asyncio.get_running_loop().call_later(pause_ms / 1000, self._measure)

    def _measure(self) -> None:
        self._group.look(measured=True)
        self._plan()
