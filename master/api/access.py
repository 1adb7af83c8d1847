"""Reads of restricted data: signed (RFC 9421), permitted by the ledger, logged before they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from master.api.call import Call
from master.api.guard import GRANT
from master.api.problems import Problem, not_found
from master.api.signed import AccessError, BlobLabel, Reading
from wire.errors import SignatureError
from wire.grants import PUBLIC
from wire.httpsig import SIGNATURE_INPUT, SKEW_S, Message, Presented, StaleSignatureError, check_request, read_signature
from wire.types import Digest

_ITEM_CHARACTERS_MAX: Final = 256
_MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class _Signer:
    """Who signed a request."""

    account: str
    kid: bytes
    path: str
    """Of the request, as it was sent."""


async def permit_blob(call: Call, digest: Digest) -> None:
    """Return when whoever asks may read a blob: everybody may, but of a restricted one its readers alone.

    What restricts a blob is the ledger, not what is in it. One that only waits for its block nobody reads here.

    Args:
        call: The request.
        digest: Of the blob.

    Raises:
        Problem: 401, 403, 404, 429 or 503.
    """
    label = await call.context.blocking(lambda: call.context.access.label(digest))
    if label is None:
        raise not_found(f"blob {digest.hex()} that a block names")
    if label.data_class != PUBLIC:
        await _admit(call, await _authenticate(call), label)


async def _authenticate(call: Call) -> _Signer:
    """Return who signed the request.

    Raises:
        Problem: 401 without a good signature, 429 for too many signatures at once, 503 when none can be for this node.
    """
    context, request = call.context, call.request
    if not context.access.tags:
        detail = "this node knows no address that signatures could name: its operator sets names under [api]"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no-name", detail)
    presented = _presented(call)
    known = await context.blocking(lambda: context.access.account_key(presented.kid))
    if known is None:
        raise _unsigned(call, "unknown-key", f"no account has the key {presented.kid.hex()}")
    path = request.scope["raw_path"].decode("ascii", errors="replace")
    message = Message(request.method, path, request.scope["query_string"].decode("ascii", errors="replace"))
    now_ms = context.node.now_ms()
    try:
        check_request(presented, message, known.key, context.access.tags, now_ms)
    except StaleSignatureError as error:
        raise _unsigned(call, "stale-signature", str(error)) from error
    except (SignatureError, UnicodeEncodeError) as error:
        raise _unsigned(call, "bad-signature", str(error)) from error
    until_ms = (presented.expires_s + SKEW_S + 1) * _MS_PER_S
    is_new = context.nonces.take(known, presented.kid, presented.nonce, until_ms, now_ms)
    if is_new is None:
        detail = f"too many signatures of {known.organisation} are remembered that have not ended; let yours end sooner"
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "busy", detail, {"retry-after": "10"})
    if not is_new:
        raise _unsigned(call, "replayed", f"the nonce {presented.nonce} of this key was used before; sign anew")
    return _Signer(known.sender, presented.kid, path)


async def _admit(call: Call, signer: _Signer, label: BlobLabel) -> None:
    """Return when the signer may read a blob, and that is logged; Gridwitness-Grant then says why.

    Raises:
        Problem: 403 without a permission, 503 when the read cannot be logged.
    """
    context, item = call.context, signer.path[:_ITEM_CHARACTERS_MAX]
    reading = Reading(signer.account, signer.kid, label.data_class, label.subject, label.content, item)
    try:
        grant = await context.blocking(lambda: context.access.admit(reading))
    except AccessError as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "read-log", str(error)) from error
    if grant is None:
        what = f"{label.data_class} of {label.subject}"
        detail = f"{signer.account} may not read {what}; its owner can grant it: gridwitness access grant"
        raise Problem(HTTPStatus.FORBIDDEN, "no-grant", detail)
    call.request.scope[GRANT] = grant


def _presented(call: Call) -> Presented:
    headers = call.request.headers
    if SIGNATURE_INPUT not in headers:
        raise _unsigned(
            call, "signature-required", "what is here is restricted: sign the request with an account's key"
        )
    try:
        return read_signature({name: ", ".join(headers.getlist(name)) for name in headers})
    except SignatureError as error:
        raise _unsigned(call, "bad-signature", str(error)) from error


def _unsigned(call: Call, code: str, detail: str) -> Problem:
    tag = call.context.access.tags[0]
    wanted = f'gridwitness=("@method" "@path" "@query");created;expires;nonce;keyid;alg="ed25519";tag="{tag}"'
    headers = {"accept-signature": wanted, "www-authenticate": f'Signature realm="{tag}"'}
    return Problem(HTTPStatus.UNAUTHORIZED, code, detail, headers)
