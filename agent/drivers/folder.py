"""Files that another system has collected: a PDC, a recorder, a maintenance PC behind an isolation device.

The driver sees copies, not the device, so that all it finds has the method ``relayed-file``. It reads whole files only:
one that changed a moment ago, or changes while it is read, is read again or not believed. It opens for reading alone.
"""

from __future__ import annotations

import asyncio
import fnmatch
import os
import re
import stat
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from agent.drivers.content import FileBytes
from agent.drivers.errors import DeviceBusyError, DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.link import LinkCounters
from agent.drivers.text import device_text
from agent.model import DeviceConfig, DeviceFile, ListedFile, Reading
from agent.profile import Profile
from kit.clock import Clock
from kit.config import rule
from wire.evidence import KINDS, Identity

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A larger file is not read."""
ENTRIES_MAX: Final = 100_000
"""Names in one folder."""
METHOD: Final = "relayed-file"
_PIECE_BYTES: Final = 256 * 1024
_NAME_PATTERN: Final = re.compile(r"[^/\x00]+")

Signature = tuple[int, int, int, int, int]
"""Device, inode, bytes, last change of content and of anything, nanoseconds: another one is another file."""
P = ParamSpec("P")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFile:
    """``[[folder.file]]``: one artefact, and how the other system names its file."""

    kind: str = field(metadata=rule(choices=KINDS))
    pattern: str = field(metadata=rule(pattern=_NAME_PATTERN, maximum=255))
    """Of file names, such as ``relay-7_*.set``."""
    choose: str = field(default="only", metadata=rule(choices=("newest", "only")))
    """Where several names match: the one that was changed last, or an error."""
    version: str = field(default="", metadata=rule(minimum=0, maximum=255))
    """Regular expression whose group 1, found in the file name, is the version; empty for none."""
    max_age_s: int | None = field(default=None, metadata=rule(minimum=1, unit="s"))
    """An older copy says nothing of the device as it is now."""

    def __post_init__(self) -> None:
        """Refuse an expression without a group.

        Raises:
            ValueError: It is none, or has no group.
        """
        try:
            groups = re.compile(self.version).groups
        except re.error as error:
            raise ValueError(f"version: is no regular expression: {error}") from None
        if self.version and groups != 1:
            raise ValueError(f"version: needs one group in parentheses, found {groups}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderProfile:
    """``[folder]``: what a system leaves where."""

    settle_s: int = field(default=5, metadata=rule(minimum=0, maximum=86_400, unit="s"))
    """A file counts once it has not changed for so long."""
    files: tuple[FolderFile, ...] = field(metadata=rule(key="file", minimum=1, maximum=len(KINDS), unique="kind"))

    def methods(self) -> Mapping[str, str]:
        """Return the method of each artefact kind: it is always a copy."""
        return {file.kind: METHOD for file in self.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """``[device.folder]``: where the files of one device are, and who it is as the other system knows it."""

    path: Path
    vendor: str = field(default="", metadata=rule(minimum=0, maximum=256))
    product: str = field(default="", metadata=rule(minimum=0, maximum=256))
    revision: str = field(default="", metadata=rule(minimum=0, maximum=256))
    serial: str = field(default="", metadata=rule(minimum=0, maximum=256))
    model: str = field(default="", metadata=rule(minimum=0, maximum=256))

    def identity(self) -> Identity:
        """Return who the device is, in text that evidence can carry."""
        names = ("vendor", "product", "revision", "serial", "model")
        return Identity(**{name: device_text(getattr(self, name).encode()) for name in names})


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file as the folder shows it."""

    kind: str
    path: Path
    version: str
    signature: Signature

    @property
    def size(self) -> int:
        """Bytes."""
        return self.signature[2]

    @property
    def changed_ms(self) -> int:
        """When its content was made, by the system that collected it."""
        return self.signature[3] // 1_000_000

    @property
    def touched_ms(self) -> int:
        """When it last changed here in any way; a copy may keep the time of its original."""
        return max(self.signature[3:]) // 1_000_000


class _MovedError(Exception):
    """The file changed while it was read."""


class FolderDriver:
    """Fingerprints the files that another system left of one device."""

    def __init__(
        self,
        device: DeviceConfig,
        profile: Profile,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare the driver; nothing is opened yet.

        Args:
            device: Its options must be `FolderOptions`.
            profile: Its specifics must be a `FolderProfile`.
            clock: Gives the read spans, and the age of files.
            sleep: Waits for so many seconds.
        """
        assert isinstance(profile.specifics, FolderProfile), "the loader chooses the schema by protocol"
        assert isinstance(device.options, FolderOptions), "the loader asks for the table"
        self._device = device
        self._profile = profile.specifics
        self._options = device.options
        self._clock = clock
        self._sleep = sleep
        self._seen: dict[Path, tuple[Signature, int]] = {}
        """Signature of each file, and since when (monotonic) it is the same."""
        self._thread: ThreadPoolExecutor | None = None
        self.counters = LinkCounters()

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        """Read the copies.

        Args:
            kinds: Read only files of these kinds; None reads all.

        Raises:
            DeviceUnreachableError: There is no such folder, no file in it, or one that is too old to say anything.
            DeviceBusyError: A file is being written.
            DeviceProtocolError: A name stands for something else than one regular file.
        """
        begin_ms = self._clock.now_ms()
        copies = await self._settled_list()
        files = [await self._read_settled(copy) for copy in copies if kinds is None or copy.kind in kinds]
        listed = tuple(_listed(copy) for copy in copies)
        end_ms = max(begin_ms, self._clock.now_ms())
        return Reading(self._device.id, self._options.identity(), listed, tuple(files), begin_ms, end_ms)

    async def close(self) -> None:
        """Let go of the thread that waits for the disk."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)

    # --- which files ----------------------------------------------------------------------------------------------

    async def _settled_list(self) -> tuple[_Copy, ...]:
        """Return the copies that there are, sorted by kind; wait for one that is being written.

        Raises:
            DeviceBusyError: It goes on being written.
        """
        left = self._device.retries
        while True:
            copies = await self._in_thread(self._list)
            fresh = self._freshest(copies)
            if fresh is None:
                return copies
            self.counters.busy += 1
            path, wait_ms = fresh
            if left == 0:
                raise self._busy(path)
            left -= 1
            await self._sleep(wait_ms / 1000)

    def _list(self) -> tuple[_Copy, ...]:
        folder = self._options.path
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for _, entry in zip(range(ENTRIES_MAX), entries, strict=False)]
        except OSError as error:
            raise DeviceUnreachableError(self._device.id, "no-folder", f"{folder}: {error.strerror}") from None
        found = [copy for file in self._profile.files if (copy := self._chosen(file, names)) is not None]
        if not found:
            # a mount that is away shows an empty folder: that says nothing of the device
            raise DeviceUnreachableError(self._device.id, "empty", f"{folder} holds no file that the profile names")
        return tuple(sorted(found, key=lambda copy: copy.kind))

    def _chosen(self, file: FolderFile, names: list[str]) -> _Copy | None:
        matching = [name for name in names if fnmatch.fnmatchcase(name, file.pattern) and not name.startswith(".")]
        copies = [copy for name in matching if (copy := self._copy(file, name)) is not None]
        if len(copies) > 1 and file.choose == "only":
            shown = ", ".join(sorted(copy.path.name for copy in copies)[:3])
            raise self._refused("ambiguous", f"{len(copies)} files are its {file.kind}: {shown}")
        if not copies:
            return None
        copy = max(copies, key=lambda one: (one.signature[3], one.path.name))
        age_ms = self._clock.now_ms() - copy.changed_ms
        if file.max_age_s is not None and age_ms > 1000 * file.max_age_s:
            detail = f"{copy.path} was collected {age_ms // 1000} s ago, at most {file.max_age_s} s are allowed"
            raise DeviceUnreachableError(self._device.id, "old-copy", detail)
        return copy

    def _copy(self, file: FolderFile, name: str) -> _Copy | None:
        path = self._options.path / name
        try:
            status = path.lstat()
        except FileNotFoundError:  # it went away between the list and now
            return None
        except OSError as error:
            raise self._unreadable(path, error) from None
        if not stat.S_ISREG(status.st_mode):
            raise self._refused("no-file", f"{path} is no regular file")
        match = re.search(file.version, name) if file.version else None
        version = "" if match is None else device_text((match[1] or "").encode())
        return _Copy(file.kind, path, version, _signature(status))

    def _freshest(self, copies: tuple[_Copy, ...]) -> tuple[Path, int] | None:
        """Return the copy that changed last and how many ms to wait for it, None where all have settled.

        A copy has settled by its own time, or, where that lies in the future, by what was seen of it.
        """
        now_ms, settle_ms = self._clock.monotonic_ms(), 1000 * self._profile.settle_s
        known, self._seen = self._seen, {}
        waits = []
        for copy in copies:
            signature, since_ms = known.get(copy.path, (copy.signature, now_ms))
            self._seen[copy.path] = (copy.signature, since_ms if signature == copy.signature else now_ms)
            quiet_ms = max(self._clock.now_ms() - copy.touched_ms, now_ms - self._seen[copy.path][1])
            if quiet_ms < settle_ms:
                waits.append((settle_ms - quiet_ms, copy.path))
        wait_ms, path = max(waits, default=(0, Path()))
        return (path, wait_ms) if wait_ms else None

    # --- one file -------------------------------------------------------------------------------------------------

    async def _read_settled(self, copy: _Copy) -> DeviceFile:
        """Read a file that must stay as it was listed."""
        begin_ms = self._clock.now_ms()
        content = FileBytes(copy.kind)
        errors: tuple[str, ...] = ()
        if copy.size > FILE_BYTES_MAX:
            errors = ("bad-size",)
        else:
            try:
                await self._in_thread(self._digest, copy, content)
            except _MovedError:
                self.counters.busy += 1
                raise self._busy(copy.path) from None
        listed = _listed(copy)
        return DeviceFile(
            kind=listed.kind,
            name=listed.name,
            version=listed.version,
            size=listed.size,
            digest=content.result(),
            method=METHOD,
            read_from_ms=begin_ms,
            read_to_ms=max(begin_ms, self._clock.now_ms()),
            errors=errors,
            content=None if errors else content.content(),
        )

    def _digest(self, copy: _Copy, content: FileBytes) -> None:
        """Digest a file whose name must stand for the same unchanged file before and after.

        Raises:
            _MovedError: It does not.
            DeviceProtocolError: It cannot be read.
        """
        try:
            # a name that became a link or a pipe meanwhile is neither followed nor waited for
            number = os.open(copy.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(number, "rb", buffering=0) as stream:
                self.counters.requests += 1
                if _signature(os.fstat(number)) != copy.signature:
                    raise _MovedError
                left = copy.size
                while left > 0 and (piece := stream.read(min(_PIECE_BYTES, left))):
                    left -= len(piece)
                    content.update(piece)
                    self.counters.bytes_read += len(piece)
                after = (_signature(os.fstat(number)), _signature(copy.path.lstat()))
        except FileNotFoundError:
            raise _MovedError from None
        except OSError as error:
            raise self._unreadable(copy.path, error) from None
        if left > 0 or after != (copy.signature, copy.signature):
            raise _MovedError

    async def _in_thread(self, work: Callable[P, ResultT], /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        """Run what may wait for a disk or a network mount in this device's own thread."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"folder-{self._device.id}")
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    def _busy(self, path: Path) -> DeviceBusyError:
        return DeviceBusyError(self._device.id, "busy", f"{path} is being written")

    def _refused(self, reason: str, detail: str) -> DeviceProtocolError:
        return DeviceProtocolError(self._device.id, reason, detail)

    def _unreadable(self, path: Path, error: OSError) -> DeviceError:
        return self._refused("unreadable", f"{path}: {error.strerror}")


def _listed(copy: _Copy) -> ListedFile:
    return ListedFile(copy.kind, device_text(os.fsencode(copy.path.name)), copy.version, copy.size)


def _signature(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
