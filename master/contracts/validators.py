"""Who votes: one change of one validator at a time, decided by the organisations of the present validators.

A change is proposed, voted on and, once enough are in favour, executed; a joiner must first show with READY that its
node is up to date. State, values in CBOR: see `validator_records`, and further ("retired/" | SHA-256 of a vote key or
certificate) -> height at which it was given up; ("waits/" | organisation) -> block time from which it may propose
again; "epochs" -> how many changes have begun an epoch; ("root/" | 2 bytes) -> {height, state_root} of recent blocks,
kept while a joiner is awaited (docs/spec, clauses VM-1 to VM-6 and VM-13).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from master.contracts import membership
from master.contracts.context import (
    OK,
    BlockContext,
    Context,
    Contract,
    Refused,
    bytes_argument,
    check_arguments,
    digest_argument,
)
from master.contracts.validator_records import (
    ADDRESS_CHARACTERS_MAX,
    CHANGED,
    DELAY,
    LEFT,
    MEMBER,
    NAMESPACE,
    PENDING,
    RETIRED,
    Change,
    Record,
    is_der_sequence,
    pending,
    records,
)
from wire.cbor import Value
from wire.certificate import VALIDATORS_MAX, quorum
from wire.cose import verify_ed25519
from wire.epochs import EPOCHS_MAX
from wire.errors import SignatureError
from wire.handover import ready_bytes, rotation_bytes
from wire.types import IDENTIFIER_PATTERN, Digest, sha256

ADD: Final = "add"
REMOVE: Final = "remove"
ROTATE: Final = "rotate"
URGENT: Final = "urgent-removal"
EPOCHS_RESERVED: Final = 64
"""Of the `EPOCHS_MAX` epochs of a ledger, those that urgent removals alone may begin."""
_REJECTED: Final = "rejected"
_EXPIRED: Final = "expired"
_WITHDRAWN: Final = "withdrawn"
_WAITS: Final = b"waits/"
_EPOCHS: Final = b"epochs"
_ROOT: Final = b"root/"
_ADDRESS: Final = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})", re.ASCII)
_PORT_MAX: Final = 65_535


def propose_add(ctx: Context, args: dict[str, Value]) -> str:
    """Propose a new validator: ``member`` (an organisation), ``vote_key``, ``tls_certificate``, ``address``.

    Args of every proposal also hold ``deadline_ms``; who proposes is in favour.

    Raises:
        Refused: See `_begin` and `_propose`; unknown-organisation; is-validator; too-many: there are 16; key-in-use;
            bad-certificate; bad-address.
    """
    check_arguments(args, ("member", "vote_key", "tls_certificate", "address", "deadline_ms"))
    present = _begin(ctx)
    record = _record(args)
    if membership.organisation(ctx, record.member) is None:
        raise Refused("unknown-organisation")
    if record.member in present:
        raise Refused("is-validator")
    if len(present) >= VALIDATORS_MAX:
        raise Refused("too-many")
    _check_fresh(ctx, present, record.vote_key, record.tls_certificate)
    return _propose(ctx, ADD, record, args, present)


def propose_rotation(ctx: Context, args: dict[str, Value]) -> str:
    """Propose another vote key, certificate or address for the caller, proven by its old and its new vote key.

    Raises:
        Refused: See `_begin` and `_propose`; not-your-own; nothing-changes; key-in-use; bad-certificate; bad-address;
            bad-signature: one of the keys did not sign `rotation_bytes`.
    """
    names = ("member", "vote_key", "tls_certificate", "address", "deadline_ms", "old_signature", "new_signature")
    check_arguments(args, names)
    present = _begin(ctx)
    record = _record(args)
    if record.member != ctx.organisation:
        raise Refused("not-your-own")
    old = present[record.member]
    if record == old:
        raise Refused("nothing-changes")
    key = record.vote_key if record.vote_key != old.vote_key else None
    certificate = record.tls_certificate if record.tls_certificate != old.tls_certificate else None
    _check_fresh(ctx, present, key, certificate)
    keys = (old.vote_key, record.vote_key)
    signed = rotation_bytes(ctx.chain, record.member, keys, sha256(record.tls_certificate), _deadline(ctx, args))
    _check_signature(old.vote_key, signed, bytes_argument(args, "old_signature"))
    _check_signature(record.vote_key, signed, bytes_argument(args, "new_signature"))
    return _propose(ctx, ROTATE, record, args, present)


def propose_removal(ctx: Context, args: dict[str, Value]) -> str:
    """Propose to remove ``member``; ``urgent`` for a key that others may hold: it takes the place of another change.

    Raises:
        Refused: See `_begin` and `_propose`; unknown-validator; last-one: nobody would be left.
    """
    check_arguments(args, ("member", "urgent", "deadline_ms"))
    urgent = args["urgent"]
    if not isinstance(urgent, bool):
        raise Refused("bad-args")
    present = _begin(ctx, is_urgent=urgent)
    record = present.get(str(args["member"]))
    if record is None:
        raise Refused("unknown-validator")
    if len(present) == 1:
        raise Refused("last-one")
    return _propose(ctx, URGENT if urgent else REMOVE, record, args, present)


def vote(ctx: Context, args: dict[str, Value]) -> str:
    """Vote on the pending change ``proposal``, once, with ``in_favour`` true or false.

    Raises:
        Refused: bad-args; not-a-voter; no-such-change; expired; approved: there is nothing to vote on any more; voted.
    """
    check_arguments(args, ("proposal", "in_favour"))
    in_favour = args["in_favour"]
    if not isinstance(in_favour, bool):
        raise Refused("bad-args")
    present = _voters(ctx)
    change = _open_change(ctx, args)
    if change.is_approved:
        raise Refused("approved")
    if ctx.organisation in (*change.in_favour, *change.against):
        raise Refused("voted")
    field = "in_favour" if in_favour else "against"
    voted = tuple(sorted((*getattr(change, field), ctx.organisation)))
    change = replace(change, in_favour=voted) if in_favour else replace(change, against=voted)
    data: dict[str, Value] = {"proposal": change.id, "organisation": ctx.organisation, "in_favour": in_favour}
    ctx.emit("change_voted", change.record.member, data)
    return _count(ctx, change, present)


def ready(ctx: Context, args: dict[str, Value]) -> str:
    """Let the joiner of an approved change in: its vote key signed a recent state root; executes the change.

    Raises:
        Refused: bad-args; no-such-change; expired; not-approved; bad-signature; stale: the block is not known here or
            too old; wrong-root.
    """
    check_arguments(args, ("proposal", "height", "state_root", "signature"))
    height, state_root = args["height"], digest_argument(args, "state_root")
    if type(height) is not int or height < 1:
        raise Refused("bad-args")
    change = _open_change(ctx, args)
    if not change.is_approved:
        raise Refused("not-approved")
    signed = ready_bytes(change.id, height, state_root)
    _check_signature(change.record.vote_key, signed, bytes_argument(args, "signature"))
    blocks_max = membership.integer_parameter(ctx, "ready_blocks_max")
    known = ctx.get(_root_key(height, blocks_max))
    if not isinstance(known, dict) or known["height"] != height or ctx.height - height > blocks_max:
        raise Refused("stale")
    if known["state_root"] != state_root:
        raise Refused("wrong-root")
    return _execute(ctx, change, {record.member: record for record in records(ctx)})


def withdraw(ctx: Context, args: dict[str, Value]) -> str:
    """End the pending change ``proposal``: who proposed it at any time, anybody after its deadline.

    Raises:
        Refused: bad-args; no-such-change; not-yours.
    """
    check_arguments(args, ("proposal",))
    change = pending(ctx)
    if change is None or change.id != digest_argument(args, "proposal"):
        raise Refused("no-such-change")
    if ctx.time_ms > change.deadline_ms:
        return _close(ctx, change, _EXPIRED)
    if ctx.organisation != change.by or ctx.sender != change.by:
        raise Refused("not-yours")
    return _close(ctx, change, _WITHDRAWN)


def open_block(ctx: BlockContext, state_root: Digest) -> None:
    """Keep the state root of the block before, while a joiner is awaited: READY must name a recent one."""
    change = pending(ctx)
    if change is None or not change.is_approved or ctx.time_ms > change.deadline_ms or ctx.height == 1:
        return
    height = ctx.height - 1
    key = _root_key(height, membership.integer_parameter(ctx, "ready_blocks_max"))
    ctx.put(key, {"height": height, "state_root": state_root})


# ---- proposing --------------------------------------------------------------------------------


def _voters(ctx: Context) -> dict[str, Record]:
    """Return the validators by member, for a caller that is one of their organisations.

    Raises:
        Refused: not-a-voter.
    """
    present = {record.member: record for record in records(ctx)}
    if ctx.organisation not in present or ctx.sender != ctx.organisation:
        raise Refused("not-a-voter")
    return present


def _begin(ctx: Context, *, is_urgent: bool = False) -> dict[str, Record]:
    """Make room for a proposal and return the present validators.

    Raises:
        Refused: not-a-voter: the caller's organisation runs no validator; change-pending: another change is open;
            change-under-way: the last one is not in force yet; must-wait: its last proposal failed a short while ago.
    """
    present = _voters(ctx)
    changed = ctx.get(CHANGED)
    if isinstance(changed, int) and ctx.height < changed + DELAY:
        raise Refused("change-under-way")
    change = pending(ctx)
    if change is not None:
        if ctx.time_ms > change.deadline_ms:
            _close(ctx, change, _EXPIRED)
        elif is_urgent and change.kind != URGENT:
            _close(ctx, change, "displaced")
        else:
            raise Refused("change-pending")
    waits_key = _WAITS + ctx.organisation.encode("ascii")
    until_ms = ctx.get(waits_key)
    if isinstance(until_ms, int):
        if ctx.time_ms < until_ms:
            raise Refused("must-wait")
        ctx.delete(waits_key)
    return present


def _record(args: dict[str, Value]) -> Record:
    member, address = args["member"], args["address"]
    vote_key, certificate = digest_argument(args, "vote_key"), bytes_argument(args, "tls_certificate")
    if not isinstance(member, str) or not isinstance(address, str) or IDENTIFIER_PATTERN.fullmatch(member) is None:
        raise Refused("bad-args")
    if not is_der_sequence(certificate):
        raise Refused("bad-certificate")
    match = _ADDRESS.fullmatch(address)
    if address and (len(address) > ADDRESS_CHARACTERS_MAX or match is None or not 1 <= int(match[2]) <= _PORT_MAX):
        raise Refused("bad-address")
    return Record(member, vote_key, certificate, address)


def _check_fresh(ctx: Context, present: dict[str, Record], key: bytes | None, certificate: bytes | None) -> None:
    """Refuse a vote key or certificate that anybody has or had; None is not looked at."""
    used = {record.vote_key for record in present.values()} | {record.tls_certificate for record in present.values()}
    for chosen in (key, certificate):
        if chosen is not None and (chosen in used or ctx.get(RETIRED + sha256(chosen)) is not None):
            raise Refused("key-in-use")
    if key is not None and membership.is_key_known(ctx, key):
        raise Refused("key-in-use")


def _deadline(ctx: Context, args: dict[str, Value]) -> int:
    deadline_ms = args["deadline_ms"]
    if type(deadline_ms) is not int:
        raise Refused("bad-args")
    ahead_ms = deadline_ms - ctx.time_ms
    if not 0 < ahead_ms <= membership.integer_parameter(ctx, "validator_deadline_ms_max"):
        raise Refused("bad-deadline")
    return deadline_ms


def _propose(ctx: Context, kind: str, record: Record, args: dict[str, Value], present: dict[str, Record]) -> str:
    """Open a change with its proposer in favour.

    Raises:
        Refused: bad-args; bad-deadline; too-many-changes: the ledger can have no more epochs, or only urgent ones.
    """
    by, deadline_ms = ctx.organisation, _deadline(ctx, args)
    epochs_max = EPOCHS_MAX if kind == URGENT else EPOCHS_MAX - EPOCHS_RESERVED
    if _begins_epoch(kind, record, present) and _epochs(ctx) >= epochs_max:
        raise Refused("too-many-changes")
    change = Change(ctx.tx_id, kind, record, by, deadline_ms, in_favour=(by,), against=(), is_approved=False)
    data: dict[str, Value] = {
        "proposal": change.id,
        "kind": kind,
        "by": change.by,
        "deadline_ms": change.deadline_ms,
        "votes_due": _votes_due(ctx, kind, len(present)),
        **_shown(record),
    }
    ctx.emit("change_proposed", record.member, data)
    return _count(ctx, change, present)


def _begins_epoch(kind: str, record: Record, present: dict[str, Record]) -> bool:
    """Tell whether a change makes another set; where somebody listens is not in it."""
    return kind != ROTATE or record.validator() != present[record.member].validator()


def _epochs(ctx: Context) -> int:
    """Return how many changes have begun an epoch: proofs hold the end of each, so that their number is bounded."""
    count = ctx.get(_EPOCHS)
    return count if isinstance(count, int) else 0


def _shown(record: Record) -> dict[str, Value]:
    return {
        "vote_key": record.vote_key,
        "tls_digest": sha256(record.tls_certificate),
        "address": record.address,
    }


# ---- deciding ---------------------------------------------------------------------------------


def _votes_due(ctx: Context, kind: str, size: int) -> int:
    """Return how many of ``size`` organisations must be in favour."""
    if kind == URGENT:
        return quorum(size)
    percent = membership.integer_parameter(ctx, "validator_votes_percent")
    return -(-size * percent // 100)


def _open_change(ctx: Context, args: dict[str, Value]) -> Change:
    change = pending(ctx)
    if change is None or change.id != digest_argument(args, "proposal"):
        raise Refused("no-such-change")
    if ctx.time_ms > change.deadline_ms:
        raise Refused("expired")
    return change


def _count(ctx: Context, change: Change, present: dict[str, Record]) -> str:
    """Approve, execute, reject or keep a change, as its votes say."""
    due = _votes_due(ctx, change.kind, len(present))
    if len(present) - len(change.against) < due:
        return _close(ctx, change, _REJECTED)
    if len(change.in_favour) < due:
        ctx.put(PENDING, change.to_value())
        return OK
    ctx.emit("change_approved", change.record.member, {"proposal": change.id})
    if change.kind != ADD:
        return _execute(ctx, change, present)
    ctx.put(PENDING, replace(change, is_approved=True).to_value())
    return OK


def _close(ctx: Context, change: Change, reason: str) -> str:
    ctx.emit("change_closed", change.record.member, {"proposal": change.id, "reason": reason})
    is_opposed = change.kind == URGENT or bool(change.against)
    if reason == _REJECTED or (
        not change.is_approved and (reason == _EXPIRED or (reason == _WITHDRAWN and is_opposed))
    ):
        wait_ms = membership.integer_parameter(ctx, "validator_wait_ms")
        ctx.put(_WAITS + change.by.encode("ascii"), ctx.time_ms + wait_ms)
    _forget(ctx)
    return OK


def _execute(ctx: Context, change: Change, present: dict[str, Record]) -> str:
    """Write the new set; it decides from the next block but one."""
    if ctx.get(CHANGED) is None:
        for record in present.values():
            ctx.put(_member_key(record.member), record.to_value())
    for key, value in tuple(ctx.scan(LEFT)):
        assert isinstance(value, dict)
        left_height = value["height"]
        assert isinstance(left_height, int)
        if ctx.height - left_height > membership.integer_parameter(ctx, "ready_blocks_max"):
            ctx.delete(key)
    record, old = change.record, present.get(change.record.member)
    if old is not None:
        _retire(ctx, change, old)
    if change.kind in (REMOVE, URGENT):
        ctx.delete(_member_key(record.member))
    else:
        ctx.put(_member_key(record.member), record.to_value())
    if change.kind == ADD:
        ctx.delete(LEFT + record.member.encode("ascii"))
    ctx.put(CHANGED, ctx.height)
    if _begins_epoch(change.kind, record, present):
        ctx.put(_EPOCHS, _epochs(ctx) + 1)
    data: dict[str, Value] = {"proposal": change.id, "kind": change.kind, "from_height": ctx.height + DELAY}
    ctx.emit("validators_changed", record.member, {**data, **_shown(record)})
    _forget(ctx)
    return OK


def _retire(ctx: Context, change: Change, old: Record) -> None:
    """Note which key and certificate a member gives up: they never come back."""
    is_leaving = change.kind in (REMOVE, URGENT)
    if is_leaving or old.vote_key != change.record.vote_key:
        ctx.put(RETIRED + sha256(old.vote_key), ctx.height)
    if is_leaving or old.tls_certificate != change.record.tls_certificate:
        ctx.put(RETIRED + sha256(old.tls_certificate), ctx.height)
        left: dict[str, Value] = {
            "tls_certificate": old.tls_certificate,
            "address": old.address,
            "height": ctx.height,
            "urgent": change.kind == URGENT,
        }
        ctx.put(LEFT + old.member.encode("ascii"), left)


def _forget(ctx: Context) -> None:
    """Remove the pending change and the state roots that were kept for its joiner."""
    ctx.delete(PENDING)
    for key, _ in tuple(ctx.scan(_ROOT)):
        ctx.delete(key)


def _check_signature(key: bytes, signed: bytes, signature: bytes) -> None:
    try:
        verify_ed25519(key, signed, signature)
    except SignatureError:
        raise Refused("bad-signature") from None


def _member_key(member: str) -> bytes:
    return MEMBER + member.encode("ascii")


def _root_key(height: int, blocks_max: int) -> bytes:
    return _ROOT + (height % blocks_max).to_bytes(2, "big")


VALIDATORS: Final = Contract(
    name=NAMESPACE,
    version=1,
    methods={
        "propose-add": propose_add,
        "propose-rotation": propose_rotation,
        "propose-removal": propose_removal,
        "vote": vote,
        "ready": ready,
        "withdraw": withdraw,
    },
    reactions={},
    modules=("master.contracts.validator_records", "master.contracts.validators"),
    opening=open_block,
)
