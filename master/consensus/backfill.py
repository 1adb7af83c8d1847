"""Getting the past of a node that began with a snapshot: old blocks, newest first (docs/spec, clause SN-9). Pure.

Each block is proven by the digest that the one above it names as its parent, its certificate by the validators of its
epoch, its outcomes by its outcome_root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from master.consensus.events import Now, Report, Send
from master.consensus.snapshot_messages import Archive, GetArchive
from wire.certificate import Step, ValidatorSet, verify_certificate
from wire.errors import ProofError
from wire.merkle import tree_head
from wire.snapshot import OldBlock
from wire.types import Digest

_FRESH_INTERVALS: Final = 3
_ANSWER_INTERVALS: Final = 10
_BARRED_INTERVALS: Final = 300
"""How long who lied is not asked."""


@dataclass(frozen=True, slots=True)
class Due:
    """The newest old block that is missing."""

    height: int
    digest: Digest
    outcomes: tuple[bytes, ...] = ()
    """The first of its outcomes, when it has more of them than an answer holds; not yet proven."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Check an answer with `check_archive` and store what it proves; say `filled` or `rejected`."""

    member: str
    due: Due
    archive: Archive


BackfillEffect: TypeAlias = "Send | Report | Fill"


class Backfill:
    """Decides for one node; one request at a time.

    Args:
        interval_ms: Of STATUS.
        pause_ms: Least time between two requests, so that nobody is slowed down by them.
        due: Where to begin; None when nothing is missing.
    """

    def __init__(self, interval_ms: int, pause_ms: int, due: Due | None) -> None:
        self._interval_ms = interval_ms
        self._pause_ms = pause_ms
        self._heads: dict[str, int] = {}
        self._asked: str | None = None
        self._is_filling = False
        self._next_ms = 0
        self._until_ms = 0
        self._barred: dict[str, int] = {}
        self._source: str | None = None
        """Who sent outcomes of a block of which there are more: the rest is asked of the same."""
        self._turn = 0
        self.due = due
        """What is missing next; None when nothing is."""

    def heard(self, member: str, now: Now) -> None:
        """Note that a member is there."""
        self._heads[member] = now.monotonic_ms

    def arrived(self, member: str, archive: Archive, now: Now) -> list[BackfillEffect]:
        """Take an answer; what nobody asked for is dropped."""
        if self.due is None or member != self._asked or self._is_filling:
            return []
        if not archive.blocks:
            self._pass_on(member, now, _ANSWER_INTERVALS)
            return []
        self._is_filling = True
        return [Fill(member, self.due, archive)]

    def filled(self, member: str, due: Due | None, now: Now) -> None:
        """Take note that what an answer proved is stored, and what is missing now."""
        self.due = due
        self._asked, self._is_filling = None, False
        self._source = member if due is not None and due.outcomes else None
        self._next_ms = now.monotonic_ms + self._pause_ms

    def rejected(self, member: str, reason: str, now: Now) -> list[BackfillEffect]:
        """Take note that an answer did not prove itself: its sender has had its turn."""
        self._is_filling = False
        self._pass_on(member, now, _BARRED_INTERVALS)
        return [Report("archive-rejected", f"{member}: {reason}")]

    def tick(self, now: Now) -> list[BackfillEffect]:
        """Ask the next member, when it is time."""
        if self.due is None or self._is_filling:
            return []
        if self._asked is not None:
            if now.monotonic_ms < self._until_ms:
                return []
            self._pass_on(self._asked, now, _ANSWER_INTERVALS)
        since_ms = now.monotonic_ms - _FRESH_INTERVALS * self._interval_ms
        ready = sorted(
            member
            for member, at_ms in self._heads.items()
            if at_ms >= since_ms and self._barred.get(member, 0) <= now.monotonic_ms
        )
        if not ready or now.monotonic_ms < self._next_ms:
            return []
        self._turn += 1
        member = self._source if self._source in ready else ready[self._turn % len(ready)]
        assert member is not None
        if member != self._source:
            self.due = replace(self.due, outcomes=())  # what one member began no other continues
        self._asked, self._until_ms = member, now.monotonic_ms + self._interval_ms * _ANSWER_INTERVALS
        return [Send(member, GetArchive(self.due.height, len(self.due.outcomes)))]

    def _pass_on(self, member: str, now: Now, intervals: int) -> None:
        """Leave a member alone for a while; what it began is begun anew by another."""
        self._asked = self._source = None
        self._barred[member] = now.monotonic_ms + self._interval_ms * intervals


def check_archive(
    due: Due, archive: Archive, chain: str, validators: Callable[[int], ValidatorSet | None], outcome_bytes_max: int
) -> tuple[Sequence[OldBlock], Due]:
    """Prove an answer; return its whole blocks, with all of their outcomes, and what is missing after them.

    Args:
        due: What was asked for.
        archive: The answer; it has at least one block.
        chain: Name of the ledger.
        validators: The set of an epoch, from a proven manifest.
        outcome_bytes_max: Most bytes of outcomes of one block.

    Raises:
        ProofError: A block is not the parent of the one above it, or its outcomes are not those of its header.
        CertificateError: A certificate is not of the block or lacks signatures.
    """
    whole: list[OldBlock] = []
    for block in archive.blocks:
        header, certificate = block.header, block.certificate
        if (header.height, header.digest()) != (due.height, due.digest):
            raise ProofError(f"archive: block {header.height} is not the one that was due at {due.height}")
        outcomes = due.outcomes + block.outcomes
        if len(outcomes) < header.tx_count and block is archive.blocks[-1] and block.outcomes:
            if sum(map(len, outcomes)) > outcome_bytes_max:
                raise ProofError(f"archive: block {header.height} has more than {outcome_bytes_max} bytes of outcomes")
            return whole, replace(due, outcomes=outcomes)
        if len(outcomes) != header.tx_count or tree_head(outcomes) != header.outcome_root:
            raise ProofError(f"archive: the outcomes of block {header.height} lead to another outcome_root")
        if tree_head(block.fault_proofs) != header.fault_proof_root:
            raise ProofError(f"archive: the fault proofs of block {header.height} lead to another fault_proof_root")
        claimed = (certificate.step, certificate.epoch, certificate.height, certificate.digest)
        known = validators(header.epoch)
        if known is None or claimed != (Step.COMMIT, header.epoch, due.height, due.digest):
            raise ProofError(f"archive: the certificate of block {header.height} is not a commit of it")
        verify_certificate(certificate, chain, known)
        whole.append(replace(block, outcomes=outcomes))
        due = Due(due.height - 1, header.parent)
    return whole, due
