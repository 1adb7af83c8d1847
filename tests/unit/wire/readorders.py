"""Read orders for tests, true ones unless they are told otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.unit.wire.samples import CHAIN, HEADER, TIME_MS, certify, key_of
from wire.cbor import Value
from wire.header import tx_root
from wire.merkle import tree_head
from wire.readorder import ReadOrder
from wire.receipt import Outcome, Receipt
from wire.tx import Transaction
from wire.types import sha256

DEADLINE_MS: Final = TIME_MS + 3_600_000
NONCE: Final = sha256(b"a nonce")


def call(number: int = 1, **changes: object) -> bytes:
    """Return the signed transaction of a read order; ``changes`` replace its arguments."""
    args: dict[str, Value] = {
        "gateway": "gw-1",
        "devices": ["sps-1"],
        "nonce": NONCE,
        "deadline_ms": DEADLINE_MS,
        **changes,  # type: ignore[dict-item]
    }
    made = Transaction(CHAIN, "office", "orders", 1, "inspect", args, number, TIME_MS + 60_000)
    return made.sign(key_of("office"))


def proven(raw: bytes, code: str = "ok", height: int = 42, signers: tuple[str, ...] | None = None) -> ReadOrder:
    """Return a transaction with a true receipt of a block that holds it alone."""
    outcome = Outcome(sha256(raw), code, ())
    header = replace(
        HEADER, height=height, tx_count=1, tx_root=tx_root([raw]), outcome_root=tree_head([outcome.encode()])
    )
    certificate = certify(header) if signers is None else certify(header, signers)
    return ReadOrder(raw, Receipt(sha256(raw), header, certificate, 0, 1, (), outcome, (), ()))


def order(number: int = 1, **changes: object) -> ReadOrder:
    """Return a read order that the ledger took."""
    return proven(call(number, **changes))
