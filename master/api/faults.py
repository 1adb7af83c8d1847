"""Fault proofs as files that anybody can check with the genesis file alone, and view changes for audits."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from master.api.call import Call, answer
from master.api.chain import CBOR_TYPE, HEIGHT
from master.api.parameters import HexDigest, Parameter
from master.api.problems import not_found
from master.consensus.message_codec import decode_view_change_set
from master.views.faults import FAULTS
from master.views.schema import Schema, hexadecimal, integer, record, sequence
from wire.faultproof import FaultFile, decode_fault_proof

FAULT_ID: Final = Parameter("id", "SHA-256 of the proof.", HexDigest(), place="path")


VIEW_CHANGES_SCHEMA: Final[Schema] = record(
    {
        "height": integer("Height of the block.", 1),
        "items": sequence(
            record(
                {
                    "view": integer("View in which this node voted PREPARE.", 1),
                    "set": hexadecimal("Canonical view change set: the view changes that the proposal carried."),
                }
            )
        ),
    }
)


async def view_changes(call: Call) -> Response:
    """Answer with the view changes that this node's votes at a height rested on, for audits."""
    context, height = call.context, call.arguments.need(HEIGHT)
    if height > context.node.head_height():
        raise not_found(f"block {height}; the newest is {context.node.head_height()}")
    sets = await context.blocking(lambda: context.ledger.view_changes(height))
    items = [{"view": decode_view_change_set(raw).view, "set": raw.hex()} for raw in sets]
    return answer({"height": height, "items": items})


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
