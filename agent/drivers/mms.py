"""IEC 61850 MMS: identity from name plates, files from the file service, settings from the active setting group.

The driver asks a child process (`agent.drivers.mms_link`), which alone loads the C library; this file knows no byte of
the protocol. It never asks for a write: of the setting groups only the active one can be read without.

Source: IEC 61850-7-3 (LPL, DPL), 7-2 (setting group control block), 8-1 (mapping to MMS); docs/spec/mms.md.
"""

from __future__ import annotations

import asyncio
import functools
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from agent.drivers.content import FileBytes
from agent.drivers.errors import DeviceBusyError, DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.mms_answers import Block, File, as_block, as_files, as_ieds, as_leaves, as_names, as_text
from agent.drivers.mms_link import DEAD, GRACE_MS, NO_ROOM, Child, ChildError, MmsCounters, start_child
from agent.drivers.mms_pipe import FILE_BYTES_MAX
from agent.drivers.mms_profile import SETTINGS, FileTable, MmsOptions, MmsProfile, SettingsTable
from agent.drivers.mms_settings import Setting, setting_text
from agent.drivers.scl import SCL_BYTES_MAX, SclError, SclIed, parse_scl
from agent.model import DeviceConfig, DeviceFile, ListedFile, Reading
from agent.profile import Profile
from kit.clock import Clock
from kit.exitcodes import StorageError
from kit.files import read_bounded
from kit.logs import get_logger
from wire.cbor import Value
from wire.errors import FormatError
from wire.evidence import Identity
from wire.types import INT_MAX, shown

SETTLING_READS: Final = 3
"""How often the settings are read anew when the group or a value changes meanwhile."""
LIST_ANSWERS: Final = 10
"""A list of names may take the device so many answers, each within its time."""
PIECE_BYTES: Final = 64 * 1024

_RETRY_PAUSE_MS: Final = 100
_PAUSE_MS_MAX: Final = 60_000
_UNREACHABLE: Final = ("lost", NO_ROOM, "unreachable", *DEAD)
_FOLDED: Final = re.compile(r"[\\/]+")
_COUNT: Final = re.compile(r"[0-9]{1,19}")

_log = get_logger("agent.mms")
ResultT = TypeVar("ResultT")


class MmsDriver:
    """Reads one device over one association, in a child process that is kept between reads and never shared."""

    def __init__(self, device: DeviceConfig, profile: Profile, clock: Clock) -> None:
        """Prepare the driver; nothing is started yet.

        Args:
            device: What agent.toml says of it.
            profile: Its specifics must be an `MmsProfile`.
            clock: Gives the read spans.
        """
        assert isinstance(profile.specifics, MmsProfile), "the loader chooses the schema by protocol"
        self._device = device
        self._profile = profile.specifics
        self._pacing = profile.pacing
        self._clock = clock
        self._child: Child | None = None
        self._ended_ms: int | None = None
        self._retries_left = 0
        self.counters = MmsCounters()

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        """Read the device: name plates, revisions, SCL, file directory, files, settings.

        Args:
            kinds: Read only artefacts of these kinds; None reads all.

        Raises:
            DeviceUnreachableError: It does not answer, or ends or hangs the child, also over new associations.
            DeviceProtocolError: It answers wrongly, also over new associations, or is not the IED of its SCL file.
        """
        self._retries_left = self._device.retries
        begin_ms = self._clock.now_ms()
        domain = await self._retrying(self._find_domain)
        identity = await self._retrying(functools.partial(self._read_identity, domain))
        revision = await self._retrying(functools.partial(self._read_revision, domain))
        await self._check_scl(domain)
        files: dict[str, DeviceFile] = {}
        listed: dict[str, ListedFile] = {}
        found = await self._retrying(self._find_files)
        for table, file in found:
            version = await self._retrying(functools.partial(self._attribute, domain, "DC", table.version))
            listed[table.kind] = ListedFile(table.kind, table.path, version, file.size)
            if kinds is None or table.kind in kinds:
                step = functools.partial(self._read_file, listed[table.kind], file.name)
                files[table.kind] = await self._retrying(step)
        if self._profile.settings is not None:
            read = await self._retrying(functools.partial(self._read_settings, domain, self._profile.settings))
            listed[SETTINGS] = ListedFile(SETTINGS, read.name, read.version, read.size)
            if kinds is None or SETTINGS in kinds:
                files[SETTINGS] = read
        end_ms = max(begin_ms, self._clock.now_ms())
        by_kind = tuple(listed[kind] for kind in sorted(listed))
        read_files = tuple(files[kind] for kind in sorted(files))
        return Reading(self._device.id, identity, by_kind, read_files, begin_ms, end_ms, revision)

    async def close(self) -> None:
        """End the child process, and with it the association."""
        child, self._child = self._child, None
        if child is not None:
            self._ended_ms = self._clock.monotonic_ms()
            await child.end()

    # --- associations and repeats ---------------------------------------------------------------------------------

    async def _retrying(self, step: Callable[[Child], Awaitable[ResultT]]) -> ResultT:
        """Take one step; after a failure end association and child, wait, and take the step again."""
        while True:
            try:
                return await step(await self._associated())
            except ChildError as error:
                failure = self._failure(error)
            except FormatError as error:
                failure = self._protocol_error("child-odd", f"is given answers of the wrong form: {error}")
            except DeviceProtocolError as error:
                failure = error
            await self.close()
            if self._retries_left == 0:
                raise failure
            attempt = self._device.retries - self._retries_left
            self._retries_left -= 1
            _log.debug("device_retry", device=self._device.id, reason=failure.reason, detail=failure.detail)
            await asyncio.sleep(min(_RETRY_PAUSE_MS << attempt, _PAUSE_MS_MAX) / 1000)

    async def _associated(self) -> Child:
        child = self._child
        if child is not None and child.is_alive and child.is_associated:
            return child
        if self._ended_ms is not None:
            rested_ms = self._clock.monotonic_ms() - self._ended_ms
            await asyncio.sleep(max(0, self._pacing.connect_pause_ms - rested_ms) / 1000)
        address = await self._address()
        child = self._child = await start_child(self._device.port, self.counters)
        self.counters.connections += 1
        patience_ms = 3 * self._device.timeout_ms + GRACE_MS
        port, timeout_ms = self._device.port, self._device.timeout_ms
        await child.ask("connect", patience_ms, host=address, port=port, timeout_ms=timeout_ms)
        child.is_associated = True
        return child

    async def _address(self) -> str:
        """Return the device's IPv4 address; the child may open no file, so that it could not look a name up."""
        host, port = self._device.host, self._device.port
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ChildError("unreachable", f"has no IPv4 address under the name {host}: {error.strerror}") from error
        return str(found[0][4][0])

    async def _ask(
        self, child: Child, call: str, answers: int, *, size: int | None = None, **arguments: Value
    ) -> Value:
        """Ask for one thing, again while the device is busy.

        Args:
            child: Associated.
            call: Name of a method of `agent.drivers.mms_reads.Reads`.
            answers: How many answers of the device it may take.
            size: Bytes that the device declares for a file.
            arguments: Of the call.
        """
        patience_ms = answers * self._device.timeout_ms + GRACE_MS
        for repeat in range(self._pacing.busy_repeats + 1):
            if self._device.pacing_ms:
                await asyncio.sleep(self._device.pacing_ms / 1000)
            try:
                return await child.ask(call, patience_ms, size=size, **arguments)
            except ChildError as error:
                if error.fault != "busy":
                    raise
                self.counters.busy += 1
                if repeat == self._pacing.busy_repeats:
                    raise
                await asyncio.sleep(min(self._pacing.busy_pause_ms << repeat, _PAUSE_MS_MAX) / 1000)
        raise AssertionError("the last repeat returns or raises")

    def _failure(self, error: ChildError) -> DeviceError:
        if error.fault == "busy":
            return DeviceBusyError(self._device.id, error.fault, error.detail)
        kind = DeviceUnreachableError if error.fault in _UNREACHABLE else DeviceProtocolError
        return kind(self._device.id, error.fault, error.detail)

    def _protocol_error(self, reason: str, detail: str) -> DeviceProtocolError:
        return DeviceProtocolError(self._device.id, reason, detail)

    # --- names and revisions --------------------------------------------------------------------------------------

    async def _find_domain(self, child: Child) -> str:
        """Return the logical device of the profile under its name in MMS, the IED's name before the instance."""
        names = as_names(await self._ask(child, "domains", LIST_ANSWERS))
        instance = self._profile.logical_device
        ours = [name for name in names if name.endswith(instance) and name != instance]
        if len(ours) != 1:
            what = f"has {len(ours)} logical devices whose name ends with {instance}, one is due"
            raise self._protocol_error("logical-device", what)
        return ours[0]

    async def _read_identity(self, domain: str, child: Child) -> Identity:
        table = self._profile.identity
        return Identity(
            vendor=await self._attribute(domain, "DC", table.vendor, child),
            product=await self._attribute(domain, "DC", table.product, child),
            revision=await self._attribute(domain, "DC", table.revision, child),
            serial=await self._attribute(domain, "DC", table.serial, child),
            model=await self._attribute(domain, "DC", table.model, child),
        )

    async def _read_revision(self, domain: str, child: Child) -> int | None:
        """Return what the device's counter of changes says, None where the profile names none (MM-11).

        Raises:
            ChildError: It could not be read.
            DeviceProtocolError: It is no number that evidence can carry.
        """
        if not self._profile.revision_at:
            return None
        text = await self._attribute(domain, "ST", self._profile.revision_at, child)
        if _COUNT.fullmatch(text) is None or int(text) > INT_MAX:
            what = f"counts {shown(text)} changes in {self._profile.revision_at}, a number 0..{INT_MAX} is due"
            raise self._protocol_error("revision", what)
        return int(text)

    async def _attribute(self, domain: str, constraint: str, attribute: str, child: Child) -> str:
        """Return an attribute as text, an empty text where the profile names none."""
        if not attribute:
            return ""
        node, _, rest = attribute.partition(".")
        item = f"{node}${constraint}${rest.replace('.', '$')}"
        return as_text(await self._ask(child, "value", 1, domain=domain, item=item))

    # --- SCL ------------------------------------------------------------------------------------------------------

    async def _check_scl(self, domain: str) -> None:
        """Compare IED name and configuration revision with every SCL file that there is (MM-9).

        Raises:
            DeviceProtocolError: They differ, or a file cannot be read.
        """
        options = self._device.options
        told = options.scl if isinstance(options, MmsOptions) else None
        if told is None and not self._profile.scl:
            return
        step = functools.partial(self._attribute, domain, "DC", self._profile.config_rev)
        revision = await self._retrying(step)
        if told is not None:
            self._compare(str(told), self._read_scl(told), domain, revision)
        if self._profile.scl:
            ieds = await self._retrying(self._fetch_scl)
            self._compare(f"{self._profile.scl} of the device", ieds, domain, revision)

    def _read_scl(self, path: Path) -> tuple[SclIed, ...]:
        try:
            return parse_scl(read_bounded(path, bytes_max=SCL_BYTES_MAX))
        except (OSError, StorageError, SclError) as error:
            raise self._protocol_error("scl", f"has an SCL file {path} that cannot be read: {error}") from error

    async def _fetch_scl(self, child: Child) -> tuple[SclIed, ...]:
        path = self._profile.scl
        file = (await self._list(child, (path,))).get(_folded(path))
        if file is None:
            raise self._protocol_error("scl", f"does not list its SCL file {path}")
        if file.size > SCL_BYTES_MAX:
            raise self._protocol_error("scl", f"declares {file.size} bytes for its SCL file {path}")
        await self._ask(child, "fetch", 1, size=file.size, path=file.name)
        return as_ieds(await self._ask(child, "scl", 1))

    def _compare(self, path: str, ieds: tuple[SclIed, ...], domain: str, revision: str) -> None:
        instance = self._profile.logical_device
        name = domain.removesuffix(instance)
        ours = [ied for ied in ieds if ied.name == name]
        if len(ours) != 1:
            named = ", ".join(sorted(ied.name for ied in ieds)[:3])
            raise self._protocol_error("scl-mismatch", f"is the IED {name}, but its SCL file {path} is of {named}")
        expected = dict(ours[0].revisions).get(instance, ours[0].version)
        if expected != revision:
            what = f"has configRev '{revision}', but its SCL file {path} says '{expected}'"
            raise self._protocol_error("scl-mismatch", what)

    # --- files ----------------------------------------------------------------------------------------------------

    async def _find_files(self, child: Child) -> list[tuple[FileTable, File]]:
        """Return the files of the profile that the device has; one that it does not list is missing, no error."""
        tables = self._profile.files
        listed = await self._list(child, tuple(table.path for table in tables))
        return [(table, listed[_folded(table.path)]) for table in tables if _folded(table.path) in listed]

    async def _list(self, child: Child, paths: tuple[str, ...]) -> dict[str, File]:
        """List the folders of some paths; some devices name files from the outermost folder, some from their own."""
        found: dict[str, File] = {}
        for folder in sorted({_folded(path).rpartition("/")[0] for path in paths}):
            asked = f"/{folder}"
            for file in as_files(await self._ask(child, "files", LIST_ANSWERS, folder=asked)):
                name = _folded(file.name)
                inside = name if not folder or name.startswith(f"{folder}/") else f"{folder}/{name}"
                found[inside] = File(file.name if inside == name else f"{asked}/{file.name}", file.size)
        return found

    async def _read_file(self, listed: ListedFile, path: str, child: Child) -> DeviceFile:
        """Read one file from its first to its last byte.

        Raises:
            ChildError: It could not be read.
            DeviceProtocolError: It has more bytes than the device declares.
        """
        begin_ms = self._clock.now_ms()
        running = FileBytes(listed.kind)
        errors: tuple[str, ...] = ()
        if listed.size > FILE_BYTES_MAX:
            errors = ("bad-size",)
        else:
            child.check_room(listed.size)
            size = await self._ask(child, "fetch", 1, size=listed.size, path=path)
            if not isinstance(size, int) or size > listed.size:
                what = f"lists {listed.name} with {listed.size} bytes and sends {shown(size)}"
                raise self._protocol_error("wrong-length", what)
            if size < listed.size:  # a write that fails for want of room shows in nothing else
                child.check_room(listed.size - size)
                errors = ("short-read",)
            for at in range(0, size, PIECE_BYTES):
                piece = child.piece(at, min(PIECE_BYTES, size - at))
                self.counters.bytes_read += len(piece)
                running.update(piece)
                await asyncio.sleep(0)
        end_ms = max(begin_ms, self._clock.now_ms())
        return DeviceFile(
            kind=listed.kind,
            name=listed.name,
            version=listed.version,
            size=listed.size,
            digest=running.result(),
            method="full-file",
            read_from_ms=begin_ms,
            read_to_ms=end_ms,
            errors=errors,
            content=None if errors else running.content(),
        )

    # --- settings -------------------------------------------------------------------------------------------------

    async def _read_settings(self, domain: str, table: SettingsTable, child: Child) -> DeviceFile:
        """Read the active group's values, again when the group, a value or the revision changes meanwhile.

        Raises:
            ChildError: A value could not be read.
            DeviceProtocolError: There are none, or they never stand still.
        """
        begin_ms = self._clock.now_ms()
        before = await self._state_of(domain, table, child)
        for _ in range(SETTLING_READS):
            values = await self._group_values(domain, child)
            after = await self._state_of(domain, table, child)
            if before == after:
                break
            before = after
        else:
            raise self._protocol_error("unsettled", f"changed its settings during each of {SETTLING_READS} reads")
        block, version, config_rev = before
        prefix = f"{self._profile.logical_device}/"
        heads = [
            Setting(f"{prefix}{table.control_block}.NumOfSG", str(block.groups), "integer"),
            Setting(f"{prefix}{table.control_block}.ActSG", str(block.active), "integer"),
            Setting(f"{prefix}{self._profile.config_rev}", config_rev, "text"),
        ]
        raw = setting_text([*heads, *values])
        running = FileBytes(SETTINGS)
        running.update(raw)
        self.counters.bytes_read += len(raw)
        return DeviceFile(
            kind=SETTINGS,
            name=f"{prefix}{table.control_block}",
            version=version,
            size=len(raw),
            digest=running.result(),
            method="record-read",
            read_from_ms=begin_ms,
            read_to_ms=max(begin_ms, self._clock.now_ms()),
            errors=(),
            content=running.content(),
        )

    async def _state_of(self, domain: str, table: SettingsTable, child: Child) -> tuple[Block, str, str]:
        """Return the control block and the revisions of parameters and configuration."""
        item = table.control_block.replace(".", "$SP$")
        block = as_block(await self._ask(child, "tree", 2, domain=domain, item=item))
        param_rev = await self._attribute(domain, "ST", table.param_rev, child)
        return block, param_rev, await self._attribute(domain, "DC", self._profile.config_rev, child)

    async def _group_values(self, domain: str, child: Child) -> list[Setting]:
        """Return every value under functional constraint SG of the logical device, in ascending order of names."""
        found: list[Setting] = []
        for item in as_names(await self._ask(child, "items", LIST_ANSWERS, domain=domain)):
            node = f"{self._profile.logical_device}/{item.partition('$')[0]}"
            found += as_leaves(await self._ask(child, "tree", 2, domain=domain, item=item), node)
        if not found:
            raise self._protocol_error("settings", "has a setting group control block and no value in any group")
        found.sort(key=lambda each: each.name)
        return found


def _folded(path: str) -> str:
    """Return a path with one kind of separator and none in front."""
    return _FOLDED.sub("/", path).strip("/")
