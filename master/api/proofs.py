"""State entries, old blocks and epochs, each with the proof that needs no trust in this node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from master.api.call import Call, answer
from master.api.chain import CBOR_TYPE, FORMAT, HEIGHT
from master.api.lists import FRESHNESS
from master.api.parameters import Number, Parameter, Word
from master.api.past import demand
from master.api.problems import Problem, bad_parameter, not_found
from master.ledger.undo import HeightNotKeptError
from master.views.schema import Schema, hexadecimal, integer, nullable, record, sequence, text
from wire import cbor
from wire.epochs import EPOCHS_MAX, EpochEnd
from wire.stateproof import KEY_BYTES_MAX, StateProof
from wire.types import DIGEST_BYTES, INT_MAX

PUBLIC_NAMESPACES: Final = (
    "access",
    "blobs",
    "consistency",
    "faults",
    "governance",
    "membership",
    "models",
    "notary",
    "orders",
    "references",
    "sequence",
    "validators",
)
"""Of the state; whoever adds one with restricted records leaves it out, and it is not served here."""
EPOCHS_LIMIT: Final = 100
ATTEMPTS_MAX: Final = 50
PAUSE_S: Final = 0.01

NAMESPACE: Final = Parameter("namespace", f"One of {', '.join(PUBLIC_NAMESPACES)}.", Word(), place="path")
PROOF: Final = Parameter("proof", "1: with the proof.", Number(0, 1), default=0)
AT: Final = Parameter("height", "Block after which it stood so; the newest one if not given.", Number(1, INT_MAX))
NEWER: Final = Parameter("in", "Height of the newer block; the newest one if not given.", Number(1, INT_MAX))
FROM_EPOCH: Final = Parameter("from", "Number of the first epoch.", Number(0, EPOCHS_MAX), default=0)
LIMIT: Final = Parameter("limit", "Most epochs of the answer.", Number(1, EPOCHS_LIMIT), default=EPOCHS_LIMIT)


@dataclass(frozen=True, slots=True)
class StateKey:
    """Bytes of a key, percent-encoded; the handler reads them from the raw path."""

    def parse(self, raw: str) -> str:
        """Return the text as it is."""
        return raw

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return {"type": "string", "minLength": 1}


KEY: Final = Parameter("key", "Key within the namespace, percent-encoded, 1..446 bytes.", StateKey(), place="path")

STATE_SCHEMA: Final[Schema] = record(
    {
        "namespace": text("Namespace of the state."),
        "key": hexadecimal("Key within the namespace."),
        "value": nullable(hexadecimal("Canonical CBOR; null when nothing stands under the key.")),
        "height": integer("Block after which it stands so.", 1),
        "proof": nullable(hexadecimal("Canonical state proof, if it was asked for.")),
        **FRESHNESS,
    }
)
HISTORY_SCHEMA: Final[Schema] = record(
    {
        "height": integer("The old block.", 1),
        "newer": integer("The block in whose history it is.", 1),
        "proof": hexadecimal("Canonical proof."),
    }
)
EPOCHS_SCHEMA: Final[Schema] = record(
    {
        "items": sequence(
            record(
                {
                    "epoch": integer("Number of the epoch that ends.", 0),
                    "height": integer("Its last block.", 1),
                    "digest": hexadecimal("SHA-256 of that block's header.", DIGEST_BYTES),
                    "end": hexadecimal("Canonical epoch end: header, certificate, the next validators."),
                }
            )
        ),
        "next": nullable(integer("Epoch for 'from' of the next page, null on the last one.", 1)),
        **FRESHNESS,
    }
)


class _Encodes(Protocol):
    def encode(self) -> bytes: ...


async def state(call: Call) -> Response:
    """Answer what stands under a key of the newest state, or stood there at a recent height."""
    namespace, key = call.arguments.need(NAMESPACE), _key(call.request)
    if namespace not in PUBLIC_NAMESPACES:
        raise not_found(f"public namespace {namespace}")
    wants_proof, wants_cbor = call.arguments.need(PROOF) == 1, call.arguments.need(FORMAT) == "cbor"
    if wants_cbor and not wants_proof:
        raise bad_parameter("format", "cbor is the form of a proof; ask with proof=1")
    try:
        proof = await _state_proof(call, namespace, key)
    except HeightNotKeptError as error:
        raise Problem(HTTPStatus.NOT_FOUND, "height-not-kept", str(error)) from error
    if wants_cbor:
        return Response(proof.encode(), media_type=CBOR_TYPE)
    return answer(
        {
            "namespace": namespace,
            "key": key.hex(),
            "value": None if proof.value is None else proof.value.hex(),
            "height": proof.final.header.height,
            "proof": proof.encode().hex() if wants_proof else None,
            **call.context.freshness(),
        }
    )


async def _state_proof(call: Call, namespace: str, key: bytes) -> StateProof:
    """Return the proof; a block that lands while it is made means one more attempt."""
    context, height = call.context, call.arguments.get(AT)
    if not context.node.head_height():
        raise not_found("final block yet; a state proof needs one")
    for _ in range(ATTEMPTS_MAX):
        proof = await context.blocking(lambda: context.proofs.state_proof(namespace, key, height))
        if proof is not None:
            return proof
        await asyncio.sleep(PAUSE_S)
    detail = "blocks came faster than the proof could be made; try again"
    raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", detail, {"retry-after": "1"})


def _key(request: Request) -> bytes:
    """Return the key's bytes; the decoded path would lose those that are no UTF-8."""
    raw: bytes = request.scope["raw_path"]
    key = unquote_to_bytes(raw.partition(b"?")[0].split(b"/", 4)[4])
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise bad_parameter("key", f"1..{KEY_BYTES_MAX} bytes are due")
    return key


async def history(call: Call) -> Response:
    """Answer with the proof that an old block is in the chain of a newer one."""
    context, height = call.context, call.arguments.need(HEIGHT)
    newer = call.arguments.get(NEWER) or context.node.head_height()
    demand(context, 1)
    found = await context.blocking(lambda: context.proofs.history_proof(height, newer))
    return _history_answer(call, height, newer, found)


async def consistency(call: Call) -> Response:
    """Answer with the proof that a newer block continues the history of an older one."""
    context, height = call.context, call.arguments.need(HEIGHT)
    newer = call.arguments.get(NEWER) or context.node.head_height()
    demand(context, 1)
    found = await context.blocking(lambda: context.proofs.consistency_proof(height, newer))
    return _history_answer(call, height, newer, found)


def _history_answer(call: Call, height: int, newer: int, found: _Encodes | None) -> Response:
    if found is None:
        raise not_found(f"block {height} below block {newer}; the newest is {call.context.node.head_height()}")
    if call.arguments.need(FORMAT) == "cbor":
        return Response(found.encode(), media_type=CBOR_TYPE)
    return answer({"height": height, "newer": newer, "proof": found.encode().hex()})


async def epochs(call: Call) -> Response:
    """Answer with the ends of epochs, in order, for light nodes."""
    context = call.context
    first, limit = call.arguments.need(FROM_EPOCH), call.arguments.need(LIMIT)
    ends: Sequence[EpochEnd] = await context.blocking(context.proofs.all_epoch_ends)
    page = ends[first : first + limit]
    following = first + limit if first + limit < len(ends) else None
    return answer({"items": [_end(end) for end in page], "next": following, **context.freshness()})


def _end(end: EpochEnd) -> dict[str, object]:
    return {
        "epoch": end.header.epoch,
        "height": end.header.height,
        "digest": end.header.digest().hex(),
        "end": cbor.encode(end.to_value()).hex(),
    }
