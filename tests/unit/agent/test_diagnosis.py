"""What differs is named: from the reading to the evidence, the log, the status and the command line."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.attest import to_item
from agent.diagnosing import Diagnostics
from agent.diagnosis import diagnose, expected_of, sentences, to_value, where
from agent.io.packages import Kept, PackageStore
from agent.model import DeviceFile, Reading, word_file
from agent.poller import DevicePoller
from kit.clock import FakeClock
from kit.exitcodes import DataError, StorageError
from rules.fingerprint import fingerprint
from rules.items.root import items_of
from rules.items.table import read_items
from rules.package import Package, Part
from tests.unit.agent.bench import NOW_MS, FakeDriver, device_config, file, listed, reading
from wire.difference import Difference
from wire.evidence import decode_item
from wire.release import Reference, Release
from wire.types import CHUNK_BYTES, sha256

SALT = bytes(32)
FIRMWARE = bytes(range(256)) * 1024
"""Four chunks."""
SETTINGS = b"""number,name,value,unit,min,max
17,UFLS stage 1 frequency,49.00,Hz,45.00,49.50
18,UFLS stage 1 delay,0.15,s,0.05,10.00
"""
CHANGED = SETTINGS.replace(b"49.00", b"48.50")
FLIPPED = FIRMWARE[:CHUNK_BYTES] + b"!" + FIRMWARE[CHUNK_BYTES + 1 :]


def package(
    release: str = "r-1", *, device: str | None = "sps-1", model: str | None = None, items: bool = True, **files: bytes
) -> Package:
    files = files or {"firmware": FIRMWARE, "settings": SETTINGS}
    references, parts = [], []
    for kind, content in sorted(files.items()):
        digest = fingerprint(content)
        found = read_items(content) if items and kind != "firmware" else None
        root = None if found is None else items_of(found, SALT)
        name = f"{kind}.bin"
        references.append(Reference(kind, name, "1", digest.size, digest.sha256, digest.chunk_root, root))
        parts.append(Part(kind, digest.leaves, found))
    return Package(Release(release, "alder", device, model, tuple(references)), SALT, tuple(parts))


def read(kind: str, content: bytes, /, **changes: object) -> DeviceFile:
    made = replace(file(kind, content), content=None if kind == "firmware" else content)
    return replace(made, **changes)  # type: ignore[arg-type]


def said(part: DeviceFile, made: Package | None = None) -> list[str]:
    return sentences(diagnose(part, expected_of(made or package())[part.kind]))


# --- one file


@pytest.mark.parametrize(
    ("part", "numbers", "lines"),
    [
        (read("settings", SETTINGS), None, ["as in release r-1"]),
        (
            read("settings", CHANGED),
            ("items", 1, (17,)),
            [
                "differs from release r-1 in 1 item",
                "setting 17 UFLS stage 1 frequency: 49.00 Hz expected, 48.50 Hz read",
            ],
        ),
        (
            read("settings", SETTINGS.replace(b"\n", b"\r\n")),
            ("items", 0, ()),
            ["settings: all settings are the same, the file is written otherwise than in release r-1"],
        ),
        (
            read("settings", b"garbage\xff"),
            ("chunks", 1, (0,)),
            ["settings: bytes 0..117 differ from release r-1 (it cannot be read as csv: byte 7 is no UTF-8)"],
        ),
        (
            read("settings", CHANGED, content=None),
            ("chunks", 1, (0,)),
            ["settings: bytes 0..117 differ from release r-1 (files of more than 262144 bytes are not looked into)"],
        ),
        (
            read("firmware", FLIPPED),
            ("chunks", 1, (1,)),
            ["firmware: bytes 65536..131071 differ from release r-1"],
        ),
        (
            read("firmware", FLIPPED + b"!"),
            ("chunks", 2, (1, 4)),
            ["firmware: bytes 65536..131071, 262144..262144 differ from release r-1"],
        ),
        (
            read("firmware", b"", size=9, errors=("short-read",)),
            None,
            ["firmware: differs from release r-1 (full-file, short-read: nothing more can be said)"],
        ),
    ],
)
def test_diagnosis_names_items_or_chunks(
    part: DeviceFile, numbers: tuple[str, int, tuple[int, ...]] | None, lines: list[str]
) -> None:
    made = package()
    diagnosis = diagnose(part, expected_of(made)[part.kind])
    reference = next(entry.sha256 for entry in made.release.artefacts if entry.kind == part.kind)
    assert diagnosis.difference == (None if numbers is None else Difference(reference, *numbers))
    assert sentences(diagnosis) == lines


def test_diagnosis_without_items_in_the_release_names_chunks_and_says_why() -> None:
    assert said(read("settings", CHANGED), package(items=False)) == [
        "settings: bytes 0..117 differ from release r-1 (the reference value is not understood as a list of items)"
    ]


def test_diagnosis_of_a_devices_word_or_of_unknown_chunks_names_nothing() -> None:
    made = package()
    word = word_file(listed(read("firmware", FIRMWARE)), "vendor-checksum", b"\x9f", NOW_MS, NOW_MS)
    assert said(word) == ["firmware: differs from release r-1 (vendor-checksum: nothing more can be said)"]
    bare = replace(made, parts=tuple(replace(part, chunks=None) for part in made.parts))
    assert said(read("firmware", FLIPPED), bare) == ["firmware: differs from release r-1"]


def test_diagnosis_of_many_items_shows_the_first_and_counts_the_rest() -> None:
    rows = [f"{number},s{number},1.0\n" for number in range(1, 101)]
    before = ("number,name,value\n" + "".join(rows)).encode()
    made = package(settings=before)
    diagnosis = diagnose(read("settings", before.replace(b"1.0", b"2.0")), expected_of(made)["settings"])
    assert diagnosis.difference is not None
    assert (diagnosis.difference.count, diagnosis.difference.numbers) == (100, tuple(range(1, 17)))
    assert where(diagnosis).endswith("setting 16 s16 and 84 more differ from release r-1")
    assert len(sentences(diagnosis)) == 66
    assert sentences(diagnosis)[-1] == "and 36 more; --json shows all"
    value = to_value(diagnosis)
    assert isinstance(value["items"], list)
    assert len(value["items"]) == 100
    assert value["items"][0] == {
        "number": 1,
        "label": "s1",
        "expected": True,
        "read": True,
        "cells": [{"column": "value", "expected": "1.0", "read": "2.0", "same_number": False}],
    }


def test_where_tells_no_value() -> None:
    text = where(diagnose(read("settings", CHANGED), expected_of(package())["settings"]))
    assert text == "settings: setting 17 UFLS stage 1 frequency differs from release r-1"


# --- the store


def test_store_keeps_packages_and_finds_the_newest_for_a_device_before_one_for_its_model(tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    store.refresh()
    assert store.find("sps-1", "SC-9000", "settings") is None
    model = store.add(package("r-model", device=None, model="SC-9000"))
    first, second = store.add(package("r-1", settings=SETTINGS)), store.add(package("r-2", settings=CHANGED))
    store.refresh()
    place = store.find("sps-1", "SC-9000", "settings")
    assert place is not None
    assert (place.kept, place.sha256) == (second, sha256(CHANGED))
    place = store.find("sps-1", "SC-9000", "firmware")
    assert place is not None
    assert place.kept == model
    assert store.find("sps-2", "SC-1", "settings") is None
    assert store.load(second) == package("r-2", settings=CHANGED)
    assert second.path.stat().st_mode & 0o777 == 0o600
    # the same again becomes the newest, once
    again = store.add(package("r-1", settings=SETTINGS))
    store.refresh()
    assert [kept.number for kept in store.kept()] == [1, 3, 4]
    assert not first.path.exists()
    store.remove(again)
    store.remove(again)
    store.refresh()
    assert store.find("sps-1", "", "settings") is not None
    assert [kept.digest for kept in store.kept()] == [model.digest, second.digest]


def test_store_leaves_damaged_packages_aside(tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    kept = store.add(package())
    other = kept.path.with_name(f"000002-{'0' * 64}.cbor")
    other.write_bytes(kept.path.read_bytes())
    kept.path.with_name("notes.txt").write_text("not ours")
    kept.path.write_bytes(kept.path.read_bytes()[:-1] + b"!")
    store.refresh()
    store.refresh()
    assert store.kept() == ()
    with pytest.raises(DataError, match="is no release package"):
        store.load(kept)
    store.remove(Kept(2, other, kept.digest, kept.release))
    store.refresh()
    assert store.kept() == ()


def test_store_that_is_full_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.io.packages.PACKAGES_MAX", 1)
    store = PackageStore(tmp_path)
    store.add(package("r-1"))
    store.add(package("r-1"))
    with pytest.raises(StorageError, match="holds 1 packages already"):
        store.add(package("r-2"))


# --- readings


class Bench:
    def __init__(self, tmp_path: Path, *answers: Reading) -> None:
        self.store = PackageStore(tmp_path)
        self.diagnostics = Diagnostics(self.store)
        self.driver = FakeDriver(list(answers))
        config = device_config(502, id="sps-1")
        self.changes = 0
        self.poller = DevicePoller(
            config, self.driver, None, FakeClock(NOW_MS), self._changed, diagnostics=self.diagnostics
        )

    def _changed(self) -> None:
        self.changes += 1

    def add(self, made: Package) -> None:
        self.store.add(made)
        self.store.refresh()

    def poll(self) -> dict[str, Difference | None]:
        asyncio.run(self.poller.poll())
        state = self.poller.state
        assert state is not None
        assert state.item is not None
        assert decode_item(state.item.to_value()) == state.item
        return {artefact.kind: artefact.difference for artefact in state.item.artefacts}


def both(firmware: bytes = FIRMWARE, settings: bytes = SETTINGS) -> Reading:
    return reading(read("firmware", firmware), read("settings", settings))


def test_poll_with_a_package_puts_numbers_into_the_item(tmp_path: Path) -> None:
    bench = Bench(tmp_path, both(FLIPPED, CHANGED))
    bench.add(package())
    assert bench.poll() == {
        "firmware": Difference(sha256(FIRMWARE), "chunks", 1, (1,)),
        "settings": Difference(sha256(SETTINGS), "items", 1, (17,)),
    }
    assert bench.poller.differences() == (
        "firmware: bytes 65536..131071 differ from release r-1",
        "settings: setting 17 UFLS stage 1 frequency differs from release r-1",
    )
    bench.poll()
    assert bench.changes == 1


def test_poll_without_a_package_reports_the_file_alone_and_anew_when_it_comes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, both(settings=CHANGED))
    assert bench.poll() == {"firmware": None, "settings": None}
    assert bench.poller.differences() == ()
    bench.add(package())
    assert bench.poll()["settings"] == Difference(sha256(SETTINGS), "items", 1, (17,))
    assert bench.changes == 2
    bench.driver.answers[0] = both()
    assert bench.poll() == {"firmware": None, "settings": None}
    assert bench.poller.differences() == ()
    assert bench.changes == 3


def test_poll_with_the_package_of_a_model_goes_by_what_the_device_says(tmp_path: Path) -> None:
    bench = Bench(tmp_path, both(settings=CHANGED))
    bench.add(package(device=None, model="SC-9000"))
    assert bench.poll()["settings"] is not None


def test_package_that_vanished_leaves_the_difference_of_the_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, both(settings=CHANGED))
    bench.add(package())
    bench.store.kept()[0].path.unlink()
    assert bench.poll() == {"firmware": None, "settings": None}
    assert bench.poller.differences() == ()


def test_looking_lets_content_go_and_keeps_what_was_seen_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.add(package())
    looked = asyncio.run(bench.diagnostics.look(both(FLIPPED, CHANGED)))
    assert all(part.content is None and part.digest.leaves == () for part in looked.files)
    assert asyncio.run(bench.diagnostics.look(looked)) == looked
    firmware = replace(looked, listed=looked.listed[:1], files=looked.files[:1])
    asyncio.run(bench.diagnostics.look(firmware))
    assert bench.diagnostics.said("sps-1") == ("firmware: bytes 65536..131071 differ from release r-1",)
    emptied = asyncio.run(bench.diagnostics.look(both(b"", CHANGED)))
    assert emptied.files[0].difference == Difference(sha256(FIRMWARE), "chunks", 4, (0, 1, 2, 3))


def test_file_that_is_never_read_alike_has_no_difference(tmp_path: Path) -> None:
    wobbly = [both(settings=CHANGED.replace(b"48.50", f"48.5{number}".encode())) for number in range(4)]
    bench = Bench(tmp_path, *wobbly)
    bench.add(package())
    assert bench.poll()["settings"] is None
    assert bench.poller.state is not None
    assert bench.poller.state.item is not None
    assert bench.poller.state.item.artefacts[1].errors == ("unstable",)


def test_item_of_a_reading_carries_the_difference() -> None:
    difference = Difference(sha256(SETTINGS), "items", 1, (17,))
    item = to_item(reading(read("settings", CHANGED, difference=difference)))
    assert item.artefacts[0].difference == difference
