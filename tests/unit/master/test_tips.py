"""Fault proofs of gateways among their transactions."""

from __future__ import annotations

import asyncio

from master.tips import Tips
from tests.unit.wire.samples import RAW_TX
from tests.unit.wire.test_faultproof import PROOF
from wire.errors import ProofError, WireError


# holds LC-11
def test_fault_proof_from_a_gateway_is_exposed_and_a_transaction_is_not() -> None:
    taken: list[bytes] = []
    exposed: list[bytes] = []
    refused: list[str] = []

    async def take(payload: bytes) -> None:
        taken.append(payload)

    def expose(payload: bytes) -> None:
        if payload != PROOF.encode():
            raise ProofError("it proves nothing")
        exposed.append(payload)

    def note(error: WireError) -> None:
        refused.append(error.code)

    async def work() -> None:
        tips = Tips(take, expose, note)
        for payload in (RAW_TX, b"", PROOF.encode(), PROOF.encode() + b"!"):
            await tips.take(payload)

    asyncio.run(work())
    assert (taken, exposed, refused) == ([RAW_TX, b""], [PROOF.encode()], ["bad-proof"])
