"""One simulated device: identity, measurements, contents, faults.

May live here: the state of one device and nothing that opens a socket. Time
comes in through ``clock_ms``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from firmware_sim.contents import FIRMWARE, Contents
from firmware_sim.measurements import MEASUREMENTS, measurement_registers
from firmware_sim.modbus.faults import Fault
from firmware_sim.modbus.identification import OBJECT_BYTES_MAX
from firmware_sim.modbus.pdu import REGISTER_BYTES

DIRECTORY_ADDRESS = 100
TEXT_BYTES_MAX = 64
"""Longest identity text; one answer could carry 244 bytes."""

_VENDOR, _PRODUCT, _REVISION, _PRODUCT_NAME, _MODEL, _SERIAL = 0, 1, 2, 4, 5, 0x80


class IdentityError(ValueError):
    """An identity text cannot be put into an identification object."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the device says it is.

    Attributes:
        vendor: Object 0.
        product: Object 1, the order code.
        product_name: Object 4.
        model: Object 5.
        serial: Object 0x80.

    All are 1..64 printable ASCII characters. Object 2, the revision, is the
    version of the firmware that is loaded.
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

    def objects(self, revision: str) -> dict[int, bytes]:
        """Give the identification objects with ``revision`` as object 2."""
        texts = {
            _VENDOR: self.vendor,
            _PRODUCT: self.product,
            _REVISION: revision,
            _PRODUCT_NAME: self.product_name,
            _MODEL: self.model,
            _SERIAL: self.serial,
        }
        return {key: text.encode("ascii")[:OBJECT_BYTES_MAX] for key, text in texts.items()}


@dataclass(slots=True)
class Counters:
    """What the line saw since the start.

    Attributes:
        requests: Requests that were taken from the line.
        exceptions: Exception answers among the answers.
        framing_errors: Connections closed for bytes that are no Modbus TCP.
        connections: Connections accepted.
        refused: Connections closed because too many were open, or the device is offline.
    """

    requests: int = 0
    exceptions: int = 0
    framing_errors: int = 0
    connections: int = 0
    refused: int = 0


@dataclass(slots=True)
class Device:
    """A device and its present state.

    Attributes:
        name: Identifier of the device in the scenario.
        identity: Never changed by tampering.
        baseline: The contents as the scenario loaded them.
        clock_ms: Gives milliseconds; drives the measurements.
        unit_id: 0..255, the only unit that answers.
        contents: What is read now.
        fault: The fault in force.
        hits_left: Requests that the fault still hits, None without an end.
        counters: See ``Counters``.
    """

    name: str
    identity: Identity
    baseline: Contents
    clock_ms: Callable[[], int]
    unit_id: int = 1
    contents: Contents = field(init=False)
    fault: Fault | None = field(init=False, default=None)
    hits_left: int | None = field(init=False, default=None)
    counters: Counters = field(init=False, default_factory=Counters)
    _files: Mapping[int, bytes] = field(init=False, repr=False)
    _identification: Mapping[int, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start with the baseline."""
        self.load(self.baseline)

    @property
    def files(self) -> Mapping[int, bytes]:
        """Content by Modbus file number."""
        return self._files

    @property
    def holding(self) -> bytes:
        """Setting values from address 0."""
        return self.contents.holding

    @property
    def identification(self) -> Mapping[int, bytes]:
        """Identification objects by object id."""
        return self._identification

    @property
    def revision(self) -> str:
        """Version of the loaded firmware, ``none`` without one."""
        firmware = self.contents.artefacts.get(FIRMWARE)
        return "none" if firmware is None else firmware.version

    def load(self, contents: Contents) -> None:
        """Put other contents in place, all at once."""
        self.contents = contents
        self._files = contents.files
        self._identification = self.identity.objects(self.revision)

    def input_registers(self, address: int, count: int) -> bytes | None:
        """Read measurements (0..31) or the directory (from 100); a read stays inside one of them."""
        if address >= DIRECTORY_ADDRESS:
            block, first = self.contents.directory, address - DIRECTORY_ADDRESS
        elif address + count <= len(MEASUREMENTS):
            block, first = measurement_registers(zlib.crc32(self.name.encode()), self.clock_ms()), address
        else:
            return None
        part = block[first * REGISTER_BYTES : (first + count) * REGISTER_BYTES]
        return part if len(part) == count * REGISTER_BYTES else None

    def set_fault(self, fault: Fault | None) -> None:
        """Set a fault in place of the one in force, or clear it."""
        self.fault = fault
        self.hits_left = None if fault is None else fault.requests

    def hit(self, function: int) -> Fault | None:
        """Return the fault that hits a request with this function code, and count it."""
        fault = self.fault
        if fault is None or (fault.functions and function not in fault.functions):
            return None
        if self.hits_left is not None:
            self.hits_left -= 1
            if self.hits_left == 0:
                self.set_fault(None)
        return fault
