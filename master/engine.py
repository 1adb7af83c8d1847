"""The shell of the replica: performs its effects in order and feeds it events, one at a time.

Disk and execution run on one worker thread, in the order in which the replica asks for them; the
event loop stays free for peers, gateways and the API. Nothing behind a `Persist` happens before
the record is on disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from kit.clock import Clock
from kit.exitcodes import ConfigurationError, DiskFullError, StorageError
from kit.logs import get_logger
from master.answers import LONG_BYTES, AnswerBudget
from master.consensus.blame import Blame
from master.consensus.events import (
    Accuse,
    Applied,
    Apply,
    Broadcast,
    Build,
    Built,
    Connected,
    Disconnected,
    Diverged,
    Effect,
    Event,
    Execute,
    Executed,
    Flawed,
    Head,
    Now,
    Persist,
    Received,
    Report,
    Seal,
    Send,
    Tick,
    Wake,
)
from master.consensus.fault_messages import Divergence, Fault
from master.consensus.message_checks import FlawedProposalError, UnknownEpochError, known_part, verify_by_epoch
from master.consensus.message_codec import BLOCKS_PER_ANSWER_MAX, decode_message, encode_message
from master.consensus.messages import Blocks, GetBlocks, Gossip, Message, Status
from master.consensus.records import Record, decode_record
from master.consensus.state import Settings
from master.exposure import Exposure
from master.inbox import MEMBER_GOSSIP_MAX, Errands, Inbox
from master.seams import BlockRefusedError, Core, Guard, Hooks, LedgerSeam, Network, RecordLog, Restart
from wire import cose
from wire.block import BLOCK_BYTES_MAX, Block
from wire.certificate import Certificate
from wire.errors import WireError
from wire.types import Digest

ResultT = TypeVar("ResultT")

TICK_S: Final = 0.1
ROOM_RETRY_S: Final = 1.0
ROOM_RETRY_S_MAX: Final = 30.0
"""How long to wait before a full disk is looked at again: doubled up to the second until a block is stored."""
_ANSWER_BYTES_MAX: Final = BLOCK_BYTES_MAX // 2
DECODED_INLINE_BYTES: Final = 32 * 1024
"""Longer messages are decoded and verified on another thread."""
_DECODERS: Final = 2
GOSSIP_AT_ONCE: Final = 256
TRANSACTIONS_PER_MESSAGE: Final = 8
"""So many transactions in gossip cost as much as one other message: 16,000 per second at the most."""

_log = get_logger("engine")


class Engine:
    """Runs one replica."""

    def __init__(
        self,
        replica: Core,
        settings: Settings,
        ledger: LedgerSeam,
        log: RecordLog,
        guard: Guard,
        network: Network,
        hooks: Hooks,
        clock: Clock,
    ) -> None:
        self._replica = replica
        self._settings = settings
        self._ledger = ledger
        self._log = log
        self._guard = guard
        self._network = network
        self._hooks = hooks
        self._clock = clock
        self._exposure = Exposure(network.broadcast, hooks.accuse, hooks.blamed, hooks.report)
        self._blame = Blame(settings.member, ledger.validators_of, ledger.results)
        self._room_retry_s = ROOM_RETRY_S
        self._is_stopped = False
        self._inbox = Inbox()
        self._errands = Errands(MEMBER_GOSSIP_MAX)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")
        self._answers = AnswerBudget()
        self._wake_tick = Tick(pending=True)
        self._is_wake_queued = False
        self._wakes: dict[int, asyncio.TimerHandle] = {}
        self._answering: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()
        self.heights: dict[str, int] = {}
        """Highest block that each member was heard to have."""
        self.restart: Restart | None = None
        """How to begin anew after the disk was full; None stays stopped."""
        self.failure: str | None = None
        """Why this node stopped taking part; None while it does."""

    def now(self) -> Now:
        """Return both clocks."""
        return Now(self._clock.now_ms(), self._clock.monotonic_ms())

    async def run(self, read: Callable[[], Sequence[bytes]]) -> None:
        """Restore from the write-ahead log's records, as ``read`` returns them, and take part until cancelled.

        While the disk is full it signs nothing, and begins anew from what is on disk once there is room. Returns when
        the disk fails in another way or we made a mistake: then it signs nothing any more. Reads go on in any case.

        Raises:
            ConfigurationError: The ledger goes on with code that this software does not have: the program must end.
        """
        ticker = asyncio.create_task(self._tick_forever())
        try:
            while True:
                try:
                    await self._take_part(read())
                except DiskFullError as error:
                    if self.restart is None:
                        raise
                    self._stop("disk-full", str(error))
                    read = partial(tuple, await self._wait_for_room(self.restart))
        except StorageError as error:
            self._stop("storage", str(error))
        except ConfigurationError as error:
            self._stop("code-due", str(error))
            raise
        except Exception as error:  # noqa: BLE001 a broken invariant stops signing, not reading
            self._stop("unexpected", f"unexpected {type(error).__name__}: {error}")
            _log.exception("this must never happen")
            self._hooks.incident(str(self.failure))
        finally:
            ticker.cancel()
            self._worker.shutdown(wait=True)
            self._decoders.shutdown(wait=False)

    async def _take_part(self, records: Sequence[bytes]) -> None:
        await self._perform_all(self._replica.restore(_decoded(records), self.now()))
        while True:
            event = await self._inbox.get()
            if event is self._wake_tick:
                self._is_wake_queued = False
            await self._perform_all(self._replica.step(event, self.now()))

    def _stop(self, code: str, reason: str) -> None:
        """Sign nothing and forget what waits; others repeat it should this node begin anew."""
        self.failure, self._is_stopped = reason, True
        _log.critical("stopped signing", reason=reason)
        self._hooks.report(code, reason)
        self._inbox.clear()
        self._is_wake_queued = False
        self._forget_wakes()

    async def _wait_for_room(self, restart: Restart) -> Sequence[bytes]:
        """Return the log's records once the disk takes writes again and the replica is made anew."""
        while True:
            await asyncio.sleep(self._room_retry_s)
            self._room_retry_s = min(2 * self._room_retry_s, ROOM_RETRY_S_MAX)
            try:
                records = await self._on_worker(restart.check)
            except DiskFullError as error:
                self.failure = str(error)
                continue
            restart.boot()
            self.failure, self._is_stopped = None, False
            _log.warning("the disk has room again; this node takes part again")
            self._hooks.report("disk-room", "the disk has room again")
            return records

    def post(self, event: Event, size_bytes: int = 0, member: str = "") -> None:
        """Hand an event to the replica; when there is no room it is dropped, peers repeat.

        Args:
            event: What happened.
            size_bytes: Bytes of the message that it brings; 0 for what is small and our own.
            member: Who sent the message.
        """
        if self._is_stopped:
            return
        if not self._inbox.put(event, size_bytes, member):
            self._hooks.report("event-dropped", type(event).__name__)
            self._is_wake_queued = self._is_wake_queued and event is not self._wake_tick

    def wake(self) -> None:
        """Tell the replica that transactions wait; once, however many have come since it heard so last."""
        if not self._is_wake_queued:
            self._is_wake_queued = True
            self.post(self._wake_tick)

    def on_connected(self, member: str) -> None:
        """A connection to ``member`` is up."""
        self.post(Connected(member))

    def on_gone(self, member: str) -> None:
        """No connection of ``member`` is left: what it said of itself counts no more."""
        self.post(Disconnected(member))

    async def receive(self, member: str, raw: bytes) -> int:
        """Take what a member sent as soon as its share of the queue has room; a long message on another thread.

        Returns:
            What it cost, as so many short messages; 0 when it was refused.
        """
        await self._inbox.room(member, len(raw))
        await self._errands.room(member)
        if len(raw) <= DECODED_INLINE_BYTES:
            return int(self.on_message(member, raw))
        opened = await asyncio.get_running_loop().run_in_executor(self._decoders, self._opened, raw)
        if isinstance(opened, Gossip):
            return await self._take_gossip(member, opened.transactions)
        return int(self._take(member, opened, len(raw)))

    async def _take_gossip(self, member: str, transactions: Sequence[bytes]) -> int:
        """Hand many transactions on, a few at a time, so that others have their turn in between."""
        for at in range(0, len(transactions), GOSSIP_AT_ONCE):
            part = transactions[at : at + GOSSIP_AT_ONCE]
            self._hooks.gossips(member)
            self._errands.add(member, len(part), self._hooks.gossip(part))
            await asyncio.sleep(0)
        return 1 + len(transactions) // TRANSACTIONS_PER_MESSAGE

    def on_message(self, member: str, raw: bytes) -> bool:
        """Decode and verify what a member sent; refuse and count what is wrong."""
        return self._take(member, self._opened(raw), len(raw))

    def _opened(self, raw: bytes) -> Message | WireError:
        """Decode and verify a message; in any thread."""
        try:
            message = decode_message(raw)
            if isinstance(message, Blocks):
                message = known_part(message, self._ledger.validators_of)
            verify_by_epoch(message, self._settings.chain, self._ledger.validators_of, cose.verify_ed25519)
        except WireError as error:
            return error
        return message

    def _take(self, member: str, message: Message | WireError, size_bytes: int) -> bool:
        if isinstance(message, UnknownEpochError):
            # the sender is ahead; what it says is proven once this node has the blocks in between
            self._hooks.report(message.code, str(message))
            return True
        if isinstance(message, WireError):
            if isinstance(message, FlawedProposalError):
                self.post(Flawed(message.proposal, str(message)), size_bytes, member)
            self._hooks.refused_message(member, message)
            return False
        if isinstance(message, Gossip):
            self._hooks.gossips(member)
            self._errands.add(member, len(message.transactions), self._hooks.gossip(message.transactions))
        elif isinstance(message, Fault):
            self._on_fault(member, message)
        elif isinstance(message, Divergence):
            height = self._replica.head.height + 1
            self._exposure.follow(self._blame.heard(member, message, height, self._clock.monotonic_ms()))
        elif isinstance(message, GetBlocks):
            self._answer_blocks(member, message.first_height)
        elif not self._hooks.overheard(member, message):
            if isinstance(message, Status):
                self.heights[member] = message.height - 1
            self.post(Received(member, message), size_bytes, member)
        return True

    def gossip(self, transactions: Sequence[bytes], member: str | None = None) -> None:
        """Pass transactions on, at most 1,024 of 8 MiB in all.

        Args:
            transactions: Signed ones.
            member: To whom; None sends them to every other validator.
        """
        if not transactions:
            return
        message = encode_message(Gossip(tuple(transactions)))
        if member is None:
            self._network.broadcast(message)
        else:
            self._network.send(member, message)

    def _on_fault(self, member: str, message: Fault) -> None:
        try:
            self._exposure.expose(message)
        except WireError as error:
            self._hooks.refused_message(member, error)

    def expose(self, proof: bytes) -> None:
        """Take a fault proof that somebody else than a validator brought.

        Raises:
            WireError: It proves nothing.
        """
        self._exposure.expose(Fault(proof))

    async def _on_worker(self, call: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

    def _tick(self) -> Tick:
        waiting_ms = self._hooks.waiting_ms()  # first: it forgets what no block can hold
        return Tick(self._hooks.is_pending(), waiting_ms)

    async def _tick_forever(self) -> None:
        while True:
            self.post(self._tick())
            await asyncio.sleep(TICK_S)

    async def _perform_all(self, effects: list[Effect]) -> None:
        waiting = deque(effects)
        while waiting:
            durable = self._take_durable(waiting)
            if durable:
                await self._on_worker(partial(self._bring_to_disk, durable))
                continue
            answer = await self._perform(waiting.popleft())
            if answer is not None:
                waiting.extend(self._replica.step(answer, self.now()))

    @staticmethod
    def _take_durable(waiting: deque[Effect]) -> list[Persist | Seal]:
        """Take what stands first and goes to disk, so that the other thread is asked once for all of it."""
        found: list[Persist | Seal] = []
        while waiting and isinstance(waiting[0], Persist | Seal):
            effect = waiting.popleft()
            assert isinstance(effect, Persist | Seal)
            found.append(effect)
        return found

    def _bring_to_disk(self, effects: Sequence[Persist | Seal]) -> None:
        """Write one after the other, in their order; on the worker thread."""
        for effect in effects:
            if isinstance(effect, Persist):
                self._log.append(effect.records)
            else:
                self._guard.save(effect.guard)

    async def _perform(self, effect: Effect) -> Event | None:
        match effect:
            case Persist() | Seal():
                await self._on_worker(partial(self._bring_to_disk, [effect]))
            case Send():
                self._send(effect.member, effect.message)
            case Broadcast():
                self._network.broadcast(encode_message(effect.message))
            case Build():
                return await self._build(effect)
            case Execute():
                return await self._execute(effect.block)
            case Apply():
                return await self._apply(effect)
            case Wake():
                self._wake(effect.at_ms)
            case Accuse():
                self._exposure.expose(Fault(effect.proof.encode()))
            case Report():
                self._report(effect)
        return None

    def _report(self, report: Report) -> None:
        _log.warning(report.code, detail=report.detail)
        self._hooks.report(report.code, report.detail)
        if report.cause:
            self._hooks.view_left(report.cause)

    async def _build(self, build: Build) -> Event:
        candidates = self._ledger.candidates()
        block = await self._on_worker(lambda: self._ledger.build(build, candidates, self._clock.now_ms()))
        return Built(build.height, build.view, block)

    async def _execute(self, block: Block) -> Event | None:
        digest = block.header.digest()
        try:
            await self._on_worker(lambda: self._ledger.execute(block))
        except BlockRefusedError as error:
            self._hooks.report("block-refused", str(error))
            if not error.diverged:
                return Executed(digest, accepted=False, fault=str(error))
            self._exposure.follow(self._blame.diverged(digest, self._clock.monotonic_ms()))
            return Executed(digest, accepted=False)
        self._exposure.follow(self._blame.executed(digest, self._clock.monotonic_ms()))
        if self._hooks.holds_back(block):
            return None
        return Executed(digest, accepted=True)

    def release(self, digest: Digest) -> None:
        """Give the answer about a block that was held back."""
        self.post(Executed(digest, accepted=True))

    async def _apply(self, effect: Apply) -> Event:
        try:
            head = await self._on_worker(lambda: self._store(effect))
        except BlockRefusedError as error:
            self.failure = f"height {effect.block.header.height} came out differently here: {error}"
            self._hooks.incident(self.failure)
            return Diverged(effect.block.header.height, str(error))
        self._forget_wakes()
        self._room_retry_s = ROOM_RETRY_S
        self._hooks.applied(effect.block)
        return Applied(replace(head, certificate=effect.certificate), self._hooks.waiting_ms())

    def _store(self, effect: Apply) -> Head:
        if effect.view_changes:
            self._ledger.archive(effect.block.header.height, effect.view_changes)
        head = self._ledger.apply(effect.block, effect.certificate)
        self._log.clear()
        return head

    def _forget_wakes(self) -> None:
        for handle in self._wakes.values():
            handle.cancel()
        self._wakes.clear()

    def _wake(self, at_ms: int) -> None:
        if at_ms in self._wakes:
            return
        delay_s = max(0, at_ms - self._clock.monotonic_ms()) / 1000
        self._wakes[at_ms] = asyncio.get_running_loop().call_later(delay_s, self._woken, at_ms)

    def _woken(self, at_ms: int) -> None:
        self._wakes.pop(at_ms, None)
        self.post(self._tick())

    def _send(self, member: str, message: Message) -> None:
        """Send to one member what may go out now; long answers within its budget alone, since asking costs nothing."""
        if self._hooks.withholds(message):
            return
        raw = encode_message(message)
        if self._answers.wait_s(member, len(raw), self._clock.monotonic_ms()) > 0:
            self._hooks.report("answer-refused", member)
            return
        self._network.send(member, raw)

    def _answer_blocks(self, member: str, first_height: int) -> None:
        """Send committed blocks, one answer to a member at a time."""
        if member in self._answering:
            return
        self._answering.add(member)
        task = asyncio.create_task(self._send_blocks(member, first_height))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _send_blocks(self, member: str, first_height: int) -> None:
        try:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(None, lambda: encode_message(self._collect_blocks(first_height)))
            size_bytes = max(len(answer), LONG_BYTES + 1)  # none is free: whoever asks for blocks may ask without end
            while (wait_s := self._answers.wait_s(member, size_bytes, self._clock.monotonic_ms())) > 0:  # noqa: ASYNC110 time alone refills it
                await asyncio.sleep(wait_s)
            self._network.send(member, answer)
        finally:
            self._answering.discard(member)

    def _collect_blocks(self, first_height: int) -> Blocks:
        found: list[tuple[Block, Certificate]] = []
        size_bytes = 0
        for height in range(first_height, first_height + BLOCKS_PER_ANSWER_MAX):
            pair = self._ledger.committed(height)
            if pair is None:
                break
            size_bytes += sum(map(len, pair[0].transactions))
            if found and size_bytes > _ANSWER_BYTES_MAX:
                break
            found.append(pair)
        return Blocks(tuple(found))


def _decoded(records: Sequence[bytes]) -> list[Record]:
    """Decode the write-ahead log.

    Raises:
        StorageError: It is damaged: what this node signed is not known, so it must sign nothing more.
    """
    try:
        return [decode_record(raw) for raw in records]
    except WireError as error:
        raise StorageError(f"the write-ahead log is damaged: {error}") from error
