"""What the chain makes of a block that comes out otherwise, and of transactions that are blamed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from master.chain import Chain
from master.consensus.events import Build
from master.consensus.messages import ViewChangeSet
from master.ledger.rows import Execution
from master.mempool import Mempool
from master.seams import BlockRefusedError
from tests.unit.ledger.test_faults import proof
from tests.unit.ledger.worlds import World
from wire.certificate import Certificate, Step
from wire.tx import SignedTx
from wire.types import sha256


class Site:
    """A chain over a world in memory; nothing is stored."""

    def __init__(self) -> None:
        self.world = World()
        self.mempool = Mempool()
        self.faults: list[bytes] = []
        self.kept: list[tuple[int, list[bytes]]] = []
        store: Any = self
        validators = self.world.genesis.validator_set()
        self.chain = Chain(
            self.world.application,
            store,
            self.mempool,
            validators,
            "dispatch",
            1 << 20,
            store,
            lambda: tuple(self.faults),
        )

    def head(self) -> object:
        return self.world.head

    def epoch_ends(self, _epoch: int) -> tuple[()]:
        return ()

    def keep_view_changes(self, height: int, view_changes: list[bytes]) -> None:
        self.kept.append((height, view_changes))

    def give(self, name: str) -> SignedTx:
        signed = self.world.sign("gw-1", "notary", "put", {"key": name, "data": b"noted"})
        self.mempool.add(signed, (signed.tx.sender, False))
        return signed

    def build(self) -> Any:  # noqa: ANN401 a block, or None
        head = self.world.head
        build = Build(head.height + 1, 0, head.time_ms + 1, empty_allowed=True)
        return self.chain.build(build, self.chain.candidates(), head.time_ms + 1)

    def commit(self, execution: Execution, *_: object) -> None:
        self.world.state.take(execution.writes, execution.leaves)
        self.world.head = execution.head

    def committed(self, _: Execution) -> None:
        """Stand for the entries that are kept beside the store."""

    def apply(self, block: Any) -> None:  # noqa: ANN401 a block
        self.chain.apply(block, Certificate(Step.COMMIT, 0, block.header.height, 0, block.header.digest(), ()))


# holds FP-15
def test_chain_tells_what_a_block_came_to_whether_its_roots_hold_or_not() -> None:
    site = Site()
    site.give("a")
    block = site.build()
    other = Site()
    other.chain.execute(block)
    found = other.chain.results(block.header.digest())
    assert found is not None
    assert found[0] == block
    (leaf,) = found[1]
    wrong = replace(block, header=replace(block.header, outcome_root=sha256(b"else")))
    with pytest.raises(BlockRefusedError, match="outcome-root") as caught:
        other.chain.execute(wrong)
    assert caught.value.diverged
    assert other.chain.results(wrong.header.digest()) == (wrong, (leaf,))
    assert other.chain.results(sha256(b"unknown")) is None
    assert site.chain.results(block.header.digest()) == (block, [leaf])


# holds CM-10
def test_chain_block_that_breaks_a_rule_is_no_divergence() -> None:
    site = Site()
    block = site.build()
    wrong = replace(block, header=replace(block.header, time_ms=site.world.head.time_ms))
    with pytest.raises(BlockRefusedError, match="time") as caught:
        site.chain.execute(wrong)
    assert not caught.value.diverged


# holds FP-16
def test_chain_leaves_blamed_transactions_out_of_one_block() -> None:
    site = Site()
    first, second = site.give("a"), site.give("b")
    site.chain.leave_out([first.id])
    assert site.build().transactions == (second.raw,)
    block = site.build()
    assert block.transactions == (second.raw,), "an attempt is no block"
    site.apply(block)
    assert first.raw in site.build().transactions


# holds FP-10
def test_chain_puts_what_is_known_against_validators_into_its_blocks() -> None:
    site = Site()
    site.faults.append(proof(site.world))
    assert site.build().fault_proofs == tuple(site.faults)


def test_results_of_a_contract_that_fails_end_with_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.give("a")
    site.give("b")
    block = site.build()
    other = Site()
    application: Any = other.world.application
    contract = application._code.contracts["notary"]
    calls = []

    def fail_later(ctx: Any, args: Any) -> str:  # noqa: ANN401
        calls.append(args)
        if len(calls) > 1:
            raise KeyError("mistake")
        return str(contract.methods["put"](ctx, args))

    monkeypatch.setitem(application._code.contracts, "notary", replace(contract, methods={"put": fail_later}))
    with pytest.raises(BlockRefusedError, match="contract-fault"):
        other.chain.execute(block)
    found = other.chain.results(block.header.digest())
    assert found is not None
    good = site.chain.results(block.header.digest())
    assert good is not None
    assert list(found[1]) == [good[1][0], bytes(32)]


# holds FP-17
def test_chain_hands_view_changes_to_the_store() -> None:
    site = Site()
    site.chain.archive(7, [ViewChangeSet(2, ())])
    assert site.kept == [(7, [ViewChangeSet(2, ()).encode()])]
