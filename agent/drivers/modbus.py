"""Modbus TCP: identity with FC43, a directory of files with FC4, the files themselves with FC20.

The driver knows no keys and no broker: it turns what a device answers into a `Reading`, or says why it could not.
pymodbus encodes and decodes identity and registers; files and framing are in `agent.drivers.modbus_link`.

Source: MODBUS Application Protocol Specification V1.1b3, 6.4, 6.14 and 6.21.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from pymodbus.exceptions import ModbusException
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse
from pymodbus.pdu.register_message import ReadInputRegistersRequest, ReadInputRegistersResponse

from agent.drivers.content import FileBytes
from agent.drivers.errors import DeviceBusyError, DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.modbus_link import Link, LinkCounters, LinkError, LinkLimits, exception_text, open_link
from agent.drivers.text import device_text
from agent.model import DeviceConfig, DeviceFile, ListedFile, Reading
from agent.profile import Profile
from kit.clock import Clock
from kit.config import rule
from kit.logs import get_logger
from rules.fingerprint import Fingerprint
from wire.evidence import Identity

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest size that a device may declare for one file; a larger one is not read."""
REGISTERS_MAX: Final = 121
"""Registers in one FC20 request: the most whose answer stays within the byte count 0xF5 of the specification."""
RECORDS_PER_FILE: Final = 10_000
FILE_NUMBER_MAX: Final = 65_535
METHOD: Final = "full-file"

_DIRECTORY_ENTRY: Final = struct.Struct(">HHI24s")
_DIRECTORY_ENTRY_REGISTERS: Final = _DIRECTORY_ENTRY.size // 2
_ENTRIES_MAX: Final = 8
_READ_REGISTERS_MAX: Final = 125
_KINDS: Final = {1: "firmware", 2: "strategy", 3: "settings"}
_EXTENDED: Final = 3
_VENDOR, _PRODUCT, _REVISION, _PRODUCT_NAME, _MODEL, _SERIAL = 0, 1, 2, 4, 5, 0x80
_IDENTITY_PAGES_MAX: Final = 32
_MORE_FOLLOWS: Final = 0xFF
_MEI_TYPE: Final = 14
_IDENTITY_HEADING_BYTES: Final = 6
_ILLEGAL_DATA_ADDRESS: Final = 2
_TARGET_FAILED: Final = (10, 11)
_PIECE_BYTES: Final = 16 * 1024
_RETRY_PAUSE_MS: Final = 100
_RETRY_PAUSE_MS_MAX: Final = 2000
_UNREACHABLE: Final = ("closed", "refused", "timeout")

_log = get_logger("agent.modbus")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryTable:
    """``[modbus.directory]``: the device lists its files itself."""

    address: int = field(metadata=rule(minimum=0, maximum=65_535))
    """Input register that holds the number of files; 16 registers for each file follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusProfile:
    """``[modbus]``: what a kind of device keeps where."""

    directory: DirectoryTable

    def methods(self) -> Mapping[str, str]:
        """Return the method of each artefact kind: files are read whole."""
        return dict.fromkeys(_KINDS.values(), METHOD)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file in the directory."""

    listed: ListedFile
    first_file: int
    """Modbus file number at which it begins."""


class FileRecords:
    """Walks through the records of one file and digests them; memory does not grow with the file."""

    __slots__ = ("_bytes_left", "_fingerprint", "_held", "_held_bytes", "_number", "_record", "_registers_max", "code")

    def __init__(self, first_file: int, size: int, fingerprint: Fingerprint) -> None:
        """Begin at the first record.

        Args:
            first_file: Modbus file number of the first 10,000 records, 0..65535.
            size: Bytes to read.
            fingerprint: Takes the bytes in their order.
        """
        self._number = first_file
        self._record = 0
        self._bytes_left = size
        self._registers_max = REGISTERS_MAX
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
        if code == _ILLEGAL_DATA_ADDRESS and wanted is not None and wanted[2] > 1:
            self._registers_max = wanted[2] // 2
            return True
        self.code = code
        return False

    def flush(self) -> None:
        """Digest what is held back."""
        self._fingerprint.update(b"".join(self._held))
        self._held.clear()
        self._held_bytes = 0


class ModbusDriver:
    """Reads one device; connections are kept between reads and never shared."""

    def __init__(self, device: DeviceConfig, profile: Profile, clock: Clock) -> None:
        """Prepare the driver; nothing is connected yet.

        Args:
            device: What agent.toml says of it.
            profile: Its specifics must be a `ModbusProfile`.
            clock: Gives the read spans.
        """
        self._device = device
        self._clock = clock
        assert isinstance(profile.specifics, ModbusProfile), "the loader chooses the schema by protocol"
        self._profile = profile.specifics
        pacing = profile.pacing
        self._limits = LinkLimits(
            device.unit_id, device.timeout_ms, device.pacing_ms, pacing.busy_repeats, pacing.busy_pause_ms
        )
        self._link: Link | None = None
        self._retries_left = 0
        self.counters = LinkCounters()

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        """Read the device: identity, directory, and every byte of every file.

        Args:
            kinds: Read only files of these kinds; None reads all.

        Raises:
            DeviceUnreachableError: It does not answer, also not over new connections.
            DeviceProtocolError: It answers wrongly, also over new connections.
        """
        self._retries_left = self._device.retries
        begin_ms = self._clock.now_ms()
        identity = await self._retrying(self._read_identity)
        entries = await self._retrying(self._read_directory)
        wanted = [entry for entry in entries if kinds is None or entry.listed.kind in kinds]
        files = [await self._retrying(functools.partial(self._read_file, entry)) for entry in wanted]
        end_ms = max(begin_ms, self._clock.now_ms())
        listed = tuple(entry.listed for entry in entries)
        return Reading(self._device.id, identity, listed, tuple(files), begin_ms, end_ms)

    async def close(self) -> None:
        """Close the connection."""
        link, self._link = self._link, None
        if link is not None:
            link.abort()

    # --- connections and repeats --------------------------------------------------------------------------------

    async def _retrying(self, step: Callable[[Link], Awaitable[ResultT]]) -> ResultT:
        """Take one step; after a failure close the connection, wait, and take the step again from its beginning."""
        while True:
            try:
                return await step(await self._connected())
            except LinkError as error:
                failure = self._failure(error)
            except DeviceProtocolError as error:
                failure = error
            await self.close()
            if self._retries_left == 0:
                raise failure
            attempt = self._device.retries - self._retries_left
            self._retries_left -= 1
            _log.debug("device_retry", device=self._device.id, reason=failure.reason, detail=failure.detail)
            await asyncio.sleep(min(_RETRY_PAUSE_MS << attempt, _RETRY_PAUSE_MS_MAX) / 1000)

    async def _connected(self) -> Link:
        if self._link is None or not self._link.is_open:
            self._link = await open_link(self._device.host, self._device.port, self._limits, self.counters)
        return self._link

    def _failure(self, error: LinkError) -> DeviceError:
        if error.reason == "busy":
            return DeviceBusyError(self._device.id, error.reason, error.detail)
        kind = DeviceUnreachableError if error.reason in _UNREACHABLE else DeviceProtocolError
        return kind(self._device.id, error.reason, error.detail)

    def _protocol_error(self, reason: str, detail: str) -> DeviceProtocolError:
        return DeviceProtocolError(self._device.id, reason, detail)

    async def _ask(self, link: Link, function: int, pdu: bytes) -> bytes:
        """Ask and return the answer behind its function code.

        Raises:
            DeviceProtocolError: An exception answer.
            LinkError: No answer, or an odd one.
        """
        answer = await link.ask(bytes((function,)) + pdu)
        if answer[0] == function:
            return answer[1:]
        if answer[1] in _TARGET_FAILED:
            raise LinkError("timeout", f"a gateway answers FC{function} with {exception_text(answer[1])}")
        raise self._protocol_error("exception", f"answers FC{function} with {exception_text(answer[1])}")

    # --- identity -----------------------------------------------------------------------------------------------

    async def _read_identity(self, link: Link) -> Identity:
        """Read all objects, page by page."""
        objects: dict[int, bytes] = {}
        start = 0
        for _ in range(_IDENTITY_PAGES_MAX):
            request = ReadDeviceInformationRequest(read_code=_EXTENDED, object_id=start)
            raw = await self._ask(link, request.function_code, request.encode())
            page = self._identity_page(raw)
            repeated = objects.keys() & page.information.keys()
            if repeated:
                raise self._protocol_error("identity", f"sends identification object {min(repeated)} twice")
            objects.update(page.information)
            if page.more_follows != _MORE_FOLLOWS:
                return self._identity(objects)
            start = page.next_object_id
        raise self._protocol_error("identity", f"sends more than {_IDENTITY_PAGES_MAX} pages of identification")

    def _identity_page(self, raw: bytes) -> ReadDeviceInformationResponse:
        page = ReadDeviceInformationResponse()
        try:
            page.decode(raw)
        except (ModbusException, struct.error, IndexError, ValueError):
            raise self._protocol_error("identity", "sends an identification that ends too early") from None
        if any(not isinstance(value, bytes) for value in page.information.values()):
            raise self._protocol_error("identity", "sends an identification object twice in one page")
        # The decoder takes an object that is cut off for a shorter one: what it found must give the same bytes again.
        again = b"".join(bytes((key, len(value))) + value for key, value in page.information.items())
        counts = page.number_of_objects == len(page.information)
        if page.sub_function_code != _MEI_TYPE or again != raw[_IDENTITY_HEADING_BYTES:] or not counts:
            raise self._protocol_error("identity", "sends an identification whose lengths do not add up")
        return page

    def _identity(self, objects: dict[int, bytes]) -> Identity:
        texts = {key: device_text(value) for key, value in objects.items()}
        return Identity(
            vendor=texts.get(_VENDOR, ""),
            product=texts.get(_PRODUCT, ""),
            revision=texts.get(_REVISION, ""),
            serial=texts.get(_SERIAL, ""),
            model=texts.get(_MODEL, texts.get(_PRODUCT_NAME, "")),
        )

    # --- directory ----------------------------------------------------------------------------------------------

    async def _read_directory(self, link: Link) -> tuple[_Entry, ...]:
        """Read which files there are."""
        base = self._profile.directory.address
        count = int.from_bytes(await self._registers(link, base, 1), "big")
        if not 1 <= count <= _ENTRIES_MAX:
            raise self._protocol_error("directory", f"announces {count} files, 1..{_ENTRIES_MAX} are allowed")
        total = count * _DIRECTORY_ENTRY_REGISTERS
        raw = b""
        for first in range(0, total, _READ_REGISTERS_MAX):
            raw += await self._registers(link, base + 1 + first, min(_READ_REGISTERS_MAX, total - first))
        entries = [self._entry(raw, index) for index in range(count)]
        entries.sort(key=lambda entry: entry.listed.kind)
        for before, after in itertools.pairwise(entries):
            if before.listed.kind == after.listed.kind:
                raise self._protocol_error("directory", f"lists two files of the kind {after.listed.kind}")
        return tuple(entries)

    def _entry(self, raw: bytes, index: int) -> _Entry:
        kind, first_file, size, version = _DIRECTORY_ENTRY.unpack_from(raw, index * _DIRECTORY_ENTRY.size)
        if kind not in _KINDS:
            raise self._protocol_error("directory", f"lists a file of the unknown kind {kind}")
        name = f"modbus-file-{first_file}"
        return _Entry(ListedFile(_KINDS[kind], name, device_text(version), size), first_file)

    async def _registers(self, link: Link, address: int, count: int) -> bytes:
        """Read ``count`` input registers as they are on the wire."""
        request = ReadInputRegistersRequest(address=address, count=count)
        raw = await self._ask(link, request.function_code, request.encode())
        answer = ReadInputRegistersResponse()
        try:
            answer.decode(raw)
        except (ModbusException, struct.error, IndexError, ValueError):
            raise self._protocol_error("wrong-length", "sends registers that end too early") from None
        if len(answer.registers) != count or len(raw) != 1 + 2 * count:
            raise self._protocol_error("wrong-length", f"sends {len(raw) - 1} bytes for {count} registers")
        return struct.pack(f">{count}H", *answer.registers)

    # --- files --------------------------------------------------------------------------------------------------

    async def _read_file(self, entry: _Entry, link: Link) -> DeviceFile:
        """Read one file from its first to its last byte."""
        listed = entry.listed
        begin_ms = self._clock.now_ms()
        fingerprint = FileBytes(listed.kind)
        last_file = entry.first_file + (listed.size - 1) // (2 * RECORDS_PER_FILE)
        errors: tuple[str, ...] = ()
        if listed.size > FILE_BYTES_MAX or last_file > FILE_NUMBER_MAX:
            errors = ("bad-size",)
        else:
            records = FileRecords(entry.first_file, listed.size, fingerprint)
            await link.read_file(records)
            records.flush()
            if records.code in _TARGET_FAILED:
                raise LinkError("timeout", f"a gateway answers FC20 with {exception_text(records.code)}")
            if records.code not in (0, _ILLEGAL_DATA_ADDRESS):
                raise self._protocol_error("exception", f"answers FC20 with {exception_text(records.code)}")
            if records.code:
                errors = ("short-read",)
        end_ms = max(begin_ms, self._clock.now_ms())
        return DeviceFile(
            kind=listed.kind,
            name=listed.name,
            version=listed.version,
            size=listed.size,
            digest=fingerprint.result(),
            method=METHOD,
            read_from_ms=begin_ms,
            read_to_ms=end_ms,
            errors=errors,
            content=None if errors else fingerprint.content(),
        )
