"""One simulated device: identity, artefacts, setting groups, measurements, clock and faults.

May live here: the state of one device, and what it would say of itself in any protocol; nothing that opens a socket
or knows a frame. Time comes in through ``clock_ms``. How a protocol shows all this stands in its own folder.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from firmware_sim.contents import FIRMWARE, Contents
from firmware_sim.faults import (
    CHANGING_FILE,
    LYING_CHECKSUM,
    MODBUS,
    OFFLINE,
    SINGLE_CONNECTION,
    WRONG_CLOCK,
    WRONG_IDENTITY,
    Fault,
)
from firmware_sim.measurements import measurement_values

TEXT_BYTES_MAX = 64
"""Longest identity text; every protocol can carry it in one answer."""
CONNECTIONS_MAX = 16
"""Connections that a device keeps open; one more is closed at once."""
REVISION_COUNTER_MAX = 2**32 - 1

DOWN = "down"
CHANGED = "changed"
"""What listeners are told: all connections are gone; files, settings, identity or clock may be others."""

_MARK = "#"


class IdentityError(ValueError):
    """An identity text cannot be put into an identification object."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the device says it is.

    Attributes:
        vendor: Name of the manufacturer.
        product: Order code.
        product_name: What it is called.
        model: Model designation.
        serial: Serial number.

    All are 1..64 printable ASCII characters. The revision is the version of
    the firmware that is loaded.
    """

    vendor: str
    product: str
    product_name: str
    model: str
    serial: str

    def __post_init__(self) -> None:
        """Check the texts.

        Raises:
            IdentityError: A text is empty, too long or not printable ASCII.
        """
        for name in ("vendor", "product", "product_name", "model", "serial"):
            text = getattr(self, name)
            if not 1 <= len(text) <= TEXT_BYTES_MAX or not (text.isascii() and text.isprintable()):
                raise IdentityError(f"{name} {text!r} is not 1..{TEXT_BYTES_MAX} printable ASCII characters")


@dataclass(slots=True)
class Counters:
    """What the line saw since the start.

    Attributes:
        requests: Requests that were taken from the line.
        exceptions: Exception answers among the answers.
        framing_errors: Connections closed for bytes that are no frame of the protocol.
        connections: Connections accepted.
        refused: Connections closed because too many were open, or the device is away.
        restarts: Restarts of the device.
    """

    requests: int = 0
    exceptions: int = 0
    framing_errors: int = 0
    connections: int = 0
    refused: int = 0
    restarts: int = 0


@dataclass(slots=True)
class Device:
    """A device and its present state.

    Attributes:
        name: Identifier of the device in the scenario.
        identity: Never changed by tampering; ``shown_identity`` is what the line sees.
        baseline: The contents as the scenario loaded them.
        clock_ms: Gives true milliseconds since 1970; drives the measurements.
        unit_id: 0..255, its address on its line.
        protocol: A key of ``firmware_sim.protocols.PROTOCOLS``.
        contents: What is read now.
        fault: The fault in force.
        hits_left: Requests that the fault still hits, None without an end.
        revision_counter: Goes up by one whenever the device itself takes other files, settings or another group.
        counters: See ``Counters``.
    """

    name: str
    identity: Identity
    baseline: Contents
    clock_ms: Callable[[], int]
    unit_id: int = 1
    protocol: str = MODBUS
    contents: Contents = field(init=False)
    fault: Fault | None = field(init=False, default=None)
    hits_left: int | None = field(init=False, default=None)
    revision_counter: int = field(init=False, default=1)
    counters: Counters = field(init=False, default_factory=Counters)
    _down_until_ms: int = field(init=False, default=0)
    _reads: int = field(init=False, default=0)
    _listeners: list[Callable[[str], None]] = field(init=False, default_factory=list, repr=False)

    def __post_init__(self) -> None:
        """Start with the baseline."""
        self.contents = self.baseline

    # --- what every protocol shows ------------------------------------------------------------------------------

    @property
    def revision(self) -> str:
        """Version of the loaded firmware, ``none`` without one."""
        firmware = self.contents.artefacts.get(FIRMWARE)
        return "none" if firmware is None else firmware.version

    @property
    def shown_identity(self) -> Identity:
        """The identity that the line sees."""
        if not self._suffers(WRONG_IDENTITY):
            return self.identity
        return replace(self.identity, serial=_MARK + self.identity.serial[: TEXT_BYTES_MAX - 1])

    @property
    def connections_max(self) -> int:
        """Connections that it takes at present."""
        return 1 if self._suffers(SINGLE_CONNECTION) else CONNECTIONS_MAX

    @property
    def reachable(self) -> bool:
        """Whether it takes connections at all: false while it restarts or is offline."""
        return not self._suffers(OFFLINE) and self.clock_ms() >= self._down_until_ms

    @property
    def clock_offset_ms(self) -> int:
        """How far the device's own clock is ahead of the true time."""
        return self.fault.offset_ms if self.fault is not None and self.fault.kind == WRONG_CLOCK else 0

    def now_ms(self) -> int:
        """Read the device's own clock, which may be wrong."""
        return self.clock_ms() + self.clock_offset_ms

    def measurements(self) -> tuple[int, ...]:
        """Give the present value of each of ``MEASUREMENTS``, signed 16 bits."""
        return measurement_values(zlib.crc32(self.name.encode()), self.clock_ms())

    def read_file(self, kind: str, offset: int, size: int) -> bytes:
        """Read a part of a file.

        Args:
            kind: One that ``contents`` holds.
            offset: First byte, 0 or more.
            size: Bytes wanted; fewer come at the end of the file.
        """
        part = self.contents.artefacts[kind].content[offset : offset + size]
        if part and self._suffers(CHANGING_FILE):
            self._reads += 1
            return bytes((part[0] ^ (1 + self._reads % 255),)) + part[1:]
        return part

    def checksum(self, kind: str) -> int:
        """Give the CRC-32 of a file as the device reports it, which need not be true."""
        held = self.baseline if self._suffers(LYING_CHECKSUM) else self.contents
        return held.artefacts.get(kind, self.contents.artefacts[kind]).crc32

    # --- what happens to it -------------------------------------------------------------------------------------

    def load(self, contents: Contents, *, noticed: bool = True) -> None:
        """Put other contents in place, all at once.

        Args:
            contents: What is read from now on.
            noticed: The device itself took them over, so that its revision counter goes up.
        """
        self.contents = contents
        if noticed:
            self.revision_counter = self.revision_counter % REVISION_COUNTER_MAX + 1
        self._tell(CHANGED)

    def restart(self, down_ms: int) -> None:
        """Drop every connection and take none for ``down_ms``; files and counters stay."""
        self.counters.restarts += 1
        self._down_until_ms = self.clock_ms() + down_ms
        self._tell(DOWN)

    def set_fault(self, fault: Fault | None) -> None:
        """Set a fault in place of the one in force, or clear it."""
        self.fault = fault
        self.hits_left = None if fault is None else fault.requests
        drops = fault is not None and fault.kind in {OFFLINE, SINGLE_CONNECTION}
        self._tell(DOWN if drops else CHANGED)

    def hit(self, function: int = 0) -> Fault | None:
        """Return the fault that hits a request with this function code or type, and count it."""
        fault = self.fault
        if fault is None or (fault.functions and function not in fault.functions):
            return None
        if self.hits_left is not None:
            self.hits_left -= 1
            if self.hits_left == 0:
                self.set_fault(None)
        return fault

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have ``listener`` told of ``DOWN`` and ``CHANGED`` from now on; servers close connections or report."""
        self._listeners.append(listener)

    def _tell(self, what: str) -> None:
        for listener in self._listeners:
            listener(what)

    def _suffers(self, kind: str) -> bool:
        return self.fault is not None and self.fault.kind == kind
