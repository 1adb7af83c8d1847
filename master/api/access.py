"""Reads of restricted data: signed (RFC 9421), permitted by the ledger, logged before they are answered."""

from __future__ import annotations

from http import HTTPStatus
from typing import BinaryIO, Final

from master.api.call import Call
from master.api.guard import GRANT
from master.api.problems import Problem
from master.api.signed import AccessError, Reading
from wire.blob import BLOB_BYTES_MAX
from wire.errors import SignatureError, WireError
from wire.httpsig import SIGNATURE_INPUT, SKEW_S, Message, Presented, StaleSignatureError, check_request, read_signature
from wire.sealed import SealedFile, decode_sealed, is_sealed

_BEGINNING: Final = 64
_ITEM_CHARACTERS_MAX: Final = 256
_MS_PER_S: Final = 1000


async def permit_blob(call: Call, file: BinaryIO) -> None:
    """Return when whoever asks may read an open blob; everybody may, but of a sealed file its readers alone.

    Args:
        call: The request.
        file: Stands at its beginning, before and after.

    Raises:
        Problem: 401, 403, 429 or 503.
    """
    sealed = await call.context.blocking(lambda: _sealed(file))
    if sealed is not None:
        await permit(call, sealed.label.data_class, sealed.label.subject, sealed.content)


async def permit(call: Call, data_class: str, subject: str, content: bytes | None = None) -> None:
    """Return when the request may read a restricted class of a subject, and that is logged.

    The answer then names in Gridwitness-Grant what permits it.

    Args:
        call: The request, of a method without a body.
        data_class: One of `wire.grants.RESTRICTED`.
        subject: See `wire.grants.split_subject`.
        content: Digest of a sealed content.

    Raises:
        Problem: 401 without a good signature, 403 without a permission, 429 for too many signatures at once, 503 when
            the read cannot be logged.
    """
    context, request = call.context, call.request
    presented = _presented(call)
    known = await context.blocking(lambda: context.access.account_key(presented.kid))
    if known is None:
        raise _unsigned(call, "unknown-key", f"no account has the key {presented.kid.hex()}")
    account, public_key = known
    path = request.scope["raw_path"].decode("ascii", errors="replace")
    message = Message(request.method, path, request.scope["query_string"].decode("ascii", errors="replace"))
    now_ms = context.node.now_ms()
    try:
        check_request(presented, message, public_key, context.access.tag, now_ms)
    except StaleSignatureError as error:
        raise _unsigned(call, "stale-signature", str(error)) from error
    except (SignatureError, UnicodeEncodeError) as error:
        raise _unsigned(call, "bad-signature", str(error)) from error
    is_new = context.nonces.take(presented.kid, presented.nonce, (presented.expires_s + SKEW_S + 1) * _MS_PER_S, now_ms)
    if is_new is None:
        detail = "too many signatures are remembered that have not ended; let yours end sooner"
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "busy", detail, {"retry-after": "10"})
    if not is_new:
        raise _unsigned(call, "replayed", f"the nonce {presented.nonce} of this key was used before; sign anew")
    reading = Reading(account, presented.kid, data_class, subject, content, path[:_ITEM_CHARACTERS_MAX])
    try:
        grant = await context.blocking(lambda: context.access.admit(reading))
    except AccessError as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "read-log", str(error)) from error
    if grant is None:
        detail = f"{account} may not read {data_class} of {subject}; its owner can grant it: gridwitness access grant"
        raise Problem(HTTPStatus.FORBIDDEN, "no-grant", detail)
    request.scope[GRANT] = grant


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
    tag = call.context.access.tag
    wanted = f'gridwitness=("@method" "@path" "@query");created;expires;nonce;keyid;alg="ed25519";tag="{tag}"'
    headers = {"accept-signature": wanted, "www-authenticate": f'Signature realm="{tag}"'}
    return Problem(HTTPStatus.UNAUTHORIZED, code, detail, headers)


def _sealed(file: BinaryIO) -> SealedFile | None:
    """Return what a blob is when it is a sealed file."""
    beginning = file.read(_BEGINNING)
    try:
        return decode_sealed(beginning + file.read(BLOB_BYTES_MAX)) if is_sealed(beginning) else None
    except WireError:
        return None
    finally:
        file.seek(0)
