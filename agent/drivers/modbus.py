"""Modbus TCP and Modbus/TCP Security: who a device is, which artefacts it has, and each of them as its profile says.

The driver knows no keys of ours and no broker: it turns what a device answers into a `Reading`, or says why it could
not. It reads with functions 3, 4, 20 and 43 and knows no other.

Source: MODBUS Application Protocol Specification V1.1b3; MODBUS/TCP Security Protocol Specification V36.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from agent.drivers.content import FileBytes
from agent.drivers.errors import DeviceBusyError, DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.link import LinkCounters, LinkError
from agent.drivers.modbus_files import FileRecords, is_too_large
from agent.drivers.modbus_line import join_line
from agent.drivers.modbus_link import LinkLimits
from agent.drivers.modbus_profile import (
    FULL_FILE,
    RECORD_READ,
    VENDOR_CHECKSUM,
    VERSION_STRING,
    ChecksumTable,
    FileTable,
    ModbusProfile,
    Place,
    RegistersTable,
    ShownSpan,
    Span,
)
from agent.drivers.modbus_requests import Requests
from agent.drivers.text import device_text
from agent.model import DeviceConfig, DeviceFile, ListedFile, Reading, word_file
from agent.profile import Profile
from kit.clock import Clock
from kit.logs import get_logger
from wire.evidence import Identity
from wire.types import INT_MAX

_DIRECTORY_ENTRY: Final = struct.Struct(">HHI24s")
_DIRECTORY_ENTRY_REGISTERS: Final = _DIRECTORY_ENTRY.size // 2
_ENTRIES_MAX: Final = 8
_KINDS: Final = {1: "firmware", 2: "strategy", 3: "settings"}
_ALGORITHMS: Final = {1: "crc32"}
_VENDOR, _PRODUCT, _REVISION, _PRODUCT_NAME, _MODEL, _SERIAL = 0, 1, 2, 4, 5, 0x80
_RETRY_PAUSE_MS: Final = 100
_RETRY_PAUSE_MS_MAX: Final = 2000
_UNREACHABLE: Final = ("closed", "refused", "timeout")

_log = get_logger("agent.modbus")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One artefact that there is, and where it begins."""

    listed: ListedFile
    place: int | Span | RegistersTable | VersionPlace
    """First Modbus file number, the registers of a checksum or of content, or that the list has said all."""
    group: int = 1
    """Setting group that is active."""


@dataclass(frozen=True, slots=True)
class VersionPlace:
    """Stands for an artefact of which only the version is known, which the list of artefacts has already."""


class ModbusDriver:
    """Reads one device; the connection is kept between reads, and shared with the other units of its address."""

    def __init__(self, device: DeviceConfig, profile: Profile, clock: Clock) -> None:
        """Prepare the driver; nothing is connected yet.

        Args:
            device: What agent.toml says of it.
            profile: Its specifics must be a `ModbusProfile`.
            clock: Gives the read spans.

        Raises:
            GridwitnessError: A certificate or key for TLS is missing, damaged or readable by others.
        """
        assert isinstance(profile.specifics, ModbusProfile), "the loader chooses the schema by protocol"
        self._device = device
        self._clock = clock
        self._profile = profile.specifics
        pacing = profile.pacing
        limits = LinkLimits(
            device.unit_id, device.timeout_ms, device.pacing_ms, pacing.busy_repeats, pacing.busy_pause_ms
        )
        self._line = join_line(device, pacing)
        self._requests = Requests(device.id, self._line, limits, self._profile.registers_max)
        self._retries_left = 0

    @property
    def counters(self) -> LinkCounters:
        """What the device was asked so far."""
        return self._requests.counters

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        """Read the device: identity, which artefacts there are, and each of them.

        Args:
            kinds: Read only artefacts of these kinds; None reads all.

        Raises:
            DeviceUnreachableError: It does not answer, also not over new connections.
            DeviceProtocolError: It answers wrongly, also over new connections.
        """
        self._retries_left = self._device.retries
        begin_ms = self._clock.now_ms()
        identity = await self._retrying(self._read_identity)
        revision = await self._retrying(self._read_revision)
        entries = await self._retrying(self._list)
        wanted = [entry for entry in entries if kinds is None or entry.listed.kind in kinds]
        files = [await self._retrying(functools.partial(self._read_entry, entry)) for entry in wanted]
        end_ms = max(begin_ms, self._clock.now_ms())
        listed = tuple(entry.listed for entry in entries)
        return Reading(self._device.id, identity, listed, tuple(files), begin_ms, end_ms, revision)

    async def close(self) -> None:
        """Close the connection, unless another unit is being asked on it."""
        self._line.drop()

    async def _retrying(self, step: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Take one step; after a failure close the connection, wait, and take the step again from its beginning."""
        while True:
            try:
                return await step()
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

    def _failure(self, error: LinkError) -> DeviceError:
        if error.reason == "busy":
            return DeviceBusyError(self._device.id, error.reason, error.detail)
        kind = DeviceUnreachableError if error.reason in _UNREACHABLE else DeviceProtocolError
        return kind(self._device.id, error.reason, error.detail)

    # --- identity -----------------------------------------------------------------------------------------------

    async def _read_identity(self) -> Identity:
        """Read who the device says it is, by function 43 and from registers, which win."""
        table = self._profile.identity
        objects = {} if table.access == "none" else await self._requests.identification(table.access)
        texts = {key: device_text(value) for key, value in objects.items()}
        said = {
            "vendor": texts.get(_VENDOR, ""),
            "product": texts.get(_PRODUCT, ""),
            "revision": texts.get(_REVISION, ""),
            "serial": texts.get(_SERIAL, ""),
            "model": texts.get(_MODEL, texts.get(_PRODUCT_NAME, "")),
        }
        for name in said:
            place: ShownSpan | None = getattr(table, name)
            if place is not None:
                said[name] = await self._requests.shown(place)
        return Identity(**said)

    async def _read_revision(self) -> int | None:
        """Ask for the counter of changes before anything that it counts."""
        place = self._profile.revision_at
        if place is None:
            return None
        revision = await self._requests.number(place)
        if revision > INT_MAX:
            raise self._requests.refused("revision", f"counts {revision} changes, more than evidence can carry")
        return revision

    # --- which artefacts there are ------------------------------------------------------------------------------

    async def _list(self) -> tuple[_Entry, ...]:
        """Return what the device has, sorted by kind."""
        entries = await self._directory()
        entries += await self._checksum_list()
        entries += [await self._entry_at(place) for place in self._profile.places()]
        entries.sort(key=lambda entry: entry.listed.kind)
        for before, after in itertools.pairwise(entries):
            if before.listed.kind == after.listed.kind:
                raise self._requests.refused("directory", f"lists two files of the kind {after.listed.kind}")
        return tuple(entries)

    async def _directory(self) -> list[_Entry]:
        """Return the files that the device lists."""
        table = self._profile.directory
        found = []
        for code, first_file, size, version in [] if table is None else await self._lines(table.address):
            if code not in _KINDS:
                raise self._requests.refused("directory", f"lists a file of the unknown kind {code}")
            listed = ListedFile(_KINDS[code], f"modbus-file-{first_file}", version, size)
            found.append(_Entry(listed, first_file))
        return found

    async def _checksum_list(self) -> list[_Entry]:
        """Return the checksums that the device lists and the profile takes."""
        table = self._profile.checksum_list
        if table is None:
            return []
        found = []
        for index, (code, algorithm, _, version) in enumerate(await self._lines(table.address)):
            kind = _KINDS.get(code)
            if kind in table.kinds:
                first = table.address + 1 + index * _DIRECTORY_ENTRY_REGISTERS
                name = _ALGORITHMS.get(algorithm, f"checksum of kind {algorithm}")
                found.append(
                    _Entry(ListedFile(kind, name, version, 0), Span(table="input", address=first + 2, count=2))
                )
        return found

    async def _lines(self, address: int) -> list[tuple[int, int, int, str]]:
        """Read a directory: its number of lines, and of each two codes, a number and a version."""
        count = await self._requests.number(Span(table="input", address=address))
        if not 1 <= count <= _ENTRIES_MAX:
            raise self._requests.refused("directory", f"announces {count} files, 1..{_ENTRIES_MAX} are allowed")
        span = Span(table="input", address=address + 1, count=count * _DIRECTORY_ENTRY_REGISTERS)
        raw = await self._requests.registers(span)
        return [
            (first, second, number, device_text(version))
            for first, second, number, version in _DIRECTORY_ENTRY.iter_unpack(raw)
        ]

    async def _entry_at(self, place: Place) -> _Entry:
        """Ask for what the list says of an artefact whose place the profile knows."""
        version = "" if place.version_at is None else await self._requests.shown(place.version_at)
        name = place.name or place.kind
        if isinstance(place, FileTable):
            size = place.size
            if place.size_at is not None:
                size = await self._requests.number(place.size_at)
            assert size is not None, "the profile was checked"
            return _Entry(ListedFile(place.kind, name, version, size), place.number)
        if isinstance(place, RegistersTable):
            group = await self._active_group(place)
            if place.active_group is not None:
                name = f"{name}, group {group}"
            size = 2 * sum(block.count for block in place.blocks)
            return _Entry(ListedFile(place.kind, name, version, size), place, group)
        if isinstance(place, ChecksumTable):
            return _Entry(ListedFile(place.kind, name, version, 0), place.span())
        if not version:
            raise self._requests.refused("version", f"says no version of its {place.kind}")
        return _Entry(ListedFile(place.kind, name, version, 0), VersionPlace())

    async def _active_group(self, place: RegistersTable) -> int:
        table = place.active_group
        if table is None:
            return 1
        group = await self._requests.number(Span(table=table.table, address=table.address))
        if not 1 <= group <= table.groups:
            raise self._requests.refused("group", f"says that group {group} is active, there are 1..{table.groups}")
        return group

    # --- artefacts ----------------------------------------------------------------------------------------------

    async def _read_entry(self, entry: _Entry) -> DeviceFile:
        """Read one artefact whole, or what the device says of it."""
        begin_ms = self._clock.now_ms()
        if isinstance(entry.place, Span):
            word = await self._requests.registers(entry.place)
            return word_file(entry.listed, VENDOR_CHECKSUM, word, begin_ms, self._end_ms(begin_ms))
        if isinstance(entry.place, VersionPlace):
            word = entry.listed.version.encode()
            return word_file(entry.listed, VERSION_STRING, word, begin_ms, self._end_ms(begin_ms))
        content = FileBytes(entry.listed.kind)
        if isinstance(entry.place, RegistersTable):
            method, errors = RECORD_READ, await self._read_registers(entry.place, entry.group, content)
        else:
            method, errors = FULL_FILE, await self._read_file(entry.place, entry.listed.size, content)
        return DeviceFile(
            kind=entry.listed.kind,
            name=entry.listed.name,
            version=entry.listed.version,
            size=entry.listed.size,
            digest=content.result(),
            method=method,
            read_from_ms=begin_ms,
            read_to_ms=self._end_ms(begin_ms),
            errors=errors,
            content=None if errors else content.content(),
        )

    async def _read_file(self, first_file: int, size: int, content: FileBytes) -> tuple[str, ...]:
        if is_too_large(first_file, size):
            return ("bad-size",)
        return await self._requests.records(FileRecords(first_file, size, content, self._profile.records_max))

    async def _read_registers(self, place: RegistersTable, group: int, content: FileBytes) -> tuple[str, ...]:
        for block in place.blocks_of(group):
            content.update(await self._requests.registers(block))
        if await self._active_group(place) != group:
            raise self._requests.refused("group", "switched its setting group while that was read")
        return ()

    def _end_ms(self, begin_ms: int) -> int:
        return max(begin_ms, self._clock.now_ms())
