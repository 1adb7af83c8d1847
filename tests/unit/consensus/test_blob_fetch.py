from __future__ import annotations

from dataclasses import replace

import pytest

from master.consensus import blob_fetch
from master.consensus.blob_fetch import AT_ONCE_MAX, AddPart, BlobEffect, BlobFetch
from master.consensus.blob_messages import PART_BYTES_MAX, BlobPart, GetBlob
from master.consensus.events import Now, Report, Send
from wire.blob import BlobRef

MEMBERS = ("a", "b", "c")
SIZE = PART_BYTES_MAX + 5
BLOB = BlobRef(bytes(32), SIZE)
SMALL = BlobRef(bytes([1]) * 32, 3)


class Bench:
    """A fetch with its clock; time passes by hand."""

    def __init__(self) -> None:
        self.fetch = BlobFetch(100)
        self.now = Now(0, 1_000)

    def tick(self, *members: str) -> list[BlobEffect]:
        return self.fetch.tick(members or MEMBERS, self.now)

    def wait(self, duration_ms: int, *members: str) -> list[BlobEffect]:
        self.now = replace(self.now, monotonic_ms=self.now.monotonic_ms + duration_ms)
        return self.tick(*members)

    def take(self, member: str, blob: BlobRef, offset: int, data: bytes) -> list[BlobEffect]:
        return self.fetch.arrived(member, BlobPart(blob.digest, offset, data), self.now)


# holds BL-8
def test_fetch_asks_one_member_part_by_part_until_the_blob_is_whole() -> None:
    bench = Bench()
    assert bench.tick() == []
    assert bench.fetch.want(BLOB)
    assert bench.tick() == [Send("a", GetBlob(BLOB.digest, 0))]
    assert bench.tick() == []
    first = AddPart(BLOB, 0, bytes(PART_BYTES_MAX))
    assert bench.take("a", BLOB, 0, first.data) == [first]
    assert not first.is_last
    assert bench.take("a", BLOB, 0, first.data) == []  # twice
    assert bench.fetch.added(first, bench.now) == [Send("a", GetBlob(BLOB.digest, PART_BYTES_MAX))]
    assert bench.fetch.added(first, bench.now) == []
    last = AddPart(BLOB, PART_BYTES_MAX, b"12345")
    assert bench.take("a", BLOB, PART_BYTES_MAX, b"12345") == [last]
    assert last.is_last
    bench.fetch.forget(BLOB.digest)
    assert (bench.fetch.wanted, bench.wait(10_000)) == ((), [])


# holds BL-8
def test_fetch_drops_what_nobody_asked_for() -> None:
    bench = Bench()
    assert bench.take("a", BLOB, 0, b"x") == []
    bench.fetch.want(SMALL)
    bench.fetch.failed(SMALL.digest, bench.now)
    assert bench.take("a", SMALL, 0, b"abc") == []
    bench.tick("b")
    assert bench.take("a", SMALL, 0, b"abc") == []
    assert bench.take("b", SMALL, 1, b"bc") == []
    assert bench.fetch.added(AddPart(BLOB, 0, b"x"), bench.now) == []
    assert bench.fetch.spoiled(BLOB.digest) == []
    bench.fetch.failed(BLOB.digest, bench.now)


# holds BL-8
def test_fetch_of_a_blob_that_one_member_lacks_goes_to_the_next_and_later_back() -> None:
    bench = Bench()
    bench.fetch.want(BLOB)
    for member in MEMBERS:
        assert bench.tick() == [Send(member, GetBlob(BLOB.digest, 0))]
        assert bench.take(member, BLOB, 0, b"") == []
    assert bench.tick() == []
    assert bench.wait(200) == [Send("a", GetBlob(BLOB.digest, 0))]


# holds BL-8
def test_fetch_that_gets_no_answer_begins_anew_with_another_member() -> None:
    bench = Bench()
    bench.fetch.want(BLOB)
    bench.tick()
    part = AddPart(BLOB, 0, bytes(PART_BYTES_MAX))
    bench.take("a", BLOB, 0, part.data)
    assert bench.wait(10_000) == []  # it is being written
    bench.fetch.added(part, bench.now)
    assert bench.wait(99) == []
    assert bench.wait(1) == [Send("b", GetBlob(BLOB.digest, 0))]
    assert bench.wait(199) == []  # twice as long as the first
    assert bench.tick("a", "c") == [Send("c", GetBlob(BLOB.digest, 0))]  # b has gone


# holds BL-8
@pytest.mark.parametrize("data", [b"ab", b"abcd"])
def test_fetch_from_who_sends_another_length_is_over_for_good(data: bytes) -> None:
    bench = Bench()
    bench.fetch.want(SMALL)
    bench.tick("a")
    (report,) = bench.take("a", SMALL, 0, data)
    assert isinstance(report, Report)
    assert report.code == "blob-rejected"
    assert bench.wait(1_000_000, "a") == []
    assert bench.tick("a", "b") == [Send("b", GetBlob(SMALL.digest, 0))]


# holds BL-8
def test_fetch_from_who_sends_other_bytes_is_over_for_good() -> None:
    bench = Bench()
    bench.fetch.want(SMALL)
    bench.tick("a")
    assert bench.take("a", SMALL, 0, b"xyz") == [AddPart(SMALL, 0, b"xyz")]
    assert len(bench.fetch.spoiled(SMALL.digest)) == 1
    assert bench.fetch.spoiled(SMALL.digest) == []
    assert bench.wait(1_000_000, "a") == []


def test_fetch_that_the_disk_refused_is_tried_again() -> None:
    bench = Bench()
    bench.fetch.want(SMALL)
    bench.tick("a")
    bench.take("a", SMALL, 0, b"xyz")
    bench.fetch.failed(SMALL.digest, bench.now)
    assert bench.tick("a") == []
    assert bench.wait(100, "a") == [Send("a", GetBlob(SMALL.digest, 0))]


# holds BL-8
def test_fetch_asks_each_member_for_one_part_and_for_few_blobs_at_once_and_votes_go_first() -> None:
    bench, many = Bench(), tuple(f"m-{number}" for number in range(12))
    blobs = [BlobRef(bytes([number]) * 32, 1) for number in range(20)]
    for blob in blobs:
        bench.fetch.want(blob)
    assert len(bench.tick(*many)) == AT_ONCE_MAX
    assert bench.tick(*many) == []
    bench.fetch.want(blobs[19], is_urgent=True)
    bench.fetch.want(blobs[19])
    (ask,) = bench.tick(*many)
    assert isinstance(ask, Send)
    assert ask.message == GetBlob(blobs[19].digest, 0)
    assert len(bench.fetch.wanted) == 20


# holds BL-8
def test_fetch_asks_first_who_ought_to_have_it_and_last_for_what_nobody_had() -> None:
    bench = Bench()
    ghost = BlobRef(bytes([2]) * 32, 9)
    bench.fetch.want(ghost, is_urgent=True, hint="c")
    assert bench.tick() == [Send("c", GetBlob(ghost.digest, 0))]
    for member in ("c", "a", "b"):
        bench.take(member, ghost, 0, b"")
        bench.tick("a", "b", "c")
    bench.fetch.want(SMALL)
    bench.fetch.want(SMALL, hint="b")
    assert bench.wait(200, "b") == [Send("b", GetBlob(SMALL.digest, 0))]
    bench.take("b", SMALL, 0, b"abc")
    assert bench.wait(10_000, "b") == []
    bench.fetch.forget(SMALL.digest)
    assert bench.tick("b") == [Send("b", GetBlob(ghost.digest, 0))]


# holds BL-8
def test_fetch_turns_to_who_names_the_blob_when_the_first_has_sent_nothing() -> None:
    bench = Bench()
    bench.fetch.want(SMALL)
    assert bench.tick("a", "b") == [Send("b", GetBlob(SMALL.digest, 0))]
    bench.fetch.want(SMALL, is_urgent=True, hint="a")
    assert bench.tick("a", "b") == [Send("a", GetBlob(SMALL.digest, 0))]
    assert bench.take("b", SMALL, 0, b"abc") == []
    bench.take("a", SMALL, 0, b"")
    bench.fetch.want(SMALL, is_urgent=True, hint="a")
    assert bench.tick("a") == [Send("a", GetBlob(SMALL.digest, 0))]


# holds BL-8
def test_fetch_keeps_only_what_is_needed_when_a_height_is_final() -> None:
    bench = Bench()
    bench.fetch.want(SMALL, is_urgent=True)
    bench.fetch.want(BLOB, is_urgent=True)
    bench.fetch.keep(lambda blob: blob == BLOB)
    assert bench.fetch.wanted == (BLOB,)
    assert bench.tick("a") == [Send("a", GetBlob(BLOB.digest, 0))]


def test_fetch_of_too_many_is_refused_but_for_a_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_fetch, "WANTED_MAX", 1)
    bench = Bench()
    assert bench.fetch.want(BLOB)
    assert bench.fetch.want(BLOB)
    assert not bench.fetch.want(SMALL)
    assert bench.fetch.want(SMALL, is_urgent=True)


def test_fetch_of_a_digest_with_another_size_takes_the_place_of_the_first() -> None:
    bench = Bench()
    bench.fetch.want(SMALL)
    bench.tick("a")
    bench.fetch.want(replace(SMALL, size=4))
    assert bench.take("a", SMALL, 0, b"abc") == []
    assert bench.tick("a") == [Send("a", GetBlob(SMALL.digest, 0))]
    assert bench.take("a", SMALL, 0, b"abcd") == [AddPart(replace(SMALL, size=4), 0, b"abcd")]
