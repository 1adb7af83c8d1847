"""Runs the real core again on a recorded event log and compares every step (docs/spec EL-5)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from master.consensus.events import Effect
from master.consensus.replica import Replica
from master.journal.graph import Encoder, JournalError
from master.journal.records import (
    SIGN,
    Checkpoint,
    Entry,
    Note,
    Restored,
    SegmentDecoder,
    Start,
    Step,
    effects_digest,
    plain,
)
from wire import cbor


class DifferenceError(Exception):
    """The core does not do here what it did there; the message names the step."""


class _NoSignatureLeftError(Exception):
    """The replica signs more than it did."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What one record came to."""

    entry: Entry
    replica: Replica
    effects: tuple[Effect, ...] = ()
    """Those of a step."""


class Replayer:
    """Takes the records of one node, segment by segment; holds one replica."""

    def __init__(self) -> None:
        self.steps = 0
        """How many came out the same."""
        self.states = 0
        """How many checkpoints were what the replay had come to by itself."""
        self._number: int | None = None
        self._replica: Replica | None = None
        self._decoder: SegmentDecoder | None = None
        self._signatures: deque[bytes] = deque()
        self._sign = self._signature

    def open_segment(self) -> None:
        """Say that the next record is the first of a segment."""
        self._decoder = SegmentDecoder(self._sign)

    def take(self, raw: bytes) -> Moment:
        """Run one record.

        Raises:
            JournalError: It cannot be read, or does not follow the one before.
            DifferenceError: It came out otherwise.
        """
        if self._decoder is None:
            raise JournalError("no segment is open")
        entry = self._decoder.decode(raw)
        effects: tuple[Effect, ...] = ()
        match entry:
            case Start():
                self._replica, self._number = self._boot(entry), 0
            case Checkpoint():
                self._check(entry)
                self._replica, self._number = entry.replica, entry.number
            case Step():
                effects = self._run(entry)
            case Note():
                pass
        if self._replica is None:
            raise JournalError("a segment begins with neither a start nor a checkpoint")
        return Moment(entry, self._replica, effects)

    def _signature(self, _message: bytes) -> bytes:
        if not self._signatures:
            raise _NoSignatureLeftError
        return self._signatures.popleft()

    def _boot(self, start: Start) -> Replica:
        try:
            return Replica(sign=self._sign, **start.facts)
        except (AttributeError, TypeError) as error:
            raise JournalError(f"the facts of the start do not fit this version: {error}") from error

    def _check(self, checkpoint: Checkpoint) -> None:
        """Compare the state that the replay has come to with the recorded one, where they are of one moment."""
        if self._replica is None or self._number != checkpoint.number:
            return
        if self._state(self._replica) != self._state(checkpoint.replica):
            raise DifferenceError(f"checkpoint at step {checkpoint.number}: the recorded state is another one")
        self.states += 1

    def _state(self, replica: Replica) -> bytes:
        return cbor.encode(Encoder({SIGN: self._sign}, is_expanded=True).encode(replica))

    def _run(self, step: Step) -> tuple[Effect, ...]:
        if self._replica is None or self._number is None or step.number != self._number + 1:
            raise JournalError(f"step {step.number} does not follow step {self._number}")
        self._number = step.number
        self._signatures = deque(step.signatures)
        effects: tuple[Effect, ...] = ()
        error: str | None = None
        try:
            if isinstance(step.event, Restored):
                effects = tuple(self._replica.restore(step.event.records, step.now))
            else:
                effects = tuple(self._replica.step(step.event, step.now))
        except _NoSignatureLeftError:
            raise DifferenceError(f"{name_of(step)}: the vote key signs more than it did") from None
        except Exception as raised:  # noqa: BLE001 the log tells which one is due
            error = error_text(raised)
        if error != step.error:
            raise DifferenceError(f"{name_of(step)}: ended with {error}, recorded is {step.error}")
        if self._signatures:
            raise DifferenceError(f"{name_of(step)}: the vote key signs less than it did")
        if effects_digest(effects) != step.effects:
            came = ", ".join(type(effect).__name__ for effect in effects) or "nothing"
            raise DifferenceError(f"{name_of(step)}: other effects than recorded; here: {came}")
        self.steps += 1
        return effects


def error_text(error: Exception) -> str:
    """Return how a log names the exception in which a step ended."""
    return plain(f"{type(error).__name__}: {error}")


def name_of(step: Step) -> str:
    """Return how a step is named to people."""
    event = step.event
    what = getattr(event, "message", event)
    sender = f" from {event.sender}" if hasattr(event, "sender") else ""
    return f"step {step.number} ({type(what).__name__}{sender})"
