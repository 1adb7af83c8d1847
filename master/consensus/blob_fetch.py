"""Getting blobs from other nodes: which, from whom, how often (docs/spec, clause BL-8). Pure.

A blob comes from one member at a time, part by part, and proves itself when it is whole: whoever sent another is not
asked for it again. A few blobs come at once, those that a vote waits for first, and a member is asked for one part at a
time, so that nobody is asked faster than it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from master.consensus.blob_messages import PART_BYTES_MAX, BlobPart, GetBlob
from master.consensus.events import Now, Report, Send
from wire.blob import BlobRef
from wire.types import Digest

WANTED_MAX: Final = 4096
AT_ONCE_MAX: Final = 4
"""Blobs that arrive at the same time."""
_ANSWER_INTERVALS: Final = 1
"""How long an answer may take; doubled with every failure, so that slow lines get their time and liars little."""
_AGAIN_INTERVALS: Final = 2
"""How long who did not answer, or lacks the blob, is not asked for it; doubled whenever nobody had it."""
_DOUBLED_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class AddPart:
    """Write bytes of a blob, at offset 0 a new file; say `added`, `stored`, `spoiled` or `failed`."""

    blob: BlobRef
    offset: int
    data: bytes

    @property
    def is_last(self) -> bool:
        """Tell whether the blob is whole with it."""
        return self.offset + len(self.data) == self.blob.size


BlobEffect: TypeAlias = "Send | Report | AddPart"


@dataclass(slots=True)
class _Wanted:
    blob: BlobRef
    is_urgent: bool
    member: str | None = None
    """Who is asked; None while nobody is."""
    offset: int = 0
    until_ms: int = 0
    """When the answer is due."""
    is_written: bool = True
    """What has come is on disk."""
    hint: str | None = None
    """Who ought to have it, and is asked first."""
    barred: dict[str, int | None] = field(default_factory=dict)
    """Who is not asked for it: until when, None for good."""
    failures: int = 0
    """How often somebody did not have it, or did not answer."""

    def bar(self, until_ms: int | None) -> None:
        """Ask somebody else, from the beginning."""
        if self.member is not None:
            self.barred[self.member] = until_ms
            self.failures += 1
        self.member, self.offset, self.is_written = None, 0, True


class BlobFetch:
    """Decides for one node; the shell brings answers and performs effects."""

    def __init__(self, interval_ms: int) -> None:
        """Begin with nothing wanted.

        Args:
            interval_ms: The unit of all times.
        """
        self._interval_ms = interval_ms
        self._wanted: dict[Digest, _Wanted] = {}

    @property
    def wanted(self) -> tuple[BlobRef, ...]:
        """What is still to come."""
        return tuple(entry.blob for entry in self._wanted.values())

    def want(self, blob: BlobRef, *, is_urgent: bool = False, hint: str | None = None) -> bool:
        """Fetch a blob; return False when too many are wanted already.

        Args:
            blob: What is missing.
            is_urgent: A vote waits for it.
            hint: Who ought to have it.
        """
        known = self._wanted.get(blob.digest)
        if known is not None and known.blob == blob:
            known.is_urgent, known.hint = known.is_urgent or is_urgent, hint or known.hint
            if hint is not None and known.barred.get(hint) is not None:
                del known.barred[hint]  # it lacked the blob, and names it now
            if hint is not None and known.member != hint and known.is_written and not known.offset:
                known.member = None  # whoever was asked first has sent nothing yet
            return True
        if known is None and len(self._wanted) >= WANTED_MAX and not is_urgent:
            return False
        self._wanted[blob.digest] = _Wanted(blob, is_urgent, hint=hint)
        return True

    def keep(self, is_needed: Callable[[BlobRef], bool]) -> None:
        """Fetch only what is still needed; for no other reason does a vote wait any more."""
        self._wanted = {digest: entry for digest, entry in self._wanted.items() if is_needed(entry.blob)}
        for entry in self._wanted.values():
            entry.is_urgent = False

    def forget(self, digest: Digest) -> None:
        """Fetch a blob no more: it is here, or nobody needs it."""
        self._wanted.pop(digest, None)

    def arrived(self, member: str, part: BlobPart, now: Now) -> list[BlobEffect]:
        """Take an answer; what nobody asked for is dropped."""
        entry = self._wanted.get(part.digest)
        if entry is None or entry.member != member or not entry.is_written or part.offset != entry.offset:
            return []
        if not part.data:
            self._bar(entry, now_ms=now.monotonic_ms)
            return []
        if len(part.data) != min(PART_BYTES_MAX, entry.blob.size - part.offset):
            return self.spoiled(part.digest)
        entry.is_written = False
        return [AddPart(entry.blob, part.offset, part.data)]

    def added(self, part: AddPart, now: Now) -> list[BlobEffect]:
        """Take note that a part is written; ask for the next one."""
        entry = self._wanted.get(part.blob.digest)
        if entry is None or entry.is_written or entry.member is None:
            return []
        entry.offset, entry.is_written = part.offset + len(part.data), True
        return [self._ask(entry, entry.member, now)]

    def spoiled(self, digest: Digest) -> list[BlobEffect]:
        """Take note that what came is not the blob."""
        entry = self._wanted.get(digest)
        if entry is None or entry.member is None:
            return []
        member = entry.member
        entry.bar(None)
        return [Report("blob-rejected", f"{member} sent other bytes than blob {digest.hex()}")]

    def failed(self, digest: Digest, now: Now) -> None:
        """Take note that the disk did not take a part; it is tried again later."""
        entry = self._wanted.get(digest)
        if entry is not None:
            entry.bar(now.monotonic_ms + self._interval_ms * _ANSWER_INTERVALS)

    def tick(self, members: Sequence[str], now: Now) -> list[BlobEffect]:
        """Ask for what is missing.

        Args:
            members: Who can be asked now.
            now: The clocks.
        """
        coming = []
        for entry in self._wanted.values():
            is_gone = entry.member is not None and entry.member not in members
            if entry.member is not None and entry.is_written and (is_gone or now.monotonic_ms >= entry.until_ms):
                self._bar(entry, now_ms=now.monotonic_ms)
            if entry.member is not None:
                coming.append(entry)
        busy = {entry.member for entry in coming}
        effects: list[BlobEffect] = []
        # what nobody had comes last, however urgent: a liar may name what does not exist as often as it leads
        for entry in sorted(self._wanted.values(), key=lambda entry: (entry.failures, not entry.is_urgent)):
            room = AT_ONCE_MAX * (2 if entry.is_urgent else 1) - len(busy)
            member = self._next(entry, members, busy, now) if entry.member is None and room > 0 else None
            if member is not None:
                busy.add(member)
                effects.append(self._ask(entry, member, now))
        return effects

    def _bar(self, entry: _Wanted, now_ms: int) -> None:
        rounds = entry.failures // max(1, len(entry.barred))
        entry.bar(now_ms + (self._interval_ms * _AGAIN_INTERVALS << min(rounds, _DOUBLED_MAX)))

    @staticmethod
    def _next(entry: _Wanted, members: Sequence[str], busy: set[str | None], now: Now) -> str | None:
        """Return whom to ask: who ought to have it, then another member for each blob, then who was asked before."""
        free = []
        for member in sorted(members):
            until_ms = entry.barred.get(member, 0)
            if member not in busy and until_ms is not None and until_ms <= now.monotonic_ms:
                free.append(member)
        fresh = [member for member in free if member not in entry.barred]
        if entry.hint in fresh:
            return entry.hint
        if fresh:
            return fresh[entry.blob.digest[0] % len(fresh)]
        return min(free, key=lambda member: entry.barred[member] or 0, default=None)

    def _ask(self, entry: _Wanted, member: str, now: Now) -> Send:
        entry.member = member
        patience = _ANSWER_INTERVALS << min(entry.failures, _DOUBLED_MAX)
        entry.until_ms = now.monotonic_ms + self._interval_ms * patience
        return Send(member, GetBlob(entry.blob.digest, entry.offset))
