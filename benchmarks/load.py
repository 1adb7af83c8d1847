"""Open load on full nodes: what is due at a time is sent then, whatever became of the rest.

The latency of a transaction runs from the moment at which it was due until one node, asked fifty times per second, says
that it has stored the block in which the transaction stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import cbor2

from benchmarks.results import percentile
from wire.types import sha256

STEP_S: Final = 0.02
"""What falls due within so long goes in one request."""
SEQUENCE_MAX: Final = 256
ASK_EVERY_S: Final = 0.02
IDLE_S: Final = 3.0
"""A connection that was not used for so long is not used again."""
CONNECTIONS_MAX: Final = 64
"""To one node at once."""
LATE_S: Final = 1.0
"""A transaction that waits longer is late."""
DRAIN_S: Final = 30.0
"""How long what was sent may take after the last was due."""
_OK: Final = (200, 202)


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one load."""

    offered: int
    elapsed_s: float
    """From the first due time to the last commit."""
    waits: Sequence[tuple[float, float]]
    """Of each committed transaction: when it was due by `time.perf_counter`, and for how long it waited, seconds."""
    blocks: int
    """Stored while the load lasted."""
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def committed(self) -> int:
        """Transactions that were committed."""
        return len(self.waits)

    @property
    def rate(self) -> float:
        """Transactions committed per second."""
        return self.committed / self.elapsed_s if self.elapsed_s else 0.0

    def percentile_ms(self, part: float) -> float:
        """Return a percentile of the latencies; what was never committed counts as the longest wait."""
        lost = [DRAIN_S * 1000] * (self.offered - self.committed)
        return percentile([*(wait_s * 1000 for _, wait_s in self.waits), *lost], part)

    def late_until_s(self, since_s: float, late_s: float = LATE_S) -> float:
        """Return when the last transaction that waited longer than ``late_s`` and ended after ``since_s`` was stored.

        Args:
            since_s: By `time.perf_counter`.
            late_s: What counts as late.

        Returns:
            By `time.perf_counter`; ``since_s`` when none was late.
        """
        ends = [due_s + wait_s for due_s, wait_s in self.waits if wait_s > late_s]
        return max([since_s, *ends])


class Connections:
    """Requests to one node over kept connections."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []
        # with the time of its last use
        self._open: list[asyncio.StreamWriter] = []
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request and return status and body.

        Raises:
            OSError: No connection, or it broke.
        """
        async with self._room:
            pair = self._kept() or await self._connect()
            try:
                found = await self._exchange(*pair, method, path, body)
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError(str(error)) from error
            self._idle.append((*pair, time.perf_counter()))
            return found

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return a connection that was used a moment ago: a node closes what is idle for five seconds."""
        while self._idle:
            reader, writer, used_s = self._idle.pop()
            if time.perf_counter() - used_s < IDLE_S and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        self._open.append(writer)
        return reader, writer

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, body: bytes
    ) -> tuple[int, bytes]:
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/cbor-seq\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode("ascii") + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        lines = answer.decode("latin-1").lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        return int(lines[0].split(" ")[1]), await reader.readexactly(length)

    async def close(self) -> None:
        """Close what is open."""
        for writer in self._open:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Watch:
    """Notes when one node says that it has stored a height; when that node fails, another one is asked."""

    def __init__(self, nodes: Sequence[Connections]) -> None:
        self._nodes = list(nodes)
        self.first = 0
        self.seen_s: dict[int, float] = {}

    async def _ask(self, path: str) -> bytes:
        """Return what the first node that has it answers.

        Raises:
            OSError: None has it.
        """
        for _ in range(len(self._nodes)):
            with contextlib.suppress(OSError):
                status, body = await self._nodes[0].ask("GET", path)
                if status in _OK:
                    return body
            self._nodes.append(self._nodes.pop(0))
        raise ConnectionError(f"no node answers {path}")

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._ask("/v1/status"))
        return found

    async def run(self) -> None:
        self.first = known = int((await self.status())["height"])
        while True:
            height, now_s = int((await self.status())["height"]), time.perf_counter()
            for number in range(known + 1, height + 1):
                self.seen_s[number] = now_s
            known = max(known, height)
            await asyncio.sleep(ASK_EVERY_S)

    async def committed(self) -> AsyncIterator[tuple[bytes, float]]:
        """Yield the id of every transaction in the blocks seen, and when."""
        for height, seen_s in self.seen_s.items():
            body = await self._ask(f"/v1/blocks/{height}?format=cbor")
            for raw in cbor2.loads(cbor2.loads(body)["block"])["transactions"]:
                yield sha256(raw), seen_s


@dataclass(frozen=True, slots=True)
class Offer:
    """A load to put on nodes."""

    transactions: Sequence[bytes]
    rate: int
    """Transactions per second."""
    urls: Sequence[str]
    """Nodes that take them, in turn."""
    watched: str
    """Node that is asked for what it has stored, as long as it answers."""


def offer(load: Offer) -> Load:
    """Put the load on the nodes and wait until all of it is committed, or for half a minute."""
    import uvloop  # noqa: PLC0415 - not needed by those who only want the types

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_offer(load))


async def _offer(load: Offer) -> Load:
    nodes = [Connections(url) for url in load.urls]
    watched = Connections(load.watched)
    watch = _Watch([watched, *nodes])
    watching = asyncio.create_task(watch.run())
    await asyncio.sleep(5 * ASK_EVERY_S)
    problems: Counter[str] = Counter()
    start_s = time.perf_counter() + STEP_S
    await _send(load, nodes, start_s, problems)
    await _drain(watch)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    due_s = {sha256(raw): start_s + number / load.rate for number, raw in enumerate(load.transactions)}
    waits, last_s = [], start_s
    async for tx_id, seen_s in watch.committed():
        at_s = due_s.pop(tx_id, None)
        if at_s is not None:
            waits.append((at_s, seen_s - at_s))
            last_s = max(last_s, seen_s)
    for node in (*nodes, watched):
        await node.close()
    elapsed_s = max(last_s - start_s, len(load.transactions) / load.rate)
    return Load(len(load.transactions), elapsed_s, waits, len(watch.seen_s), problems)


async def _send(load: Offer, nodes: Sequence[Connections], start_s: float, problems: Counter[str]) -> None:
    """Send every transaction when it is due, the nodes in turn."""
    sent, turn = 0, 0
    under_way: set[asyncio.Task[None]] = set()
    while sent < len(load.transactions):
        due = min(int((time.perf_counter() - start_s) * load.rate) + 1, len(load.transactions))
        while sent < due:
            body = b"".join(load.transactions[sent : min(due, sent + SEQUENCE_MAX)])
            sent = min(due, sent + SEQUENCE_MAX)
            turns = [nodes[(turn + more) % len(nodes)] for more in range(len(nodes))]
            task = asyncio.create_task(_post(turns, body, problems))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            turn += 1
        await asyncio.sleep(STEP_S)
    if under_way:
        await asyncio.wait(under_way, timeout=DRAIN_S)


async def _post(nodes: Sequence[Connections], body: bytes, problems: Counter[str]) -> None:
    """Hand transactions to the first node that answers, as any client would."""
    for node in nodes:
        try:
            status, answer = await node.ask("POST", "/v1/tx", body)
        except OSError as error:
            problems[type(error).__name__] += 1
            continue
        break
    else:
        return
    if status not in _OK:
        problems[f"status {status}"] += 1
    elif b'"refused"' in answer:
        for result in json.loads(answer)["results"]:
            if result["status"] == "refused":
                problems[result["reason"]] += 1


async def _drain(watch: _Watch) -> None:
    """Wait until the watched node has nothing left to commit."""
    deadline_s = time.perf_counter() + DRAIN_S
    while (await watch.status())["mempool"]["transactions"]:
        if time.perf_counter() > deadline_s:
            break
        await asyncio.sleep(5 * ASK_EVERY_S)
    await asyncio.sleep(10 * ASK_EVERY_S)
