"""How a device shows itself in Modbus: its register map, its file numbers, its identification objects.

May live here: a view of one device, without state but what it keeps to answer faster. The map is defined in
docs/guides/simulator.md, "What a Modbus device answers".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from firmware_sim.contents import FILE_NAMES, Contents
from firmware_sim.device import Device
from firmware_sim.modbus.identification import OBJECT_BYTES_MAX
from firmware_sim.modbus.pdu import FILE_BYTES_MAX, REGISTER_BYTES
from kit.config import rule

KIND_CODES: Final = {kind: code for code, kind in enumerate(FILE_NAMES, start=1)}
"""Kind by the code that stands in the directory and checksum registers: 1 firmware, 2 strategy, 3 settings."""
FILES_PER_ARTEFACT: Final = 1_000
"""Distance between the first file numbers of two kinds: firmware 1, strategy 1,001, settings 2,001."""
ARTEFACTS_MAX: Final = 8

MEASUREMENTS_ADDRESS: Final = 0
DIRECTORY_ADDRESS: Final = 100
STATUS_ADDRESS: Final = 300
CHECKSUMS_ADDRESS: Final = 320
CRC32: Final = 1
"""Code of the only checksum that these devices have: CRC-32 as in IEEE 802.3."""

_VENDOR, _PRODUCT, _REVISION, _PRODUCT_NAME, _MODEL, _SERIAL = 0, 1, 2, 4, 5, 0x80
_ENTRY = struct.Struct(">HHI24s")
_CHECKSUM = struct.Struct(">HHI24s")
_STATUS = struct.Struct(">IHHQI")
_BLOCK_BYTES = REGISTER_BYTES + ARTEFACTS_MAX * _ENTRY.size


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusOptions:
    """Table ``[device.modbus]``: which services this device has.

    Attributes:
        files: FC20 and the directory; without them only checksums tell of the files.
        checksums: The checksum registers.
        settings: The setting values in holding registers.
    """

    files: bool = field(default=True, metadata=rule())
    checksums: bool = True
    settings: bool = True


class Unit:
    """One device behind a Modbus port; the ``Target`` that requests are answered from."""

    __slots__ = ("_packed", "_packed_for", "device", "options")

    def __init__(self, device: Device, options: ModbusOptions | None = None) -> None:
        """Show ``device``.

        Args:
            device: Its unit id is the one that answers.
            options: None has every service.
        """
        self.device = device
        self.options = ModbusOptions() if options is None else options
        self._packed = b""
        self._packed_for: Contents | None = None

    @property
    def holding(self) -> bytes:
        """Setting values from address 0."""
        contents = self.device.contents
        if contents is not self._packed_for:
            values = contents.setting_values if self.options.settings else ()
            self._packed = struct.pack(f">{len(values)}h", *values)
            self._packed_for = contents
        return self._packed

    @property
    def identification(self) -> Mapping[int, bytes]:
        """Identification objects by object id."""
        identity = self.device.shown_identity
        texts = {
            _VENDOR: identity.vendor,
            _PRODUCT: identity.product,
            _REVISION: self.device.revision,
            _PRODUCT_NAME: identity.product_name,
            _MODEL: identity.model,
            _SERIAL: identity.serial,
        }
        return {key: text.encode("ascii")[:OBJECT_BYTES_MAX] for key, text in texts.items()}

    @property
    def has_files(self) -> bool:
        """Whether FC20 exists."""
        return self.options.files

    def file_part(self, number: int, offset: int, size: int) -> bytes | None:
        """Read ``size`` bytes of a Modbus file of at most 20,000 bytes; an odd last byte is padded with zero.

        Returns:
            Exactly ``size`` bytes, or None where one of them does not exist.
        """
        place, piece = divmod(number - 1, FILES_PER_ARTEFACT)
        kind = _KINDS.get(place + 1)
        if kind is None or offset + size > FILE_BYTES_MAX or kind not in self.device.contents.artefacts:
            return None
        part = self.device.read_file(kind, piece * FILE_BYTES_MAX + offset, size)
        if len(part) == size - 1 and part:
            part += b"\x00"
        return part if len(part) == size else None

    def input_registers(self, address: int, count: int) -> bytes | None:
        """Read measurements, directory, status or checksums; a read stays inside one of them."""
        for first, block in self._blocks(address):
            start = (address - first) * REGISTER_BYTES
            part = block[start : start + count * REGISTER_BYTES]
            return part if len(part) == count * REGISTER_BYTES else None
        return None

    def _blocks(self, address: int) -> tuple[tuple[int, bytes], ...]:
        """Give the block that ``address`` may be in."""
        if address >= CHECKSUMS_ADDRESS:
            return ((CHECKSUMS_ADDRESS, self._checksums()),) if self.options.checksums else ()
        if address >= STATUS_ADDRESS:
            return ((STATUS_ADDRESS, self._status()),)
        if address >= DIRECTORY_ADDRESS:
            return ((DIRECTORY_ADDRESS, self._directory()),) if self.options.files else ()
        values = self.device.measurements()
        return ((MEASUREMENTS_ADDRESS, struct.pack(f">{len(values)}h", *values)),)

    def _directory(self) -> bytes:
        """Number of files, then kind, first file number, size and version of each."""
        held = self.device.contents.artefacts.values()
        entries = b"".join(
            _ENTRY.pack(KIND_CODES[item.kind], first_file(item.kind), item.declared_bytes, item.version.encode("ascii"))
            for item in held
        )
        return (len(held).to_bytes(2, "big") + entries).ljust(_BLOCK_BYTES, b"\x00")

    def _checksums(self) -> bytes:
        """Number of entries, then kind, kind of checksum, checksum and version of each."""
        held = self.device.contents.artefacts
        entries = b"".join(
            _CHECKSUM.pack(KIND_CODES[kind], CRC32, self.device.checksum(kind), item.version.encode("ascii"))
            for kind, item in held.items()
        )
        return (len(held).to_bytes(2, "big") + entries).ljust(_BLOCK_BYTES, b"\x00")

    def _status(self) -> bytes:
        """Revision counter, active setting group, number of groups, clock, restarts."""
        device = self.device
        contents = device.contents
        return _STATUS.pack(
            device.revision_counter,
            contents.active_group,
            len(contents.groups),
            max(device.now_ms(), 0),
            device.counters.restarts,
        )


_KINDS: Final = {code: kind for kind, code in KIND_CODES.items()}


def first_file(kind: str) -> int:
    """Give the first Modbus file number of a kind."""
    return (KIND_CODES[kind] - 1) * FILES_PER_ARTEFACT + 1
