"""One connection of the API's server: bounds on what comes before a request is whole, and problems for answers.

Everything behind a whole head is the application's and bounded there (`guard`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from master.api.problems import MEDIA_TYPE, Problem

HEAD_BYTES_MAX: Final = 32 * 1024
"""Request line and header fields; what one read of the socket brings comes on top."""
CONNECTIONS_MAX: Final = 512
"""Connections that are open at once."""
HEAD_WAIT_S: Final = 30.0
"""Longest time for which a connection may be open, or open again after an answer, without a whole head of a request."""
_HEAD: Final = (
    b"content-type: %b\r\ncontent-length: %d\r\nx-content-type-options: nosniff\r\n"
    b"cache-control: no-store\r\nconnection: close\r\n\r\n"
)


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol, with bounds.

    Args:
        config: Of the server.
        server_state: What the server's connections share.
        app_state: Of the application.
        _loop: The event loop.
    """

    count: ClassVar[Callable[[str], None]]
    """Called with the reason for which a connection was ended."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._since = 0.0
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, if need be in the place of the one that has waited longest for a request."""
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > CONNECTIONS_MAX and not self._take_place():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "busy", f"{CONNECTIONS_MAX} connections are open")
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; a head that is too long ends the connection before it is whole."""
        began = self._in_head
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data) if began else 0
        if self._head_bytes > HEAD_BYTES_MAX:
            detail = f"request line and header fields may have {HEAD_BYTES_MAX} bytes"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        del msg
        self._refuse(HTTPStatus.BAD_REQUEST, "malformed-request", "what was sent is no request of HTTP/1.1")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Hand a request with a whole head to the application."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._wait()

    # ---- waiting ------------------------------------------------------------------------------

    def _wait(self) -> None:
        self._stop_waiting()
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(HEAD_WAIT_S, self._waited)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _waited(self) -> None:
        self._end(HTTPStatus.REQUEST_TIMEOUT, "head-too-slow", f"no request was whole after {HEAD_WAIT_S:g} s")

    def _take_place(self) -> bool:
        """End the connection that has waited longest; say whether there was one."""
        others = cast("set[Connection]", self.connections)
        waiting = [other for other in others if other._deadline is not None]  # noqa: SLF001 of this class
        if not waiting:
            return False
        oldest = min(waiting, key=lambda other: other._since)  # noqa: SLF001 of this class
        oldest._end(HTTPStatus.SERVICE_UNAVAILABLE, "displaced", "a newer connection needed the place")  # noqa: SLF001
        return True

    def _end(self, status: HTTPStatus, code: str, detail: str) -> None:
        """End a connection whose request is not whole; whoever has sent nothing of one is told nothing."""
        if self._in_head:
            self._refuse(status, code, detail)
            return
        self._stop_waiting()
        type(self).count(code)
        self.transport.close()

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer with a problem, of a request that no route will see, and end the connection."""
        self._stop_waiting()
        type(self).count(code)
        if self.cycle is None or self.cycle.response_complete:
            body = bytes(Problem(status, code, detail).response().body)
            self.transport.write(STATUS_LINE[status] + _HEAD % (MEDIA_TYPE.encode("ascii"), len(body)) + body)
        self.transport.close()
