"""Grants, reading keys and sealed contents, as the contract `access` tells them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.ledger.rows import EventRow
from master.views.events import Data, broken
from master.views.schema import (
    Column,
    Comparison,
    Condition,
    Derived,
    Json,
    Kind,
    Put,
    Reading,
    Row,
    Rows,
    Table,
    View,
    hexadecimal,
    sequence,
)
from wire.grants import NAMESPACE, RESTRICTED
from wire.types import INT_MAX

if TYPE_CHECKING:
    from wire.genesis import Genesis

IN_FORCE, WAITING, OVER, REVOKED = "in-force", "waiting", "over", "revoked"
STATES: Final = (IN_FORCE, WAITING, OVER, REVOKED)


def _state(row: Row, reading: Reading) -> str:
    begins_ms, ends_ms = row["begins_ms"], row["ends_ms"]
    assert isinstance(begins_ms, int)
    assert isinstance(ends_ms, int)
    if row["step"] == REVOKED:
        return REVOKED
    if reading.head_time_ms < begins_ms:
        return WAITING
    return IN_FORCE if reading.head_time_ms < ends_ms else OVER


def _conditions(state: str, reading: Reading) -> tuple[Condition, ...]:
    step = REVOKED if state == REVOKED else IN_FORCE
    is_step, now_ms = Condition("step", Comparison.EQUAL, step), reading.head_time_ms
    if state == REVOKED:
        return (is_step,)
    if state == WAITING:
        return (is_step, Condition("begins_ms", Comparison.AT_LEAST, now_ms + 1))
    begun = Condition("begins_ms", Comparison.LESS, now_ms + 1)
    if state == OVER:
        return (is_step, begun, Condition("ends_ms", Comparison.LESS, now_ms + 1))
    return (is_step, begun, Condition("ends_ms", Comparison.AT_LEAST, now_ms + 1))


GRANTS: Final = Table(
    name="grants",
    about="A permission to read restricted data.",
    key="id",
    order=("given_height", "given_index"),
    newest_first=True,
    columns=(
        Column("id", "Id of the grant: the transaction that gave it."),
        Column("class", "What may be read.", filtered="class", choices=RESTRICTED),
        Column("subject", "Of what: device/ID, station/ID, organisation/ID or all.", filtered="subject"),
        Column("reader", "By whom: account/ID, organisation/ID or role/ROLE.", filtered="reader"),
        Column("by", "Account that gave it.", filtered="by"),
        Column("from_ms", "Block time from which on it counts; null: at once.", Kind.INTEGER, nullable=True),
        Column("until_ms", "Block time at which it ends; null: never.", Kind.INTEGER, nullable=True),
        Column("given_height", "Block from which on it counts.", Kind.INTEGER),
        Column("given_index", "Event of that block.", Kind.INTEGER, public=False),
        Column(
            "ended_height",
            "Block that revoked it, or moved the device to another owner; null if none did.",
            Kind.INTEGER,
            nullable=True,
        ),
        Column("ended_by", "Account that revoked it, or by whose word the device moved.", nullable=True),
        Column("begins_ms", "From when on, 0 for at once.", Kind.INTEGER, public=False),
        Column("ends_ms", "Until when, the highest integer for ever.", Kind.INTEGER, public=False),
        Column("step", "State without regard to time.", public=False, choices=(IN_FORCE, REVOKED)),
    ),
    derived=(
        Derived(
            Column("state", "At the time of the newest block.", filtered="state", choices=STATES), _state, _conditions
        ),
    ),
)
READING_KEYS: Final = Table(
    name="reading_keys",
    about="The X25519 key to which contents are sealed for an account.",
    key="account",
    order=("account",),
    columns=(
        Column("account", "Organisation or gateway."),
        Column("key", "X25519 key, hex."),
        Column("kid", "First 16 bytes of its SHA-256, hex.", filtered="kid"),
        Column("height", "Block from which on it is the account's key.", Kind.INTEGER),
    ),
)
SEALED: Final = Table(
    name="sealed",
    about="A content that only the holders of some keys can open; the sealed file is a blob.",
    key="content",
    order=("sealed_height", "sealed_index"),
    newest_first=True,
    columns=(
        Column("content", "Keyed digest of the content, the same however it is wrapped."),
        Column("class", "Of which class it is.", filtered="class", choices=RESTRICTED),
        Column("subject", "What it is about.", filtered="subject"),
        Column("title", "As its sealer says.", filtered="title"),
        Column("by", "Organisation that sealed it.", filtered="by"),
        Column("data_centre", "Full node through which it entered.", nullable=True, filtered="data_centre"),
        Column("blob", "SHA-256 of the newest sealed file.", filtered="blob"),
        Column("size", "Bytes of that file.", Kind.INTEGER),
        Column(
            "keys",
            "Ids of the reading keys for which it is wrapped.",
            Kind.JSON,
            content=sequence(hexadecimal("Key id.", 16)),
        ),
        Column("wrapped_height", "Block that named that file.", Kind.INTEGER),
        Column("sealed_height", "Block that named the content first.", Kind.INTEGER),
        Column("sealed_index", "Event of that block.", Kind.INTEGER, public=False),
    ),
)


def _start(genesis: Genesis) -> Iterable[Put]:
    del genesis
    return ()


def _granted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    from_ms, until_ms = data.json("from_ms"), data.json("until_ms")
    row: Row = {name: data.text(name) for name in ("class", "subject", "reader", "by")}
    yield Put(
        GRANTS.name,
        {
            **row,
            "id": data.hexadecimal("grant"),
            "from_ms": from_ms,
            "until_ms": until_ms,
            "begins_ms": from_ms or 0,
            "ends_ms": INT_MAX if until_ms is None else until_ms,
            "given_height": event.height,
            "given_index": event.index,
            "ended_height": None,
            "ended_by": None,
            "step": IN_FORCE,
        },
    )


def _revoked(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    grant = data.hexadecimal("grant")
    row = rows.row(GRANTS.name, grant)
    if row is None:
        raise broken(event, f"there is no grant {grant}")
    yield Put(GRANTS.name, {**row, "step": REVOKED, "ended_height": event.height, "ended_by": data.text("by")})


def _registered(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    row: Row = {"account": event.subject, "key": data.hexadecimal("key"), "kid": data.hexadecimal("kid")}
    yield Put(READING_KEYS.name, {**row, "height": event.height})


def _sealed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    content = data.hexadecimal("content")
    known = rows.row(SEALED.name, content)
    first: dict[str, Json] = {"sealed_height": event.height, "sealed_index": event.index}
    row: Row = {name: data.text(name) for name in ("class", "subject", "title", "by")}
    yield Put(
        SEALED.name,
        {
            **row,
            "content": content,
            "data_centre": data.json("data_centre"),
            "blob": data.hexadecimal("blob"),
            "size": data.integer("size"),
            "keys": data.json("keys"),
            "wrapped_height": event.height,
            **({name: known[name] for name in first} if known is not None else first),
        },
    )


VIEW: Final = View(
    contract=NAMESPACE,
    tables=(GRANTS, READING_KEYS, SEALED),
    start=_start,
    folds={
        "access_granted": _granted,
        "access_revoked": _revoked,
        "reading_key_registered": _registered,
        "content_sealed": _sealed,
    },
)
