"""Files of a simulated controlled station: byte-exact in sections, refused where there are none, never deleted."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Callable

import pytest

from firmware_sim.contents import artefact
from firmware_sim.device import Device
from firmware_sim.iec104.files import FILE_FIRST
from tests.unit.firmware_sim.bench import device
from tests.unit.firmware_sim.iec104.line import FIRMWARE, Line, asdu, bay, brief, elements, line_of
from wire.iec104.asdu import Directory, FileReady, LastSection, SectionReady, Segment

SC, AF = 122, 124
SELECT, CALL, DROP, DELETE, SELECT_SECTION, CALL_SECTION = 1, 2, 3, 4, 5, 6
FILE_TAKEN, SECTION_TAKEN, SECTION_NOT_TAKEN = 1, 3, 4


def on_line(talk: Callable[[Line], None], target: Device | None = None, **options: object) -> None:
    async def main() -> None:
        line = line_of(bay() if target is None else target, **options)
        line.start()
        talk(line)
        line.station.connection_lost(None)

    asyncio.run(main())


def call(action: int, *, address: int = FILE_FIRST, section: int = 0, name: int = 1, cause: int = 13) -> bytes:
    return asdu(SC, cause, struct.pack("<HBB", name, section, action), address=address)


def taken(verdict: int, section: int = 0, address: int = FILE_FIRST) -> bytes:
    return asdu(AF, 13, struct.pack("<HBB", 1, section, verdict), address=address)


def fetch(line: Line, address: int = FILE_FIRST) -> tuple[int, list[bytes]]:
    """Fetch a file as the standard says; return its announced length and its sections."""
    (ready,) = elements(line.ask(call(SELECT, address=address)))
    assert isinstance(ready, FileReady)
    assert not ready.is_refused
    (following,) = elements(line.ask(call(CALL, address=address)))
    sections: list[bytes] = []
    while isinstance(following, SectionReady):
        assert following.section == len(sections) + 1
        *segments, last = elements(line.ask(call(CALL_SECTION, section=following.section, address=address)))
        assert all(isinstance(item, Segment) for item in segments)
        data = b"".join(item.data for item in segments if isinstance(item, Segment))
        assert last == LastSection(1, following.section, 3, sum(data) % 256)
        assert len(data) == following.length
        sections.append(data)
        (following,) = elements(line.ask(taken(SECTION_TAKEN, following.section, address)))
    assert following == LastSection(1, len(sections), 1, sum(map(sum, sections)) % 256)
    assert line.ask(taken(FILE_TAKEN, address=address)) == []
    return ready.length, sections


@pytest.mark.parametrize("size", [1, 235, 236, 237, 16_383, 16_384, 16_385, 40_001, 1024 * 1024])
def test_file_of_any_size_arrives_whole(size: int) -> None:
    content = hashlib.shake_128(size.to_bytes(4, "big")).digest(size)

    def talk(line: Line) -> None:
        length, sections = fetch(line)
        assert length == size
        assert b"".join(sections) == content
        assert {len(section) for section in sections[:-1]} <= {16_384}

    on_line(talk, bay(content))


def test_empty_file_ends_without_a_section() -> None:
    on_line(_empty, device(artefact("firmware", "1", b"")))


def _empty(line: Line) -> None:
    assert fetch(line) == (0, [])


def test_file_has_at_most_255_sections_however_short_they_are() -> None:
    def talk(line: Line) -> None:
        _, sections = fetch(line)
        assert (len(sections), b"".join(sections)) == (255, FIRMWARE)

    on_line(talk, section_bytes=10)


def test_truncated_file_announces_the_size_that_it_had() -> None:
    target = bay()
    firmware = target.contents.artefacts["firmware"]
    target.load(target.contents.overwritten(firmware.with_content(FIRMWARE[:20_000], len(FIRMWARE))), noticed=False)

    def talk(line: Line) -> None:
        length, sections = fetch(line)
        assert (length, b"".join(sections)) == (len(FIRMWARE), FIRMWARE[:20_000])

    on_line(talk, target)


def test_directory_lists_the_files_and_marks_the_last() -> None:
    def talk(line: Line) -> None:
        found = elements(line.ask(call(0, address=0, name=0, cause=5)))
        entries = [entry for item in found if isinstance(item, Directory) for entry in item.entries]
        assert [(entry.address, entry.name, entry.length, entry.status) for entry in entries] == [
            (7001, 1, len(FIRMWARE), 0),
            (7003, 1, len(bay().contents.artefacts["settings"].content), 0x20),
        ]

    on_line(talk)


def test_section_that_was_not_taken_is_sent_again() -> None:
    def talk(line: Line) -> None:
        line.ask(call(SELECT))
        line.ask(call(CALL))
        line.ask(call(CALL_SECTION, section=1))
        (again,) = elements(line.ask(taken(SECTION_NOT_TAKEN, 1)))
        assert again == SectionReady(1, 1, 16_384, is_refused=False)
        *segments, _ = elements(line.ask(call(CALL_SECTION, section=1)))
        data = b"".join(item.data for item in segments if isinstance(item, Segment))
        assert data == FIRMWARE[:16_384]

    on_line(talk)


def test_section_may_be_selected_by_its_number() -> None:
    def talk(line: Line) -> None:
        line.ask(call(SELECT))
        line.ask(call(CALL))
        (ready,) = elements(line.ask(call(SELECT_SECTION, section=3)))
        assert ready == SectionReady(1, 3, len(FIRMWARE) - 2 * 16_384, is_refused=False)
        (refused,) = elements(line.ask(call(SELECT_SECTION, section=4)))
        assert refused == SectionReady(1, 4, 0, is_refused=True)

    on_line(talk)


@pytest.mark.parametrize(("address", "name"), [(7000, 1), (7002, 1), (7004, 1), (7001, 2), (0, 0)])
def test_file_that_is_not_there_is_not_ready(address: int, name: int) -> None:
    def talk(line: Line) -> None:
        (refused,) = elements(line.ask(call(SELECT, address=address, name=name)))
        assert refused == FileReady(name, 0, is_refused=True)

    on_line(talk)


def test_file_that_was_not_selected_is_not_sent() -> None:
    def talk(line: Line) -> None:
        for action in (CALL, CALL_SECTION):
            (refused,) = elements(line.ask(call(action, section=1)))
            assert isinstance(refused, SectionReady)
            assert refused.is_refused
        assert line.ask(taken(SECTION_TAKEN, 1)) == []

    on_line(talk)


def test_transfer_that_was_dropped_does_not_go_on() -> None:
    def talk(line: Line) -> None:
        line.ask(call(SELECT))
        assert line.ask(call(DROP)) == []
        (refused,) = elements(line.ask(call(CALL)))
        assert refused == SectionReady(1, 1, 0, is_refused=True)

    on_line(talk)


@pytest.mark.parametrize("raw", [call(DELETE), call(9), call(SELECT, cause=5)])
def test_deletion_and_calls_that_are_none_are_refused_and_the_file_stays(raw: bytes) -> None:
    def talk(line: Line) -> None:
        assert brief(line.ask(raw)) == [(SC, 45, True)]
        assert b"".join(fetch(line)[1]) == FIRMWARE

    on_line(talk)


def test_device_without_files_does_not_know_the_type() -> None:
    def talk(line: Line) -> None:
        assert brief(line.ask(call(0, address=0, name=0, cause=5))) == [(SC, 44, True)]

    on_line(talk, has_files=False)


def test_file_that_changes_while_it_is_read_arrives_changed() -> None:
    target = bay()

    def talk(line: Line) -> None:
        line.ask(call(SELECT))
        line.ask(call(CALL))
        line.ask(call(CALL_SECTION, section=1))
        firmware = target.contents.artefacts["firmware"]
        target.load(target.contents.overwritten(firmware.with_content(b"\xff" * len(FIRMWARE))), noticed=False)
        line.rest()
        line.ask(taken(SECTION_TAKEN, 1))
        segments = elements(line.ask(call(CALL_SECTION, section=2)))
        assert isinstance(segments[0], Segment)
        assert set(segments[0].data) == {0xFF}

    on_line(talk, target)
