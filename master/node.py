"""A running full node as the API and the broker see it: takes transactions, tells where it stands."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from kit.clock import Clock
from kit.logs import get_logger
from master.api.ports import MempoolStatus, NodeStatus, PeerStatus, SubmitResult
from master.chain import Chain
from master.consensus.replica import Replica
from master.contracts.parameters import INTEGERS
from master.ledger.application import Application, TxRefused
from master.mempool import Mempool, MempoolError
from master.metrics import NodeMetrics
from wire.block import Block
from wire.errors import WireError
from wire.genesis import Genesis
from wire.receipt import Receipt
from wire.topics import DOWN, GatewayTopic
from wire.tx import SignedTx, open_tx
from wire.types import TX_BYTES_MAX, Digest, sha256

_ARRIVALS_MAX: Final = 100_000
_GOSSIP_BATCH_S: Final = 0.002
_GOSSIP_TRANSACTIONS_MAX: Final = 512
_GOSSIP_BYTES_MAX: Final = 1024 * 1024
_BAD_REQUEST, _FORBIDDEN, _CONFLICT, _TOO_LARGE, _TOO_MANY, _UNAVAILABLE = 400, 403, 409, 413, 429, 503
_HTTP_STATUS: Final = {
    "unknown-key": _FORBIDDEN,
    "wrong-sender": _FORBIDDEN,
    "bad-signature": _FORBIDDEN,
    "expired": _CONFLICT,
    "replayed": _CONFLICT,
    "seq-taken": _CONFLICT,
    "sender-full": _TOO_MANY,
    "mempool-full": _TOO_MANY,
}
_DETAILS: Final = {
    "wrong-chain": "The transaction is for another ledger; sign it with this ledger's name.",
    "unknown-contract": "No such contract and version on this ledger.",
    "unknown-method": "The contract has no such method.",
    "unknown-key": "No account has this key.",
    "wrong-sender": "The key belongs to another account than the sender.",
    "bad-signature": "The signature does not verify.",
    "expired": "valid_until_ms is in the past; sign again.",
    "valid-too-long": "valid_until_ms is too far ahead.",
    "replayed": "This seq of the key was used before; sign with the next one.",
}

Way = Literal["mqtt", "http", "gossip"]
_log = get_logger("node")


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
        replica: Replica,
        metrics: NodeMetrics,
        clock: Clock,
    ) -> None:
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
        self._stale_ms = genesis_parameter(genesis, "stale_ms")
        self._ledger_stale_ms = 2 * genesis_parameter(genesis, "heartbeat_ms")
        self._topics = down_topics(genesis)
        self._validators = [validator.member for validator in genesis.validators if validator.member != member]
        self._arrivals: OrderedDict[Digest, int] = OrderedDict()
        self._gossip: list[bytes] = []
        self._gossip_bytes = 0
        self._background: set[asyncio.Task[None]] = set()
        self.wake: Callable[[], None] = lambda: None
        """Tells the replica that transactions wait."""
        self.send_gossip: Callable[[Sequence[bytes]], None] = lambda _: None
        self.publish: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.is_connected: Callable[[str], bool] = lambda _: False
        self.heard_height: Callable[[str], int] = lambda _: 0
        self.failure: Callable[[], str | None] = lambda: None
        self.views_failure: Callable[[], str | None] = lambda: None

    # ---- what the API asks --------------------------------------------------------------------

    def status(self) -> NodeStatus:
        """Return what /v1/status says."""
        head = self._chain.head
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
            peers=[
                PeerStatus(member=member, connected=self.is_connected(member), height=self.heard_height(member))
                for member in self._validators
            ],
            mempool=MempoolStatus(transactions=len(self._mempool), bytes=self._mempool.size_bytes),
            version=self._version,
        )

    def pending(self, tx: bytes) -> SignedTx | None:
        """Return the transaction of that id if it waits in the mempool."""
        return self._mempool.find(tx)

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
        return self.now_ms() - self._chain.head.time_ms > self._ledger_stale_ms

    def stale_ms(self) -> int:
        """Return the on-chain parameter ``stale_ms``."""
        return self._stale_ms

    def unready(self) -> str | None:
        """Return why the node does not take part or its lists stand still, or None."""
        return self.failure() or self.views_failure()

    async def submit(self, raw: bytes) -> SubmitResult:
        """Check one signed transaction that came by HTTP."""
        return self.take(raw, "http")

    # ---- admission ----------------------------------------------------------------------------

    def take(self, raw: bytes, way: Way) -> SubmitResult:
        """Check a transaction and put it into the mempool.

        Args:
            raw: Bytes of any origin.
            way: How it came; what came by gossip is not passed on.
        """
        result = self._admit(raw, way)
        self._metrics.received.labels(way, result.status).inc()
        if result.status == "refused":
            self._metrics.refused.labels(way, result.code).inc()
            _log.info("refused a transaction", way=way, code=result.code, detail=result.detail)
        return result

    def _admit(self, raw: bytes, way: Way) -> SubmitResult:
        tx_id = sha256(raw)
        if self._mempool.find(tx_id) is not None:
            return SubmitResult(tx_id, "pending")
        try:
            signed = open_tx(raw)
        except WireError as error:
            status = _TOO_LARGE if len(raw) > TX_BYTES_MAX else _BAD_REQUEST
            return SubmitResult(tx_id, "refused", "malformed", status, f"{str(error)[:200]}.")
        if self._receipts.find_tx(tx_id) is not None:
            return SubmitResult(tx_id, "duplicate", http_status=200)
        refusal = self._refusal(signed)
        if refusal is not None:
            return refusal
        self._arrived(signed)
        if way != "gossip":
            self._pass_on(raw)
        self.wake()
        return SubmitResult(tx_id, "pending")

    def _refusal(self, signed: SignedTx) -> SubmitResult | None:
        """Put a transaction into the mempool, or say why not."""
        reason = self.failure()
        if reason is not None:
            detail = f"This node does not take part: {reason}"
            return SubmitResult(signed.id, "refused", "not-ready", _UNAVAILABLE, detail)
        try:
            self._application.check(signed, self.now_ms())
            self._mempool.add(signed)
        except TxRefused as error:
            detail = _DETAILS.get(error.code, "The transaction is refused.")
            return SubmitResult(signed.id, "refused", error.code, _HTTP_STATUS.get(error.code, _BAD_REQUEST), detail)
        except MempoolError as error:
            return SubmitResult(signed.id, "refused", error.code, _HTTP_STATUS[error.code], f"{error}; try again.")
        return None

    def take_gossip(self, transactions: Sequence[bytes]) -> None:
        """Take transactions that arrived at another node."""
        for raw in transactions:
            self.take(raw, "gossip")

    async def take_from_broker(self, payload: bytes) -> None:
        """Take a gateway's transaction; a committed one is answered with its receipt."""
        result = self.take(payload, "mqtt")
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
        """Gossip in small batches: whatever arrives within two milliseconds goes together, as far as a message may."""
        self._gossip.append(raw)
        self._gossip_bytes += len(raw)
        if len(self._gossip) == 1:
            asyncio.get_running_loop().call_later(_GOSSIP_BATCH_S, self._flush_gossip)
        if len(self._gossip) >= _GOSSIP_TRANSACTIONS_MAX or self._gossip_bytes >= _GOSSIP_BYTES_MAX:
            self._flush_gossip()

    def waiting(self) -> list[bytes]:
        """Return what a validator that has just been connected may lack: at most 512 transactions of 1 MiB in all."""
        return [signed.raw for signed in self._mempool.oldest(_GOSSIP_TRANSACTIONS_MAX, _GOSSIP_BYTES_MAX)]

    def _flush_gossip(self) -> None:
        batch, self._gossip, self._gossip_bytes = self._gossip, [], 0
        if batch:
            self.send_gossip(batch)

    # ---- after a block ------------------------------------------------------------------------

    def applied(self, block: Block) -> None:
        """Forget what the block settled, and send receipts if this node proposed it."""
        ids = [sha256(raw) for raw in block.transactions]
        now_ms = self._clock.monotonic_ms()
        for tx_id in ids:
            arrived_ms = self._arrivals.pop(tx_id, None)
            if arrived_ms is not None:
                self._metrics.commit_seconds.observe((now_ms - arrived_ms) / 1000)
        for raw, tx_id in zip(block.transactions, ids, strict=True):
            if self._mempool.find(tx_id) is None:
                self._mempool.remove(self._mempool.rivals(open_tx(raw)))
        self._mempool.remove(ids)
        self._mempool.remove(self._mempool.expired(block.header.time_ms))
        self.drop_refused()
        self._metrics.committed.inc(len(ids))
        self._metrics.height.set(block.header.height)
        self._metrics.head_time.set(block.header.time_ms / 1000)
        if block.header.proposer == self._member and ids:
            task = asyncio.create_task(self._publish_receipts(block))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    def has_pending(self) -> bool:
        """Tell whether a transaction waits that a block could hold."""
        self.drop_refused()
        return len(self._mempool) > 0

    def drop_refused(self) -> None:
        """Forget pending transactions that the builder found no block can hold."""
        refused, self._chain.refused = self._chain.refused, []
        self._mempool.remove(refused)

    def refresh_gauges(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.view.set(self._replica.view)
        self._metrics.mempool.set(len(self._mempool))
        self._metrics.mempool_bytes.set(self._mempool.size_bytes)
        self._metrics.peers.set(sum(map(self.is_connected, self._validators)))

    async def _publish_receipts(self, block: Block) -> None:
        topics = [self._topics.get(open_tx(raw).tx.sender) for raw in block.transactions]
        if not any(topics):
            return
        receipts = await asyncio.to_thread(self._receipts.receipts, block.header.height)
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


def down_topics(genesis: Genesis) -> dict[str, str]:
    """Return the topic on which each gateway hears its receipts."""
    areas = {station.id: station.area for station in genesis.stations}
    return {
        gateway.id: str(GatewayTopic(areas[gateway.station], gateway.station, gateway.id, DOWN))
        for gateway in genesis.gateways
    }


def genesis_parameter(genesis: Genesis, name: str) -> int:
    """Return a whole-number parameter of the ledger, its default when the genesis file is silent."""
    value = genesis.parameters.get(name, INTEGERS[name].default)
    assert isinstance(value, int)
    return value
