"""What a full node changes about the process that it runs in."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette

from kit.config import HostPort
from master.api.app import connection_class

GRACE_S: Final = 5
"""Longest time for which requests may end after the server was told to."""
_COLLECT_AFTER: Final = (50_000, 20, 20)
"""New objects, and young and middle collections, before the cycles among them are looked for."""


class Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the process has one place that stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def http_server(api: Starlette, listen: HostPort) -> Server:
    """Return what serves an application of `build_api`."""
    return Server(
        uvicorn.Config(
            api,
            host=listen.host,
            port=listen.port,
            http=connection_class(api),
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
        )
    )


def collect_rarely() -> None:
    """Keep the collector of cycles out of the way of blocks, which make thousands of objects and few cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
