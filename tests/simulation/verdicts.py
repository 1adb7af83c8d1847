"""What real ledgers must have in common after a run (invariants I2, I9, I10, I12, I13, L2 on the real store)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

from tests.interop.independent_checker import check_receipt
from tests.simulation.followers import follow
from tests.simulation.judge import BrokenError, Judge
from tests.simulation.keys import KeyRing
from tests.simulation.real import RealLedger
from wire.genesis import Genesis
from wire.types import sha256


def judge_ledgers(judge: Judge, keys: KeyRing, genesis: Genesis, ledgers: Sequence[RealLedger], rng: Random) -> None:
    """Compare stores byte for byte with one another and with one that never failed; follow them as a light client.

    Raises:
        BrokenError: Something differs.
    """
    shortest = min(ledger.head.height for ledger in ledgers)
    for ledger in ledgers:
        never_failed = ledger.copy(ledger.head.height)
        judge.hold("I13 store", never_failed.records() == ledger.records(), "a store is not like one that never failed")
        judge.hold("I13 tree", ledger.rebuilt_root() == ledger.state, "the tree of the leaves is not the head's")
        never_failed.close()
        for time_ms, signed in ledger.transactions():
            judge.hold("I9 expiry", time_ms <= signed.tx.valid_until_ms, "a transaction was executed after its time")
    for first, second in pairwise(ledgers):
        cut = [ledger.copy(shortest) for ledger in (first, second)]
        judge.hold("I2 store", cut[0].records() == cut[1].records(), "two stores differ at one height")
        for ledger in cut:
            ledger.close()
    if any(ledger.epoch for ledger in ledgers):
        judge.count("epoch ended on the real store")
    follow(judge, keys, genesis, ledgers, rng)
    _receipts(judge, genesis, ledgers, rng)


def _receipts(judge: Judge, genesis: Genesis, ledgers: Sequence[RealLedger], rng: Random) -> None:
    """Let the checker that shares no code look at receipts of what clients were told to be final."""
    raw_genesis = genesis.encode()
    for ledger in ledgers:
        done = sorted(ledger.done)
        for raw in rng.sample(done, min(3, len(done))):
            receipt = ledger.store.receipt(sha256(raw))
            if receipt is None:
                raise BrokenError("I10: a final transaction has no receipt")
            check_receipt(receipt.encode(), raw, raw_genesis)
            judge.hold("I10 receipt", True, "")  # noqa: FBT003
