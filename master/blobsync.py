"""The shell around blobs: holds votes back, lets transactions wait, fetches, serves and takes uploads (BL-7 to BL-10).

What is decided is in `master.availability`, `master.waitingroom` and `master.consensus.blob_fetch`; here is what they
ask for: the disk, on one thread, and messages. Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, Final, Protocol, TypeVar

from kit.clock import Clock
from kit.exitcodes import DataError, StorageError
from kit.logs import get_logger
from master.answers import LONG_BYTES, AnswerBudget
from master.api.ports import BlobRefusedError, SubmitResult, Upload
from master.availability import Availability
from master.consensus.blob_fetch import AddPart, BlobEffect, BlobFetch
from master.consensus.blob_messages import PART_BYTES_MAX, BlobPart, GetBlob
from master.consensus.events import Now, Send
from master.consensus.message_codec import encode_message
from master.consensus.messages import Message
from master.ledger.blobs import named_blobs
from master.ledger.refusals import ContractFaultError, TxRefused
from master.party import Party
from master.uploads import Arriving, Uploading, Uploads
from master.waitingroom import WaitingRoom, Way
from wire.blob import BLOCK_BLOB_BYTES_MAX, BlobRef
from wire.block import Block
from wire.receipt import Outcome
from wire.tx import SignedTx
from wire.types import Digest, sha256

ResultT = TypeVar("ResultT")

INTERVAL_MS: Final = 500
TICK_S: Final = 0.1
SWEEP_S: Final = 3600.0
ORPHAN_S: Final = 24 * 3600
"""How long a blob stays that nobody names any more."""
_SERVED_AT_ONCE_MAX: Final = 4

_log = get_logger("blobs")


class Disk(Protocol):
    """The blobs on this node's disk; `master.io.blobs.BlobStore`."""

    def holds(self, blob: BlobRef) -> bool:
        """Tell whether a blob is here."""
        ...

    def size_of(self, digest: Digest) -> int | None:
        """Return the size of a blob that is here."""
        ...

    def begin(self, blob: BlobRef, *, beyond_bytes: int = 0) -> Arriving:
        """Make room for a blob."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob whose bytes were hashed just now."""
        ...

    def read_part(self, digest: Digest, offset: int, size: int) -> bytes:
        """Return bytes of a blob that was hashed."""
        ...

    def removable(self, is_needed: Callable[[BlobRef], bool], before_s: float) -> Iterable[BlobRef]:
        """Yield blobs that nobody needs and that came before a time."""
        ...

    def remove(self, digest: Digest) -> int:
        """Remove a blob."""
        ...


@dataclass(frozen=True, slots=True)
class Around:
    """What the blobs see of their node."""

    send: Callable[[str, bytes], None]
    members: Callable[[], Sequence[str]]
    """Who is connected."""
    report: Callable[[str, str], None]
    release: Callable[[Digest], None]
    """A block need not wait any more."""
    admit: Callable[[SignedTx, Party, Way], None]
    """All blobs of a transaction that waited are here."""
    outcome_of: Callable[[SignedTx], Outcome]
    """What a transaction would come to now."""
    known_size: Callable[[Digest], int | None]
    """Size of a blob that the ledger names."""
    known_blobs: Callable[[], Iterable[BlobRef]]
    """All blobs that the ledger names; called in a thread."""
    brought: Callable[[Block], tuple[BlobRef, ...]]
    """Blobs that accepted calls of a block which was executed just now name for the first time."""
    named_in: Callable[[Block], tuple[BlobRef, ...]]
    """All blobs that the calls of a block name."""


class BlobSync:
    """One per node."""

    def __init__(self, disk: Disk, around: Around, clock: Clock) -> None:
        """Begin with what is on disk.

        Args:
            disk: See `Disk`.
            around: The node.
            clock: For time-outs.
        """
        self._disk, self._around, self._clock = disk, around, clock
        self.fetch = BlobFetch(INTERVAL_MS)
        self.room = WaitingRoom()
        self._held = Availability(disk.holds)
        self._gossiper: str | None = None
        """Who sent the newest gossip; a wrong guess costs one question."""
        self._owed: set[BlobRef] = set()
        """Of final blocks, and not here."""
        self._arriving: dict[Digest, Arriving] = {}
        self._uploads = Uploads(clock)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="blobs")
        self._answers = AnswerBudget()
        self._serving: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Go on until cancelled."""
        try:
            sweep_at_ms = 0
            while True:
                now_ms = self._clock.monotonic_ms()
                if now_ms >= sweep_at_ms:
                    sweep_at_ms = now_ms + int(SWEEP_S * 1000)
                    self._start(self._sweep())
                self._go_on()
                await asyncio.sleep(TICK_S)
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            self._worker.shutdown(wait=True, cancel_futures=True)
            for arriving in self._arriving.values():
                arriving.abort()

    # ---- what the engine tells ----------------------------------------------------------------

    def holds_back(self, block: Block) -> bool:
        """Tell whether this node must not vote for a block yet; what is missing is fetched at once."""
        missing = self._held.holds_back(block.header.digest(), self._around.brought(block))
        for blob in missing:
            self.fetch.want(blob, is_urgent=True, hint=block.header.proposer)
        if missing:
            self._around.report("blobs-awaited", f"height {block.header.height}: {len(missing)} are not here")
            self._go_on()
        return bool(missing)

    def applied(self, block: Block) -> None:
        """Take note of a final block; what it names and is not here is fetched in time."""
        self._held.clear()
        self.room.expire(block.header.time_ms)
        self._owed = {blob for blob in self._owed if not self._disk.holds(blob)}
        for blob in self._around.named_in(block):
            if not self._disk.holds(blob) and self._around.known_size(blob.digest) == blob.size:
                self._owed.add(blob)
        if len(self.room):
            self.room.remove(map(sha256, block.transactions))
        named = self.room.named()
        self.fetch.keep(lambda blob: blob in self._owed or named.get(blob.digest) == blob.size)
        for blob in self._owed:
            self.fetch.want(blob)
        unwanted = self._arriving.keys() - {blob.digest for blob in self.fetch.wanted}
        if unwanted:
            self._start(self._on_worker(partial(self._give_up, unwanted)))

    def overheard(self, member: str, message: Message) -> bool:
        """Look at a message; tell whether it is for here alone."""
        match message:
            case GetBlob():
                self._serve(member, message)
            case BlobPart():
                self._perform(self.fetch.arrived(member, message, self._now()))
                self._go_on()
            case _:
                return False
        return True

    def gossips(self, member: str) -> None:
        """Hear who sends the gossip that comes next: it has the blobs of what it passes on."""
        self._gossiper = member

    # ---- what the node asks -------------------------------------------------------------------

    def gate(self, signed: SignedTx, party: Party, way: Way) -> SubmitResult | None:
        """Return what becomes of a verified transaction whose blobs are not all here; None lets it go on.

        It may wait, and its blobs may be brought, only if the contract would accept it now: so nobody fills a disk but
        who may name blobs (BL-9).
        """
        missing = [blob for blob in named_blobs(signed.tx) if not self._disk.holds(blob)]
        if not missing:
            return None
        if self.room.find(signed.id) is None:
            refusal = self._refusal(signed)
            if refusal is not None:
                return refusal
            if not self.room.enter(signed, party, way, self._clock.now_ms()):
                detail = (
                    "Too many transactions of this organisation wait for blobs, or it brought too many bytes today."
                )
                return SubmitResult(signed.id, "refused", "sender-full", HTTPStatus.TOO_MANY_REQUESTS, detail)
        for blob in missing:
            self.fetch.want(blob, hint=self._gossiper if way == "gossip" else None)
        return SubmitResult(signed.id, "pending", blobs=tuple(blob.digest for blob in missing))

    def _refusal(self, signed: SignedTx) -> SubmitResult | None:
        try:
            code = self._around.outcome_of(signed).code
        except TxRefused as error:
            code = error.code
        except ContractFaultError:
            code = "contract-fault"
        if code == "ok":
            return None
        detail = f"The contract would answer {code}, so the blobs that it names are not taken."
        return SubmitResult(signed.id, "refused", code, HTTPStatus.CONFLICT, detail)

    # ---- the API's port -----------------------------------------------------------------------

    def size_of(self, digest: Digest) -> int | None:
        """Return the size of a blob that is here."""
        return self._disk.size_of(digest)

    def expected(self, digest: Digest) -> int | None:
        """Return the size of a blob that may be uploaded now."""
        size = self.room.named().get(digest)
        return self._around.known_size(digest) if size is None else size

    def begin(self, digest: Digest) -> Upload:
        """Make room for an upload.

        Raises:
            BlobRefusedError: It is not expected, or there is no room for it, or for more of its organisation.
        """
        size = self.expected(digest)
        if size is None:
            detail = "no transaction that waits here names this blob; submit the transaction first"
            raise BlobRefusedError(HTTPStatus.NOT_FOUND, "blob-not-named", detail)
        blob = BlobRef(digest, size)
        try:
            upload = self._uploads.begin(digest, self.room.party_of(digest), lambda: self._disk.begin(blob))
        except StorageError as error:
            self._around.report("blobs-full", str(error))
            raise BlobRefusedError(HTTPStatus.INSUFFICIENT_STORAGE, "blobs-full", str(error)) from error
        upload.on_done = self._upload_done
        return upload

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob; in a worker thread.

        Raises:
            BlobRefusedError: It is not here.
        """
        try:
            return self._disk.open(digest)
        except DataError as error:
            raise BlobRefusedError(HTTPStatus.NOT_FOUND, "not-found", str(error)) from error
        except StorageError as error:
            raise BlobRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "unready", str(error)) from error

    def _upload_done(self, upload: Uploading) -> None:
        self._uploads.done(upload, is_here=self._disk.size_of(upload.digest) is not None)
        self._came(upload.digest)

    # ---- inside -------------------------------------------------------------------------------

    def _now(self) -> Now:
        return Now(self._clock.now_ms(), self._clock.monotonic_ms())

    def _go_on(self) -> None:
        self._perform(self.fetch.tick(self._around.members(), self._now()))

    def _perform(self, effects: Sequence[BlobEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._around.send(effect.member, encode_message(effect.message))
            elif isinstance(effect, AddPart):
                self._start(self._add(effect))
            else:
                _log.warning(effect.code, detail=effect.detail)
                self._around.report(effect.code, effect.detail)

    async def _add(self, part: AddPart) -> None:
        digest = part.blob.digest
        try:
            await self._on_worker(partial(self._write, part))
        except DataError:
            self._perform(self.fetch.spoiled(digest))
        except StorageError as error:
            _log.warning("a blob could not be stored", digest=digest.hex(), reason=str(error))
            self._around.report("blobs-full", str(error))
            self.fetch.failed(digest, self._now())
        else:
            if part.is_last:
                self._came(digest)
            else:
                self._perform(self.fetch.added(part, self._now()))
        self._go_on()

    def _write(self, part: AddPart) -> None:
        """Write a part; on the worker thread. What a vote waits for may exceed the quota by one block's blobs."""
        digest = part.blob.digest
        if not part.offset:
            older = self._arriving.pop(digest, None)
            if older is not None:
                older.abort()
            beyond = BLOCK_BLOB_BYTES_MAX if self._held.needs(part.blob) or part.blob in self._owed else 0
            self._arriving[digest] = self._disk.begin(part.blob, beyond_bytes=beyond)
        if digest not in self._arriving:
            raise StorageError(f"blob {digest.hex()} was given up meanwhile")
        try:
            self._arriving[digest].write(part.data)
            if part.is_last:
                self._arriving.pop(digest).finish()
        except (DataError, StorageError):
            self._arriving.pop(digest, None)
            raise

    def _give_up(self, digests: Iterable[Digest]) -> None:
        """Give up what arrives and nobody needs any more; on the worker thread."""
        for digest in digests:
            arriving = self._arriving.pop(digest, None)
            if arriving is not None:
                arriving.abort()

    def _came(self, digest: Digest) -> None:
        """Go on with what waited for a blob, if it is here."""
        if self._disk.size_of(digest) is None:
            return
        self.fetch.forget(digest)
        for guest in self.room.leave(self._disk.holds):
            self._around.admit(guest.signed, guest.party, guest.way)
        for block in self._held.released():
            self._around.release(block)

    async def _sweep(self) -> None:
        """Find what the ledger names and is not here, and remove what nobody names any more."""
        known = await self._on_worker(lambda: {blob.digest: blob for blob in self._around.known_blobs()})
        self._owed |= {blob for blob in known.values() if not self._disk.holds(blob)}
        for blob in sorted(self._owed):
            self.fetch.want(blob)
        before_s = self._clock.now_ms() / 1000 - ORPHAN_S
        named = self.room.named()

        def is_needed(blob: BlobRef) -> bool:
            return blob.digest in known or blob.digest in named or self._held.needs(blob)

        def remove() -> int:
            return sum(self._disk.remove(blob.digest) for blob in tuple(self._disk.removable(is_needed, before_s)))

        freed = await self._on_worker(remove)
        if freed:
            _log.info("removed blobs that nobody names", bytes=freed)

    async def _on_worker(self, call: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

    # ---- serving others -----------------------------------------------------------------------

    def _serve(self, member: str, request: GetBlob) -> None:
        """Answer in a thread; one answer to a member at a time, and to four members at once."""
        if member not in self._serving and len(self._serving) < _SERVED_AT_ONCE_MAX:
            self._serving.add(member)
            self._start(self._answer(member, request))

    async def _answer(self, member: str, request: GetBlob) -> None:
        try:
            loop = asyncio.get_running_loop()
            data = await loop.run_in_executor(None, partial(self._part, request))
            raw = encode_message(BlobPart(request.digest, request.offset, data))
            size_bytes = max(len(raw), LONG_BYTES + 1)  # no answer here is free: a question has few bytes
            while (wait_s := self._answers.wait_s(member, size_bytes, self._clock.monotonic_ms())) > 0:  # noqa: ASYNC110 time alone refills it
                await asyncio.sleep(wait_s)
            self._around.send(member, raw)
        finally:
            self._serving.discard(member)

    def _part(self, request: GetBlob) -> bytes:
        try:
            return self._disk.read_part(request.digest, request.offset, PART_BYTES_MAX)
        except (DataError, StorageError) as error:
            if self._disk.size_of(request.digest) is not None:
                _log.warning("a blob could not be read", digest=request.digest.hex(), reason=str(error))
            return b""

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
