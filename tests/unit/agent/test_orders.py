"""Read orders at the gateway: believed when proven, answered once, with what was read after they came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent import orders
from agent.attest import DeviceState, Signer, build_evidence
from agent.drivers.errors import DeviceUnreachableError
from agent.io.outbox import Outbox
from agent.io.trust import NotProven, Ordered, Trust
from agent.model import Reading
from agent.orders import WAITING_MAX, OrderDesk
from agent.poller import DevicePoller
from agent.profile import ReadPlan
from kit.clock import FakeClock
from kit.exitcodes import StorageError
from tests.unit.agent.bench import EVIDENCE_CLOCK, KID, NOW_MS, FakeDriver, device_config, plain, state
from tests.unit.firmware_sim.bench import device
from tests.unit.wire.readorders import DEADLINE_MS, NONCE, call, order, proven
from tests.unit.wire.samples import CHAIN, GENESIS, key_of
from wire.evidence import SeenBlock, decode_evidence
from wire.readorder import Demand, demand_of
from wire.tx import open_tx
from wire.types import sha256


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    signer = Signer("gw-1", CHAIN, key_of("gw-1"))
    box = Outbox(tmp_path / "outbox.sqlite", signer.transaction, bytes_max=10**6, valid_ms=600_000)
    box.begin_boot(NOW_MS, KID)
    yield box
    box.close()


def trust(outbox: Outbox, now_ms: int = NOW_MS, gateway: str = "gw-1") -> Trust:
    return Trust(GENESIS, outbox, now_ms=lambda: now_ms, gateway=gateway)


def answer(outbox: Outbox, demand: Demand, now_ms: int = NOW_MS) -> None:
    parts, block = [state()], SeenBlock(0, GENESIS.digest())
    outbox.add(
        lambda boot, seq: build_evidence("gw-1", (boot, seq), EVIDENCE_CLOCK, block, parts, nonce=demand.nonce),
        parts,
        now_ms,
        droppable=False,
        answers=demand,
    )


# trust


# holds RO-3
def test_proven_read_order_is_believed_and_shows_a_block() -> None:
    box = SimpleNamespace(block=lambda: None, is_answered=lambda _: False)
    judge = trust(box)  # type: ignore[arg-type]
    verdict = judge.take(order().encode(), {})
    assert verdict == Ordered(demand_of(order()))
    assert judge.block.height == 42


# holds RO-3
@pytest.mark.parametrize(
    ("item", "now_ms", "gateway", "result"),
    [
        (order().encode(), NOW_MS, "gw-2", "not-ours"),
        (order().encode(), DEADLINE_MS + 1, "gw-1", "late"),
        (proven(call(), code="wrong-role").encode(), NOW_MS, "gw-1", "not-verified"),
        (proven(call(), signers=("dispatch",)).encode(), NOW_MS, "gw-1", "not-verified"),
        (order(devices=[]).encode(), NOW_MS, "gw-1", "malformed"),
        (order().encode()[:-1], NOW_MS, "gw-1", "malformed"),
    ],
)
def test_read_order_that_is_not_proven_or_not_for_now_changes_nothing(
    outbox: Outbox, item: bytes, now_ms: int, gateway: str, result: str
) -> None:
    judge = trust(outbox, now_ms, gateway)
    verdict = judge.take(item, {})
    assert isinstance(verdict, NotProven)
    assert verdict.result == result
    assert judge.block.height == 0


# holds RO-3
def test_read_order_that_was_answered_is_ignored_and_its_answer_carries_the_nonce(outbox: Outbox) -> None:
    demand = demand_of(order())
    answer(outbox, demand)
    (entry,) = outbox.pending(10)
    raw = open_tx(entry.raw).tx.args["evidence"]
    assert isinstance(raw, bytes)
    assert decode_evidence(raw).nonce == NONCE
    verdict = trust(outbox).take(order().encode(), {})
    assert isinstance(verdict, NotProven)
    assert verdict.result == "answered"
    assert isinstance(trust(outbox).take(order(2).encode(), {}), Ordered)


def test_answered_orders_are_forgotten_a_day_after_their_deadline(outbox: Outbox) -> None:
    demand = demand_of(order())
    answer(outbox, demand)
    other = demand_of(order(2, deadline_ms=DEADLINE_MS + 10**9))
    answer(outbox, other, DEADLINE_MS)
    assert outbox.is_answered(demand.order)
    answer(outbox, other, DEADLINE_MS + 86_400_001)
    assert not outbox.is_answered(demand.order)


# the desk


class Store:
    """Keeps answers, or has no room."""

    def __init__(self) -> None:
        self.answers: list[tuple[tuple[str, ...], bytes]] = []
        self.full = False

    async def answer(self, states: Sequence[DeviceState], demand: Demand) -> None:
        if self.full:
            raise StorageError("no room")
        self.answers.append((tuple(f"{one.device} {one.status}" for one in states), demand.nonce))


class Bench:
    def __init__(self, *answers: Reading | Exception) -> None:
        self.clock = FakeClock(NOW_MS)
        self.store = Store()
        self.drivers = [FakeDriver(list(answers or (plain(),))), FakeDriver([plain(device="sps-2")])]
        plan = ReadPlan(firmware_s=86_400)
        self.pollers = [
            DevicePoller(device_config(502, id=f"sps-{at}", plan=plan), driver, None, self.clock, lambda: None)
            for at, driver in enumerate(self.drivers, start=1)
        ]
        self.desk = OrderDesk(self.pollers, self.store, self.clock.now_ms)
        self.paused_s: list[float] = []

    def run(self, holds: Callable[[], bool]) -> None:
        asyncio.run(self._run(holds))

    async def _run(self, holds: Callable[[], bool]) -> None:
        async def sleep(seconds: float) -> None:
            self.paused_s.append(seconds)
            await asyncio.sleep(0)

        async def for_ever(_seconds: float) -> None:
            await asyncio.Event().wait()

        works = [poller.run(for_ever) for poller in self.pollers]
        tasks = [asyncio.create_task(work) for work in (*works, self.desk.run(sleep))]
        try:
            async with asyncio.timeout(60):
                while not holds():  # noqa: ASYNC110 - nothing to wait for
                    await asyncio.sleep(0)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def demand(number: int = 1, *devices: str) -> Demand:
    return Demand(sha256(f"order {number}".encode()), "gw-1", devices or ("sps-1", "sps-2"), NONCE, DEADLINE_MS)


# holds RO-3
def test_order_has_every_byte_read_now_whatever_the_plan_says() -> None:
    bench = Bench()
    bench.run(lambda: all(poller.was_polled for poller in bench.pollers))
    for driver in bench.drivers:
        driver.asked.clear()
    assert bench.desk.take(demand()) == "taken"
    assert bench.desk.take(demand()) == "known"
    bench.run(lambda: bool(bench.paused_s))
    assert bench.store.answers == [(("sps-1 read", "sps-2 read"), NONCE)]
    assert None in bench.drivers[0].asked
    assert bench.paused_s == [5.0]


# holds RO-3
def test_order_for_a_device_that_cannot_be_read_is_answered_so() -> None:
    bench = Bench(DeviceUnreachableError("sps-1", "timeout", "no answer"))
    bench.desk.take(demand())
    bench.run(lambda: bool(bench.store.answers))
    assert bench.store.answers[0][0] == ("sps-1 unreachable", "sps-2 read")


def test_order_for_devices_that_are_not_here_is_left_and_the_next_one_answered() -> None:
    bench = Bench()
    bench.desk.take(demand(1, "sps-9"))
    bench.desk.take(demand(2, "sps-2", "sps-9"))
    bench.run(lambda: bool(bench.store.answers))
    assert bench.store.answers == [(("sps-2 read",), NONCE)]


# holds RO-3
def test_orders_that_wait_are_bounded_and_a_full_outbox_ends_nothing() -> None:
    bench = Bench()
    assert [bench.desk.take(demand(number)) for number in range(WAITING_MAX + 1)] == ["taken"] * 8 + ["busy"]
    bench.store.full = True
    bench.run(lambda: len(bench.paused_s) >= 2)
    bench.store.full = False
    bench.run(lambda: bool(bench.store.answers))


class Stuck(FakeDriver):
    """Never answers."""

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        del kinds
        await asyncio.Event().wait()
        raise AssertionError


# holds RO-3
def test_read_that_does_not_end_before_the_deadline_is_left_out_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "WAIT_S_MIN", 0.01)
    bench = Bench()
    bench.clock.advance(DEADLINE_MS - NOW_MS)
    bench.pollers[0].driver = Stuck([])
    bench.pollers[0]._reader._driver = bench.pollers[0].driver
    bench.desk.take(demand())
    bench.run(lambda: bool(bench.store.answers))
    assert bench.store.answers == [(("sps-2 read",), NONCE)]


def test_polls_go_on_at_their_times_after_a_read_that_was_ordered() -> None:
    bench = Bench()
    poller, slept = bench.pollers[0], list[float]()

    async def work() -> None:
        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 2:
                raise asyncio.CancelledError
            bench.clock.advance(400)
            poller.read_now()
            await asyncio.Event().wait()

        await poller.run(sleep)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(work())
    assert slept == [1.0, 0.6]
    assert poller.figures.polls == 2
    assert poller.figures.missed == 0


# the whole gateway


# holds RO-3
def test_gateway_answers_a_proven_order_with_evidence_and_ignores_it_the_second_time(tmp_path: Path) -> None:
    from tests.unit.agent.test_app import DOWN, evidence_of, running  # noqa: PLC0415 - it starts a whole agent

    async def work() -> None:
        async with running(tmp_path, device()) as site:
            (first,) = await site.fake.until("tx")
            await site.receipt(first)
            await site.settled()
            deadline_ms = site.agent._clock.best_ms() + 60_000
            item = proven(call(deadline_ms=deadline_ms), height=50).encode()
            await site.fake.send(DOWN, proven(call(deadline_ms=deadline_ms), code="too-soon", height=48).encode())
            await site.fake.send(DOWN, item)
            answered = (await site.fake.until("tx", 2))[1]
            evidence = evidence_of(answered)
            assert (evidence.nonce, evidence.block.height) == (NONCE, 50)
            assert [entry.status for entry in evidence.devices] == ["read"]
            await site.fake.send(DOWN, item)
            await site.until(lambda: site.agent._down.get("answered", 0) == 1)
            assert site.agent._down["order-taken"] == 1
            assert site.agent._down["not-verified"] == 1

    asyncio.run(work())
