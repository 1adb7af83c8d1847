"""Who may speak on a connection: several devices behind one address share it, each request has it alone.

A serial gateway holds many units behind one TCP port, bears few connections and mixes up what is asked at the same
time. So the devices of one address take turns: one request in flight, and of a long file only some records in a row.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from agent.drivers.link import LinkCounters, dial
from agent.drivers.modbus_link import FileTransfer, Link, LinkLimits
from agent.model import DeviceConfig, TlsFiles
from agent.profile import Pacing
from kit.tls import client_context

SLICE_REQUESTS: Final = 32
"""Records of a file that one device reads before another one may ask."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection leads. Units of one address share a connection, or as many as the device bears."""

    host: str
    port: int
    tls: TlsFiles | None
    number: int
    """Of the connections to this address, from 0."""


class Line:
    """One connection at most, and the turns on it.

    Args:
        address: Where it leads.
        connect_pause_ms: Shortest time from the end of one connection to the next.
        context: Protects the connection; None without TLS.
    """

    def __init__(self, address: Address, connect_pause_ms: int, context: ssl.SSLContext | None) -> None:
        self.link: Link | None = None
        self.devices = 0
        """Devices that share the line."""
        self._address = address
        self._connect_pause_s = connect_pause_ms / 1000
        self._context = context
        self._turn = asyncio.Lock()

    async def ask(self, limits: LinkLimits, counters: LinkCounters, pdu: bytes) -> bytes:
        """Wait for the turn, ask, and return the answer; see `Link.ask`.

        Raises:
            LinkError: No connection, no answer, or an odd one.
        """
        async with self._turn:
            link = await self._connected(limits, counters)
            return await link.ask(pdu)

    async def read_file(self, limits: LinkLimits, counters: LinkCounters, transfer: FileTransfer) -> None:
        """Ask for all that ``transfer`` wants; where devices share the line, in slices; see `Link.read_file`.

        Raises:
            LinkError: No connection, no answer, or an odd one.
        """
        slice_requests = SLICE_REQUESTS if self.devices > 1 else 0
        while transfer.wanted() is not None:
            async with self._turn:
                link = await self._connected(limits, counters)
                await link.read_file(transfer, slice_requests)

    def drop(self) -> None:
        """Close the connection, unless another device's request is on it."""
        if self.link is not None and not self._turn.locked():
            self.link.abort()

    async def _connected(self, limits: LinkLimits, counters: LinkCounters) -> Link:
        """Return the connection, ready to ask for one device; the caller has the turn."""
        link = self.link
        if link is None or not link.is_open:
            if link is not None:
                await asyncio.sleep(link.ended_s + self._connect_pause_s - asyncio.get_running_loop().time())
            address = self._address
            name = None if address.tls is None else address.tls.server_name
            link = await dial(
                lambda: Link(limits, counters), address.host, address.port, limits.timeout_ms, self._context, name
            )
            self.link = link
        link.serve(limits, counters)
        return link


_LINES: Final[WeakValueDictionary[Address, Line]] = WeakValueDictionary()
"""Lines in use; a line lives as long as a driver that speaks on it."""


def join_line(device: DeviceConfig, pacing: Pacing) -> Line:
    """Return the line of a device's address; the first device of an address decides how it is made.

    Raises:
        GridwitnessError: A certificate or key for TLS is missing, damaged or readable by others.
    """
    address = Address(device.host, device.port, device.tls, device.unit_id % pacing.connections)
    line = _LINES.get(address)
    if line is None:
        tls = device.tls
        context = None if tls is None else client_context(tls.ca, tls.certificate, tls.key)
        line = _LINES[address] = Line(address, pacing.connect_pause_ms, context)
    line.devices += 1
    return line
