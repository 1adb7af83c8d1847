"""Files that another system collected: whole ones only, and never taken for more than copies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import load_agent_config
from agent.drivers import folder
from agent.drivers.content import FileBytes
from agent.drivers.errors import DeviceBusyError, DeviceProtocolError, DeviceUnreachableError
from agent.drivers.folder import FolderFile, FolderOptions
from kit.config import ConfigProblemsError
from rules.fingerprint import fingerprint
from tests.unit.agent.folderbench import FIRMWARE, Bench, collect, grow, profile_of
from tests.unit.agent.site import write_site


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    return collect(tmp_path)


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
