"""The way through the records of one file.

Source: MODBUS Application Protocol Specification V1.1b3, 6.14.
"""

from __future__ import annotations

from typing import Final

from rules.fingerprint import Fingerprint

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest size that a device may declare for one file; a larger one is not read."""
REGISTERS_MAX: Final = 121
"""Registers in one FC20 request: the most whose answer stays within the byte count 0xF5 of the specification."""
RECORDS_PER_FILE: Final = 10_000
FILE_NUMBER_MAX: Final = 65_535
ILLEGAL_DATA_ADDRESS: Final = 2
_PIECE_BYTES: Final = 16 * 1024


def is_too_large(first_file: int, size: int) -> bool:
    """Tell whether a declared size is beyond what is read, or beyond the last file number."""
    last_file = first_file + (size - 1) // (2 * RECORDS_PER_FILE)
    return size > FILE_BYTES_MAX or last_file > FILE_NUMBER_MAX


class FileRecords:
    """Walks through the records of one file and digests them; memory does not grow with the file."""

    __slots__ = ("_bytes_left", "_fingerprint", "_held", "_held_bytes", "_number", "_record", "_registers_max", "code")

    def __init__(
        self, first_file: int, size: int, fingerprint: Fingerprint, registers_max: int = REGISTERS_MAX
    ) -> None:
        """Begin at the first record.

        Args:
            first_file: Modbus file number of the first 10,000 records, 0..65535.
            size: Bytes to read.
            fingerprint: Takes the bytes in their order.
            registers_max: Registers that one request may ask for, 1..121.
        """
        self._number = first_file
        self._record = 0
        self._bytes_left = size
        self._registers_max = registers_max
        self._fingerprint = fingerprint
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.code = 0
        """Exception code that ended the read early, else 0."""

    def wanted(self) -> tuple[int, int, int] | None:
        """Return file number, record number and count of registers to ask for, or None at the end."""
        if self._bytes_left <= 0 or self.code:
            return None
        count = min((self._bytes_left + 1) >> 1, self._registers_max, RECORDS_PER_FILE - self._record)
        return self._number, self._record, count

    def took(self, data: bytes) -> None:
        """Take the registers that were wanted; the padding behind an odd last byte is no content."""
        self._record += len(data) >> 1
        if self._record == RECORDS_PER_FILE:
            self._record = 0
            self._number += 1
        if len(data) > self._bytes_left:
            data = data[: self._bytes_left]
        self._bytes_left -= len(data)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= _PIECE_BYTES or self._bytes_left == 0:
            self.flush()

    def refused(self, code: int) -> bool:
        """Take an exception; past the end of the content, halve the request until the last register is found."""
        wanted = self.wanted()
        if code == ILLEGAL_DATA_ADDRESS and wanted is not None and wanted[2] > 1:
            self._registers_max = wanted[2] // 2
            return True
        self.code = code
        return False

    def flush(self) -> None:
        """Digest what is held back."""
        self._fingerprint.update(b"".join(self._held))
        self._held.clear()
        self._held_bytes = 0
