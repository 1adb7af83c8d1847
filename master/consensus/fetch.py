"""Getting a state instead of its blocks: when, which snapshot, from whom (docs/spec, clauses SN-7 and SN-8). Pure.

idle -> asking (who has a snapshot?) -> fetching (its parts, from all who have it) -> installing. Every answer proves
itself; whoever sends one that does not is asked no more for this snapshot, and what it owed is asked of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from master.consensus.events import Now, Report, Send
from master.consensus.snapshot_messages import WANTED_MAX, Chunk, GetChunk, GetSnapshot, Wanted
from wire.errors import ProofError
from wire.snapshot import EMPTY_SUBTREE, SUBTREES, Manifest, Place, verify_part

ASKED_AT_ONCE_MAX: Final = 4
"""Members that parts are asked of at the same time."""
_FRESH_INTERVALS: Final = 3
_BEHIND_INTERVALS: Final = 2
"""How long it must hold that a snapshot is due: by then all others were heard."""
_ANSWER_INTERVALS: Final = 10
"""How long an answer may take, and how long who did not answer is left alone."""
_AGAIN_INTERVALS: Final = 10
"""How long after nobody had a snapshot that helps nobody is asked."""
_STANDSTILL_INTERVALS: Final = 60
"""How long a fetch may go on without a part: then blocks have their turn again."""
_LACKS_INTERVALS: Final = 30
"""How long it counts that a member did not have the blocks that this node needs."""


class Phase(Enum):
    """Where the fetching stands."""

    IDLE = "idle"
    ASKING = "asking"
    FETCHING = "fetching"
    INSTALLING = "installing"


@dataclass(frozen=True, slots=True)
class Open:
    """Make room for the snapshot of a manifest, without what was there of another."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Keep:
    """Check an answer with `check_chunk` and store it; say `kept` or `rejected`."""

    member: str
    manifest: Manifest
    request: GetChunk
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Install:
    """All parts are stored: make a store of them and start anew on it; say `failed` if that cannot be."""

    manifest: Manifest


FetchEffect: TypeAlias = "Send | Report | Open | Keep | Install"


@dataclass(slots=True)
class _Asked:
    """A request that is not answered yet."""

    request: GetChunk
    until_ms: int
    is_kept: bool = False
    """Its answer is being checked and stored."""


class StateFetch:
    """Decides for one node; the shell brings events and performs effects, one after the other.

    Args:
        interval_ms: Of STATUS.
        lag_blocks: From how many blocks behind on a snapshot is preferred to blocks.
        resumed: Manifest and places of a snapshot of which an earlier start has stored parts.
    """

    def __init__(
        self, interval_ms: int, lag_blocks: int, resumed: tuple[Manifest, Mapping[int, Place]] | None = None
    ) -> None:
        self._interval_ms = interval_ms
        self._lag_blocks = lag_blocks
        self._heads: dict[str, tuple[int, int]] = {}
        self._lacks: dict[str, int] = {}
        self._offers: dict[str, Manifest | None] = {}
        self._unanswered: set[str] = set()
        self._until_ms = 0
        self._asked: dict[str, _Asked] = {}
        self._barred: dict[str, int | None] = {}
        """Who is not asked: until when, None for the whole of this snapshot."""
        self._missing: dict[int, Place] = {}
        self._behind_ms: int | None = None
        self._moved_ms: int | None = None
        self._left: tuple[Manifest, dict[int, Place]] | None = None
        """What was missing of a snapshot that stood still."""
        self.phase = Phase.IDLE
        self.manifest: Manifest | None = None
        """Of the snapshot that is being fetched."""
        if resumed is not None:
            self._start(*resumed)

    @property
    def is_active(self) -> bool:
        """Tell whether a proven snapshot is on its way, so that blocks need not be asked for meanwhile."""
        return self.phase in (Phase.FETCHING, Phase.INSTALLING)

    @property
    def missing(self) -> int:
        """Subtrees that are not stored whole."""
        return len(self._missing)

    # ---- what is heard ------------------------------------------------------------------------

    def heard(self, member: str, head: int, now: Now) -> None:
        """Note the head in a member's STATUS."""
        self._heads[member] = head, now.monotonic_ms

    def lacks(self, member: str, now: Now) -> None:
        """Note that a member did not have the next block."""
        self._lacks[member] = now.monotonic_ms

    def awaits(self, member: str) -> bool:
        """Tell whether a member was asked for a manifest and has not answered."""
        return self.phase is Phase.ASKING and member in self._unanswered

    def offered(self, member: str, manifest: Manifest | None) -> None:
        """Take a member's newest snapshot; it is proven."""
        if self.awaits(member):
            self._unanswered.discard(member)
            self._offers[member] = manifest

    def refused(self, member: str, reason: str) -> list[FetchEffect]:
        """Take note that a member's manifest proves nothing."""
        self.offered(member, None)
        return [Report("manifest-rejected", f"{member}: {reason}")]

    def arrived(self, member: str, chunk: Chunk) -> list[FetchEffect]:
        """Take an answer to a request; what nobody asked for is dropped."""
        asked = self._asked.get(member)
        if asked is None or asked.is_kept or self.manifest is None or chunk.height != asked.request.height:
            return []
        if not chunk.parts:
            del self._asked[member]
            self._barred[member] = None  # it has removed this snapshot, or never had it
            return []
        asked.is_kept = True
        return [Keep(member, self.manifest, asked.request, chunk)]

    def kept(self, keep: Keep, places: Mapping[int, Place], now: Now) -> None:
        """Take note that the parts of an answer are stored.

        Args:
            keep: What asked for it; of a snapshot that was given up meanwhile it counts for nothing.
            places: How far each subtree in it is stored now.
            now: The clocks.
        """
        asked = self._asked.get(keep.member)
        if asked is None or asked.request is not keep.request:
            return
        del self._asked[keep.member]
        self._moved_ms = now.monotonic_ms
        for subtree, place in places.items():
            if place.is_end:
                self._missing.pop(subtree, None)
            else:
                self._missing[subtree] = place

    def rejected(self, member: str, reason: str) -> list[FetchEffect]:
        """Take note that an answer did not prove itself: its sender has had its turn."""
        self._asked.pop(member, None)
        self._barred[member] = None
        return [Report("chunk-rejected", f"{member}: {reason}")]

    def failed(self, reason: str, now: Now) -> list[FetchEffect]:
        """Take note that what was fetched makes no store, or that there is no room for it."""
        effects = self._give_up(reason, now)
        self._left = None
        return effects

    # ---- what to do ---------------------------------------------------------------------------

    def tick(self, head: int, now: Now) -> list[FetchEffect]:
        """Go on.

        Args:
            head: Height of this node's newest block.
            now: The clocks.
        """
        match self.phase:
            case Phase.IDLE:
                return self._consider(head, now)
            case Phase.ASKING:
                return self._choose(head, now)
            case Phase.FETCHING:
                return self._fetch(head, now)
            case _:
                return []

    def _ahead(self, head: int, now: Now) -> dict[str, int]:
        since_ms = now.monotonic_ms - _FRESH_INTERVALS * self._interval_ms
        return {
            member: height for member, (height, at_ms) in self._heads.items() if height > head and at_ms >= since_ms
        }

    def _is_stuck(self, ahead: Mapping[str, int], now: Now) -> bool:
        """Tell whether all who are ahead lack the blocks that this node needs."""
        since_ms = now.monotonic_ms - _LACKS_INTERVALS * self._interval_ms
        return bool(ahead) and all(self._lacks.get(member, since_ms - 1) >= since_ms for member in ahead)

    def _consider(self, head: int, now: Now) -> list[FetchEffect]:
        ahead = self._ahead(head, now)
        is_far = any(height - head >= self._lag_blocks for height in ahead.values())
        if not (is_far or self._is_stuck(ahead, now)):
            self._behind_ms = None
            return []
        self._behind_ms = now.monotonic_ms if self._behind_ms is None else self._behind_ms
        if now.monotonic_ms < max(self._until_ms, self._behind_ms + self._interval_ms * _BEHIND_INTERVALS):
            return []
        self.phase, self._behind_ms = Phase.ASKING, None
        self._until_ms = now.monotonic_ms + self._interval_ms * _ANSWER_INTERVALS
        self._offers, self._unanswered = {}, set(ahead)
        return [Send(member, GetSnapshot()) for member in sorted(ahead)]

    def _choose(self, head: int, now: Now) -> list[FetchEffect]:
        """Take the newest snapshot that saves enough, once all have answered or had their time."""
        if self._unanswered and now.monotonic_ms < self._until_ms:
            return []
        least = head + (1 if self._is_stuck(self._ahead(head, now), now) else self._lag_blocks)
        fit = [offer for offer in self._offers.values() if offer is not None and offer.height >= least]
        if not fit:
            self.phase = Phase.IDLE
            self._until_ms = now.monotonic_ms + self._interval_ms * _AGAIN_INTERVALS
            return []
        manifest = max(fit, key=lambda offer: offer.height)
        left, self._left = self._left, None
        self._start(manifest, {})
        if left is not None and left[0].final.header == manifest.final.header:
            self._missing = left[1]
            return self._fetch(head, now)
        return [Open(manifest), *self._fetch(head, now)]

    def _start(self, manifest: Manifest, places: Mapping[int, Place]) -> None:
        self.phase, self.manifest, self._moved_ms = Phase.FETCHING, manifest, None
        self._missing = {
            subtree: places.get(subtree, Place())
            for subtree in range(SUBTREES)
            if manifest.roots[subtree] != EMPTY_SUBTREE and not places.get(subtree, Place()).is_end
        }

    def _fetch(self, head: int, now: Now) -> list[FetchEffect]:
        """Ask whoever may have the snapshot for what is missing, each for other subtrees."""
        assert self.manifest is not None
        if head >= self.manifest.height:
            return self._give_up("blocks have come as far", now)
        if not self._missing:
            self.phase = Phase.INSTALLING
            return [Install(self.manifest)]
        self._expire(now)
        ahead = self._ahead(head, now)
        self._moved_ms = now.monotonic_ms if self._moved_ms is None else self._moved_ms
        if now.monotonic_ms - self._moved_ms >= self._interval_ms * _STANDSTILL_INTERVALS:
            return self._give_up("no part of it came for long", now)
        if ahead and not self._asked and all(self._barred.get(member, 0) is None for member in ahead):
            return self._give_up("nobody has this snapshot any more", now)
        idle = sorted(ahead.keys() - self._asked.keys() - self._barred.keys())
        owed = {wanted.subtree for asked in self._asked.values() for wanted in asked.request.wanted}
        free = [Wanted(subtree, place) for subtree, place in sorted(self._missing.items()) if subtree not in owed]
        effects: list[FetchEffect] = []
        for member in idle[: ASKED_AT_ONCE_MAX - len(self._asked)]:
            wanted, free = free[:WANTED_MAX], free[WANTED_MAX:]
            if wanted:
                request = GetChunk(self.manifest.height, tuple(wanted))
                self._asked[member] = _Asked(request, now.monotonic_ms + self._interval_ms * _ANSWER_INTERVALS)
                effects.append(Send(member, request))
        return effects

    def _expire(self, now: Now) -> None:
        """Let others have their turn when an answer takes too long."""
        for member, asked in list(self._asked.items()):
            if not asked.is_kept and now.monotonic_ms >= asked.until_ms:
                del self._asked[member]
                self._barred[member] = now.monotonic_ms + self._interval_ms * _ANSWER_INTERVALS
        self._barred = {
            member: until_ms
            for member, until_ms in self._barred.items()
            if until_ms is None or until_ms > now.monotonic_ms
        }

    def _give_up(self, reason: str, now: Now) -> list[FetchEffect]:
        assert self.manifest is not None
        self._left = self.manifest, self._missing
        self.phase, self.manifest, self._missing = Phase.IDLE, None, {}
        self._asked.clear()
        self._barred.clear()
        self._until_ms = now.monotonic_ms + self._interval_ms * _AGAIN_INTERVALS
        return [Report("snapshot-abandoned", reason)]


def check_chunk(manifest: Manifest, request: GetChunk, chunk: Chunk) -> dict[int, Place]:
    """Prove an answer; return how far each subtree in it is known with it.

    Raises:
        ProofError: It is no answer to the request, or a part does not hold.
    """
    if len(chunk.parts) > len(request.wanted):
        raise ProofError("chunk: more parts than were asked for")
    places: dict[int, Place] = {}
    for number, (wanted, part) in enumerate(zip(request.wanted, chunk.parts, strict=False), 1):
        if (part.subtree, part.start) != (wanted.subtree, wanted.place):
            raise ProofError(f"chunk: part {number} is not the one that was asked for")
        verify_part(part, manifest.roots[part.subtree])
        places[part.subtree] = part.end
        if number < len(chunk.parts) and not part.end.is_end:
            raise ProofError(f"chunk: part {number} ends before its subtree, and another follows")
    return places
