"""Read orders: proven by the genesis file alone, and nothing else passes for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.readorders import DEADLINE_MS, NONCE, call, order, proven
from tests.unit.wire.samples import GENESIS, RAW_TX
from wire import cbor
from wire.errors import CborError, CertificateError, FormatError, ProofError
from wire.readorder import Demand, decode_read_order, demand_of, verify_read_order
from wire.types import sha256


# holds RO-1 RO-2
def test_read_order_that_the_ledger_took_is_believed_with_the_genesis_file_alone() -> None:
    made = order(devices=["sps-1", "sps-2"])
    assert decode_read_order(made.encode()) == made
    expected = Demand(sha256(made.tx), "gw-1", ("sps-1", "sps-2"), NONCE, DEADLINE_MS)
    assert verify_read_order(made, GENESIS) == expected


# holds RO-2
def test_read_order_that_the_contract_refused_is_not_believed() -> None:
    with pytest.raises(ProofError, match="refused it with too-soon"):
        verify_read_order(proven(call(), code="too-soon"), GENESIS)


# holds RO-2
def test_read_order_without_a_quorum_or_with_another_receipt_is_not_believed() -> None:
    with pytest.raises(CertificateError):
        verify_read_order(proven(call(), signers=("dispatch", "sub-east")), GENESIS)
    with pytest.raises(ProofError, match="another transaction"):
        verify_read_order(replace(order(), tx=call(2)), GENESIS)


# holds RO-2
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gateway": "GW"}, "gateway"),
        ({"devices": []}, "at least one"),
        ({"devices": ["b", "a"]}, "devices"),
        ({"devices": [7]}, "devices"),
        ({"devices": [f"d-{number:02}" for number in range(65)]}, "devices"),
        ({"nonce": bytes(31)}, "nonce"),
        ({"deadline_ms": -1}, "deadline_ms"),
        ({"more": 1}, "args"),
    ],
)
def test_read_order_that_asks_for_something_else_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        demand_of(order(**changes))


# holds RO-2
def test_transaction_of_another_method_is_no_read_order() -> None:
    with pytest.raises(FormatError, match="asks for consistency report"):
        demand_of(proven(RAW_TX))


# holds RO-1
@pytest.mark.parametrize("changes", [{"type": "receipt"}, {"version": 2}, {"tx": b""}, {"receipt": None}, {"more": 1}])
def test_read_order_of_another_shape_is_refused(changes: dict[str, cbor.Value]) -> None:
    value = cbor.decode(order().encode())
    assert isinstance(value, dict)
    with pytest.raises(FormatError):
        decode_read_order(cbor.encode({**value, **changes}))
    with pytest.raises(CborError):
        decode_read_order(order().encode() + b"\0")
