"""The event log's files: a ring of bounded size whose whole records can be read, whatever was cut off or damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.io.ring import KEPT_MAX, MAGIC, Ring, Segment, segments_of
from master.journal.graph import JournalError

MAX = 80_000
RECORDS = [b"first", b"second" * 50, b"third"]


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring(tmp_path / "events", tmp_path / "incidents", MAX)


def read(path: Path) -> tuple[list[bytes], int]:
    segment = Segment(path)
    return list(segment.records()), segment.torn_bytes


def written(ring: Ring, tmp_path: Path) -> Path:
    ring.open_segment()
    ring.append(RECORDS[:2])
    ring.append(RECORDS[2:])
    ring.close()
    ring.close()
    return segments_of(tmp_path / "events")[-1]


# holds EL-2
def test_ring_gives_back_every_record_in_order(ring: Ring, tmp_path: Path) -> None:
    path = written(ring, tmp_path)
    assert read(path) == (RECORDS, 0)
    assert segments_of(path) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    assert ring.size_bytes == path.stat().st_size


# holds EL-1
def test_ring_never_outgrows_its_bound_and_keeps_the_newest(ring: Ring, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    for number in range(40):
        ring.open_segment()
        ring.append([number.to_bytes(2, "big") * (ring.segment_bytes // 2)])
        assert sum(path.stat().st_size for path in segments_of(folder)) <= MAX
    newest = segments_of(folder)[-1]
    assert newest.name == "00000040.events"
    assert read(newest)[0][0].startswith((39).to_bytes(2, "big"))
    assert len(segments_of(folder)) >= 6


def test_ring_opened_by_another_start_goes_on_behind(ring: Ring, tmp_path: Path) -> None:
    first = written(ring, tmp_path)
    again = Ring(tmp_path / "events", tmp_path / "incidents", MAX)
    assert written(again, tmp_path).name > first.name


# holds EL-2
def test_segment_torn_at_any_byte_gives_back_its_whole_records(ring: Ring, tmp_path: Path) -> None:
    path = written(ring, tmp_path)
    whole = path.read_bytes()
    ends = [len(MAGIC)]
    for record in RECORDS:
        ends.append(ends[-1] + 8 + len(record))
    for length in range(len(MAGIC), len(whole) + 1, 3):
        path.write_bytes(whole[:length])
        count = sum(end <= length for end in ends) - 1
        assert read(path) == (RECORDS[:count], length - ends[count])
    path.write_bytes(whole + bytes(500))
    assert read(path) == (RECORDS, 500)


# holds EL-2
@pytest.mark.parametrize("at", [0, len(MAGIC) + 5, len(MAGIC) + 9, len(MAGIC) + 40])
def test_segment_damaged_before_its_last_record_is_refused(ring: Ring, tmp_path: Path, at: int) -> None:
    path = written(ring, tmp_path)
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(JournalError, match=r"damaged at byte|is no segment"):
        read(path)


def test_segment_with_an_impossible_length_ends_there(ring: Ring, tmp_path: Path) -> None:
    path = written(ring, tmp_path)
    for length in (b"\xff" * 8, b"\xff" * 8 + b"\xff\xff\xff\xff\0\0\0\0"):
        path.write_bytes(MAGIC + length)
        assert read(path) == ([], len(length))


# holds EL-6
def test_ring_keeps_incidents_aside_but_not_for_ever(ring: Ring, tmp_path: Path) -> None:
    path = written(ring, tmp_path)
    kept = [ring.keep() for _ in range(KEPT_MAX + 1)]
    assert [entry.name for entry in kept if entry is not None] == ["0001", "0002", "0003", "0004"]
    assert kept[-1] is None
    assert read(tmp_path / "incidents" / "0002" / path.name) == (RECORDS, 0)


def test_ring_short_write_is_continued(ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:7]))
    path = written(ring, tmp_path)
    monkeypatch.undo()
    assert read(path) == (RECORDS, 0)
