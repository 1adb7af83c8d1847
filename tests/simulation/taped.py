"""A simulated replica whose every event is written to a log in memory, as a real node's is to its ring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from master.consensus.events import Effect, Event, Now
from master.consensus.records import Record
from master.consensus.replica import Replica
from master.io.ring import Segment, segments_of
from master.journal.records import Restored, SegmentEncoder, Taken
from master.journal.replay import Replayer, error_text

SOFTWARE = "simulated"
LATER = "_tape"


class Log:
    """The segments of one life of a node."""

    def __init__(self, checkpoint_every: int = 0) -> None:
        self.segments: list[list[bytes]] = []
        self.checkpoint_every = checkpoint_every

    @classmethod
    def read(cls, path: Path) -> Log:
        """Take up what a real node has written: a folder of segments, or one."""
        log = cls()
        log.segments = [list(Segment(segment).records()) for segment in segments_of(path)]
        return log

    def replayed(self, first: int = 0) -> Replayer:
        """Replay from a segment on and return what came of it."""
        replayer = Replayer()
        for segment in self.segments[first:]:
            replayer.open_segment()
            for raw in segment:
                replayer.take(raw)
        return replayer


class Tape:
    """Writes the log of one life."""

    def __init__(self, log: Log, sign: Callable[[bytes], bytes], facts: dict[str, Any]) -> None:
        self.log = log
        self.number = 0
        self._vote_key = sign
        self._signed: list[bytes] = []
        self.sign = self._sign
        """One and the same object, which a log knows by its name."""
        self._encoder = SegmentEncoder(self.sign)
        log.segments.append([self._encoder.start(SOFTWARE, facts)])

    def _sign(self, message: bytes) -> bytes:
        self._signed.append(self._vote_key(message))
        return self._signed[-1]

    def step(self, event: Event | Restored, now: Now, run: Callable[[], list[Effect]]) -> list[Effect]:
        """Let one step happen and write it down, also if it ends in an exception."""
        self.number += 1
        effects: list[Effect] = []
        error: str | None = None
        try:
            effects = run()
        except Exception as raised:
            error = error_text(raised)
            raise
        finally:
            signatures, self._signed = tuple(self._signed), []
            taken = Taken(self.number, now, event, effects, signatures, error)
            self.log.segments[-1].append(self._encoder.step(taken))
        return effects

    def checkpoint(self, replica: Replica) -> None:
        """Begin a segment with the present state, when it is time for it."""
        if self.log.checkpoint_every and self.number % self.log.checkpoint_every == 0:
            self._encoder = SegmentEncoder(self.sign)
            self.log.segments.append([self._encoder.checkpoint(SOFTWARE, self.number, replica)])


class TapedReplica(Replica):
    """The real replica; what it is told goes into a log, together with what it answers."""

    def __init__(self, log: Log, *facts: Any, **more: Any) -> None:  # noqa: ANN401 as the replica takes them
        settings, head, sign, now = facts
        self._tape = Tape(log, sign, {"settings": settings, "head": head, "now": now, **more})
        super().__init__(settings, head, self._tape.sign, now, **more)

    def restore(self, records: Iterable[Record], now: Now) -> list[Effect]:
        held = tuple(records)
        return self._tape.step(Restored(held), now, lambda: Replica.restore(self, held, now))

    def step(self, event: Event, now: Now) -> list[Effect]:
        effects = self._tape.step(event, now, lambda: Replica.step(self, event, now))
        self._tape.checkpoint(self.bare())
        return effects

    def bare(self) -> Replica:
        """Return what a real node's replica is: this one without its tape."""
        bare = object.__new__(Replica)
        vars(bare).update({name: value for name, value in vars(self).items() if name != LATER})
        return bare
