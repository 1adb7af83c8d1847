"""Record a session: a proxy before a real device, or before one of the simulator's own.

May touch the network. Bytes are passed on as they come, in both directions, before they are looked at; what is no
frame of the protocol is recorded, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from firmware_sim.errors import SessionError
from firmware_sim.sessions.frames import RULES, Cutter
from firmware_sim.sessions.store import ANSWER, ASK, CLOSE, LEAVE, OPEN, Event, SessionWriter
from kit.config import HostPort
from kit.logs import get_logger

CONNECT_S: Final = 5
_CHUNK_BYTES = 64 * 1024

_log = get_logger("firmware_sim.record")


class Recorder:
    """A listening port whose every connection is passed on to the device."""

    def __init__(self, device: HostPort, protocol: str, writer: SessionWriter, now_ms: Callable[[], int]) -> None:
        """Prepare the proxy; nothing listens yet.

        Args:
            device: Where the device answers.
            protocol: A key of ``RULES``.
            writer: Takes what happens.
            now_ms: Monotonic milliseconds.
        """
        self._device = device
        self._rules = RULES[protocol]
        self._writer = writer
        self._now_ms = now_ms
        self._began_ms = now_ms()
        self._links = 0
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.frames = 0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen and return the address and port that are bound.

        Raises:
            OSError: The address cannot be bound.
        """
        self._server = await asyncio.start_server(self._talk, host, port)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self._links += 1
        link = self._links
        try:
            await self._pass_on(link, reader, writer)
        except SessionError as error:
            _log.error("record_ended", reason=str(error))
        except asyncio.CancelledError:
            pass  # the program ends; both sides are closed below
        finally:
            self._talks.discard(task)
            writer.transport.abort()

    async def _pass_on(self, link: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until one side ends."""
        self._note(link, OPEN)
        try:
            async with asyncio.timeout(CONNECT_S):
                device_reader, device_writer = await asyncio.open_connection(self._device.host, self._device.port)
        except (OSError, TimeoutError) as error:
            _log.warning("device_unreachable", device=str(self._device), reason=str(error))
            self._note(link, CLOSE)
            return
        asking = asyncio.create_task(self._carry(link, ASK, reader, device_writer))
        answering = asyncio.create_task(self._carry(link, ANSWER, device_reader, writer))
        end = LEAVE
        try:
            done, _ = await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
            end = CLOSE if answering in done else LEAVE
            for way in done:
                way.result()
        finally:
            for way in (asking, answering):
                way.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            device_writer.transport.abort()
            self._note(link, end)

    async def _carry(self, link: int, what: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction, and note its frames."""
        cutter = Cutter(self._rules)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK_BYTES):
                writer.write(data)
                for frame in cutter.feed(data):
                    self._note(link, what, frame)
                await writer.drain()
        if rest := cutter.rest():
            self._note(link, what, rest)

    def _note(self, link: int, what: str, data: bytes = b"") -> None:
        if data:
            self.frames += 1
        self._writer.write(Event(self._now_ms() - self._began_ms, link, what, data))
