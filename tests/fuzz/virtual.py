"""An event loop whose time is made up and whose connections lead to a device in memory.

A driver runs on it unchanged: it opens connections with asyncio, and waits with asyncio's timers. Nothing sleeps, so a
thousand reads with timeouts take a second; and where nothing is left that could ever happen, the loop says so, which is
how a hang is found.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

ResultT = TypeVar("ResultT")
_START_S: Final = 1_000.0


class HangError(AssertionError):
    """Nothing is left that could ever end what runs."""


class Act(NamedTuple):
    """What a device does.

    Attributes:
        after_ms: How long after what came before it.
        data: Bytes to send; None closes the connection.
        is_reset: The closing is a reset.
    """

    after_ms: int
    data: bytes | None
    is_reset: bool = False


class Conversation(Protocol):
    """A device's side of one connection."""

    def opened(self) -> Iterable[Act]:
        """Act on the new connection."""

    def received(self, data: bytes) -> Iterable[Act]:
        """Act on bytes of the agent, in the pieces in which it wrote them."""

    def ended(self) -> None:
        """Hear that the connection is gone."""


class Refused(NamedTuple):
    """What a connection attempt meets: nobody listening, or nobody answering at all."""

    is_silent: bool


Listener = Callable[[], Conversation | Refused]


@dataclass(slots=True)
class Tape:
    """What happened on all connections of one run.

    Attributes:
        sent: Bytes of the agent by connection.
        writes: When the agent wrote something, in ms.
        ends: When the agent closed a connection, in ms.
        received_bytes: Bytes that reached the agent.
    """

    sent: list[bytearray] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    received_bytes: int = 0


class _Transport(asyncio.Transport):
    """One connection, seen from the agent."""

    def __init__(self, loop: VirtualLoop, protocol: asyncio.BaseProtocol, device: Conversation) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._device = device
        self._is_closing = False
        self._is_paused = False
        self._held: list[Act] = []
        self._waiting: deque[Act] = deque()
        self._at_s = loop.time()
        self._sent = bytearray()
        loop.tape.sent.append(self._sent)

    def start(self) -> None:
        self._protocol.connection_made(self)
        self._schedule(self._device.opened())

    def _schedule(self, acts: Iterable[Act]) -> None:
        """Do one thing after the other: what is sent first, arrives first."""
        self._at_s = max(self._at_s, self._loop.time())
        for act in acts:
            self._at_s += act.after_ms / 1000
            self._waiting.append(act)
            self._loop.call_at(self._at_s, self._next)

    def _next(self) -> None:
        """Do what is next: timers of the same time run in any order, the acts must not."""
        self._happen(self._waiting.popleft())

    def _happen(self, act: Act) -> None:
        if self._is_closing:
            return
        if self._is_paused:
            self._held.append(act)
        elif act.data is None:
            self._lose(ConnectionResetError(104, "reset by the device") if act.is_reset else None)
        elif act.data:
            self._loop.tape.received_bytes += len(act.data)
            cast("asyncio.Protocol", self._protocol).data_received(act.data)

    def _lose(self, error: Exception | None) -> None:
        if error is None and cast("asyncio.Protocol", self._protocol).eof_received():
            return  # as streams do: the agent may still write, and closes in its own time
        self._is_closing = True
        self._device.ended()
        self._protocol.connection_lost(error)

    # --- asyncio.Transport --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        self._sent += data
        self._loop.tape.writes.append(self._loop.now_ms())
        self._loop.call_soon(self._react, bytes(data))

    def _react(self, data: bytes) -> None:
        if not self._is_closing:
            self._schedule(self._device.received(data))

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._device.ended()
            self._loop.tape.ends.append(self._loop.now_ms())
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        held, self._held = self._held, []
        for act in held:
            self._loop.call_soon(self._happen, act)

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take what was written at once, so there is no buffer."""


class _Selector(selectors.SelectSelector):
    """Waits by turning the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = _START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise HangError("nothing is left that could ever happen")
        self.now_s += max(timeout, 0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop with made-up time; all its connections go to one listener."""

    def __init__(self, listener: Listener) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._listener = listener
        self.tape = Tape()

    def time(self) -> float:
        return self._virtual.now_s

    def now_ms(self) -> int:
        return round(self._virtual.now_s * 1000)

    monotonic_ms = now_ms

    async def getaddrinfo(self, host: object, port: object, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], *_: object, **__: object
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        device = self._listener()
        if isinstance(device, Refused):
            if device.is_silent:
                await asyncio.sleep(1_000_000)
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = protocol_factory()
        transport = _Transport(self, protocol, device)
        transport.start()
        return transport, protocol


def run(listener: Listener, work: Callable[[VirtualLoop], Coroutine[Any, Any, ResultT]]) -> ResultT:
    """Run ``work`` against a device.

    Raises:
        HangError: It can never end.
    """
    loop = VirtualLoop(listener)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work(loop))
