"""What the HTTP API needs of the node; the app passes it in, so that api imports no io."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, TypedDict

from master.views.ports import EventSource, Page, Position
from master.views.schema import Condition, Json, Row, Table

if TYPE_CHECKING:
    from wire.block import Block
    from wire.certificate import Certificate
    from wire.epochs import EpochEnd
    from wire.header import Header
    from wire.historyproof import ConsistencyProof, HistoryProof
    from wire.receipt import Receipt
    from wire.stateproof import StateProof
    from wire.tx import SignedTx


class PeerStatus(TypedDict):
    """A validator as this node sees it."""

    member: str
    connected: bool
    height: int
    """Highest block it was heard to have."""


class MempoolStatus(TypedDict):
    """Transactions that wait for a block."""

    transactions: int
    bytes: int


class PastStatus(TypedDict):
    """How much of the ledger this node has."""

    known_from: int
    """Lowest block whose header, certificate, outcomes and events are here; 1 when nothing is missing."""
    blocks_from: int
    """Lowest block that may be here with its transactions."""
    snapshot: str
    """idle, asking, fetching or installing."""
    subtrees_missing: int
    """Of the snapshot that is being fetched."""


class NodeStatus(TypedDict):
    """Answer of /v1/status."""

    node: str
    chain: str
    height: int
    head: str
    """Digest of the newest block, lower-case hex."""
    head_time_ms: int
    head_age_ms: int
    ledger_stale: bool
    view: int
    leader: str
    waits_for: str
    missing: list[str]
    peers: list[PeerStatus]
    mempool: MempoolStatus
    past: PastStatus
    broker: str
    """``connected``, ``not connected``, or ``none`` where node.toml names no broker."""
    health: str
    """``ok``, or why /healthz says that this node takes no part or its lists stand still."""
    version: str


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of one submitted transaction."""

    id: bytes
    """SHA-256 of the bytes, 32 bytes."""
    status: Literal["pending", "duplicate", "refused"]
    code: str = ""
    """Why it was refused, an identifier such as ``unknown-key``; empty otherwise."""
    http_status: int = 202
    """400, 403, 409, 413 or 429 for a refusal."""
    detail: str = ""
    """One clear sentence for a refusal."""
    blobs: tuple[bytes, ...] = ()
    """Digests of blobs that must be brought before a pending transaction can stand in a block."""


class NodePort(Protocol):
    """The running node. Called on the event loop; every answer comes from memory."""

    def status(self) -> NodeStatus:
        """Return what /v1/status says."""
        ...

    async def submit_all(self, transactions: Sequence[bytes]) -> Sequence[SubmitResult]:
        """Check signed transactions and put them into the mempool; one result for each, in their order."""
        ...

    def pending(self, tx_id: bytes) -> SignedTx | None:
        """Return the transaction of that id if it waits in the mempool."""
        ...

    def past(self) -> PastStatus:
        """Return how much of the ledger this node has."""
        ...

    def head_height(self) -> int:
        """Return the height of the newest committed block, 0 before the first."""
        ...

    def head_time_ms(self) -> int:
        """Return the block time of the newest block, milliseconds since 1970 UTC."""
        ...

    def now_ms(self) -> int:
        """Return the node's own clock, milliseconds since 1970 UTC."""
        ...

    def ledger_stale(self) -> bool:
        """Tell whether, by the node's own clock, the ledger stands still."""
        ...

    def stale_ms(self) -> int:
        """Return the on-chain parameter ``stale_ms``: when a device counts as stale."""
        ...

    def baseline_days_max(self) -> int:
        """Return the on-chain parameter ``baseline_days_max``: when a device must be verified anew."""
        ...

    def unready(self) -> str | None:
        """Return why the node cannot serve now, or None when it can."""
        ...


class BlobRefusedError(Exception):
    """A blob is not taken or not given; the API answers with a problem.

    Args:
        status: HTTP status, 400..599.
        code: A key of `problems.TITLES`.
        detail: One clear sentence.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Upload(Protocol):
    """A blob that is being uploaded. Called from worker threads but for `done`."""

    over: asyncio.Event
    """Set on the event loop when it is to end: its blob is here, or its place went to another upload."""

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            BlobRefusedError: They are too many, or the disk does not take them; it is given up.
        """
        ...

    def finish(self) -> None:
        """Return when the whole blob is on disk.

        Raises:
            BlobRefusedError: The bytes are others than its digest says; it is given up.
        """
        ...

    def done(self) -> None:
        """End it on the event loop, whatever came of it; what waited for a whole blob goes on."""
        ...


class BlobPort(Protocol):
    """Blobs beside the ledger. Called on the event loop but where it says so."""

    def size_of(self, digest: bytes) -> int | None:
        """Return the size of a blob that is here."""
        ...

    def expected(self, digest: bytes) -> int | None:
        """Return the size of a blob that may be uploaded now: a waiting transaction or the ledger names it."""
        ...

    def begin(self, digest: bytes) -> Upload:
        """Make room for a blob that is expected.

        Raises:
            BlobRefusedError: Nobody names it, or there is no room.
        """
        ...

    def open(self, digest: bytes) -> BinaryIO:
        """Open a blob whose bytes were hashed just now; called from a worker thread.

        Raises:
            BlobRefusedError: It is not here.
        """
        ...


class LedgerPort(EventSource, Protocol):
    """Committed blocks. Called from worker threads; may block on the disk."""

    def block(self, height: int) -> Block | None:
        """Return the block of ``height``, 1 and up."""
        ...

    def view_changes(self, height: int) -> tuple[bytes, ...]:
        """Return canonical view change sets that votes of this node at a height rested on."""
        ...

    def header(self, height: int) -> Header | None:
        """Return the header of ``height``, 1 and up, also where the block itself is pruned."""
        ...

    def certificate(self, height: int) -> Certificate | None:
        """Return the quorum certificate of ``height``, 1 and up."""
        ...

    def outcomes(self, height: int) -> Sequence[bytes]:
        """Return the canonical outcomes of a block in the order of its transactions."""
        ...

    def find_tx(self, tx_id: bytes) -> tuple[int, int] | None:
        """Return (height, index in the block) of a committed transaction."""
        ...

    def receipt(self, tx_id: bytes) -> Receipt | None:
        """Return the receipt of a committed transaction."""
        ...


class ProofPort(Protocol):
    """Proofs. Called from worker threads; may block on the disk."""

    def state_proof(self, namespace: str, key: bytes, height: int | None = None) -> StateProof | None:
        """Return the proof of what the state of a height, else the newest one, holds.

        None when a block landed meanwhile: ask again.

        Raises:
            HeightNotKeptError: The state of that height cannot be shown.
        """
        ...

    def history_proof(self, height: int, newer: int) -> HistoryProof | None:
        """Return the proof that block ``height`` is below block ``newer``, None when there is no such pair."""
        ...

    def consistency_proof(self, height: int, newer: int) -> ConsistencyProof | None:
        """Return the proof that ``newer`` continues the history of ``height``, None when there is no such pair."""
        ...

    def all_epoch_ends(self) -> Sequence[EpochEnd]:
        """Return the ends of all epochs that ended, in order."""
        ...


class TablesPort(Protocol):
    """Rows of the views. Called from worker threads; may block on the database.

    Raises:
        TablesError: From every method, when the database cannot be read.
    """

    def page(
        self,
        table: Table,
        conditions: Sequence[Condition],
        after: tuple[Json, ...] | None,
        limit: int,
    ) -> Page:
        """Return at most ``limit`` rows in the table's order, those behind ``after``.

        Args:
            table: One of the declared tables.
            conditions: All must hold.
            after: Values of the columns ``table.order`` of the last row seen, None for the first.
            limit: 1 and up.
        """
        ...

    def row(self, table: str, key: str) -> Row | None:
        """Return one row by its key."""
        ...

    def position(self) -> Position:
        """Return the place up to which events are applied."""
        ...
