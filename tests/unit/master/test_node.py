"""Admission to the mempool, status and receipts of a full node, without sockets or disks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from nacl.signing import SigningKey
from prometheus_client import CollectorRegistry

from kit.clock import FakeClock
from master import node
from master.api.ports import SubmitResult
from master.consensus.events import Head, Now
from master.consensus.guard import SignerGuard
from master.consensus.replica import Replica
from master.consensus.state import Settings
from master.down_topics import DownTopics
from master.ledger.parameters import LedgerParameters
from master.ledger.refusals import TxRefused
from master.ledger.rows import Head as LedgerHead
from master.mempool import Mempool
from master.metrics import NodeMetrics
from master.node import Node, genesis_parameter
from wire.block import Block
from wire.cbor import Value
from wire.certificate import Certificate, Step
from wire.genesis import AccountKey, Gateway, Genesis, GenesisValidator, Organisation, Station
from wire.header import ZERO_DIGEST, Header
from wire.merkle import EMPTY_HEAD, Frontier
from wire.receipt import Outcome, Receipt
from wire.tx import SignedTx, Transaction, open_tx
from wire.types import TX_BYTES_MAX, sha256

KEY = SigningKey(b"\x07" * 32)
NOW_MS = 1_800_000_000_000
GENESIS = Genesis(
    name="demo",
    time_ms=NOW_MS - 1000,
    validators=tuple(GenesisValidator(name, name.encode().ljust(32, b"\0"), name.encode()) for name in ("a", "b")),
    organisations=(Organisation("a", "dispatch-centre"), Organisation("b", "sub-centre")),
    keys=(AccountKey(KEY.verify_key.encode(), "gw-1", "a"),),
    stations=(Station("st-1", "east", "a"),),
    gateways=(Gateway("gw-1", "st-1"),),
    devices=(),
    parameters={"heartbeat_ms": 1000},
    code_table=(),
)
TOPIC = "gridwitness/v1/east/st-1/gw-1/down"


PARAMETERS = LedgerParameters(35, 1 << 20, 30, 1000, 1000, 1000, 1_800_000)


@dataclass
class FakeChain:
    """A head that does not move."""

    head: LedgerHead
    parameters: LedgerParameters = PARAMETERS
    gateways: tuple[tuple[Gateway, Station], ...] = ((GENESIS.gateways[0], GENESIS.stations[0]),)
    refused: list[bytes] = field(default_factory=list)


@dataclass
class FakeApplication:
    """Refuses with the code it is told."""

    code: str | None = None

    def screen(self, tx: SignedTx, time_ms: int) -> AccountKey:
        assert time_ms == NOW_MS
        if self.code is not None:
            raise TxRefused(self.code)
        return AccountKey(KEY.verify_key.encode(), tx.tx.sender, "grid")


@dataclass
class FakeReceipts:
    """Receipts of what was committed."""

    by_id: dict[bytes, Receipt] = field(default_factory=dict)

    def find_tx(self, tx: bytes) -> tuple[int, int] | None:
        return (1, 0) if tx in self.by_id else None

    def receipt(self, tx: bytes) -> Receipt | None:
        return self.by_id.get(tx)

    def receipts(self, height: int) -> Sequence[Receipt]:
        assert height == 1
        return list(self.by_id.values())


class World:
    """A node with everything around it faked, and what it said."""

    def __init__(self, per_sender_max: int = 2) -> None:
        self.clock = FakeClock(NOW_MS)
        self.application = FakeApplication()
        self.receipts = FakeReceipts()
        self.registry = CollectorRegistry()
        self.mempool = Mempool(per_sender_max=per_sender_max)
        head = LedgerHead(0, GENESIS.digest(), GENESIS.time_ms, ZERO_DIGEST, Frontier())
        self.chain = FakeChain(head)
        settings = Settings("a", GENESIS.chain(), 0, GENESIS.validator_set())
        consensus_head = Head(0, GENESIS.digest(), GENESIS.time_ms, None)
        self.node = Node(
            GENESIS,
            "a",
            "1.2.3",
            chain=self.chain,  # type: ignore[arg-type]
            application=self.application,  # type: ignore[arg-type]
            mempool=self.mempool,
            receipts=self.receipts,
            replica=Replica(
                settings, consensus_head, lambda _: bytes(64), Now(NOW_MS, 0), guard=SignerGuard(), nonce=bytes(32)
            ),
            metrics=NodeMetrics(self.registry),
            clock=self.clock,
        )
        self.wakes = 0
        self.gossiped: list[bytes] = []
        self.published: list[tuple[str, bytes]] = []
        self.node.wake = self._wake
        self.node.send_gossip = self.gossiped.extend
        self.node.publish = lambda topic, payload: self.published.append((topic, payload))

    def _wake(self) -> None:
        self.wakes += 1

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"gridwitness_node_{name}", labels) or 0.0


def transaction(seq: int = 1, filler: int = 0, sender: str = "gw-1") -> bytes:
    args: dict[str, Value] = {"x": bytes(filler)}
    return Transaction(GENESIS.chain(), sender, "consistency", 1, "report", args, seq, NOW_MS + 5).sign(KEY)


def block(*transactions: bytes, proposer: str = "a") -> Block:
    header = Header(
        chain=GENESIS.chain(),
        epoch=0,
        height=1,
        proposer=proposer,
        time_ms=NOW_MS,
        tx_count=len(transactions),
        parent=ZERO_DIGEST,
        tx_root=ZERO_DIGEST,
        outcome_root=ZERO_DIGEST,
        state_root=ZERO_DIGEST,
        history_root=ZERO_DIGEST,
        validators_hash=ZERO_DIGEST,
        next_validators_hash=ZERO_DIGEST,
        code_table_hash=ZERO_DIGEST,
        fault_proof_root=EMPTY_HEAD,
    )
    return Block(header, transactions)


def receipt(raw: bytes) -> Receipt:
    header = block(raw).header
    certificate = Certificate(Step.COMMIT, 0, 1, 0, header.digest(), ())
    outcome = Outcome(sha256(raw), "ok", ())
    return Receipt(sha256(raw), header, certificate, 0, 1, (), outcome, (), ())


async def after(world: World, act: Callable[[], object], *, patience: int = 5000) -> None:
    act()
    for _ in range(patience):
        await asyncio.sleep(0.001)
        if world.gossiped or world.published:
            return


def test_node_takes_valid_transaction_once_and_passes_it_on() -> None:
    world, raw = World(), transaction()

    async def run() -> None:
        await after(world, lambda: world.node.take(raw, "mqtt"))
        assert world.node.take(raw, "mqtt").status == "pending"

    asyncio.run(run())
    assert world.gossiped == [raw]
    assert world.wakes == 1
    assert world.node.pending(sha256(raw)) is not None
    assert world.metric("transactions_received_total", way="mqtt", result="pending") == 2


def test_node_takes_gossip_without_passing_it_on() -> None:
    world, raw = World(), transaction()
    world.node.take_gossip([raw])
    assert len(world.mempool) == 1
    assert world.gossiped == []


# holds MB-15
def test_node_sends_an_attached_member_to_its_data_centre() -> None:
    world = World()
    world.node.entrance = lambda _: "sub-west"
    (result,) = asyncio.run(world.node.submit_all([transaction()]))
    assert (result.status, result.code, result.http_status) == ("refused", "other-data-centre", 421)
    assert "sub-west" in result.detail
    # what came to another node, or from a gateway by the broker, is taken
    assert world.node.take(transaction(), "gossip").status == "pending"


@pytest.mark.parametrize(
    ("code", "http_status"),
    [
        ("wrong-chain", 400),
        ("unknown-contract", 400),
        ("unknown-key", 403),
        ("wrong-sender", 403),
        ("suspended", 403),
        ("bad-signature", 403),
        ("expired", 409),
        ("replayed", 409),
    ],
)
def test_node_refuses_what_the_ledger_refuses_and_counts_it(code: str, http_status: int) -> None:
    world = World()
    world.application.code = code
    (result,) = asyncio.run(world.node.submit_all([transaction()]))
    assert (result.status, result.code, result.http_status) == ("refused", code, http_status)
    assert result.detail.endswith(".")
    if code != "bad-signature":  # whose it says it is, for whoever has to find out why a gateway gets no receipts
        tx = open_tx(transaction())
        assert f"Sender {tx.tx.sender}, key {tx.envelope.kid.hex()}." in result.detail
    assert len(world.mempool) == 0
    assert world.metric("transactions_refused_total", way="http", reason=code) == 1


@pytest.mark.parametrize(
    ("raw", "http_status", "said", "reason"),
    [
        (b"", 400, "truncated", "malformed"),
        (b"hello", 400, "tag 18", "malformed"),
        (transaction() + b"\0", 400, "trailing", "malformed"),
        (bytes(65_537), 413, "at most 65536", "too-large"),
        (transaction()[:24] + b"\xa0\x42\x18\x00" + transaction()[-66:], 400, "shortest form", "not-canonical"),
    ],
)
def test_node_refuses_malformed_bytes_with_a_sentence(raw: bytes, http_status: int, said: str, reason: str) -> None:
    world = World()
    result = world.node.take(raw, "mqtt")
    assert (result.code, result.http_status) == ("malformed", http_status)
    assert said in result.detail
    assert world.metric("transactions_refused_total", way="mqtt", reason="malformed") == 1
    assert world.metric("transactions_malformed_total", reason=reason) == 1


def forged(raw: bytes) -> bytes:
    return raw[:-1] + bytes((raw[-1] ^ 1,))


def test_node_refuses_a_signature_that_does_not_verify() -> None:
    world = World()
    assert world.node.take(forged(transaction()), "http").code == "bad-signature"
    assert len(world.mempool) == 0


def test_node_verifies_many_at_once_and_answers_each_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_VERIFY_ELSEWHERE_MIN", 16)
    world = World(per_sender_max=64)
    batch = [transaction(seq) for seq in range(1, 41)]
    batch[7] = forged(batch[7])
    batch[9] = b"hello"

    async def run() -> None:
        results = await world.node.submit_all(batch)
        assert [result.id for result in results] == [sha256(raw) for raw in batch]
        assert {number: result.code for number, result in enumerate(results) if result.status == "refused"} == {
            7: "bad-signature",
            9: "malformed",
        }
        while len(world.gossiped) < 38:  # noqa: ASYNC110 a list has no event
            await asyncio.sleep(0.001)

    asyncio.run(run())
    assert len(world.mempool) == 38
    assert world.wakes == 1
    assert world.gossiped == [raw for number, raw in enumerate(batch) if number not in (7, 9)]
    assert world.metric("transactions_received_total", way="http", result="pending") == 38


def test_node_takes_much_gossip_later_and_refuses_more_than_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_GOSSIP_WAITING_MAX", 20)
    monkeypatch.setattr(node, "_VERIFY_ELSEWHERE_MIN", 16)
    world = World(per_sender_max=64)

    async def run() -> None:
        world.node.take_gossip([transaction(seq) for seq in range(1, 18)])
        world.node.take_gossip([transaction(seq) for seq in range(18, 35)])
        while len(world.mempool) < 17:  # noqa: ASYNC110 another thread verifies
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        world.node.take_gossip([transaction(seq) for seq in range(18, 35)])
        while len(world.mempool) < 34:  # noqa: ASYNC110 another thread verifies
            await asyncio.sleep(0.001)

    asyncio.run(run())
    assert world.metric("transactions_refused_total", way="gossip", reason="busy") == 17


def test_node_gossips_in_messages_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(per_sender_max=64)
    batches: list[Sequence[bytes]] = []
    world.node.send_gossip = batches.append
    monkeypatch.setattr(node, "_GOSSIP_BYTES_MAX", 2 * len(transaction(1)))

    async def run() -> None:
        await world.node.submit_all([transaction(seq) for seq in range(1, 6)])
        while len(batches) < 3:  # noqa: ASYNC110 a list has no event
            await asyncio.sleep(0.001)

    asyncio.run(run())
    assert [len(batch) for batch in batches] == [2, 2, 1]


def test_node_refuses_second_transaction_of_one_seq_and_more_than_a_sender_may_have() -> None:
    world = World()
    world.node.take_gossip([transaction(1)])
    assert world.node.take(transaction(1, filler=1), "gossip") == SubmitResult(
        sha256(transaction(1, filler=1)),
        "refused",
        "seq-taken",
        409,
        "another transaction with seq 1 of this key is pending; try again.",
    )
    world.node.take_gossip([transaction(2)])
    assert world.node.take(transaction(3), "gossip").http_status == 429


def test_node_that_stopped_refuses_with_the_reason() -> None:
    world = World()
    world.node.failure = lambda: "disk full"
    result = world.node.take(transaction(), "http")
    assert (result.code, result.http_status, world.node.unready()) == ("not-ready", 503, "disk full")
    assert world.node.status()["health"] == "disk full"


def test_node_that_stopped_counts_what_it_refuses_and_writes_no_line_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    world, lines = World(), list[str]()
    monkeypatch.setattr("master.node._log", SimpleNamespace(info=lambda text, **_: lines.append(text)))
    world.node.failure = lambda: "disk full"
    world.node.take(transaction(), "gossip")
    assert world.metric("transactions_refused_total", way="gossip", reason="not-ready") == 1
    assert lines == []
    world.node.take(b"rubbish", "gossip")
    assert lines == ["refused a transaction"]


def test_node_answers_committed_transaction_from_broker_with_its_receipt() -> None:
    world, raw = World(), transaction()
    world.receipts.by_id[sha256(raw)] = receipt(raw)
    world.application.code = "replayed"
    asyncio.run(world.node.take_from_broker(raw))
    assert world.published == [(TOPIC, receipt(raw).encode())]
    assert world.metric("transactions_received_total", way="mqtt", result="duplicate") == 1


def test_node_answers_new_transaction_from_broker_with_nothing_yet() -> None:
    world = World()
    asyncio.run(world.node.take_from_broker(transaction()))
    assert world.published == []


def test_node_that_proposed_sends_receipts_and_forgets_the_transactions() -> None:
    world, raw = World(), transaction()
    world.node.take_gossip([raw])
    world.receipts.by_id[sha256(raw)] = receipt(raw)
    asyncio.run(after(world, lambda: world.node.applied(block(raw))))
    assert world.published == [(TOPIC, receipt(raw).encode())]
    assert len(world.mempool) == 0
    assert world.metric("receipts_published_total") == 1
    assert world.metric("height") == 1


def test_node_that_did_not_propose_sends_no_receipt() -> None:
    world, raw = World(), transaction()
    asyncio.run(after(world, lambda: world.node.applied(block(raw, proposer="b")), patience=100))
    assert world.published == []


def test_node_forgets_expired_and_hopeless_transactions_with_the_next_block() -> None:
    world = World()
    hopeless = transaction(1)
    world.node.take_gossip([hopeless, transaction(2)])
    world.chain.refused.append(sha256(hopeless))
    asyncio.run(after(world, lambda: world.node.applied(block()), patience=100))
    assert world.node.pending(sha256(hopeless)) is None
    assert len(world.mempool) == 1


def test_node_forgets_the_rival_of_a_transaction_that_a_block_took() -> None:
    world = World()
    rival = transaction(1, filler=1)
    world.node.take_gossip([rival, transaction(2)])
    asyncio.run(after(world, lambda: world.node.applied(block(transaction(1))), patience=100))
    assert world.node.pending(sha256(rival)) is None
    assert len(world.mempool) == 1


# holds TX-12
def test_node_counts_operators_with_their_organisation_and_gateways_apart() -> None:
    world = World(per_sender_max=2)
    world.node.take_gossip([transaction(1, sender="op-1"), transaction(1, sender="op-2")])
    results = [world.node.take(transaction(2, sender=sender), "gossip") for sender in ("op-3", "grid", "gw-1")]
    assert [result.code or result.status for result in results] == ["sender-full", "sender-full", "pending"]
    assert "grid and its operators" in results[0].detail


def test_node_gossip_of_large_transactions_fits_into_messages() -> None:
    world = World()
    batches: list[int] = []
    world.node.send_gossip = lambda batch: batches.append(sum(map(len, batch)))
    world.mempool = world.node._mempool = Mempool()

    async def work() -> None:
        for seq in range(1, 41):
            world.node.take(transaction(seq, filler=60_000), "http")
        while len(batches) < 3:  # noqa: ASYNC110 a list has no event
            await asyncio.sleep(0.001)

    asyncio.run(work())
    assert len(batches) == 3
    assert max(batches) < 1024 * 1024 + TX_BYTES_MAX


def test_node_tells_what_waits_to_who_was_away() -> None:
    world = World()
    assert world.node.waiting() == []
    world.node.take_gossip([transaction(2), transaction(1)])
    assert world.node.waiting() == [transaction(2), transaction(1)]


def test_node_has_nothing_pending_once_the_builder_refused_all_of_it() -> None:
    world = World()
    world.node.take_gossip([transaction(1)])
    assert world.node.has_pending() is True
    world.chain.refused.append(sha256(transaction(1)))
    assert world.node.has_pending() is False


def test_node_calls_its_ledger_stale_after_two_heartbeats() -> None:
    world = World()
    assert world.node.ledger_stale() is False
    world.clock.advance(1001)
    assert world.node.ledger_stale() is True
    status = world.node.status()
    assert (status["head_age_ms"], status["ledger_stale"], status["leader"]) == (2001, True, "a")
    assert [peer["member"] for peer in status["peers"]] == ["b"]
    assert (status["health"], status["broker"]) == ("ok", "none")


def test_genesis_parameter_absent_takes_its_default() -> None:
    assert genesis_parameter(GENESIS, "heartbeat_ms") == 1000
    assert genesis_parameter(GENESIS, "stale_ms") == 1_800_000
    gateways = ((GENESIS.gateways[0], GENESIS.stations[0]),)
    assert dict(DownTopics(lambda: gateways)) == {"gw-1": TOPIC}
