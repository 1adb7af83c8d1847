"""The files of a device over IEC 60870-5-104: directory, select, sections, segments, acknowledgements.

May live here: the state of one transfer and the ASDUs that follow from it; nothing that opens a socket. Firmware,
strategy and settings are transparent files (name 1) at the addresses 7,001 to 7,003. A section is read from the device
when it is called, so a file that changes meanwhile arrives changed, as it does from a real one.

Source: IEC 60870-5-101:2003, 7.3.6 and 7.4.11; IEC 60870-5-5:1995, 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from firmware_sim.contents import FILE_NAMES
from firmware_sim.device import Device
from firmware_sim.iec104.options import SECTIONS_MAX, Iec104Options
from wire.iec104.asdu import (
    Asdu,
    CallFile,
    Directory,
    DirectoryEntry,
    FileAck,
    FileReady,
    LastSection,
    SectionReady,
    Segment,
)
from wire.iec104.responses import SEGMENT_BYTES_MAX, Response, encode_response, mirror
from wire.iec104.time56 import Time56
from wire.iec104.types import Cause

FILE_FIRST: Final = 7_001
TRANSPARENT: Final = 1
"""Name of every file: what it is, says its address."""

_LAST_FILE: Final = 0x20
_LOW: Final = 0x0F
_SELECT_FILE, _REQUEST_FILE, _DROP_FILE, _SELECT_SECTION, _REQUEST_SECTION, _DROP_SECTION = 1, 2, 3, 5, 6, 7
_FILE_TAKEN, _FILE_NOT_TAKEN, _SECTION_TAKEN, _SECTION_NOT_TAKEN = 1, 2, 3, 4
_END_OF_FILE, _END_OF_SECTION = 1, 3


@dataclass(slots=True)
class _Transfer:
    """A file that was selected."""

    kind: str
    address: int
    bytes_held: int
    section_bytes: int
    section: int = 1
    checksum: int = 0
    """Of the sections that were taken."""
    section_checksum: int = 0

    @property
    def sections(self) -> int:
        """Sections of the whole file; an empty file has none."""
        return -(-self.bytes_held // self.section_bytes)

    @property
    def offset(self) -> int:
        """Where the present section begins."""
        return (self.section - 1) * self.section_bytes

    @property
    def length(self) -> int:
        """Octets of the present section."""
        return min(self.section_bytes, self.bytes_held - self.offset)


class Files:
    """The files of a device, as one connection has them."""

    def __init__(self, device: Device, options: Iec104Options, since: Time56, common_address: int) -> None:
        """Begin without a transfer.

        Args:
            device: Whose files they are.
            options: Says how long a section is.
            since: When the files came to be.
            common_address: 1..65534.
        """
        self._device = device
        self._section_bytes = options.section_bytes
        self._since = since
        self._common_address = common_address
        self._transfer: _Transfer | None = None
        self._calls: Final[Mapping[int, Callable[[Asdu, CallFile], Iterator[bytes]]]] = {
            _SELECT_FILE: self._select_file,
            _REQUEST_FILE: self._request_file,
            _DROP_FILE: self._drop,
            _SELECT_SECTION: self._select_section,
            _REQUEST_SECTION: self._request_section,
            _DROP_SECTION: self._drop,
        }

    def answer(self, raw: bytes, asdu: Asdu) -> Iterator[bytes]:
        """Answer F_SC or F_AF."""
        if isinstance(asdu.element, CallFile):
            action = asdu.element.action & _LOW
            if asdu.head.cause == Cause.REQUEST:
                return self._directory() if action == 0 else self._refused(raw)
            call = self._calls.get(action)
            return self._refused(raw) if call is None else call(asdu, asdu.element)
        assert isinstance(asdu.element, FileAck), "the station hands over no other type"
        return self._acknowledged(asdu.element)

    def _refused(self, raw: bytes) -> Iterator[bytes]:
        """Refuse what would delete a file, and what is nothing at all."""
        self._device.counters.exceptions += 1
        yield mirror(raw, Cause.UNKNOWN_CAUSE)

    def _said(self, response: Response, address: int) -> bytes:
        return encode_response(response, self._common_address, address)

    # --- directory ----------------------------------------------------------------------------------------------

    def _directory(self) -> Iterator[bytes]:
        """List the files, in one ASDU for each run of addresses without a gap."""
        held = self._device.contents.artefacts
        places = [FILE_FIRST + index for index, kind in enumerate(FILE_NAMES) if kind in held]
        run: list[DirectoryEntry] = []
        for address in places:
            size = held[_kind_at(address)].declared_bytes
            status = _LAST_FILE if address == places[-1] else 0
            if run and run[-1].address != address - 1:
                yield self._said(Directory(tuple(run)), run[0].address)
                run.clear()
            run.append(DirectoryEntry(address, TRANSPARENT, size, status, self._since))
        yield self._said(Directory(tuple(run)), run[0].address)

    # --- calls --------------------------------------------------------------------------------------------------

    def _select_file(self, asdu: Asdu, element: CallFile) -> Iterator[bytes]:
        """Announce the file with its length, or say that it cannot be had."""
        self._transfer = None
        index = asdu.address - FILE_FIRST
        kind = _kind_at(asdu.address) if 0 <= index < len(FILE_NAMES) else ""
        held = self._device.contents.artefacts.get(kind)
        if held is None or element.name != TRANSPARENT:
            yield self._said(FileReady(element.name, 0, is_refused=True), asdu.address)
            return
        size = len(held.content)
        section_bytes = max(self._section_bytes, -(-size // SECTIONS_MAX))
        self._transfer = _Transfer(kind, asdu.address, size, section_bytes)
        yield self._said(FileReady(TRANSPARENT, held.declared_bytes, is_refused=False), asdu.address)

    def _request_file(self, asdu: Asdu, element: CallFile) -> Iterator[bytes]:
        """Announce the first section."""
        transfer = self._open_at(asdu)
        if transfer is None:
            yield self._said(SectionReady(element.name, 1, 0, is_refused=True), asdu.address)
            return
        transfer.section, transfer.checksum = 1, 0
        yield self._next(transfer)

    def _select_section(self, asdu: Asdu, element: CallFile) -> Iterator[bytes]:
        """Announce the section that was chosen."""
        transfer = self._open_at(asdu)
        if transfer is None or not 1 <= element.section <= transfer.sections:
            yield self._said(SectionReady(element.name, element.section, 0, is_refused=True), asdu.address)
            return
        transfer.section = element.section
        yield self._next(transfer)

    def _request_section(self, asdu: Asdu, element: CallFile) -> Iterator[bytes]:
        """Send the segments of the present section and its checksum."""
        transfer = self._open_at(asdu)
        if transfer is None or element.section != transfer.section or transfer.section > transfer.sections:
            yield self._said(SectionReady(element.name, element.section, 0, is_refused=True), asdu.address)
            return
        section, address = transfer.section, transfer.address
        data = self._device.read_file(transfer.kind, transfer.offset, transfer.length)
        transfer.section_checksum = sum(data) % 256
        for at in range(0, len(data), SEGMENT_BYTES_MAX):
            yield self._said(Segment(TRANSPARENT, section, data[at : at + SEGMENT_BYTES_MAX]), address)
        yield self._said(LastSection(TRANSPARENT, section, _END_OF_SECTION, transfer.section_checksum), address)

    def _drop(self, asdu: Asdu, element: CallFile) -> Iterator[bytes]:  # noqa: ARG002 - as the other calls
        """End the transfer; there is nothing to say to it."""
        self._transfer = None
        return iter(())

    def _open_at(self, asdu: Asdu) -> _Transfer | None:
        transfer = self._transfer
        return transfer if transfer is not None and transfer.address == asdu.address else None

    # --- acknowledgements ---------------------------------------------------------------------------------------

    def _acknowledged(self, element: FileAck) -> Iterator[bytes]:
        """Go on with the next section, repeat the present one, or end."""
        transfer, verdict = self._transfer, element.qualifier & _LOW
        if transfer is None:
            return
        if verdict == _SECTION_TAKEN and element.section == transfer.section:
            transfer.checksum = (transfer.checksum + transfer.section_checksum) % 256
            transfer.section += 1
            yield self._next(transfer)
        elif verdict == _SECTION_NOT_TAKEN:
            yield self._next(transfer)
        elif verdict in {_FILE_TAKEN, _FILE_NOT_TAKEN}:
            self._transfer = None

    def _next(self, transfer: _Transfer) -> bytes:
        """Announce the present section, or the end of the file behind the last one."""
        if transfer.section <= transfer.sections:
            ready = SectionReady(TRANSPARENT, transfer.section, transfer.length, is_refused=False)
            return self._said(ready, transfer.address)
        end = LastSection(TRANSPARENT, transfer.sections, _END_OF_FILE, transfer.checksum)
        return self._said(end, transfer.address)


def _kind_at(address: int) -> str:
    return tuple(FILE_NAMES)[address - FILE_FIRST]
