"""Transactions, bundles, blocks and headers: what the ledger itself holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from master.api.call import Call, answer
from master.api.lists import FRESHNESS
from master.api.parameters import HexDigest, Number, Parameter, Word
from master.api.past import bounds, demand
from master.api.ports import LedgerPort
from master.api.problems import not_found
from master.views.schema import (
    Schema,
    hexadecimal,
    integer,
    nullable,
    record,
    sequence,
    text,
)
from wire import cbor
from wire.header import Header
from wire.receipt import Bundle, decode_outcome
from wire.tx import open_tx
from wire.types import DIGEST_BYTES, INT_MAX, sha256

HEADERS_MAX: Final = 100
CBOR_TYPE: Final = "application/cbor"

TX_ID: Final = Parameter("id", "Id of the transaction.", HexDigest(), place="path")
HEIGHT: Final = Parameter("height", "Height of the block.", Number(1, INT_MAX), place="path")
FORMAT: Final = Parameter("format", "Form of the answer.", Word(("json", "cbor")), default="json")
FROM: Final = Parameter("from", "Height of the first header.", Number(1, INT_MAX), default=1)
HEADERS_LIMIT: Final = Parameter("limit", "Most headers of the answer.", Number(1, HEADERS_MAX), default=HEADERS_MAX)

_DIGESTS: Final = (
    "parent",
    "tx_root",
    "outcome_root",
    "state_root",
    "history_root",
    "validators_hash",
    "next_validators_hash",
    "code_table_hash",
    "fault_proof_root",
)
_HEADER: Final = record(
    {
        "chain": text("Name of the ledger."),
        "epoch": integer("Number of the validator set.", 0),
        "height": integer("Height of the block.", 1),
        "proposer": text("Member that built it."),
        "time_ms": integer("Block time, ms since 1970 UTC.", 0),
        "tx_count": integer("Transactions in the block.", 0),
        **{name: hexadecimal("SHA-256.", DIGEST_BYTES) for name in _DIGESTS},
    }
)
TX_SCHEMA: Final[Schema] = record(
    {
        "id": hexadecimal("Id of the transaction.", DIGEST_BYTES),
        "status": text("pending: in the mempool; committed: final.", ("committed", "pending")),
        "height": nullable(integer("Block that holds it.", 1)),
        "index": nullable(integer("Place in the block, from 0.", 0)),
        "code": nullable(text("ok, or why the contract refused it.")),
        "sender": text("Account that signed it."),
        "contract": text("Contract that it calls."),
        "method": text("Method that it calls."),
    }
)
BLOCK_SCHEMA: Final[Schema] = record(
    {
        "height": integer("Height of the block.", 1),
        "digest": hexadecimal("SHA-256 of its canonical header.", DIGEST_BYTES),
        "header": _HEADER,
        "transactions": sequence(hexadecimal("Id of a transaction.", DIGEST_BYTES)),
        "certificate": record(
            {
                "epoch": integer("Validator set that signed.", 0),
                "view": integer("View in which it became final.", 0),
                "signers": sequence(text("Member.")),
            }
        ),
    }
)
HEADERS_SCHEMA: Final[Schema] = record(
    {
        "items": sequence(
            record(
                {
                    "height": integer("Height of the block.", 1),
                    "digest": hexadecimal("SHA-256 of the header.", DIGEST_BYTES),
                    "header": hexadecimal("Canonical bytes of the header."),
                    "certificate": hexadecimal("Canonical bytes of its quorum certificate."),
                }
            )
        ),
        "next": nullable(integer("Height for 'from' of the next page, null on the last one.", 2)),
        **FRESHNESS,
    }
)


async def transaction(call: Call) -> Response:
    """Answer where a transaction stands and what came of it."""
    context, wanted = call.context, call.arguments.need(TX_ID)
    found = await context.blocking(lambda: _committed(context.ledger, wanted))
    if found is None:
        waiting = context.node.pending(wanted)
        if waiting is not None:
            place = {"status": "pending", "height": None, "index": None, "code": None}
            found = {**place, **_called(waiting.raw)}
        else:
            # a block may have taken it out of the mempool since the ledger was asked
            found = await context.blocking(lambda: _committed(context.ledger, wanted))
    if found is None:
        raise not_found(f"transaction {wanted.hex()}{bounds(context)}")
    return answer({"id": wanted.hex(), **found})


def _committed(ledger: LedgerPort, wanted: bytes) -> Mapping[str, object] | None:
    place = ledger.find_tx(wanted)
    if place is None:
        return None
    height, index = place
    block = ledger.block(height)  # None where it is pruned
    code = decode_outcome(ledger.outcomes(height)[index]).code
    return {
        "status": "committed",
        "height": height,
        "index": index,
        "code": code,
        **({} if block is None else _called(block.transactions[index])),
    }


def _called(raw: bytes) -> dict[str, str]:
    tx = open_tx(raw).tx
    return {"sender": tx.sender, "contract": tx.contract, "method": tx.method}


async def bundle(call: Call) -> Response:
    """Answer with a committed transaction and its receipt, as `gridwitness verify` takes it."""
    context, wanted = call.context, call.arguments.need(TX_ID)
    found = await context.blocking(lambda: _bundle(context.ledger, wanted))
    if found is None:
        waits = context.node.pending(wanted) is not None
        raise not_found(f"receipt of transaction {wanted.hex()}{' yet, it is pending' if waits else bounds(context)}")
    name = f'attachment; filename="{wanted.hex()[:16]}.bundle.cbor"'
    return Response(found, media_type=CBOR_TYPE, headers={"content-disposition": name})


def _bundle(ledger: LedgerPort, wanted: bytes) -> bytes | None:
    place, receipt = ledger.find_tx(wanted), ledger.receipt(wanted)
    block = None if place is None else ledger.block(place[0])
    if place is None or receipt is None or block is None:
        return None
    return Bundle(block.transactions[place[1]], receipt).encode()


async def block(call: Call) -> Response:
    """Answer with one block and who certified it."""
    context, height = call.context, call.arguments.need(HEIGHT)
    wants_cbor = call.arguments.need(FORMAT) == "cbor"
    work = _block_cbor if wants_cbor else _block_json
    found = await context.blocking(lambda: work(context.ledger, height))
    if found is None:
        raise not_found(f"block {height}; the newest is {context.node.head_height()}{bounds(context)}")
    return Response(found, media_type=CBOR_TYPE) if isinstance(found, bytes) else answer(found)


def _block_cbor(ledger: LedgerPort, height: int) -> bytes | None:
    found, certificate = ledger.block(height), ledger.certificate(height)
    if found is None or certificate is None:
        return None
    return cbor.encode({"type": "block", "version": 1, "block": found.encode(), "certificate": certificate.encode()})


def _block_json(ledger: LedgerPort, height: int) -> dict[str, object] | None:
    found, certificate = ledger.block(height), ledger.certificate(height)
    if found is None or certificate is None:
        return None
    return {
        "height": height,
        "digest": found.header.digest().hex(),
        "header": _header(found.header),
        "transactions": [sha256(raw).hex() for raw in found.transactions],
        "certificate": {
            "epoch": certificate.epoch,
            "view": certificate.view,
            "signers": list(certificate.signers),
        },
    }


def _header(header: Header) -> dict[str, object]:
    digests = {name: getattr(header, name).hex() for name in _DIGESTS}
    plain = {name: getattr(header, name) for name in ("chain", "epoch", "height", "proposer", "time_ms", "tx_count")}
    return {**plain, **digests}


async def headers(call: Call) -> Response:
    """Answer with headers and certificates in ascending order, for light nodes."""
    context = call.context
    first, limit = call.arguments.need(FROM), call.arguments.need(HEADERS_LIMIT)
    head = context.node.head_height()
    demand(context, min(first, head))
    last = min(first + limit - 1, head)
    items = await context.blocking(lambda: [_entry(context.ledger, at) for at in range(first, last + 1)])
    following = last + 1 if first <= last < head else None
    return answer({"items": items, "next": following, **context.freshness()})


def _entry(ledger: LedgerPort, height: int) -> dict[str, object]:
    found, certificate = ledger.header(height), ledger.certificate(height)
    assert found is not None  # every height up to the head has both
    assert certificate is not None
    raw = found.encode()
    return {
        "height": height,
        "digest": sha256(raw).hex(),
        "header": raw.hex(),
        "certificate": certificate.encode().hex(),
    }
