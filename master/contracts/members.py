"""Contract `membership`, version 1: who becomes a member, stays one, and signs for it.

An applicant signs an application with the keys that it would have. A data centre brings it into the ledger, the roles
that are responsible review it, the super node admits it with a certificate of the consortium's authority
(docs/spec, clauses MB-4 to MB-6). Keys are in `member_keys`, stations, gateways and devices in `member_places`,
suspensions in `member_suspension`; what the namespace holds is listed in `membership`. Further: ("application/" | ID)
-> {application, by, tx, height, until_ms, reviews}; ("applied/" | ID) -> {by, until_ms}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from master.contracts import member_keys, member_places, member_suspension, membership, validator_records
from master.contracts.context import OK, Context, Contract, Refused
from master.contracts.member_state import (
    add_certificate,
    add_key,
    bad_arguments,
    certificate_of,
    check_data_centre,
    check_fresh_key,
    check_organisation,
    check_signature,
    is_super_node,
    reason_of,
    signature_of,
    signature_or_none,
)
from master.contracts.membership_decisions import on_accepted
from rules.places import has_place
from wire.cbor import Value
from wire.cose import SIGNATURE_BYTES
from wire.errors import WireError
from wire.fields import Fields
from wire.genesis import JURISDICTION_LEVELS_MAX, may_stand_under
from wire.membership import (
    APPLICATION_BYTES_MAX,
    Application,
    application_bytes,
    decode_application,
    register_bytes,
)
from wire.receipt import Event

REVIEWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "agency": ("sub-centre",),
    "auditor": ("regulator",),
    "consumer": ("trading-centre",),
    "dispatch-centre": ("dispatch-centre", "regulator"),
    "generator": ("trading-centre",),
    "grid-company": ("dispatch-centre", "regulator"),
    "laboratory": ("regulator",),
    "manufacturer": ("regulator",),
    "plant": ("dispatch-centre",),
    "prosumer": ("trading-centre",),
    "regulator": ("dispatch-centre",),
    "sub-centre": ("dispatch-centre",),
    "substation": ("dispatch-centre",),
    "trading-centre": ("regulator",),
}
"""Roles of which one organisation each must be in favour, by the role that is applied for."""
REVIEWS_MAX: Final = 8
"""In favour of one application, from which on those count alone that are missing, or are against."""
SWEPT_MAX: Final = 16
"""Applications past their time that the call of a further one closes."""
_APPLIED: Final = b"applied/"


def apply(context: Context, args: dict[str, Value]) -> str:
    """Bring an application into the ledger: ``application``, its ``signature`` and, if it names a root key, that one's.

    Args:
        context: The sender runs a validator; the applicant will be attached to it.
        args: ``application``: canonical bytes of `wire.membership.Application`; ``signature``; ``root_signature``.

    Raises:
        Refused: bad-args; not-a-data-centre; bad-application; wrong-chain; bad-signature; already-applied;
            too-many-applications; and see `_check_applicant`.
    """
    with bad_arguments():
        fields = Fields(args, ("application", "signature", "root_signature"), "args")
        raw = fields.octets("application", 1, APPLICATION_BYTES_MAX)
        signature, root_signature = signature_of(fields, "signature"), signature_or_none(fields, "root_signature")
    check_data_centre(context)
    try:
        wanted = decode_application(raw)
    except WireError:
        raise Refused("bad-application") from None
    if wanted.chain != context.chain:
        raise Refused("wrong-chain")
    _check_applicant(context, wanted)
    check_signature(wanted.key, application_bytes(raw), signature)
    if wanted.root_key is not None:
        check_signature(wanted.root_key, application_bytes(raw), root_signature or bytes(SIGNATURE_BYTES))
    elif root_signature is not None:
        raise Refused("bad-args")
    _make_room(context, wanted.organisation)
    until_ms = context.time_ms + membership.integer_parameter(context, "application_wait_ms")
    record: dict[str, Value] = {
        "application": raw,
        "by": context.organisation,
        "tx": context.tx_id,
        "height": context.height,
        "until_ms": until_ms,
        "reviews": [],
    }
    context.put(_application_entry(wanted.organisation), record)
    context.put(_applied_entry(wanted.organisation), {"by": context.organisation, "until_ms": until_ms})
    data: dict[str, Value] = {
        "application": context.tx_id,
        "organisation": wanted.organisation,
        "role": wanted.role,
        "parent": wanted.parent,
        "title": wanted.title,
        "data_centre": context.organisation,
        "until_ms": until_ms,
        "missing": list(_missing(context, wanted, [])),
    }
    context.emit("member_applied", wanted.organisation, data)
    return OK


def review(context: Context, args: dict[str, Value]) -> str:
    """Say ``in_favour`` true or false of the application of ``organisation``; ``reason`` is for people.

    One organisation of each responsible role, and the parent, must be in favour; one of them that is against ends it.

    Raises:
        Refused: bad-args; not-an-organisation; no-such-application; expired; not-responsible; already-reviewed.
    """
    with bad_arguments():
        fields = Fields(args, ("organisation", "in_favour", "reason"), "args")
        name, in_favour, reason = fields.identifier("organisation"), fields.raw("in_favour"), reason_of(fields)
    if not isinstance(in_favour, bool):
        raise Refused("bad-args")
    check_organisation(context)
    record, wanted = _open_application(context, name)
    role = membership.role(context, context.organisation)
    if role not in _responsible(context, wanted.role) and context.organisation != wanted.parent:
        raise Refused("not-responsible")
    reviews = _reviews(record)
    is_needed = not in_favour or not {role, context.organisation}.isdisjoint(_missing(context, wanted, reviews))
    is_spare = len(reviews) >= REVIEWS_MAX and not is_needed
    if is_spare or any(entry["organisation"] == context.organisation for entry in reviews):
        raise Refused("already-reviewed")
    entry: dict[str, Value] = {"organisation": context.organisation, "role": role, "height": context.height}
    everybody = [*reviews, entry]
    kept: dict[str, Value] = {**record, "reviews": [dict(one) for one in everybody]}
    data: dict[str, Value] = {
        "application": record["tx"],
        "organisation": context.organisation,
        "in_favour": in_favour,
        "reason": reason,
        "missing": list(_missing(context, wanted, everybody if in_favour else reviews)),
    }
    context.emit("application_reviewed", name, data)
    if in_favour:
        context.put(_application_entry(name), kept)
        return OK
    return _close(context, name, record, "rejected")


def withdraw(context: Context, args: dict[str, Value]) -> str:
    """End the application of ``organisation``; who brought it may.

    Raises:
        Refused: bad-args; no-such-application; not-yours.
    """
    with bad_arguments():
        name = Fields(args, ("organisation",), "args").identifier("organisation")
    record, _ = _application(context, name)
    if context.sender != record["by"]:
        raise Refused("not-yours")
    return _close(context, name, record, "withdrawn")


def admit(context: Context, args: dict[str, Value]) -> str:
    """Make ``organisation`` a member, once all reviews are there, with its ``certificate`` (DER).

    Args:
        context: The sender runs a validator; the parameter ``super_only`` leaves this to the super node.
        args: ``expires_ms``: when its membership is due for renewal, block time, or null.

    Raises:
        Refused: bad-args; not-a-data-centre; no-such-application; expired; not-reviewed; bad-expiry; bad-certificate;
            certificate-in-use; and see `_check_applicant`.
    """
    with bad_arguments():
        fields = Fields(args, ("organisation", "certificate", "expires_ms"), "args")
        name, certificate = fields.identifier("organisation"), certificate_of(fields, "certificate")
        expires_ms = None if fields.is_null("expires_ms") else fields.integer("expires_ms")
    check_data_centre(context)
    record, wanted = _open_application(context, name)
    if _missing(context, wanted, _reviews(record)):
        raise Refused("not-reviewed")
    _check_expiry(context, expires_ms)
    _check_applicant(context, wanted)
    digest = add_certificate(context, certificate, name)
    sponsor = str(record["by"])
    member = membership.Member(name, wanted.role, wanted.parent, wanted.root_key, sponsor, digest, expires_ms)
    context.put(membership.organisation_entry(name), member.to_value())
    context.put(membership.role_entry(wanted.role, name), value=True)
    if wanted.root_key is not None:
        context.put(membership.root_entry(wanted.root_key), name)
    data: dict[str, Value] = {
        "organisation": name,
        "title": wanted.title,
        "application": record["tx"],
        **member.to_value(),
    }
    context.emit("member_admitted", name, data)
    add_key(context, wanted.key, name, name)
    return _close(context, name, record, "admitted")


def renew(context: Context, args: dict[str, Value]) -> str:
    """Say when the membership of ``organisation`` is due again: ``expires_ms``, or null for never.

    The super node may, and organisations of the roles that review such members.

    Raises:
        Refused: bad-args; not-an-organisation; unknown-organisation; not-responsible; bad-expiry.
    """
    with bad_arguments():
        fields = Fields(args, ("organisation", "expires_ms"), "args")
        name = fields.identifier("organisation")
        expires_ms = None if fields.is_null("expires_ms") else fields.integer("expires_ms")
    check_organisation(context)
    member = membership.member(context, name)
    if member is None:
        raise Refused("unknown-organisation")
    role = membership.role(context, context.organisation)
    if name == context.organisation or not (is_super_node(context) or role in _responsible(context, member.role)):
        raise Refused("not-responsible")
    _check_expiry(context, expires_ms)
    context.put(membership.organisation_entry(name), {**member.to_value(), "expires_ms": expires_ms})
    context.emit("member_renewed", name, {"organisation": name, "expires_ms": expires_ms, "by": context.organisation})
    return OK


def attach(context: Context, args: dict[str, Value]) -> str:
    """Attach the calling organisation's clients to ``data_centre``, which runs a validator; null: to none.

    Raises:
        Refused: bad-args; not-an-organisation; not-a-data-centre: the one that is named.
    """
    with bad_arguments():
        fields = Fields(args, ("data_centre",), "args")
        centre = None if fields.is_null("data_centre") else fields.identifier("data_centre")
    check_organisation(context)
    if centre is not None and not validator_records.is_validator(context, centre):
        raise Refused("not-a-data-centre")
    member = membership.member(context, context.organisation)
    assert member is not None
    context.put(membership.organisation_entry(member.id), {**member.to_value(), "data_centre": centre})
    context.emit("member_attached", member.id, {"organisation": member.id, "data_centre": centre})
    return OK


def add_operator(context: Context, args: dict[str, Value]) -> str:
    """Register the account ``operator`` of the calling organisation, with its ``key`` and that key's ``signature``.

    Raises:
        Refused: bad-args; not-an-organisation; taken; key-in-use; bad-signature.
    """
    with bad_arguments():
        fields = Fields(args, ("operator", "key", "signature"), "args")
        name, key, signature = fields.identifier("operator"), fields.digest("key"), signature_of(fields, "signature")
    check_organisation(context)
    if membership.is_account(context, name):
        raise Refused("taken")
    check_fresh_key(context, key)
    check_signature(key, register_bytes(context.chain, context.organisation, name, key), signature)
    context.put(f"operator/{name}".encode("ascii"), {"organisation": context.organisation})
    context.emit("operator_added", name, {"operator": name, "organisation": context.organisation})
    add_key(context, key, name, context.organisation)
    return OK


def follow_proposal(context: Context, event: Event) -> None:
    """Carry out what was voted on: parameters, contract versions, the recovery of lost keys."""
    on_accepted(context, event)
    member_keys.open_recovery(context, event)


def _check_applicant(context: Context, wanted: Application) -> None:
    """Refuse an applicant that could not become a member as things are.

    Raises:
        Refused: taken: an account has the name; key-in-use; wrong-parent: it is no member, or not one under which the
            role may stand; too-deep: the jurisdiction would have too many levels.
    """
    if membership.is_account(context, wanted.organisation):
        raise Refused("taken")
    if wanted.key == wanted.root_key:
        raise Refused("key-in-use")
    for key in (wanted.key, wanted.root_key):
        if key is not None:
            check_fresh_key(context, key)
    if wanted.parent is None:
        return
    parent_role = membership.role(context, wanted.parent)
    if parent_role is None or not may_stand_under(wanted.role, parent_role):
        raise Refused("wrong-parent")
    levels, above = 2, membership.parent(context, wanted.parent)
    while above is not None and levels <= JURISDICTION_LEVELS_MAX:
        levels, above = levels + 1, membership.parent(context, above)
    if levels > JURISDICTION_LEVELS_MAX:
        raise Refused("too-deep")


def _responsible(context: Context, role: str) -> tuple[str, ...]:
    """Return the roles that review a role; what nobody has is left to the super node.

    Suspended organisations have theirs: the super node must not suspend whoever would review beside it.
    """
    found = {
        reviewer if next(membership.members_of_role(context, reviewer), None) else membership.SUPER_NODE
        for reviewer in REVIEWERS[role]
    }
    return tuple(sorted(found))


def _missing(context: Context, wanted: Application, reviews: Sequence[Mapping[str, Value]]) -> tuple[str, ...]:
    """Return the roles, and the parent by its name, that are not in favour yet."""
    roles = {entry["role"] for entry in reviews}
    missing = [role for role in _responsible(context, wanted.role) if role not in roles]
    if wanted.parent is not None and all(entry["organisation"] != wanted.parent for entry in reviews):
        missing.append(wanted.parent)
    return tuple(missing)


def _application(context: Context, name: str) -> tuple[dict[str, Value], Application]:
    value = context.get(_application_entry(name))
    if not isinstance(value, dict):
        raise Refused("no-such-application")
    raw = value["application"]
    assert isinstance(raw, bytes)
    return value, decode_application(raw)


def _open_application(context: Context, name: str) -> tuple[dict[str, Value], Application]:
    """Return an application whose time has not passed.

    Raises:
        Refused: no-such-application; expired.
    """
    record, wanted = _application(context, name)
    if _is_over(context, record):
        raise Refused("expired")
    return record, wanted


def _is_over(context: Context, record: Mapping[str, Value]) -> bool:
    until_ms = record["until_ms"]
    assert isinstance(until_ms, int)
    return until_ms < context.time_ms


def _make_room(context: Context, name: str) -> None:
    """Close what is past its time, and refuse one more application where the caller has brought too many.

    Raises:
        Refused: already-applied; too-many-applications.
    """
    limit = membership.integer_parameter(context, "applications_max")
    waiting = {
        key[len(_APPLIED) :].decode("ascii"): entry
        for key, entry in islice(context.scan(_APPLIED), limit)
        if isinstance(entry, dict)
    }
    over = [other for other in waiting if other != name and _is_over(context, waiting[other])][:SWEPT_MAX]
    if context.get(_application_entry(name)) is not None:
        if not _is_over(context, _application(context, name)[0]):
            raise Refused("already-applied")
        over.append(name)
    for other in over:
        _close(context, other, _application(context, other)[0], "expired")
        waiting.pop(other, None)
    own = sum(1 for entry in waiting.values() if entry["by"] == context.organisation)
    if not has_place(own, len(waiting), limit):
        raise Refused("too-many-applications")


def _reviews(record: Mapping[str, Value]) -> list[dict[str, Value]]:
    reviews = record["reviews"]
    assert isinstance(reviews, list)
    return [entry for entry in reviews if isinstance(entry, dict)]


def _close(context: Context, name: str, record: Mapping[str, Value], reason: str) -> str:
    context.delete(_application_entry(name))
    context.delete(_applied_entry(name))
    context.emit("application_closed", name, {"application": record["tx"], "organisation": name, "reason": reason})
    return OK


def _check_expiry(context: Context, expires_ms: int | None) -> None:
    if expires_ms is not None and expires_ms <= context.time_ms:
        raise Refused("bad-expiry")


def _application_entry(name: str) -> bytes:
    return b"application/" + name.encode("ascii")


def _applied_entry(name: str) -> bytes:
    return _APPLIED + name.encode("ascii")


MEMBERSHIP: Final = Contract(
    name=membership.NAMESPACE,
    version=1,
    methods={
        "apply": apply,
        "review": review,
        "withdraw": withdraw,
        "admit": admit,
        "renew": renew,
        "suspend": member_suspension.suspend,
        "resume": member_suspension.resume,
        "attach": attach,
        "add-operator": add_operator,
        "rotate-key": member_keys.rotate_key,
        "replace-key": member_keys.replace_key,
        "revoke-key": member_keys.revoke_key,
        "set-root-key": member_keys.set_root_key,
        "cancel-recovery": member_keys.cancel_recovery,
        "complete-recovery": member_keys.complete_recovery,
        "add-certificate": member_keys.add_certificate,
        "revoke-certificate": member_keys.revoke_certificate,
        "add-station": member_places.add_station,
        "add-gateway": member_places.add_gateway,
        "add-device": member_places.add_device,
        "retire-device": member_places.retire_device,
        "bind": member_places.bind,
        "unbind": member_places.unbind,
    },
    reactions={("governance", "proposal_accepted"): follow_proposal},
    modules=(
        "master.contracts.access_records",
        "master.contracts.member_keys",
        "master.contracts.member_owners",
        "master.contracts.member_places",
        "master.contracts.member_state",
        "master.contracts.member_suspension",
        "master.contracts.members",
        "master.contracts.membership_decisions",
        "master.contracts.validator_records",
        "rules.places",
    ),
    opening=member_suspension.open_block,
)
