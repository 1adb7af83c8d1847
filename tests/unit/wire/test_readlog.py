from __future__ import annotations

from dataclasses import replace

import pytest

from wire import cbor
from wire.errors import FormatError, ProofError
from wire.readlog import (
    START,
    Anchor,
    ReadEntry,
    Segment,
    SegmentHead,
    check_log,
    frame,
    read_segment,
)
from wire.types import sha256

HEAD = SegmentHead("test-01234567", "dispatch", 1, START)


def entries(count: int, first: int = 1, previous: bytes = START) -> tuple[ReadEntry, ...]:
    made: list[ReadEntry] = []
    for index in range(first, first + count):
        entry = ReadEntry(index, 5, 6, "lab", bytes(16), "settings", "device/dev-1", "/v1/blobs/00", "owner", previous)
        made.append(entry)
        previous = entry.digest()
    return tuple(made)


ALL = entries(6)
FIRST = Segment(HEAD, ALL[:4], 0)
SECOND = Segment(replace(HEAD, first=5, previous=ALL[3].digest()), ALL[4:], 0)
ANCHORS = tuple(Anchor(number, count, ALL[count - 1].digest()) for number, count in ((1, 2), (2, 5)))


def bytes_of(segment: Segment) -> bytes:
    return b"".join(map(frame, (segment.head.encode(), *(entry.encode() for entry in segment.entries))))


# holds RD-1
def test_segment_round_trips_and_a_torn_end_is_told() -> None:
    raw = bytes_of(FIRST)
    assert read_segment(raw, "log") == FIRST
    assert read_segment(raw + b"\x00\x00", "log") == replace(FIRST, torn_bytes=2)
    assert read_segment(raw[:-1], "log").entries == ALL[:3]


# holds RD-1
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "does not begin"),
        (frame(b"\xa0"), "does not begin"),
        (frame(ALL[0].encode()), "does not begin"),
        (b"\x00\x00\x04\x01" + bytes(1025), "longer than 1024 bytes"),
        (bytes_of(FIRST) + frame(b"\xa0"), "log: entry 5 is damaged"),
        (bytes_of(FIRST) + frame(b"\xff"), "log: entry 5 is damaged"),
    ],
)
def test_segment_of_another_form_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        read_segment(raw, "log")


# holds RD-2
def test_entry_holds_the_digest_of_the_one_before() -> None:
    value = cbor.decode_map(ALL[1].encode())
    assert value["previous"] == sha256(ALL[0].encode())
    assert (value["class"], value["index"], ALL[0].previous) == ("settings", 2, bytes(32))


# holds RD-3 RD-4
def test_whole_log_agrees_with_its_anchors() -> None:
    found = check_log([FIRST, SECOND], ANCHORS)
    assert (found.member, found.first, found.last, found.anchored) == ("dispatch", 1, 6, 5)
    assert found.head == ALL[5].digest()
    assert check_log([], []).last == 0
    assert check_log([replace(FIRST, entries=())], []).last == 0


# holds RD-4
def test_log_whose_old_segments_are_gone_still_agrees() -> None:
    found = check_log([SECOND], (*ANCHORS[:1], Anchor(2, 4, ALL[3].digest()), Anchor(3, 6, ALL[5].digest())))
    assert (found.first, found.last, found.anchored) == (5, 6, 6)
    with pytest.raises(ProofError, match=r"entry 1: it or one up to 4 is not what anchor 1 of 4 entries"):
        check_log([SECOND], [Anchor(1, 4, bytes(32))])


def rechained(at: int, account: str) -> list[Segment]:
    """Change one entry and chain all that follow it anew, as whoever holds the file can."""
    made = list(ALL[: at - 1])
    for entry in ALL[at - 1 :]:
        previous = made[-1].digest() if made else START
        made.append(replace(entry, previous=previous, account=account if entry.index == at else entry.account))
    head = replace(SECOND.head, previous=made[3].digest())
    return [Segment(HEAD, tuple(made[:4]), 0), Segment(head, tuple(made[4:]), 0)]


# holds RD-3 RD-4
@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ([replace(FIRST, entries=(ALL[0], replace(ALL[1], account="x"), *ALL[2:])), SECOND], r"^entry 1:|^entry 2:"),
        ([replace(FIRST, entries=(*ALL[:2], replace(ALL[2], account="x"), ALL[3])), SECOND], "^entry 3:"),
        ([replace(FIRST, entries=(replace(ALL[0], previous=bytes(31) + b"x"),))], "^entry 1:"),
        ([replace(FIRST, entries=(*ALL[:2], replace(ALL[2], previous=START), ALL[3])), SECOND], "^entry 3:"),
        ([replace(FIRST, entries=(ALL[0], *ALL[2:4])), SECOND], "^entry 2: entry 3 stands in its place"),
        ([FIRST, replace(SECOND, entries=ALL[5:])], "^entry 5: entry 6 stands"),
        ([FIRST, replace(SECOND, head=replace(SECOND.head, previous=START))], "^entry 5: the next segment"),
        ([FIRST, replace(SECOND, head=replace(SECOND.head, member="other"))], "^entry 5: the next segment"),
        ([replace(FIRST, torn_bytes=3), SECOND], "^entry 5: the next segment"),
        ([replace(FIRST, head=replace(HEAD, previous=b"x" * 32))], "^entry 1: the log does not begin"),
        ([replace(FIRST, entries=ALL[:3])], r"^entry 4: it is missing; anchor 2 names 5 entries"),
        ([], r"^entry 1: it is missing; anchor 1 names 2 entries"),
        (rechained(1, "x"), r"^entry 1: it or one up to 2 is not what anchor 1"),
        (rechained(4, "x"), r"^entry 3: it or one up to 5 is not what anchor 2"),
    ],
)
def test_log_that_was_changed_is_found_with_its_first_wrong_entry(segments: list[Segment], reason: str) -> None:
    with pytest.raises(ProofError, match=reason):
        check_log(segments, ANCHORS)
