"""What a full node changes about the process that it runs in."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Final

import uvicorn

_COLLECT_AFTER: Final = (50_000, 20, 20)
"""New objects, and young and middle collections, before the cycles among them are looked for."""


class Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the process has one place that stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def collect_rarely() -> None:
    """Keep the collector of cycles out of the way of blocks, which make thousands of objects and few cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
