"""The links of a redundancy group: data transfer is on one of them, the other is held ready where the device bears it.

Source: IEC 60870-5-104:2006, 10.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final

from agent.drivers.iec104_link import Connection, Iec104Counters, LinkLimits
from agent.drivers.link import LinkError, dial
from kit.logs import get_logger

STANDBY_PAUSE_S: Final = 10.0
"""From one attempt to open the standby link to the next."""

_log = get_logger("agent.iec104")


@dataclass(slots=True)
class _End:
    """One link of the group."""

    host: str
    port: int
    connection: Connection | None = None
    ended_s: float | None = None
    """When its last connection ended, in the loop's time."""


class Group:
    """One or two links to one station."""

    def __init__(
        self,
        ends: tuple[tuple[str, int], ...],
        limits: LinkLimits,
        counters: Iec104Counters,
        *,
        context: ssl.SSLContext | None = None,
        server_name: str = "",
        connect_pause_ms: int = 0,
        has_standby: bool = False,
    ) -> None:
        """Prepare the group; nothing is connected yet.

        Args:
            ends: Hosts and ports, the one to begin with first.
            limits: How the device is treated.
            counters: Counts what is asked.
            context: Protects the connections; None without TLS.
            server_name: Name in the device's certificate, where it is not the host.
            connect_pause_ms: Shortest time from the end of a connection to the next one of the same link.
            has_standby: Whether the device bears a second connection while data transfer is on the first.
        """
        self._ends = [_End(host, port) for host, port in ends]
        self._limits = limits
        self._counters = counters
        self._context = context
        self._server_name = server_name
        self._connect_pause_s = connect_pause_ms / 1000
        self._has_standby = has_standby and len(ends) > 1
        self._active = 0
        self._is_shunned = False
        self._standby: asyncio.Task[None] | None = None
        self._standby_due_s = 0.0

    async def connected(self) -> Connection:
        """Return the connection with data transfer: that of before, else the standby link, else a new one.

        Raises:
            LinkError: None of the links can be had; with what was wrong with the last one.
        """
        connection = self._ends[self._active].connection
        if connection is None or not connection.is_started:
            connection = await self._start_one()
        self._keep_standby()
        return connection

    def drop_active(self) -> None:
        """Close the connection with data transfer, and begin with the other link next time."""
        self._drop(self._ends[self._active])
        self._is_shunned = True

    def close(self) -> None:
        """Close all connections."""
        if self._standby is not None:
            self._standby.cancel()
            self._standby = None
        for end in self._ends:
            self._drop(end)

    async def _start_one(self) -> Connection:
        """Begin data transfer on the first link that lets us, links that are open before others."""
        await self._end_standby()
        order = sorted(
            range(len(self._ends)),
            key=lambda number: (
                self._open(self._ends[number]) is None,
                (number == self._active) is self._is_shunned,
                number,
            ),
        )
        failure: LinkError | None = None
        for number in order:
            end = self._ends[number]
            try:
                connection = self._open(end) or await self._connect(end)
                await connection.start()
            except LinkError as error:
                failure = error
                self._drop(end)
                continue
            if number != self._active:
                self._counters.switches += 1
                _log.info("link_switched", host=end.host, port=end.port)
            self._active = number
            self._is_shunned = False
            return connection
        assert failure is not None, "a group has a link"
        raise failure

    def _open(self, end: _End) -> Connection | None:
        """Return the connection of a link if it is open."""
        connection = end.connection
        if connection is not None and not connection.is_open:
            self._drop(end)
            return None
        return connection

    async def _connect(self, end: _End) -> Connection:
        loop = asyncio.get_running_loop()
        if end.ended_s is not None:
            await asyncio.sleep(end.ended_s + self._connect_pause_s - loop.time())
        connection = await dial(
            lambda: Connection(self._limits, self._counters),
            end.host,
            end.port,
            self._limits.timeout_ms,
            self._context,
            self._server_name,
        )
        end.connection = connection
        return connection

    def _drop(self, end: _End) -> None:
        connection, end.connection = end.connection, None
        if connection is not None:
            connection.abort()
            end.ended_s = connection.ended_s

    def _keep_standby(self) -> None:
        """Open the other link beside the reads, where the device bears it; it is tested from then on."""
        if not self._has_standby or self._standby is not None:
            return
        now_s = asyncio.get_running_loop().time()
        others = [end for number, end in enumerate(self._ends) if number != self._active]
        if now_s >= self._standby_due_s and any(self._open(end) is None for end in others):
            self._standby_due_s = now_s + STANDBY_PAUSE_S
            self._standby = asyncio.create_task(self._open_standby(others))

    async def _open_standby(self, ends: list[_End]) -> None:
        for end in ends:
            try:
                await self._connect(end)
            except LinkError as error:
                _log.debug("standby_failed", host=end.host, port=end.port, detail=error.detail)
        self._standby = None

    async def _end_standby(self) -> None:
        """Let the attempt to open the standby link come to its end, which may be the link that is needed now."""
        if self._standby is not None:
            await asyncio.wait({self._standby})
