"""The gateway's side of the broker: reports go up, proven items come down.

The broker is believed in nothing. What was acknowledged by it (PUBACK) is sent again all the same until a receipt
verifies, and what it brings down is judged elsewhere. Session messages (birth, death, health) are for people who watch;
no verdict follows from them. Topics and payloads: docs/asyncapi.yaml.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.io.outbox import Pending
from agent.io.trust import ITEM_BYTES_MAX
from agent.resend import ResendPlan
from kit.clock import Clock
from kit.logs import get_logger
from kit.mqtt import LIBRARY_WORDS, SOCKET_OPTIONS
from wire.topics import GatewayTopic

VERBS: Final = ("birth", "death", "tx", "health", "down")
HEALTH_INTERVAL_S: Final = 30
HEALTH_EXPIRY_S: Final = 300
KEEPALIVE_S: Final = 15
PENDING_MAX: Final = 512
"""Reports that are looked at together, oldest first."""
BATCH: Final = 8
BATCH_PAUSE_S: Final = 0.08
"""Pause after a full batch: at most 100 reports a second."""
INCOMING_MAX: Final = 1000
"""Items that may wait to be judged; the nodes send again what was asked for again."""
_PACKET_BYTES_MAX: Final = ITEM_BYTES_MAX + 64 * 1024
_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_FAREWELL_S: Final = 2.0

_log = get_logger("agent.mqtt")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is, and how this gateway shows itself to it."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    client_id: str


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one gateway."""

    area: str
    station: str
    gateway: str

    def of(self, verb: str) -> str:
        """Return the topic of one of `VERBS`."""
        return str(GatewayTopic(self.area, self.station, self.gateway, verb))


class Spool(Protocol):
    """The outbox as the sender needs it; every call may wait for the disk."""

    async def pending(self, limit: int) -> list[Pending]:
        """Return what has no receipt, oldest first."""

    async def current(self, entry: Pending, *, is_stuck: bool) -> Pending | None:
        """Return what to send of this evidence now, wrapped anew where needed; None if a receipt came meanwhile."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the link asks the program."""

    birth: Callable[[], Mapping[str, object]]
    """What else the birth message says."""
    health: Callable[[], Mapping[str, object]]
    """What the health message says."""
    take: Callable[[bytes], Awaitable[None]]
    """Judges one item that came down."""
    proofs: Callable[[], Sequence[bytes]] = tuple
    """Proofs that validators contradicted themselves; sent once in every connection."""


@dataclass(slots=True)
class LinkFigures:
    """What the metrics show of the link."""

    is_connected: bool = False
    connects: int = 0
    failures: int = 0
    sent: int = 0
    resent: int = 0
    received: int = 0
    last_error: str = ""


class BrokerLink:
    """A connection to the broker that is made again for ever.

    Args:
        broker: Where to connect.
        topics: Those of this gateway.
        boot: Number of this start of the gateway; with the number of the connection it orders births and deaths.
        spool: What is sent.
        hooks: What the link asks the program.
        clock: For resends.
    """

    def __init__(self, broker: Broker, topics: Topics, boot: int, spool: Spool, hooks: Hooks, clock: Clock) -> None:
        self._broker = broker
        self._topics = topics
        self._boot = boot
        self._spool = spool
        self._hooks = hooks
        self._clock = clock
        self._plan = ResendPlan()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._session = 0
        self.figures = LinkFigures()

    def wake(self) -> None:
        """Say that there is something new to send."""
        self._wake.set()

    def settled(self, evidence: int) -> None:
        """Say that a receipt came; the evidence is not sent again."""
        self._plan.settled(evidence)
        self._wake.set()

    def stop(self) -> None:
        """Ask `run` to say goodbye and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Connect, serve, and connect again, until `stop`."""
        attempt = 0
        while not self._stopping.is_set():
            self._session += 1
            try:
                async with self._client() as client:
                    attempt = 0
                    await self._serve(client)
            except (aiomqtt.MqttError, OSError) as error:
                self._note_failure(LIBRARY_WORDS.beside(error))
            finally:
                self.figures.is_connected = False
            pause_s = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
            attempt += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()

    def _note_failure(self, error: str) -> None:
        """Count a failure; say it once, not at every attempt."""
        self.figures.failures += 1
        log = _log.debug if error == self.figures.last_error else _log.warning
        log("no_broker", host=self._broker.host, port=self._broker.port, error=error)
        self.figures.last_error = error

    def _client(self) -> aiomqtt.Client:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = _PACKET_BYTES_MAX
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            identifier=self._broker.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=self._broker.tls,
            clean_start=True,  # what was missed is asked for again by resending, so no session need survive
            properties=properties,
            keepalive=KEEPALIVE_S,
            will=aiomqtt.Will(self._topics.of("death"), self._session_payload(reason="lost"), qos=1, retain=True),
            max_queued_incoming_messages=INCOMING_MAX,
            socket_options=SOCKET_OPTIONS,
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        client.pending_calls_threshold = 2 * BATCH
        await client.subscribe(self._topics.of("down"), qos=1)
        birth = self._session_payload(**self._hooks.birth())
        await client.publish(self._topics.of("birth"), birth, qos=1, retain=True)
        self._plan.reset()
        self.figures.is_connected = True
        self.figures.connects += 1
        self.figures.last_error = ""
        _log.info("broker_connected", host=self._broker.host, port=self._broker.port, session=self._session)
        works = (self._send(client), self._receive(client), self._tell_health(client), self._stopping.wait())
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        async with asyncio.timeout(_FAREWELL_S):
            farewell = self._session_payload(reason="stopped")
            await client.publish(self._topics.of("death"), farewell, qos=1, retain=True)

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            self._wake.clear()
            pending = await self._spool.pending(PENDING_MAX)
            self._plan.keep_only(pending)
            now_ms = self._clock.monotonic_ms()
            due = self._plan.due(pending, now_ms)
            if due:
                await self._send_all(client, due[:BATCH])
            if len(due) >= BATCH:
                await asyncio.sleep(BATCH_PAUSE_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._plan.wait_ms(pending, now_ms) / 1000):
                    await self._wake.wait()

    async def _send_all(self, client: aiomqtt.Client, due: Sequence[Pending]) -> None:
        """Send what is due in its order, however long some of it takes to wrap anew."""
        current: list[Pending] = []
        for entry in due:
            found = await self._spool.current(entry, is_stuck=self._plan.is_stuck(entry.evidence))
            if found is None:
                continue
            current.append(found)
            if self._plan.sent(entry.evidence, self._clock.monotonic_ms()):
                self.figures.resent += 1
            else:
                self.figures.sent += 1
        await asyncio.gather(*(client.publish(self._topics.of("tx"), entry.raw, qos=1) for entry in current))

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            self.figures.received += 1
            payload = message.payload
            await self._hooks.take(payload if isinstance(payload, bytes) else b"")

    async def _tell_health(self, client: aiomqtt.Client) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = HEALTH_EXPIRY_S
        topic, told = self._topics.of("health"), set[bytes]()
        while True:
            for proof in self._hooks.proofs():
                if proof not in told:
                    await client.publish(self._topics.of("tx"), proof, qos=1)
                    told.add(proof)
            payload = self._session_payload(**self._hooks.health())
            await client.publish(topic, payload, qos=0, retain=True, properties=properties)
            await asyncio.sleep(HEALTH_INTERVAL_S)

    def _session_payload(self, **fields: object) -> bytes:
        value = {
            "gateway": self._topics.gateway,
            "boot": self._boot,
            "session": self._session,
            "time_ms": self._clock.now_ms(),
            **fields,
        }
        return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()
