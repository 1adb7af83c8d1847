"""The node's replica and the log of its events: what it is told goes to the ring, off the event loop (docs/spec EL-1).

Whatever happens to the log, the replica goes on: a log that cannot be written ends with a report, and begins anew
with a checkpoint once it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from kit.clock import Clock
from kit.logs import get_logger
from master.consensus.events import Applied, Built, Effect, Event, Head, Now, Received
from master.consensus.messages import Blocks, Body, Propose
from master.consensus.progress import Progress
from master.consensus.records import Record
from master.consensus.replica import Replica
from master.journal.records import Note, Restored, SegmentEncoder, Taken
from master.journal.replay import error_text
from wire.block import Block

FLUSH_S: Final = 0.1
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Most bytes of events that may wait for the disk; beyond them the log has a gap and begins anew."""
RETRY_MS: Final = 30_000
_EVENT_BYTES: Final = 512

_log = get_logger("recorder")


class EventRing(Protocol):
    """Segments on disk; used by one thread at a time."""

    segment_bytes: int
    size_bytes: int

    def open_segment(self) -> None:
        """Begin a segment."""
        ...

    def append(self, records: Iterable[bytes]) -> None:
        """Write records."""
        ...

    def keep(self) -> object | None:
        """Copy all of it aside; None when no more copies may be made."""
        ...

    def close(self) -> None:
        """End the open segment."""
        ...


@dataclass(frozen=True, slots=True)
class _Opening:
    """The first record of a segment, and what encodes the others."""

    raw: bytes
    encoder: SegmentEncoder


_Item: TypeAlias = "_Opening | Taken | Note"


class Recorder:
    """Writes the log of one replica.

    The event loop calls everything; encoding and writing are done by a thread of its own, in batches.
    """

    def __init__(self, ring: EventRing, software: str, clock: Clock, report: Callable[[str, str], None]) -> None:
        """Write nothing yet.

        Args:
            ring: Where to.
            software: Version of this software.
            clock: For the time of notes and of another attempt.
            report: Takes a code and a text when the log ends.
        """
        self._ring = ring
        self._software = software
        self._clock = clock
        self._report = report
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="events")
        # the event loop's own
        self._sign: object = None
        self._items: list[_Item] = []
        self._taken_bytes = 0
        self._is_flush_due = False
        self._is_broken = False
        self._retry_ms = 0
        # said by the thread, or by the event loop before the thread can know
        self._encoder: SegmentEncoder | None = None
        self._written_bytes = 0
        self._is_turning = False
        self._fault: str | None = None

    @property
    def is_recording(self) -> bool:
        """Tell whether events are being written."""
        return not self._is_broken

    def start(self, sign: object, facts: dict[str, Any]) -> None:
        """Begin a segment with the facts of a start; ``sign`` is what the replica signs with.

        A log that had ended tries again at once: a node that begins anew after a full disk has found room.
        """
        self._sign = sign
        self._is_broken, self._fault = False, None
        encoder = SegmentEncoder(sign)
        self._items.append(_Opening(encoder.start(self._software, facts), encoder))

    def step(self, taken: Taken, replica: Replica) -> None:
        """Take a step that ``replica`` has made."""
        if self._fault is not None:
            self._break(self._fault)
            self._fault = None
        if self._is_broken:
            self._begin_anew(taken.number, replica)  # which holds what came of this step
            return
        self._taken_bytes += _bytes_of(taken.event)
        if self._taken_bytes - self._written_bytes > WAITING_BYTES_MAX:
            self._break("the disk is too slow for it")
            return
        self._items.append(taken)
        self._flush_soon()
        over = self._ring.size_bytes - self._ring.segment_bytes
        if not self._is_turning and over >= (0 if isinstance(taken.event, Applied) else self._ring.segment_bytes):
            self._checkpoint(taken.number, replica)

    def note(self, text: str) -> None:
        """Write down what the shell did."""
        if not self._is_broken:
            self._items.append(Note(self._clock.now_ms(), text))
            self._flush_soon()

    def keep(self) -> None:
        """Copy the ring aside, with all that was taken up to now."""
        self._flush()
        self._worker.submit(self._keep)

    def close(self) -> None:
        """Write what waits, and end."""
        self._flush()
        self._worker.shutdown(wait=True)
        self._ring.close()

    # ---- on the event loop --------------------------------------------------------------------

    def _begin_anew(self, number: int, replica: Replica) -> None:
        """Try again after a while, once nothing waits any more."""
        is_idle = self._taken_bytes == self._written_bytes
        if is_idle and self._clock.monotonic_ms() >= self._retry_ms:
            self._is_broken = False
            self._checkpoint(number, replica)
            self._flush_soon()

    def _checkpoint(self, number: int, replica: Replica) -> None:
        """Let a segment begin with the present state."""
        encoder = SegmentEncoder(self._sign)
        try:
            raw = encoder.checkpoint(self._software, number, replica)
        except Exception as error:  # noqa: BLE001 whatever is wrong with the log, the node goes on
            self._break(error_text(error))
            return
        self._is_turning = True
        self._items.append(_Opening(raw, encoder))

    def _break(self, reason: str) -> None:
        self._is_broken = True
        self._retry_ms = self._clock.monotonic_ms() + RETRY_MS
        _log.error("the event log has ended for now", reason=reason)
        self._report("event-log", reason)

    def _flush_soon(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        items, self._items = self._items, []
        if items:
            self._worker.submit(self._write, items, self._taken_bytes)

    # ---- on the thread ------------------------------------------------------------------------

    def _write(self, items: Sequence[_Item], taken_bytes: int) -> None:
        try:
            self._write_all(items)
        except Exception as error:  # noqa: BLE001 as above; the next step reports it
            self._encoder = None
            self._fault = error_text(error)
        self._written_bytes = taken_bytes

    def _write_all(self, items: Sequence[_Item]) -> None:
        batch: list[bytes] = []
        for item in items:
            if isinstance(item, _Opening):
                self._append(batch)
                batch = [item.raw]
                self._ring.open_segment()
                self._encoder = item.encoder
                self._is_turning = False
            elif self._encoder is None:
                continue  # its segment ended with an error
            elif isinstance(item, Taken):
                batch.append(self._encoder.step(item))
            else:
                batch.append(self._encoder.note(item))
        self._append(batch)

    def _append(self, batch: Sequence[bytes]) -> None:
        if batch:
            self._ring.append(batch)

    def _keep(self) -> None:
        try:
            found = self._ring.keep()
        except OSError as error:
            _log.error("the event log could not be kept aside", reason=str(error))
            return
        _log.error("the event log of an incident", kept=str(found or "no: there are as many as may be; look at them"))


class RecordedReplica:
    """The node's replica, from one start of it to the next, with everything that it is told going to a recorder."""

    def __init__(self, sign: Callable[[bytes], bytes], recorder: Recorder | None) -> None:
        """Have no replica before `boot`.

        Args:
            sign: Signs with the node's vote key.
            recorder: None records nothing.
        """
        self._vote_key = sign
        self._recorder = recorder
        self._signed: list[bytes] = []
        self._sign = self._signing
        """One and the same object, by which the log knows it."""
        self._number = 0
        self._replica: Replica

    def boot(self, **facts: Any) -> None:  # noqa: ANN401 as `Replica` takes them
        """Make the replica anew from what is on disk; arguments as of `Replica`, without the key."""
        self._replica = Replica(sign=self._sign, **facts)
        self._signed, self._number = [], 0
        if self._recorder is not None:
            self._recorder.start(self._sign, facts)

    @property
    def head(self) -> Head:
        """The newest applied block."""
        return self._replica.head

    @property
    def view(self) -> int:
        """View of the height that is being decided."""
        return self._replica.view

    @property
    def leader(self) -> str:
        """Leader of the present view."""
        return self._replica.leader

    @property
    def progress(self) -> Progress:
        """What the height waits for."""
        return self._replica.progress

    @property
    def quarantine(self) -> str | None:
        """Why this node must not vote, or None."""
        return self._replica.quarantine

    def restore(self, records: Iterable[Record], now: Now) -> list[Effect]:
        """As of `Replica`."""
        held = tuple(records)
        return self._run(Restored(held), now, lambda: self._replica.restore(held, now))

    def step(self, event: Event, now: Now) -> list[Effect]:
        """As of `Replica`."""
        return self._run(event, now, lambda: self._replica.step(event, now))

    def _signing(self, message: bytes) -> bytes:
        signature = self._vote_key(message)
        self._signed.append(signature)
        return signature

    def _run(self, event: Event | Restored, now: Now, run: Callable[[], list[Effect]]) -> list[Effect]:
        effects: list[Effect] = []
        error: str | None = None
        try:
            effects = run()
        except Exception as raised:
            error = error_text(raised)
            raise
        finally:
            signed, self._signed = self._signed, []
            self._number += 1
            if self._recorder is not None:
                taken = Taken(self._number, now, event, effects, tuple(signed), error)
                self._recorder.step(taken, self._replica)
        return effects


def _bytes_of(event: Event | Restored) -> int:
    """Return about how much memory an event holds."""
    blocks: list[Block] = []
    if isinstance(event, Received):
        message = event.message
        if isinstance(message, Propose | Body):
            blocks = [message.block]
        elif isinstance(message, Blocks):
            blocks = [block for block, _ in message.blocks]
    elif isinstance(event, Built) and event.block is not None:
        blocks = [event.block]
    return _EVENT_BYTES + sum(sum(map(len, block.transactions)) for block in blocks)
