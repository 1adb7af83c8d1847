"""Accounts that may sign nothing for a while, or until somebody lifts it (docs/spec, clause MB-2).

Its entries in the state are listed in `membership`.
"""

from __future__ import annotations

from typing import Final

from master.contracts import membership, validator_records
from master.contracts.context import OK, BlockContext, Context, Refused
from master.contracts.member_state import bad_arguments, check_organisation, is_super_node, reason_of
from wire.cbor import Value
from wire.fields import Fields
from wire.types import Digest

SWEPT_MAX: Final = 16
"""Suspensions whose end has come that one block lifts."""
_UNTIL: Final = b"until/"


def suspend(context: Context, args: dict[str, Value]) -> str:
    """Let ``account`` sign nothing until block time ``until_ms``, or, when that is null, until it is resumed.

    Over an organisation, and its operators and gateways, the super node may, and who has it in its jurisdiction; over
    operators and gateways their organisation, too. Nobody may over an organisation that runs a validator: votes decide
    about it.

    Raises:
        Refused: bad-args; not-an-organisation; unknown-account; not-yours; runs-a-validator; already-suspended;
            bad-end: not after this block.
    """
    with bad_arguments():
        fields = Fields(args, ("account", "until_ms", "reason"), "args")
        account, reason = fields.identifier("account"), reason_of(fields)
        until_ms = None if fields.is_null("until_ms") else fields.integer("until_ms")
    check_organisation(context)
    _check_authority(context, account)
    if validator_records.is_validator(context, account):
        raise Refused("runs-a-validator")
    if membership.is_suspended(context, account, context.time_ms):
        raise Refused("already-suspended")
    if until_ms is not None and until_ms <= context.time_ms:
        raise Refused("bad-end")
    _lift(context, account)
    record: dict[str, Value] = {
        "until_ms": until_ms,
        "by": context.organisation,
        "reason": reason,
        "height": context.height,
    }
    context.put(_suspended_entry(account), record)
    if until_ms is not None:
        context.put(_until_entry(until_ms, account), value=True)
    context.emit("account_suspended", account, {"account": account, **record})
    return OK


def resume(context: Context, args: dict[str, Value]) -> str:
    """Lift the suspension of ``account``; who suspended it may, and the super node.

    Raises:
        Refused: bad-args; not-an-organisation; not-suspended; not-yours.
    """
    with bad_arguments():
        account = Fields(args, ("account",), "args").identifier("account")
    check_organisation(context)
    record = context.get(_suspended_entry(account))
    if not isinstance(record, dict) or not membership.is_suspended(context, account, context.time_ms):
        raise Refused("not-suspended")
    if record["by"] != context.organisation and not is_super_node(context):
        raise Refused("not-yours")
    _lift(context, account)
    context.emit("account_resumed", account, {"account": account, "by": context.organisation})
    return OK


def open_block(context: BlockContext, state_root: Digest) -> None:
    """Lift suspensions whose end has come."""
    del state_root
    due: list[bytes] = []
    for key, _ in context.scan(_UNTIL):
        if int.from_bytes(key[len(_UNTIL) : len(_UNTIL) + 8], "big") > context.time_ms or len(due) >= SWEPT_MAX:
            break
        due.append(key)
    for key in due:
        context.delete(key)
        context.delete(_suspended_entry(key[len(_UNTIL) + 8 :].decode("ascii")))


def _check_authority(context: Context, account: str) -> None:
    """Refuse who has no say over an account."""
    if not membership.is_account(context, account):
        raise Refused("unknown-account")
    owner = membership.organisation_of_account(context, account)
    assert owner is not None
    is_own = owner == context.organisation
    if is_own and account != owner:
        return
    if is_own or not (is_super_node(context) or membership.is_under(context, owner, context.organisation)):
        raise Refused("not-yours")


def _lift(context: Context, account: str) -> None:
    record = context.get(_suspended_entry(account))
    if isinstance(record, dict):
        until_ms = record["until_ms"]
        if isinstance(until_ms, int):
            context.delete(_until_entry(until_ms, account))
        context.delete(_suspended_entry(account))


def _suspended_entry(account: str) -> bytes:
    return b"suspended/" + account.encode("ascii")


def _until_entry(until_ms: int, account: str) -> bytes:
    return _UNTIL + until_ms.to_bytes(8, "big") + account.encode("ascii")
