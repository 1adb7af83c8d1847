"""Serves files and a directory as a controlled station, without sockets and clocks: the other side in tests of files.

The caller gives the requests that come in and sends what `FileServer.next_asdu` returns whenever the link has room.

Source: IEC 60870-5-5:1995, 6.12; IEC 60870-5-101:2003, 7.3.6 and 7.4.11.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

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
from wire.iec104.errors import ParameterError
from wire.iec104.fileread import FILE_BYTES_MAX, LAST_FILE, LSQ_FILE, LSQ_SECTION, SECTION_MAX
from wire.iec104.requests import FileCall
from wire.iec104.responses import DIRECTORY_ENTRIES_MAX, SEGMENT_BYTES_MAX, Response, encode_response
from wire.iec104.time56 import Time56
from wire.iec104.types import Cause

SECTION_BYTES: Final = 16_384
"""Usual length of a section; longer where a file would have more than 255 of them."""
_WAITING_MAX: Final = 64
_LOW_HALF: Final = 0x0F
_DEACTIVATE_FILE: Final = 3
_DEACTIVATE_SECTION: Final = 7
_FILE_TAKEN, _FILE_NOT_TAKEN, _SECTION_TAKEN, _SECTION_NOT_TAKEN = range(1, 5)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is served.

    Raises:
        ParameterError: Longer than 16,777,215 octets.
    """

    address: int
    """Of its information object, 0..16777215."""
    name: int
    """0..65535."""
    content: bytes
    time: Time56
    """Creation."""
    length: int | None = None
    """Octets that are announced where they are not those of the content."""
    section_bytes: int = SECTION_BYTES
    """1..16777215."""

    def __post_init__(self) -> None:
        """Refuse what has no encoding."""
        if self.announced > FILE_BYTES_MAX or self.section_bytes < 1:
            raise ParameterError(f"file {self.name} of {self.announced} octets in sections of {self.section_bytes}")

    @property
    def announced(self) -> int:
        """Octets as the directory and F_FR say."""
        return len(self.content) if self.length is None else self.length

    def sections(self) -> list[bytes]:
        """Return the content in at most 255 sections."""
        size = max(self.section_bytes, -(-len(self.content) // SECTION_MAX))
        return [self.content[at : at + size] for at in range(0, len(self.content), size)]


class ServeState(Enum):
    """What the controlling station has to do next."""

    IDLE = "select a file"
    SELECTED = "call the file"
    SECTION_READY = "call the section"
    SENDING = "take the segments"
    SECTION_SENT = "acknowledge the section"
    FILE_SENT = "acknowledge the file"


class FileServer:
    """Files of one station, one transfer at a time; a new selection ends the one before."""

    def __init__(
        self, common_address: int, listing: Callable[[], Sequence[StoredFile]], *, directory_address: int = 0
    ) -> None:
        """Prepare the server.

        Args:
            common_address: 1..65535.
            listing: Gives the files as they are now, ascending by address; asked at each selection and directory.
            directory_address: Answers a call of the directory there only; others are refused.
        """
        self._common_address = common_address
        self._listing = listing
        self._directory_address = directory_address
        self._waiting: deque[bytes] = deque()
        self._sections: list[bytes] = []
        self._section = 0
        self._offset = 0
        self.state = ServeState.IDLE
        self.file: StoredFile | None = None
        """The file that is selected."""

    def take(self, asdu: Asdu) -> bool:
        """Take a request.

        Returns:
            Whether it was one of the file services that are offered; refuse the others with `mirror`.
        """
        element, address = asdu.element, asdu.address
        if asdu.head.common_address != self._common_address or len(self._waiting) > _WAITING_MAX:
            return False
        match element:
            case FileAck():
                is_taken = self._acknowledged(address, element)
            case CallFile() if asdu.head.cause == Cause.REQUEST:
                is_taken = self._directory(address)
            case CallFile(action=FileCall.SELECT_FILE):
                is_taken = self._select(address, element.name)
            case CallFile(action=FileCall.REQUEST_FILE):
                is_taken = self._call_file(address, element)
            case CallFile(action=FileCall.REQUEST_SECTION):
                is_taken = self._call_section(address, element)
            case CallFile():
                is_taken = self._deactivate(element)
            case _:
                is_taken = False
        return is_taken

    def next_asdu(self) -> bytes | None:
        """Return the next ASDU to send, or None while there is none."""
        if self._waiting:
            return self._waiting.popleft()
        if self.state is not ServeState.SENDING:
            return None
        assert self.file is not None, "a file is selected while it is sent"
        section = self._sections[self._section - 1]
        name = self.file.name
        if self._offset < len(section):
            data = section[self._offset : self._offset + SEGMENT_BYTES_MAX]
            self._offset += len(data)
            return self._encoded(Segment(name, self._section, data), self.file.address)
        self.state = ServeState.SECTION_SENT
        return self._encoded(LastSection(name, self._section, LSQ_SECTION, sum(section) & 0xFF), self.file.address)

    def _encoded(self, response: Response, address: int) -> bytes:
        return encode_response(response, self._common_address, address)

    def _answer(self, response: Response, address: int) -> bool:
        self._waiting.append(self._encoded(response, address))
        return True

    def _selected(self, address: int, name: int) -> StoredFile | None:
        file = self.file
        return file if file is not None and (file.address, file.name) == (address, name) else None

    def _directory(self, address: int) -> bool:
        """Answer with every file, a run of addresses without a gap in each ASDU."""
        if address != self._directory_address:
            return False
        files = self._listing()
        if not files:
            return self._answer(Directory(()), address)
        runs: list[list[DirectoryEntry]] = []
        for number, file in enumerate(files, 1):
            status = LAST_FILE if number == len(files) else 0
            entry = DirectoryEntry(file.address, file.name, file.announced, status, file.time)
            if not runs or runs[-1][-1].address + 1 != file.address or len(runs[-1]) == DIRECTORY_ENTRIES_MAX:
                runs.append([])
            runs[-1].append(entry)
        for run in runs:
            self._answer(Directory(tuple(run)), run[0].address)
        return True

    def _select(self, address: int, name: int) -> bool:
        found = [file for file in self._listing() if (file.address, file.name) == (address, name)]
        self.state, self.file = ServeState.IDLE, None
        if not found:
            return self._answer(FileReady(name, 0, is_refused=True), address)
        self.state, self.file = ServeState.SELECTED, found[0]
        return self._answer(FileReady(name, found[0].announced, is_refused=False), address)

    def _call_file(self, address: int, call: CallFile) -> bool:
        file = self._selected(address, call.name)
        if file is None or self.state is not ServeState.SELECTED:
            return self._answer(FileReady(call.name, 0, is_refused=True), address)
        self._sections = file.sections()
        self._section = 0
        return self._next_section(file)

    def _next_section(self, file: StoredFile) -> bool:
        """Offer the section after the last one, or end the file."""
        if self._section < len(self._sections):
            self._section += 1
            return self._offer(file)
        self.state = ServeState.FILE_SENT
        return self._answer(LastSection(file.name, self._section, LSQ_FILE, sum(file.content) & 0xFF), file.address)

    def _offer(self, file: StoredFile) -> bool:
        self.state = ServeState.SECTION_READY
        length = len(self._sections[self._section - 1])
        return self._answer(SectionReady(file.name, self._section, length, is_refused=False), file.address)

    def _call_section(self, address: int, call: CallFile) -> bool:
        is_due = self.state is ServeState.SECTION_READY and call.section == self._section
        if not is_due or self._selected(address, call.name) is None:
            return self._answer(SectionReady(call.name, call.section, 0, is_refused=True), address)
        self._offset = 0
        self.state = ServeState.SENDING
        return True

    def _deactivate(self, call: CallFile) -> bool:
        if call.action == _DEACTIVATE_FILE:
            self.state, self.file = ServeState.IDLE, None
            return True
        if call.action == _DEACTIVATE_SECTION and self.state is ServeState.SENDING:
            self.state = ServeState.SECTION_READY
            return True
        return False

    def _acknowledged(self, address: int, ack: FileAck) -> bool:
        file = self._selected(address, ack.name)
        if file is None:
            return False
        verdict = ack.qualifier & _LOW_HALF
        if self.state is ServeState.SECTION_SENT and ack.section == self._section:
            if verdict == _SECTION_TAKEN:
                return self._next_section(file)
            if verdict == _SECTION_NOT_TAKEN:
                return self._offer(file)
        if self.state is ServeState.FILE_SENT and verdict in {_FILE_TAKEN, _FILE_NOT_TAKEN}:
            self.state, self.file = ServeState.IDLE, None
            return True
        return False
