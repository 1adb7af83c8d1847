"""Fault proofs as files that anybody can check with the genesis file alone."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from master.api.call import Call
from master.api.chain import CBOR_TYPE
from master.api.parameters import HexDigest, Parameter
from master.api.problems import not_found
from master.views.faults import FAULTS
from wire.faultproof import FaultFile, decode_fault_proof

FAULT_ID: Final = Parameter("id", "SHA-256 of the proof.", HexDigest(), place="path")


async def proof(call: Call) -> Response:
    """Answer with a fault proof and the epochs that lead to its validators, as `gridwitness verify` takes it."""
    context, wanted = call.context, call.arguments.need(FAULT_ID).hex()
    row = await context.blocking(lambda: context.tables.row(FAULTS.name, wanted))
    if row is None:
        raise not_found(f"fault {wanted!r}")
    found = decode_fault_proof(bytes.fromhex(str(row["proof"])))
    ends = await context.blocking(context.proofs.all_epoch_ends)
    name = f'attachment; filename="{wanted[:16]}.fault.cbor"'
    raw = FaultFile(found, tuple(ends[: found.epoch])).encode()
    return Response(raw, media_type=CBOR_TYPE, headers={"content-disposition": name})
