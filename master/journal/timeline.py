"""Tells people what a replayed log shows: heights, views, votes, who was missing, and why a view was left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from master.consensus.events import Apply, Broadcast, Effect, Report
from master.consensus.messages import Propose, ViewChange, Vote
from master.consensus.progress import Progress
from master.journal.records import Checkpoint, Note, Restored, Start, Step
from master.journal.replay import Moment
from wire.types import Digest


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline."""

    step: int
    wall_ms: int
    height: int
    view: int
    text: str
    is_notable: bool
    """Something out of the ordinary."""


class Timeline:
    """Makes lines of moments, one after the other."""

    def __init__(self) -> None:
        self._before: Progress | None = None
        self._step = 0
        self._wall_ms = 0

    def lines(self, moment: Moment) -> list[Line]:
        """Return what is worth telling of a moment."""
        entry, replica = moment.entry, moment.replica
        if isinstance(entry, Step):
            self._step, self._wall_ms = entry.number, entry.now.wall_ms
        elif isinstance(entry, Note):
            self._wall_ms = entry.wall_ms
        else:
            self._step = entry.number if isinstance(entry, Checkpoint) else 0
        now = replica.progress
        texts = [*self._framing(moment), *self._changes(now), *_said(moment.effects)]
        self._before = now
        return [Line(self._step, self._wall_ms, now.height, now.view, text, is_notable) for text, is_notable in texts]

    def _framing(self, moment: Moment) -> Iterator[tuple[str, bool]]:
        entry, replica = moment.entry, moment.replica
        match entry:
            case Start():
                self._before = None
                guard = entry.facts.get("guard")
                signed = "no guard" if guard is None else f"guard at height {guard.height}, view {guard.view}"
                yield f"start of version {entry.software}: head {replica.head.height}, {signed}", True
            case Checkpoint():
                yield f"the log goes on from here, version {entry.software}: head {replica.head.height}", False
            case Note():
                yield entry.text, True
            case Step(event=Restored(records=records)) if records:
                yield f"{len(records)} records of the write-ahead log taken up", True
            case _:
                pass
        if isinstance(entry, Step) and entry.error is not None:
            yield f"the step ended in {entry.error}", True

    def _changes(self, now: Progress) -> Iterator[tuple[str, bool]]:
        before = self._before
        if before is None or now == before:
            return
        if now.height > before.height:
            yield f"height {before.height} is stored", False
            return
        if now.view > before.view:
            yield f"view {before.view} is left: {before.text()}", True
        elif now.proposal is not None and now.proposal != before.proposal:
            yield f"proposal of {now.leader}: {_short(now.proposal)}, {now.transactions} transactions", False
        if now.view > 0 and now.changed_by != before.changed_by:
            yield f"VIEW-CHANGE seen of {_names(now.changed_by)}", True


def _said(effects: Iterable[Effect]) -> Iterator[tuple[str, bool]]:
    for effect in effects:
        match effect:
            case Report():
                yield f"{effect.code}: {effect.detail}", True
            case Broadcast(message=Vote() as vote):
                yield f"says {vote.step.name} for {_short(vote.digest)}", False
            case Broadcast(message=ViewChange() as change):
                yield f"says VIEW-CHANGE to view {change.view}", True
            case Broadcast(message=Propose() as propose):
                yield f"proposes {_short(propose.block.header.digest())}", False
            case Apply():
                certificate = effect.certificate
                signers = _names(certificate.signers)
                yield f"{_short(certificate.digest)} is final in view {certificate.view}: COMMIT of {signers}", False
            case _:
                pass


def _short(digest: Digest) -> str:
    return digest.hex()[:12]


def _names(members: Iterable[str]) -> str:
    return ", ".join(members) or "nobody"
