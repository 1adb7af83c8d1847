"""GET and PUT /v1/blobs/{digest}: streamed, bounded, taken only when somebody names the blob (BL-9)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import BinaryIO, Final, Literal

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from master.api.access import permit_blob
from master.api.call import Call, answer
from master.api.context import Context
from master.api.parameters import HexDigest, Parameter
from master.api.ports import BlobRefusedError, Upload
from master.api.problems import Problem, not_found
from master.views.schema import Schema, hexadecimal, integer, record
from wire.blob import BLOB_BYTES_MAX

MEDIA_TYPE: Final = "application/octet-stream"
READ_BYTES: Final = 256 * 1024
PACE_BYTES: Final = 64 * 1024
"""So many must come within ``stall_s``, or the rest: whoever brings a blob byte by byte keeps others from theirs."""
_LATER: Final = {"retry-after": "1"}
DIGEST: Final = Parameter("digest", "SHA-256 of the blob, hex.", HexDigest(), place="path")
SCHEMA: Final[Schema] = record(
    {"digest": hexadecimal("SHA-256 of the blob.", 32), "size": integer("Bytes.", 1, BLOB_BYTES_MAX)}
)


async def get(call: Call) -> Response:
    """Answer with a blob's bytes."""
    context, digest = call.context, call.arguments.need(DIGEST)
    size = context.blobs.size_of(digest)
    if size is None:
        raise not_found(f"blob {digest.hex()} at this node")
    headers = {"content-length": str(size), "etag": f'"{digest.hex()}"'}
    _check_room(context)
    await permit_blob(call, digest)
    if call.request.method == "HEAD":
        return Response(headers=headers, media_type=MEDIA_TYPE)
    try:
        file = await context.blocking(lambda: context.blobs.open(digest))
    except BlobRefusedError as error:
        raise _problem(error) from error
    return BlobResponse(context, file, headers)


async def put(call: Call) -> Response:
    """Take a blob's bytes."""
    context, digest = call.context, call.arguments.need(DIGEST)
    size = context.blobs.size_of(digest)
    if size is not None:
        return answer({"digest": digest.hex(), "size": size})
    size = context.blobs.expected(digest)
    declared = call.request.headers.get("content-length", "")
    if size is not None and declared.isdecimal() and int(declared[:20]) > size:
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", f"the blob has {size} bytes")
    body = _Body(call.request, context.limits.stall_s)
    # who has brought nothing takes no place from others; what nobody names is refused before it is read
    try:
        first = b"" if size is None else await _first(context, body)
    except _OverError:
        raise _displaced() from None
    size = context.blobs.size_of(digest)
    if size is not None:
        return answer({"digest": digest.hex(), "size": size})
    try:
        upload = context.blobs.begin(digest)
    except BlobRefusedError as error:
        raise _problem(error) from error
    status = HTTPStatus.CREATED
    try:
        await _receive(context, first, body, upload)
    except BlobRefusedError as error:
        raise _problem(error) from error
    except _OverError:
        if context.blobs.size_of(digest) is None:
            raise _displaced() from None
        status = HTTPStatus.OK
    finally:
        upload.done()
    return answer({"digest": digest.hex(), "size": context.blobs.size_of(digest)}, status)


async def _first(context: Context, body: _Body) -> bytes:
    """Return a body's first piece; where too many wait for theirs, the one that has waited longest ends.

    Raises:
        _OverError: This one is to end.
    """
    over: asyncio.Future[Literal[True]] = asyncio.get_running_loop().create_future()
    if len(context.uploads_coming) >= context.limits.bodies_max:
        context.uploads_coming.pop(0).set_result(True)
    context.uploads_coming.append(over)
    try:
        return await body.piece(over)
    finally:
        if over in context.uploads_coming:
            context.uploads_coming.remove(over)


async def _receive(context: Context, piece: bytes, body: _Body, upload: Upload) -> None:
    """Hand a body on in pieces, the first of which has come.

    Raises:
        _OverError: The upload is to end.
    """
    over = asyncio.ensure_future(upload.over.wait())
    try:
        while piece:
            await context.blocking(lambda data=piece: upload.write(data))  # type: ignore[misc]
            piece = await body.piece(over)
    finally:
        over.cancel()
    await context.blocking(upload.finish)


class _Body:
    """A request's body in pieces; a client that sends too slowly is cut off."""

    def __init__(self, request: Request, stall_s: float) -> None:
        self._parts = request.stream()
        self._stall_s = stall_s
        self._is_whole = False

    async def piece(self, over: asyncio.Future[Literal[True]]) -> bytes:
        """Return at least `PACE_BYTES`, or the rest; nothing behind the end.

        Raises:
            _OverError: ``over`` was first.
            Problem: Too slow, or it broke off.
        """
        waiting = bytearray()
        try:
            async with asyncio.timeout(self._stall_s):
                while not self._is_whole and len(waiting) < PACE_BYTES:
                    part = await self._part(over)
                    waiting += part or b""
                    self._is_whole = part is None
        except TimeoutError:
            detail = f"less than {PACE_BYTES} bytes came in {self._stall_s:g} s"
            raise Problem(HTTPStatus.REQUEST_TIMEOUT, "body-too-slow", detail) from None
        except ClientDisconnect:
            raise Problem(HTTPStatus.BAD_REQUEST, "malformed", "the body broke off") from None
        return bytes(waiting)

    async def _part(self, over: asyncio.Future[Literal[True]]) -> bytes | None:
        """Return the next part, None behind the last one.

        Raises:
            _OverError: ``over`` was first.
        """
        reading = asyncio.ensure_future(anext(self._parts, None))
        try:
            await asyncio.wait((reading, over), return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                raise _OverError
            return reading.result()
        finally:
            reading.cancel()


class _OverError(Exception):
    """An upload is to end."""


class BlobResponse(Response):
    """Sends a file piece by piece, until the client goes or stops reading.

    Args:
        context: The API's context.
        file: Is closed in the end.
        headers: With the length.
    """

    def __init__(self, context: Context, file: BinaryIO, headers: dict[str, str]) -> None:
        super().__init__(headers=headers, media_type=MEDIA_TYPE)
        self.raw_headers = [pair for pair in self.raw_headers if pair != (b"content-length", b"0")]
        self._context, self._file = context, file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client."""
        del scope, receive
        context = self._context
        with self._file, _counted(context):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while data := await context.blocking(lambda: self._file.read(READ_BYTES)):
                async with asyncio.timeout(context.limits.stall_s):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class NoBlobs:
    """A node without blobs; implements `BlobPort`."""

    def size_of(self, digest: bytes) -> int | None:
        """There is none."""
        del digest
        return None

    def expected(self, digest: bytes) -> int | None:
        """Nobody names one."""
        del digest
        return None

    def begin(self, digest: bytes) -> Upload:
        """Refuse."""
        raise BlobRefusedError(HTTPStatus.NOT_FOUND, "blob-not-named", f"nobody names blob {digest.hex()}")

    def open(self, digest: bytes) -> BinaryIO:
        """Refuse."""
        raise BlobRefusedError(HTTPStatus.NOT_FOUND, "not-found", f"there is no blob {digest.hex()}")


def _displaced() -> Problem:
    detail = "an upload that came faster took the place of this one"
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "busy", detail, _LATER)


@contextmanager
def _counted(context: Context) -> Iterator[None]:
    context.blobs_open += 1
    try:
        yield
    finally:
        context.blobs_open -= 1


def _check_room(context: Context) -> None:
    if context.blobs_open >= context.limits.blobs_max:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "busy",
            f"{context.limits.blobs_max} blobs are being sent, as many as this node allows",
            _LATER,
        )


def _problem(error: BlobRefusedError) -> Problem:
    return Problem(
        error.status, error.code, f"{error}", _LATER if error.status == HTTPStatus.TOO_MANY_REQUESTS else None
    )
