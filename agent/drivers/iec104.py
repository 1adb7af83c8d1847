"""IEC 60870-5-104: identity, versions and checksums from points, artefacts by file transfer, measured values.

The driver is a controlling station that only asks: `wire.iec104.requests` is all that it can send. It knows no keys of
ours and no broker: it turns what a device answers into a `Reading`, or says why it could not.

Source: IEC 60870-5-104:2006; IEC 62351-3 for TLS.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from agent.drivers.content import FileBytes
from agent.drivers.errors import DeviceBusyError, DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.iec104_exchanges import DirectoryExchange, FileExchange, LengthExchange, PointsExchange
from agent.drivers.iec104_group import Group
from agent.drivers.iec104_link import Exchange, Iec104Counters, LinkLimits
from agent.drivers.iec104_points import Points
from agent.drivers.iec104_profile import (
    FULL_FILE,
    VENDOR_CHECKSUM,
    VERSION_STRING,
    ChecksumTable,
    FileTable,
    Iec104Options,
    Iec104Profile,
    Place,
)
from agent.drivers.link import LinkError
from agent.model import DeviceConfig, DeviceFile, ListedFile, MeasurementFrame, Reading, word_file
from agent.profile import Profile
from kit.clock import Clock
from kit.logs import get_logger
from kit.tls import client_context
from wire.evidence import Identity
from wire.iec104.errors import NOT_READY
from wire.iec104.pointread import InterrogationReader, PointReader
from wire.iec104.requests import Interrogate, InterrogateCounters

_RETRY_PAUSE_MS: Final = 100
_RETRY_PAUSE_MS_MAX: Final = 2000
_BUSY_PAUSE_MS_MAX: Final = 60_000
_UNREACHABLE: Final = ("closed", "refused", "timeout")

_log = get_logger("agent.iec104")
ResultT = TypeVar("ResultT")
ExchangeT = TypeVar("ExchangeT", bound=Exchange)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One artefact that there is, and where it is."""

    listed: ListedFile
    place: Place
    word: bytes = b""
    """What the device says of it, where it gives no file."""


class Iec104Driver:
    """Reads one device; its connections are kept between reads and never shared."""

    def __init__(self, device: DeviceConfig, profile: Profile, clock: Clock) -> None:
        """Prepare the driver; nothing is connected yet.

        Args:
            device: What agent.toml says of it.
            profile: Its specifics must be an `Iec104Profile`.
            clock: Gives the read spans.

        Raises:
            GridwitnessError: A certificate or key for TLS is missing, damaged or readable by others.
        """
        assert isinstance(profile.specifics, Iec104Profile), "the loader chooses the schema by protocol"
        options = device.options if isinstance(device.options, Iec104Options) else Iec104Options()
        self._device = device
        self._clock = clock
        self._profile = profile.specifics
        self._pacing = profile.pacing
        self._station = options.common_address or max(1, device.unit_id)
        self.counters = Iec104Counters()
        ends = [(device.host, device.port)]
        if options.second_host:
            ends.append((options.second_host, options.second_port or device.port))
        tls = device.tls
        self._group = Group(
            tuple(ends),
            LinkLimits(self._station, device.timeout_ms, device.pacing_ms, self._profile.link_parameters()),
            self.counters,
            context=None if tls is None else client_context(tls.ca, tls.certificate, tls.key),
            server_name="" if tls is None else tls.server_name,
            connect_pause_ms=self._pacing.connect_pause_ms,
            has_standby=self._pacing.connections > 1,
        )
        self._retries_left = 0

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
        identity, entries, revision = await self._retrying(self._list)
        wanted = [entry for entry in entries if kinds is None or entry.listed.kind in kinds]
        files = [await self._retrying(functools.partial(self._read_entry, entry, begin_ms)) for entry in wanted]
        listed = tuple(entry.listed for entry in entries)
        end_ms = self._end_ms(begin_ms)
        return Reading(self._device.id, identity, listed, tuple(files), begin_ms, end_ms, revision)

    async def measure(self) -> MeasurementFrame:
        """Interrogate the whole station and its counters; every point of the profile's list has come.

        Raises:
            DeviceUnreachableError: It does not answer, also not over new connections.
            DeviceProtocolError: It answers wrongly or not with every point, also over new connections.
        """
        self._retries_left = self._device.retries
        begin_ms = self._clock.now_ms()
        points = await self._retrying(self._interrogate)
        return MeasurementFrame(self._device.id, points.measured(), begin_ms, self._end_ms(begin_ms))

    async def close(self) -> None:
        """Close the connections."""
        self._group.close()

    # --- connections and repeats --------------------------------------------------------------------------------

    async def _retrying(self, step: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Take one step; after a failure close the connection, wait, and take the step again from its beginning."""
        while True:
            try:
                return await step()
            except LinkError as error:
                failure = self._failure(error)
            self._group.drop_active()
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

    async def _ask(self, make: Callable[[], ExchangeT]) -> ExchangeT:
        """Let an exchange run to its end, and again from its beginning while the device is not ready for it.

        Args:
            make: Gives a fresh exchange.

        Raises:
            LinkError: With the reason ``busy`` after too many repeats, or as the connection says.
        """
        repeats = 0
        while True:
            exchange = make()
            connection = await self._group.connected()
            try:
                await connection.ask(exchange)
            except LinkError as error:
                if error.reason != NOT_READY:
                    raise
                self.counters.busy += 1
                if repeats == self._pacing.busy_repeats:
                    raise LinkError("busy", f"is still not ready after {repeats} repeats: {error.detail}") from None
            else:
                return exchange
            await asyncio.sleep(min(self._pacing.busy_pause_ms << repeats, _BUSY_PAUSE_MS_MAX) / 1000)
            repeats += 1

    def _end_ms(self, begin_ms: int) -> int:
        return max(begin_ms, self._clock.now_ms())

    # --- points -------------------------------------------------------------------------------------------------

    async def _read_texts(self) -> Points:
        """Read the points of identity, versions, sizes and checksums."""
        addresses = self._profile.texts_at()
        if not addresses:
            return Points({})
        station, qualifier = self._station, self._profile.texts_qualifier
        if self._profile.texts == "read":
            exchange = await self._ask(lambda: PointsExchange(PointReader(station, addresses)))
        else:
            exchange = await self._ask(lambda: PointsExchange(InterrogationReader(Interrogate(station, qualifier))))
        points = Points(exchange.points)
        points.require(addresses, "identity and artefacts")
        return points

    async def _interrogate(self) -> Points:
        """Read all points, and counters if the profile lists some."""
        station = self._station
        exchange = await self._ask(lambda: PointsExchange(InterrogationReader(Interrogate(station))))
        found = dict(exchange.points)
        if any(table.is_counter() for table in self._profile.points):
            exchange = await self._ask(lambda: PointsExchange(InterrogationReader(InterrogateCounters(station))))
            found |= exchange.points
        points = Points(found)
        for table in self._profile.points:
            points.require_type(table)
        return points

    # --- artefacts ----------------------------------------------------------------------------------------------

    async def _list(self) -> tuple[Identity, tuple[_Entry, ...], int | None]:
        """Find out who the device is, which artefacts it has, and what it counts.

        An artefact without a file whose points are all invalid is not there.
        """
        points = await self._read_texts()
        table = self._profile.identity
        identity = Identity(
            vendor=points.text(table.vendor),
            product=points.text(table.product),
            revision=points.text(table.revision),
            serial=points.text(table.serial),
            model=points.text(table.model),
        )
        places = [place for place in self._profile.places() if not points.is_absent(place)]
        lengths = await self._lengths([place for place in places if isinstance(place, FileTable)])
        entries = [_entry(place, points, lengths) for place in places]
        found = tuple(entry for entry in entries if entry is not None)
        return identity, found, points.counter(self._profile.revision_at)

    async def _lengths(self, files: list[FileTable]) -> Mapping[tuple[int, int], int]:
        """Return the length of each file that there is, by address and name."""
        if not files:
            return {}
        directory = self._profile.directory
        if directory is not None:
            exchange = await self._ask(lambda: DirectoryExchange(self._station, directory))
            return {(entry.address, entry.name): entry.length for entry in exchange.entries}
        found: dict[tuple[int, int], int] = {}
        for file in files:
            make = functools.partial(LengthExchange, self._station, file.address, file.file)
            found[file.address, file.file] = (await self._ask(make)).length
        return found

    async def _read_entry(self, entry: _Entry, points_ms: int) -> DeviceFile:
        """Read one artefact, each in its way."""
        listed, place = entry.listed, entry.place
        if not isinstance(place, FileTable):
            method = VENDOR_CHECKSUM if isinstance(place, ChecksumTable) else VERSION_STRING
            return word_file(listed, method, entry.word, points_ms, self._end_ms(points_ms))
        begin_ms = self._clock.now_ms()

        def make() -> FileExchange:
            content = FileBytes(listed.kind)
            return FileExchange(self._station, place.address, place.file, listed.size, content, self.counters)

        exchange = await self._ask(make)
        errors = () if exchange.is_whole else ("short-read",)
        return DeviceFile(
            kind=listed.kind,
            name=listed.name,
            version=listed.version,
            size=listed.size,
            digest=exchange.content.result(),
            method=FULL_FILE,
            read_from_ms=begin_ms,
            read_to_ms=self._end_ms(begin_ms),
            errors=errors,
            content=None if errors else exchange.content.content(),
        )


def _entry(place: Place, points: Points, lengths: Mapping[tuple[int, int], int]) -> _Entry | None:
    """Return an artefact as the device says it is, None for a file that it does not have.

    Raises:
        LinkError: A point of it is of another type or not valid, or says nothing.
    """
    name, size, word = place.name, 0, b""
    if isinstance(place, FileTable):
        if (place.address, place.file) not in lengths:
            return None
        name = name or f"iec104-file-{place.address}-{place.file}"
        size = lengths[place.address, place.file]
    version = points.text(place.version_at)
    if isinstance(place, ChecksumTable):
        word = points.octets(place.address)
        size = 0 if place.size_at is None else int.from_bytes(points.octets(place.size_at), "big")
    elif not isinstance(place, FileTable):
        word = version.encode()
        if not word:
            raise LinkError("no-version", f"says no version of its {place.kind}")
    return _Entry(ListedFile(place.kind, name, version, size), place, word)
