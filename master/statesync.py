"""The shell around snapshots: writes and serves them, fetches one when the node is far behind, then fills in the past.

What is decided is in `master.consensus.fetch` and `master.consensus.backfill`; here is what they ask for: threads, the
disk, and messages. Everything heavy runs beside the event loop; the replica does not wait for any of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from kit.clock import Clock
from kit.exitcodes import StorageError
from kit.logs import get_logger
from master.answers import LONG_BYTES, AnswerBudget
from master.consensus.backfill import Backfill, BackfillEffect, Due, Fill
from master.consensus.events import Now, Report, Send
from master.consensus.fetch import FetchEffect, Install, Keep, Open, StateFetch, check_chunk
from master.consensus.message_codec import encode_message
from master.consensus.messages import Blocks, GetBlocks, Message, Status
from master.consensus.snapshot_messages import (
    PARTS_BYTES,
    Archive,
    Chunk,
    GetArchive,
    GetChunk,
    GetSnapshot,
    SnapshotManifest,
)
from wire.errors import WireError
from wire.snapshot import Manifest, OldBlock, Part, Place

ResultT = TypeVar("ResultT")

INTERVAL_MS: Final = 1000
TICK_S: Final = 0.25
BACKFILL_PAUSE_MS: Final = 50
"""With 64 blocks an answer, at most 1,280 old blocks a second."""
_SERVED_AT_ONCE_MAX: Final = 4

_log = get_logger("statesync")


class Disk(Protocol):
    """Snapshots, the store in the making and the past, on the node's disk; called in worker threads."""

    def joined(self) -> tuple[Manifest, dict[int, Place]] | None:
        """Return the snapshot of which an earlier start has stored parts."""
        ...

    def begin(self, manifest: Manifest) -> None:
        """Make room for a snapshot."""
        ...

    def keep(self, parts: Sequence[Part]) -> None:
        """Store proven parts."""
        ...

    def finish(self) -> None:
        """Make a store of what was fetched, which the next start takes up."""
        ...

    def prove(self, manifest: Manifest) -> None:
        """Check a manifest.

        Raises:
            WireError: It proves nothing.
        """
        ...

    def due(self) -> Due | None:
        """Return the newest old block that is missing."""
        ...

    def fill(self, due: Due, archive: Archive) -> Due | None:
        """Check and store old blocks; return what is missing then."""
        ...

    def manifest(self) -> Manifest | None:
        """Return the newest snapshot's manifest."""
        ...

    def parts(self, height: int, wanted: Sequence[tuple[int, Place]], bytes_max: int) -> tuple[Part, ...]:
        """Return parts of a snapshot."""
        ...

    def old_blocks(self, height: int, known: int) -> tuple[OldBlock, ...]:
        """Return old blocks downwards."""
        ...

    def open_moment(self, is_stopped: Callable[[], bool]) -> Callable[[], int]:
        """Hold the state as of now; return what writes its snapshot, slowly, and ends when the node stops."""
        ...


@dataclass(frozen=True, slots=True)
class Around:
    """What the state sync sees of its node."""

    send: Callable[[str, bytes], None]
    report: Callable[[str, str], None]
    head: Callable[[], int]
    installed: Callable[[], None]
    """A store of a snapshot lies ready: the node must start anew on it."""
    filled: Callable[[], None]
    """The past has become complete."""


class StateSync:
    """One per node; belongs to the event loop."""

    def __init__(
        self, disk: Disk, around: Around, clock: Clock, *, snapshot_blocks: Callable[[], int], lag_blocks: int
    ) -> None:
        """Take up what an earlier start began.

        Args:
            disk: See `Disk`.
            around: The node.
            clock: For time-outs.
            snapshot_blocks: Tells after how many blocks a snapshot is written.
            lag_blocks: From how many blocks behind on a snapshot is preferred to blocks.
        """
        self._disk = disk
        self._around = around
        self._clock = clock
        self._snapshot_blocks = snapshot_blocks
        self.fetch = StateFetch(INTERVAL_MS, lag_blocks, disk.joined())
        self.backfill = Backfill(INTERVAL_MS, BACKFILL_PAUSE_MS, disk.due())
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="statesync")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[str] = set()
        self._answers = AnswerBudget()
        self._is_writing = False
        self._is_stopped = False

    async def run(self) -> None:
        """Go on until cancelled."""
        try:
            while True:
                self._go_on()
                await asyncio.sleep(TICK_S)
        finally:
            self._is_stopped = True
            for task in tuple(self._tasks):
                task.cancel()
            self._worker.shutdown(wait=True, cancel_futures=True)
            self._writer.shutdown(wait=True, cancel_futures=True)

    # ---- what the engine tells ----------------------------------------------------------------

    def overheard(self, member: str, message: Message) -> bool:
        """Look at a message; tell whether it is for here alone."""
        now = self._now()
        match message:
            case Status():
                self.fetch.heard(member, message.height - 1, now)
                self.backfill.heard(member, now)
            case Blocks() if not message.blocks:
                self.fetch.lacks(member, now)
            case GetSnapshot():
                self._serve(member, lambda: SnapshotManifest(self._disk.manifest()))
            case GetChunk():
                self._serve(member, partial(self._chunk, message))
            case GetArchive():
                self._serve(member, lambda: Archive(self._disk.old_blocks(message.height, message.outcomes)))
            case SnapshotManifest():
                if self.fetch.awaits(member):
                    self._start(self._take_manifest(member, message.manifest))
            case Chunk():
                self._perform(self.fetch.arrived(member, message))
            case Archive():
                self._perform(self.backfill.arrived(member, message, now))
            case _:
                return False
        return not isinstance(message, Status | Blocks)

    def withholds(self, message: Message) -> bool:
        """Tell whether a message must not go out now: blocks are of no use while a state is fetched."""
        return isinstance(message, GetBlocks) and self.fetch.is_active

    def unready(self) -> str | None:
        """Return why this node shows an old state, or None."""
        manifest = self.fetch.manifest
        return None if manifest is None else f"this node fetches a snapshot of block {manifest.height}"

    def applied(self, height: int) -> None:
        """Begin a snapshot when it is time; called before the next block can be stored."""
        if height % self._snapshot_blocks():
            return
        if self._is_writing:
            self._around.report("snapshot-skipped", f"height {height}: the one before is still being written")
            return
        self._is_writing = True
        self._start(self._write(height, self._disk.open_moment(lambda: self._is_stopped)))

    # ---- inside -------------------------------------------------------------------------------

    def _now(self) -> Now:
        return Now(self._clock.now_ms(), self._clock.monotonic_ms())

    def _go_on(self) -> None:
        self._perform(self.fetch.tick(self._around.head(), self._now()))
        self._perform(self.backfill.tick(self._now()))

    def _perform(self, effects: Sequence[FetchEffect | BackfillEffect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._around.send(effect.member, encode_message(effect.message))
                case Report():
                    _log.warning(effect.code, detail=effect.detail)
                    self._around.report(effect.code, effect.detail)
                case Open():
                    self._start(self._open(effect.manifest))
                case Keep():
                    self._start(self._keep(effect))
                case Install():
                    self._start(self._install())
                case Fill():
                    self._start(self._fill(effect))

    async def _on_worker(self, call: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

    async def _take_manifest(self, member: str, manifest: Manifest | None) -> None:
        try:
            if manifest is not None:
                await self._on_worker(partial(self._disk.prove, manifest))
        except WireError as error:
            self._perform(self.fetch.refused(member, str(error)))
        else:
            self.fetch.offered(member, manifest)

    async def _open(self, manifest: Manifest) -> None:
        _log.warning("fetching a snapshot", height=manifest.height, head=self._around.head())
        try:
            await self._on_worker(partial(self._disk.begin, manifest))
        except StorageError as error:
            self._perform(self.fetch.failed(str(error), self._now()))

    async def _keep(self, effect: Keep) -> None:
        def work() -> dict[int, Place]:
            places = check_chunk(effect.manifest, effect.request, effect.chunk)
            self._disk.keep(effect.chunk.parts)
            return places

        try:
            places = await self._on_worker(work)
        except WireError as error:
            self._perform(self.fetch.rejected(effect.member, str(error)))
        except StorageError as error:
            self._perform(self.fetch.failed(str(error), self._now()))
        else:
            self.fetch.kept(effect, places, self._now())
        self._go_on()

    async def _install(self) -> None:
        try:
            await self._on_worker(self._disk.finish)
        except StorageError as error:
            self._perform(self.fetch.failed(str(error), self._now()))
        else:
            self._around.installed()

    async def _fill(self, effect: Fill) -> None:
        try:
            due = await self._on_worker(partial(self._disk.fill, effect.due, effect.archive))
        except (WireError, StorageError) as error:
            self._perform(self.backfill.rejected(effect.member, str(error), self._now()))
        else:
            self.backfill.filled(effect.member, due, self._now())
            if due is None:
                _log.info("the past of the ledger is complete")
                self._around.filled()

    async def _write(self, height: int, write: Callable[[], int]) -> None:
        try:
            size = await asyncio.get_running_loop().run_in_executor(self._writer, write)
        except StorageError as error:
            _log.warning("no snapshot", height=height, reason=str(error))
            self._around.report("snapshot-skipped", f"height {height}: {error}")
        else:
            _log.info("wrote a snapshot", height=height, bytes=size)
            self._around.report("snapshot-written", f"height {height}")
        finally:
            self._is_writing = False

    # ---- serving others -----------------------------------------------------------------------

    def _serve(self, member: str, collect: Callable[[], Message]) -> None:
        """Answer in a thread; one answer to a member at a time, and to four members at once."""
        if member in self._serving or len(self._serving) >= _SERVED_AT_ONCE_MAX:
            return
        self._serving.add(member)
        self._start(self._answer(member, collect))

    async def _answer(self, member: str, collect: Callable[[], Message]) -> None:
        try:
            raw = await asyncio.get_running_loop().run_in_executor(None, lambda: encode_message(collect()))
            size_bytes = max(len(raw), LONG_BYTES + 1)  # no answer here is free: a question has few bytes
            while (wait_s := self._answers.wait_s(member, size_bytes, self._now().monotonic_ms)) > 0:  # noqa: ASYNC110 time alone refills it
                await asyncio.sleep(wait_s)
            self._around.send(member, raw)
        except (OSError, StorageError, WireError) as error:
            _log.warning("could not answer", member=member, reason=str(error))
        finally:
            self._serving.discard(member)

    def _chunk(self, request: GetChunk) -> Chunk:
        wanted = [(entry.subtree, entry.place) for entry in request.wanted]
        return Chunk(request.height, self._disk.parts(request.height, wanted, PARTS_BYTES))

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
