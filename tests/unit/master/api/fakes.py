"""A node, a ledger and its tables in memory, behind the API's real ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nacl.signing import SigningKey
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from master.api.app import build_api, notifier
from master.api.context import Limits
from master.api.ports import NodeStatus, PastStatus, SubmitResult
from master.ledger.genesis import genesis_writes, leaves_of
from master.ledger.proofs import Prover
from master.ledger.rows import EventRow, Head, event_rows
from master.ledger.tree import bucket_of, leaf_key
from master.ledger.undo import KEPT_BLOCKS, PastEntry
from master.views.fold import catch_up
from tests.unit.ledger.worlds import MemoryState
from tests.unit.master.views.memory import MemoryTables
from tests.unit.master.views.story import GENESIS, Story
from tests.unit.wire import samples
from wire.block import Block
from wire.certificate import Certificate
from wire.epochs import EpochEnd
from wire.errors import WireError
from wire.finality import FinalHeader
from wire.header import Header, tx_root
from wire.merkle import Frontier, leaf_digest, tree_head
from wire.receipt import Event, Outcome, Receipt, decode_outcome
from wire.tx import SignedTx, Transaction, open_tx
from wire.types import sha256

CHAIN = GENESIS.chain()
KEY: SigningKey = samples.key_of("gw-1")


def signed(seq: int, chain: str = CHAIN) -> bytes:
    """Return a signed transaction of gw-1."""
    valid_until_ms = GENESIS.time_ms + 10**9
    return Transaction(chain, "gw-1", "consistency", 1, "report", {"n": seq}, seq, valid_until_ms).sign(KEY)


class MemoryLedger:
    """Implements LedgerPort: real blocks, certificates and receipts of the sample consortium."""

    def __init__(self) -> None:
        self._heights: list[tuple[Block, Certificate, tuple[bytes, ...]]] = []  # one append: readers are in threads
        writes = genesis_writes(GENESIS)
        self.state = MemoryState(writes, leaves_of(writes))
        """As after every block: nothing here changes it."""
        self.tree = self.state.tree()
        self.ends: tuple[EpochEnd, ...] = ()
        self.reads = 0
        self.sets: tuple[bytes, ...] = ()
        """View change sets of height 1."""

    @property
    def blocks(self) -> list[Block]:
        return [block for block, _, _ in self._heights]

    def commit(self, transactions: list[bytes], events: list[list[Event]], time_ms: int) -> None:
        outcomes = tuple(
            Outcome(sha256(raw), "ok", tuple(told)).encode() for raw, told in zip(transactions, events, strict=True)
        )
        header = replace(
            samples.HEADER,
            chain=CHAIN,
            height=len(self.blocks) + 1,
            time_ms=time_ms,
            parent=self.blocks[-1].header.digest() if self.blocks else GENESIS.digest(),
            tx_count=len(transactions),
            state_root=self.tree.root,
            history_root=tree_head(self._digests()),
            tx_root=tx_root(transactions),
            outcome_root=tree_head(outcomes),
            validators_hash=GENESIS.validator_set().digest(),
            next_validators_hash=GENESIS.validator_set().digest(),
            code_table_hash=GENESIS.code_table_hash(),
        )
        self._heights.append((Block(header, tuple(transactions)), samples.certify(header), outcomes))

    def _digests(self) -> list[bytes]:
        return [GENESIS.digest(), *(block.header.digest() for block in self.blocks)]

    def head(self) -> Head:
        height = len(self.blocks)
        history = Frontier()
        for digest in self._digests():
            history.append(leaf_digest(digest))
        return Head(height, self._digests()[-1], GENESIS.time_ms, self.tree.root, history)

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self.state.get(namespace, key)

    def bucket(self, index: int) -> Sequence[tuple[bytes, bytes]]:
        return self.state.bucket(index)

    def past_heights(self) -> range:
        return range(max(1, len(self.blocks) - KEPT_BLOCKS), len(self.blocks) + 1)

    def past_entry(self, namespace: str, key: bytes, height: int) -> PastEntry | None:
        return PastEntry(self.get(namespace, key), tuple(self.bucket(bucket_of(leaf_key(namespace, key)))), {}, {})

    def view_changes(self, height: int) -> tuple[bytes, ...]:
        return self.sets if height == 1 else ()

    def header(self, height: int) -> Header | None:
        found = self.block(height)
        return None if found is None else found.header

    def final_header(self, height: int) -> FinalHeader | None:
        header, certificate = self.header(height), self.certificate(height)
        return None if header is None or certificate is None else FinalHeader(header, certificate, ())

    def epoch_ends(self, epoch: int) -> tuple[EpochEnd, ...]:
        return self.ends[:epoch]

    def history_node(self, level: int, index: int) -> bytes:
        return tree_head(self._digests()[index << level : (index + 1) << level])

    def block(self, height: int) -> Block | None:
        return self._heights[height - 1][0] if 1 <= height <= len(self._heights) else None

    def certificate(self, height: int) -> Certificate | None:
        return self._heights[height - 1][1] if 1 <= height <= len(self._heights) else None

    def outcomes(self, height: int) -> tuple[bytes, ...]:
        return self._heights[height - 1][2] if 1 <= height <= len(self._heights) else ()

    def find_tx(self, tx_id: bytes) -> tuple[int, int] | None:
        for block in self.blocks:
            for index, raw in enumerate(block.transactions):
                if sha256(raw) == tx_id:
                    return block.header.height, index
        return None

    def receipt(self, tx_id: bytes) -> Receipt | None:
        place = self.find_tx(tx_id)
        if place is None:
            return None
        height, index = place
        block, certificate, outcomes = self._heights[height - 1]
        return replace(
            samples.RECEIPT,
            tx=tx_id,
            header=block.header,
            certificate=certificate,
            index=index,
            size=len(block.transactions),
            tx_path=samples.path_of(block.transactions, index),
            outcome=decode_outcome(outcomes[index]),
            outcome_path=samples.path_of(outcomes, index),
        )

    def events(self, after_height: int, after_index: int, limit: int) -> list[EventRow]:
        self.reads += 1
        found = [
            row
            for block, _, outcomes in tuple(self._heights)
            for row in event_rows(block.header.height, block.header.time_ms, outcomes)
            if (row.height, row.index) > (after_height, after_index)
        ]
        return found[:limit]


@dataclass
class FakeNode:
    """Implements NodePort."""

    ledger: MemoryLedger
    clock_ms: int = GENESIS.time_ms
    stale: bool = False
    days_max: int = 35
    reason: str | None = None
    waiting: dict[bytes, SignedTx] = field(default_factory=dict)
    refuse: SubmitResult | None = None
    fail: bool = False
    known_from: int = 1

    def status(self) -> NodeStatus:
        if self.fail:
            raise RuntimeError("a secret of the node")
        return {
            "node": "dispatch",
            "chain": CHAIN,
            "height": self.head_height(),
            "head": bytes(32).hex(),
            "head_time_ms": self.head_time_ms(),
            "head_age_ms": self.clock_ms - self.head_time_ms(),
            "ledger_stale": self.stale,
            "view": 0,
            "leader": "dispatch",
            "waits_for": "commit",
            "missing": ["centre-west"],
            "peers": [{"member": "sub-east", "connected": True, "height": 0}],
            "mempool": {"transactions": len(self.waiting), "bytes": 0},
            "past": self.past(),
            "broker": "connected",
            "health": self.reason or "ok",
            "version": "0.1.0",
        }

    def past(self) -> PastStatus:
        return {
            "known_from": self.known_from,
            "blocks_from": self.known_from,
            "snapshot": "idle",
            "subtrees_missing": 0,
        }

    async def submit_all(self, transactions: Sequence[bytes]) -> Sequence[SubmitResult]:
        return [self._submit(raw) for raw in transactions]

    def _submit(self, raw: bytes) -> SubmitResult:
        tx_id = sha256(raw)
        if self.refuse is not None:
            return replace(self.refuse, id=tx_id)
        try:
            tx = open_tx(raw)
        except WireError as error:
            return SubmitResult(tx_id, "refused", "malformed", 400, str(error))
        if tx.tx.chain != CHAIN:
            return SubmitResult(tx_id, "refused", "wrong-chain", 409, "the transaction is for another ledger")
        if tx_id in self.waiting or self.ledger.find_tx(tx_id) is not None:
            return SubmitResult(tx_id, "duplicate", http_status=200)
        self.waiting[tx_id] = tx
        return SubmitResult(tx_id, "pending")

    def pending(self, tx_id: bytes) -> SignedTx | None:
        return self.waiting.get(tx_id)

    def head_height(self) -> int:
        return len(self.ledger.blocks)

    def head_time_ms(self) -> int:
        return self.ledger.blocks[-1].header.time_ms if self.ledger.blocks else GENESIS.time_ms

    def now_ms(self) -> int:
        return self.clock_ms

    def ledger_stale(self) -> bool:
        return self.stale

    def stale_ms(self) -> int:
        return 1_800_000

    def baseline_days_max(self) -> int:
        return self.days_max

    def unready(self) -> str | None:
        return self.reason


class World:
    """All of it together; `block` commits what a story tells."""

    def __init__(self, seed: int = 0, limits: Limits | None = None) -> None:
        self.ledger = MemoryLedger()
        self.node = FakeNode(self.ledger)
        self.tables = MemoryTables(GENESIS)
        self.story = Story(seed)
        self.proofs = Prover(self.ledger, self.ledger.tree)
        self.registry = CollectorRegistry()
        self.api: Starlette = build_api(
            self.node, self.ledger, self.proofs, self.tables, self.registry, Limits() if limits is None else limits
        )

    def block(self, events: int = 3) -> list[EventRow]:
        """Commit a block with events and wake whoever listens; return the events."""
        rows = self.story.block(events)
        told = [Event(row.contract, row.type, row.subject, row.data) for row in rows]
        self.commit([[event] for event in told])
        return self.ledger.events(len(self.ledger.blocks), -1, 10_000)

    def commit(self, events: list[list[Event]]) -> None:
        """Commit a block with one transaction per list of events."""
        height = len(self.ledger.blocks) + 1
        transactions = [signed(height * 1000 + index) for index in range(len(events))]
        self.story.height = height
        self.ledger.commit(transactions, events, max(self.story.time_ms, self.node.head_time_ms() + 1))
        self.node.clock_ms = self.node.head_time_ms() + 250
        catch_up(self.ledger, self.tables, height)
        notifier(self.api).notify()
