from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.attest import DeviceState, Signer, build_evidence
from agent.io.outbox import Outbox, Pending
from agent.io.trust import ITEM_BYTES_MAX, NotProven, Settled, Trust
from tests.unit.agent.bench import EVIDENCE_CLOCK, KID, NOW_MS, state
from tests.unit.wire.samples import CHAIN, GENESIS, HEADER, RECEIPT, certify, key_of
from wire.evidence import SeenBlock
from wire.header import tx_root
from wire.merkle import tree_head
from wire.receipt import Outcome, Receipt
from wire.types import sha256

STATES = {"sps-1": state()}


def receipt_for(raw: bytes, *, code: str = "ok", height: int = 42, signers: tuple[str, ...] | None = None) -> Receipt:
    """Return a true receipt of a block that holds ``raw`` alone."""
    outcome = Outcome(sha256(raw), code, ())
    header = replace(
        HEADER, height=height, tx_count=1, tx_root=tx_root([raw]), outcome_root=tree_head([outcome.encode()])
    )
    certificate = certify(header) if signers is None else certify(header, signers)
    return Receipt(sha256(raw), header, certificate, 0, 1, (), outcome, (), ())


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    signer = Signer("gw-1", CHAIN, key_of("gw-1"))
    box = Outbox(tmp_path / "outbox.sqlite", signer.transaction, bytes_max=10**6, valid_ms=600_000)
    box.begin_boot(NOW_MS, KID)
    yield box
    box.close()


def waiting(outbox: Outbox, *states: DeviceState) -> Pending:
    parts = states or (state(),)
    block = SeenBlock(0, GENESIS.digest())
    outbox.add(
        lambda boot, seq: build_evidence("gw-1", (boot, seq), EVIDENCE_CLOCK, block, parts),
        parts,
        NOW_MS,
        droppable=False,
    )
    return outbox.pending(100)[-1]


def test_block_before_the_first_receipt_is_genesis(outbox: Outbox) -> None:
    assert Trust(GENESIS, outbox).block == SeenBlock(0, GENESIS.digest())


def test_verified_receipt_settles_its_evidence_and_its_items(outbox: Outbox) -> None:
    entry = waiting(outbox)
    trust = Trust(GENESIS, outbox)
    receipt = receipt_for(entry.raw)
    verdict = trust.take(receipt.encode(), STATES)
    assert isinstance(verdict, Settled)
    assert (verdict.evidence, verdict.code, verdict.seq) == (entry.evidence, "ok", entry.seq)
    assert [changed.has_receipt for changed in verdict.states] == [True]
    assert outbox.pending(10) == []
    assert outbox.states()["sps-1"].has_receipt
    assert trust.block == SeenBlock(42, receipt.header.digest())
    assert Trust(GENESIS, outbox).block == trust.block


def test_receipt_of_an_earlier_wrapping_settles_the_same_evidence(outbox: Outbox) -> None:
    entry = waiting(outbox)
    outbox.rewrap(entry.evidence, NOW_MS)
    assert isinstance(Trust(GENESIS, outbox).take(receipt_for(entry.raw).encode(), STATES), Settled)
    assert outbox.pending(10) == []


def test_duplicate_as_outcome_counts_as_taken(outbox: Outbox) -> None:
    verdict = Trust(GENESIS, outbox).take(receipt_for(waiting(outbox).raw, code="duplicate").encode(), STATES)
    assert isinstance(verdict, Settled)
    assert verdict.states[0].has_receipt


def test_refusal_as_outcome_ends_the_report_and_carries_its_items_again(outbox: Outbox) -> None:
    known = state(has_receipt=True)
    entry = waiting(outbox, known)
    verdict = Trust(GENESIS, outbox).take(receipt_for(entry.raw, code="unknown-item").encode(), {"sps-1": known})
    assert isinstance(verdict, Settled)
    assert verdict.code == "unknown-item"
    assert not verdict.states[0].has_receipt
    assert not outbox.states()["sps-1"].has_receipt


def test_receipt_keeps_the_newest_block_when_it_comes_out_of_order(outbox: Outbox) -> None:
    first, second = waiting(outbox), waiting(outbox)
    trust = Trust(GENESIS, outbox)
    trust.take(receipt_for(second.raw, height=43).encode(), STATES)
    trust.take(receipt_for(first.raw, height=42).encode(), STATES)
    assert trust.block.height == 43


def _altered_outcome(receipt: Receipt) -> Receipt:
    return replace(receipt, outcome=replace(receipt.outcome, code="duplicate"))


def _other_chain(receipt: Receipt) -> Receipt:
    header = replace(receipt.header, chain="other-00000000")
    return replace(receipt, header=header, certificate=certify(header))


def _stranger(receipt: Receipt) -> Receipt:
    keys = {member: key_of(f"stranger {member}") for member in ("dispatch", "sub-east", "sub-north")}
    return replace(receipt, certificate=certify(receipt.header, tuple(keys), keys=keys))


FORGERIES = {
    "too few signatures": lambda receipt: replace(
        receipt, certificate=certify(receipt.header, ("dispatch", "sub-east"))
    ),
    "keys of strangers": _stranger,
    "another outcome": _altered_outcome,
    "another chain": _other_chain,
    "another transaction root": lambda receipt: replace(
        receipt, header=(header := replace(receipt.header, tx_root=bytes(32))), certificate=certify(header)
    ),
    "a path that leads elsewhere": lambda receipt: replace(receipt, size=2, tx_path=(bytes(32),)),
    "a certificate of another block": lambda receipt: replace(
        receipt, certificate=certify(replace(receipt.header, height=41))
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_receipt_changes_nothing(outbox: Outbox, forgery: str) -> None:
    entry = waiting(outbox)
    trust = Trust(GENESIS, outbox)
    verdict = trust.take(FORGERIES[forgery](receipt_for(entry.raw)).encode(), STATES)  # type: ignore[no-untyped-call]
    assert isinstance(verdict, NotProven)
    assert verdict.result == "not-verified"
    assert outbox.pending(10) == [entry]
    assert not outbox.states()["sps-1"].has_receipt
    assert trust.block.height == 0


def test_receipt_of_somebody_elses_transaction_changes_nothing(outbox: Outbox) -> None:
    entry = waiting(outbox)
    verdict = Trust(GENESIS, outbox).take(RECEIPT.encode(), STATES)
    assert isinstance(verdict, NotProven)
    assert verdict.result == "unknown-transaction"
    assert outbox.pending(10) == [entry]


def test_receipt_that_comes_twice_is_unknown_the_second_time(outbox: Outbox) -> None:
    payload = receipt_for(waiting(outbox).raw).encode()
    trust = Trust(GENESIS, outbox)
    trust.take(payload, STATES)
    verdict = trust.take(payload, STATES)
    assert isinstance(verdict, NotProven)
    assert verdict.result == "unknown-transaction"


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xa0", b"\xff" * 100, bytes(ITEM_BYTES_MAX + 1)])
def test_what_is_no_receipt_is_malformed(outbox: Outbox, payload: bytes) -> None:
    entry = waiting(outbox)
    verdict = Trust(GENESIS, outbox).take(payload, STATES)
    assert isinstance(verdict, NotProven)
    assert verdict.result == "malformed"
    assert outbox.pending(10) == [entry]


def test_receipt_for_devices_that_are_no_longer_configured_settles_the_rest(outbox: Outbox) -> None:
    verdict = Trust(GENESIS, outbox).take(receipt_for(waiting(outbox).raw).encode(), {})
    assert isinstance(verdict, Settled)
    assert verdict.states == ()
