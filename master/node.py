"""A running full node as the API and the broker see it: takes transactions, tells where it stands."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from kit.clock import Clock
from kit.logs import get_logger
from master.api.ports import MempoolStatus, NodeStatus, PastStatus, PeerStatus, SubmitResult
from master.chain import Chain
from master.consensus.progress import Progress
from master.contracts.parameters import INTEGERS
from master.down_topics import DownTopics
from master.entrance import Entrance, anywhere
from master.ledger.application import Application
from master.ledger.refusals import TxRefused
from master.mempool import Mempool, MempoolError
from master.metrics import NodeMetrics
from master.party import Party, party_of
from master.waitingroom import Way
from wire.block import Block
from wire.errors import SignatureError, WireError
from wire.genesis import Genesis
from wire.receipt import Receipt
from wire.tx import SignedTx, open_tx
from wire.types import TX_BYTES_MAX, Digest, sha256

_ARRIVALS_MAX: Final = 100_000
_GOSSIP_BATCH_S: Final = 0.008
"""A message costs its receivers more than a transaction in it; a tenth of the time between blocks under load."""
_GOSSIP_TRANSACTIONS_MAX: Final = 512
_GOSSIP_BYTES_MAX: Final = 1024 * 1024
"""Of one message; the replicas allow eight times as much."""
_GOSSIP_WAITING_MAX: Final = 20_000
"""Transactions of others that wait for their signatures to be verified."""
_VERIFY_THREADS: Final = 2
_VERIFY_ELSEWHERE_MIN: Final = 48
"""Fewer signatures are verified at once on the event loop: another thread would cost more than it gains."""
_BAD_REQUEST, _FORBIDDEN, _CONFLICT, _TOO_LARGE, _MISDIRECTED, _TOO_MANY = 400, 403, 409, 413, 421, 429
_UNAVAILABLE: Final = 503
HTTP_STATUS: Final = {
    "unknown-key": _FORBIDDEN,
    "wrong-sender": _FORBIDDEN,
    "suspended": _FORBIDDEN,
    "bad-signature": _FORBIDDEN,
    "expired": _CONFLICT,
    "replayed": _CONFLICT,
    "seq-taken": _CONFLICT,
    "sender-full": _TOO_MANY,
    "mempool-full": _TOO_MANY,
}
DETAILS: Final = {
    "wrong-chain": "The transaction is for another ledger; sign it with this ledger's name.",
    "unknown-contract": "No such contract and version on this ledger.",
    "unknown-method": "The contract has no such method.",
    "unknown-key": "No account has this key.",
    "wrong-sender": "The key belongs to another account than the sender.",
    "suspended": "The sender or its organisation is suspended; see /v1/members.",
    "bad-signature": "The signature does not verify.",
    "expired": "valid_until_ms is in the past; sign again.",
    "valid-too-long": "valid_until_ms is too far ahead.",
    "replayed": "This seq of the key was used before; sign with the next one.",
}

_log = get_logger("node")


@dataclass(frozen=True, slots=True)
class _Screened:
    """A transaction whose signature alone has not been looked at."""

    signed: SignedTx
    public_key: bytes
    party: Party


class Deciding(Protocol):
    """The replica, as far as people ask about it."""

    @property
    def view(self) -> int:
        """View of the height that is being decided."""
        ...

    @property
    def leader(self) -> str:
        """Leader of that view."""
        ...

    @property
    def progress(self) -> Progress:
        """What the height waits for."""
        ...


class Receipts(Protocol):
    """Committed transactions and their receipts; blocking."""

    def find_tx(self, tx: bytes) -> tuple[int, int] | None:
        """Return where a transaction stands."""
        ...

    def receipt(self, tx: bytes) -> Receipt | None:
        """Return its receipt."""
        ...

    def receipts(self, height: int) -> Sequence[Receipt]:
        """Return the receipts of a block in the order of its transactions."""
        ...


class Node:
    """Admission, status and receipts of one full node; lives on the event loop."""

    def __init__(  # noqa: PLR0913 the parts that a node joins
        self,
        genesis: Genesis,
        member: str,
        version: str,
        *,
        chain: Chain,
        application: Application,
        mempool: Mempool,
        receipts: Receipts,
        replica: Deciding,
        metrics: NodeMetrics,
        clock: Clock,
        verified: Callable[[SignedTx, bytes], None] = SignedTx.verify,
    ) -> None:
        """Join the parts; ``verified`` checks a signature in any thread and remembers what verified."""
        self._member = member
        self._version = version
        self._chain_name = genesis.chain()
        self._chain = chain
        self._application = application
        self._mempool = mempool
        self._receipts = receipts
        self._replica = replica
        self._metrics = metrics
        self._clock = clock
        self._topics = DownTopics(lambda: chain.gateways)
        self.entrance: Entrance = anywhere
        """Who takes what came by HTTP, if this node does not."""
        self.validators: Sequence[str] = [entry.member for entry in genesis.validators]
        """Who decides the next block."""
        self._arrivals: OrderedDict[Digest, int] = OrderedDict()
        self._gossip: list[bytes] = []
        self._gossip_bytes = 0
        self._gossip_waiting = 0
        self._verified = verified
        self._verifiers = ThreadPoolExecutor(_VERIFY_THREADS, thread_name_prefix="verify")
        self._background: set[asyncio.Task[None]] = set()
        self.gate: Callable[[SignedTx, Party, Way], SubmitResult | None] = lambda _signed, _party, _way: None
        """Says what becomes of a verified transaction that cannot go into the mempool yet; None for all others."""
        self.find_waiting: Callable[[Digest], SignedTx | None] = lambda _: None
        """Finds a transaction that waits before the mempool."""
        self.wake: Callable[[], None] = lambda: None
        """Tells the replica that transactions wait."""
        self.send_gossip: Callable[[Sequence[bytes]], None] = lambda _: None
        self.publish: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.is_connected: Callable[[str], bool] = lambda _: False
        self.heard_height: Callable[[str], int] = lambda _: 0
        self.broker: Callable[[], str] = lambda: "none"
        self.failure: Callable[[], str | None] = lambda: None
        self.views_failure: Callable[[], str | None] = lambda: None
        self.past: Callable[[], PastStatus] = whole_past

    # ---- what the API asks --------------------------------------------------------------------

    def status(self) -> NodeStatus:
        """Return what /v1/status says."""
        head, progress = self._chain.head, self._replica.progress
        return NodeStatus(
            node=self._member,
            chain=self._chain_name,
            height=head.height,
            head=head.digest.hex(),
            head_time_ms=head.time_ms,
            head_age_ms=max(0, self.now_ms() - head.time_ms),
            ledger_stale=self.ledger_stale(),
            view=self._replica.view,
            leader=self._replica.leader,
            waits_for=progress.awaits,
            missing=list(progress.missing),
            peers=[
                PeerStatus(member=member, connected=self.is_connected(member), height=self.heard_height(member))
                for member in self._others()
            ],
            mempool=MempoolStatus(transactions=len(self._mempool), bytes=self._mempool.size_bytes),
            past=self.past(),
            broker=self.broker(),
            health=self.unready() or "ok",
            version=self._version,
        )

    def _others(self) -> list[str]:
        return [member for member in self.validators if member != self._member]

    def pending(self, tx: bytes) -> SignedTx | None:
        """Return the transaction of that id if it waits in the mempool."""
        return self._mempool.find(tx) or self.find_waiting(tx)

    def head_height(self) -> int:
        """Return the height of the newest block."""
        return self._chain.head.height

    def head_time_ms(self) -> int:
        """Return the block time of the newest block."""
        return self._chain.head.time_ms

    def now_ms(self) -> int:
        """Return the node's own clock."""
        return self._clock.now_ms()

    def ledger_stale(self) -> bool:
        """Tell whether no block came for two heartbeats."""
        return self.now_ms() - self._chain.head.time_ms > 2 * self._chain.parameters.heartbeat_ms

    def stale_ms(self) -> int:
        """Return the on-chain parameter ``stale_ms``."""
        return self._chain.parameters.stale_ms

    def baseline_days_max(self) -> int:
        """Return the on-chain parameter ``baseline_days_max``."""
        return self._chain.parameters.baseline_days_max

    def unready(self) -> str | None:
        """Return why the node does not take part or its lists stand still, or None."""
        return self.failure() or self.views_failure()

    async def submit_all(self, transactions: Sequence[bytes]) -> Sequence[SubmitResult]:
        """Check signed transactions that came by HTTP together."""
        return await self._take_all(transactions, "http")

    # ---- admission ----------------------------------------------------------------------------

    def take(self, raw: bytes, way: Way) -> SubmitResult:
        """Check a transaction and put it into the mempool.

        Args:
            raw: Bytes of any origin.
            way: How it came; what came by gossip is not passed on.
        """
        return self._take_here([raw], way)[0]

    def take_gossip(self, transactions: Sequence[bytes]) -> asyncio.Future[None] | None:
        """Take transactions that arrived at another node; return the work that goes on, if any does."""
        if len(transactions) < _VERIFY_ELSEWHERE_MIN:
            self._take_here(transactions, "gossip")
        elif self._gossip_waiting + len(transactions) > _GOSSIP_WAITING_MAX:
            self._metrics.received.labels("gossip", "refused").inc(len(transactions))
            self._metrics.refused.labels("gossip", "busy").inc(len(transactions))
        else:
            self._gossip_waiting += len(transactions)
            return self._start(self._take_later(transactions))
        return None

    async def _take_later(self, transactions: Sequence[bytes]) -> None:
        try:
            await self._take_all(transactions, "gossip")
        finally:
            self._gossip_waiting -= len(transactions)

    def _take_here(self, transactions: Sequence[bytes], way: Way) -> list[SubmitResult]:
        """Check transactions, signatures too, on this thread."""
        screened = [self._screen(raw, way) for raw in transactions]
        return self._settle(screened, self._verify(_to_verify(screened)), way)

    async def _take_all(self, transactions: Sequence[bytes], way: Way) -> list[SubmitResult]:
        """Check transactions, many signatures at once on other threads: verifying does not hold the interpreter."""
        screened = [self._screen(raw, way) for raw in transactions]
        waiting = _to_verify(screened)
        if len(waiting) < _VERIFY_ELSEWHERE_MIN:
            return self._settle(screened, self._verify(waiting), way)
        loop = asyncio.get_running_loop()
        step = max(_VERIFY_ELSEWHERE_MIN, -(-len(waiting) // _VERIFY_THREADS))
        parts = [waiting[at : at + step] for at in range(0, len(waiting), step)]
        verdicts = await asyncio.gather(*(loop.run_in_executor(self._verifiers, self._verify, part) for part in parts))
        return self._settle(screened, list(itertools.chain.from_iterable(verdicts)), way)

    def _screen(self, raw: bytes, way: Way) -> SubmitResult | _Screened:
        """Check all of a transaction but its signature."""
        tx_id = sha256(raw)
        if self._mempool.find(tx_id) is not None:
            return SubmitResult(tx_id, "pending")
        try:
            signed = open_tx(raw)
        except WireError as error:
            self._metrics.malformed.labels(error.code).inc()
            status = _TOO_LARGE if len(raw) > TX_BYTES_MAX else _BAD_REQUEST
            return SubmitResult(tx_id, "refused", "malformed", status, f"{str(error)[:200]}.")
        reason = self.failure()
        try:
            key = self._application.screen(signed, self.now_ms())
        except TxRefused as error:
            # a committed transaction is always refused, since its number is used up
            if self._receipts.find_tx(tx_id) is not None:
                return SubmitResult(tx_id, "duplicate", http_status=200)
            if reason is None:
                return _refused(tx_id, error.code, f" Sender {signed.tx.sender}, key {signed.envelope.kid.hex()}.")
        if reason is not None:
            detail = f"This node does not take part: {reason}"
            return SubmitResult(tx_id, "refused", "not-ready", _UNAVAILABLE, detail)
        return self._at_entrance(_Screened(signed, key.key, party_of(key, self._topics)), way)

    def _at_entrance(self, screened: _Screened, way: Way) -> SubmitResult | _Screened:
        centre = self.entrance(screened.signed) if way == "http" else None
        if centre is None:
            return screened
        detail = f"The sender is attached to the data centre {centre}; send it there, or attach to this one."
        return SubmitResult(screened.signed.id, "refused", "other-data-centre", _MISDIRECTED, detail)

    def _verify(self, waiting: Sequence[_Screened]) -> list[bool]:
        """Tell of each whether its signature verifies; in any thread."""
        return [self._is_signed(entry) for entry in waiting]

    def _is_signed(self, entry: _Screened) -> bool:
        try:
            self._verified(entry.signed, entry.public_key)
        except SignatureError:
            return False
        return True

    def _settle(
        self, screened: Sequence[SubmitResult | _Screened], verdicts: Sequence[bool], way: Way
    ) -> list[SubmitResult]:
        """Put what verified into the mempool, pass it on, and count what became of all."""
        verdict = iter(verdicts)
        count = len(self._mempool)
        results = [
            entry
            if isinstance(entry, SubmitResult)
            else self._add(entry.signed, entry.party, way, is_signed=next(verdict))
            for entry in screened
        ]
        for status, number in Counter(result.status for result in results).items():
            self._metrics.received.labels(way, status).inc(number)
        for result in results:
            if result.status == "refused":
                self._metrics.refused.labels(way, result.code).inc()
                if result.code != "not-ready":  # why is said once, when it stops: the log may lie on the full disk
                    _log.info("refused a transaction", way=way, code=result.code, detail=result.detail)
        if len(self._mempool) > count:
            self.wake()
        return results

    def _add(self, signed: SignedTx, party: Party, way: Way, *, is_signed: bool) -> SubmitResult:
        if not is_signed:
            return _refused(signed.id, "bad-signature")
        waits = self.gate(signed, party, way)
        if waits is not None:
            return waits
        try:
            is_new = self._mempool.add(signed, party)
        except MempoolError as error:
            return SubmitResult(signed.id, "refused", error.code, HTTP_STATUS[error.code], f"{error}; try again.")
        if is_new:
            self._arrived(signed)
            if way != "gossip":
                self._pass_on(signed.raw)
        return SubmitResult(signed.id, "pending")

    def admit(self, signed: SignedTx, party: Party, way: Way) -> None:
        """Put a transaction into the mempool whose blobs have come."""
        result = self._add(signed, party, way, is_signed=True)
        self._metrics.received.labels(way, f"blobs-{result.status}").inc()
        self.wake()

    async def take_from_broker(self, payload: bytes) -> None:
        """Take a gateway's transaction; a committed one is answered with its receipt."""
        result = (await self._take_all([payload], "mqtt"))[0]
        if result.status == "duplicate":
            # to the sender's own topic, whatever topic the resend came on
            own_topic = self._topics.get(open_tx(payload).tx.sender)
            if own_topic is not None:
                await self._publish_receipt(result.id, own_topic)

    def _arrived(self, signed: SignedTx) -> None:
        self._arrivals[signed.id] = self._clock.monotonic_ms()
        while len(self._arrivals) > _ARRIVALS_MAX:
            self._arrivals.popitem(last=False)

    def _pass_on(self, raw: bytes) -> None:
        """Gossip in small batches: what arrives within eight milliseconds goes together, as far as a message may."""
        if self._gossip_bytes + len(raw) > _GOSSIP_BYTES_MAX or len(self._gossip) >= _GOSSIP_TRANSACTIONS_MAX:
            self._flush_gossip()
        if not self._gossip:
            asyncio.get_running_loop().call_later(_GOSSIP_BATCH_S, self._flush_gossip)
        self._gossip.append(raw)
        self._gossip_bytes += len(raw)

    def waiting(self) -> list[bytes]:
        """Return what a validator that has just been connected may lack: at most 512 transactions of 1 MiB in all."""
        return [signed.raw for signed in self._mempool.longest_waiting(_GOSSIP_TRANSACTIONS_MAX, _GOSSIP_BYTES_MAX)]

    def _flush_gossip(self) -> None:
        batch, self._gossip, self._gossip_bytes = self._gossip, [], 0
        if batch:
            self.send_gossip(batch)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # ---- after a block ------------------------------------------------------------------------

    def applied(self, block: Block) -> None:
        """Forget what the block settled, and send receipts if this node proposed it."""
        ids = [sha256(raw) for raw in block.transactions]
        now_ms = self._clock.monotonic_ms()
        for tx_id in ids:
            arrived_ms = self._arrivals.pop(tx_id, None)
            if arrived_ms is not None:
                self._metrics.commit_seconds.observe((now_ms - arrived_ms) / 1000)
        is_own = block.header.proposer == self._member
        topics = (
            [self._topic_of(tx_id, raw) for tx_id, raw in zip(ids, block.transactions, strict=True)] if is_own else []
        )
        for raw, tx_id in zip(block.transactions, ids, strict=True):
            if self._mempool.find(tx_id) is None:
                self._mempool.remove(self._mempool.rivals(open_tx(raw)))
        self._mempool.remove(ids)
        self._mempool.remove(self._mempool.expired(block.header.time_ms))
        self.drop_refused()
        self._metrics.committed.inc(len(ids))
        self._metrics.height.set(block.header.height)
        self._metrics.head_time.set(block.header.time_ms / 1000)
        if any(topics):
            self._start(self._publish_receipts(block.header.height, topics))

    def _topic_of(self, tx_id: Digest, raw: bytes) -> str | None:
        """Return the topic on which the sender hears its receipts, if it is a gateway."""
        signed = self._mempool.find(tx_id) or open_tx(raw)
        return self._topics.get(signed.tx.sender)

    def has_pending(self) -> bool:
        """Tell whether a transaction waits that a block could hold."""
        self.drop_refused()
        return len(self._mempool) > 0

    def drop_refused(self) -> None:
        """Forget pending transactions that the builder found no block can hold."""
        refused, self._chain.refused = self._chain.refused, []
        self._mempool.remove(refused)

    def report(self, code: str, _detail: str) -> None:
        """Count something that operators must see."""
        self._metrics.reports.labels(code).inc()

    def refresh_gauges(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.view.set(self._replica.view)
        self._metrics.taking_part.set(self.failure() is None)
        self._metrics.mempool.set(len(self._mempool))
        self._metrics.mempool_bytes.set(self._mempool.size_bytes)
        self._metrics.peers.set(sum(map(self.is_connected, self._others())))

    async def _publish_receipts(self, height: int, topics: Sequence[str | None]) -> None:
        receipts = await asyncio.to_thread(self._receipts.receipts, height)
        for topic, receipt in zip(topics, receipts, strict=True):
            if topic is not None:
                self._publish_one(topic, receipt)

    async def _publish_receipt(self, tx_id: Digest, topic: str) -> None:
        receipt = await asyncio.to_thread(self._receipts.receipt, tx_id)
        if receipt is not None:
            self._publish_one(topic, receipt)

    def _publish_one(self, topic: str, receipt: Receipt) -> None:
        self.publish(topic, receipt.encode())
        self._metrics.receipts.inc()


def _to_verify(screened: Sequence[SubmitResult | _Screened]) -> list[_Screened]:
    return [entry for entry in screened if isinstance(entry, _Screened)]


def _refused(tx_id: Digest, code: str, whose: str = "") -> SubmitResult:
    detail = DETAILS.get(code, "The transaction is refused.") + whose
    return SubmitResult(tx_id, "refused", code, HTTP_STATUS.get(code, _BAD_REQUEST), detail)


def whole_past() -> PastStatus:
    """Return the past of a node that has all blocks."""
    return PastStatus(known_from=1, blocks_from=1, snapshot="idle", subtrees_missing=0)


def genesis_parameter(genesis: Genesis, name: str) -> int:
    """Return a whole-number parameter of the ledger, its default when the genesis file is silent."""
    value = genesis.parameters.get(name, INTEGERS[name].default)
    assert isinstance(value, int)
    return value
