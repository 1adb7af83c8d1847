"""Whether a proposal may be voted for, apart from what its execution yields (docs/spec CM-5)."""

from __future__ import annotations

from dataclasses import dataclass

from master.consensus.events import Head
from master.consensus.messages import Propose
from master.consensus.votes import highest_prepared
from wire.certificate import Certificate, ValidatorSet
from wire.types import Digest


@dataclass(frozen=True, slots=True)
class Rules:
    """What does not change while one height is decided."""

    chain: str
    epoch: int
    validators: ValidatorSet
    head: Head
    base: int
    """Index of the validator that leads view 0."""
    skew_ms: int
    """Largest difference between a fresh block's time and the voter's clock, milliseconds."""

    @property
    def height(self) -> int:
        """Height that is being decided."""
        return self.head.height + 1

    @property
    def next_validators_hash(self) -> Digest:
        """What the header of this height must name as the set after it."""
        named = self.head.next_validators_hash
        return self.validators.digest() if named is None else named

    @property
    def next_epoch(self) -> int:
        """Number of the epoch that decides the height after this one."""
        return self.epoch + (self.next_validators_hash != self.validators.digest())

    def leader(self, view: int) -> str:
        """Return the member that leads ``view`` at this height."""
        validators = self.validators.validators
        return validators[(self.base + view) % len(validators)].member


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a proposal is not voted for."""

    reason: str
    leaders_fault: bool
    """The fault is in bytes that the leader signed; only then may it cost the leader its view."""


def next_base(head: Head, validators: ValidatorSet, rotation_blocks: int) -> int:
    """Return the index of the view-0 leader after ``head``: sticky, with a fair rotation; 0 where an epoch begins.

    Everything it looks at is in committed headers.

    Args:
        head: The newest final block.
        validators: The set that decides the next height.
        rotation_blocks: Every so many heights the lead moves on by one.
    """
    if head.proposer is None or head.epoch is not None or validators.find(head.proposer) is None:
        return 0
    moved = (head.height + 1) % rotation_blocks == 0
    return (validators.index(head.proposer) + moved) % len(validators)


def check_proposal(message: Propose, rules: Rules, wall_ms: int) -> Verdict | None:
    """Return why ``message`` must not be voted for, or None.

    Args:
        message: A PROPOSE whose signatures verify.
        rules: The height's frame.
        wall_ms: The voter's clock, milliseconds since 1970 UTC.
    """
    header = message.block.header
    if message.member != rules.leader(message.view):
        return Verdict(f"{message.member} does not lead view {message.view}", leaders_fault=False)
    proof = _check_view_changes(message, rules)
    if proof is not None:
        return proof
    carried = highest_prepared(message.view_changes)
    problem = _check_frame(message, rules) or _check_value(message, carried, rules)
    if problem is not None:
        return Verdict(problem, leaders_fault=True)
    if carried is None and abs(header.time_ms - wall_ms) > rules.skew_ms:
        # both clocks may be wrong, and a proposal may have been long on its way
        return Verdict(
            f"block time is {header.time_ms - wall_ms} ms from this node's clock",
            leaders_fault=False,
        )
    return None


def _check_view_changes(message: Propose, rules: Rules) -> Verdict | None:
    if message.view == 0:
        if message.view_changes:
            return Verdict("view 0 carries view changes", leaders_fault=True)
        return None
    members = {entry.member for entry in message.view_changes}
    exact = all(
        (entry.height, entry.view, entry.epoch) == (rules.height, message.view, rules.epoch)
        for entry in message.view_changes
    )
    if not exact or len(members) != len(message.view_changes):
        return Verdict("a view change is doubled or of another view", leaders_fault=True)
    if len(members) < rules.validators.quorum:
        return Verdict(f"only {len(members)} view changes", leaders_fault=True)
    return None


def _check_frame(message: Propose, rules: Rules) -> str | None:
    header = message.block.header
    expected_set = rules.validators.digest()
    problems = (
        (header.chain != rules.chain, "another chain"),
        (header.epoch != rules.epoch, "another epoch"),
        (message.height != rules.height or header.height != rules.height, "another height"),
        (header.parent != rules.head.digest, "another parent"),
        (header.validators_hash != expected_set, "other validators"),
        (header.next_validators_hash != rules.next_validators_hash, "other next validators"),
        (header.time_ms <= rules.head.time_ms, "block time does not grow"),
    )
    return next((reason for wrong, reason in problems if wrong), None)


def _check_value(message: Propose, carried: Certificate | None, rules: Rules) -> str | None:
    header = message.block.header
    if carried is not None:
        if header.digest() != carried.digest:
            return "the prepared block of the highest view was not proposed again"
        return None
    if header.proposer != rules.leader(message.view):
        return "a fresh block names another proposer"
    return None
