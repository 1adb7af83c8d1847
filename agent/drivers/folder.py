"""Files that another system has collected: a PDC, a recorder, a maintenance PC behind an isolation device.

The driver sees copies, not the device, so that all it finds has the method ``relayed-file``. It reads whole files only:
one that changed a moment ago, or changes while it is read, is read again or not believed. It opens for reading alone.

Whoever may write into the folder may be hostile: names, numbers of entries, kinds of nodes and what changes between two
looks are all checked or bounded, and a mount that never answers keeps one thread and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import functools
import os
import re
import stat
import threading
from collections.abc import Awaitable, Callable, Mapping
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
"""Names in one folder; with more of them nothing is said of the device."""
MATCHES_MAX: Final = 10_000
"""Names in one folder that fit a file of the profile."""
METHOD: Final = "relayed-file"
_PIECE_BYTES: Final = 256 * 1024
_SHOWN_CHARACTERS: Final = 64
"""Of each name, where several are told."""
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

    def counts_changes(self) -> bool:
        """Tell that nothing counts what happened to a device whose files are copies."""
        return False

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
        self._is_out = False
        """A thread is at the disk."""
        self.counters = LinkCounters()

    async def read(self, kinds: frozenset[str] | None = None) -> Reading:
        """Read the copies.

        Args:
            kinds: Read only files of these kinds; None reads all.

        Raises:
            DeviceUnreachableError: There is no such folder, no file in it, or one that is too old to say anything, or
                the folder does not answer.
            DeviceBusyError: A file is being written.
            DeviceProtocolError: A name stands for something else than one regular file, or there are too many.
        """
        begin_ms = self._clock.now_ms()
        copies = await self._settled_list()
        files = [await self._read_settled(copy) for copy in copies if kinds is None or copy.kind in kinds]
        listed = tuple(_listed(copy) for copy in copies)
        end_ms = max(begin_ms, self._clock.now_ms())
        return Reading(self._device.id, self._options.identity(), listed, tuple(files), begin_ms, end_ms)

    async def close(self) -> None:
        """Keep nothing open: there is nothing that stays so between two reads."""

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
            copy, wait_ms = fresh
            if left == 0:
                raise self._busy(copy)
            left -= 1
            await self._sleep(wait_ms / 1000)

    def _list(self) -> tuple[_Copy, ...]:
        folder = self._options.path
        try:
            names = self._matching(folder)
        except OSError as error:
            raise DeviceUnreachableError(self._device.id, "no-folder", f"{folder}: {error.strerror}") from None
        found = [copy for file in self._profile.files if (copy := self._chosen(file, names[file.kind])) is not None]
        if not found:
            # a mount that is away shows an empty folder: that says nothing of the device
            raise DeviceUnreachableError(self._device.id, "empty", f"{folder} holds no file that the profile names")
        return tuple(sorted(found, key=lambda copy: copy.kind))

    def _matching(self, folder: Path) -> dict[str, list[str]]:
        """Return the names of a folder that fit a file of the profile, by artefact kind; those with a dot do not count.

        Raises:
            OSError: It cannot be listed.
            DeviceProtocolError: It holds more names than anybody has collected of one device.
        """
        fitting: dict[str, list[str]] = {file.kind: [] for file in self._profile.files}
        count = 0
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries, start=1):
                if count > ENTRIES_MAX:
                    break
                for file in self._profile.files:
                    if fnmatch.fnmatchcase(entry.name, file.pattern) and not entry.name.startswith("."):
                        fitting[file.kind].append(entry.name)
        for limit, found in ((ENTRIES_MAX, count), *((MATCHES_MAX, len(names)) for names in fitting.values())):
            if found > limit:
                what = "names" if limit == ENTRIES_MAX else "names that fit one file of the profile"
                raise self._refused("too-many", f"{folder} holds more than {limit} {what}")
        return fitting

    def _chosen(self, file: FolderFile, names: list[str]) -> _Copy | None:
        copies = [copy for name in names if (copy := self._copy(file, name)) is not None]
        if len(copies) > 1 and file.choose == "only":
            names = sorted(_text(copy.path.name) for copy in copies)
            shown = ", ".join(name[:_SHOWN_CHARACTERS] for name in names[:3])
            raise self._refused("ambiguous", f"{len(copies)} files are its {file.kind}: {shown}")
        if not copies:
            return None
        copy = max(copies, key=lambda one: (one.signature[3], one.path.name))
        age_ms = self._clock.now_ms() - copy.changed_ms
        if file.max_age_s is not None and age_ms > 1000 * file.max_age_s:
            detail = f"{_shown(copy.path)} was collected {age_ms // 1000} s ago, at most {file.max_age_s} s are allowed"
            raise DeviceUnreachableError(self._device.id, "old-copy", detail)
        if file.max_age_s is not None and -age_ms > 1000 * file.max_age_s:
            # else it would never be too old
            detail = f"{_shown(copy.path)} is dated {-age_ms // 1000} s ahead of the gateway's clock"
            raise DeviceUnreachableError(self._device.id, "future-copy", detail)
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
            raise self._refused("no-file", f"{_shown(path)} is no regular file")
        match = re.search(file.version, name) if file.version else None
        version = "" if match is None else _text(match[1] or "")
        return _Copy(file.kind, path, version, _signature(status))

    def _freshest(self, copies: tuple[_Copy, ...]) -> tuple[_Copy, int] | None:
        """Return the copy that changed last and how many ms to wait for it, None where all have settled.

        A copy has settled by its own time, or, where that lies in the future, by what was seen of it.
        """
        now_ms, settle_ms = self._clock.monotonic_ms(), 1000 * self._profile.settle_s
        known, self._seen = self._seen, {}
        waits: list[tuple[int, _Copy]] = []
        for copy in copies:
            signature, since_ms = known.get(copy.path, (copy.signature, now_ms))
            self._seen[copy.path] = (copy.signature, since_ms if signature == copy.signature else now_ms)
            quiet_ms = max(self._clock.now_ms() - copy.touched_ms, now_ms - self._seen[copy.path][1])
            if quiet_ms < settle_ms:
                waits.append((settle_ms - quiet_ms, copy))
        if not waits:
            return None
        wait_ms, copy = max(waits, key=lambda wait: wait[0])
        return copy, wait_ms

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
                raise self._busy(copy) from None
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
            try:
                if _signature(os.fstat(number)) != copy.signature:
                    raise _MovedError
                self.counters.requests += 1
                left = self._digest_open(number, copy.size, content)
                after = (_signature(os.fstat(number)), _signature(copy.path.lstat()))
            finally:
                os.close(number)
        except FileNotFoundError:
            raise _MovedError from None
        except OSError as error:
            raise self._unreadable(copy.path, error) from None
        if left > 0 or after != (copy.signature, copy.signature):
            raise _MovedError

    def _digest_open(self, number: int, size: int, content: FileBytes) -> int:
        """Digest at most ``size`` bytes of an open file and return how many are missing."""
        left = size
        while left > 0 and (piece := os.read(number, min(_PIECE_BYTES, left))):
            left -= len(piece)
            content.update(piece)
            self.counters.bytes_read += len(piece)
        return left

    async def _in_thread(self, work: Callable[P, ResultT], /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        """Run what may wait for a disk or a network mount beside the loop, one at a time.

        A mount that hangs keeps its thread; no second one joins it, and the program ends without waiting for it.

        Raises:
            DeviceUnreachableError: An earlier look at the folder has not come back.
        """
        if self._is_out:
            detail = f"{self._options.path} has not answered since an earlier read"
            raise DeviceUnreachableError(self._device.id, "stuck", detail)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ResultT] = loop.create_future()

        def run() -> None:
            try:
                result = work(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                deliver = functools.partial(answer.set_exception, error)
            else:
                deliver = functools.partial(answer.set_result, result)
            self._is_out = False
            with contextlib.suppress(RuntimeError):  # the loop is gone, and with it who waited
                loop.call_soon_threadsafe(lambda: None if answer.done() else deliver())

        self._is_out = True
        try:
            threading.Thread(target=run, name=f"folder-{self._device.id}", daemon=True).start()
        except RuntimeError as error:
            self._is_out = False
            raise DeviceUnreachableError(self._device.id, "no-thread", f"cannot be looked at now: {error}") from None
        return await answer

    def _busy(self, copy: _Copy) -> DeviceBusyError:
        return DeviceBusyError(self._device.id, "busy", f"{_shown(copy.path)} is being written")

    def _refused(self, reason: str, detail: str) -> DeviceProtocolError:
        return DeviceProtocolError(self._device.id, reason, detail)

    def _unreadable(self, path: Path, error: OSError) -> DeviceError:
        return self._refused("unreadable", f"{_shown(path)}: {error.strerror}")


def _listed(copy: _Copy) -> ListedFile:
    return ListedFile(copy.kind, _text(copy.path.name), copy.version, copy.size)


def _text(name: str) -> str:
    """Return a name of the folder as text that evidence, log and terminal can carry."""
    return device_text(os.fsencode(name))


def _shown(path: Path) -> str:
    """Return a path whose last part somebody else has chosen."""
    return f"{path.parent}/{_text(path.name)}"


def _signature(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
