"""Reads files and the directory of a controlled station, without sockets and clocks (docs/spec, IC-17 to IC-20).

The caller sends the requests that come out, gives every ASDU that comes in, and decides how long it waits.

Source: IEC 60870-5-5:1995, 6.12; IEC 60870-5-101:2003, 7.3.6 and 7.4.11.
"""

from __future__ import annotations

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
from wire.iec104.errors import (
    BAD_CHECKSUM,
    NOT_READY,
    REFUSED,
    WRONG_FILE,
    WRONG_LENGTH,
    WRONG_ORDER,
    FileTransferError,
)
from wire.iec104.requests import AcknowledgeFile, FileCall, FileVerdict, RequestFile
from wire.iec104.types import Cause

FILE_BYTES_MAX: Final = 0xFF_FFFF
SECTION_MAX: Final = 255
SECTION_REPEATS_MAX: Final = 2
"""Times that one section is asked for again after it came damaged."""
DIRECTORY_FILES_MAX: Final = 4096
LAST_FILE: Final = 0x20
"""SOF: no file follows in the directory."""
IS_DIRECTORY: Final = 0x40
"""SOF: the name is that of a directory."""
LSQ_FILE: Final = 1
LSQ_SECTION: Final = 3
_CHECKSUM: Final = 0xFF

Reply = RequestFile | AcknowledgeFile


class ReadState(Enum):
    """What has to come next."""

    FILE_READY = "the file to be ready"
    FIRST_SECTION = "the first section to be ready, or the end of an empty file"
    SECTION_READY = "a section to be ready again"
    SEGMENTS = "a segment, or the end of the section"
    NEXT_SECTION = "another section to be ready, or the end of the file"
    DONE = "nothing more"


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one ASDU."""

    reply: Reply | None = None
    """To be sent."""
    data: bytes = b""
    """A section whose length and checksum are right; sections come in their order and together are the file."""


_NOTHING: Final = Step()


class FileReader:
    """Reads one file: select, call, then section after section, each checked before any of it is given on."""

    def __init__(self, common_address: int, address: int, name: int, *, bytes_max: int = FILE_BYTES_MAX) -> None:
        """Prepare the read; `begin` gives the first request.

        Args:
            common_address: 1..65535.
            address: Of the file's information object, 0..16777215.
            name: Of the file, 0..65535.
            bytes_max: Largest file that is read, 0..16777215; at most so much is ever held.
        """
        self._common_address = common_address
        self._address = address
        self._name = name
        self._bytes_max = bytes_max
        self._held = bytearray()
        self._section = 0
        self._section_bytes = 0
        self._checksum = 0
        self._repeats = 0
        self.state = ReadState.FILE_READY
        self.answers = 0
        """ASDUs that were taken, so that a caller sees whether the read goes on."""
        self.length = 0
        """Octets that the device announced."""
        self.read_bytes = 0
        """Octets of whole sections so far; less than `length` at the end means that the device has no more."""

    def begin(self) -> RequestFile:
        """Return the request that selects the file."""
        return self._call(FileCall.SELECT_FILE)

    @property
    def is_done(self) -> bool:
        """Tell whether the file has come to its end."""
        return self.state is ReadState.DONE

    def take(self, asdu: Asdu) -> Step:
        """Take what came; what does not belong to files is passed over.

        Raises:
            FileTransferError: The file is refused, another one is answered, something comes out of its order, or
                a length or checksum is wrong although the section was asked for again.
        """
        element = asdu.element
        if not isinstance(element, (FileReady, SectionReady, Segment, LastSection, CallFile, FileAck)):
            return _NOTHING
        if asdu.head.common_address != self._common_address:
            return _NOTHING
        self._check_answer(asdu, element)
        self.answers += 1
        match element:
            case FileReady() if self.state is ReadState.FILE_READY:
                step = self._file_ready(element)
            case SectionReady() if self.state in _BEFORE_SECTION:
                step = self._section_ready(element)
            case Segment() if self.state is ReadState.SEGMENTS:
                step = self._segment(element)
            case LastSection(qualifier=qualifier) if qualifier == LSQ_SECTION and self.state is ReadState.SEGMENTS:
                step = self._end_of_section(element)
            case LastSection(qualifier=qualifier) if qualifier == LSQ_FILE and self.state in _BEFORE_END:
                step = self._end_of_file(element)
            case _:
                raise FileTransferError(
                    f"file {self._name}: {type(element).__name__} came, due was {self.state.value}", code=WRONG_ORDER
                )
        return step

    def _check_answer(
        self, asdu: Asdu, element: FileReady | SectionReady | Segment | LastSection | CallFile | FileAck
    ) -> None:
        if element.name != self._name or asdu.address != self._address:
            raise FileTransferError(
                f"file {self._name} at address {self._address} was asked for, "
                f"file {element.name} at address {asdu.address} came",
                code=WRONG_FILE,
            )
        if asdu.head.cause != Cause.FILE_TRANSFER or asdu.head.is_negative:
            raise FileTransferError(f"file {self._name}: the device answers with cause {asdu.head.cause}", code=REFUSED)

    def _call(self, call: FileCall) -> RequestFile:
        return RequestFile(self._common_address, self._address, call, self._name, self._section)

    def _acknowledge(self, verdict: FileVerdict, section: int) -> Step:
        return Step(AcknowledgeFile(self._common_address, self._address, verdict, self._name, section))

    def _file_ready(self, ready: FileReady) -> Step:
        if ready.is_refused:
            raise FileTransferError(f"file {self._name}: the device has it not ready", code=NOT_READY)
        if ready.length > self._bytes_max:
            raise FileTransferError(
                f"file {self._name}: {ready.length} octets are announced, {self._bytes_max} are the most that are read",
                code=WRONG_LENGTH,
            )
        self.length = ready.length
        self.state = ReadState.FIRST_SECTION
        return Step(self._call(FileCall.REQUEST_FILE))

    def _section_ready(self, ready: SectionReady) -> Step:
        due = self._section + (self.state is not ReadState.SECTION_READY)
        if ready.section != due or due > SECTION_MAX:
            raise FileTransferError(f"file {self._name}: section {ready.section} came, {due} is next")
        if ready.is_refused:
            raise FileTransferError(f"file {self._name}: the device has section {due} not ready", code=NOT_READY)
        if self.read_bytes + ready.length > self.length:
            raise FileTransferError(
                f"file {self._name}: {self.length} octets are announced, and section {due} goes beyond them",
                code=WRONG_LENGTH,
            )
        if ready.section != self._section:
            self._repeats = 0
        self._section = due
        self._section_bytes = ready.length
        self._held.clear()
        self.state = ReadState.SEGMENTS
        return Step(self._call(FileCall.REQUEST_SECTION))

    def _segment(self, segment: Segment) -> Step:
        self._check_section(segment.section)
        if not segment.data or len(self._held) + len(segment.data) > self._section_bytes:
            raise FileTransferError(
                f"file {self._name}: section {self._section} of {self._section_bytes} octets comes with "
                f"{'an empty segment' if not segment.data else 'more'}",
                code=WRONG_LENGTH,
            )
        self._held += segment.data
        return _NOTHING

    def _end_of_section(self, last: LastSection) -> Step:
        self._check_section(last.section)
        data = bytes(self._held)
        checksum = sum(data) & _CHECKSUM
        if len(data) == self._section_bytes and checksum == last.checksum:
            self._held.clear()
            self._checksum = (self._checksum + checksum) & _CHECKSUM
            self.read_bytes += len(data)
            self.state = ReadState.NEXT_SECTION
            return Step(self._acknowledge(FileVerdict.SECTION_TAKEN, self._section).reply, data)
        if self._repeats == SECTION_REPEATS_MAX:
            code = BAD_CHECKSUM if len(data) == self._section_bytes else WRONG_LENGTH
            raise FileTransferError(
                f"file {self._name}: section {self._section} came damaged {self._repeats + 1} times: "
                f"{len(data)} of {self._section_bytes} octets, checksum {checksum} for {last.checksum}",
                code=code,
            )
        self._repeats += 1
        self.state = ReadState.SECTION_READY
        return self._acknowledge(FileVerdict.SECTION_NOT_TAKEN, self._section)

    def _end_of_file(self, last: LastSection) -> Step:
        if last.checksum != self._checksum:
            raise FileTransferError(
                f"file {self._name}: the checksum of {self.read_bytes} octets is {self._checksum}, "
                f"the device says {last.checksum}",
                code=BAD_CHECKSUM,
            )
        self.state = ReadState.DONE
        return self._acknowledge(FileVerdict.FILE_TAKEN, 0)

    def _check_section(self, section: int) -> None:
        if section != self._section:
            raise FileTransferError(
                f"file {self._name}: section {self._section} was asked for, section {section} came", code=WRONG_FILE
            )


_BEFORE_SECTION: Final = frozenset({ReadState.FIRST_SECTION, ReadState.SECTION_READY, ReadState.NEXT_SECTION})
_BEFORE_END: Final = frozenset({ReadState.FIRST_SECTION, ReadState.NEXT_SECTION})


class DirectoryReader:
    """Reads the directory of one station."""

    def __init__(self, common_address: int, address: int = 0) -> None:
        """Prepare the read; `begin` gives the request.

        Args:
            common_address: 1..65535.
            address: Of the directory, 0..16777215.
        """
        self._common_address = common_address
        self._address = address
        self._found: dict[tuple[int, int], DirectoryEntry] = {}
        self.answers = 0
        """ASDUs that were taken, so that a caller sees whether the read goes on."""
        self.is_done = False

    @property
    def entries(self) -> tuple[DirectoryEntry, ...]:
        """Files and directories so far, as the device orders them."""
        return tuple(self._found.values())

    def begin(self) -> RequestFile:
        """Return the request for the directory."""
        return RequestFile(self._common_address, self._address, FileCall.DIRECTORY)

    def take(self, asdu: Asdu) -> None:
        """Take what came; what is no directory of this station is passed over.

        Raises:
            FileTransferError: The directory is refused, names a file twice, or has more than 4,096 files.
        """
        element = asdu.element
        if self.is_done or asdu.head.common_address != self._common_address:
            return
        if isinstance(element, CallFile):
            raise FileTransferError(f"the directory is refused with cause {asdu.head.cause}", code=REFUSED)
        if not isinstance(element, Directory) or asdu.head.cause != Cause.REQUEST:
            return
        self.answers += 1
        self.is_done = not element.entries
        for entry in element.entries:
            place = entry.address, entry.name
            if self.is_done or place in self._found or len(self._found) == DIRECTORY_FILES_MAX:
                raise FileTransferError(f"the directory lists file {entry.name} twice, behind its end, or too many")
            self._found[place] = entry
            self.is_done = bool(entry.status & LAST_FILE)
