"""Which driver speaks which protocol. A new protocol is one new file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from agent.drivers import modbus
from agent.model import DeviceConfig, Reading
from kit.clock import Clock


class Counters(Protocol):
    """What a driver counts since the start of the program."""

    @property
    def requests(self) -> int:
        """Requests sent."""

    @property
    def bytes_read(self) -> int:
        """Bytes of file content taken."""

    @property
    def busy(self) -> int:
        """Busy answers."""

    @property
    def connections(self) -> int:
        """Connections made."""


class Driver(Protocol):
    """Reads one device; holds no keys and knows no broker."""

    @property
    def counters(self) -> Counters:
        """What it has asked so far."""

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        """Read the device, or only its files of some kinds.

        Raises:
            DeviceError: The read did not come to its end.
        """

    async def close(self) -> None:
        """Close what is open; a later read opens it again."""


@dataclass(frozen=True, slots=True)
class DriverEntry:
    """A protocol."""

    open: Callable[[DeviceConfig, Clock], Driver]
    profiles: frozenset[str]
    """Names that a device's ``profile`` may have."""


DRIVERS: Final[dict[str, DriverEntry]] = {
    "modbus": DriverEntry(modbus.ModbusDriver, frozenset(modbus.PROFILES)),
}
