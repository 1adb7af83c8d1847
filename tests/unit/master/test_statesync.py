"""The shell around snapshots: what it asks of the disk, in which order, and what it tells its node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from kit.clock import FakeClock
from kit.exitcodes import StorageError
from master.consensus.backfill import Due
from master.consensus.message_codec import decode_message
from master.consensus.messages import Blocks, GetBlocks, Gossip, Message, Status
from master.consensus.snapshot_messages import (
    Archive,
    Chunk,
    GetArchive,
    GetChunk,
    GetSnapshot,
    SnapshotManifest,
    Wanted,
)
from master.statesync import INTERVAL_MS, Around, StateSync
from tests.unit.consensus.test_backfill import DUE, LOWER, UPPER
from tests.unit.ledger.snapshots import crowded, cut
from tests.unit.wire.test_snapshot import MANIFEST
from wire.errors import ProofError
from wire.snapshot import Manifest, OldBlock, Part, Place

HEIGHT = MANIFEST.height
PARTS = tuple(cut(crowded(), 1 << 20)[1])
WAIT_S = 60.0


@dataclass
class FakeDisk:
    """Implements `Disk`; keeps a diary, and fails on demand."""

    diary: list[str] = field(default_factory=list)
    fails: frozenset[str] = frozenset()
    missing: Due | None = None
    resumed: tuple[Manifest, dict[int, Place]] | None = None
    written: asyncio.Event = field(default_factory=asyncio.Event)

    def _do(self, what: str) -> None:
        self.diary.append(what)
        if what in self.fails:
            raise StorageError(f"no room for {what}")

    def joined(self) -> tuple[Manifest, dict[int, Place]] | None:
        return self.resumed

    def begin(self, manifest: Manifest) -> None:
        self._do(f"begin {manifest.height}")

    def keep(self, parts: Sequence[Part]) -> None:
        self._do(f"keep {len(parts)}")

    def finish(self) -> None:
        self._do("finish")

    def prove(self, manifest: Manifest) -> None:
        self._do("prove")
        if "proof" in self.fails:
            raise ProofError("snapshot: it proves nothing")
        assert manifest == MANIFEST

    def due(self) -> Due | None:
        return self.missing

    def fill(self, due: Due, archive: Archive) -> Due | None:
        self._do(f"fill {due.height}")
        if not archive.blocks[0].outcomes:
            raise ProofError("archive: it proves nothing")
        return None

    def manifest(self) -> Manifest | None:
        return MANIFEST

    def parts(self, height: int, wanted: Sequence[tuple[int, Place]], bytes_max: int) -> tuple[Part, ...]:
        assert bytes_max > 0
        return PARTS if height == HEIGHT and wanted else ()

    def old_blocks(self, height: int, known: int) -> tuple[OldBlock, ...]:
        self._do(f"old blocks from {height}, {known} known")
        return (UPPER, LOWER)

    def open_moment(self, is_stopped: Callable[[], bool]) -> Callable[[], int]:
        self.diary.append("moment")

        def write() -> int:
            assert not is_stopped()
            self._do("write")
            return 7

        return write


class Bench:
    """A state sync with its surroundings; time passes by hand."""

    def __init__(self, disk: FakeDisk, head: int = 0) -> None:
        self.disk = disk
        self.sent: list[tuple[str, Message]] = []
        self.reports: list[tuple[str, str]] = []
        self.marks: list[str] = []
        self.clock = FakeClock()
        around = Around(
            lambda member, raw: self.sent.append((member, decode_message(raw))),
            lambda code, detail: self.reports.append((code, detail)),
            lambda: head,
            lambda: self.marks.append("installed"),
            lambda: self.marks.append("filled"),
        )
        self.sync = StateSync(disk, around, self.clock, snapshot_blocks=lambda: 8, lag_blocks=5)

    def hear(self, height: int = HEIGHT + 2) -> None:
        for member in ("a", "b"):
            assert not self.sync.overheard(member, Status(height, 0, "new"))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self.sync._go_on()
                await asyncio.sleep(0.001)

    async def requests(self, kind: type) -> list[str]:
        """Wait until something of a kind was sent; return to whom."""
        await self.until(lambda: any(isinstance(message, kind) for _, message in self.sent))
        return [member for member, message in self.sent if isinstance(message, kind)]

    async def fetch(self) -> None:
        """Go as far as to the first request for parts."""
        self.hear()
        self.sync._go_on()
        self.clock.advance(2 * INTERVAL_MS)
        self.hear()
        await self.requests(GetSnapshot)
        for member in ("a", "b"):
            assert self.sync.overheard(member, SnapshotManifest(MANIFEST))
        await self.requests(GetChunk)


def with_bench(disk: FakeDisk, work: Callable[[Bench], object], head: int = 0) -> Bench:
    async def run() -> Bench:
        bench = Bench(disk, head)
        running = asyncio.create_task(bench.sync.run())
        try:
            found = work(bench)
            if asyncio.iscoroutine(found):
                await found
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return bench

    return asyncio.run(run())


# holds SN-8
def test_state_sync_proves_stores_and_installs_what_it_fetched() -> None:
    async def work(bench: Bench) -> None:
        assert bench.sync.unready() is None
        assert not bench.sync.withholds(GetBlocks(1))
        await bench.fetch()
        assert bench.sync.withholds(GetBlocks(1))
        assert not bench.sync.withholds(Gossip(()))
        assert bench.sync.unready() == f"this node fetches a snapshot of block {HEIGHT}"
        assert bench.sync.overheard("a", Chunk(HEIGHT, PARTS))
        await bench.until(lambda: bench.marks)

    bench = with_bench(FakeDisk(), work)
    assert bench.marks == ["installed"]
    assert bench.disk.diary == ["prove", "prove", f"begin {HEIGHT}", "keep 1", "finish"]


# holds SN-8
def test_state_sync_chunk_that_lies_is_reported_and_never_stored() -> None:
    async def work(bench: Bench) -> None:
        await bench.fetch()
        twice = Chunk(HEIGHT, (PARTS[0], PARTS[0]))
        assert bench.sync.overheard("a", twice)
        await bench.until(lambda: bench.reports)
        assert bench.reports[0][0] == "chunk-rejected"
        await bench.until(
            lambda: [member for member, message in bench.sent if isinstance(message, GetChunk)] == ["a", "b"]
        )

    assert "keep" not in " ".join(with_bench(FakeDisk(), work).disk.diary)


# holds SN-2
def test_state_sync_manifest_that_lies_is_reported() -> None:
    async def work(bench: Bench) -> None:
        bench.hear()
        bench.sync._go_on()
        bench.clock.advance(2 * INTERVAL_MS)
        bench.hear()
        await bench.requests(GetSnapshot)
        bench.sync.overheard("a", SnapshotManifest(MANIFEST))
        bench.sync.overheard("b", SnapshotManifest(None))
        await bench.until(lambda: bench.reports)

    bench = with_bench(FakeDisk(fails=frozenset({"proof"})), work)
    assert bench.reports == [("manifest-rejected", "a: snapshot: it proves nothing")]


def test_state_sync_manifest_that_nobody_asked_for_costs_nothing() -> None:
    async def work(bench: Bench) -> None:
        assert bench.sync.overheard("a", SnapshotManifest(MANIFEST))
        bench.sync.overheard("a", GetSnapshot())
        await bench.until(lambda: bench.sent)

    assert with_bench(FakeDisk(), work).disk.diary == []


# holds SN-8
@pytest.mark.parametrize("step", [f"begin {HEIGHT}", "keep 1", "finish"])
def test_state_sync_without_room_gives_up_and_the_node_goes_on(step: str) -> None:
    async def work(bench: Bench) -> None:
        await bench.fetch()
        bench.sync.overheard("a", Chunk(HEIGHT, PARTS))
        await bench.until(lambda: bench.reports)
        assert not bench.sync.fetch.is_active

    bench = with_bench(FakeDisk(fails=frozenset({step})), work)
    assert bench.reports[0] == ("snapshot-abandoned", f"no room for {step}")
    assert bench.marks == []


# holds SN-7
def test_state_sync_hears_that_others_lack_blocks() -> None:
    async def work(bench: Bench) -> None:
        bench.hear(HEIGHT + 1)
        for member in ("a", "b"):
            assert not bench.sync.overheard(member, Blocks(()))
        bench.sync._go_on()
        bench.clock.advance(2 * INTERVAL_MS)
        bench.hear(HEIGHT + 1)
        assert await bench.requests(GetSnapshot) == ["a", "b"]

    with_bench(FakeDisk(), work, head=HEIGHT - 1)


# holds SN-9
def test_state_sync_fills_in_the_past_and_says_when_it_is_complete() -> None:
    async def work(bench: Bench) -> None:
        bench.hear()
        (member,) = await bench.requests(GetArchive)
        assert bench.sync.overheard(member, Archive((LOWER,)))
        await bench.until(lambda: bench.reports)
        bench.sent.clear()
        (other,) = await bench.requests(GetArchive)
        assert other != member
        assert bench.sync.overheard(other, Archive((UPPER, LOWER)))
        await bench.until(lambda: bench.marks)

    bench = with_bench(FakeDisk(missing=DUE), work)
    assert bench.reports[0][0] == "archive-rejected"
    assert bench.marks == ["filled"]
    assert bench.disk.diary == ["fill 42", "fill 42"]


# holds SN-5
def test_state_sync_serves_what_others_ask_for() -> None:
    async def work(bench: Bench) -> None:
        for request in (GetSnapshot(), GetChunk(HEIGHT, (Wanted(PARTS[0].subtree, Place()),)), GetArchive(42, 3)):
            assert bench.sync.overheard("a", request)
            assert bench.sync.overheard("a", request)
            await bench.until(lambda: not bench.sync._serving)

    bench = with_bench(FakeDisk(), work)
    assert [message for _, message in bench.sent] == [
        SnapshotManifest(MANIFEST),
        Chunk(HEIGHT, PARTS),
        Archive((UPPER, LOWER)),
    ]


def test_state_sync_answer_that_the_disk_refuses_is_none_and_hurts_nobody() -> None:
    async def work(bench: Bench) -> None:
        bench.sync.overheard("a", GetArchive(42, 3))
        await bench.until(lambda: bench.disk.diary and not bench.sync._serving)
        bench.sync.overheard("a", GetSnapshot())
        await bench.until(lambda: bench.sent)

    assert with_bench(FakeDisk(fails=frozenset({"old blocks from 42, 3 known"})), work).sent


# holds SN-6
def test_state_sync_writes_a_snapshot_every_so_many_blocks() -> None:
    async def work(bench: Bench) -> None:
        for height in (7, 8, 16):
            bench.sync.applied(height)
        await bench.until(lambda: len(bench.reports) == 2)
        bench.sync.applied(24)
        await bench.until(lambda: len(bench.reports) == 3)

    bench = with_bench(FakeDisk(), work)
    assert bench.reports == [
        ("snapshot-skipped", "height 16: the one before is still being written"),
        ("snapshot-written", "height 8"),
        ("snapshot-written", "height 24"),
    ]
    assert bench.disk.diary == ["moment", "write", "moment", "write"]


# holds SN-6
def test_state_sync_snapshot_without_room_is_skipped_and_said() -> None:
    async def work(bench: Bench) -> None:
        bench.sync.applied(8)
        await bench.until(lambda: bench.reports)

    bench = with_bench(FakeDisk(fails=frozenset({"write"})), work)
    assert bench.reports == [("snapshot-skipped", "height 8: no room for write")]


def test_state_sync_leaves_the_replicas_messages_to_the_replica() -> None:
    async def work(bench: Bench) -> None:
        assert not bench.sync.overheard("a", Blocks(((None, None),)))  # type: ignore[arg-type]
        assert not bench.sync.overheard("a", Gossip(()))

    with_bench(FakeDisk(), work)
