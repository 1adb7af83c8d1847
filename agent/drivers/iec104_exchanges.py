"""Exchanges with a controlled station: the readers of `wire.iec104` as a connection runs them."""

from __future__ import annotations

from collections.abc import Mapping

from agent.drivers.content import FileBytes
from agent.drivers.iec104_link import LinkCounters
from wire.iec104.asdu import Asdu, DirectoryEntry
from wire.iec104.errors import WRONG_LENGTH, FileTransferError
from wire.iec104.fileread import DirectoryReader, FileReader, ReadState
from wire.iec104.pointread import InterrogationReader, PointReader, Typed
from wire.iec104.requests import Request


class PointsExchange:
    """Brings points, by interrogation or one by one."""

    def __init__(self, reader: InterrogationReader | PointReader) -> None:
        """Prepare it around a fresh reader."""
        self._reader = reader

    @property
    def is_done(self) -> bool:
        """Whether all have come."""
        return self._reader.is_done

    @property
    def answers(self) -> int:
        """Answers so far."""
        return self._reader.answers

    @property
    def points(self) -> Mapping[int, Typed]:
        """Type and point by address."""
        return self._reader.points

    def begin(self) -> Request:
        """Return the first request."""
        return self._reader.begin()

    def take(self, asdu: Asdu) -> Request | None:
        """Take what came and return what to ask next.

        Raises:
            InterrogationError: It is not what was asked for.
        """
        return self._reader.take(asdu)


class DirectoryExchange:
    """Brings the directory of files."""

    def __init__(self, station: int, address: int) -> None:
        """Prepare it for the directory at one address."""
        self._reader = DirectoryReader(station, address)

    @property
    def is_done(self) -> bool:
        """Whether the last file has come."""
        return self._reader.is_done

    @property
    def answers(self) -> int:
        """Answers so far."""
        return self._reader.answers

    @property
    def entries(self) -> tuple[DirectoryEntry, ...]:
        """Files as the device orders them."""
        return self._reader.entries

    def begin(self) -> Request:
        """Return the request."""
        return self._reader.begin()

    def take(self, asdu: Asdu) -> Request | None:
        """Take what came.

        Raises:
            FileTransferError: It is not what was asked for.
        """
        self._reader.take(asdu)
        return None


class LengthExchange:
    """Selects a file to learn its length, and no more."""

    def __init__(self, station: int, address: int, name: int) -> None:
        """Prepare it for one file."""
        self._reader = FileReader(station, address, name)

    @property
    def is_done(self) -> bool:
        """Whether the length is known."""
        return self._reader.state is not ReadState.FILE_READY

    @property
    def answers(self) -> int:
        """Answers so far."""
        return self._reader.answers

    @property
    def length(self) -> int:
        """Octets that the device announces."""
        return self._reader.length

    def begin(self) -> Request:
        """Return the selection."""
        return self._reader.begin()

    def take(self, asdu: Asdu) -> Request | None:
        """Take what came.

        Raises:
            FileTransferError: It is not what was asked for.
        """
        self._reader.take(asdu)
        return None


class FileExchange:
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
        self._reader = FileReader(station, address, name, bytes_max=size)
        self._size = size
        self._counters = counters
        self.content = content

    @property
    def is_done(self) -> bool:
        """Whether the file has come to its end."""
        return self._reader.is_done

    @property
    def answers(self) -> int:
        """Answers so far."""
        return self._reader.answers

    @property
    def is_whole(self) -> bool:
        """Whether all octets came that were declared."""
        return self._reader.is_done and self._reader.read_bytes == self._size

    def begin(self) -> Request:
        """Return the selection."""
        return self._reader.begin()

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
