"""The records of the event log: a start or a checkpoint, then every step with what it led to (docs/spec EL-2 to EL-4).

A segment of the log begins with a start or a checkpoint and holds all that is needed to run it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from master.consensus.events import Effect, Event, Now
from master.consensus.records import Record
from master.consensus.replica import Replica
from master.journal.graph import Decoder, Encoder, JournalError
from wire import cbor
from wire.block import Block
from wire.types import sha256

FORMAT: Final = 1
RECORD_BYTES_MAX: Final = 256 * 1024 * 1024
"""A checkpoint may hold many blocks that wait; most records are far below one kilobyte."""
SIGN: Final = "sign"
_DIGEST_BYTES: Final = 16
_START, _CHECKPOINT, _STEP, _NOTE = range(4)


@dataclass(frozen=True, slots=True)
class Restored:
    """The first event of a start: what the write-ahead log held."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """A replica is made."""

    software: str
    facts: Mapping[str, Any]
    """The arguments of `Replica`, but for the vote key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a running replica."""

    software: str
    number: int
    """Steps since the start."""
    replica: Replica


@dataclass(frozen=True, slots=True)
class Step:
    """One event and what came of it."""

    number: int
    """Counted from 1 at the start."""
    now: Now
    event: Event | Restored
    effects: bytes
    """Digest of the effects; empty when there were none."""
    signatures: tuple[bytes, ...]
    """What the vote key signed in this step, in order: replay has no key."""
    error: str | None = None
    """The exception in which the step ended."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the shell did that no event tells of."""

    wall_ms: int
    text: str


Entry: TypeAlias = "Start | Checkpoint | Step | Note"


@dataclass(frozen=True, slots=True)
class Taken:
    """A step as it is kept until somebody has time to encode it."""

    number: int
    now: Now
    event: Event | Restored
    effects: Sequence[Effect]
    signatures: tuple[bytes, ...]
    error: str | None = None


def effects_digest(effects: Sequence[Effect]) -> bytes:
    """Return 16 bytes that stand for effects in their order; none for none.

    A block counts by its digest, which its header binds to its transactions.
    """
    if not effects:
        return b""
    encoder = Encoder(folded={Block: lambda block: block.header.digest()}, is_expanded=True)
    return sha256(cbor.encode(encoder.encode(tuple(effects))))[:_DIGEST_BYTES]


def plain(text: str) -> str:
    """Return text that any record may hold: ASCII, at most 500 characters."""
    return text.encode("ascii", "backslashreplace").decode("ascii")[:500]


class SegmentEncoder:
    """Encodes the records of one segment, the first of which is a start or a checkpoint."""

    def __init__(self, sign: object) -> None:
        """Begin; ``sign`` is the replica's signing function."""
        self._graph = Encoder({SIGN: sign})

    def start(self, software: str, facts: Mapping[str, Any]) -> bytes:
        """Return the record of a start."""
        return self._record(_START, FORMAT, software, *self._graph.encode(dict(facts)))

    def checkpoint(self, software: str, number: int, replica: Replica) -> bytes:
        """Return the record of a running replica."""
        return self._record(_CHECKPOINT, FORMAT, software, number, *self._graph.encode(replica))

    def step(self, step: Taken) -> bytes:
        """Return the record of a step."""
        digest = effects_digest(step.effects)
        frame = (step.number, step.now.wall_ms, step.now.monotonic_ms)
        return self._record(_STEP, *frame, *self._graph.encode(step.event), digest, list(step.signatures), step.error)

    def note(self, note: Note) -> bytes:
        """Return the record of a note."""
        return self._record(_NOTE, note.wall_ms, plain(note.text))

    @staticmethod
    def _record(*parts: cbor.Value) -> bytes:
        return cbor.encode(parts)


class SegmentDecoder:
    """Decodes the records of one segment in their order."""

    def __init__(self, sign: object) -> None:
        """Begin; ``sign`` takes the place of the signing function."""
        self._graph = Decoder({SIGN: sign})

    def decode(self, raw: bytes) -> Entry:
        """Return what a record says.

        Raises:
            JournalError: It is damaged, or of another version.
        """
        try:
            value = cbor.decode(raw, bytes_max=RECORD_BYTES_MAX)
        except ValueError as error:
            raise JournalError(f"a record is no canonical CBOR: {error}") from error
        match value:
            case [0, 1, str(software), classes, rows]:
                return Start(software, _a(dict, self._graph.decode(classes, rows)))
            case [1, 1, str(software), int(number), classes, rows]:
                return Checkpoint(software, number, _a(Replica, self._graph.decode(classes, rows)))
            case [2, int(number), int(wall_ms), int(monotonic_ms), classes, rows, bytes(digest), list(signed), ended]:
                event = self._graph.decode(classes, rows)
                signatures = tuple(entry for entry in signed if isinstance(entry, bytes))
                failure = ended if isinstance(ended, str) else None
                return Step(number, Now(wall_ms, monotonic_ms), event, digest, signatures, failure)
            case [3, int(wall_ms), str(text)]:
                return Note(wall_ms, text)
            case _:
                raise JournalError(f"a record has a form that this version (format {FORMAT}) does not know")


def _a(kind: type, value: Any) -> Any:  # noqa: ANN401 as it was asked for
    if not isinstance(value, kind):
        raise JournalError(f"a record holds a {type(value).__name__} where a {kind.__name__} is due")
    return value
