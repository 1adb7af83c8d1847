"""POST /v1/tx: one signed transaction, or a CBOR sequence of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from master.api.call import Call, answer
from master.api.context import Context
from master.api.ports import SubmitResult
from master.api.problems import Problem
from wire.errors import WireError
from wire.types import TX_BYTES_MAX

ONE_TYPES: Final = ("application/cose", "application/octet-stream")
SEQUENCE_TYPE: Final = "application/cbor-seq"
_COSE_TYPE: Final = "cose-sign1"

# what every transaction starts with: tag 18, an array of four
_START: Final = b"\xd2\x84"
_ITEMS: Final = 4
_BYTE_STRING: Final = 2
_MAP_EMPTY: Final = 0xA0
_LENGTH_IN_HEAD: Final = 24
_WIDTHS: Final = {24: 1, 25: 2, 26: 4}


async def submit(call: Call) -> Response:
    """Take transactions into the mempool and say of each what became of it."""
    context, request = call.context, call.request
    try:
        many = _is_sequence(request)
        limit = context.limits.sequence_bytes_max if many else TX_BYTES_MAX
        body = await _body(context, request, limit)
        transactions = _split(body, context.limits.sequence_transactions_max) if many else [body]
    except Problem as problem:
        # refused before it came to a transaction
        context.metrics.submitted.labels("refused", problem.code).inc()
        raise
    results = await context.node.submit_all(transactions)
    for (status, code), number in Counter((result.status, result.code) for result in results).items():
        context.metrics.submitted.labels(status, code).inc(number)
    first = results[0]
    if not many and first.status == "refused":
        headers = {"retry-after": "1"} if first.http_status == HTTPStatus.TOO_MANY_REQUESTS else {}
        raise Problem(first.http_status, first.code, first.detail, headers)
    pending = any(result.status == "pending" for result in results)
    shown = {"results": [_shown(result) for result in results]}
    return answer(shown, HTTPStatus.ACCEPTED if pending else HTTPStatus.OK)


def _shown(result: SubmitResult) -> dict[str, object]:
    shown: dict[str, object] = {"id": result.id.hex(), "status": result.status}
    if result.blobs:
        shown["blobs"] = [digest.hex() for digest in result.blobs]
    return shown if result.status != "refused" else {**shown, "reason": result.code}


def _is_sequence(request: Request) -> bool:
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind == SEQUENCE_TYPE:
        return True
    name, _, value = rest.strip().partition("=")
    if name.strip().lower() == "cose-type" and value.strip().strip('"').lower() != _COSE_TYPE:
        kind = ""
    if kind not in ONE_TYPES:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            'application/cose; cose-type="cose-sign1", application/octet-stream or application/cbor-seq is due',
        )
    return False


async def _body(context: Context, request: Request, limit: int) -> bytes:
    if context.bodies >= context.limits.bodies_max:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "busy",
            f"{context.limits.bodies_max} bodies are being received, as many as this node allows",
            {"retry-after": "1"},
        )
    context.bodies += 1
    try:
        async with asyncio.timeout(context.limits.body_wait_s):
            return await _receive(request, limit)
    except TimeoutError:
        detail = f"the body was not here after {context.limits.body_wait_s:g} s"
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "body-too-slow", detail) from None
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed", "the body broke off") from None
    finally:
        context.bodies -= 1


async def _receive(request: Request, limit: int) -> bytes:
    too_large = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", f"at most {limit} bytes are allowed")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise too_large
    if not body:
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed", "the body is empty")
    return bytes(body)


def _split(body: bytes, count_max: int) -> list[bytes]:
    """Take a CBOR sequence of COSE_Sign1 apart; what is inside each is the node's to check."""
    found: list[bytes] = []
    try:
        for transaction in _transactions(body):
            found.append(transaction)
            if len(found) > count_max:
                raise Problem(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    "body-too-large",
                    f"at most {count_max} transactions are allowed in one sequence",
                )
    except WireError as error:
        detail = f"transaction {len(found)} of the sequence: {error}"
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed", detail) from None
    return found


def _transactions(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        end = _end(body, at)
        if end - at > TX_BYTES_MAX:
            raise WireError(f"it has more than {TX_BYTES_MAX} bytes")
        yield body[at:end]
        at = end


def _end(body: bytes, start: int) -> int:
    """Return where the COSE_Sign1 that begins at ``start`` ends."""
    if body[start : start + len(_START)] != _START:
        raise WireError(f"no COSE_Sign1 begins at byte {start}")
    at = start + len(_START)
    for _ in range(_ITEMS):
        if at >= len(body):
            raise WireError(f"it is cut off at byte {at}")
        first = body[at]
        if first == _MAP_EMPTY:
            at += 1
            continue
        length, width = first & 31, 0
        if first >> 5 != _BYTE_STRING or length not in (*range(_LENGTH_IN_HEAD), *_WIDTHS):
            raise WireError(f"a byte string or an empty map is due at byte {at}")
        if length >= _LENGTH_IN_HEAD:
            width = _WIDTHS[length]
            length = int.from_bytes(body[at + 1 : at + 1 + width], "big")
        at += 1 + width + length
    if at > len(body):
        raise WireError(f"it is cut off at byte {len(body)}")
    return at
