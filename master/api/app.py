"""Builds the HTTP API of a full node as an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from master.api.blobs import NoBlobs
from master.api.call import Call
from master.api.connection import Connection
from master.api.context import Context, Limits
from master.api.feed import Feed, Notifier
from master.api.guard import ROUTE, STREAM, Guard
from master.api.metrics import Metrics
from master.api.openapi import describe
from master.api.parameters import Arguments
from master.api.ports import BlobPort, LedgerPort, NodePort, ProofPort, TablesPort
from master.api.problems import Problem, on_http_exception, on_problem
from master.api.routes import ROUTES, Route
from master.api.signed import AccessPort, NoAccess
from master.api.stream import EventStream
from master.ledger.rows import EventRow
from master.views.ports import Position

LIMITS: Final = Limits()


def build_api(
    node: NodePort,
    ledger: LedgerPort,
    proofs: ProofPort,
    tables: TablesPort,
    registry: CollectorRegistry,
    limits: Limits = LIMITS,
    *,
    blobs: BlobPort | None = None,
    access: AccessPort | None = None,
) -> Starlette:
    """Return the application.

    The app calls ``notifier(api).notify()`` on the event loop after each block that is in the
    ledger, and ``notifier(api).close()`` before it stops the server, so that event streams end.

    Args:
        node: The running node.
        ledger: Committed blocks, read in threads.
        proofs: Proofs of state and history, made in threads.
        tables: Rows of the views, read in threads.
        registry: Registry that /metrics shows; one API per registry.
        limits: Bounds.
        blobs: Beside the ledger; None: there are none.
        access: Who may read what is restricted; None: nobody.
    """
    threads = anyio.CapacityLimiter(limits.threads_max)

    async def read(after: Position, limit: int) -> Sequence[EventRow]:
        place = after.before_next()
        return await context.blocking(lambda: ledger.events(*place, limit))

    context = Context(
        node=node,
        ledger=ledger,
        proofs=proofs,
        tables=tables,
        blobs=blobs or NoBlobs(),
        access=access or NoAccess(),
        registry=registry,
        limits=limits,
        feed=Feed(read, node.head_height),
        metrics=Metrics(registry),
        threads=threads,
        document=describe(node.status()["version"]),
    )
    api = Starlette(
        routes=[
            Path(route.pattern or route.path, _endpoint(context, route), methods=[route.method], name=route.name)
            for route in ROUTES
        ],
        exception_handlers={Problem: on_problem, HTTPException: on_http_exception},
        middleware=[Middleware(Guard, context)],
    )
    api.router.redirect_slashes = False
    api.state.notifier = context.feed.notifier
    api.state.connection = type("CountedConnection", (Connection,), {"count": staticmethod(context.metrics.ended)})
    return api


def connection_class(api: Starlette) -> type[Connection]:
    """Return what serves one connection of an application of `build_api`."""
    found: type[Connection] = api.state.connection
    assert issubclass(found, Connection)
    return found


def notifier(api: Starlette) -> Notifier:
    """Return what wakes the event streams of an application of `build_api`."""
    found = api.state.notifier
    assert isinstance(found, Notifier)
    return found


def _endpoint(context: Context, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request.scope[ROUTE] = route.path
        response = await route.handler(Call(context, request, Arguments(request, route.parameters)))
        if isinstance(response, EventStream):
            request.scope[STREAM] = True
        return response

    return endpoint
