"""The tables of members, applications, accounts, keys, certificates, stations, moves and recoveries."""

from __future__ import annotations

from typing import Final

from master.contracts.member_places import KINDS
from master.views.schema import (
    Column,
    Comparison,
    Condition,
    Derived,
    Kind,
    Reading,
    Row,
    Table,
    record,
    sequence,
    text,
)
from wire.genesis import ROLES

NEVER_MS: Final = 2**63 - 1
"""Stands for an end that does not come."""
WARNING_MS: Final = 30 * 86_400_000
"""So long before a membership is due it is shown as expiring."""
_EXPIRIES: Final = ("valid", "expiring", "expired")


def _status(row: Row, reading: Reading) -> str:
    until_ms = row["suspended_until"]
    assert isinstance(until_ms, int)
    return "suspended" if until_ms > reading.head_time_ms else "active"


def _status_conditions(status: str, reading: Reading) -> tuple[Condition, ...]:
    if status == "suspended":
        return (Condition("suspended_until", Comparison.AT_LEAST, reading.head_time_ms + 1),)
    return (Condition("suspended_until", Comparison.LESS, reading.head_time_ms + 1),)


def _expiry(row: Row, reading: Reading) -> str:
    due_ms = row["due_ms"]
    assert isinstance(due_ms, int)
    if due_ms <= reading.head_time_ms:
        return "expired"
    return "expiring" if due_ms <= reading.head_time_ms + WARNING_MS else "valid"


def _expiry_conditions(expiry: str, reading: Reading) -> tuple[Condition, ...]:
    now, soon = reading.head_time_ms + 1, reading.head_time_ms + WARNING_MS + 1
    if expiry == "expired":
        return (Condition("due_ms", Comparison.LESS, now),)
    later = Condition("due_ms", Comparison.AT_LEAST, soon if expiry == "valid" else now)
    return (later,) if expiry == "valid" else (later, Condition("due_ms", Comparison.LESS, soon))


_STATUS: Final = Derived(
    Column(
        "status",
        "Whether it may sign at this block time.",
        filtered="status",
        choices=("active", "suspended"),
    ),
    _status,
    _status_conditions,
)
_SUSPENSION: Final = (
    Column("suspended_by", "Organisation that suspended it last, null when that was lifted.", nullable=True),
    Column("suspension_reason", "Why, for people.", nullable=True),
    Column("suspended_until", "Block time up to which it is suspended.", Kind.INTEGER, public=False),
)

MEMBERS: Final = Table(
    name="members",
    about="An organisation of the consortium.",
    key="organisation",
    order=("organisation",),
    columns=(
        Column("organisation", "Id of the organisation."),
        Column("role", "What it does.", filtered="role", choices=ROLES),
        Column("parent", "In whose jurisdiction it is.", nullable=True, filtered="parent"),
        Column("title", "What people call it; empty for those of the genesis file."),
        Column("data_centre", "Full node to which its clients are attached.", nullable=True, filtered="data_centre"),
        Column("root_key", "Key that stands for it when all others are lost.", nullable=True),
        Column("certificate", "SHA-256 of its newest certificate of the consortium's authority.", nullable=True),
        Column("expires_ms", "When its membership is due for renewal; it goes on.", Kind.INTEGER, nullable=True),
        *_SUSPENSION,
        Column("due_ms", "The same, far away when it is never due.", Kind.INTEGER, public=False),
        Column("since_height", "Block that admitted it, 0 for the genesis file.", Kind.INTEGER),
    ),
    derived=(
        _STATUS,
        Derived(
            Column(
                "expiry",
                "expiring: due within 30 days; expired: overdue, which warns and stops nothing.",
                filtered="expiry",
                choices=_EXPIRIES,
            ),
            _expiry,
            _expiry_conditions,
        ),
    ),
)
APPLICATIONS: Final = Table(
    name="applications",
    about="Somebody who asks to become a member.",
    key="application",
    order=("applied_height", "applied_index"),
    newest_first=True,
    columns=(
        Column("application", "Transaction that brought it."),
        Column("organisation", "Id that it would have.", filtered="organisation"),
        Column("role", "What it would do.", choices=ROLES),
        Column("parent", "In whose jurisdiction it would be.", nullable=True),
        Column("title", "What people call it."),
        Column("data_centre", "Full node through which it entered.", filtered="data_centre"),
        Column(
            "status",
            "pending: it waits for reviews or for its admission.",
            filtered="status",
            choices=("pending", "admitted", "rejected", "withdrawn", "expired"),
        ),
        Column("until_ms", "Block time up to which it waits; then the next application closes it.", Kind.INTEGER),
        Column(
            "reviews",
            "What was said of it.",
            Kind.JSON,
            content=sequence(
                record({"organisation": text(), "in_favour": {"type": "boolean"}, "reason": text("For people.")})
            ),
        ),
        Column("missing", "Roles, and the parent, that are not in favour yet.", Kind.JSON, content=sequence(text())),
        Column("applied_ms", "Block time, ms since 1970 UTC.", Kind.INTEGER),
        Column("applied_height", "Block that brought it.", Kind.INTEGER),
        Column("applied_index", "Event of that block.", Kind.INTEGER, public=False),
    ),
)
ACCOUNTS: Final = Table(
    name="accounts",
    about="An account: an organisation, an operator or a gateway.",
    key="account",
    order=("account",),
    columns=(
        Column("account", "Id of the account."),
        Column("kind", "What it is.", filtered="kind", choices=("organisation", "operator", "gateway")),
        Column("organisation", "To whom it belongs.", filtered="organisation"),
        Column("station", "Station of a gateway.", nullable=True, filtered="station"),
        *_SUSPENSION,
    ),
    derived=(_STATUS,),
)
KEYS: Final = Table(
    name="account_keys",
    about="A public key that signs for an account, or that did.",
    key="kid",
    order=("kid",),
    columns=(
        Column("kid", "Key id: the first 16 bytes of SHA-256 of the key."),
        Column("key", "Ed25519 public key."),
        Column("account", "Account for which it signs.", filtered="account"),
        Column(
            "status",
            "What became of it.",
            filtered="status",
            choices=("active", "rotated", "replaced", "compromised", "lost"),
        ),
        Column("since_height", "Block from which it signs, 0 for the genesis file.", Kind.INTEGER),
        Column("until_height", "Block in which it was given up.", Kind.INTEGER, nullable=True),
        Column("reason", "Why it was revoked, for people.", nullable=True),
    ),
)
CERTIFICATES: Final = Table(
    name="certificates",
    about="A certificate of the consortium's authority, as the super node recorded it.",
    key="certificate",
    order=("since_height", "certificate"),
    newest_first=True,
    columns=(
        Column("certificate", "SHA-256 of the certificate, DER."),
        Column("account", "Account for which it was issued.", filtered="account"),
        Column("status", "revoked: it counts no more.", filtered="status", choices=("active", "revoked")),
        Column("since_height", "Block that recorded it.", Kind.INTEGER),
        Column("until_height", "Block that revoked it.", Kind.INTEGER, nullable=True),
        Column("revoked_by", "Account that revoked it.", nullable=True),
        Column("reason", "Why it was revoked, for people.", nullable=True),
    ),
)
STATIONS: Final = Table(
    name="stations",
    about="A substation or plant.",
    key="station",
    order=("station",),
    columns=(
        Column("station", "Id of the station."),
        Column("area", "Its area.", filtered="area"),
        Column("organisation", "Who owns it.", filtered="organisation"),
    ),
)
MOVES: Final = Table(
    name="moves",
    about="An offer to move a device or gateway that waits for the other side, or that did.",
    key="thing",
    order=("thing",),
    columns=(
        Column("thing", "Kind and id of what would move, with a hyphen between."),
        Column("kind", "What would move.", choices=KINDS),
        Column("id", "Its id.", filtered="id"),
        Column("to", "Gateway or station where it would go."),
        Column("by", "Organisation that said so.", filtered="by"),
        Column(
            "status",
            "done: the other side said so, too.",
            filtered="status",
            choices=("open", "done", "withdrawn"),
        ),
    ),
)
RECOVERIES: Final = Table(
    name="recoveries",
    about="A new key in the place of an organisation's lost ones; the newest of each organisation.",
    key="organisation",
    order=("organisation",),
    columns=(
        Column("organisation", "Whose keys are lost."),
        Column("key", "The new public key."),
        Column("opens_ms", "Block time from which on it may be completed.", Kind.INTEGER),
        Column(
            "status",
            "waiting: its time lock runs, or nobody has completed it.",
            filtered="status",
            choices=("waiting", "completed", "cancelled", "key-in-use"),
        ),
    ),
)
