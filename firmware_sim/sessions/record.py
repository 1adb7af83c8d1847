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
from firmware_sim.sessions.port import SessionPort
from firmware_sim.sessions.store import ANSWER, ASK, CLOSE, LEAVE, OPEN, Event, SessionWriter
from kit.config import HostPort
from kit.logs import get_logger

CONNECT_S: Final = 5
_CHUNK_BYTES = 64 * 1024

_log = get_logger("firmware_sim.record")


class Recorder(SessionPort):
    """A listening port whose every connection is passed on to the device."""

    def __init__(self, device: HostPort, protocol: str, writer: SessionWriter, now_ms: Callable[[], int]) -> None:
        """Prepare the proxy; nothing listens yet.

        Args:
            device: Where the device answers.
            protocol: A key of ``RULES``.
            writer: Takes what happens.
            now_ms: Monotonic milliseconds.
        """
        super().__init__()
        self._device = device
        self._rules = RULES[protocol]
        self._writer = writer
        self._now_ms = now_ms
        self._began_ms = now_ms()
        self._links = 0
        self.frames = 0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links += 1
        link = self._links
        try:
            await self._pass_on(link, reader, writer)
        except SessionError as error:
            _log.error("record_ended", reason=str(error))
        finally:
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
