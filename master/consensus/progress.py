"""How far a height is, and whose word it waits for: the answer to "why no block?" (docs/spec EL-8)."""

from __future__ import annotations

from dataclasses import dataclass

from master.consensus.state import HeightState
from wire.certificate import Step
from wire.types import Digest


@dataclass(frozen=True, slots=True)
class Progress:
    """What this node has seen of the height that is being decided, in its present view."""

    height: int
    view: int
    leader: str
    proposal: Digest | None
    transactions: int
    """Of the proposal."""
    prepared_by: tuple[str, ...]
    """Whose PREPARE of this view is here."""
    committed_by: tuple[str, ...]
    """Whose COMMIT of this view is here."""
    changed_by: tuple[str, ...]
    """Who has announced this view or a later one."""
    awaits: str
    """What is missing: nothing, view-change, proposal, prepare, commit."""
    missing: tuple[str, ...]
    """Whose word is not here. Not all are needed."""

    def text(self) -> str:
        """Return it as a sentence for people."""
        if self.awaits == "nothing":
            return "waits for nothing"
        return f"waits for {self.awaits}; nothing of {', '.join(self.missing) or 'nobody'}"


def progress_of(state: HeightState) -> Progress:
    """Return how far a height is."""
    members = [validator.member for validator in state.rules.validators.validators]
    quorum, leader = state.rules.validators.quorum, state.rules.leader(state.view)
    votes = [vote for vote in state.votes.all() if vote.view == state.view]
    prepared_by = tuple(sorted(vote.member for vote in votes if vote.step is Step.PREPARE))
    committed_by = tuple(sorted(vote.member for vote in votes if vote.step is Step.COMMIT))
    changed_by = tuple(entry.member for entry in state.view_changes.all() if entry.view >= state.view)
    proposal = state.proposal
    said: tuple[str, ...]
    if state.view and len(changed_by) < quorum:
        awaits, said = "view-change", changed_by
    elif proposal is None and not votes:
        is_due = bool(state.view) or state.is_pending or state.is_awaited or state.deadline_ms is not None
        awaits = "proposal" if is_due else "nothing"
        said = tuple(member for member in members if not is_due or member != leader)
    elif state.votes.prepared(state.view, quorum) is None:
        awaits, said = "prepare", prepared_by
    else:
        awaits, said = "commit", committed_by
    return Progress(
        height=state.rules.height,
        view=state.view,
        leader=leader,
        proposal=None if proposal is None else proposal.block.header.digest(),
        transactions=0 if proposal is None else len(proposal.block.transactions),
        prepared_by=prepared_by,
        committed_by=committed_by,
        changed_by=changed_by,
        awaits=awaits,
        missing=tuple(member for member in members if member not in said),
    )
