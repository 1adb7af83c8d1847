"""Errors as RFC 9457 problem details; nothing else ever leaves the API with a status of 400 and up."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from master.views.schema import Schema, integer, record, text

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:gridwitness:problem:"

TITLES: Final[Mapping[str, str]] = {
    "bad-parameter": "A parameter of the request is wrong",
    "blob-differs": "The bytes are not those of the blob",
    "blob-not-named": "Nobody asked for this blob",
    "blobs-full": "The node has no room for the blob",
    "bad-signature": "The signature is wrong",
    "body-too-large": "The body of the request is too large",
    "body-too-slow": "The body of the request did not arrive in time",
    "busy": "The node serves as many requests as it can",
    "displaced": "The node has no room for waiting connections",
    "head-too-large": "The request line and header fields are too large",
    "head-too-slow": "The request did not arrive in time",
    "height-not-kept": "The state of this height cannot be shown",
    "internal": "The node made a mistake",
    "malformed-request": "The request is no HTTP",
    "malformed": "The body of the request is malformed",
    "method-not-allowed": "The route does not know this method",
    "no-name": "The node cannot tell whether a signature is for it",
    "no-grant": "No grant lets this account read this",
    "not-found": "There is nothing here",
    "past-missing": "The node does not have this part of the ledger yet",
    "query-tables": "The query tables cannot be read just now",
    "read-log": "The node cannot log reads now",
    "replayed": "It was sent before",
    "signature-required": "This is read with a signed request alone",
    "stale-signature": "The request was signed at another time",
    "unknown-key": "No account has this key",
    "unready": "The node cannot serve now",
    "unsupported-media-type": "The body of the request is of an unknown type",
    "uri-too-long": "The address of the request is too long",
}
"""Our own codes; a refused transaction has the code of its refusal."""

SCHEMA: Final[Schema] = record(
    {
        "type": {"type": "string", "pattern": f"^{TYPE_PREFIX}[a-z0-9-]+$"},
        "title": text("What kind of problem."),
        "status": integer("HTTP status.", 400, 599),
        "detail": text("What was wrong with this request."),
    },
    "A problem, RFC 9457.",
)


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A request that gets a problem for an answer.

    Args:
        status: HTTP status, 400..599.
        code: A key of `TITLES`, or the code of a refused transaction.
        detail: One clear sentence about this request.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers

    def response(self) -> Response:
        """Return the answer."""
        return JSONResponse(
            {
                "type": TYPE_PREFIX + self.code,
                "title": TITLES.get(self.code, "The transaction was refused"),
                "status": self.status,
                "detail": self.detail,
            },
            status_code=self.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def bad_parameter(name: str, reason: str) -> Problem:
    """Return the problem of a parameter that is out of its range."""
    return Problem(HTTPStatus.BAD_REQUEST, "bad-parameter", f"{name}: {reason}")


def not_found(what: str) -> Problem:
    """Return the problem of a thing that does not exist."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", f"there is no {what}")


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer a request that raised a `Problem`."""
    del request
    assert isinstance(error, Problem)
    return error.response()


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the router itself refuses: an unknown path or method."""
    assert isinstance(error, HTTPException)
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        code, detail = "method-not-allowed", f"{request.url.path} does not know {request.method}"
        headers = {"allow": ", ".join(_methods(request))}
    elif error.status_code == HTTPStatus.NOT_FOUND:
        code, detail = "not-found", f"there is no route {request.url.path}"
    else:
        code, detail = "malformed", error.detail
    return Problem(error.status_code, code, detail, headers).response()


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes of a path; the router names those of the first one alone."""
    found = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in found for method in route.methods})
