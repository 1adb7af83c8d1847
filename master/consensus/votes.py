"""Counting votes: one slot per sender and step, quorums by view and digest."""

from __future__ import annotations

from dataclasses import dataclass, field

from master.consensus.messages import ViewChange, Vote
from wire.certificate import Certificate, Step, build_certificate
from wire.types import Digest


@dataclass(slots=True)
class VoteBook:
    """The votes of one height. Memory is bounded: a newer view replaces a sender's older vote."""

    epoch: int
    height: int
    _slots: dict[tuple[Step, str], Vote] = field(default_factory=dict)

    def add(self, vote: Vote) -> bool:
        """Keep ``vote`` unless its sender already voted in this or a later view."""
        held = self._slots.get((vote.step, vote.member))
        if vote.epoch != self.epoch or (held is not None and held.view >= vote.view):
            return False
        self._slots[vote.step, vote.member] = vote
        return True

    def certificate(self, step: Step, view: int, digest: Digest, quorum: int) -> Certificate | None:
        """Return the certificate for exactly this view and digest once ``quorum`` votes agree."""
        votes = [
            (vote.member, vote.signature)
            for (slot_step, _), vote in self._slots.items()
            if slot_step is step and vote.view == view and vote.digest == digest
        ]
        if len(votes) < quorum:
            return None
        return build_certificate(step, self.epoch, self.height, view, digest, votes)

    def committed(self, quorum: int) -> Certificate | None:
        """Return a commit certificate of any one view and digest, if there is one."""
        candidates = sorted(
            {(vote.view, vote.digest) for (step, _), vote in self._slots.items() if step is Step.COMMIT}
        )
        for view, digest in candidates:
            certificate = self.certificate(Step.COMMIT, view, digest, quorum)
            if certificate is not None:
                return certificate
        return None

    @property
    def is_empty(self) -> bool:
        """Tell whether nobody has voted at this height."""
        return not self._slots


@dataclass(slots=True)
class ViewChangeBook:
    """The newest VIEW-CHANGE of every validator at one height."""

    _slots: dict[str, ViewChange] = field(default_factory=dict)

    def add(self, message: ViewChange) -> bool:
        """Keep the message unless its sender already announced this or a later view."""
        held = self._slots.get(message.member)
        if held is not None and held.view >= message.view:
            return False
        self._slots[message.member] = message
        return True

    def all(self) -> tuple[ViewChange, ...]:
        """Return what is held, sorted by member."""
        return tuple(self._slots[member] for member in sorted(self._slots))

    def exactly(self, view: int) -> tuple[ViewChange, ...]:
        """Return the messages for exactly ``view``, sorted by member."""
        return tuple(entry for entry in self.all() if entry.view == view)

    def count_from(self, view: int) -> int:
        """Count the validators that announced ``view`` or a later one."""
        return sum(entry.view >= view for entry in self._slots.values())

    def nth_highest_view(self, place: int) -> int:
        """Return the ``place``-th highest announced view, counted from 1; 0 when fewer announced."""
        views = sorted((entry.view for entry in self._slots.values()), reverse=True)
        return views[place - 1] if len(views) >= place else 0


def highest_prepared(view_changes: tuple[ViewChange, ...]) -> Certificate | None:
    """Return the prepared certificate of the highest view; its block must be proposed again."""
    prepared = [entry.prepared for entry in view_changes if entry.prepared is not None]
    return max(prepared, key=lambda certificate: certificate.view, default=None)
