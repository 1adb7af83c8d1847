"""Folders into which somebody hostile may write: typed errors, no waiting, bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from agent.drivers import folder
from agent.drivers.errors import DeviceProtocolError, DeviceUnreachableError
from agent.drivers.folder import FolderFile
from agent.planned import read_within
from rules.fingerprint import fingerprint
from tests.unit.agent.folderbench import FIRMWARE, Bench, collect, open_files, profile_of
from wire.cbor import check_text


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    return collect(tmp_path)


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
