"""Connections between validators: TLS 1.3, both sides known by the digest of their certificate.

Every node dials every other node and sends on the connection that it dialled; what it accepts it
only reads. Queues are bounded: when a peer does not take its messages, the newest are dropped and
counted, since a replica repeats what still matters once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kit.config_check import HostPort
from kit.logs import get_logger
from kit.tls import peer_digest
from master.io.frames import FrameDecoder, FrameError, frame

QUEUE_BYTES_MAX: Final = 32 * 1024 * 1024
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_CONNECT_TIMEOUT_S: Final = 5.0
_SILENCE_TIMEOUT_S: Final = 15.0
"""A peer sends its status every second; one that says nothing for so long is cut off."""
_READ_BYTES: Final = 256 * 1024

_log = get_logger("peers")


@dataclass(slots=True)
class _Outbox:
    """Frames that wait for one peer."""

    frames: list[bytes] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    size_bytes: int = 0
    dropped: int = 0
    is_connected: bool = False


class PeerNetwork:
    """All connections of one node."""

    def __init__(
        self,
        listen: HostPort,
        addresses: Mapping[str, HostPort],
        members: Mapping[bytes, str],
        contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    ) -> None:
        """Prepare the connections.

        Args:
            listen: Where to accept.
            addresses: Where each other member listens.
            members: Member of each certificate digest (SHA-256 of the DER).
            contexts: TLS for accepting and for dialling.
        """
        self._listen = listen
        self._addresses = dict(addresses)
        self._members = dict(members)
        self._server_context, self._client_context = contexts
        self._on_message: Callable[[str, bytes], None]
        self._on_connected: Callable[[str], None]
        self._outboxes = {member: _Outbox() for member in addresses}
        self._tasks: list[asyncio.Task[None]] = []
        self._readers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, on_message: Callable[[str, bytes], None], on_connected: Callable[[str], None]) -> None:
        """Listen and begin to dial.

        Args:
            on_message: Called with (member, frame) for everything that arrives.
            on_connected: Called when a member can be sent to.

        Raises:
            OSError: The address cannot be listened on.
        """
        self._on_message = on_message
        self._on_connected = on_connected
        self._server = await asyncio.start_server(
            self._accept, self._listen.host, self._listen.port, ssl=self._server_context, limit=_READ_BYTES
        )
        self._tasks = [asyncio.create_task(self._dial_forever(member)) for member in self._addresses]

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for task in (*self._tasks, *self._readers):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._readers, return_exceptions=True)

    def send(self, member: str, message: bytes) -> None:
        """Queue a message; nothing is kept for a member that is not connected."""
        outbox = self._outboxes.get(member)
        if outbox is None or not outbox.is_connected:
            return
        if outbox.size_bytes + len(message) > QUEUE_BYTES_MAX:
            outbox.dropped += 1
            return
        framed = frame(message)
        outbox.size_bytes += len(framed)
        outbox.frames.append(framed)
        outbox.filled.set()

    def broadcast(self, message: bytes) -> None:
        """Queue a message for every other member."""
        for member in self._outboxes:
            self.send(member, message)

    def is_connected(self, member: str) -> bool:
        """Tell whether the member can be sent to."""
        outbox = self._outboxes.get(member)
        return outbox is not None and outbox.is_connected

    @property
    def dropped(self) -> int:
        """Messages that found no room in a queue."""
        return sum(outbox.dropped for outbox in self._outboxes.values())

    # ---- accepting ----------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            member = self._member_of(writer)
            if member is None:
                _log.warning("refused a peer whose certificate is not in the validator set")
                return
            await self._read(member, reader)
        except (OSError, FrameError, TimeoutError) as error:
            _log.info("a peer connection ended", error=str(error) or type(error).__name__)
        finally:
            await _close(writer)

    async def _read(self, member: str, reader: asyncio.StreamReader) -> None:
        decoder = FrameDecoder()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_SILENCE_TIMEOUT_S) as silence:
            while data := await reader.read(_READ_BYTES):
                silence.reschedule(loop.time() + _SILENCE_TIMEOUT_S)
                for message in decoder.receive(data):
                    self._on_message(member, message)

    def _member_of(self, writer: asyncio.StreamWriter) -> str | None:
        connection = writer.get_extra_info("ssl_object")
        return None if connection is None else self._members.get(peer_digest(connection))

    # ---- dialling -----------------------------------------------------------------------------

    async def _dial_forever(self, member: str) -> None:
        attempt = 0
        while True:
            try:
                was_connected = await self._dial(member)
            except (OSError, TimeoutError, ssl.SSLError) as error:
                was_connected = self._outboxes[member].is_connected
                _log.debug("no connection", member=member, error=str(error) or type(error).__name__)
            self._outboxes[member] = _Outbox(dropped=self._outboxes[member].dropped)
            attempt = 0 if was_connected else attempt + 1
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])

    async def _dial(self, member: str) -> bool:
        address = self._addresses[member]
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=self._client_context, server_hostname=""
            )
        try:
            if self._member_of(writer) != member:
                _log.warning("another node answers at this address", member=member, address=str(address))
                return False
            outbox = self._outboxes[member]
            outbox.is_connected = True
            self._on_connected(member)
            await self._write(outbox, reader, writer)
        finally:
            await _close(writer)
        return True

    async def _write(self, outbox: _Outbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send what is queued until the peer closes; it sends nothing on this connection."""
        closed = asyncio.create_task(reader.read(1))
        closed.add_done_callback(lambda _: outbox.filled.set())
        try:
            while True:
                await outbox.filled.wait()
                if closed.done():
                    return
                # whatever was queued since goes in one piece: one record of TLS, one call of the kernel
                outbox.filled.clear()
                frames, outbox.frames = outbox.frames, []
                data = b"".join(frames)
                writer.write(data)
                async with asyncio.timeout(_SILENCE_TIMEOUT_S):
                    await writer.drain()
                outbox.size_bytes -= len(data)
        finally:
            closed.cancel()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
