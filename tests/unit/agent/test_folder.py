"""Files that another system collected: whole ones only, and never taken for more than copies."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from agent.config import load_agent_config
from agent.drivers import folder
from agent.drivers.content import FileBytes
from agent.drivers.errors import DeviceBusyError, DeviceError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.folder import FolderDriver, FolderFile, FolderOptions, FolderProfile
from agent.model import Reading
from agent.planned import read_within
from agent.profile import Profile
from kit.clock import FakeClock
from kit.config import ConfigProblemsError
from rules.fingerprint import fingerprint
from tests.unit.agent.bench import PROFILES, device_config
from tests.unit.agent.site import write_site
from wire.cbor import check_text

PROFILE = PROFILES["folder"]
FIRMWARE = bytes(range(256)) * 3000


def profile_of(*files: FolderFile, settle_s: int = 5) -> Profile:
    return replace(PROFILE, specifics=FolderProfile(settle_s=settle_s, files=files))


class Bench:
    """A folder, and a clock that stands ``ahead_s`` after the files' own times."""

    def __init__(self, path: Path, profile: Profile = PROFILE, *, ahead_s: int = 60, retries: int = 0) -> None:
        self.path = path
        self.clock = FakeClock(time.time_ns() // 1_000_000 + 1000 * ahead_s)
        self.slept_s: list[float] = []
        self.at_sleep: Callable[[], None] = lambda: None
        options = FolderOptions(path=path, vendor="V", model="M", serial="S\x07")
        self.config = device_config(0, protocol="folder", profile="folder", host="", options=options, retries=retries)
        self.driver = FolderDriver(self.config, profile, self.clock, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(round(1000 * seconds))
        self.at_sleep()

    def read(self, kinds: frozenset[str] | None = None) -> Reading:
        async def once() -> Reading:
            try:
                return await self.driver.read(kinds)
            finally:
                await self.driver.close()

        return asyncio.run(once())

    def failure(self) -> DeviceError:
        with pytest.raises(DeviceError) as caught:
            self.read()
        assert str(caught.value).startswith("device dev-a: ")
        return caught.value


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    (tmp_path / "relay.bin").write_bytes(FIRMWARE)
    (tmp_path / "settings-7.csv").write_bytes(b"1,Frequency,50.00\n")
    (tmp_path / "notes.txt").write_bytes(b"not of the device")
    return tmp_path


def test_files_are_read_as_copies_with_the_identity_of_the_configuration(collected: Path) -> None:
    bench = Bench(collected)
    found = bench.read()
    firmware, settings = found.files
    assert [(part.kind, part.name) for part in found.listed] == [
        ("firmware", "relay.bin"),
        ("settings", "settings-7.csv"),
    ]
    assert {part.method for part in found.files} == {"relayed-file"}
    assert firmware.digest == fingerprint(FIRMWARE)
    assert firmware.size == len(FIRMWARE)
    assert (settings.digest, settings.content) == (fingerprint(b"1,Frequency,50.00\n"), b"1,Frequency,50.00\n")
    assert (found.identity.vendor, found.identity.model, found.identity.serial) == ("V", "M", r"S\x07")
    assert (bench.driver.counters.requests, bench.driver.counters.bytes_read) == (2, len(FIRMWARE) + 18)


def test_only_the_kinds_that_are_asked_for_are_read(collected: Path) -> None:
    found = Bench(collected).read(frozenset({"settings"}))
    assert [part.kind for part in found.files] == ["settings"]
    assert len(found.listed) == 2


def test_one_byte_that_differs_gives_another_fingerprint(collected: Path) -> None:
    before = Bench(collected).read().files[0]
    changed = bytearray(FIRMWARE)
    changed[77_777] ^= 1
    (collected / "relay.bin").write_bytes(changed)
    after = Bench(collected).read().files[0]
    assert before.digest.sha256 != after.digest.sha256


def test_newest_of_several_files_counts_and_its_name_gives_the_version(collected: Path) -> None:
    for number, changed_s in ((8, 200), (9, 100)):
        path = collected / f"settings-{number}.csv"
        path.write_bytes(b"list %d" % number)
        os.utime(path, (0, changed_s))
    os.utime(collected / "settings-7.csv", (0, 50))
    newest = FolderFile(kind="settings", pattern="settings-*.csv", choose="newest", version=r"-(\d+)\.")
    (part,) = Bench(collected, profile_of(newest)).read().files
    assert (part.name, part.version) == ("settings-8.csv", "8")
    only = replace(newest, choose="only")
    error = Bench(collected, profile_of(only)).failure()
    assert isinstance(error, DeviceProtocolError)
    assert error.detail == "3 files are its settings: settings-7.csv, settings-8.csv, settings-9.csv"


def test_name_without_a_version_gives_none(collected: Path) -> None:
    file = FolderFile(kind="firmware", pattern="*.bin", version=r"_v(\d+)")
    assert Bench(collected, profile_of(file)).read().files[0].version == ""


# holds PF-9
@pytest.mark.parametrize("retries", [0, 2])
def test_file_that_keeps_changing_is_busy_and_gives_no_fingerprint(collected: Path, retries: int) -> None:
    (collected / "settings-7.csv").unlink()
    bench = Bench(collected, ahead_s=0, retries=retries)

    def write_on() -> None:
        with (collected / "relay.bin").open("ab") as stream:
            stream.write(b"more")
        later_ns = bench.clock.now_ms() * 1_000_000
        os.utime(collected / "relay.bin", ns=(later_ns, later_ns))

    write_on()
    bench.at_sleep = write_on
    error = bench.failure()
    assert isinstance(error, DeviceBusyError)
    assert error.detail == f"{collected / 'relay.bin'} is being written"
    assert bench.driver.counters.busy == retries + 1
    assert bench.driver.counters.requests == 0


def test_file_that_was_just_written_is_waited_for(collected: Path) -> None:
    bench = Bench(collected, ahead_s=0, retries=1)
    found = bench.read()
    assert found.files[0].digest == fingerprint(FIRMWARE)
    assert len(bench.slept_s) == 1
    assert 0 < bench.slept_s[0] <= 5


def test_file_from_the_future_settles_by_what_is_seen_of_it(collected: Path) -> None:
    ahead_s = time.time() + 86_400
    os.utime(collected / "relay.bin", (ahead_s, ahead_s))
    bench = Bench(collected, retries=1)
    assert bench.read().files[0].digest == fingerprint(FIRMWARE)
    assert bench.slept_s == [5.0]
    bench.read()
    assert bench.slept_s == [5.0]


def shrink(path: Path) -> None:
    os.truncate(path, 300_000)


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def overwrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"!")
    os.utime(path, (0, 0))


def exchange(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


# holds PF-9
@pytest.mark.parametrize("act", [shrink, grow, overwrite, exchange, remove])
def test_file_that_moves_while_it_is_read_is_busy_and_gives_no_fingerprint(
    collected: Path, act: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(collected)

    class Moved(FileBytes):
        def update(self, data: bytes) -> None:
            super().update(data)
            act(collected / "relay.bin")

    monkeypatch.setattr(folder, "FileBytes", Moved)
    error = bench.failure()
    assert isinstance(error, DeviceBusyError)
    assert error.detail == f"{collected / 'relay.bin'} is being written"


def test_file_that_moves_between_list_and_read_is_busy(collected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(collected)
    real = os.open

    def opening(path: Path, flags: int) -> int:
        grow(path)
        return real(path, flags)

    monkeypatch.setattr("agent.drivers.folder.os.open", opening)
    assert isinstance(bench.failure(), DeviceBusyError)


def test_copy_that_is_too_old_says_nothing_of_the_device(collected: Path) -> None:
    file = FolderFile(kind="firmware", pattern="*.bin", max_age_s=3600)
    assert Bench(collected, profile_of(file), ahead_s=3000).read().files[0].digest == fingerprint(FIRMWARE)
    error = Bench(collected, profile_of(file), ahead_s=4000).failure()
    assert isinstance(error, DeviceUnreachableError)
    assert error.reason == "old-copy"
    assert "at most 3600 s are allowed" in error.detail


# holds PF-9
def test_folder_that_is_missing_or_empty_is_unreachable_and_no_missing_artefact(tmp_path: Path) -> None:
    error = Bench(tmp_path / "away").failure()
    assert (type(error), error.reason) == (DeviceUnreachableError, "no-folder")
    error = Bench(tmp_path).failure()
    assert (type(error), error.reason) == (DeviceUnreachableError, "empty")


def test_file_that_is_gone_while_others_are_there_is_not_listed(collected: Path) -> None:
    (collected / "relay.bin").unlink()
    assert [entry.kind for entry in Bench(collected).read().listed] == ["settings"]


# holds PF-9
@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("notes.txt")])
def test_name_that_is_no_regular_file_is_refused_and_not_opened(collected: Path, make: Callable[[Path], None]) -> None:
    (collected / "relay.bin").unlink()
    make(collected / "relay.bin")
    error = Bench(collected).failure()
    assert isinstance(error, DeviceProtocolError)
    assert error.detail == f"{collected / 'relay.bin'} is no regular file"


# holds PF-10
def test_file_beyond_all_bounds_is_marked_and_not_read(collected: Path) -> None:
    os.truncate(collected / "relay.bin", folder.FILE_BYTES_MAX + 1)
    bench = Bench(collected)
    part = bench.read().files[0]
    assert (part.errors, part.digest.size) == (("bad-size",), 0)
    assert bench.driver.counters.bytes_read == 18


def test_hidden_files_of_a_copy_in_progress_do_not_count(collected: Path) -> None:
    (collected / ".relay.bin.tmp.bin").write_bytes(b"half")
    assert Bench(collected).read().files[0].digest == fingerprint(FIRMWARE)


# --- hostile folders ----------------------------------------------------------------------------------------------


class Entry:
    """One name of a folder that does not exist."""

    def __init__(self, name: str) -> None:
        self.name = name


class Listing:
    """A folder of very many names, which counts how many were taken."""

    def __init__(self, names: Iterator[str]) -> None:
        self.names = names
        self.taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Entry]:
        for name in self.names:
            self.taken += 1
            yield Entry(name)


# holds PF-10
@pytest.mark.parametrize(
    ("pattern", "taken", "what"),
    [
        ("other-{}", folder.ENTRIES_MAX + 1, "100000 names"),
        ("settings-{}.csv", folder.ENTRIES_MAX + 1, "100000 names"),
    ],
)
def test_folder_of_a_million_names_is_refused_and_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, taken: int, what: str
) -> None:
    listing = Listing(pattern.format(number) for number in range(1_000_000))
    monkeypatch.setattr("agent.drivers.folder.os.scandir", lambda _: listing)
    error = Bench(tmp_path).failure()
    assert isinstance(error, DeviceProtocolError)
    assert (error.reason, error.detail) == ("too-many", f"{tmp_path} holds more than {what}")
    assert listing.taken == taken


# holds PF-10
def test_folder_of_very_many_names_that_fit_is_refused_before_one_is_looked_at(
    collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = Listing(f"settings-{number}.csv" for number in range(folder.MATCHES_MAX + 1))
    monkeypatch.setattr("agent.drivers.folder.os.scandir", lambda _: listing)
    monkeypatch.setattr(Path, "lstat", None)
    error = Bench(collected).failure()
    assert error.detail == f"{collected} holds more than 10000 names that fit one file of the profile"


# holds PF-10
def test_folder_of_just_as_many_names_as_allowed_is_read(collected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (f"other-{number}" for number in range(folder.ENTRIES_MAX - 1))
    monkeypatch.setattr("agent.drivers.folder.os.scandir", lambda _: Listing(itertools.chain(names, ["relay.bin"])))
    assert Bench(collected).read().files[0].digest == fingerprint(FIRMWARE)


# holds PF-10
@pytest.mark.parametrize("name", ["a\x1b[2J\n.bin", "\x07\udc80\udcff.bin", "\u202eexe.bin", "\n" * 200 + ".bin"])
def test_name_with_control_characters_is_shown_with_escapes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FIRMWARE)
    file = FolderFile(kind="firmware", pattern="*.bin", version=r"(.*)\.bin")
    (part,) = Bench(tmp_path, profile_of(file)).read().files
    assert part.digest == fingerprint(FIRMWARE)
    check_text(part.name)
    check_text(part.version)
    assert f"{part.name}{part.version}".isprintable()
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/etc/hostname")
    error = Bench(tmp_path, profile_of(file)).failure()
    assert str(error).isprintable()
    (tmp_path / "b.bin").write_bytes(b"")
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(b"")
    error = Bench(tmp_path, profile_of(file)).failure()
    assert (error.reason, str(error).isprintable()) == ("ambiguous", True)


# holds PF-10
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENXIO])
@pytest.mark.parametrize("call", ["scandir", "open", "fstat", "read"])
def test_folder_or_file_that_cannot_be_read_is_a_typed_error(
    collected: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def failing(*_: object) -> object:
        raise OSError(number, os.strerror(number))

    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(f"agent.drivers.folder.os.{call}", failing)
        error = Bench(collected).failure()
    where = collected if call == "scandir" else collected / "relay.bin"
    kind = DeviceUnreachableError if call == "scandir" else DeviceProtocolError
    assert (type(error), error.detail) == (kind, f"{where}: {os.strerror(number)}")
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("notes.txt")


def to_socket(path: Path) -> None:
    path.unlink()
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


# holds PF-10
@pytest.mark.parametrize("act", [to_fifo, to_folder, to_link, to_socket])
def test_name_that_becomes_another_node_before_it_is_opened_is_an_error_and_never_waited_for(
    collected: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], None]
) -> None:
    real, before = os.open, open_files()

    def opening(path: Path, flags: int) -> int:
        act(path)
        return real(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr("agent.drivers.folder.os.open", opening)
        error = Bench(collected).failure()
    assert error.reason in {"busy", "unreadable"}
    assert open_files() == before


# holds PF-10
def test_folder_that_never_answers_keeps_one_thread_and_is_read_once_it_does(
    collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, answers, real = Bench(collected), threading.Event(), os.scandir

    def hanging(path: Path) -> object:
        answers.wait()
        return real(path)

    def waiting() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "folder-dev-a"]

    async def reads() -> list[str]:
        reasons = []
        for _ in range(3):
            with pytest.raises(DeviceUnreachableError) as caught:
                await read_within(bench.driver, replace(bench.config, deadline_ms=1))
            reasons.append(caught.value.reason)
            assert len(waiting()) == 1
        return reasons

    with monkeypatch.context() as patch:
        patch.setattr("agent.drivers.folder.os.scandir", hanging)
        assert asyncio.run(reads()) == ["deadline", "stuck", "stuck"]
    (thread,) = waiting()
    assert thread.daemon
    answers.set()
    thread.join()
    assert bench.read().files[0].digest == fingerprint(FIRMWARE)


def test_gateway_without_room_for_a_thread_says_so_and_reads_once_there_is(
    collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bench = Bench(collected)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        error = bench.failure()
    assert (type(error), error.reason) == (DeviceUnreachableError, "no-thread")
    assert bench.read().files[0].digest == fingerprint(FIRMWARE)


def test_copy_from_the_future_is_not_young_for_ever(collected: Path) -> None:
    file = FolderFile(kind="firmware", pattern="*.bin", max_age_s=3600)
    assert Bench(collected, profile_of(file), ahead_s=-3000, retries=1).read().files
    error = Bench(collected, profile_of(file), ahead_s=-4000).failure()
    assert (type(error), error.reason) == (DeviceUnreachableError, "future-copy")
    assert "s ahead of the gateway's clock" in error.detail


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("(", "is no regular expression"),
        ("v", "needs one group in parentheses, found 0"),
        ("(a)(b)", "found 2"),
    ],
)
def test_version_expression_that_cannot_work_is_refused(version: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FolderFile(kind="firmware", pattern="*.bin", version=version)


DEVICE = '[[device]]\nid = "relay-7"\nprotocol = "folder"\nprofile = "folder"\n'


def test_device_of_a_folder_has_a_path_from_the_configuration_and_no_address(tmp_path: Path) -> None:
    path = write_site(tmp_path, broker_port=1, devices=[], more=DEVICE + '[device.folder]\npath = "relay-7"\n')
    (device,) = load_agent_config(path).device_configs()
    assert isinstance(device.options, FolderOptions)
    assert device.options.path == tmp_path / "relay-7"
    assert (device.host, device.port) == ("", 0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (DEVICE, "table 'folder' is missing"),
        (DEVICE + 'host = "h"\n[device.folder]\npath = "p"\n', "protocol 'folder' has no network address"),
        (
            DEVICE.replace('"folder"', '"modbus"', 1) + 'host = "h"\n[device.folder]\npath = "p"\n',
            "a table for another",
        ),
        (DEVICE + "[device.folder]\n", "key 'path' is missing in [device[0].folder]"),
    ],
)
def test_device_of_a_folder_that_is_told_wrongly_is_refused(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(ConfigProblemsError) as caught:
        load_agent_config(write_site(tmp_path, broker_port=1, devices=[], more=more))
    assert message in str(caught.value)
