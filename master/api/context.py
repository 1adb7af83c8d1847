"""What every handler of the API has at hand, and the bounds that hold for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry

from master.api.feed import Feed
from master.api.metrics import Metrics
from master.api.ports import BlobPort, LedgerPort, NodePort, ProofPort, TablesPort
from master.api.signed import AccessPort, NoAccess, Nonces
from master.views.schema import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the API."""

    requests_max: int = 256
    """Requests that are served at once, event streams not counted."""
    streams_max: int = 64
    """Event streams that are open at once."""
    threads_max: int = 8
    """Threads that may wait for a disk at once."""
    target_bytes_max: int = 4096
    """Path and query string."""
    bodies_max: int = 32
    """Bodies that are received at once, and uploads that wait for their first piece at once."""
    sequence_bytes_max: int = 4 * 1024 * 1024
    """Body with more than one transaction."""
    sequence_transactions_max: int = 256
    body_wait_s: float = 30.0
    """Longest time that one body may take."""
    blobs_max: int = 16
    """Blobs that are sent at once; the blobs themselves say how many may come."""
    heartbeat_s: float = 15.0
    """Longest silence of an event stream."""
    stall_s: float = 30.0
    """Longest time that a stream's client may leave one page of events unread."""
    lag_blocks_max: int = 100
    """Blocks that the query tables may be behind while the node calls itself healthy."""


@dataclass(slots=True)
class Context:
    """The ports, the limits and what is shared between requests."""

    node: NodePort
    ledger: LedgerPort
    proofs: ProofPort
    tables: TablesPort
    blobs: BlobPort
    registry: CollectorRegistry
    limits: Limits
    feed: Feed
    metrics: Metrics
    threads: anyio.CapacityLimiter
    access: AccessPort = field(default_factory=NoAccess)
    nonces: Nonces = field(default_factory=Nonces)
    document: Mapping[str, object] = field(default_factory=dict)
    """The OpenAPI document."""
    streams: int = 0
    """Event streams that are open now."""
    bodies: int = 0
    """Bodies that are received now."""
    uploads_coming: list[asyncio.Future[Literal[True]]] = field(default_factory=list)
    """One for each upload whose first piece has not come, oldest first; to be resolved if it is to end."""
    blobs_open: int = 0
    """Blobs that are sent now."""

    async def blocking(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; it runs in a thread and may wait for a disk."""
        return await anyio.to_thread.run_sync(work, limiter=self.threads)

    def reading(self) -> Reading:
        """Return the moment at which rows are read now."""
        return Reading(self.node.head_time_ms(), self.node.stale_ms())

    def freshness(self) -> dict[str, int | bool]:
        """Return what every answer about devices says of the ledger's own age."""
        age_ms = max(0, self.node.now_ms() - self.node.head_time_ms())
        return {"head_age_ms": age_ms, "ledger_stale": self.node.ledger_stale()}
