"""Connections between validators: TLS 1.3, both sides known by the digest of their certificate.

Every node dials every other node and sends on the connection that it dialled; what it accepts it
only reads (inbound.py). Queues are bounded: when a peer does not take its messages, the newest are
dropped and counted, since a replica repeats what still matters once a second.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kit.config_check import HostPort
from kit.logs import get_logger
from master.io.frames import frame
from master.io.inbound import Counters, Inbound, NoCounters, Trust, close
from master.io.limits import PeerLimits

QUEUE_BYTES_MAX: Final = 32 * 1024 * 1024
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_CONNECT_TIMEOUT_S: Final = 5.0
_WRITE_BYTES: Final = 1024 * 1024
"""Handed to the connection at once; a peer must take so much within the time of silence."""

_log = get_logger("peers")


@dataclass(slots=True)
class _Outbox:
    """Frames that wait for one peer."""

    frames: list[bytes] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    size_bytes: int = 0
    dropped: int = 0
    digest: bytes | None = None
    """Of the certificate that the peer showed; None while there is no connection."""

    @property
    def is_connected(self) -> bool:
        """Tell whether the peer can be sent to."""
        return self.digest is not None


class PeerNetwork:
    """All connections of one node."""

    def __init__(
        self,
        listen: HostPort,
        addresses: Mapping[str, HostPort],
        trust: Trust,
        limits: PeerLimits | None = None,
        counters: Counters | None = None,
    ) -> None:
        """Prepare the connections.

        Args:
            listen: Where to accept.
            addresses: Where each other member listens.
            trust: Who they are, and TLS for accepting and for dialling.
            limits: Bounds of what others may do.
            counters: Told of every refusal.
        """
        self._addresses = dict(addresses)
        self._trust = trust
        self._limits = limits or PeerLimits()
        self._inbound = Inbound(listen, lambda: self._trust, self._limits, counters or NoCounters())
        self._on_connected: Callable[[str], None]
        self._outboxes = {member: _Outbox() for member in addresses}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """Who dials each member."""
        self._leaving: set[asyncio.Task[None]] = set()
        """Those that were told to end and have not yet."""
        self._is_stopped = False

    async def start(
        self,
        on_message: Callable[[str, bytes], Awaitable[int]],
        on_connected: Callable[[str], None],
        on_gone: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Listen and begin to dial.

        Args:
            on_message: Awaited with (member, message) for everything that arrives, per member one after the other;
                returns what it cost, as so many short messages, and 0 when it was refused.
            on_connected: Called when a member can be sent to.
            on_gone: Called when nothing can arrive from a member any more.

        Raises:
            OSError: The address cannot be listened on.
        """
        self._on_connected = on_connected
        self._inbound.on_gone = on_gone
        await self._inbound.start(on_message)
        self._tasks = {member: asyncio.create_task(self._dial_forever(member)) for member in self._addresses}

    async def stop(self) -> None:
        """Close every connection; none is opened after that."""
        self._is_stopped = True
        for member in tuple(self._tasks):
            self._hang_up(member)
        await asyncio.gather(*self._leaving, self._inbound.stop(), return_exceptions=True)

    def renew(self, trust: Trust, addresses: Mapping[str, HostPort]) -> None:
        """Go by other certificates and addresses: close what is trusted no longer, dial who is new.

        Connections whose certificate is still their member's stay as they are, those of the same member too.

        Args:
            trust: Who may connect from now on.
            addresses: Where each of them listens.
        """
        self._trust = trust
        self._inbound.recheck()
        for member in tuple(self._tasks):
            digest = self._outboxes[member].digest
            is_distrusted = digest is not None and trust.members.get(digest) != member
            if is_distrusted or addresses.get(member) != self._addresses[member]:
                self._hang_up(member)
        self._addresses = dict(addresses)
        kept = {member: self._outboxes[member] for member in self._tasks}
        self._outboxes = {member: kept.get(member) or _Outbox() for member in addresses}
        if self._is_stopped:
            return
        for member in addresses:
            if member not in self._tasks:
                self._tasks[member] = asyncio.create_task(self._dial_forever(member))

    def _hang_up(self, member: str) -> None:
        """End the task that dials a member; it may take a moment to close its connection."""
        task = self._tasks.pop(member)
        task.cancel()
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

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

    def connected(self) -> list[str]:
        """Return the members that can be sent to."""
        return [member for member, outbox in self._outboxes.items() if outbox.is_connected]

    @property
    def dropped(self) -> int:
        """Messages that found no room in a queue."""
        return sum(outbox.dropped for outbox in self._outboxes.values())

    # ---- dialling -----------------------------------------------------------------------------

    async def _dial_forever(self, member: str) -> None:
        attempt = 0
        while self._tasks.get(member) is asyncio.current_task():
            outbox = self._outboxes[member]
            try:
                was_connected = await self._dial(member, outbox)
            except (OSError, TimeoutError, ssl.SSLError) as error:
                was_connected = outbox.is_connected
                _log.debug("no connection", member=member, error=str(error) or type(error).__name__)
            self._outboxes[member] = _Outbox(dropped=outbox.dropped)
            attempt = 0 if was_connected else attempt + 1
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])

    async def _dial(self, member: str, outbox: _Outbox) -> bool:
        address = self._addresses[member]
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=self._trust.client, server_hostname=""
            )
        try:
            known = self._trust.known(writer)
            if known is None or known[0] != member:
                _log.warning("another node answers at this address", member=member, address=str(address))
                return False
            outbox.digest = known[1]
            self._on_connected(member)
            await self._write(outbox, reader, writer)
        finally:
            await close(writer)
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
                for at in range(0, len(data), _WRITE_BYTES):
                    part = data[at : at + _WRITE_BYTES]
                    writer.write(part)
                    async with asyncio.timeout(self._limits.silence_s):
                        await writer.drain()
                    outbox.size_bytes -= len(part)
        finally:
            closed.cancel()
