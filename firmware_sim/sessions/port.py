"""A listening port whose every connection is a talk of its own. May touch the network."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod


class SessionPort(ABC):
    """Listens, and ends its talks when it stops."""

    def __init__(self) -> None:
        """Prepare it; nothing listens yet."""
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen and return the address and port that are bound.

        Raises:
            OSError: The address cannot be bound.
        """
        self._server = await asyncio.start_server(self._run, host, port)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    @abstractmethod
    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk until one side ends, and close the connection."""

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            await self._talk(reader, writer)
        except asyncio.CancelledError:
            pass  # the program ends; the talk has closed what it had
        finally:
            self._talks.discard(task)
