"""As much of an MQTT 5 broker as one client needs, to see what it sends and to answer as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 12, 14


@dataclass(frozen=True, slots=True)
class Published:
    """One message, or a will."""

    topic: str
    payload: bytes
    qos: int
    retain: bool

    @property
    def verb(self) -> str:
        return self.topic.rsplit("/", 1)[1]

    @property
    def value(self) -> dict[str, Any]:
        value = json.loads(self.payload)
        assert isinstance(value, dict)
        return value


@dataclass(slots=True)
class FakeBroker:
    """Serves one client at a time on a free port."""

    acknowledges: bool = True
    messages: list[Published] = field(default_factory=list)
    wills: list[Published] = field(default_factory=list)
    client_ids: list[str] = field(default_factory=list)
    subscriptions: list[str] = field(default_factory=list)
    port: int = 0
    _writer: asyncio.StreamWriter | None = None
    _talks: list[asyncio.Task[None]] = field(default_factory=list)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, verb: str) -> list[Published]:
        """Return the messages of one verb."""
        return [message for message in self.messages if message.verb == verb]

    async def until(self, verb: str, count: int = 1) -> list[Published]:
        """Wait for so many messages of one verb."""
        while len(self.of(verb)) < count:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 60)
        return self.of(verb)

    async def send(self, topic: str, payload: bytes) -> None:
        """Publish to the client at QoS 1."""
        assert self._writer is not None
        name = topic.encode()
        body = len(name).to_bytes(2, "big") + name + b"\x00\x01" + b"\x00" + payload
        self._writer.write(b"\x32" + _length(len(body)) + body)
        await self._writer.drain()

    def cut(self) -> None:
        """Break the connection."""
        assert self._writer is not None
        self._writer.transport.abort()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._talks.append(task)
        self._writer = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readexactly(1))[0]
                body = await reader.readexactly(await _read_length(reader))
                if head >> 4 == DISCONNECT:
                    break
                writer.write(self._answer(head, body))
                await writer.drain()
        writer.close()

    def _answer(self, head: int, body: bytes) -> bytes:
        kind = head >> 4
        if kind == CONNECT:
            self._take_connect(body)
            return b"\x20\x03\x00\x00\x00"
        if kind == SUBSCRIBE:
            start = 3 + body[2]
            length = int.from_bytes(body[start : start + 2], "big")
            self.subscriptions.append(body[start + 2 : start + 2 + length].decode())
            return b"\x90\x04" + body[:2] + b"\x00\x01"
        if kind == PINGREQ:
            return b"\xd0\x00"
        if kind == PUBLISH:
            return self._take_publish(head, body)
        return b""

    def _take_publish(self, head: int, body: bytes) -> bytes:
        qos = head >> 1 & 3
        length = int.from_bytes(body[:2], "big")
        topic, at = body[2 : 2 + length].decode(), 2 + length
        number = body[at : at + 2] if qos else b""
        at += len(number)
        payload = body[at + 1 + body[at] :]
        self.messages.append(Published(topic, payload, qos, bool(head & 1)))
        self._more.set()
        return b"\x40\x02" + number if qos and self.acknowledges else b""

    def _take_connect(self, body: bytes) -> None:
        flags, at = body[7], 10
        assert (body[:7], flags & 4) == (b"\x00\x04MQTT\x05", 4)
        at += 1 + body[at]
        client_id, at = _field(body, at)
        at += 1 + body[at]
        topic, at = _field(body, at)
        payload, _ = _field(body, at)
        self.client_ids.append(client_id.decode())
        self.wills.append(Published(topic.decode(), payload, flags >> 3 & 3, bool(flags & 0x20)))


def _field(body: bytes, at: int) -> tuple[bytes, int]:
    length = int.from_bytes(body[at : at + 2], "big")
    return body[at + 2 : at + 2 + length], at + 2 + length


def _length(size: int) -> bytes:
    encoded = b""
    while True:
        size, byte = size >> 7, size & 127
        encoded += bytes((byte | (128 if size else 0),))
        if not size:
            return encoded


async def _read_length(reader: asyncio.StreamReader) -> int:
    size = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 127) << shift
        if byte < 128:
            return size
        shift += 7


@contextlib.asynccontextmanager
async def broker(*, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeBroker]:
    """Run a broker."""
    fake = FakeBroker()
    server = await asyncio.start_server(fake.talk, "127.0.0.1", port, ssl=tls)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        if fake._writer is not None:
            fake._writer.close()
        await server.wait_closed()
        await asyncio.gather(*fake._talks)
