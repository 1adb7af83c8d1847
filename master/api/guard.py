"""The outermost layer: bounds on every request, counts of every answer, no error left uncaught."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from master.api.connection import HEAD_BYTES_MAX
from master.api.context import Context
from master.api.problems import Problem
from master.views.ports import TablesError

ROUTE: Final = "gridwitness.route"
"""Key of the scope under which a handler leaves its route's path."""
STREAM: Final = "gridwitness.stream"
"""Key of the scope that is set once an answer is an event stream."""
GRANT: Final = "gridwitness.grant"
"""Key of the scope under which a handler leaves what permits a restricted read."""
PUBLIC: Final = "public"
_ERRORS: Final = 400
_FIELD_BYTES: Final = 4
"""Of a header field beside its name and value."""
_UNKNOWN: Final = "none"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LOG: Final = structlog.get_logger("gridwitness.api")


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: What is guarded.
        context: The API's context.
    """

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        started = time.monotonic()
        self._in_flight += 1
        self._context.metrics.in_flight.set(self._in_flight)
        try:
            await self._serve(scope, receive, answer)
        finally:
            self._in_flight -= 1
            self._context.metrics.in_flight.set(self._in_flight)
            self._count(scope, answer.status, time.monotonic() - started)

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        problem = self._refusal(scope)
        try:
            if problem is None:
                await self._app(scope, receive, answer)
        except TablesError as error:
            _LOG.warning("query tables failed", error=str(error))
            problem = Problem(HTTPStatus.SERVICE_UNAVAILABLE, "query-tables", str(error))
        except Exception:  # noqa: BLE001 - whatever it is, the client gets a problem and the log the rest
            _LOG.exception("request failed", path=scope["path"])
            detail = "the node made a mistake; its log says which"
            problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail)
        if problem is not None and answer.status == 0:
            await problem.response()(scope, receive, answer)

    def _refusal(self, scope: Scope) -> Problem | None:
        limits = self._context.limits
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > limits.target_bytes_max:
            detail = f"path and query may have {limits.target_bytes_max} bytes"
            return Problem(HTTPStatus.REQUEST_URI_TOO_LONG, "uri-too-long", detail)
        if sum(len(name) + len(value) + _FIELD_BYTES for name, value in scope["headers"]) > HEAD_BYTES_MAX:
            detail = f"request line and header fields may have {HEAD_BYTES_MAX} bytes"
            return Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail)
        if self._in_flight - self._context.streams > limits.requests_max:
            detail = f"{limits.requests_max} requests are being served"
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", detail, {"retry-after": "1"})
        return None

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get(ROUTE, _UNKNOWN)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        metrics = self._context.metrics
        metrics.requests.labels(route, method, str(status)).inc()
        if STREAM not in scope:
            metrics.seconds.labels(route).observe(seconds)


class _Answer:
    """The way out: remembers the status and adds the headers that every answer has."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            if self.status < _ERRORS:
                headers.append((b"gridwitness-grant", str(self._scope.get(GRANT, PUBLIC)).encode("ascii")))
            message = {**message, "headers": headers}
        await self._send(message)
