"""Exchanges with a controlled station: the readers of `wire.iec104` as a connection runs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from agent.drivers.content import FileBytes
from agent.drivers.link import LinkCounters
from wire.iec104.asdu import Asdu, DirectoryEntry
from wire.iec104.errors import WRONG_LENGTH, FileTransferError
from wire.iec104.fileread import DirectoryReader, FileReader, ReadState
from wire.iec104.pointread import InterrogationReader, PointReader, Typed
from wire.iec104.requests import Request


class _Reader(Protocol):
    """What all readers of `wire.iec104` offer."""

    @property
    def is_done(self) -> bool:
        """Whether all has come."""
        ...

    @property
    def answers(self) -> int:
        """Answers so far."""
        ...

    def begin(self) -> Request:
        """Return the first request."""
        ...


ReaderT = TypeVar("ReaderT", bound=_Reader)


class _Exchange(Generic[ReaderT]):
    """A reader as a connection runs it."""

    def __init__(self, reader: ReaderT) -> None:
        self._reader = reader

    @property
    def is_done(self) -> bool:
        """Whether all has come."""
        return self._reader.is_done

    @property
    def answers(self) -> int:
        """Answers so far."""
        return self._reader.answers

    def begin(self) -> Request:
        """Return the first request."""
        return self._reader.begin()


class PointsExchange(_Exchange[InterrogationReader | PointReader]):
    """Brings points, by interrogation or one by one."""

    @property
    def points(self) -> Mapping[int, Typed]:
        """Type and point by address."""
        return self._reader.points

    def take(self, asdu: Asdu) -> Request | None:
        """Take what came and return what to ask next.

        Raises:
            InterrogationError: It is not what was asked for.
        """
        return self._reader.take(asdu)


class DirectoryExchange(_Exchange[DirectoryReader]):
    """Brings the directory of files."""

    def __init__(self, station: int, address: int) -> None:
        """Prepare it for the directory at one address."""
        super().__init__(DirectoryReader(station, address))

    @property
    def entries(self) -> tuple[DirectoryEntry, ...]:
        """Files as the device orders them."""
        return self._reader.entries

    def take(self, asdu: Asdu) -> Request | None:
        """Take what came.

        Raises:
            FileTransferError: It is not what was asked for.
        """
        self._reader.take(asdu)
        return None


class LengthExchange(_Exchange[FileReader]):
    """Selects a file to learn its length, and no more."""

    def __init__(self, station: int, address: int, name: int) -> None:
        """Prepare it for one file."""
        super().__init__(FileReader(station, address, name))

    @property
    def is_done(self) -> bool:
        """Whether the length is known."""
        return self._reader.state is not ReadState.FILE_READY

    @property
    def length(self) -> int:
        """Octets that the device announces."""
        return self._reader.length

    def take(self, asdu: Asdu) -> Request | None:
        """Take what came.

        Raises:
            FileTransferError: It is not what was asked for.
        """
        self._reader.take(asdu)
        return None


class FileExchange(_Exchange[FileReader]):
    """Brings one file, section by section, into its fingerprint."""

    def __init__(
        self, station: int, address: int, name: int, size: int, content: FileBytes, counters: LinkCounters
    ) -> None:
        """Prepare it.

        Args:
            station: Common address.
            address: Of the file's information object.
            name: Of the file.
            size: Octets that the device declared before; the file has to be announced with as many.
            content: Takes the bytes of whole sections.
            counters: Counts them.
        """
        super().__init__(FileReader(station, address, name, bytes_max=size))
        self._size = size
        self._counters = counters
        self.content = content

    @property
    def is_whole(self) -> bool:
        """Whether all octets came that were declared."""
        return self._reader.is_done and self._reader.read_bytes == self._size

    def take(self, asdu: Asdu) -> Request | None:
        """Take what came and return what to ask next.

        Raises:
            FileTransferError: It is not what was asked for, or the file has another length than before.
        """
        state = self._reader.state
        step = self._reader.take(asdu)
        if state is ReadState.FILE_READY and self._reader.state is not state and self._reader.length != self._size:
            raise FileTransferError(
                f"the file was declared with {self._size} octets and is announced with {self._reader.length}",
                code=WRONG_LENGTH,
            )
        if step.data:
            self._counters.bytes_read += len(step.data)
            self.content.update(step.data)
        return step.reply
