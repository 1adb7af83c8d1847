"""GET /v1/events: server-sent events from a place in the ledger on, for as long as one listens."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from master.api.call import Call
from master.api.context import Context
from master.api.feed import event_id
from master.api.parameters import EventId, Parameter
from master.api.past import demand
from master.api.problems import Problem
from master.views.ports import END, Position

LAST_EVENT_ID: Final = Parameter("last-event-id", "Place of the last event that was seen.", EventId(), place="header")
AFTER: Final = Parameter("after", "The same, for clients that cannot set the header; the header wins.", EventId())
_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
_RETRY: Final = b"retry: 1000\n"
_HEARTBEAT: Final = b": still here\n\n"


async def events(call: Call) -> Response:
    """Answer with the events behind the given place, or with those from now on."""
    context = call.context
    if context.feed.notifier.closed:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unready", "the node stops")
    place = call.arguments.get(LAST_EVENT_ID) or call.arguments.get(AFTER)
    if place is None:
        place = Position(context.node.head_height(), END)
    demand(context, place.before_next()[0])
    if call.request.method == "HEAD":
        return Response(headers=_HEADERS)
    if context.streams >= context.limits.streams_max:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "busy",
            f"{context.limits.streams_max} event streams are open, as many as this node allows",
            {"retry-after": "10"},
        )
    return EventStream(context, place)


class EventStream(Response):
    """Sends frames until the client goes, stops reading, or the node stops.

    Args:
        context: The API's context.
        after: Place behind which events are sent.
    """

    def __init__(self, context: Context, after: Position) -> None:
        super().__init__(headers=_HEADERS)
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self._context = context
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client."""
        del scope
        context = self._context
        context.streams += 1
        context.metrics.streams.inc()
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            pump = asyncio.create_task(self._pump(send))
            gone = asyncio.create_task(_disconnected(receive))
            try:
                await asyncio.wait((pump, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                pump.cancel()
                results = await asyncio.gather(pump, gone, return_exceptions=True)
            self._close(results[0])
        finally:
            context.streams -= 1
            context.metrics.streams.dec()

    def _close(self, result: object) -> None:
        if isinstance(result, TimeoutError):
            self._context.metrics.stalled.inc()
        elif isinstance(result, Exception):
            raise result

    async def _pump(self, send: Send) -> None:
        feed, limits, after = self._context.feed, self._context.limits, self._after
        # an id without data sets the client's Last-Event-ID and dispatches nothing
        await self._send(send, _RETRY + f"id: {event_id(after)}\n\n".encode("ascii"))
        while not feed.notifier.closed:
            generation = feed.notifier.generation
            frames = await feed.page(after)
            if frames:
                await self._send(send, b"".join(entry.text for entry in frames))
                after = frames[-1].at
            elif not await feed.notifier.wait(generation, limits.heartbeat_s):
                await self._send(send, _HEARTBEAT)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(self._context.limits.stall_s):
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
