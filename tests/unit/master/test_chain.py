"""The replica's ledger over the real application: who decides which block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import pytest

from master.chain import Chain
from master.consensus.events import Build, Epoch, Timing
from master.down_topics import DownTopics
from master.ledger.rows import Execution
from master.ledger.rows import Head as LedgerHead
from master.mempool import Mempool
from master.seams import BlockRefusedError
from tests.unit.contracts.consortium import DEADLINE_MS, VOTERS, certificate, consortium
from tests.unit.ledger.worlds import World, key_of
from wire.block import Block
from wire.cbor import Value
from wire.certificate import Certificate, Step, ValidatorSet
from wire.epochs import EpochEnd
from wire.header import Header
from wire.membership import register_bytes
from wire.tx import SignedTx


class MemoryStore:
    """Blocks and ends of epochs; the state is the world's."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.blocks: list[tuple[Block, Certificate]] = []
        self.ends: list[EpochEnd] = []

    def head(self) -> LedgerHead:
        return self._world.head

    def commit(
        self, execution: Execution, certificate: Certificate, next_validators: ValidatorSet | None = None
    ) -> None:
        header = execution.block.header
        assert (next_validators is None) == (header.next_validators_hash == header.validators_hash)
        if next_validators is not None:
            self.ends.append(EpochEnd(header, certificate, next_validators))
        self.blocks.append((execution.block, certificate))
        self._world.state.take(execution.writes, execution.leaves)
        self._world.head = execution.head

    def keep_view_changes(self, height: int, view_changes: Sequence[bytes]) -> None:
        raise AssertionError((height, view_changes))

    def epoch_ends(self, epoch: int) -> Sequence[EpochEnd]:
        return self.ends[:epoch]

    def block(self, height: int) -> Block | None:
        return self.blocks[height - 1][0] if height <= len(self.blocks) else None

    def header(self, height: int) -> Header | None:
        block = self.block(height)
        return None if block is None else block.header

    def certificate(self, height: int) -> Certificate | None:
        return self.blocks[height - 1][1] if height <= len(self.blocks) else None

    def committed(self, execution: Execution) -> None:
        """Stand for the state in memory, too."""


class Ledger:
    def __init__(self) -> None:
        self.world = consortium().world
        self.store = MemoryStore(self.world)
        self.chain = self.open()

    def open(self) -> Chain:
        validators = self.world.genesis.validator_set()
        return Chain(self.world.application, self.store, Mempool(), validators, "dispatch", 1 << 20, self.store)

    def block(self, *transactions: SignedTx) -> Block:
        head = self.chain.head
        built = self.chain.build(Build(head.height + 1, 0, head.time_ms + 1000, empty_allowed=True), transactions, 0)
        assert built is not None
        return built

    def apply(self, block: Block) -> Epoch | None:
        header = block.header
        place = (Step.COMMIT, header.epoch, header.height, 0, header.digest())
        return self.chain.apply(block, Certificate(*place, signatures=())).epoch

    def remove(self, member: str) -> None:
        """Execute a removal in two blocks."""
        args: dict[str, Value] = {"member": member, "urgent": False, "deadline_ms": DEADLINE_MS}
        proposal = self.world.sign("grid", "validators", "propose-removal", args)
        self.apply(self.block(proposal))
        votes = [
            self.world.sign(name, "validators", "vote", {"proposal": proposal.id, "in_favour": True})
            for name in ("dispatch", "regulator")
        ]
        self.apply(self.block(*votes))


# holds VM-7
def test_chain_names_the_next_set_in_the_block_after_the_change_and_turns_behind_it() -> None:
    ledger = Ledger()
    old = ledger.world.genesis.validator_set()
    ledger.remove("maker-a")
    assert ledger.chain.epoch == Epoch(0, old)
    following = ledger.chain.validators_of(1)
    assert following is not None
    assert [entry.member for entry in following.validators] == ["dispatch", "grid", "regulator"]
    assert ledger.chain.consensus_head().next_validators_hash == following.digest()
    end = ledger.block()
    header = end.header
    assert (header.epoch, header.validators_hash, header.next_validators_hash) == (0, old.digest(), following.digest())
    assert ledger.apply(end) == Epoch(1, following)
    assert [end.validators for end in ledger.store.ends] == [following]
    first = ledger.block()
    header = first.header
    assert (header.epoch, header.validators_hash, header.next_validators_hash) == (
        1,
        following.digest(),
        following.digest(),
    )
    assert ledger.apply(first) is None
    assert ledger.chain.validators_of(0) == old
    assert [ledger.chain.validators_of(epoch) for epoch in (1, 2, -1)] == [following, None, None]


# holds VM-7 VM-9
def test_chain_opened_again_at_any_height_sees_the_same_sets() -> None:
    ledger = Ledger()
    assert ledger.chain.consensus_head() == ledger.open().consensus_head()
    ledger.remove("maker-a")
    for _ in range(3):
        seen, again = ledger.chain, ledger.open()
        assert again.consensus_head() == seen.consensus_head()
        assert (again.epoch, again.peers) == (seen.epoch, seen.peers)
        assert [again.validators_of(epoch) for epoch in range(3)] == [seen.validators_of(epoch) for epoch in range(3)]
        ledger.apply(ledger.block())


# holds VM-7
@pytest.mark.parametrize(
    ("field", "what"),
    [("epoch", "epoch"), ("validators_hash", "validators"), ("next_validators_hash", "next validators")],
)
def test_chain_refuses_a_block_that_names_others_than_the_state(field: str, what: str) -> None:
    ledger = Ledger()
    ledger.remove("maker-a")
    block = ledger.block()
    changed = 7 if field == "epoch" else bytes(32)
    wrong = Block(replace(block.header, **{field: changed}), block.transactions)  # type: ignore[arg-type]
    with pytest.raises(BlockRefusedError, match=f"another {what}"):
        ledger.chain.execute(wrong)
    with pytest.raises(BlockRefusedError, match=f"another {what}"):
        ledger.apply(wrong)


# holds VM-11
def test_chain_tells_who_may_connect_after_every_change() -> None:
    ledger = Ledger()
    assert [entry.member for entry in ledger.chain.peers] == sorted(VOTERS)
    ledger.remove("maker-a")
    assert [entry.member for entry in ledger.chain.peers] == ["dispatch", "grid", "regulator", "maker-a"]
    assert ledger.chain.peers[-1].tls_certificate == certificate("maker-a")
    for _ in range(101):
        ledger.apply(ledger.block())
    assert [entry.member for entry in ledger.chain.peers] == ["dispatch", "grid", "regulator"]


def test_block_that_takes_long_ends_and_the_rest_stands_in_the_next() -> None:
    ledger = Ledger()

    def patience() -> Callable[[], bool]:
        asked = count()
        return lambda: next(asked) > 0

    world, store, genesis = ledger.world, ledger.store, ledger.world.genesis
    ledger.chain = Chain(
        world.application, store, Mempool(), genesis.validator_set(), "dispatch", 1 << 20, store, patience=patience
    )
    notes = [world.sign("grid", "notary", "put", {"key": f"note-{number}", "data": b"x"}) for number in range(3)]
    block = ledger.block(*notes)
    assert block.transactions == tuple(note.raw for note in notes[:2])
    ledger.apply(block)
    assert ledger.block(*notes[2:]).transactions == (notes[2].raw,)


def test_block_that_is_late_at_once_holds_one_transaction_behind_those_that_cannot_stand() -> None:
    ledger = Ledger()
    world, genesis = ledger.world, ledger.world.genesis
    note = world.sign("grid", "notary", "put", {"key": "note", "data": b"x"})
    ledger.apply(ledger.block(note))
    others = [world.sign("grid", "notary", "put", {"key": f"note-{number}", "data": b"x"}) for number in range(2)]
    ledger.chain = Chain(
        world.application,
        ledger.store,
        Mempool(),
        genesis.validator_set(),
        "dispatch",
        1 << 20,
        ledger.store,
        patience=lambda: lambda: True,
    )
    assert ledger.block(note, *others).transactions == (others[0].raw,)
    assert ledger.chain.refused == [note.id]


# holds GV-6
def test_chain_goes_by_the_parameters_of_the_state_from_the_block_after_the_change() -> None:
    ledger = Ledger()
    values: dict[str, Value] = {"block_bytes_max": 65_536, "heartbeat_ms": 7000, "skew_ms": 300, "block_interval_ms": 9}
    made = ledger.world.sign(
        "dispatch",
        "governance",
        "propose",
        {"kind": "parameters", "body": {"values": values}, "deadline_ms": DEADLINE_MS},
    )
    ledger.apply(ledger.block(made))
    assert ledger.chain.parameters.heartbeat_ms == 30_000
    votes = [
        ledger.world.sign(name, "governance", "vote", {"proposal": made.id, "in_favour": True})
        for name in ("regulator", "grid", "lab")
    ]
    block = ledger.block(*votes)
    before = ledger.chain.consensus_head().timing
    place = (Step.COMMIT, block.header.epoch, block.header.height, 0, block.header.digest())
    after = ledger.chain.apply(block, Certificate(*place, signatures=())).timing
    assert before == Timing(20, 30_000, 1000)
    assert after == Timing(9, 7000, 300) == ledger.open().consensus_head().timing
    assert ledger.chain.parameters.block_bytes_max == 65_536
    big = [ledger.world.sign("grid", "notary", "put", {"key": f"k-{n}", "data": bytes(1024)}) for n in range(80)]
    for signed in big:
        ledger.chain._mempool.add(signed, (signed.tx.sender, False))
    assert 0 < len(ledger.chain.candidates()) < 65


# holds MB-12 MB-13
def test_chain_tells_where_gateways_hear_after_one_was_added_or_moved() -> None:
    ledger = Ledger()
    topics = DownTopics(lambda: ledger.chain.gateways)
    assert (set(topics), len(topics)) == ({"gw-1", "gw-2"}, 2)
    assert topics["gw-1"] == "gridwitness/v1/north/st-1/gw-1/down"
    key = key_of("gw-9")
    word = key.sign(register_bytes(ledger.world.genesis.chain(), "grid", "gw-9", key.verify_key.encode())).signature
    added: dict[str, Value] = {"gateway": "gw-9", "station": "st-9", "key": key.verify_key.encode(), "signature": word}
    calls: list[tuple[str, dict[str, Value]]] = [
        ("add-station", {"station": "st-9", "area": "west"}),
        ("add-gateway", added),
        ("bind", {"kind": "gateway", "id": "gw-1", "to": "st-9"}),
    ]
    before = ledger.chain.gateways
    ledger.apply(ledger.block(ledger.world.sign("grid", "membership", "attach", {"data_centre": "dispatch"})))
    assert ledger.chain.gateways is before
    ledger.apply(ledger.block(*(ledger.world.sign("grid", "membership", *call) for call in calls)))
    assert topics["gw-9"] == "gridwitness/v1/west/st-9/gw-9/down"
    assert topics["gw-1"] == "gridwitness/v1/west/st-9/gw-1/down"
    assert "gw-9" in {gateway.id for gateway, _ in ledger.open().gateways}
