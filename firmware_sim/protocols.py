"""Which protocols the simulator serves: one line each.

A new protocol is a folder ``firmware_sim/NAME`` with a server, one line in ``PROTOCOLS``, one field for its options in
``firmware_sim.scenario.DeviceTable``, and its name in the lines of ``firmware_sim.faults.CATALOGUE`` that it knows.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from firmware_sim.device import Device
from firmware_sim.faults import IEC104, MMS, MODBUS
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.server import Iec104Server
from firmware_sim.mms.ied import MmsOptions
from firmware_sim.mms.server import MmsServer
from firmware_sim.modbus.server import ModbusServer
from firmware_sim.modbus.unit import ModbusOptions, Unit


class Server(Protocol):
    """One listening port; it closes connections and reports changes by itself, see ``Device.listen``."""

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen and return the address and port that are bound; port 0 takes a free one.

        Raises:
            OSError: The address cannot be bound.
        """

    async def stop(self) -> None:
        """Stop listening and close what is open."""


class Member(NamedTuple):
    """A device behind a port, with the options of its protocol from the scenario."""

    device: Device
    options: Any


@dataclass(frozen=True, slots=True)
class ProtocolEntry:
    """How a protocol is served.

    Attributes:
        open: Make the server of one port; nothing listens yet. The context is None without TLS.
        options: Frozen dataclass with the device's table ``[device.NAME]``, every field with a default.
        shared: Whether several devices may stand behind one port.
    """

    open: Callable[[Sequence[Member], ssl.SSLContext | None], Server]
    options: type
    shared: bool


def _open_modbus(members: Sequence[Member], tls: ssl.SSLContext | None) -> Server:
    return ModbusServer(*(Unit(member.device, member.options) for member in members), tls=tls)


def _open_mms(members: Sequence[Member], tls: ssl.SSLContext | None) -> Server:
    (member,) = members
    return MmsServer(member.device, member.options, tls)


def _open_iec104(members: Sequence[Member], tls: ssl.SSLContext | None) -> Server:
    (member,) = members
    return Iec104Server(member.device, member.options, tls)


PROTOCOLS: Final[dict[str, ProtocolEntry]] = {
    MODBUS: ProtocolEntry(_open_modbus, ModbusOptions, shared=True),
    IEC104: ProtocolEntry(_open_iec104, Iec104Options, shared=False),
    MMS: ProtocolEntry(_open_mms, MmsOptions, shared=False),
}
