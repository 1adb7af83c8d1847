"""The peer port: accepts, authenticates and reads, with a bound on everything that strangers and liars may do.

Connections are counted before their handshake. What a member sends is read no faster than its allowance: the rest
waits in its own socket, so that one that floods slows down itself alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from kit.config_check import HostPort
from kit.exitcodes import DataError
from kit.logs import get_logger
from kit.tls import peer_digest
from master.io.frames import FrameDecoder, FrameError
from master.io.limits import AddressBook, Allowance, PeerLimits

READ_BYTES: Final = 256 * 1024
_BACKLOG: Final = 256
_SERVED_AT_ONCE: Final = 16
"""Messages of one connection before others have a turn."""
_ACCEPT_AGAIN_S: Final = 0.1
_CLOSE_S: Final = 1.0
_IPV6_NETWORK_BITS: Final = 64

HandshakeReason = Literal["address-busy", "address-rate", "displaced", "deadline", "tls", "stranger"]
FrameReason = Literal["length", "silent", "unfinished", "displaced"]

_log = get_logger("peers")


@dataclass(frozen=True, slots=True)
class Trust:
    """Who may connect in this epoch."""

    members: Mapping[bytes, str]
    """Member of each certificate digest (SHA-256 of the DER)."""
    server: ssl.SSLContext
    client: ssl.SSLContext

    def known(self, writer: asyncio.StreamWriter) -> tuple[str, bytes] | None:
        """Return who is at the other end and by which certificate (its digest), None for somebody unknown."""
        connection = writer.get_extra_info("ssl_object")
        try:
            digest = b"" if connection is None else peer_digest(connection)
        except DataError:
            return None
        member = self.members.get(digest)
        return None if member is None else (member, digest)


class Counters(Protocol):
    """What the port counts."""

    def handshake_refused(self, reason: HandshakeReason) -> None:
        """A connection ended before it was authenticated."""
        ...

    def frame_refused(self, member: str, reason: FrameReason) -> None:
        """A member's connection was cut off."""
        ...

    def throttled(self, member: str, pause_s: float) -> None:
        """A member sent more than its allowance and is not read for so long."""
        ...


class NoCounters:
    """Counts nothing."""

    def handshake_refused(self, reason: HandshakeReason) -> None:
        """Ignore it."""

    def frame_refused(self, member: str, reason: FrameReason) -> None:
        """Ignore it."""

    def throttled(self, member: str, pause_s: float) -> None:
        """Ignore it."""


class Inbound:
    """Everything that others opened to this node; it only reads from them."""

    def __init__(self, listen: HostPort, trust: Callable[[], Trust], limits: PeerLimits, counters: Counters) -> None:
        """Prepare the port.

        Args:
            listen: Where to accept.
            trust: Asked at every connection, before its handshake and after it.
            limits: Bounds.
            counters: Told of every refusal.
        """
        self._listen = listen
        self._trust = trust
        self._limits = limits
        self._counters = counters
        self._on_message: Callable[[str, bytes], Awaitable[int]]
        self.on_gone: Callable[[str], None] = lambda _: None
        """Told of a member that has no connection left."""
        self._sockets: list[socket.socket] = []
        self._acceptors: list[asyncio.Task[None]] = []
        self._handshakes: dict[asyncio.Task[None], str] = {}
        """Address of each that is not authenticated, oldest first."""
        self._book = AddressBook(limits.handshakes_per_s, limits.handshakes_burst)
        self._connections: dict[str, dict[asyncio.Task[None], bytes]] = {}
        """Tasks of each member, oldest first, and the digest of the certificate that each showed."""
        self._allowances: dict[str, Allowance] = {}
        """Kept while the process runs: who connects anew gets no new burst."""

    async def start(self, on_message: Callable[[str, bytes], Awaitable[int]]) -> None:
        """Listen.

        Args:
            on_message: Awaited with (member, message), one after the other; returns what it cost, as so many short
                messages, and 0 when it was refused.

        Raises:
            OSError: The address cannot be listened on.
        """
        self._on_message = on_message
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            self._listen.host, self._listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_listening(family, address))
        except OSError:
            await self.stop()
            raise
        self._acceptors = [asyncio.create_task(self._accept_forever(listener)) for listener in self._sockets]

    async def stop(self) -> None:
        """Close the port and every connection."""
        tasks = [*self._acceptors, *self._handshakes, *(task for held in self._connections.values() for task in held)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in self._sockets:
            listener.close()

    def recheck(self) -> None:
        """Close the connections whose certificate is trusted no longer; others of the same member stay."""
        members = self._trust().members
        for member, held in self._connections.items():
            for task, digest in held.items():
                if members.get(digest) != member:
                    task.cancel()

    # ---- before the handshake ------------------------------------------------------------------

    async def _accept_forever(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                # no file descriptors left, or a connection that ended while it waited
                _log.warning("a connection could not be accepted", error=str(error))
                await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            self._admit(connection, network_of(address[0]))

    def _admit(self, connection: socket.socket, address: str) -> None:
        """Begin a handshake if its address may have one more."""
        reason: HandshakeReason | None = None
        if Counter(self._handshakes.values())[address] >= self._limits.handshakes_per_address_max:
            reason = "address-busy"
        elif not self._book.admits(address, asyncio.get_running_loop().time()):
            reason = "address-rate"
        if reason is not None:
            self._counters.handshake_refused(reason)
            connection.close()
            return
        if len(self._handshakes) >= self._limits.handshakes_max:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
            self._counters.handshake_refused("displaced")
        task = asyncio.create_task(self._serve(connection))
        self._handshakes[task] = address
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)
        for member, held in list(self._connections.items()):
            held.pop(task, None)
            if not held:
                del self._connections[member]
                self.on_gone(member)

    async def _serve(self, connection: socket.socket) -> None:
        streams = await self._shake_hands(connection, self._trust().server)
        if streams is None:
            return
        reader, writer = streams
        try:
            # as it is now: a certificate may have lost its trust during the handshake
            known = self._trust().known(writer)
            if known is None:
                self._counters.handshake_refused("stranger")
                _log.warning("refused a peer whose certificate is not in the validator set")
                return
            self._authenticated(*known)
            await self._read(known[0], reader)
        finally:
            await close(writer)

    async def _shake_hands(
        self, connection: socket.socket, context: ssl.SSLContext
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        connection.setblocking(False)  # noqa: FBT003 the socket module's own signature
        try:
            async with asyncio.timeout(self._limits.handshake_s):
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
        except TimeoutError:
            self._counters.handshake_refused("deadline")
            return None
        except OSError as error:  # ssl.SSLError, too
            self._counters.handshake_refused("tls")
            _log.info("a handshake failed", error=str(error) or type(error).__name__)
            return None
        finally:
            self._handshakes_done()
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def _handshakes_done(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task of its own"
        self._handshakes.pop(task, None)

    # ---- behind the handshake ------------------------------------------------------------------

    def _authenticated(self, member: str, digest: bytes) -> None:
        """Count a connection of a member; the oldest of too many ends."""
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task of its own"
        held = self._connections.setdefault(member, {})
        held[task] = digest
        while len(held) > self._limits.connections_per_member_max:
            oldest = next(iter(held))
            del held[oldest]
            oldest.cancel()
            self._counters.frame_refused(member, "displaced")

    async def _read(self, member: str, reader: asyncio.StreamReader) -> None:
        """Read until the member closes or breaks a rule."""
        try:
            await self._read_frames(member, reader)
        except FrameError as error:
            self._counters.frame_refused(member, "length")
            _log.warning("a peer connection ended", member=member, error=str(error))
        except _TooSlowError as error:
            self._counters.frame_refused(member, error.reason)
            _log.warning("a peer connection ended", member=member, error=error.reason)
        except OSError as error:
            _log.info("a peer connection ended", member=member, error=str(error) or type(error).__name__)

    async def _read_frames(self, member: str, reader: asyncio.StreamReader) -> None:
        decoder, loop = FrameDecoder(), asyncio.get_running_loop()
        allowance = self._allowances.setdefault(member, Allowance(self._limits, loop.time()))
        frame_until_s: float | None = None
        served = 0
        while data := await self._next(reader, frame_until_s):
            for message in decoder.receive(data):
                frame_until_s = None
                cost = await self._on_message(member, message)
                pause_s = allowance.pause_s(len(message), loop.time(), cost)
                if pause_s > 0:
                    self._counters.throttled(member, pause_s)
                    await asyncio.sleep(pause_s)
                served += 1
                if served % _SERVED_AT_ONCE == 0:
                    await asyncio.sleep(0)  # the others' turn
            if not decoder.is_between_frames and frame_until_s is None:
                frame_until_s = loop.time() + self._limits.frame_s

    async def _next(self, reader: asyncio.StreamReader, frame_until_s: float | None) -> bytes:
        """Return what has arrived; nothing at the end.

        Raises:
            _TooSlowError: Nothing came in time, or a frame did not end in time.
        """
        silent_at_s = asyncio.get_running_loop().time() + self._limits.silence_s
        is_frame_due = frame_until_s is not None and frame_until_s < silent_at_s
        try:
            async with asyncio.timeout_at(frame_until_s if is_frame_due else silent_at_s):
                return await reader.read(READ_BYTES)
        except TimeoutError:
            raise _TooSlowError("unfinished" if is_frame_due else "silent") from None


class _TooSlowError(Exception):
    """A member did not send in time."""

    def __init__(self, reason: Literal["silent", "unfinished"]) -> None:
        super().__init__(reason)
        self.reason: Literal["silent", "unfinished"] = reason


async def close(writer: asyncio.StreamWriter) -> None:
    """Close politely; after a second, or when the task is cancelled meanwhile, without further ado."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        pass  # it has ended in another way
    except asyncio.CancelledError:
        writer.transport.abort()
        raise


def network_of(address: str) -> str:
    """Return what is counted as one address: of IPv6, where everybody has many, the network of 64 bits."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(found) >> _IPV6_NETWORK_BITS << _IPV6_NETWORK_BITS, _IPV6_NETWORK_BITS)))
    return address


def _listening(family: int, address: object) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 the socket module's own signature
    except OSError:
        listener.close()
        raise
    return listener
