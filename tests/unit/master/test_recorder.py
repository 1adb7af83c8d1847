"""The recorder: every step reaches the ring in order and replays; whatever befalls the log, the replica goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kit.clock import FakeClock
from master import recorder as recording
from master.consensus.events import Applied, Built, Head, Now, Received, Tick
from master.consensus.messages import Blocks, Status
from master.consensus.state import Settings
from master.consensus.sync import Sync
from master.journal.replay import Replayer
from master.recorder import RETRY_MS, RecordedReplica, Recorder
from tests.simulation.toy import CHAIN, EPOCH, GENESIS
from tests.unit.consensus.bench import FRESH, NONCE, START_MS, Peers, name
from wire.certificate import Step


@dataclass
class MemoryRing:
    """A ring that keeps everything, or fails."""

    segment_bytes: int = 1_000_000
    size_bytes: int = 0
    segments: list[list[bytes]] = field(default_factory=list)
    error: Exception | None = None
    kept: int = 0
    is_closed: bool = False

    def open_segment(self) -> None:
        self._fail()
        self.segments.append([])
        self.size_bytes = 0

    def append(self, records: Iterable[bytes]) -> None:
        self._fail()
        added = list(records)
        self.segments[-1] += added
        self.size_bytes += sum(map(len, added))

    def keep(self) -> object | None:
        self._fail()
        self.kept += 1
        return self.kept

    def close(self) -> None:
        self.is_closed = True

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


class Life(Peers):
    """A recorded replica on an event loop."""

    def __init__(self, ring: MemoryRing) -> None:
        super().__init__()
        self.ring = ring
        self.clock = FakeClock(GENESIS.time_ms)
        self.reports: list[str] = []
        self.recorder = Recorder(ring, "1.0", self.clock, lambda code, _: self.reports.append(code))
        self.replica = RecordedReplica(self.keys.signer(name(1)), self.recorder)
        self.now = Now(GENESIS.time_ms, START_MS)

    def boot(self) -> None:
        settings = Settings(name(1), CHAIN, EPOCH, self.keys.validators)
        self.replica.boot(settings=settings, head=GENESIS, now=self.now, guard=FRESH, nonce=NONCE)
        self.replica.restore((), self.now)

    def steps(self, count: int) -> None:
        for step in range(count):
            self.now = Now(self.now.wall_ms + 300, self.now.monotonic_ms + 300)
            self.replica.step(Tick(pending=step % 2 == 0), self.now)
            self.replica.step(Received(name(2), Status(1, 0, "new")), self.now)

    def replayed(self, first: int = 0) -> Replayer:
        replayer = Replayer()
        for segment in self.ring.segments[first:]:
            replayer.open_segment()
            for raw in segment:
                replayer.take(raw)
        return replayer


def live(ring: MemoryRing, act: Callable[[Life], Any]) -> Life:
    """Let a life run its course, and close its recorder."""

    async def run() -> Life:
        life = Life(ring)
        life.boot()
        try:
            done = act(life)
            if done is not None:
                await done
        finally:
            life.recorder.close()
        return life

    return asyncio.run(run())


# holds EL-1 EL-5
def test_recorder_writes_every_step_of_every_start() -> None:
    def act(life: Life) -> None:
        life.steps(5)
        life.boot()
        life.steps(3)

    life = live(MemoryRing(), act)
    assert len(life.ring.segments) == 2
    assert life.replayed().steps == 11 + 7
    assert life.ring.is_closed
    assert life.reports == []


# holds EL-3
def test_recorder_begins_segments_with_checkpoints_once_they_are_full() -> None:
    async def act(life: Life) -> None:
        for _ in range(30):
            life.steps(20)
            life.recorder._flush()
            while life.recorder._taken_bytes != life.recorder._written_bytes:  # noqa: ASYNC110 the thread tells nobody
                await asyncio.sleep(0.001)

    life = live(MemoryRing(segment_bytes=4_000), act)
    assert len(life.ring.segments) > 3
    whole = life.replayed()
    assert whole.steps == 30 * 40 + 1
    assert whole.states == len(life.ring.segments) - 1
    for first in range(1, len(life.ring.segments)):
        assert life.replayed(first).steps == sum(len(segment) - 1 for segment in life.ring.segments[first:])


async def settled(life: Life) -> None:
    while life.recorder._worker._work_queue.qsize() or life.recorder._taken_bytes != life.recorder._written_bytes:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


# holds EL-1
def test_recorder_of_a_full_disk_reports_once_and_begins_anew_when_there_is_room() -> None:
    ring = MemoryRing()

    async def act(life: Life) -> None:
        life.steps(2)
        life.recorder._flush()
        await settled(life)
        ring.error = OSError(28, "No space left on device")
        life.steps(2)
        life.recorder._flush()
        await settled(life)
        life.steps(5)
        assert life.reports == ["event-log"]
        assert not life.recorder.is_recording
        life.recorder.note("nobody writes this")
        ring.error = None
        life.steps(1)
        assert not life.recorder.is_recording, "it waits a while"
        life.clock.advance(RETRY_MS)
        life.steps(3)
        assert life.recorder.is_recording

    life = live(ring, act)
    assert life.reports == ["event-log"]
    assert len(ring.segments) == 2
    assert life.replayed().steps == 5 + 5
    assert life.replayed(1).steps == 5


# holds EL-1
def test_recorder_of_a_node_that_begins_anew_does_not_wait() -> None:
    ring = MemoryRing()

    async def act(life: Life) -> None:
        life.recorder._flush()
        await settled(life)
        ring.error = OSError(28, "No space left on device")
        life.steps(2)
        life.recorder._flush()
        await settled(life)
        life.steps(1)
        assert not life.recorder.is_recording
        ring.error = None
        life.boot()
        life.steps(3)

    life = live(ring, act)
    assert life.reports == ["event-log"]
    assert life.replayed(1).steps == 7


# holds EL-1
def test_recorder_too_slow_for_its_events_leaves_some_out_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "WAITING_BYTES_MAX", 5_000)

    async def act(life: Life) -> None:
        life.steps(10)
        assert life.reports == ["event-log"]
        life.recorder._flush()
        await settled(life)
        life.clock.advance(RETRY_MS)
        life.steps(2)

    life = live(MemoryRing(), act)
    assert len(life.ring.segments) == 2
    assert life.replayed().steps < 21
    assert life.replayed(1).steps == 3


def test_recorder_that_cannot_take_a_checkpoint_reports_and_the_replica_goes_on() -> None:
    async def act(life: Life) -> None:
        life.replica._replica.unknown = object()  # type: ignore[attr-defined]
        life.recorder._flush()
        await settled(life)
        life.ring.size_bytes = 3 * life.ring.segment_bytes
        life.steps(2)

    life = live(MemoryRing(), act)
    assert life.reports == ["event-log"]
    assert life.replica.view == 0


# holds EL-6
def test_recorder_keeps_an_incident_with_all_that_led_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def heard_head(_sync: Sync, member: str, *_: object) -> None:
        assert member != name(3), "this must never happen"

    def act(life: Life) -> None:
        monkeypatch.setattr(Sync, "heard_head", heard_head)
        life.steps(3)
        with pytest.raises(AssertionError, match="never happen"):
            life.replica.step(Received(name(3), Status(1, 0, "new")), life.now)
        life.recorder.note("it happened")
        life.recorder.keep()

    life = live(MemoryRing(), act)
    assert life.ring.kept == 1
    assert life.replayed().steps == 8


def test_recorder_that_cannot_keep_an_incident_goes_on() -> None:
    def act(life: Life) -> None:
        life.ring.error = OSError(28, "No space left on device")
        life.recorder.keep()

    assert live(MemoryRing(), act).ring.kept == 0


def test_recorded_replica_answers_as_the_replica_does_also_without_a_recorder() -> None:
    peers = Peers()
    replica = RecordedReplica(peers.keys.signer(name(1)), None)
    settings = Settings(name(1), CHAIN, EPOCH, peers.keys.validators)
    now = Now(GENESIS.time_ms, START_MS)
    replica.boot(settings=settings, head=GENESIS, now=now, guard=FRESH, nonce=NONCE)
    assert replica.restore((), now)
    assert replica.step(Tick(pending=True), now)
    assert (replica.head, replica.view, replica.leader) == (GENESIS, 0, name(0))
    assert replica.quarantine is None


def test_recorder_counts_the_bytes_of_blocks() -> None:
    peers = Peers()
    block = peers.block(bytes(1_000), bytes(2_000))
    certificate = peers.certificate(Step.COMMIT, block)
    head = Head(1, bytes(32), 1, None)
    many = Received("b", Blocks(((block, certificate), (block, certificate))))
    assert recording._bytes_of(many) == 6_512
    assert recording._bytes_of(Received("b", peers.propose(0, block))) == 3_512
    assert recording._bytes_of(Built(1, 0, block)) == 3_512
    assert recording._bytes_of(Applied(head)) == 512
