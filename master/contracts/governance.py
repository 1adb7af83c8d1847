"""Proposals with a deadline and votes with weights: parameters, contract versions, corrections of data.

Who has a say and how much is looked up when the votes are counted, not when they are cast. Changes of validators have
votes of their own in the contract `validators`. State, values in CBOR (docs/spec, clauses GV-1 to GV-12):
("proposal/" | id) -> {kind, by, body, deadline_ms, status, height}; ("open/" | id) -> {by, deadline_ms};
("vote/" | id | "/" | organisation) -> whether it is in favour; corrections as in `corrections`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from master.contracts import membership
from master.contracts.context import OK, Context, Contract, Refused, check_arguments, digest_argument
from master.contracts.corrections import CORRECTION, NAMESPACE, record_correction
from master.contracts.governance_kinds import KINDS, subject_of
from wire import cbor
from wire.cbor import Value
from wire.fields import Fields
from wire.types import Digest

BODY_BYTES_MAX: Final = 8192
"""Longest body, as canonical CBOR."""
SWEPT_MAX: Final = 16
"""Proposals past their deadline that one call closes."""
OPEN: Final = "open"
ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"
_PROPOSAL: Final = b"proposal/"
_OPEN: Final = b"open/"
_VOTE: Final = b"vote/"


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal."""

    id: Digest
    """Of the transaction that made it."""
    kind: str
    by: str
    body: Mapping[str, Value]
    deadline_ms: int
    """Last block time at which it can be decided."""
    status: str
    """open, accepted, rejected, expired, withdrawn, or why it could not be carried out when it was decided."""
    height: int
    """Block that made it so."""

    def to_value(self) -> dict[str, Value]:
        """Return what the state holds."""
        return {
            "kind": self.kind,
            "by": self.by,
            "body": dict(self.body),
            "deadline_ms": self.deadline_ms,
            "status": self.status,
            "height": self.height,
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """The votes on a proposal as they weigh now."""

    in_favour: int
    against: int
    total: int
    """Of all whose votes decide, suspended ones too."""
    due: int
    """That must be in favour."""

    @property
    def is_enough(self) -> bool:
        """Tell whether it is accepted."""
        return self.in_favour >= self.due

    @property
    def is_hopeless(self) -> bool:
        """Tell whether it cannot be accepted any more unless weights change."""
        return self.total - self.against < self.due


def propose(ctx: Context, args: dict[str, Value]) -> str:
    """Make a proposal: ``kind``, ``body``, ``deadline_ms`` (block time); who proposes is in favour.

    Raises:
        Refused: bad-args; unknown-kind; no-say: the sender has no vote on this kind, or is not its organisation itself;
            bad-deadline; too-many: of this organisation, or in all; and what the kind's check refuses.
    """
    check_arguments(args, ("kind", "body", "deadline_ms"))
    kind, body, deadline_ms = args["kind"], args["body"], args["deadline_ms"]
    if not isinstance(kind, str) or not isinstance(body, dict) or type(deadline_ms) is not int:
        raise Refused("bad-args")
    if kind not in KINDS:
        raise Refused("unknown-kind")
    _check_say(ctx, kind)
    if not 0 < deadline_ms - ctx.time_ms <= membership.integer_parameter(ctx, "proposal_deadline_ms_max"):
        raise Refused("bad-deadline")
    if len(cbor.encode(body)) > BODY_BYTES_MAX:
        raise Refused("bad-body")
    _make_room(ctx)
    KINDS[kind].check(ctx, body)
    proposal = Proposal(ctx.tx_id, kind, ctx.organisation, body, deadline_ms, OPEN, ctx.height)
    ctx.put(_OPEN + proposal.id, {"by": proposal.by, "deadline_ms": deadline_ms})
    ctx.put(_vote_key(proposal.id, proposal.by), value=True)
    tally = _tally(ctx, proposal)
    data: dict[str, Value] = {
        "proposal": proposal.id,
        "kind": kind,
        "by": proposal.by,
        "body": body,
        "deadline_ms": deadline_ms,
        **_weights(tally),
    }
    ctx.emit("proposal_made", subject_of(kind, body), data)
    return _decide(ctx, proposal, tally)


def vote(ctx: Context, args: dict[str, Value]) -> str:
    """Vote on the open ``proposal``, once, with ``in_favour`` true or false.

    Raises:
        Refused: bad-args; no-such-proposal; closed: it is decided already; expired; no-say; voted.
    """
    check_arguments(args, ("proposal", "in_favour"))
    in_favour = args["in_favour"]
    if not isinstance(in_favour, bool):
        raise Refused("bad-args")
    proposal = _open_proposal(ctx, args)
    if ctx.time_ms > proposal.deadline_ms:
        raise Refused("expired")
    _check_say(ctx, proposal.kind)
    key = _vote_key(proposal.id, ctx.organisation)
    if ctx.get(key) is not None:
        raise Refused("voted")
    ctx.put(key, in_favour)
    tally = _tally(ctx, proposal)
    data: dict[str, Value] = {
        "proposal": proposal.id,
        "organisation": ctx.organisation,
        "in_favour": in_favour,
        **_weights(tally),
    }
    ctx.emit("proposal_voted", subject_of(proposal.kind, proposal.body), data)
    return _decide(ctx, proposal, tally)


def withdraw(ctx: Context, args: dict[str, Value]) -> str:
    """End the own open ``proposal``.

    Raises:
        Refused: bad-args; no-such-proposal; closed; not-yours.
    """
    check_arguments(args, ("proposal",))
    proposal = _open_proposal(ctx, args)
    if ctx.organisation != proposal.by or ctx.sender != proposal.by:
        raise Refused("not-yours")
    return _close(ctx, proposal, EXPIRED if ctx.time_ms > proposal.deadline_ms else WITHDRAWN)


def count(ctx: Context, args: dict[str, Value]) -> str:
    """Count the votes of the open ``proposal`` anew, since who has a say may have changed; anybody may ask.

    After its deadline this closes it.

    Raises:
        Refused: bad-args; no-such-proposal; closed.
    """
    check_arguments(args, ("proposal",))
    proposal = _open_proposal(ctx, args)
    if ctx.time_ms > proposal.deadline_ms:
        return _close(ctx, proposal, EXPIRED)
    return _decide(ctx, proposal, _tally(ctx, proposal))


def decode_proposal(identifier: Digest, value: Value) -> Proposal:
    """Return the proposal that a state entry holds.

    Raises:
        FormatError: It holds something else.
    """
    fields = Fields(value, ("kind", "by", "body", "deadline_ms", "status", "height"), "governance.proposal")
    return Proposal(
        identifier,
        fields.text("kind"),
        fields.identifier("by"),
        fields.mapping("body"),
        fields.integer("deadline_ms"),
        fields.identifier("status"),
        fields.integer("height"),
    )


def _check_say(ctx: Context, kind: str) -> None:
    """Refuse whoever has no vote on a kind; a vote is signed by the organisation, not by an account below it.

    Raises:
        Refused: no-say.
    """
    if ctx.sender != ctx.organisation or membership.role(ctx, ctx.organisation) is None:
        raise Refused("no-say")
    if ctx.organisation not in KINDS[kind].electorate(ctx):
        raise Refused("no-say")


def _make_room(ctx: Context) -> None:
    """Close what is past its deadline, and refuse one more when too many are open.

    Raises:
        Refused: too-many.
    """
    due = [key for key, value in ctx.scan(_OPEN) if isinstance(value, dict) and _deadline(value) < ctx.time_ms]
    for key in islice(due, SWEPT_MAX):
        identifier = key[len(_OPEN) :]
        _close(ctx, decode_proposal(identifier, ctx.get(_PROPOSAL + identifier)), EXPIRED)
    owners = [value["by"] for _, value in ctx.scan(_OPEN) if isinstance(value, dict)]
    if len(owners) >= membership.integer_parameter(ctx, "proposals_open_max"):
        raise Refused("too-many")
    if owners.count(ctx.organisation) >= membership.integer_parameter(ctx, "proposals_each_max"):
        raise Refused("too-many")


def _deadline(entry: Mapping[str, Value]) -> int:
    deadline_ms = entry["deadline_ms"]
    assert isinstance(deadline_ms, int)
    return deadline_ms


def _open_proposal(ctx: Context, args: dict[str, Value]) -> Proposal:
    identifier = digest_argument(args, "proposal")
    value = ctx.get(_PROPOSAL + identifier)
    if value is None:
        raise Refused("no-such-proposal")
    proposal = decode_proposal(identifier, value)
    if proposal.status != OPEN:
        raise Refused("closed")
    return proposal


def _tally(ctx: Context, proposal: Proposal) -> Tally:
    weights = KINDS[proposal.kind].electorate(ctx)
    sides = {True: 0, False: 0}
    prefix = _vote_key(proposal.id, "")
    for key, in_favour in ctx.scan(prefix):
        voter = key[len(prefix) :].decode("ascii")
        if membership.role(ctx, voter) is not None:
            sides[in_favour is True] += weights.get(voter, 0)
    total = sum(weights.values())
    percent = membership.integer_parameter(ctx, KINDS[proposal.kind].percent)
    return Tally(sides[True], sides[False], total, max(1, -(-total * percent // 100)))


def _weights(tally: Tally) -> dict[str, Value]:
    return {
        "weight_in_favour": tally.in_favour,
        "weight_against": tally.against,
        "weight_total": tally.total,
        "weight_due": tally.due,
    }


def _decide(ctx: Context, proposal: Proposal, tally: Tally) -> str:
    """Accept, reject or keep a proposal, as its votes weigh now."""
    if tally.is_hopeless:
        return _close(ctx, proposal, REJECTED)
    if not tally.is_enough:
        ctx.put(_PROPOSAL + proposal.id, proposal.to_value())
        return OK
    try:
        KINDS[proposal.kind].check(ctx, proposal.body)
    except Refused as refusal:
        return _close(ctx, proposal, refusal.code)
    _end(ctx, proposal, ACCEPTED)
    body = dict(proposal.body)
    data: dict[str, Value] = {"proposal": proposal.id, "kind": proposal.kind, "body": body}
    subject = subject_of(proposal.kind, proposal.body)
    ctx.emit("proposal_accepted", subject, data)
    if proposal.kind == CORRECTION:
        ctx.emit("data_corrected", subject, record_correction(ctx, proposal.id, body))
    return OK


def _close(ctx: Context, proposal: Proposal, reason: str) -> str:
    _end(ctx, proposal, reason)
    data: dict[str, Value] = {"proposal": proposal.id, "reason": reason}
    ctx.emit("proposal_closed", subject_of(proposal.kind, proposal.body), data)
    return OK


def _end(ctx: Context, proposal: Proposal, status: str) -> None:
    ctx.put(_PROPOSAL + proposal.id, replace(proposal, status=status, height=ctx.height).to_value())
    ctx.delete(_OPEN + proposal.id)


def _vote_key(proposal: Digest, organisation: str) -> bytes:
    return _VOTE + proposal + b"/" + organisation.encode("ascii")


GOVERNANCE: Final = Contract(
    name=NAMESPACE,
    version=1,
    methods={"propose": propose, "vote": vote, "withdraw": withdraw, "count": count},
    reactions={},
    modules=(
        "master.contracts.corrections",
        "master.contracts.governance",
        "master.contracts.governance_kinds",
        "master.contracts.member_keys",
        "master.contracts.member_state",
        "master.contracts.membership_decisions",
        "master.contracts.references_policy",
        "master.contracts.references_records",
        "master.contracts.validator_records",
    ),
)
