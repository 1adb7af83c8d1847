"""Keys of accounts: rotation, loss and compromise are three different things (docs/spec, clauses MB-7 to MB-10).

A key that still signs hands over to its successor itself. A lost one is replaced by the organisation whose account it
is; the organisation's own by its root key, a vote of the data centres and a time lock. One that others may hold is
revoked at once, and nothing comes in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from master.contracts import membership, validator_records
from master.contracts.context import OK, Context, Refused
from master.contracts.member_state import add_certificate as record_certificate
from master.contracts.member_state import (
    add_key,
    bad_arguments,
    certificate_entry,
    certificate_of,
    check_fresh_key,
    check_organisation,
    check_signature,
    is_super_node,
    reason_of,
    retire_all,
    retire_key,
    signature_of,
    signature_or_none,
)
from wire.cbor import Value
from wire.cose import KID_BYTES, SIGNATURE_BYTES, kid_of
from wire.fields import Fields
from wire.genesis import AccountKey
from wire.membership import REPLACE, REVOKE, ROOT, ROTATE, key_bytes, recovery_bytes
from wire.receipt import Event

KEY_RECOVERY: Final = "key-recovery"
"""Kind of the proposal on which data centres vote when an organisation has lost its keys."""
ROTATED: Final = "rotated"
REPLACED: Final = "replaced"
COMPROMISED: Final = "compromised"
LOST: Final = "lost"
_RECOVERY: Final = ("organisation", "new_key", "number", "expires_ms", "signature", "root_signature")


def rotate_key(context: Context, args: dict[str, Value]) -> str:
    """Put ``new_key`` in the place of the key that signs this call; ``signature`` is the new one's.

    Raises:
        Refused: bad-args; key-in-use; bad-signature.
    """
    with bad_arguments():
        fields = Fields(args, ("new_key", "signature"), "args")
        new, signature = fields.digest("new_key"), signature_of(fields, "signature")
    check_fresh_key(context, new)
    old = membership.account_key(context, context.kid)
    assert old is not None
    check_signature(new, key_bytes(context.chain, context.sender, ROTATE, old.key, new), signature)
    retire_key(context, context.kid, context.sender, ROTATED)
    add_key(context, new, context.sender, context.organisation)
    return OK


def replace_key(context: Context, args: dict[str, Value]) -> str:
    """Put ``new_key`` in the place of all keys of an operator or gateway, ``account``, of the calling organisation.

    Raises:
        Refused: bad-args; not-an-organisation; not-yours; key-in-use; bad-signature: not the new key's.
    """
    with bad_arguments():
        fields = Fields(args, ("account", "new_key", "signature"), "args")
        account, new = fields.identifier("account"), fields.digest("new_key")
        signature = signature_of(fields, "signature")
    check_organisation(context)
    owner = membership.organisation_of_account(context, account)
    if account == owner or owner != context.organisation:
        raise Refused("not-yours")
    check_fresh_key(context, new)
    check_signature(new, key_bytes(context.chain, account, REPLACE, None, new), signature)
    retire_all(context, account, REPLACED)
    add_key(context, new, account, context.organisation)
    return OK


def revoke_key(context: Context, args: dict[str, Value]) -> str:
    """Take the key ``kid`` from its account at once, since others may hold it.

    The account itself may, its organisation, the super node, and anybody who brings ``root_signature``, the word of the
    organisation's root key; else that is null. Of an organisation that runs a validator the super node may not, who
    would take its votes from it. ``reason`` is for people.

    Raises:
        Refused: bad-args; unknown-key; no-root-key; bad-signature; not-yours; runs-a-validator.
    """
    with bad_arguments():
        fields = Fields(args, ("kid", "reason", "root_signature"), "args")
        kid, reason = fields.octets("kid", KID_BYTES, KID_BYTES), reason_of(fields)
        root_signature = signature_or_none(fields, "root_signature")
    key = membership.account_key(context, kid)
    if key is None:
        raise Refused("unknown-key")
    if root_signature is not None:
        root_key = _root_key(context, key.organisation)
        check_signature(root_key, key_bytes(context.chain, key.sender, REVOKE, kid, None), root_signature)
    elif context.sender not in (key.sender, key.organisation):
        if not is_super_node(context):
            raise Refused("not-yours")
        if validator_records.is_validator(context, key.sender):
            raise Refused("runs-a-validator")
    retire_key(context, kid, key.sender, COMPROMISED)
    data: dict[str, Value] = {"account": key.sender, "kid": kid, "by": context.sender, "reason": reason}
    context.emit("key_revoked", key.sender, data)
    return OK


def set_root_key(context: Context, args: dict[str, Value]) -> str:
    """Give the calling organisation the root key ``root_key``.

    It shows itself by ``signature``; the one before it, if there is one, agrees by ``root_signature``, else null.

    Raises:
        Refused: bad-args; not-an-organisation; key-in-use; bad-signature.
    """
    with bad_arguments():
        fields = Fields(args, ("root_key", "signature", "root_signature"), "args")
        new, signature = fields.digest("root_key"), signature_of(fields, "signature")
        root_signature = signature_or_none(fields, "root_signature")
    check_organisation(context)
    check_fresh_key(context, new)
    member = membership.member(context, context.organisation)
    assert member is not None
    old = member.root_key
    signed = key_bytes(context.chain, member.id, ROOT, old, new)
    check_signature(new, signed, signature)
    if old is not None:
        check_signature(old, signed, root_signature or bytes(SIGNATURE_BYTES))
        context.delete(membership.root_entry(old))
        record: dict[str, Value] = {"sender": member.id, "reason": ROTATED, "height": context.height}
        context.put(membership.retired_entry(kid_of(old)), record)
    elif root_signature is not None:
        raise Refused("bad-args")
    context.put(membership.root_entry(new), member.id)
    context.put(membership.organisation_entry(member.id), {**member.to_value(), "root_key": new})
    context.emit("root_key_set", member.id, {"organisation": member.id, "root_key": new})
    return OK


def check_recovery(context: Context, body: Mapping[str, Value]) -> None:
    """Refuse a proposal to recover an organisation's lost keys that could not be carried out.

    Args:
        context: The running call.
        body: ``organisation``; ``new_key`` for its account; ``number`` of the recovery, one more than began before;
            ``expires_ms``: last block time at which it may be decided; ``signature`` of that key over all this;
            ``root_signature``, that of the organisation's root key. So no word counts twice, or for ever.

    Raises:
        Refused: bad-body; unknown-organisation; no-root-key; recovery-pending; wrong-number; bad-expiry: past, or
            further ahead than proposal_deadline_ms_max; key-in-use; bad-signature.
    """
    try:
        with bad_arguments():
            fields = Fields(dict(body), _RECOVERY, "body")
            name, new = fields.identifier("organisation"), fields.digest("new_key")
            number, expires_ms = fields.integer("number", 1), fields.integer("expires_ms")
            signatures = signature_of(fields, "signature"), signature_of(fields, "root_signature")
    except Refused:
        raise Refused("bad-body") from None
    if membership.member(context, name) is None:
        raise Refused("unknown-organisation")
    root_key = _root_key(context, name)
    if context.namespace(membership.NAMESPACE).get(_recovery_entry(name)) is not None:
        raise Refused("recovery-pending")
    if number != _recoveries(context, name) + 1:
        raise Refused("wrong-number")
    ahead_ms = membership.integer_parameter(context, "proposal_deadline_ms_max")
    if not 0 <= expires_ms - context.time_ms <= ahead_ms:
        raise Refused("bad-expiry")
    check_fresh_key(context, new)
    signed = recovery_bytes(context.chain, name, new, number, expires_ms)
    check_signature(new, signed, signatures[0])
    check_signature(root_key, signed, signatures[1])


def open_recovery(context: Context, event: Event) -> None:
    """Begin the time lock of a recovery that the data centres are in favour of; other proposals are left alone."""
    body = event.data["body"]
    if event.data["kind"] != KEY_RECOVERY:
        return
    fields = Fields(body, _RECOVERY, "body")
    name, new = fields.identifier("organisation"), fields.digest("new_key")
    opens_ms = context.time_ms + membership.integer_parameter(context, "key_recovery_wait_ms")
    context.put(_recovery_entry(name), {"new_key": new, "opens_ms": opens_ms})
    context.put(_count_entry(name), fields.integer("number"))
    context.emit("recovery_opened", name, {"organisation": name, "key": new, "opens_ms": opens_ms})


def cancel_recovery(context: Context, args: dict[str, Value]) -> str:
    """End the recovery of the calling organisation: its keys are not lost.

    Raises:
        Refused: bad-args; not-an-organisation; no-recovery.
    """
    with bad_arguments():
        Fields(args, (), "args")
    check_organisation(context)
    if context.get(_recovery_entry(context.organisation)) is None:
        raise Refused("no-recovery")
    _close_recovery(context, context.organisation, "cancelled")
    return OK


def complete_recovery(context: Context, args: dict[str, Value]) -> str:
    """Put the new key of ``organisation`` in the place of its lost ones, once the time lock has run out; anybody may.

    Raises:
        Refused: bad-args; no-recovery; too-soon.
    """
    with bad_arguments():
        name = Fields(args, ("organisation",), "args").identifier("organisation")
    value = context.get(_recovery_entry(name))
    if value is None:
        raise Refused("no-recovery")
    fields = Fields(value, ("new_key", "opens_ms"), "membership.recovery")
    if context.time_ms < fields.integer("opens_ms"):
        raise Refused("too-soon")
    new = fields.digest("new_key")
    try:
        check_fresh_key(context, new)
    except Refused as refusal:
        _close_recovery(context, name, refusal.code)
        return OK
    retire_all(context, name, LOST)
    add_key(context, new, name, name)
    _close_recovery(context, name, "completed")
    return OK


def add_certificate(context: Context, args: dict[str, Value]) -> str:
    """Record that the consortium's authority issued ``certificate`` (DER) to ``account``; the super node says so.

    Raises:
        Refused: bad-args; not-the-super-node; unknown-account; bad-certificate; certificate-in-use.
    """
    with bad_arguments():
        fields = Fields(args, ("account", "certificate"), "args")
        account, certificate = fields.identifier("account"), certificate_of(fields, "certificate")
    if not is_super_node(context):
        raise Refused("not-the-super-node")
    if not membership.is_account(context, account):
        raise Refused("unknown-account")
    digest = record_certificate(context, certificate, account)
    member = membership.member(context, account)
    if member is not None:
        context.put(membership.organisation_entry(account), {**member.to_value(), "certificate": digest})
    return OK


def revoke_certificate(context: Context, args: dict[str, Value]) -> str:
    """Say that ``certificate`` (SHA-256) counts no more; its account may, its organisation, and the super node.

    Raises:
        Refused: bad-args; unknown-certificate; already-revoked; not-yours.
    """
    with bad_arguments():
        fields = Fields(args, ("certificate", "reason"), "args")
        digest, reason = fields.digest("certificate"), reason_of(fields)
    value = context.get(certificate_entry(digest))
    if not isinstance(value, dict):
        raise Refused("unknown-certificate")
    if value["revoked"] is not None:
        raise Refused("already-revoked")
    account = str(value["account"])
    owners = (account, membership.organisation_of_account(context, account))
    if context.sender not in owners and not is_super_node(context):
        raise Refused("not-yours")
    context.put(certificate_entry(digest), {**value, "revoked": context.height})
    data: dict[str, Value] = {"account": account, "certificate": digest, "by": context.sender, "reason": reason}
    context.emit("certificate_revoked", account, data)
    return OK


def move_keys(context: Context, account: str, organisation: str) -> None:
    """Let the keys of an account sign for it in the name of another organisation."""
    for kid in tuple(membership.keys_of(context, account)):
        key = membership.account_key(context, kid)
        assert key is not None
        moved = AccountKey(key.key, account, organisation)
        context.put(membership.account_key_entry(kid), membership.account_key_value(moved))


def _close_recovery(context: Context, name: str, reason: str) -> None:
    context.delete(_recovery_entry(name))
    context.emit("recovery_closed", name, {"organisation": name, "reason": reason})


def _root_key(context: Context, organisation: str) -> bytes:
    member = membership.member(context, organisation)
    if member is None or member.root_key is None:
        raise Refused("no-root-key")
    return member.root_key


def _recoveries(context: Context, name: str) -> int:
    count = context.namespace(membership.NAMESPACE).get(_count_entry(name))
    return count if isinstance(count, int) else 0


def _recovery_entry(name: str) -> bytes:
    return b"recovery/" + name.encode("ascii")


def _count_entry(name: str) -> bytes:
    return b"recoveries/" + name.encode("ascii")
