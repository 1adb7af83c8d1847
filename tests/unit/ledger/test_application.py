from __future__ import annotations

from dataclasses import replace

import pytest

from master.contracts.context import Context, Contract, Refused
from master.ledger.application import Application
from master.ledger.refusals import BlockRefused, TxRefused
from master.ledger.rows import Execution, event_rows
from master.ledger.sequence import decode_window
from tests.unit.contracts.reports import entry, evidence, item, release
from tests.unit.ledger.naive import naive_root
from tests.unit.ledger.worlds import World, key_of, make_genesis
from wire.block import Block
from wire.cbor import Value
from wire.errors import FormatError
from wire.genesis import CodeEntry
from wire.merkle import EMPTY_HEAD, leaf_digest, tree_head
from wire.receipt import decode_outcome
from wire.release import EffectiveFrom
from wire.tx import SignedTx
from wire.types import sha256

DAY_MS = 86_400_000


def submission(world: World, name: str = "r-1", /, **changes: object) -> SignedTx:
    # dates of their own, so that none is in another's way
    made = release(name, start=EffectiveFrom(1_000_000 + int.from_bytes(sha256(name.encode())[:2], "big"), None))
    return world.sign("maker-a", "references", "submit", {"release": made.encode()}, **changes)


# propose


def test_propose_nothing_makes_an_empty_block() -> None:
    world = World()
    execution, refused = world.propose()
    header = execution.block.header
    assert not refused
    assert execution.block.transactions == ()
    assert (header.height, header.parent, header.tx_count) == (1, world.genesis.digest(), 0)
    assert header.tx_root == header.outcome_root == EMPTY_HEAD
    assert header.state_root == world.tree.root
    assert header.history_root == tree_head([world.genesis.digest()])
    assert header.code_table_hash == world.genesis.code_table_hash()
    assert execution.head.digest == header.digest()


def test_propose_transactions_fills_all_roots() -> None:
    world = World()
    first, second = submission(world), submission(world, "r-2")
    execution, _ = world.propose(first, second)
    header = execution.block.header
    assert execution.block.transactions == (first.raw, second.raw)
    assert header.tx_root == tree_head([first.raw, second.raw])
    assert header.outcome_root == tree_head(execution.outcomes)
    assert [decode_outcome(raw).code for raw in execution.outcomes] == ["ok", "ok"]
    world.commit(execution)
    assert world.head.state_root == world.tree.root == naive_root(world.state.leaves)
    assert set(execution.writes) == {
        write for write in execution.writes if world.state.get(write.namespace, write.key) == write.value
    }


def test_propose_leaves_out_what_may_not_stand_and_says_why() -> None:
    world = World()
    good, twin = submission(world), submission(world, seq=1)
    stranger = submission(world, key="stranger")
    execution, refused = world.propose(stranger, good, twin)
    assert execution.block.transactions == (good.raw,)
    assert refused == {stranger.id: "unknown-key", twin.id: "replayed"}


def test_propose_stops_at_the_first_that_does_not_fit() -> None:
    world = World()
    first, second, third = (submission(world, name) for name in ("r-1", "r-2", "r-3"))
    execution, refused = world.propose(first, second, third, bytes_max=len(first.raw) + len(second.raw))
    assert execution.block.transactions == (first.raw, second.raw)
    assert not refused


def test_propose_heeds_the_limit_of_the_ledger() -> None:
    world = World(make_genesis({"block_bytes_max": 65_536}))
    world.seqs["gw-1"] = 0
    big = [world.sign("gw-1", "consistency", "report", {"evidence": bytes(40_000)}) for _ in range(2)]
    execution, _ = world.propose(*big)
    assert execution.block.transactions == (big[0].raw,)


def test_propose_at_the_time_of_the_head_is_our_mistake() -> None:
    world = World()
    with pytest.raises(ValueError, match="not above"):
        world.application.propose(
            world.head,
            proposer="dispatch",
            epoch=0,
            validators_hash=bytes(32),
            next_validators_hash=bytes(32),
            time_ms=world.head.time_ms,
            candidates=(),
            bytes_max=0,
        )


def test_propose_changes_nothing_until_it_is_committed() -> None:
    world = World()
    before = dict(world.state.entries)
    root = world.tree.root
    world.propose(submission(world))
    assert world.state.entries == before
    assert world.tree.root == root


# a contract that misbehaves


def _quarrel(context: Context, args: dict[str, Value]) -> str:
    context.put(b"key", 1)
    context.emit("said", "subject", {})
    what = args["what"]
    if what == "refuse":
        raise Refused("not-now")
    if what == "fail":
        raise ZeroDivisionError
    if what == "long":
        for _ in range(5000):
            context.emit("said", "subject", {})
    if what == "large":
        context.emit("said", "subject", {"data": bytes(1 << 20)})
    if what == "key":
        context.put(b"", 1)
    if what == "subject":
        context.emit("said", "s" * 257, {})
    return "answered" if what == "answer" else "ok"


@pytest.fixture
def quarrel(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a ledger with one more contract, which does what it is told."""
    contract = Contract("quarrel", 1, {"do": _quarrel}, {}, ())
    world = World()
    monkeypatch.setitem(world.application._code.contracts, "quarrel", contract)
    return world


def tell(world: World, what: str) -> SignedTx:
    return world.sign("lab", "quarrel", "do", {"what": what})


@pytest.mark.parametrize("what", ["fail", "key", "subject"])
def test_propose_transaction_at_which_a_contract_fails_is_left_out(quarrel: World, what: str) -> None:
    poison, good = tell(quarrel, what), submission(quarrel)
    execution, refused = quarrel.propose(poison, good)
    assert refused == {poison.id: "contract-fault"}
    assert execution.block.transactions == (good.raw,)


@pytest.mark.parametrize(("what", "fits"), [("fail", False), ("key", False), ("refuse", True), ("answer", True)])
def test_transaction_fits_unless_its_contract_fails_and_trying_it_leaves_no_trace(
    quarrel: World, what: str, *, fits: bool
) -> None:
    before = quarrel.application.validators(), quarrel.head
    assert quarrel.application.fits(tell(quarrel, what), 1, quarrel.head.time_ms + 1) == fits
    assert (quarrel.application.validators(), quarrel.head) == before


def test_transaction_that_is_refused_does_not_fit(quarrel: World) -> None:
    entry = submission(quarrel)
    assert quarrel.application.fits(entry, 1, quarrel.head.time_ms + 1)
    assert not quarrel.application.fits(entry, 1, entry.tx.valid_until_ms + 1)


def test_process_block_at_which_a_contract_fails_is_a_divergence(quarrel: World) -> None:
    execution, _ = quarrel.propose()
    poison = tell(quarrel, "fail")
    header = replace(execution.block.header, tx_count=1, tx_root=tree_head([poison.raw]))
    with pytest.raises(BlockRefused, match="quarrel do: ZeroDivisionError") as caught:
        quarrel.application.process(quarrel.head, Block(header, (poison.raw,)))
    assert caught.value.code == "contract-fault"
    assert caught.value.diverged


# holds EX-3
@pytest.mark.parametrize(
    ("what", "code"), [("refuse", "not-now"), ("long", "outcome-too-large"), ("large", "outcome-too-large")]
)
def test_run_refused_call_leaves_the_sequence_number_and_nothing_else(quarrel: World, what: str, code: str) -> None:
    done = quarrel.run(tell(quarrel, what))[0]
    assert (done.code, done.outcome.events) == (code, ())
    assert [namespace for namespace, _ in done.written] == ["sequence"]
    window = decode_window(quarrel.state.get("sequence", done.tx.envelope.kid))
    assert window.is_used(done.tx.tx.seq)


def test_run_call_that_answers_keeps_its_events(quarrel: World) -> None:
    done = quarrel.run(tell(quarrel, "answer"))[0]
    assert (done.code, done.event_types) == ("answered", ["said"])
    assert done.written[0] == ("quarrel", b"key")


# process


@pytest.fixture
def proposed() -> tuple[World, Execution]:
    world = World()
    world.run(submission(world))
    execution, _ = world.propose(submission(world, "r-2"))
    return world, execution


def test_process_proposed_block_gives_the_same_execution(proposed: tuple[World, Execution]) -> None:
    world, execution = proposed
    other = World(world.genesis)
    other.state, other.tree = world.state, world.state.tree()
    application = Application(world.genesis, world.state, other.tree, SignedTx.verify)
    processed = application.process(world.head, execution.block)
    assert replace(processed, head=execution.head) == execution
    assert processed.head.digest == execution.head.digest
    assert processed.head.history.head() == execution.head.history.head()


@pytest.mark.parametrize(
    ("changes", "code", "diverged"),
    [
        ({"chain": "test-00000000"}, "chain", False),
        ({"height": 3}, "height", False),
        ({"parent": bytes(32)}, "parent", False),
        ({"history_root": bytes(32)}, "history-root", False),
        ({"time_ms": 0}, "time", False),
        ({"code_table_hash": bytes(32)}, "code-table", False),
        ({"fault_proof_root": bytes(32)}, "fault-proofs", False),
        ({"tx_count": 2}, "tx-count", False),
        ({"tx_root": bytes(32)}, "tx-root", False),
        ({"outcome_root": bytes(32)}, "outcome-root", True),
        ({"state_root": bytes(32)}, "state-root", True),
    ],
)
def test_process_block_with_another_header_is_refused(
    proposed: tuple[World, Execution],
    changes: dict[str, object],
    code: str,
    diverged: bool,  # noqa: FBT001 - a table
) -> None:
    world, execution = proposed
    block = replace(execution.block, header=replace(execution.block.header, **changes))  # type: ignore[arg-type]
    with pytest.raises(BlockRefused) as caught:
        world.application.process(world.head, block)
    assert (caught.value.code, caught.value.diverged) == (code, diverged)


def with_transactions(execution: Execution, *raws: bytes) -> Block:
    header = replace(execution.block.header, tx_count=len(raws), tx_root=tree_head(raws))
    return Block(header, raws)


def test_process_block_with_garbage_for_a_transaction_is_refused(proposed: tuple[World, Execution]) -> None:
    world, execution = proposed
    with pytest.raises(BlockRefused, match="transaction 1: COSE_Sign1") as caught:
        world.application.process(world.head, with_transactions(execution, execution.block.transactions[0], b"x"))
    assert caught.value.code == "bad-transaction"


def test_process_block_with_a_repeated_transaction_is_refused(proposed: tuple[World, Execution]) -> None:
    world, execution = proposed
    raw = execution.block.transactions[0]
    with pytest.raises(BlockRefused, match="transaction 1: replayed"):
        world.application.process(world.head, with_transactions(execution, raw, raw))


def test_process_block_that_is_too_large_is_refused() -> None:
    world = World(make_genesis({"block_bytes_max": 65_536}))
    execution, _ = world.propose()
    with pytest.raises(BlockRefused) as caught:
        world.application.process(world.head, with_transactions(execution, bytes(40_000), bytes(40_000)))
    assert caught.value.code == "too-large"


def test_process_on_a_head_that_the_tree_does_not_stand_for_is_our_mistake(proposed: tuple[World, Execution]) -> None:
    world, execution = proposed
    with pytest.raises(ValueError, match="another state root"):
        world.application.process(replace(world.head, state_root=bytes(32)), execution.block)


def test_committed_execution_of_another_state_is_refused(proposed: tuple[World, Execution]) -> None:
    world, execution = proposed
    world.commit(execution)
    with pytest.raises(ValueError, match="another root"):
        world.application.committed(execution)


# start


def test_application_with_a_contract_of_other_code_is_refused() -> None:
    genesis = make_genesis()
    changed = tuple(
        replace(entry, digest=bytes(32)) if entry.name == "consistency" else entry for entry in genesis.code_table
    )
    with pytest.raises(FormatError, match="consistency version 1 with the code 0000000000000000"):
        World(replace(genesis, code_table=changed))


def test_application_with_an_unknown_contract_is_refused() -> None:
    genesis = make_genesis()
    more = (*genesis.code_table, CodeEntry("zoning", 3, bytes(32)))
    with pytest.raises(FormatError, match="zoning version 3, which this software does not have"):
        World(replace(genesis, code_table=more))


def test_application_runs_only_contracts_of_the_genesis_file() -> None:
    genesis = make_genesis()
    fewer = tuple(entry for entry in genesis.code_table if entry.name != "consistency")
    world = World(replace(genesis, code_table=fewer))
    signed = world.sign("gw-1", "consistency", "report", {"evidence": b""})
    with pytest.raises(TxRefused, match="unknown-contract"):
        world.application.check(signed, world.head.time_ms)
    assert world.application.genesis_writes() == tuple(sorted(world.application.genesis_writes()))


# order, events, history


def test_reports_of_different_gateways_in_either_order_lead_to_the_same_state() -> None:
    worlds = (World(), World())
    for world, order in zip(worlds, (("gw-1", "gw-2"), ("gw-2", "gw-1")), strict=True):
        reports = {
            "gw-1": evidence(entry("dev-1", item())),
            "gw-2": evidence(entry("dev-3", item("s-3")), gateway="gw-2"),
        }
        world.run(*(world.sign(name, "consistency", "report", {"evidence": reports[name].encode()}) for name in order))
    assert worlds[0].head.state_root == worlds[1].head.state_root
    assert worlds[0].head.digest != worlds[1].head.digest


def test_history_of_the_head_covers_all_blocks() -> None:
    world = World()
    digests = [world.genesis.digest()]
    for _ in range(5):
        execution, _ = world.propose()
        assert execution.block.header.history_root == tree_head(digests)
        world.commit(execution)
        digests.append(world.head.digest)
    assert world.head.history.size == 6
    assert leaf_digest(digests[0]) != world.head.history.head() == tree_head(digests)


def test_event_rows_number_the_events_of_a_block() -> None:
    world = World()
    first, second = submission(world), submission(world, "r-2")
    done = world.run(first, second)
    rows = list(event_rows(1, 5, done[0].execution.outcomes))
    assert [(row.height, row.index, row.time_ms) for row in rows] == [(1, index, 5) for index in range(4)]
    assert [row.tx for row in rows] == [first.id, first.id, second.id, second.id]
    assert [row.type for row in rows] == ["release_submitted", "release_endorsed"] * 2
    assert rows[0].data["release"] == "r-1"


def test_signature_is_asked_of_the_injected_verifier_with_the_key_of_the_state() -> None:
    world = World()
    asked: list[tuple[bytes, bytes]] = []
    application = Application(
        world.genesis, world.state, world.tree, lambda signed, key: asked.append((signed.id, key))
    )
    signed = submission(world)
    application.check(signed, world.head.time_ms)
    assert asked == [(signed.id, key_of("maker-a").verify_key.encode())]
    assert sha256(signed.raw) == signed.id
