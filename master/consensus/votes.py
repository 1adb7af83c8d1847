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
        is_older = held is not None and held.view >= vote.view
        if is_older or (vote.epoch, vote.height) != (self.epoch, self.height):
            return False
        self._slots[vote.step, vote.member] = vote
        return True

    def all(self) -> tuple[Vote, ...]:
        """Return what is held."""
        return tuple(self._slots.values())

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

    def prepared(self, view: int, quorum: int) -> Certificate | None:
        """Return the prepared certificate of ``view``, for whichever block it is, if there is one."""
        digests = sorted({vote.digest for (step, _), vote in self._slots.items() if step is Step.PREPARE})
        return self._first([(view, digest) for digest in digests], Step.PREPARE, quorum)

    def committed(self, quorum: int) -> Certificate | None:
        """Return a commit certificate of any one view and digest, if there is one."""
        candidates = {(vote.view, vote.digest) for (step, _), vote in self._slots.items() if step is Step.COMMIT}
        return self._first(sorted(candidates), Step.COMMIT, quorum)

    def _first(self, candidates: list[tuple[int, Digest]], step: Step, quorum: int) -> Certificate | None:
        found = (self.certificate(step, view, digest, quorum) for view, digest in candidates)
        return next((certificate for certificate in found if certificate is not None), None)

    @property
    def voters(self) -> int:
        """How many validators have voted at this height."""
        return len({member for _, member in self._slots})


@dataclass(slots=True)
class ViewChangeBook:
    """The newest VIEW-CHANGE of every validator at one height."""

    epoch: int
    height: int
    _slots: dict[str, ViewChange] = field(default_factory=dict)

    def add(self, message: ViewChange) -> bool:
        """Keep the message unless its sender already announced this or a later view."""
        held = self._slots.get(message.member)
        is_older = held is not None and held.view >= message.view
        if is_older or (message.epoch, message.height) != (self.epoch, self.height):
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


def votes_of(certificate: Certificate) -> tuple[Vote, ...]:
    """Return the votes that a certificate is made of."""
    return tuple(
        Vote(
            member,
            certificate.step,
            certificate.epoch,
            certificate.height,
            certificate.view,
            certificate.digest,
            signature,
        )
        for member, signature in certificate.signatures
    )
