"""Read orders go down to their gateways, from whoever proposed the block, and again while they are open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

from kit.clock import FakeClock
from master.contracts.read_orders import gateways_with_orders
from master.ledger.call import StateReads
from master.orders_down import AGAIN_MS, OrderStream, order_stream
from tests.unit.contracts.desk import Desk
from tests.unit.contracts.reports import item
from tests.unit.ledger.worlds import Done, World
from tests.unit.wire.samples import CERTIFICATE
from wire.block import Block
from wire.readorder import decode_read_order
from wire.receipt import Outcome, Receipt

TOPICS = {"gw-1": "one/down", "gw-2": "two/down"}


class Ledger:
    """A world's state and blocks as a store shows them; receipts are made up but for their transaction."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.blocks: dict[int, Block] = {}
        self.places: dict[bytes, tuple[int, int]] = {}

    def add(self, done: Done) -> Block:
        block = done.execution.block
        self.blocks[block.header.height] = block
        self.places[done.tx.id] = (block.header.height, 0)
        return block

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self.world.state.get(namespace, key)

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self.world.state.scan(namespace, prefix)

    def find_tx(self, tx_id: bytes) -> tuple[int, int] | None:
        return self.places.get(tx_id)

    def block(self, height: int) -> Block | None:
        return self.blocks.get(height)

    def receipt(self, tx_id: bytes) -> Receipt | None:
        place = self.places.get(tx_id)
        if place is None:
            return None
        header = self.blocks[place[0]].header
        return Receipt(tx_id, header, CERTIFICATE, 0, 1, (), Outcome(tx_id, "ok", ()), (), ())


class Bench:
    def __init__(self) -> None:
        self.desk = Desk()
        self.ledger = Ledger(self.desk.world)
        self.clock = FakeClock()
        self.sent: list[tuple[str, bytes]] = []
        self.stream = self.started()

    def started(self) -> OrderStream:
        publish: Callable[[str, bytes], None] = lambda topic, raw: self.sent.append((topic, raw))  # noqa: E731
        return OrderStream("dispatch", TOPICS, self.ledger, publish, self.clock)

    def applied(self, done: Done, proposer: str = "dispatch") -> list[str]:
        """Return the topics to which orders went because of a block."""
        block = self.ledger.add(done)
        self.sent.clear()

        async def work() -> None:
            self.stream.applied(replace(block, header=replace(block.header, proposer=proposer)))
            await asyncio.gather(*self.stream._work)

        asyncio.run(work())
        return [topic for topic, _ in self.sent]


# holds RO-4
def test_proposer_sends_a_new_order_to_its_gateway_with_the_receipt() -> None:
    bench = Bench()
    done = bench.desk.inspect()
    assert bench.applied(done) == ["one/down"]
    sent = decode_read_order(bench.sent[0][1])
    assert (sent.tx, sent.receipt.tx) == (done.tx.raw, done.tx.id)
    assert bench.applied(bench.desk.inspect(devices=[])) == []


# holds RO-4
def test_open_order_is_sent_again_with_a_report_of_its_gateway_until_it_is_answered() -> None:
    bench = Bench()
    done = bench.desk.inspect(devices=["dev-1"])
    assert bench.applied(done, proposer="another") == []
    assert bench.applied(bench.desk.read(item("s-3"), "dev-3")) == []
    assert bench.applied(bench.desk.read()) == ["one/down"]
    assert bench.applied(bench.desk.read()) == []
    bench.clock.advance(AGAIN_MS)
    assert bench.applied(bench.desk.read()) == ["one/down"]
    bench.clock.advance(AGAIN_MS)
    nonce = done.events("inspection_ordered")[0]["nonce"]
    assert isinstance(nonce, bytes)
    assert bench.applied(bench.desk.read(nonce=nonce)) == []
    bench.clock.advance(AGAIN_MS)
    assert bench.applied(bench.desk.read()) == []
    assert not list(gateways_with_orders(StateReads(bench.ledger)))


# holds RO-4
def test_node_that_starts_again_knows_the_open_orders() -> None:
    bench = Bench()
    bench.ledger.add(bench.desk.inspect(devices=["dev-1"]))
    bench.stream = bench.started()
    assert bench.applied(bench.desk.read()) == ["one/down"]


def test_order_whose_block_is_pruned_or_whose_gateway_has_no_topic_is_not_sent() -> None:
    bench = Bench()
    done = bench.desk.inspect(gateway="gw-2", devices=["dev-3"])
    bench.applied(done, proposer="another")
    del bench.ledger.places[done.tx.id]
    assert bench.applied(bench.desk.read(item("s-3"), "dev-3")) == []
    nowhere = order_stream(TOPICS, "dispatch", bench.ledger, None, bench.clock)
    nowhere.applied(done.execution.block)
    assert not nowhere._work
