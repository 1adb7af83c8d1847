"""The node's side of the broker: transactions come in, receipts go out.

A PUBACK to or from the broker proves nothing to anybody: what a gateway may forget it learns from a
receipt alone, so a message that is lost here is only late.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from kit.logs import get_logger
from kit.mqtt import LIBRARY_WORDS, SOCKET_OPTIONS
from master.io.limits import AddressBook
from wire.topics import filter_of
from wire.types import TX_BYTES_MAX

_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_OUTGOING_MAX: Final = 20_000
_INCOMING_MAX: Final = 4_096
"""Messages that may wait to be taken; what finds no room comes again, since it gets no receipt."""
_PER_S, _BURST = 200, 1_024
"""Messages of one gateway that are looked at; an agent sends 100 a second."""
_PACKET_BYTES_MAX: Final = 2 * TX_BYTES_MAX
"""Room for messages that are too long, so that they are refused and counted; the broker keeps back longer ones."""
_SESSION_EXPIRY_S: Final = 3600
_STOP_S: Final = 3.0
_FAREWELL_S: Final = 1.0
_CANCEL_AGAIN_S: Final = 0.2

_log = get_logger("broker")  # not "mqtt": of that logger, the library's, warnings alone are shown


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how this node shows itself."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    client_id: str
    state_topic: str


class BrokerLink:
    """A connection that is made again for ever; one of a node."""

    def __init__(self, broker: Broker, on_transaction: Callable[[bytes], Awaitable[None]]) -> None:
        """Prepare the link.

        Args:
            broker: Where to connect.
            on_transaction: Called with everything that arrives on a tx topic, in order.
        """
        self._broker = broker
        self._on_transaction = on_transaction
        self._outgoing: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_OUTGOING_MAX)
        self._is_connected = False
        self._failed = ""
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.dropped = 0
        """Receipts that found no room; the gateway asks again by resending."""
        self._allowance = AddressBook(_PER_S, _BURST)
        self.unheard = 0
        """Messages of gateways that send too many; who waits for a receipt resends."""

    @property
    def is_connected(self) -> bool:
        """Tell whether the broker has accepted this node."""
        return self._is_connected

    def state(self) -> str:
        """Return ``connected`` or ``not connected``."""
        return "connected" if self._is_connected else "not connected"

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Leave the broker."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_STOP_S)
            await _end([self._task])

    def publish(self, topic: str, payload: bytes) -> None:
        """Queue a message; without a connection it is dropped, since the receiver asks again."""
        if not self._is_connected or self._outgoing.full():
            self.dropped += 1
            return
        self._outgoing.put_nowait((topic, payload))

    async def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            try:
                async with self._client() as client:
                    attempt = 0
                    await self._serve(client)
            except (aiomqtt.MqttError, OSError) as error:
                self._note_failure(LIBRARY_WORDS.beside(error))
            except Exception:  # noqa: BLE001 - logged whole
                # whatever it was, a node that no longer hears its gateways is worse
                _log.exception("the link to the broker failed; connecting again")
            finally:
                self._is_connected = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]):
                    await self._stopping.wait()
            attempt += 1

    def _note_failure(self, error: str) -> None:
        """Say why there is no connection; once, not at every attempt."""
        log = _log.debug if error == self._failed else _log.warning
        log("no connection to the broker", host=self._broker.host, port=self._broker.port, error=error)
        self._failed = error

    def _client(self) -> aiomqtt.Client:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        properties.MaximumPacketSize = _PACKET_BYTES_MAX
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            identifier=self._broker.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=self._broker.tls,
            clean_start=False,
            properties=properties,
            keepalive=10,
            will=aiomqtt.Will(self._broker.state_topic, _state(online=False), qos=1, retain=True),
            max_queued_incoming_messages=_INCOMING_MAX,
            socket_options=SOCKET_OPTIONS,
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        client.pending_calls_threshold = _OUTGOING_MAX
        await client.subscribe(filter_of("tx"), qos=1)
        await client.publish(self._broker.state_topic, _state(online=True), qos=1, retain=True)
        self._is_connected, self._failed = True, ""
        _log.info("connected to the broker", host=self._broker.host, port=self._broker.port)
        works = (self._receive(client), self._send(client), self._stopping.wait())
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(tasks)
        for task in done:
            task.result()
        async with asyncio.timeout(_FAREWELL_S):
            # a broker sends the will of those alone who are lost
            await client.publish(self._broker.state_topic, _state(online=False), qos=1, retain=True)

    async def _receive(self, client: aiomqtt.Client) -> None:
        loop = asyncio.get_running_loop()
        async for message in client.messages:
            if not self._allowance.admits(str(message.topic), loop.time()):
                self.unheard += 1
            elif isinstance(message.payload, bytes):
                await self._on_transaction(message.payload[: TX_BYTES_MAX + 1])

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            topic, payload = await self._outgoing.get()
            await client.publish(topic, payload, qos=1)


async def _end(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel until all have ended: wait_for of Python 3.11 forgets a cancellation that comes with its result."""
    waiting: Collection[asyncio.Future[Any]] = tasks
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_CANCEL_AGAIN_S)


def _state(*, online: bool) -> bytes:
    return json.dumps({"online": online}).encode()
